import inspect
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import DiceMetric, MeanIoU

from libimg.metrics import dice, iou

seeds = st.integers(0, 10_000)


def labels(shape: tuple[int, ...], seed: int, classes: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(classes, shape, generator=generator)


@given(seed=seeds, solid=st.booleans())
def test_agree_with_counting_by_hand(seed: int, solid: bool) -> None:
    shape = (2, 1, 3, 4, 2) if solid else (2, 1, 3, 5)
    pred, target = labels(shape, seed), labels(shape, seed + 1)
    for i in range(2):
        for k, label in enumerate((0, 2, 7)):
            a = {j for j, v in enumerate(pred[i].flatten().tolist()) if v == label}
            b = {j for j, v in enumerate(target[i].flatten().tolist()) if v == label}
            expected = (
                (2 * len(a & b) / (len(a) + len(b)), len(a & b) / len(a | b))
                if a | b
                else (math.nan, math.nan)
            )
            got = (
                dice(pred, target, classes=(0, 2, 7))[i, k].item(),
                iou(pred, target, classes=(0, 2, 7))[i, k].item(),
            )
            assert got == pytest.approx(expected, nan_ok=True)


@given(seed=seeds)
def test_masks_and_labels_say_the_same(seed: int) -> None:
    pred, target = labels((2, 1, 4, 4), seed), labels((2, 1, 4, 4), seed + 1)
    classes = torch.arange(4).reshape(1, 4, 1, 1)
    for metric in (dice, iou):
        by_label = metric(pred, target, classes=range(4))
        by_mask = metric(pred == classes, target == classes)
        assert torch.equal(by_label.nan_to_num(-1), by_mask.nan_to_num(-1))


@given(seed=seeds)
def test_laws(seed: int) -> None:
    pred, target = labels((2, 1, 3, 3), seed), labels((2, 1, 3, 3), seed + 1)
    d, j = (metric(pred, target, classes=range(4)).nan_to_num(0.5) for metric in (dice, iou))
    assert ((d >= 0) & (d <= 1)).all()
    assert (j <= d).all()
    known = ~dice(pred, target, classes=range(4)).isnan()
    assert torch.allclose(d[known], 2 * j[known] / (1 + j[known]))
    swapped = dice(target, pred, classes=range(4)).nan_to_num(0.5)
    assert torch.equal(d, swapped)
    permuted = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    shuffled = [v.flatten(2)[..., permuted] for v in (pred, target)]
    assert torch.equal(dice(*shuffled, classes=range(4)).nan_to_num(0.5), d)


@given(seed=seeds)
def test_agree_with_monai_where_the_target_has_the_class(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pred, target = torch.rand(2, 2, 3, 6, 5, generator=generator) > 0.5
    target[..., 0, 0] = True
    ours = dice(pred, target), iou(pred, target)
    theirs = (
        DiceMetric(reduction="none")(pred.float(), target.float()),
        MeanIoU(reduction="none")(pred.float(), target.float()),
    )
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b)


def test_absent_in_both_is_nan_and_in_one_is_zero() -> None:
    nothing = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    something = nothing.clone()
    something[..., 0, 0] = True
    for metric in (dice, iou):
        assert metric(nothing, nothing).isnan().all()
        assert metric(something, nothing).item() == metric(nothing, something).item() == 0
        assert metric(something, something).item() == 1
    monai = DiceMetric(reduction="none")(something.float(), nothing.float())
    assert monai.isnan().all()  # an invented structure goes unpunished there


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_any_integer_type(dtype: torch.dtype) -> None:
    pred, target = labels((2, 1, 4, 4), 0), labels((2, 1, 4, 4), 1)
    same = dice(pred.to(dtype), target.to(dtype), classes=(1, 2))
    assert torch.equal(same, dice(pred, target, classes=(1, 2)))


def test_batched_equals_one_by_one() -> None:
    pred, target = labels((3, 1, 4, 4), 0), labels((3, 1, 4, 4), 1)
    alone = [iou(p[None], t[None], classes=(1, 2)) for p, t in zip(pred, target, strict=True)]
    assert torch.equal(iou(pred, target, classes=(1, 2)), torch.cat(alone))


@pytest.mark.parametrize("metric", [dice, iou])
def test_refusals(metric: object) -> None:
    run = inspect.unwrap(metric)
    number = labels((1, 1, 4, 4), 0)
    mask = number > 0
    with pytest.raises(ValueError, match="classes are for label maps"):
        run(mask, mask, classes=(1,))
    for classes in (None, ()):
        with pytest.raises(ValueError, match="need classes="):
            run(number, number, classes=classes)
    with pytest.raises(ValueError, match=r"must be \(b, 1, \*spatial\)"):
        run(number.expand(1, 2, 4, 4), number.expand(1, 2, 4, 4), classes=(1,))
    for bad in (mask.float(), number):
        with pytest.raises(TypeError, match="both boolean or both integer"):
            run(mask, bad)
    with pytest.raises(TypeError, match=r"both boolean or both integer, got torch\.float32"):
        run(mask.float(), mask.float())
    with pytest.raises(ValueError, match="expected one shape"):
        run(mask, mask[..., :3])
