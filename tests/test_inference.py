import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference
from torch import Tensor
from torch.nn import functional as F

from libimg.inference import best_device, ready, sliding_window, tta, tta_variants

sizes = st.lists(st.integers(3, 11), min_size=2, max_size=3)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pointwise(v: Tensor) -> Tensor:
    """Two output channels for any number of input channels, no neighbours."""
    return torch.stack((v.sum(1).tanh(), v.square().mean(1)), 1)


def smooth(v: Tensor) -> Tensor:
    """Mean of 3 by 3 neighbours with zeros outside: equivariant to flips and quarter turns."""
    return F.avg_pool2d(v, 3, stride=1, padding=1)


def positional(v: Tensor) -> Tensor:
    """An image of the first axis: not equivariant at all."""
    ramp = torch.arange(v.shape[-2], dtype=v.dtype)[:, None]
    return v + ramp


@settings(max_examples=25)
@given(
    size=sizes,
    window=st.integers(2, 12),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.9]),
    batch=st.integers(1, 5),
    blend=st.sampled_from(["gaussian", "hann", "constant"]),
)
def test_pointwise_models_do_not_see_the_windows(
    size: list[int], window: int, overlap: float, batch: int, blend: str
) -> None:
    x = noise(2, 3, *size)
    out = sliding_window(x, pointwise, window=window, overlap=overlap, batch=batch, blend=blend)
    assert torch.allclose(out, pointwise(x))


@settings(max_examples=10)
@given(size=sizes, window=st.integers(2, 12))
def test_weights_are_a_partition_of_unity(size: list[int], window: int) -> None:
    x = noise(1, 1, *size)
    out = sliding_window(x, torch.ones_like, window=window, overlap=0.5)
    assert torch.allclose(out, torch.ones_like(x))


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
@pytest.mark.parametrize(
    ("size", "window"), [((17, 23), (8, 10)), ((9, 8), (9, 5)), ((9, 11, 10), (4, 6, 10))]
)
def test_agrees_with_monai(
    size: tuple[int, ...], window: tuple[int, ...], overlap: float, blend: str
) -> None:
    x = noise(2, 1, *size, dtype=torch.float32)

    def model(v: Tensor) -> Tensor:  # its output depends on where the window lies
        ramp = torch.linspace(-1, 1, v.shape[-1])
        return torch.cat((v * ramp, v + v.flip(-1)), 1)

    ours = sliding_window(x, model, window=window, overlap=overlap, blend=blend)
    theirs = sliding_window_inference(x, window, 3, model, overlap=overlap, mode=blend)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_gaussian_blend_trusts_the_middle() -> None:
    """Seams of a model that is wrong at the rim of its window shrink under the Gaussian."""
    x = torch.zeros(1, 1, 32, 32)

    def rim(v: Tensor) -> Tensor:
        out = torch.ones_like(v)
        out[..., 1:-1, 1:-1] = 0
        return out

    inner = (slice(None), slice(None), slice(8, 24), slice(8, 24))
    worst = {
        blend: sliding_window(x, rim, window=16, overlap=0.5, blend=blend)[inner].max().item()
        for blend in ("gaussian", "hann", "constant")
    }
    assert max(worst["gaussian"], worst["hann"]) < 0.02
    assert worst["constant"] >= 0.25


def test_batch_size_does_not_matter_and_windows_are_whole() -> None:
    x = noise(2, 1, 13, 9)
    seen: list[torch.Size] = []

    def model(v: Tensor) -> Tensor:
        seen.append(v.shape)
        return smooth(v)

    runs = [sliding_window(x, model, window=(6, 4), batch=batch) for batch in (1, 3, 100)]
    assert torch.allclose(runs[0], runs[1])
    assert torch.allclose(runs[0], runs[2])
    assert {shape[1:] for shape in seen} == {(1, 6, 4)}
    alone = torch.cat([sliding_window(one[None], smooth, window=(6, 4)) for one in x])
    assert torch.allclose(runs[0], alone)


@pytest.mark.parametrize(("width", "tail"), [(4, [3, 2, 1]), (2, [2, 2, 2, 2, 2])])
def test_small_images_are_reflected_or_repeated(width: int, tail: list[float]) -> None:
    x = torch.arange(1.0, width + 1).expand(1, 1, 8, width)
    seen = []

    def model(v: Tensor) -> Tensor:
        seen.append(v)
        return v

    out = sliding_window(x, model, window=(8, width + len(tail)))
    assert torch.allclose(out, x)
    assert seen[0][0, 0, 0, width:].tolist() == tail


