"""CT pairs as cases: from NIfTI files, or the built-in chest whose truth is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from libimg import data, io
from libimg.phantoms import LABELS, chest
from libimg.ranges import SIGNED, ValueRange
from libimg.registration import warp

__all__ = ["CtConfig", "ct_case", "ct_pairs", "draw_batch", "hold_out"]

BLOOD = ("heart_left", "heart_right", "aorta", "pulmonary_artery", "pulmonary_vein", "vein")


@dataclass(frozen=True, kw_only=True)
class CtConfig:
    """Where the pairs come from and what a batch is.

    Args:
        ncct: folder of non-contrast volumes; empty for built-in chests.
        cta: folder of CT angiograms with the same file names and geometry.
        lung: folder of lung masks on the NCCT; empty to find the lungs in the NCCT itself.
        vessel: folder of vessel masks on the CTA; empty for none.
        val_cases: cases held out of training, the last by name; 0 validates on all, and says so.
        train_cases: chests to train on when no folder is given.
        first_case: number of the first of them; the chests held out stay the same. A refiner
            should train on chests that its generator has not seen.
        shape: their size in voxels.
        motion: their largest breathing motion in voxels, by axis.
        phantom_seed: which chests are made.
        window: HU that become -1 and 1; also the range of PSNR and SSIM.
        dims: slices, slices with neighbours as channels, or 3-D patches.
        neighbours: slices on each side in 2.5-D.
        size: size of a training patch.
        batch: patches in a step, over all processes.
    """

    ncct: str = ""
    cta: str = ""
    lung: str = ""
    vessel: str = ""
    val_cases: int = 2
    train_cases: int = 8
    first_case: int = 0
    shape: tuple[int, int, int] = (48, 128, 128)
    motion: tuple[float, float, float] = (0.0, 2.0, 1.0)
    phantom_seed: int = 0
    window: tuple[float, float] = (-1000.0, 600.0)
    dims: Literal["2d", "2.5d", "3d"] = "2d"
    neighbours: int = 1
    size: tuple[int, ...] = (128, 128)
    batch: int = 4

    @property
    def hu(self) -> ValueRange:
        """The window as a range."""
        return ValueRange(*self.window, unit="HU")

    @property
    def channels(self) -> int:
        """Channels of the generator's input."""
        return 2 * self.neighbours + 1 if self.dims == "2.5d" else 1


def ct_pairs(config: CtConfig) -> dict[str, dict[str, Tensor]]:
    """Load or make all cases, files by name; see `ct_case` for what one holds.

    Raises:
        FileNotFoundError: a folder or a partner is missing.
        ValueError: a file is unusable; the message names it.
    """
    if not config.ncct:
        first, count = config.first_case, config.train_cases
        numbers = [*range(first, first + count), *range(count, count + config.val_cases)]
        if len(set(numbers)) < len(numbers):
            msg = f"first_case={first} trains on held-out chests; take 0 or at least "
            msg += f"{count + config.val_cases}"
            raise ValueError(msg)
        return {f"chest{i:03d}": _phantom(config, i) for i in numbers}
    pairs = data.pair_files(Path(config.ncct), Path(config.cta), names=("ncct", "cta"))
    return {io.case_name(ncct): _files(config, ncct, cta) for ncct, cta in pairs}


def hold_out(
    cases: Mapping[str, dict[str, Tensor]], *, count: int
) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]]]:
    """Split into training and validation cases, the last ``count`` for validation.

    Args:
        cases: by name, in order.
        count: how many to hold out; 0 validates on the training cases.

    Raises:
        ValueError: nothing would be left to train.
    """
    names = list(cases)
    if count >= len(names):
        msg = f"val_cases={count} leaves none of {len(names)} cases to train: {names}"
        raise ValueError(msg)
    cut = len(names) - count
    return {n: cases[n] for n in names[:cut]}, {n: cases[n] for n in names[cut:] or names}


