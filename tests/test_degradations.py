import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from libimg import degradations as dg
from tests.strategies import seeds

LAYOUTS = ("4:2:0", "4:2:2", "4:4:4")


def photograph(name: str, height: int, width: int) -> Tensor:
    data = pytest.importorskip("skimage.data")
    pixels = getattr(data, name)()[60 : 60 + height, 100 : 100 + width]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def scenery(seed: int, shape: tuple[int, ...] = (3, 45, 51)) -> Tensor:
    """Smooth colours with edges, in 255ths: a little like a photograph."""
    x = torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed))
    x = F.interpolate(x[..., ::9, ::9], shape[-2:], mode="bicubic")[0].clamp(0, 1)
    x[:, 10:30, 12:33] = 1 - x[:, 10:30, 12:33]
    return (x * 255).round() / 255


def pillow(x: Tensor, **options: object) -> Tensor:
    """A JPEG round trip written from Pillow's manual, for one image."""
    pixels = (x * 255).round().permute(1, 2, 0).byte().numpy()
    file = BytesIO()
    mode = "RGB" if len(x) == 3 else "L"
    Image.frombytes(mode, (x.shape[2], x.shape[1]), pixels.tobytes()).save(file, "JPEG", **options)
    back = np.asarray(Image.open(BytesIO(file.getvalue()))).reshape(pixels.shape)
    return torch.from_numpy(back.copy()).permute(2, 0, 1).float() / 255


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * (a - b).square().mean().log10())


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- JPEG


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("subsampling", LAYOUTS)
@given(quality=st.integers(1, 100), seed=seeds)
@settings(max_examples=8)
def test_jpeg_is_pillows(channels: int, subsampling: str, quality: int, seed: int) -> None:
    x = scenery(seed)[:channels]
    ours = dg.jpeg(x, quality, subsampling=subsampling)
    theirs = pillow(x, quality=quality, **({"subsampling": subsampling} if channels == 3 else {}))
    assert torch.equal(ours, theirs)
    assert ours.is_contiguous()


@given(phase=st.tuples(st.integers(0, 7), st.integers(0, 7)), seed=seeds)
def test_phase_is_a_crop_of_the_extended_image(phase: tuple[int, int], seed: int) -> None:
    x = scenery(seed)
    dy, dx = phase
    wide = F.pad(x[None], (dx, 0, dy, 0), mode="replicate")[0]
    assert torch.equal(dg.jpeg(x, 30, phase=phase), pillow(wide, quality=30)[:, dy:, dx:])


