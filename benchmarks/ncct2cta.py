"""Ablations of the NCCT to CTA task on the built-in chests; fills the tables of its docs page.

python benchmarks/ncct2cta.py registration     with and without R, on misaligned pairs in 3-D
python benchmarks/ncct2cta.py refiner          which channels G2 should see, how large, G frozen
"""

import argparse
import copy
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.docs import fill  # noqa: E402
from libimg.diagnose import markdown_table  # noqa: E402
from libimg.train import load_config, write_json  # noqa: E402
from tasks.ncct2cta import Config, build, train  # noqa: E402

CONFIGS = ROOT / "tasks" / "configs" / "ncct2cta"
SCORES = ("body/psnr", "body/ssim", "lung/sharpness", "vessel/bias", "vessel/mae")


def run(settings: dict[str, Any], name: str, folder: Path) -> dict[str, Any]:
    """Train one variant from scratch and return its metrics."""
    settings = copy.deepcopy(settings)
    settings["run"] |= {"folder": str(folder), "name": name, "progress": False}
    shutil.rmtree(folder / name, ignore_errors=True)
    print(f"\n## {name}", flush=True)
    start = time.perf_counter()
    train(load_config(Config, settings))
    result: dict[str, Any] = json.loads((folder / name / "metrics.json").read_text())
    result["seconds"] = time.perf_counter() - start
    return result


def means(result: dict[str, Any], row: str) -> dict[str, float]:
    """The shown scores of one row."""
    return {name: result["rows"][row]["mean"][name]["mean"] for name in SCORES}


def registration(folder: Path) -> dict[str, dict[str, Any]]:
    """The same steps of G, with and without R."""
    settings = yaml.safe_load((CONFIGS / "registration.yaml").read_text())
    rows: dict[str, dict[str, Any]] = {}
    with_r = run(settings, "with-r", folder)
    settings["networks"]["registration"] = {"enabled": False}
    without = run(settings, "without-r", folder)
    rows["NCCT itself"] = means(with_r, "NCCT itself")
    rows["look-up table"] = means(with_r, "look-up table")
    rows["G, trained without R"] = means(without, "G")
    rows["G, trained with R"] = means(with_r, "G")
    reports = list(with_r["registration"].values())
    for key in ("error", "error_of_zero_flow", "p95", "folding"):
        rows["G, trained with R"][key] = sum(r[key] for r in reports) / len(reports)
    return rows


def refiner(folder: Path) -> dict[str, dict[str, Any]]:
    """One frozen G, several G2; and the same number of further steps spent on G itself."""
    base = yaml.safe_load((CONFIGS / "default.yaml").read_text())
    base["phases"] = [phase for phase in base["phases"] if "D" not in phase["train"]]
    base["networks"]["discriminator"]["enabled"] = False
    first = run(base, "g", folder)
    rows: dict[str, dict[str, Any]] = {
        "NCCT itself": means(first, "NCCT itself"),
        "look-up table": means(first, "look-up table"),
        "frozen G": means(first, "G"),
    }
    own = {"initial": str(folder / "g" / "best.pt"), "best": "vessel/mae"}
    more = copy.deepcopy(base) | own | {"rates": {"G2": 4e-3}}
    more["data"]["first_case"] = 100  # chests that G has not seen
    weights = {"l1": 1, "ssim": 0.2, "smooth": 0.2, "vessel": 10}
    phase = {"name": "more", "epochs": 12, "weights": weights}
    more["phases"] = [phase | {"train": ["G"], "frozen": ["R"]}]
    rows["G itself trained on"] = means(run(more, "g-more", folder), "G")
    everything = ["x", "y", "product_nonneg"]
    variants: dict[str, tuple[dict[str, Any], int]] = {
        "x, y, p non-negative": ({"inputs": everything}, 100),
        "p (the brief's)": ({"inputs": ["product"]}, 100),
        "x, y": ({"inputs": ["x", "y"]}, 100),
        "x, y, p non-negative, gated": ({"inputs": everything, "head": "affine"}, 100),
        "x, y, p non-negative, G's own chests": ({"inputs": everything}, 0),
    }
    for label, (options, first_case) in variants.items():
        settings = copy.deepcopy(more)
        settings["data"]["first_case"] = first_case
        settings["networks"]["refiner"] = {"enabled": True, "blocks": 4, **options}
        settings["phases"] = [phase | {"train": ["G2"], "frozen": ["G", "R"]}]
        name = "g2-" + "".join(c if c.isalnum() else "-" for c in label)
        row = means(run(settings, name, folder), "G + G2")
        network = build(load_config(Config, settings))["G2"]
        size = sum(weight.numel() for weight in network.parameters())
        rows[f"G2 on {label}"] = {**row, "parameters": f"{size / 1000:.1f} k"}
    for row in rows.values():
        gain = 1 - row["vessel/mae"] / rows["frozen G"]["vessel/mae"]
        row["vessel error removed"] = f"{100 * gain:.0f} %"
    return rows


def main() -> None:
    """Run one study and write its table."""
    studies = {"registration": registration, "refiner": refiner}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=studies)
    parser.add_argument("--folder", type=Path, default=Path("outputs/ncct2cta-ablations"))
    options = parser.parse_args()
    rows = studies[options.study](options.folder)
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    table = markdown_table(rows, columns=columns)
    print(table)
    result = {"torch": torch.__version__, "rows": rows}
    write_json(ROOT / "benchmarks" / "results" / f"ncct2cta_{options.study}.json", result)
    fill(ROOT / "docs" / "tasks" / "ncct2cta.md", options.study, table)


if __name__ == "__main__":
    main()