def test_one_window_that_fits_is_the_model_itself() -> None:
    x = noise(1, 2, 6, 7)
    assert torch.allclose(sliding_window(x, smooth, window=(6, 7)), smooth(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dtype_is_kept_without_gradients_or_writes(dtype: torch.dtype) -> None:
    x = noise(1, 1, 9, 9, dtype=dtype).requires_grad_()
    before = x.detach().clone()
    for out in (
        sliding_window(x, lambda v: v * 2, window=4),
        tta(x, lambda v: v * 2, flips=(0,), rotations=(10.0, 90.0)),
    ):
        assert out.dtype == dtype
        assert not out.requires_grad
    assert torch.equal(x, before)


def test_progress_bar_reaches_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    x = noise(1, 1, 8, 8)
    out = sliding_window(x, smooth, window=4, overlap=0.0, batch=1, progress=True)
    assert torch.equal(out, sliding_window(x, smooth, window=4, overlap=0.0, batch=1))
    assert "4/4" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": (4, 4, 4)},
        {"window": 0},
        {"overlap": 1.0},
        {"overlap": -0.1},
        {"batch": 0},
        {"blend": "hamming"},
    ],
)
def test_sliding_refuses_bad_options(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected 2 window sizes|blend must be one of"):
        inspect.unwrap(sliding_window)(noise(1, 1, 8, 8), smooth, **{"window": 4, **wrong})


def test_sliding_refuses_models_and_images_that_do_not_fit() -> None:
    x = noise(1, 1, 8, 8)
    with pytest.raises(ValueError, match="model must return"):
        sliding_window(x, lambda v: v[..., :-1], window=4)
    with pytest.raises(ValueError, match="at least one sample"):
        sliding_window(x[:0], smooth, window=4)
    with pytest.raises(ValueError, match="2 or 3 spatial axes"):
        sliding_window(x[0], smooth, window=4)


@given(
    flips=st.lists(st.integers(0, 2), unique=True),
    rotations=st.lists(st.integers(1, 359).map(float), unique=True, max_size=3),
)
def test_variants_are_counted_and_distinct(flips: list[int], rotations: list[float]) -> None:
    variants = tta_variants(flips=flips, rotations=rotations)
    assert len(variants) == len(set(variants)) == 2 ** len(flips) * (1 + len(rotations))
    assert variants[0] == ((), 0.0)
    calls = []
    tta(noise(1, 1, 4, 4, 4), lambda v: calls.append(v) or v, flips=flips, rotations=rotations)
    assert len(calls) == len(variants)


@settings(max_examples=15)
@given(
    size=sizes,
    flips=st.lists(st.integers(0, 1), unique=True),
    rotations=st.lists(st.sampled_from([90.0, 180.0, 270.0, -90.0]), unique_by=lambda v: v % 360),
)
def test_flips_and_quarter_turns_are_exact(
    size: list[int], flips: list[int], rotations: list[float]
) -> None:
    x = noise(2, 2, *size)
    assert torch.allclose(tta(x, lambda v: v, flips=flips, rotations=rotations), x, rtol=1e-14)
    if len(size) == 2:
        out = tta(x, smooth, flips=flips, rotations=rotations)
        assert torch.allclose(out, smooth(x), rtol=1e-12, atol=1e-14)


def test_mean_over_flips_by_hand() -> None:
    x = noise(1, 1, 5, 4)
    flipped = positional(x.flip(2)).flip(2)
    assert torch.allclose(tta(x, positional, flips=(0,)), (positional(x) + flipped) / 2)
    assert torch.allclose(tta(x, positional, flips=(0,)), x + 2.0)
    turned = torch.rot90(positional(torch.rot90(x, 1, (2, 3))), -1, (2, 3))
    assert torch.allclose(tta(x, positional, rotations=(90.0,)), (positional(x) + turned) / 2)


def bump(height: int, width: int, row: float, column: float) -> Tensor:
    r = torch.arange(height, dtype=torch.float64)[:, None] - row
    c = torch.arange(width, dtype=torch.float64) - column
    return torch.exp(-(r.square() + c.square()) / 18)[None, None]


@pytest.mark.parametrize("degrees", [-10.0, -3.0, 4.0, 15.0, 47.0])
@pytest.mark.parametrize("size", [(40, 40), (31, 44)])
def test_small_rotations_return_the_image(degrees: float, size: tuple[int, int]) -> None:
    x = bump(*size, 14.0, 20.0)
    assert torch.allclose(tta(x, lambda v: v, rotations=(degrees,)), x, atol=2e-2)
    volume = torch.stack((x, 2 * x, -x), 2)
    out = tta(volume, lambda v: v, rotations=(degrees,))
    assert torch.allclose(
        out, torch.stack([tta(v, lambda v: v, rotations=(degrees,)) for v in volume.unbind(2)], 2)
    )


@pytest.mark.parametrize("degrees", [20.0, -35.0])
def test_model_sees_a_true_rotation(degrees: float) -> None:
    """Distances are kept on an image that is not square, and turns go the way of rot90."""
    seen = []
    size, centre = (41, 61), (20.0, 30.0)
    tta(bump(*size, 12.0, 30.0), lambda v: seen.append(v) or v, rotations=(degrees,))
    radians = math.radians(degrees)
    # rot90 over (row, column) takes the point (r, c) about the centre to (-c, r)
    row = centre[0] + (12.0 - centre[0]) * math.cos(radians)
    column = centre[1] + (12.0 - centre[0]) * math.sin(radians)
    assert torch.allclose(seen[1], bump(*size, row, column), atol=2e-2)
    assert not torch.allclose(seen[1], bump(*size, row, 60 - column), atol=0.2)


def test_constant_images_stay_constant_up_to_the_border() -> None:
    x = torch.full((1, 1, 12, 17), 3.0)
    out = tta(x, lambda v: v, flips=(0, 1), rotations=(-20.0, 30.0, 45.0, 90.0))
    assert torch.allclose(out, x, atol=1e-5)


def test_corners_that_left_the_frame_do_not_count() -> None:
    """A model that answers differently for turned images reaches the corner only unturned."""
    x = noise(1, 1, 21, 21)
    calls = iter([0.0, 100.0])
    out = tta(x, lambda v: torch.full_like(v, next(calls)), rotations=(45.0,))
    assert out[0, 0, 0, 0] == out[0, 0, -1, -1] == 0
    assert out[0, 0, 10, 10] == 50


@pytest.mark.parametrize("flip", [0, 1])
def test_frame_of_a_flipped_and_turned_copy(flip: int) -> None:
    """That copy counts where the flipped and then turned voxel lies in the frame."""
    calls = iter([0.0, 0.0, 0.0, 1.0])
    x = noise(1, 1, 21, 21)
    model = lambda v: torch.full_like(v, next(calls))  # noqa: E731
    out = tta(x, model, flips=(flip,), rotations=(25.0,))[0, 0]
    cos, sin = math.cos(math.radians(25)), math.sin(math.radians(25))
    for i in range(21):
        for j in range(21):
            r, c = i - 10, j - 10
            r, c = (-r, c) if flip == 0 else (r, -c)
            depth = 10 - max(abs(cos * r - sin * c), abs(sin * r + cos * c))
            if depth > 0.01:
                assert out[i, j] > 0.2
            elif depth < -1:
                assert out[i, j] == 0


def test_tta_batched_equals_one_by_one() -> None:
    x = noise(3, 1, 9, 9)
    options = {"flips": (1,), "rotations": (7.0, 180.0)}
    alone = torch.cat([tta(one[None], positional, **options) for one in x])
    assert torch.allclose(tta(x, positional, **options), alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flips": (2,)}, r"flips must be spatial axes in \[0, 2\), got \(2,\)"),
        ({"flips": (-1,)}, "flips must be spatial axes"),
        ({"flips": (0, 0)}, "must not repeat"),
        ({"rotations": (0.0,)}, "full turns"),
        ({"rotations": (360.0,)}, "full turns"),
        ({"rotations": (90.0, -270.0)}, "must not repeat"),
    ],
)
def test_tta_refuses_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tta(noise(1, 1, 4, 4), smooth, **options)


def test_a_ready_network_answers_where_it_is_asked() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.Dropout(0.9))
    x = noise(1, 1, 3, 4, dtype=torch.float32)
    for low in (None, torch.bfloat16):
        answer = ready(net, autocast=low)(x)
        assert answer.dtype == torch.float32
        assert not answer.requires_grad
        torch.testing.assert_close(answer, net[0](x).detach(), rtol=0.02, atol=0.02)
    assert ready(torch.nn.Identity())(x.double()).dtype == torch.float32
    assert best_device().type in ("cpu", "cuda", "mps")