@given(dy=st.integers(0, 7), dx=st.integers(0, 7), seed=seeds)
def test_phase_moves_the_grid(dy: int, dx: int, seed: int) -> None:
    """Steps between neighbours are largest where blocks meet."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 128), torch.linspace(0, 1, 128), indexing="ij")
    clean = (0.2 + 0.6 * x * y)[None] + 0.02 * torch.randn(1, 128, 128, generator=seeded(seed))
    out = dg.jpeg(clean, 8, phase=(dy, dx))[0]
    for axis, start in ((0, dy), (1, dx)):
        steps = out.diff(dim=axis).abs().mean(1 - axis)
        by_place = torch.stack([steps[i::8].mean() for i in range(8)])
        assert int(by_place.argmax()) == (7 - start) % 8
        assert by_place.max() > 2 * by_place.median()


def test_jpeg_of_a_batch_is_that_of_each_image() -> None:
    x = torch.stack([scenery(1), scenery(2), scenery(3)])
    out = dg.jpeg(x, [10, 50, 95], phase=(3, 6))
    for image, quality, expected in zip(x, (10, 50, 95), out, strict=True):
        assert torch.equal(dg.jpeg(image, quality, phase=(3, 6)), expected)
    assert torch.equal(dg.jpeg(x, 50)[1], dg.jpeg(x[1], 50))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_kept(dtype: torch.dtype) -> None:
    x = scenery(0).to(dtype)
    params = dg.DegradationParams(sigma=10, quality=50)
    assert dg.jpeg(x, 50).dtype == dtype
    assert dg.Degradation.apply(x, params).dtype == dtype
    assert dg.gaussian_noise(x, 5, generator=seeded(0)).dtype == dtype
    assert dg.differentiable_jpeg(x[None], quality=50).dtype == dtype
    assert dg.gaussian_blur(x, 1).dtype == dtype
    assert dg.resample(x, 0.5).dtype == dtype


def test_to_bytes_clips_and_rounds() -> None:
    levels = torch.arange(256, dtype=torch.float64)
    inner = torch.linspace(-0.49, 0.49, 5, dtype=torch.float64)
    x = (levels[:, None] + inner) / 255
    assert torch.equal(dg.to_bytes(x[None])[0], levels[:, None].expand(-1, 5).byte())
    assert dg.to_bytes(torch.tensor([[[-3.0, 7.0]]])).tolist() == [[[0, 255]]]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: dg.jpeg(x, 0),
        lambda x: dg.jpeg(x, 101),
        lambda x: dg.jpeg(x[None], [50, 50]),
        lambda x: dg.jpeg(x[None], [50.5]),
        lambda x: dg.jpeg(x, 50, subsampling="4:1:1"),
        lambda x: dg.jpeg(x, 50, phase=(0, 8)),
        lambda x: dg.jpeg(x, 50, phase=(-1, 0)),
        lambda x: dg.jpeg(x[:2], 50),
        lambda x: dg.jpeg(x[0], 50),
        lambda x: dg.jpeg(x[:, :0], 50),
        lambda x: dg.differentiable_jpeg(x[None, :2], quality=50),
        lambda x: dg.differentiable_jpeg(x, quality=50),
        lambda x: dg.differentiable_jpeg(x[None], quality=0),
        lambda x: dg.differentiable_jpeg(x[None], quality=torch.tensor([5, 5])),
        lambda x: dg.differentiable_jpeg(x[None], quality=50, subsampling="4:1:1"),
        lambda x: dg.gaussian_noise(x, -1, generator=seeded(0)),
        lambda x: dg.gaussian_noise(x, float("nan"), generator=seeded(0)),
        lambda x: dg.gaussian_noise(x, torch.ones(3), generator=seeded(0)),
        lambda x: dg.gaussian_noise(x[None], torch.ones(2), generator=seeded(0)),
        lambda x: dg.gaussian_blur(x, -1),
        lambda x: dg.gaussian_blur(x, (1.0, float("inf"))),
        lambda x: dg.gaussian_blur(x[0], 1),
        lambda x: dg.resample(x, 0),
        lambda x: dg.resample(x, 1.5),
        lambda x: dg.resample(x, 0.5, down="lanczos"),
        lambda x: dg.resample(x, 0.5, up="lanczos"),
        lambda x: dg.Blur(sigma_range_px=(2, 1)),
        lambda x: dg.Blur(sigma_range_px=(-1, 1)),
        lambda x: dg.Resample(scale_range=(0, 1)),
        lambda x: dg.Resample(scale_range=(0.5, 2)),
        lambda x: dg.Resample(filters=()),
        lambda x: dg.Degradation(sigma_range=(20, 10)),
        lambda x: dg.Degradation(sigma_range=(-5, 10)),
        lambda x: dg.Degradation(quality_range=(90, 10)),
        lambda x: dg.Degradation(quality_range=(0, 10)),
        lambda x: dg.Degradation(subsampling="4:1:1"),
        lambda x: dg.Degradation(subsampling=()),
        lambda x: dg.Degradation(noise_share=1.5),
        lambda x: dg.Degradation(jpeg_share=-0.5),
        lambda x: dg.Degradation(clip=False),
        lambda x: dg.DegradationParams(quality=50, clip=False),
        lambda x: dg.DegradationParams(quality=0),
        lambda x: dg.DegradationParams(sigma=-1),
        lambda x: dg.DegradationParams(phase=(0, 8)),
        lambda x: dg.DegradationParams(subsampling="4:1:1"),
        lambda x: dg.Degradation.apply(x[None], [dg.DegradationParams()] * 2),
        lambda x: dg.Degradation.apply(x, [dg.DegradationParams()] * 3),
        lambda x: dg.curriculum(1, start=dg.Degradation(), end=dg.Degradation(), steps=0),
        lambda x: dg.curriculum(
            1, start=dg.Degradation(quality_range=None), end=dg.Degradation(), steps=5
        ),
        lambda x: dg.histogram([], sigma_bin=0),
        lambda x: dg.histogram([], quality_bin=0),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused(call: Callable[[Tensor], object]) -> None:
    with pytest.raises(ValueError, match=r"got|must"):
        call(scenery(0))


# --- noise


@given(sigma=st.floats(0.5, 100), seed=seeds)
def test_noise_is_white_gaussian_of_sigma(sigma: float, seed: int) -> None:
    x = torch.full((1, 200, 200), 0.5, dtype=torch.float64)
    noise = (dg.gaussian_noise(x, sigma, generator=seeded(seed)) - x) * 255 / sigma
    count = noise.numel()  # bounds of five standard errors
    assert abs(noise.mean()) < 5 / count**0.5
    assert abs(noise.var() - 1) < 5 * (2 / count) ** 0.5
    assert abs((noise**4).mean() - 3) < 5 * (96 / count) ** 0.5
    for axis in (1, 2):
        near = (noise.narrow(axis, 1, 199) * noise.narrow(axis, 0, 199)).mean()
        assert abs(near) < 5 / count**0.5


def test_noise_of_a_batch_has_its_own_sigma_and_gradient() -> None:
    x = torch.full((3, 1, 64, 64), 0.5, requires_grad=True)
    sigma = torch.tensor([5.0, 0.0, 50.0])
    out = dg.gaussian_noise(x, sigma, generator=seeded(0))
    assert torch.equal(out[1], x[1])
    assert torch.allclose((out - x).flatten(1).std(1) * 255, sigma, rtol=0.05)
    alike = dg.gaussian_noise(x, 50, generator=seeded(0))
    assert torch.allclose(out[2], alike[2], atol=1e-7)
    out.sum().backward()
    assert x.grad is not None
    assert bool((x.grad == 1).all())


# --- sample, then apply


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of a Degradation."""
    low, first = draw(st.floats(0, 50)), draw(st.integers(1, 100))
    some = st.lists(st.sampled_from(LAYOUTS), min_size=1, max_size=3)
    return {
        "sigma_range": (low, low + draw(st.floats(0, 50))),
        "quality_range": draw(st.sampled_from([None, (first, draw(st.integers(first, 100)))])),
        "subsampling": draw(st.sampled_from(LAYOUTS) | some.map(tuple)),
        "random_phase": draw(st.booleans()),
        "noise_share": draw(st.sampled_from([0.0, 0.5, 1.0])),
        "jpeg_share": draw(st.sampled_from([0.0, 0.5, 1.0])),
    }


