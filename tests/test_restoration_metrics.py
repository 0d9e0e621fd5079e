"""8-bit protocol, luma, PSNR-B and the SSIM of other projects."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from libimg import metrics
from libimg.metrics import SSIM_PRESETS, psnr, psnr_8bit, psnr_b, ssim_preset, to_8bit, to_y
from libimg.ranges import BYTE, SIGNED, UNIT, ValueRange


def images(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def tensor(picture: Image.Image) -> Tensor:
    """``(1, c, h, w)`` in float64, 0 to 255."""
    array = np.atleast_3d(np.array(picture)).astype(np.float64)
    return torch.from_numpy(array).movedim(-1, 0)[None]


def jpeg(gray: Tensor, quality: int) -> Tensor:
    """A gray image in 0 to 255 through libjpeg."""
    file = io.BytesIO()
    Image.fromarray(gray[0, 0].numpy().astype(np.uint8)).save(file, "JPEG", quality=quality)
    return tensor(Image.open(file))


def smooth(height: int, width: int) -> Tensor:
    """Waves in 0 to 255 that JPEG at low quality breaks into blocks."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    wave = torch.sin(x.double() / 9 + y.double() / 23) + torch.cos(y.double() / 11 - x / 31)
    return (127 + 60 * wave)[None, None].round()


# eight bits


@given(seed=st.integers(0, 99), lo=st.floats(-1000, 1000), span=st.floats(0.1, 5000))
def test_8bit_is_what_numpy_writes_to_a_file(seed: int, lo: float, span: float) -> None:
    unit = images((2, 3, 5, 4), seed) * 1.4 - 0.2
    stored = (unit.clamp(0, 1) * 255).numpy().round().astype(np.uint8)
    bounds = ValueRange(lo, lo + span)
    got = to_8bit(UNIT.to(unit, bounds), data_range=bounds)
    assert_close(bounds.to(got, BYTE), torch.from_numpy(stored).double(), rtol=0, atol=1e-6)
    assert_close(to_8bit(got, data_range=bounds), got, rtol=0, atol=1e-9 * (abs(lo) + span))


def test_halves_round_to_even() -> None:
    x = torch.tensor([[[0.5, 1.5, 2.5, 254.5]]])
    assert to_8bit(x, data_range=BYTE).flatten().tolist() == [0, 2, 2, 254]


@pytest.mark.parametrize("data_range", [1.0, 255.0, SIGNED])
def test_psnr_8bit_follows_the_papers(data_range: float | ValueRange) -> None:
    bounds = data_range if isinstance(data_range, ValueRange) else ValueRange(0, data_range)
    target, pred = images((3, 3, 9, 8)), images((3, 3, 9, 8), 1) * 1.2 - 0.1
    ours = [UNIT.to(x, bounds).float() for x in (pred, target)]
    got, luma = (psnr_8bit(*ours, data_range=data_range, space=s) for s in ("rgb", "y"))
    for i in range(3):
        a, b = ((x[i].clamp(0, 1) * 255).round().numpy() for x in (pred, target))
        assert got[i].item() == pytest.approx(20 * math.log10(255 / np.sqrt(((a - b) ** 2).mean())))
        a, b = (np.tensordot([65.481, 128.553, 24.966], x / 255, 1) + 16 for x in (a, b))
        expected = 20 * math.log10(255 / np.sqrt(((a - b) ** 2).mean()))
        assert luma[i].item() == pytest.approx(expected, abs=1e-4)


def test_psnr_8bit_of_what_rounds_to_the_same_is_infinite() -> None:
    x = images((1, 1, 4, 4)).mul(255).round() / 255
    assert psnr_8bit(x + 0.001, x, data_range=1.0).item() == math.inf
    assert psnr(x + 0.001, x, data_range=1.0).item() == pytest.approx(60)
    half = psnr_8bit(x.half() + 0.1, x.half(), data_range=1.0)
    assert half.dtype == torch.float32


# luma


def test_luma_of_known_colours() -> None:
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]).double()
    expected = torch.tensor([16, 235, 81.481, 144.553, 40.966]).double()
    got = to_y(colours.view(5, 3, 1, 1), data_range=1.0)
    assert_close(got.flatten() * 255, expected)
    signed = to_y(colours.view(5, 3, 1, 1) * 2 - 1, data_range=SIGNED)
    assert_close(SIGNED.to(signed, UNIT), got)