def ct_case(
    ncct: Float[Tensor, "d h w"],
    cta: Float[Tensor, "d h w"],
    *,
    window: ValueRange,
    truth: Float[Tensor, "d h w"] | None = None,
    lung: Bool[Tensor, "d h w"] | None = None,
    vessel: Bool[Tensor, "d h w"] | None = None,
    vessel_on_cta: Bool[Tensor, "d h w"] | None = None,
) -> dict[str, Tensor]:
    """Put the volumes of a case, the networks' inputs and the masks together.

    Args:
        ncct: HU.
        cta: HU, at its own breathing position.
        window: HU that become [-1, 1].
        truth: angiogram in the geometry of the NCCT; the CTA itself if None.
        lung: in the geometry of the NCCT; found in the NCCT if None.
        vessel: in the geometry of the truth; none if None.
        vessel_on_cta: in the geometry of the CTA; ``vessel`` if None.

    Returns:
        ``ncct``, ``cta``, ``truth`` (HU); ``input``, ``target`` (clipped, [-1, 1]); ``body``,
        ``lung``, ``vessel`` (float, for the losses); ``is/body``, ``is/lung``, ``is/vessel``,
        ``is/soft``, ``is/bone`` (boolean, for the scores).

    Raises:
        ValueError: there is no body or no lung.
    """
    body = data.body_mask(ncct)
    lung = data.lung_mask(ncct) if lung is None else lung
    vessel = torch.zeros_like(body) if vessel is None else vessel
    rest = body & ~lung & ~vessel
    return {
        "ncct": ncct,
        "cta": cta,
        "truth": cta if truth is None else truth,
        "input": window.to(window.clip(ncct), SIGNED),
        "target": window.to(window.clip(cta), SIGNED),
        "body": body.float(),
        "lung": lung.float(),
        "vessel": (vessel if vessel_on_cta is None else vessel_on_cta).float(),
        "is/body": body,
        "is/lung": lung,
        "is/vessel": vessel,
        "is/soft": rest & (ncct > -150) & (ncct < 150),
        "is/bone": rest & (ncct > 200),
    }


def draw_batch(
    config: CtConfig, cases: Mapping[str, dict[str, Tensor]], *, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw ``config.batch`` patches of ``input``, ``target``, ``lung``, ``vessel`` and ``body``.

    Args:
        config: form and size of the patches.
        cases: what `ct_pairs` returned.
        generator: the only source of randomness.

    Returns:
        ``(batch, c, *size)`` by name; ``input`` has the neighbour slices in 2.5-D.
    """
    keys = ("input", "target", "lung", "vessel", "body")
    return data.sample_batch(
        [{key: case[key] for key in keys} for case in cases.values()],
        mode=config.dims,
        size=config.size,
        batch=config.batch,
        neighbours=config.neighbours,
        neighbour_keys=("input",),
        generator=generator,
    )


def _phantom(config: CtConfig, index: int) -> dict[str, Tensor]:
    """Make a chest."""
    generator = torch.Generator().manual_seed(100_000 * config.phantom_seed + index)
    made = chest(shape=config.shape, motion_voxels=config.motion, generator=generator)
    vessel = torch.isin(made.labels, torch.tensor([LABELS[name] for name in BLOOD]))
    on_cta = warp(vessel[None, None].float(), made.flow[None], mode="nearest")[0, 0] > 0.5
    case = ct_case(
        made.ncct,
        made.cta,
        window=config.hu,
        truth=made.cta_aligned,
        vessel=vessel,
        vessel_on_cta=on_cta,
    )
    return case | {"flow": made.flow}


def _files(config: CtConfig, ncct: Path, cta: Path) -> dict[str, Tensor]:
    """Read a pair and its masks; every error names the file."""
    first, second = io.read_volume(ncct, hu=True), io.read_volume(cta, hu=True)
    data.same_geometry(first, second)
    masks = {}
    for name, folder in (("lung", config.lung), ("vessel", config.vessel)):
        if folder:
            path = Path(folder) / ncct.name
            mask = io.read_volume(path, allow_constant=True)
            data.same_geometry(first, mask)
            masks[name] = mask.data > 0
            if not masks[name].any():
                msg = f"{path}: expected a {name} mask, got one without a voxel"
                raise ValueError(msg)
    try:
        return ct_case(first.data, second.data, window=config.hu, **masks)
    except ValueError as error:
        msg = f"{ncct}: {error}"
        raise ValueError(msg) from error