@given(options=configs(), seed=seeds)
def test_records_keep_to_the_ranges_and_replay(options: dict[str, Any], seed: int) -> None:
    config = dg.Degradation(**options)
    params = config.sample(seeded(seed))
    assert params == config.sample(seeded(seed))
    assert params.sigma == 0 or config.sigma_range[0] <= params.sigma <= config.sigma_range[1]
    if config.quality_range is None or config.jpeg_share == 0:
        assert params.quality is None
    if params.quality is not None:
        assert config.quality_range[0] <= params.quality <= config.quality_range[1]
    assert params.subsampling in config.subsampling
    assert config.random_phase or params.phase == (0, 0)
    image = scenery(seed, (3, 21, 27))
    before, state = image.clone(), torch.get_rng_state()
    out = config.apply(image, params)
    logged = dg.DegradationParams.from_dict(json.loads(json.dumps(params.to_dict())))
    assert logged == params
    assert torch.equal(out, dg.Degradation.apply(image, logged))
    assert torch.equal(image, before)
    assert torch.equal(torch.get_rng_state(), state)
    levels = out * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert 0 <= out.min() <= out.max() <= 1
    assert out.data_ptr() != image.data_ptr()


def test_draws_are_uniform_with_both_ends() -> None:
    config = dg.Degradation(
        sigma_range=(10, 20),
        quality_range=(30, 33),
        subsampling=("4:2:0", "4:4:4"),
        noise_share=0.75,
        jpeg_share=0.5,
    )
    generator = seeded(0)
    drawn = [config.sample(generator) for _ in range(4000)]
    sigmas = np.array([p.sigma for p in drawn if p.sigma > 0])
    assert abs(len(sigmas) / 4000 - 0.75) < 0.04
    assert abs(sigmas.mean() - 15) < 0.3
    assert abs(sigmas.std() - 10 / 12**0.5) < 0.1
    qualities = [p.quality for p in drawn if p.quality is not None]
    assert abs(len(qualities) / 4000 - 0.5) < 0.04
    for quality in (30, 31, 32, 33):
        assert abs(qualities.count(quality) / len(qualities) - 0.25) < 0.05
    for value in range(8):
        for axis in (0, 1):
            share = sum(p.phase[axis] == value for p in drawn) / 4000
            assert abs(share - 1 / 8) < 0.03
    assert abs(sum(p.subsampling == "4:4:4" for p in drawn) / 4000 - 0.5) < 0.04
    assert len({p.seed for p in drawn}) == 4000
    assert json.loads(json.dumps(drawn[0].seed)) == drawn[0].seed < 2**53