def test_luma_agrees_with_scikit_image() -> None:
    color = pytest.importorskip("skimage.color")
    x = images((1, 3, 6, 5))
    expected = color.rgb2ycbcr(x[0].movedim(0, -1).numpy())[..., 0]
    got = to_y(x * 255, data_range=BYTE)[0, 0].numpy()
    np.testing.assert_allclose(got, expected, atol=1e-3)  # their weights end at three digits too


def test_every_image_metric_can_be_taken_of_the_luma() -> None:
    target = images((2, 3, 176, 176), dtype=torch.float32)
    pred = 0.9 * target + 0.1 * images((2, 3, 176, 176), 1, torch.float32)
    a, b = (to_y(x, data_range=1.0) for x in (pred, target))
    for metric in (metrics.psnr, metrics.ssim, metrics.ms_ssim, psnr_b, psnr_8bit):
        value = metric(a, b, data_range=1.0)
        assert value.shape == (2,)
        assert value.isfinite().all()
    y = psnr_8bit(pred, target, data_range=1.0, space="y")
    assert (y > psnr(pred, target, data_range=1.0)).all()


# blocks


def psnr_b_oracle(
    pred: np.ndarray, target: np.ndarray, span: float, block: int, phase: tuple[int, int]
) -> float:
    """Pixel by pixel, from the definition of Yim and Bovik."""
    across, within = [], []
    height, width = pred.shape
    for r in range(height):
        for c in range(width):
            for dr, dc in ((0, 1), (1, 0)):
                if r + dr < height and c + dc < width:
                    cell = ((r + phase[0]) // block, (c + phase[1]) // block)
                    other = ((r + dr + phase[0]) // block, (c + dc + phase[1]) // block)
                    step = (pred[r, c] - pred[r + dr, c + dc]) ** 2
                    (within if cell == other else across).append(step)
    excess = np.mean(across) - np.mean(within)
    eta = math.log2(block) / math.log2(min(height, width)) if excess > 0 else 0.0
    return 10 * math.log10(span**2 / (((pred - target) ** 2).mean() + eta * excess))


@given(
    size=st.tuples(st.integers(9, 20), st.integers(9, 20)),
    block=st.sampled_from([2, 5, 8]),
    phase=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    blocky=st.booleans(),
    seed=st.integers(0, 99),
)
def test_psnr_b_follows_the_definition(
    size: tuple[int, int], block: int, phase: tuple[int, int], blocky: bool, seed: int
) -> None:
    phase = (phase[0] % block, phase[1] % block)
    target = images((2, 1, *size), seed)
    pred = target + 0.1 * images((2, 1, *size), seed + 1)
    if blocky:
        rows, columns = ((torch.arange(n) + p) // block for n, p in zip(size, phase, strict=True))
        pred = pred + 0.8 * ((rows[:, None] + columns) % 2)
    got = psnr_b(pred, target, data_range=2.0, block=block, phase=phase)
    for i in range(2):
        a, b = pred[i, 0].numpy(), target[i, 0].numpy()
        assert got[i].item() == pytest.approx(psnr_b_oracle(a, b, 2.0, block, phase))


@pytest.mark.parametrize("side", [64, 100])
def test_psnr_b_and_torchmetrics(side: int) -> None:
    """Equal where no blocks show; elsewhere theirs divides by a wrong number of borders."""
    image = pytest.importorskip("torchmetrics.functional.image")
    theirs = image.peak_signal_noise_ratio_with_blocked_effect
    target = smooth(side, side)
    noisy = target + 20 * images(target.shape)
    noisy[..., 8::8] = noisy[..., 7:-1:8]  # no step across a border
    noisy[:, :, 8::8] = noisy[:, :, 7:-1:8]
    assert_close(psnr_b(noisy, target, data_range=255.0)[0], theirs(noisy, target, 255.0).double())
    blocky = jpeg(target, 5)
    ours, other = psnr_b(blocky, target, data_range=255.0).item(), theirs(blocky, target, 255.0)
    assert 0.05 < other.item() - ours < 0.6
    # with their counts in place of the borders there are, the numbers agree
    step = [blocky.diff(dim=axis).square() for axis in (2, 3)]
    border = torch.arange(side - 1) % 8 == 7
    across = float(step[0][:, :, border].sum() + step[1][..., border].sum())
    within = float(sum(s.sum() for s in step)) - across
    counted = 2 * (side * side / 8 - 1)
    excess = across / counted - within / (2 * side * (side - 1) - counted)
    error = (blocky - target).square().mean() + 3 / math.log2(side) * excess
    assert other.item() == pytest.approx(10 * math.log10(255**2 / error), abs=1e-4)


def test_psnr_b_of_a_batch_is_that_of_each() -> None:
    """Pooled, as in torchmetrics, the blocks of one image would lower the other."""
    target = smooth(40, 48).repeat(3, 1, 1, 1)
    pred = torch.cat([jpeg(target[:1], q) for q in (5, 50)] + [target[:1]])
    both = psnr_b(pred, target, data_range=255.0)
    alone = [psnr_b(p[None], t[None], data_range=255.0) for p, t in zip(pred, target, strict=True)]
    assert_close(both, torch.cat(alone))
    assert both[0] < both[1] < both[2]
    flat = torch.full((1, 1, 16, 16), 7.0)
    assert psnr_b(flat, flat, data_range=255.0).item() == math.inf


def test_psnr_b_sees_the_grid_and_its_phase() -> None:
    target = smooth(64, 72)
    pred = jpeg(target, 8)
    plain = psnr(pred, target, data_range=255.0)
    assert psnr_b(pred, target, data_range=255.0) < plain - 0.5
    cut, truth = pred[..., 3:, 5:], target[..., 3:, 5:]
    right = psnr_b(cut, truth, data_range=255.0, phase=(3, 5))
    assert right < psnr_b(cut, truth, data_range=255.0) - 0.5
    assert psnr_b(pred / 255, target / 255, data_range=1.0).item() == pytest.approx(
        psnr_b(pred, target, data_range=BYTE).item()
    )


# presets


def peer(preset: str, x: Tensor, y: Tensor, span: float) -> list[float]:
    """The project itself, image by image, in float64."""
    pairs = list(zip(x, y, strict=True))
    if preset in ("matlab", "skimage"):
        skimage = pytest.importorskip("skimage.metrics")
        gauss = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        options = gauss if preset == "matlab" else {}
        return [
            skimage.structural_similarity(
                a.numpy(), b.numpy(), data_range=span, channel_axis=0, **options
            )
            for a, b in pairs
        ]
    if preset == "torchmetrics":
        image = pytest.importorskip("torchmetrics.functional.image")
        f = image.structural_similarity_index_measure
        return [f(a[None], b[None], data_range=span).item() for a, b in pairs]
    piq = pytest.importorskip("piq")
    return [piq.ssim(a[None], b[None], data_range=span).item() for a, b in pairs]


@pytest.mark.parametrize("preset", SSIM_PRESETS)
@pytest.mark.parametrize(("shape", "span"), [((2, 3, 33, 29), 1.0), ((1, 1, 20, 41), 255.0)])
@pytest.mark.filterwarnings("ignore")
def test_presets_are_the_projects(preset: str, shape: tuple[int, ...], span: float) -> None:
    x = images(shape) * span
    y = 0.7 * x + 0.3 * images(shape, 1) * span
    expected = peer(preset, x, y, span)
    got = ssim_preset(x, y, preset=preset, data_range=span)
    assert got.dtype == torch.float64
    assert got.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_piq_averages_large_images_first() -> None:
    x = images((1, 1, 384, 400))
    y = 0.7 * x + 0.3 * images(x.shape, 1)
    got = ssim_preset(x, y, preset="piq", data_range=1.0)
    assert got.tolist() == pytest.approx(peer("piq", x, y, 1.0), abs=1e-9)
    assert abs(got.item() - ssim_preset(x, y, preset="matlab", data_range=1.0).item()) > 1e-3


@pytest.mark.parametrize("preset", ["matlab", "skimage", "torchmetrics"])
@pytest.mark.filterwarnings("ignore")
def test_presets_of_volumes(preset: str) -> None:
    x = images((1, 1, 13, 12, 14))
    y = 0.7 * x + 0.3 * images(x.shape, 1)
    got = ssim_preset(x, y, preset=preset, data_range=1.0)
    assert got.tolist() == pytest.approx(peer(preset, x, y, 1.0), abs=1e-9)


@pytest.mark.parametrize("preset", SSIM_PRESETS)
def test_presets_are_one_value_a_sample_and_know_ranges(preset: str) -> None:
    x, y = images((3, 2, 24, 17), 3), images((3, 2, 24, 17), 4)
    both = ssim_preset(x, y, preset=preset, data_range=1.0)
    alone = [
        ssim_preset(a[None], b[None], preset=preset, data_range=1.0)
        for a, b in zip(x, y, strict=True)
    ]
    assert_close(both, torch.cat(alone))
    assert_close(ssim_preset(2 * x - 1, 2 * y - 1, preset=preset, data_range=SIGNED), both)
    assert_close(ssim_preset(x, x, preset=preset, data_range=1.0), torch.ones(3).double())
    half = ssim_preset(x.half(), y.half(), preset=preset, data_range=1.0)
    assert_close(half, both.float(), rtol=0, atol=2e-3)


# refusals


def test_bad_arguments_are_named() -> None:
    x, colour = images((1, 1, 16, 16)), images((1, 3, 16, 16))
    with pytest.raises(ValueError, match="data_range must be above 0"):
        to_8bit(x, data_range=0.0)
    with pytest.raises(ValueError, match="x must have 3 channels"):
        to_y(x, data_range=1.0)
    with pytest.raises(ValueError, match=r"1 channel \(gray, or luma by to_y\), got 3"):
        psnr_b(colour, colour, data_range=1.0)
    with pytest.raises(ValueError, match="longer than block 8"):
        psnr_b(x[..., :8], x[..., :8], data_range=1.0)
    with pytest.raises(ValueError, match=r"phase inside it, got 8 and \(0, 8\)"):
        psnr_b(x, x, data_range=1.0, phase=(0, 8))
    with pytest.raises(ValueError, match="at least 7 along every axis"):
        ssim_preset(x[..., :6], x[..., :6], preset="skimage", data_range=1.0)
    with pytest.raises(ValueError, match="data_range must be above 0"):
        ssim_preset(x, x, preset="skimage", data_range=-1.0)


@pytest.mark.usefixtures("unchecked")
def test_bad_choices_are_named() -> None:
    x = images((1, 1, 16, 16))
    with pytest.raises(ValueError, match="space must be one of 'rgb', 'y', got 'lab'"):
        psnr_8bit(x, x, data_range=1.0, space="lab")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="preset must be one of 'matlab'"):
        ssim_preset(x, x, preset="kornia", data_range=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected one shape"):
        psnr_b(x, x[..., :9], data_range=1.0)


# published numbers


def restoration(data_folder: Path, name: str) -> Path:
    path = data_folder / "restoration" / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


def test_reference_value_of_ssim(data_folder: Path) -> None:
    """The first image of CBSD68 (0000.png, number 3096 of BSDS) with noise of sigma 25."""
    clean = tensor(Image.open(restoration(data_folder, "CBSD68/3096.png")).convert("RGB"))
    noise = np.random.default_rng(0).normal(0, 25, (321, 481, 3))
    noisy = (clean + torch.from_numpy(noise).movedim(-1, 0)).round().clamp(0, 255)
    expected = {"matlab": 0.13743, "skimage": 0.1400, "torchmetrics": 0.13571, "piq": 0.13743}
    got = {p: ssim_preset(noisy, clean, preset=p, data_range=BYTE).item() for p in SSIM_PRESETS}
    assert got == pytest.approx(expected, abs=6e-6)
    assert metrics.ssim(noisy, clean, data_range=BYTE).item() == got["matlab"]


def test_published_psnr_b_of_classic5(data_folder: Path) -> None:
    """JPEG at quality 10 in the tables of FBCNN and SwinIR: 27.82 dB, 25.21 dB with blocks."""
    files = sorted(restoration(data_folder, "Classic5").glob("*.bmp"))
    assert len(files) == 5
    target = torch.cat([tensor(Image.open(file).convert("L")) for file in files])
    pred = torch.cat([jpeg(t[None], 10) for t in target])
    assert psnr_8bit(pred, target, data_range=BYTE).mean().item() == pytest.approx(27.82, abs=5e-3)
    assert psnr_b(pred, target, data_range=BYTE).mean().item() == pytest.approx(25.21, abs=5e-3)
