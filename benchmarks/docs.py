"""Put the tables of ``benchmarks/results`` into the documentation: python benchmarks/docs.py."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import table  # noqa: E402

__all__ = ["fill"]


def fill(page: Path, name: str, text: str) -> None:
    """Replace what stands between the two comments ``begin: name`` and ``end: name`` of a page.

    Raises:
        ValueError: the page does not have the two comments.
    """
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    content = page.read_text(encoding="utf-8")
    if begin not in content or end not in content:
        msg = f"{page}: expected the comments {begin} and {end}"
        raise ValueError(msg)
    head, rest = content.split(begin, 1)
    tail = rest.split(end, 1)[1]
    page.write_text(f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}", encoding="utf-8")


UNITS = {
    "ssim": "Milliseconds",
    "warp": "Milliseconds",
    "voxels": "Million events a second",
    "unet3d": "Milliseconds, medians",
    "degradations": "Images a second, 256 x 256",
    "sdf": "Milliseconds of wall and of CPU time",
    "heads": "Milliseconds",
    "long_file": "Largest resident memory of the process so far",
}


def main() -> None:
    """Render the timing results."""
    for name, unit in UNITS.items():
        result = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))
        machine = result["machine"]
        device = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} threads"
        tables = [table(result[part]) for part in ("rows", "agreement") if part in result]
        both = "\n\n".join(tables)
        text = f"{both}\n\n{unit}; {device}; torch {machine['torch']}."
        fill(ROOT / "docs" / "benchmarks.md", name, text)


if __name__ == "__main__":
    main()