def test_settings_do_not_shift_the_other_draws() -> None:
    full, plain = dg.Degradation(), dg.Degradation(quality_range=None, random_phase=False)
    a, b = seeded(3), seeded(3)
    for _ in range(5):
        one, other = full.sample(a), plain.sample(b)
        assert (one.sigma, one.seed) == (other.sigma, other.seed)


@given(sigma=st.floats(1, 60), quality=st.integers(1, 100), seed=seeds)
def test_the_chain_is_noise_then_bytes_then_jpeg(sigma: float, quality: int, seed: int) -> None:
    x = scenery(seed)
    params = dg.DegradationParams(sigma=sigma, quality=quality, phase=(2, 5), seed=seed)
    noisy = x + torch.randn(x.shape, generator=seeded(seed)) * (sigma / 255)
    wide = F.pad(noisy.clamp(0, 1)[None], (5, 0, 2, 0), mode="replicate")[0]
    expected = pillow(wide, quality=quality, subsampling="4:2:0")[:, 2:, 5:]
    out = dg.Degradation.apply(x, params)
    assert (out != expected).float().mean() < 0.02  # a noisy value at a half may round otherwise
    only_noise = dg.Degradation.apply(x, replace(params, quality=None))
    assert torch.equal(only_noise, dg.to_bytes(noisy).float() / 255)
    assert torch.equal(
        dg.Degradation.apply(x, replace(params, sigma=0.0)), dg.jpeg(x, quality, phase=(2, 5))
    )
    assert torch.equal(dg.Degradation.apply(x, dg.DegradationParams()), x)


def test_paper_protocol_is_not_clipped() -> None:
    config = dg.Degradation(sigma_range=(50, 50), quality_range=None, clip=False)
    white = torch.ones(1, 100, 100)
    out = config.apply(white, config.sample(seeded(0)))
    assert abs(float((out > 1).float().mean()) - 0.5) < 0.02
    assert abs(float(out.std()) * 255 - 50) < 1.5
    clean = config.apply(white, dg.DegradationParams(clip=False))
    assert torch.equal(clean, white)
    assert clean.data_ptr() != white.data_ptr()


def test_noise_alone_stays_unclipped_as_often_as_asked() -> None:
    how = {"jpeg_share": 0.5, "unclipped_share": 0.75}
    generator = torch.Generator().manual_seed(0)
    drawn = [dg.Degradation(**how).sample(generator) for _ in range(2000)]
    alone = [p.clip for p in drawn if p.quality is None]
    assert all(p.clip for p in drawn if p.quality is not None)
    assert 1 - sum(alone) / len(alone) == pytest.approx(0.75, abs=0.05)
    with pytest.raises(ValueError, match="unclipped_share must be from 0 to 1, got 2"):
        dg.Degradation(unclipped_share=2)


def test_batches() -> None:
    x = torch.stack([scenery(1), scenery(2)])
    generator = seeded(0)
    params = [dg.Degradation().sample(generator) for _ in x]
    out = dg.Degradation.apply(x, params)
    for image, record, expected in zip(x, params, out, strict=True):
        assert torch.equal(dg.Degradation.apply(image, record), expected)
    assert torch.equal(dg.Degradation.apply(x[:1], params[0])[0], out[0])
    shared = dg.Degradation.apply(x[:1].expand(2, -1, -1, -1), replace(params[0], sigma=30.0))
    assert not torch.equal(shared[0], shared[1])


def test_unknown_names_of_a_record_are_refused() -> None:
    with pytest.raises(TypeError, match="qualty"):
        dg.DegradationParams.from_dict({"qualty": 50})


# --- JPEG with gradients


def test_tables_are_libjpegs() -> None:
    black = Image.new("RGB", (8, 8))
    tables = dg.quantisation_tables(torch.arange(1, 101)).flatten(2)
    for quality in range(1, 101):
        file = BytesIO()
        black.save(file, "JPEG", quality=quality)
        found = Image.open(file).quantization
        assert tables[quality - 1].tolist() == [list(found[0]), list(found[1])]


def test_tables_limit_the_quality() -> None:
    tables = dg.quantisation_tables(torch.tensor([-4.0, 1.0, 50.9, 50.0, 100.0, 300.0]))
    for a, b in ((0, 1), (2, 3), (4, 5)):
        assert torch.equal(tables[a], tables[b])
    assert int(tables.min()) == 1
    assert int(tables.max()) == 255


