"""The five phases as data: which cases train, what is dropped, what is asked in the end."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from libimg.completion.asked import Question, questions
from libimg.completion.batches import Drop
from libimg.completion.cases import Case, Sampling, class_mask, load_case
from libimg.completion.folders import list_cases, prepare_folder
from libimg.completion.hearts import build_hearts

__all__ = ["HeartData", "Plan", "make_plan", "prepared"]


@dataclass(frozen=True, kw_only=True)
class HeartData:
    """Hearts and how they become batches.

    Args:
        folder: prepared cases (``prepare``); phantom hearts are built and prepared if empty.
        other: prepared cases of a second data set, for phase 3; if empty, some of ``folder``
            stand in for it, with other labels.
        hearts: phantom hearts to build, where there is no folder.
        spacing_mm: of their voxels.
        test: cases held out for the scores, the last ones by name.
        validation: cases held out to choose the best step, those before them.
        workers: processes that build and prepare.
        sampling: points of each case.
        inputs: points that go in, shared equally by the observed classes.
        queries: points that are asked for in each case of a batch.
        batch: cases in a step.
        drop: classes taken from the input in phase 2.
        partial: classes taken from the input in phase 4, of those that are labelled.
        labelled: classes that take part, of those that are labelled; all if empty.
        one: the class of phase 0.
        new: classes that only the second data set labels, in phase 3 (without ``other``).
        lacks: classes that only the first one labels (without ``other``).
        share: of the second data set in the batches.
        kept: labelled classes of each case in phase 4 (without ``folder``).
        max_degrees: of the random rotation.
        scale_range: of the random size.
        jitter_mm: noise of the points that go in.

    Example:
        >>> HeartData(hearts=40).drop.most
        5
    """

    folder: str = ""
    other: str = ""
    hearts: int = 28
    spacing_mm: float = 2.5
    test: int = 4
    validation: int = 2
    workers: int = 2
    sampling: Sampling = field(default_factory=Sampling)
    inputs: int = 2048
    queries: int = 2048
    batch: int = 8
    drop: Drop = field(default_factory=lambda: Drop(fewest=2, most=5))
    partial: Drop = field(default_factory=lambda: Drop(fewest=0, most=2))
    labelled: tuple[str, ...] = ()
    one: str = "LV"
    new: tuple[str, ...] = ("LAA", "PV")
    lacks: tuple[str, ...] = ("Coronary", "RA")
    share: float = 0.05
    kept: int = 5
    max_degrees: float = 10.0
    scale_range: tuple[float, float] = (0.9, 1.1)
    jitter_mm: float = 0.5


@dataclass(frozen=True)
class Plan:
    """What a phase trains on and is asked.

    Attributes:
        sets: training cases of each data set.
        held: cases that choose the best step, of each data set.
        shares: of the data sets in the batches.
        hide: classes of each data set that its inputs lack in half of the draws.
        drop: classes dropped from inputs.
        asked: questions of the final scores, by name of the group.
        classes: name to label.

    Example:
        >>> Plan([[], []], [[], []], (0.95, 0.05), ((), ()), Drop(), {}, {"LV": 3}).cases
        []
    """

    sets: list[list[Case]]
    held: list[list[Case]]
    shares: tuple[float, ...]
    hide: tuple[tuple[str, ...], ...]
    drop: Drop
    asked: dict[str, list[Question]]
    classes: dict[str, int]

    @property
    def cases(self) -> list[Case]:
        """All training cases."""
        return [case for cases in self.sets for case in cases]

    def how(self, data: HeartData) -> dict[str, Any]:
        """Options of `draw_batch`."""
        return {
            "batch": data.batch,
            "inputs": data.inputs,
            "queries": data.queries,
            "drop": self.drop,
            "shares": self.shares,
            "hide": self.hide,
            "max_degrees": data.max_degrees,
            "scale_range": data.scale_range,
            "jitter_mm": data.jitter_mm,
        }


def prepared(
    data: HeartData, folder: Path, *, classes: Mapping[str, int], seed: int, progress: bool = False
) -> list[Path]:
    """List the prepared cases; build and prepare phantom hearts first if there is no folder.

    Args:
        data: where they are, or how many to build.
        folder: for what is built.
        classes: name to label, of phantom hearts.
        seed: of phantom hearts.
        progress: show progress bars.

    Raises:
        ValueError: a phantom heart could not be prepared.

    Example:
        >>> import tempfile
        >>> from libimg.phantoms import HEART_CLASSES
        >>> few = Sampling(surface=64, near=64, volume=128, grid=16)
        >>> data = HeartData(hearts=1, spacing_mm=8.0, workers=1, sampling=few)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = prepared(data, Path(folder), classes=HEART_CLASSES, seed=0)
        >>> [path.name for path in paths]
        ['heart_0_8mm_0000.h5']
    """
    if data.folder:
        return list_cases(Path(data.folder))
    key = hashlib.sha256(repr((data.sampling, sorted(classes.items()), seed)).encode())
    target = folder / f"prepared_{key.hexdigest()[:8]}"  # runs with other points keep theirs
    files = build_hearts(
        folder,
        number=data.hearts,
        spacing_mm=data.spacing_mm,
        seed=seed,
        workers=data.workers,
        progress=progress,
    )
    wanted = {path.name.removesuffix(".nii.gz") for path in files}
    how: Any = {"classes": classes, "labelled": list(classes), "sampling": data.sampling}
    how |= {"workers": data.workers, "progress": progress, "seed": seed}
    found = prepare_folder(files, target, **how)
    bad = [f"{o.source}: {o.notes}" for o in found if o.state == "failed"]
    if bad:
        raise ValueError("; ".join(bad))
    return [path for path in list_cases(target) if path.stem in wanted]


def make_plan(phase: int, data: HeartData, paths: Sequence[Path], *, seed: int = 0) -> Plan:
    """Lay out one of the phases.

    0, one class in and out. 1, all classes in and out. 2, some classes in, all out. 3, two data
    sets with different labels, nothing dropped but what the other data set does not label.
    4, cases with partial labels.

    Args:
        phase: 0 to 4.
        data: see `HeartData`.
        paths: prepared cases.
        seed: of the questions, and of the partial labels of phantom hearts.

    Raises:
        ValueError: an unknown phase, too few cases, or different tables of classes.

    Example:
        >>> import tempfile
        >>> from libimg.phantoms import HEART_CLASSES
        >>> few = Sampling(surface=64, near=64, volume=128, grid=16)
        >>> data = HeartData(hearts=3, test=1, validation=1, spacing_mm=8.0, sampling=few)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     how = {"classes": HEART_CLASSES, "seed": 0}
        ...     plan = make_plan(2, data, prepared(replace(data, workers=1), Path(folder), **how))
        >>> len(plan.cases), [question.name for question in plan.asked["test"]]
        (1, ['heart_0_8mm_0002 without ...'])
    """
    if phase not in range(5):
        msg = f"phase must be 0 to 4, got {phase}"
        raise ValueError(msg)
    away = data.test + data.validation
    if len(paths) <= away or data.test < 1 or data.validation < 1:
        msg = f"data: test and validation must be 1 or more and leave some of {len(paths)} cases, "
        msg += f"got {data.test} and {data.validation}"
        raise ValueError(msg)
    cases = [load_case(path) for path in paths]
    if data.labelled:
        cases = [_only(case, data.labelled) for case in cases]
    if phase == 0:
        cases = [_only(case, [data.one]) for case in cases]
    if phase == 4 and not data.folder:
        cases = [_partial(case, data.kept, number) for number, case in enumerate(cases)]
    empty = [case.name for case in cases if not bool(case.present.any())]
    if empty:
        msg = f"{', '.join(empty)}: without a voxel of the labelled classes "
        msg += f"{[n for n, m in zip(cases[0].classes, _any(cases), strict=True) if m]}"
        raise ValueError(msg)
    train, held, test = cases[:-away], cases[-away : -data.test], cases[-data.test :]
    drop = {2: data.drop, 4: data.partial}.get(phase, Drop())
    asked = {"test": questions(test, drop=drop if phase == 2 else Drop(), seed=seed)}
    plan = Plan([train], [held], (1.0,), ((),), drop, asked, cases[0].classes)
    if phase == 3:
        plan = _two_sets(plan, data, seed)
    for case in [*plan.cases, *test]:
        _fits(case, data.sampling, cases[0].classes)
    return plan


def _only(case: Case, names: Sequence[str]) -> Case:
    """Leave out all other classes: neither labelled nor scored."""
    return replace(case.restrict(names), known=case.known & class_mask(names, case.classes))


def _fits(case: Case, sampling: Sampling, classes: Mapping[str, int]) -> None:
    """Refuse a case that was prepared with other classes, or in another unit."""
    if case.classes != classes:
        msg = f"{case.name}: prepared with the classes {case.classes}, others with {dict(classes)}"
        raise ValueError(msg)
    for name in ("grid", "band_mm", "half_mm"):
        there, here = getattr(case.sampling, name), getattr(sampling, name)
        if there != here:
            msg = f"{case.name}: prepared with {name} {there}, but data.sampling.{name} is {here}"
            raise ValueError(msg)


def _two_sets(plan: Plan, data: HeartData, seed: int) -> Plan:
    """Divide the cases in two data sets, or add the other one."""
    (train,), (held,), names = plan.sets, plan.held, list(plan.classes)
    test = [q.case for q in plan.asked["test"]]
    if data.other:
        second = [load_case(path) for path in list_cases(Path(data.other))]
        away = data.test + data.validation
        if len(second) <= away:
            msg = f"{data.other}: expected more than {away} cases (data.test and data.validation "
            msg += f"of them are kept back), got {len(second)}"
            raise ValueError(msg)
        _apart([*train, *held, *test], second, data.other)
        parts = [second[:-away], second[-away : -data.test], second[-data.test :]]
        of_a = [n for n, m in zip(names, _any(train), strict=True) if m]
        of_b = [n for n, m in zip(names, _any(second), strict=True) if m]
    else:
        of_a = [name for name in names if name not in data.new]
        of_b = [name for name in names if name not in data.lacks]
        few = max(1, round(data.share * len(train)))
        if len(train) < 2:
            msg = "data: two data sets need two training cases or more, got one"
            raise ValueError(msg)
        parts = [[c.restrict(of_b) for c in part] for part in (train[:few], held, test)]
        train, held, test = ([c.restrict(of_a) for c in part] for part in (train[few:], held, test))
    new = tuple(name for name in of_b if name not in of_a)
    lacks = tuple(name for name in of_a if name not in of_b)
    seen = class_mask(of_a, plan.classes)
    test = [replace(case, known=case.known & seen) for case in test]
    asked = {
        "first data set": questions(test, drop=data.drop, seed=seed),
        "second data set, seen as the first": [
            Question(case, case.labelled & seen, case.name) for case in parts[2]
        ],
    }
    shares, hide = (1 - data.share, data.share), (lacks, new)
    return Plan([train, parts[0]], [held, parts[1]], shares, hide, Drop(), asked, plan.classes)


def _apart(first: Sequence[Case], second: Sequence[Case], folder: str) -> None:
    """Refuse a heart that is in both data sets: one may train on what the other is tested on."""
    files = {case.source["sha256"]: case.name for case in first}
    for case in second:
        same = files.get(case.source["sha256"])
        if same is not None:
            msg = f"{folder}: {case.name} is the same label map as {same} of data.folder"
            raise ValueError(msg)


def _any(cases: Sequence[Case]) -> list[bool]:
    return torch.stack([case.labelled for case in cases]).any(0).tolist()


def _partial(case: Case, kept: int, number: int) -> Case:
    """Forget the labels of all but some classes."""
    order = torch.randperm(len(case.classes), generator=torch.Generator().manual_seed(number))
    names = list(case.classes)
    return case.restrict([names[i] for i in order[:kept].tolist()])
