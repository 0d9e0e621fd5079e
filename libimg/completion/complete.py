"""Any subset of classes in, all classes out: label map and meshes."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int16
from torch import Tensor

from libimg import metrics
from libimg.completion.cases import Case, Sampling
from libimg.completion.decode import cube_grid, decode_fields, grid_meshes
from libimg.completion.evaluate import encode_case
from libimg.completion.fitting import fit_latent
from libimg.completion.labels import LabelMap, read_labels
from libimg.completion.model import Completer
from libimg.completion.picture import label_meshes
from libimg.completion.prepare import sample_case
from libimg.io import write_volume
from libimg.shapes import (
    Mesh,
    interpolate_fields,
    labels_from_fields,
    query_grid,
    write_mesh,
)
from libimg.shapes.mesh_files import MESH_SUFFIXES

__all__ = [
    "Completion",
    "check_targets",
    "complete_file",
    "decode_labels",
    "dice_of",
    "write_completion",
]


@dataclass(frozen=True)
class Completion:
    """A completed heart on a grid of its own, parallel to that of the file.

    Attributes:
        found: the label map that was read.
        case: its points.
        observed: ``(k,)`` classes that were given.
        fields: ``(k, d, h, w)`` mm, negative inside.
        spacing_mm: of the fields.
        origin_mm: first voxel of the fields, along (d, h, w) of ``case.labels``.
        latent: ``(1, m, c)``.
        middle: of the heart, in the cube of the case's frame.
    """

    found: LabelMap
    case: Case
    observed: Bool[Tensor, " k"]
    fields: Float[Tensor, "k d h w"]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    latent: Float[Tensor, "b m c"]
    middle: Float[Tensor, " 3"]

    def meshes(self) -> dict[str, Mesh]:
        """Surfaces of all classes in patient millimetres (RAS)."""
        return grid_meshes(self.case, self.fields, self.spacing_mm[0], self.origin_mm)


def complete_file(
    path: Path,
    model: Completer,
    *,
    classes: Mapping[str, int],
    inputs: int,
    sampling: Sampling,
    observed: Sequence[str] | None = None,
    spacing_mm: float = 2.0,
    fit_steps: int = 0,
    fit_weights: bool = False,
    sample: int | None = None,
) -> Completion:
    """Complete the heart of a label map.

    Args:
        path: NIfTI with the labels of some classes.
        model: in evaluation mode.
        classes: name to label, those that the model knows.
        inputs: points that the model gets.
        sampling: with the model's scale.
        observed: classes to look at: one of them without a voxel is absent. If None, those with
            a voxel; all others are completed.
        spacing_mm: of the fields that are asked for.
        fit_steps: of `fit_latent` on the observed classes; 0 takes the encoder's answer, less
            is refused.
        fit_weights: fit the weights of a copy of the model, too.
        sample: seed of a draw; None for the one answer without a draw.

    Raises:
        ValueError: the file cannot be used, no observed class has a voxel, or ``spacing_mm`` or
            ``fit_steps`` are out of range.

    Example:
        >>> import tempfile
        >>> from libimg.completion import build_hearts, learn_shape, phantom_case
        >>> from libimg.nets import VecSetAutoencoder
        >>> from libimg.phantoms import HEART_CLASSES
        >>> model = Completer(VecSetAutoencoder.preset("tiny", classes=10), grid=16).eval()
        >>> case = phantom_case()
        >>> learn_shape(model, [case])
        >>> how = {"classes": HEART_CLASSES, "inputs": 64, "sampling": case.sampling}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (path,) = build_hearts(Path(folder), number=1, spacing_mm=8.0)
        ...     done = complete_file(path, model, observed=["LV"], spacing_mm=8.0, **how)
        >>> done.fields.shape, int(done.observed.sum()), len(done.meshes())
        (torch.Size([10, 25, 25, 25]), 1, 10)
    """
    cube_grid(sampling.half_mm, spacing_mm=spacing_mm)
    if fit_steps < 0:
        msg = f"fit_steps must be 0 or more, got {fit_steps}"
        raise ValueError(msg)
    found = read_labels(path, classes=classes, margin_mm=sampling.margin_mm)
    case = sample_case(found, labelled=observed, sampling=sampling)
    seen = case.labelled
    latent, middle = encode_case(model, case, seen, inputs=inputs)
    code = latent.mean
    if sample is not None:
        generator = torch.Generator().manual_seed(sample)
        code = model.sample(latent, number=1, generator=generator)
    if fit_steps:
        model = copy.deepcopy(model) if fit_weights else model
        code = fit_latent(model, case, code, middle, steps=fit_steps, weights=fit_weights)
    how: Any = {"spacing_mm": spacing_mm, "levelled": sample is None and not fit_steps}
    fields, origin = decode_fields(model, case, code, middle, **how)
    spacing: Any = 3 * (spacing_mm,)
    return Completion(found, case, seen, fields, spacing, origin, code, middle)


def decode_labels(done: Completion, *, keep: bool = True) -> Int16[Tensor, "d h w"]:
    """Label map on the grid of the file.

    Args:
        done: of `complete_file`.
        keep: leave the labels of the observed classes as they were given; completed classes then
            fill background only.

    Returns:
        ``(d, h, w)`` as the file's volume, with its own label numbers.
    """
    volume, frame = done.found.volume, done.case.frame
    given = volume.data.to(torch.int16)
    labels = list(done.case.classes.values())
    shift = [a * s for a, s in zip(done.found.start, frame.spacing_mm, strict=True)]
    corner = torch.tensor(done.origin_mm) + torch.tensor(shift)
    inside = (done.fields < 0).any(0).nonzero()
    out = torch.zeros_like(given)
    if len(inside):
        step = torch.tensor(done.spacing_mm)
        low, high = ((edge * step + corner) for edge in (inside.amin(0) - 1, inside.amax(0) + 1))
        size = torch.tensor(frame.spacing_mm)
        first = (low / size).floor().long().clamp(min=0)
        last = torch.minimum((high / size).ceil().long() + 1, torch.tensor(given.shape))
        shape = (last - first).clamp(min=0).tolist()

        def read(points: Tensor) -> Tensor:
            places = points + (first * size - corner).to(points)
            fields = interpolate_fields(done.fields, places, spacing_mm=done.spacing_mm)
            return labels_from_fields(fields, classes=labels)[:, None]

        if min(shape) > 0:
            box = tuple(slice(a, a + n) for a, n in zip(first.tolist(), shape, strict=True))
            out[box] = query_grid(read, shape=shape, spacing_mm=frame.spacing_mm)[0]
    if keep:
        table = torch.tensor(labels)[done.observed]
        old, new = torch.isin(given, table), torch.isin(out, table)
        out = torch.where(old, given, torch.where(new, 0, out))
    return out


def dice_of(done: Completion) -> dict[str, float]:
    """Dice of the observed classes on the grid of the file, nothing kept from the input."""
    volume, classes = done.found.volume, done.case.classes
    names = [n for n, o in zip(classes, done.observed, strict=True) if o]
    pair = decode_labels(done, keep=False)[None, None], volume.data.to(torch.int16)[None, None]
    values = metrics.dice(*pair, classes=[classes[n] for n in names])[0].tolist()
    return {**dict(zip(names, values, strict=True)), "mean": sum(values) / len(values)}


def check_targets(
    names: Mapping[Path, Sequence[str]], target: Path, *, suffix: str = ".ply"
) -> None:
    """Refuse, before anything is computed, what `write_completion` could not write.

    Args:
        names: label maps, and for each of them the names of what is made of it.
        target: folder to write to.
        suffix: of the meshes.

    Raises:
        ValueError: a label map would be written over one that is read (be it under another name,
            by a link), or two would be written to one file; or no mesh has that suffix.
        NotADirectoryError: ``target`` is a file.

    Example:
        >>> check_targets({Path("a/x.nii"): ["x"], Path("a/x.nii.gz"): ["x"]}, Path("out"))
        Traceback (most recent call last):
        ValueError: a/x.nii and a/x.nii.gz would both be written to out/x.nii.gz: rename one
    """
    if suffix.lower() not in MESH_SUFFIXES:
        msg = f"suffix must be one of {', '.join(MESH_SUFFIXES)}, got {suffix!r}"
        raise ValueError(msg)
    if target.exists() and not target.is_dir():
        msg = f"{target}: expected a folder to write to, this is a file"
        raise NotADirectoryError(msg)
    read = {_identity(source): source for source in names if source.exists()}
    taken: dict[Path, Path] = {}
    for source, own in names.items():
        for path in (target / f"{name}.nii.gz" for name in own):
            if path.exists() and _identity(path) in read:
                msg = f"{path}: the answer for {source} would be written over "
                msg += f"{read[_identity(path)]}, which is read: choose another output folder"
                raise ValueError(msg)
            if path in taken:
                msg = f"{taken[path]} and {source} would both be written to {path}: rename one"
                raise ValueError(msg)
            taken[path] = source


def _identity(path: Path) -> tuple[int, int]:
    """Tell a file apart from all others, whatever it is called."""
    about = path.stat()
    return about.st_dev, about.st_ino


def write_completion(
    done: Completion, target: Path, *, name: str = "", keep: bool = True, suffix: str = ".ply"
) -> list[Path]:
    """Write the label map (``NAME.nii.gz``) and the meshes of all classes (``NAME`` + suffix).

    STL holds one mesh only: there, each class that is not empty gets a file ``NAME_CLASS.stl``.

    Args:
        done: of `complete_file`.
        target: folder.
        name: of the files, without suffix; that of the label map if empty.
        keep: see `decode_labels`; the meshes of observed classes are theirs as given, too.
        suffix: ``.ply``, ``.vtp``, ``.obj`` or ``.stl``.

    Raises:
        ValueError: this would write over the label map that was read, or the suffix is another;
            nothing is written then.

    Example:
        >>> import tempfile
        >>> from libimg.completion import build_hearts, learn_shape, phantom_case
        >>> from libimg.nets import VecSetAutoencoder
        >>> from libimg.phantoms import HEART_CLASSES
        >>> model = Completer(VecSetAutoencoder.preset("tiny", classes=10), grid=16).eval()
        >>> case = phantom_case()
        >>> learn_shape(model, [case])
        >>> how = {"classes": HEART_CLASSES, "inputs": 64, "sampling": case.sampling}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (path,) = build_hearts(Path(folder), number=1, spacing_mm=8.0)
        ...     done = complete_file(path, model, spacing_mm=8.0, **how)
        ...     [file.suffix for file in write_completion(done, Path(folder) / "out")]
        ['.gz', '.ply']
    """
    name = name or done.found.name
    check_targets({done.found.path: [name]}, target, suffix=suffix)
    path = target / f"{name}.nii.gz"
    write_volume(path, decode_labels(done, keep=keep).float(), like=done.found.volume)
    given = label_meshes(done.case, done.observed) if keep else {}
    files = {target / f"{name}{suffix}": done.meshes() | given}
    if suffix.lower() == ".stl":
        own = next(iter(files.values())).items()
        files = {target / f"{name}_{n}{suffix}": {n: m} for n, m in own if len(m.faces)}
    for file, meshes in files.items():
        write_mesh(file, meshes)
    return [path, *files]