@pytest.mark.parametrize("subsampling", LAYOUTS)
@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_loss_is_libjpegs(name: str, subsampling: str) -> None:
    clean = photograph(name, 131, 157)
    qualities = [5, 10, 15, 25, 40, 50, 60, 75, 90, 95, 99, 100]
    batch = clean.expand(len(qualities), -1, -1, -1)
    ours = dg.differentiable_jpeg(batch, quality=torch.tensor(qualities), subsampling=subsampling)
    for quality, out in zip(qualities, ours, strict=True):
        theirs = dg.jpeg(clean, quality, subsampling=subsampling)
        assert abs(psnr(out, clean) - psnr(theirs, clean)) < 0.01
        assert psnr(out, theirs) > psnr(theirs, clean) + 6  # and it is the same picture
        assert float((out == theirs).float().mean()) > 0.99


@given(
    seed=seeds,
    quality=st.integers(1, 100),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    subsampling=st.sampled_from(LAYOUTS),
    channels=st.sampled_from([1, 3]),
)
def test_every_size_is_libjpegs_bit_for_bit(
    seed: int, quality: int, height: int, width: int, subsampling: str, channels: int
) -> None:
    x = scenery(seed)[:channels, :height, :width].double()
    ours = dg.differentiable_jpeg(x[None], quality=quality, subsampling=subsampling)[0]
    assert torch.equal(ours, dg.jpeg(x, quality, subsampling=subsampling))


def test_differentiable_batches_are_single_images() -> None:
    x = torch.stack([scenery(1), scenery(2), scenery(3)]).double()
    out = dg.differentiable_jpeg(x, quality=torch.tensor([7, 50, 98]))
    for image, quality, expected in zip(x, (7, 50, 98), out, strict=True):
        single = dg.differentiable_jpeg(image[None], quality=quality)[0]
        assert torch.equal(single, expected)


@pytest.mark.parametrize("subsampling", LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 3, 9, 11), (1, 1, 8, 10), (1, 3, 1, 5)])
def test_gradient_of_the_smooth_part(shape: tuple[int, ...], subsampling: str) -> None:
    x = 0.3 + 0.4 * torch.rand(shape, generator=seeded(0), dtype=torch.float64)

    def smooth(image: Tensor) -> Tensor:
        return dg.differentiable_jpeg(image, quality=30, subsampling=subsampling, rounding=False)

    assert torch.autograd.gradcheck(smooth, x.requires_grad_(), fast_mode=False)


def test_gradient_after_a_call_in_inference_mode() -> None:
    x = scenery(0)[None].double()
    with torch.inference_mode():
        expected = dg.differentiable_jpeg(x, quality=50)
    out = dg.differentiable_jpeg(x.requires_grad_(), quality=50)
    assert torch.equal(out, expected)
    out.sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("subsampling", LAYOUTS)
def test_rounding_is_straight_through(subsampling: str) -> None:
    weights = torch.randn(1, 3, 24, 24, generator=seeded(1), dtype=torch.float64)
    grads = []
    for rounding in (True, False):
        x = torch.full_like(weights, 0.5)
        x += 0.05 * torch.rand(x.shape, generator=seeded(0), dtype=torch.float64)
        out = dg.differentiable_jpeg(
            x.requires_grad_(), quality=75, subsampling=subsampling, rounding=rounding
        )
        (out * weights).sum().backward()
        grads.append(x.grad)
    assert torch.allclose(grads[0], grads[1], atol=1e-10)
    assert float(grads[0].abs().mean()) > 0.1


def test_without_rounding_only_chroma_is_lost() -> None:
    x = scenery(0).double()[None]

    def smooth(image: Tensor, subsampling: str) -> Tensor:
        return dg.differentiable_jpeg(image, quality=5, subsampling=subsampling, rounding=False)

    assert torch.allclose(smooth(x, "4:4:4"), x, atol=5e-4)  # its cosines have 13 bits
    assert torch.allclose(smooth(x[:, :1], "4:2:0"), x[:, :1], atol=5e-4)
    assert float((smooth(x, "4:2:0") - x).abs().max()) > 0.01


