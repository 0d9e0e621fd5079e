"""A report that people read: Markdown beside its pictures, and one HTML file with all inside."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from libimg._extras import optional

__all__ = ["Section", "write_report"]

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
img{max-width:100%}table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.2rem .6rem}
code{background:#eee;padding:0 .2rem}
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}code{background:#333}}"""


class Section(NamedTuple):
    """A part of a report.

    Args:
        title: heading.
        text: Markdown.
        pictures: PNG files below the report's folder.

    Example:
        >>> Section("Verdict", "Passed.").pictures
        ()
    """

    title: str
    text: str
    pictures: Sequence[Path] = ()


def write_report(path: Path, title: str, sections: Sequence[Section]) -> tuple[Path, Path]:
    """Write ``path`` as Markdown and, with the ending ``.html``, as one file with its pictures.

    Args:
        path: file ending in ``.md``; pictures must lie in its folder or below it.
        title: heading of the whole.
        sections: in order.

    Returns:
        Both files.

    Raises:
        ValueError: another ending, or a picture that lies elsewhere.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = write_report(Path(folder) / "r.md", "Run", [Section("Gate", "*Passed.*")])
        ...     "<em>Passed.</em>" in files[1].read_text()
        True
    """
    if path.suffix != ".md":
        msg = f"{path}: expected a name ending in .md"
        raise ValueError(msg)
    markdown = optional("markdown", extra="tasks")
    lines, inside = [f"# {title}"], [f"# {title}"]
    for section in sections:
        for text in (lines, inside):
            text += [f"## {section.title}", section.text]
        for picture in section.pictures:
            if not picture.resolve().is_relative_to(path.parent.resolve()):
                msg = f"{picture}: pictures must lie below {path.parent}"
                raise ValueError(msg)
            where = picture.resolve().relative_to(path.parent.resolve()).as_posix()
            coded = base64.b64encode(picture.read_bytes()).decode()
            lines.append(f"![{picture.stem}]({where})")
            inside.append(f"![{picture.stem}](data:image/png;base64,{coded})")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    body = markdown.markdown("\n\n".join(inside), extensions=["tables", "fenced_code"])
    page = f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>{body}"
    html = path.with_suffix(".html")
    html.write_text(page, encoding="utf-8")
    return path, html
