"""Which cases train and which are held out, by their contents."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Literal, NamedTuple

from torch import nn

from libimg import data
from libimg.cephalometry.detector import Detector, fit_detector
from libimg.cephalometry.frames import Frame, Framed, framed
from libimg.cephalometry.pairs import Heads, fingerprints, load_pairs, pair_names
from libimg.train import Run, RunConfig
from libimg.train.log import plain

__all__ = ["Split", "detector_of", "divide", "framed_pairs"]


class Split(NamedTuple):
    """Names of the cases.

    Args:
        train: all that training may see, in an order that their contents decide.
        held_out: the fixed list of every comparison.
        manifest: content hashes of the held-out cases.

    Example:
        >>> Split(("a", "b"), ("c",), {"c": "12ab"}).held_out
        ('c',)
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    manifest: dict[str, str]


def divide(heads: Heads) -> Split:
    """Divide the cases; contents decide, not names, and no content is on both sides.

    A training set of fewer cases (``heads.train``) is part of each larger one.

    Raises:
        ValueError: two held-out and training cases have the same contents, or too few are left.

    Example:
        >>> split = divide(Heads(count=6, held_out=2, size=(152, 124)))
        >>> len(split.train), len(split.held_out)
        (4, 2)
    """
    hashes = fingerprints(heads, pair_names(heads))
    if not 0 < heads.held_out < len(hashes):
        msg = f"held_out must leave some of the {len(hashes)} cases and take at least one, "
        msg += f"got {heads.held_out}"
        raise ValueError(msg)
    held_out = tuple(data.fixed_list(hashes, count=heads.held_out))
    rest = sorted(set(hashes) - set(held_out), key=lambda name: hashes[name])
    parts = {"train": rest, "held out": held_out}
    data.check_splits(
        {part: {name: hashes[name] for name in names} for part, names in parts.items()}
    )
    if heads.train > len(rest):
        msg = f"train: {heads.train} cases asked for, {len(rest)} are there"
        raise ValueError(msg)
    return Split(tuple(rest), held_out, {name: hashes[name] for name in held_out})


def framed_pairs(heads: Heads, names: Sequence[str], frame: Frame) -> dict[str, Framed]:
    """Load cases, one after the other, and keep them in a frame only.

    Example:
        >>> heads, frame = Heads(size=(152, 124)), Frame(size=(32, 32))
        >>> framed_pairs(heads, ["head-004"], frame)["head-004"].xray.shape
        torch.Size([1, 32, 32])
    """
    return {pair.name: framed(pair, frame) for pair in load_pairs(heads, names)}


def detector_of(
    config: RunConfig,
    pairs: Sequence[Framed],
    *,
    detector: Detector,
    source: Literal["input", "target"],
    made_from: Mapping[str, object],
) -> nn.Module:
    """Train a detector beside the runs, or read the one that was trained on the same.

    Args:
        config: of the run that asks; the detector lies in the same folder, under a name of its own.
        pairs: to train on.
        detector: its settings.
        source: ``target`` for the judge of X-rays, ``input`` for photographs.
        made_from: whatever else decides about it, such as the frame and the cases.

    Example:
        >>> import tempfile
        >>> import torch
        >>> dark = torch.zeros(1, 32, 32)
        >>> pair = Framed(dark.expand(3, 32, 32), dark, dark + 1, torch.ones(2, 2), (1.0, 1.0))
        >>> detector = Detector(channels=(4, 8), steps=1, batch=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     config = RunConfig(folder=folder, accelerator="cpu", progress=False)
        ...     how = {"detector": detector, "source": "input", "made_from": {"cases": ["a"]}}
        ...     direct = detector_of(config, [pair], **how)
        >>> direct(pair.photo[None]).shape
        torch.Size([1, 2, 8, 8])
    """
    settings = plain({"detector": asdict(detector), "source": source, **made_from})
    text = json.dumps([settings, config.seed], sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = f"{'judge' if source == 'target' else 'direct'}-{key}"
    run = Run(replace(config, name=name), settings=settings)
    return fit_detector(run, pairs, config=detector, source=source)