def test_autocast_does_not_touch_the_codec() -> None:
    x = scenery(0)[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = dg.differentiable_jpeg(x, quality=80)
    assert torch.equal(out, dg.differentiable_jpeg(x, quality=80))


# --- curriculum and log


@given(share=st.floats(-1, 2))
def test_curriculum_goes_from_light_to_heavy(share: float) -> None:
    light = dg.Degradation(sigma_range=(0, 10), quality_range=(80, 95), jpeg_share=0.5)
    heavy = dg.Degradation(sigma_range=(5, 50), quality_range=(10, 90), subsampling="4:4:4")
    now = dg.curriculum(share * 700, start=light, end=heavy, steps=700)
    s = min(max(share, 0), 1)
    assert now.sigma_range == pytest.approx((5 * s, 10 + 40 * s))
    assert now.quality_range == (round(80 - 70 * s), round(95 - 5 * s))
    assert now.jpeg_share == pytest.approx(0.5 + 0.5 * s)
    if share >= 1:
        assert now == heavy
    if share <= 0:
        assert now == replace(light, subsampling="4:4:4")


def test_curriculum_of_noise_alone() -> None:
    light = dg.Degradation(sigma_range=(0, 10), quality_range=None, clip=False)
    heavy = dg.Degradation(sigma_range=(0, 50), quality_range=None, clip=False)
    now = dg.curriculum(1, start=light, end=heavy, steps=2)
    assert (now.sigma_range, now.quality_range, now.clip) == ((0, 30), None, False)


@given(seed=seeds, count=st.integers(0, 30), width=st.floats(0.5, 20))
def test_histogram_counts_every_record(seed: int, count: int, width: float) -> None:
    generator = seeded(seed)
    config = dg.Degradation(noise_share=0.7, jpeg_share=0.6)
    drawn = [config.sample(generator) for _ in range(count)]
    found = dg.histogram(drawn, sigma_bin=width, quality_bin=7)
    assert json.loads(json.dumps(found)) == found
    assert found["count"] == count
    assert sum(found["sigma"].values()) + found["no_noise"] == count
    assert sum(found["quality"].values()) + found["no_jpeg"] == count
    for low, n in found["quality"].items():
        values = [p.quality for p in drawn if p.quality is not None]
        assert n == sum(int(low) <= v < int(low) + 7 for v in values)


# --- blur and resample


@given(seed=seeds, y=st.floats(0, 3), x=st.floats(0, 3))
def test_blur_is_scipys(seed: int, y: float, x: float) -> None:
    image = torch.rand(2, 13, 17, generator=seeded(seed), dtype=torch.float64)
    expected = gaussian_filter(image.numpy(), (0, y, x), mode="nearest", truncate=4)
    assert np.allclose(dg.gaussian_blur(image, (y, x)).numpy(), expected, atol=1e-12)
    batch = dg.gaussian_blur(image[None].repeat(2, 1, 1, 1), (y, x))
    assert np.allclose(batch[1].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("mode", "filter"),
    [("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)],
)
def test_the_way_down_is_pillows(mode: str, filter: Image.Resampling) -> None:
    image = scenery(0, (1, 40, 48))
    small = Image.fromarray(image[0].numpy()).resize((24, 20), filter)
    expected = np.kron(np.asarray(small), np.ones((2, 2)))
    assert np.allclose(dg.resample(image, 0.5, down=mode, up="area")[0], expected, atol=1e-5)


@given(seed=seeds, scale=st.floats(0.05, 1))
def test_resample_loses_detail_and_keeps_constants(seed: int, scale: float) -> None:
    config = dg.Resample(scale_range=(scale, scale))
    params = config.sample(seeded(seed))
    assert params == config.sample(seeded(seed))
    flat = torch.full((2, 3, 11, 14), 0.25)
    assert torch.allclose(config.apply(flat, params), flat, atol=1e-6)
    noise = torch.rand(3, 30, 31, generator=seeded(seed))
    assert torch.equal(config.apply(noise, replace(params, scale=1.0)), noise)
    assert config.apply(noise, replace(params, scale=0.4)).std() < 0.9 * noise.std()


@given(seed=seeds)
def test_blur_is_drawn_in_its_range(seed: int) -> None:
    for isotropic in (True, False):
        blur = dg.Blur(sigma_range_px=(0.5, 1.5), isotropic=isotropic)
        params = blur.sample(seeded(seed))
        assert params == blur.sample(seeded(seed))
        assert all(0.5 <= s <= 1.5 for s in params.sigma_px)
        assert (params.sigma_px[0] == params.sigma_px[1]) == isotropic
        image = scenery(seed)
        assert torch.equal(blur.apply(image, params), dg.gaussian_blur(image, params.sigma_px))
