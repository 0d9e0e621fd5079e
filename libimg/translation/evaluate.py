"""Score translated CT volumes beside their baselines, and draw them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from libimg import data, diagnose, figures
from libimg.ranges import ValueRange
from libimg.translation.ct import CtConfig
from libimg.translation.volume import translate_hu

__all__ = ["ct_panel", "ct_scores", "evaluation", "validate"]

Case = Mapping[str, Tensor]
REGIONS = ("body", "lung")
TISSUES = ("lung", "vessel", "soft", "bone")
MEDIASTINUM = ValueRange.window(centre=150, width=700, unit="HU")
LUNG = ValueRange.window(centre=-600, width=1500, unit="HU")
ERROR = ValueRange(-300, 300, "HU")


def ct_scores(fake: Float[Tensor, "d h w"], case: Case, *, window: ValueRange) -> dict[str, float]:
    """Score one volume (HU) against the truth of its case, in body and lung and by tissue.

    Args:
        fake: HU, in the geometry of the NCCT.
        case: see `ct_case`.
        window: range of the scores; its span is the data range of PSNR and SSIM.

    Returns:
        See `libimg.diagnose.translation_scores`.
    """
    return diagnose.translation_scores(
        fake,
        case["truth"],
        value_range=window,
        regions={name: case[f"is/{name}"] for name in REGIONS},
        tissues={name: case[f"is/{name}"] for name in TISSUES},
    )


def validate(
    networks: Mapping[str, nn.Module], cases: Mapping[str, Case], *, config: CtConfig
) -> dict[str, float]:
    """Translate every case and return the mean of each score over the cases where it is defined.

    Args:
        networks: ``G`` and perhaps ``G2``, in eval mode.
        cases: by name.
        config: window and patches.
    """
    scores = {
        name: ct_scores(translate_hu(networks, case["ncct"], config=config), case, window=config.hu)
        for name, case in cases.items()
    }
    return {name: float(part["mean"]) for name, part in diagnose.summarise(scores).items()}


def evaluation(
    methods: Mapping[str, Callable[[Case], Tensor]],
    cases: Mapping[str, Case],
    *,
    window: ValueRange,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Score several methods on the same cases; the last one is the model, the others baselines.

    Args:
        methods: name to a function from a case to a volume in HU.
        cases: name to case.
        window: range of the scores.

    Returns:
        What goes into ``metrics.json`` (``range``, ``manifest``, ``verdict`` and ``rows`` with
        ``mean`` and ``cases``), and the volumes of the last method by case.
    """
    volumes = {m: {name: make(case) for name, case in cases.items()} for m, make in methods.items()}
    rows = {
        m: {name: ct_scores(volume, cases[name], window=window) for name, volume in made.items()}
        for m, made in volumes.items()
    }
    model = list(methods)[-1]
    result = {
        "range": {"lo": window.lo, "hi": window.hi, "unit": window.unit},
        "masks": "body, lung: found in the NCCT; vessel: labels; soft, bone: by HU of the NCCT",
        "manifest": {
            f"{name}/{key}": data.tensor_hash(case[key])
            for name, case in cases.items()
            for key in ("ncct", "truth")
        },
        "verdict": diagnose.verdict(rows, metric="body/psnr", model=model, higher=True),
        "rows": {m: {"mean": diagnose.summarise(row), "cases": row} for m, row in rows.items()},
    }
    return result, volumes[model]


def ct_panel(path: Path, name: str, case: Case, pictures: Mapping[str, Tensor]) -> Path:
    """Draw the slice with most vessel (or lung) in a mediastinal and a lung window.

    Args:
        path: PNG to write.
        name: of the case.
        case: see `ct_case`.
        pictures: name to volume in HU, drawn between the NCCT and the truth; the error is that of
            the last.
    """
    mask = case["is/vessel"] if case["is/vessel"].any() else case["is/lung"]
    z = int(mask.sum((1, 2)).argmax())
    volumes = {"NCCT": case["ncct"], **pictures, "true CTA": case["truth"]}
    error = (list(pictures.values())[-1] - case["truth"])[z]
    rows = [
        [
            *(figures.Tile(volume[z], window) for volume in volumes.values()),
            figures.Tile(error, ERROR, colours="RdBu_r"),
        ]
        for window in (MEDIASTINUM, LUNG)
    ]
    return figures.panel(
        path,
        rows,
        columns=[*volumes, f"{list(pictures)[-1]} - true"],
        labels=[
            f"{label}, {window.lo:g} to {window.hi:g} HU"
            for label, window in (("mediastinum", MEDIASTINUM), ("lung", LUNG))
        ],
        title=f"{name}, slice {z}",
    )
