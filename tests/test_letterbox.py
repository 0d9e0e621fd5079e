"""Letterboxes: points, pictures, masks and millimetres agree, there and back."""

import json

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from libimg import losses, metrics
from libimg.data import Letterbox, letterbox
from libimg.data.placing import fit
from tests.strategies import seeds

sides = st.integers(1, 4000)
sizes = st.tuples(sides, sides)
small = st.tuples(st.integers(2, 24), st.integers(2, 24))


@st.composite
def boxes(
    draw: st.DrawFn, source: st.SearchStrategy[tuple[int, int]] = sizes, *, outside: bool = True
) -> Letterbox:
    """Letterboxes of any kind; a region may reach beyond the picture."""
    (h, w), target = draw(source), draw(source)
    roi = None
    if draw(st.booleans()):
        over = (h, w) if outside else (0, 0)
        top, left = draw(st.integers(-over[0], h - 1)), draw(st.integers(-over[1], w - 1))
        height = draw(st.integers(1, h + over[0] - top))
        width = draw(st.integers(1, w + over[1] - left))
        roi = (top, left, height, width)
    try:
        return Letterbox(source=(h, w), target=target, roi=roi, keep_aspect=draw(st.booleans()))
    except ValueError:
        assume(False)
        raise


def new(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(box: Letterbox, seed: int, *, channels: int = 2) -> Tensor:
    return torch.rand(2, channels, *box.source, generator=new(seed), dtype=torch.float64)


def blob(size: tuple[int, int], at: Tensor, sigma: tuple[float, float]) -> Tensor:
    row, column = (
        torch.exp(-(((torch.arange(n, dtype=torch.float64) - p) / s) ** 2) / 2)
        for n, p, s in zip(size, at, sigma, strict=True)
    )
    return (row[:, None] * column)[None, None]


def centroid(x: Tensor) -> Tensor:
    weight = x[0, 0] / x.sum()
    grids = torch.meshgrid(*(torch.arange(n, dtype=x.dtype) for n in weight.shape), indexing="ij")
    return torch.stack([(weight * grid).sum() for grid in grids])


def oracle(x: Tensor, box: Letterbox, fill: float) -> Tensor:
    """Triangle filter from its definition, pixel by pixel, on the picture continued at its edges."""
    (h, w), (rows, columns) = box.source, box.target
    top, left, height, width = box.roi or (0, 0, h, w)

    def weights(n: int, content: int) -> Tensor:
        scale = n / content
        reach = max(scale, 1.0)
        centres = (torch.arange(content, dtype=torch.float64)[:, None] + 0.5) * scale
        near = 1 - (torch.arange(n, dtype=torch.float64) + 0.5 - centres).abs() / reach
        near = near.clamp(min=0)
        return near / near.sum(1, keepdim=True)

    at = [torch.arange(top, top + height).clamp(0, h - 1), torch.arange(left, left + width)]
    region = x[:, :, at[0]][:, :, :, at[1].clamp(0, w - 1)]
    (ch, cw), (oh, ow) = box.content, box.offset
    content = weights(height, ch) @ region @ weights(width, cw).T
    out = torch.full((*x.shape[:2], rows, columns), fill, dtype=x.dtype)
    for i in range(ch):
        for j in range(cw):
            edges = [(i * height / ch + top, (i + 1) * height / ch + top, h)]
            edges += [(j * width / cw + left, (j + 1) * width / cw + left, w)]
            if all(low > -1e-9 and high < n + 1e-9 for low, high, n in edges):
                out[:, :, oh + i, ow + j] = content[:, :, i, j]
    return out


@given(boxes(), seeds)
@example(letterbox((1520, 1236), target=(512, 512)), 0)
@example(letterbox((1, 4000), target=(512, 512)), 1)
def test_points_come_back(box: Letterbox, seed: int) -> None:
    points = (torch.rand(5, 3, 2, generator=new(seed), dtype=torch.float64) * 2 - 0.5) * 4000
    back = box.source_points(box.points(points))
    torch.testing.assert_close(back, points, atol=1e-8, rtol=0)
    scale = min(min(box.scale), 1.0)
    back = box.source_points(box.points(points.float()))
    assert back.dtype == torch.float32
    assert (back - points).abs().max() * scale < 0.01  # in pixels of the smaller picture
    inside = points.remainder(torch.tensor(box.source, dtype=torch.float64))
    assert (box.source_points(box.points(inside)) - inside).abs().max() < 1e-8


@given(boxes())
def test_corners_of_the_region_meet_those_of_the_content(box: Letterbox) -> None:
    top, left, height, width = box.roi or (0, 0, *box.source)
    region = torch.tensor([[top, left], [top + height, left + width]], dtype=torch.float64) - 0.5
    first = torch.tensor(box.offset, dtype=torch.float64)
    expected = torch.stack([first, first + torch.tensor(box.content)]) - 0.5
    torch.testing.assert_close(box.points(region), expected, atol=1e-8, rtol=0)


@given(boxes())
def test_content_is_as_large_as_fits(box: Letterbox) -> None:
    _, _, height, width = box.roi or (0, 0, *box.source)
    (h, w), (rows, columns) = box.content, box.target
    assert h <= rows
    assert w <= columns
    for free, offset in ((rows - h, box.offset[0]), (columns - w, box.offset[1])):
        assert offset == free // 2
    if not box.keep_aspect:
        assert (h, w) == (rows, columns)
        return
    assert h == rows or w == columns
    scale = min(rows / height, columns / width)
    assert abs(h - max(height * scale, 1)) <= 0.5 + 1e-9
    assert abs(w - max(width * scale, 1)) <= 0.5 + 1e-9


def test_the_size_of_cephalograms() -> None:
    box = letterbox([1520, 1236], target=[512, 512])
    assert (box.content, box.offset) == ((512, 416), (0, 48))
    assert box.mask().double().mean().item() == pytest.approx(1 - 0.1875)
    assert fit((3, 7), (6, 6)) == (3, 6)
    assert fit((1, 4000), (8, 8)) == (1, 8)


@given(boxes(small), seeds)
@example(Letterbox(source=(3, 2), target=(2, 2)), 0)  # one column, wrong in torch
@example(Letterbox(source=(2, 9), target=(5, 5)), 0)
def test_image_agrees_with_the_definition(box: Letterbox, seed: int) -> None:
    x = noise(box, seed)
    torch.testing.assert_close(box.image(x, fill=-3.0), oracle(x, box, -3.0))


@given(boxes(small), seeds, st.floats(-2, 2))
def test_a_constant_stays_one(box: Letterbox, seed: int, value: float) -> None:
    x = torch.full((1, 1, *box.source), value, dtype=torch.float64)
    mask, source_mask = box.mask(), box.source_mask()
    picture = box.image(x, fill=5.0)
    torch.testing.assert_close(picture, torch.where(mask, value, 5.0).double())
    garbage = torch.where(mask, picture, torch.nan)
    back = box.source_image(garbage, fill=7.0)
    torch.testing.assert_close(back, torch.where(source_mask, value, 7.0).double())


@given(boxes(small, outside=False))
def test_mask_covers_the_content(box: Letterbox) -> None:
    mask = box.mask(batch=3)
    assert mask.shape == (3, 1, *box.target)
    assert mask.dtype == torch.bool
    assert mask[0].sum() == box.content[0] * box.content[1]
    _, _, height, width = box.roi or (0, 0, *box.source)
    assert box.source_mask(batch=2).shape == (2, 1, *box.source)
    assert box.source_mask().sum() == height * width
    (top, left), (h, w) = box.offset, box.content
    assert mask[:, :, top : top + h, left : left + w].all()


def test_region_beyond_the_picture_is_padding() -> None:
    box = letterbox((10, 10), target=(16, 16), roi=(-4, 2, 8, 8))
    assert box.mask()[0, 0].nonzero().amin(0).tolist() == [8, 0]
    assert box.mask().sum() == 8 * 16
    assert box.source_mask().sum() == 4 * 8
    x = torch.rand(1, 1, 10, 10, generator=new(0))
    assert (box.image(x, fill=9)[~box.mask()] == 9).all()
    assert box.mask(inset=2).sum() == 4 * 12
    assert torch.equal(box.crop(box.image(x))[0, 0].flatten(), box.image(x)[box.mask()])


@given(
    st.integers(90, 200),
    st.integers(90, 200),
    st.floats(0.2, 1.6),
    st.tuples(st.floats(0.4, 0.6), st.floats(0.4, 0.6)),
    st.booleans(),
    st.booleans(),
)
@example(199, 91, 1 / 3, (0.41, 0.57), True, True)
@example(151, 173, 0.5, (0.5, 0.5), False, False)
def test_a_blob_is_found_where_points_says(
    h: int, w: int, factor: float, where: tuple[float, float], keep: bool, roi: bool
) -> None:
    target = (round(h * factor) + 5, round(w * factor))
    region = (3, -2, h - 7, w - 1) if roi else None
    box = letterbox((h, w), target=target, roi=region, keep_aspect=keep)
    at = torch.tensor([h * where[0], w * where[1]], dtype=torch.float64)
    sigma = 1.6 / box.scale[0], 1.6 / box.scale[1]
    picture = box.image(blob((h, w), at, sigma))
    assert (centroid(picture) - box.points(at)).abs().max() < 0.05
    if min(box.scale) > 0.25:
        assert (centroid(box.source_image(picture)) - at).abs().max() < 0.05


@given(boxes(small), seeds)
def test_images_go_one_by_one(box: Letterbox, seed: int) -> None:
    x = noise(box, seed)
    single = torch.cat([box.image(part) for part in x.split(1)])
    torch.testing.assert_close(box.image(x), single)
    back = torch.cat([box.source_image(part) for part in single.split(1)])
    torch.testing.assert_close(box.source_image(single), back)
    assert back.shape == x.shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    box = letterbox((9, 14), target=(6, 6))
    x = torch.rand(1, 1, 9, 14, generator=new(1)).to(dtype)
    before = x.clone()
    y = box.image(x, fill=-1)
    assert y.dtype == box.source_image(y).dtype == dtype
    torch.testing.assert_close(y.double(), box.image(x.double(), fill=-1), atol=5e-3, rtol=0)
    assert torch.equal(x, before)


def test_gradient_flows() -> None:
    box = letterbox((5, 7), target=(4, 4), roi=(-1, 1, 5, 4))
    x = torch.rand(1, 1, 5, 7, generator=new(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(box.image, (x,))
    y = torch.rand(1, 1, 4, 4, generator=new(3), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(box.source_image, (y,))
    points = torch.rand(3, 2, generator=new(4), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(box.points, (points,))


@settings(max_examples=8)
@given(seeds, st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_padding_changes_no_metric(seed: int, more: int, yet_more: int, wide: bool) -> None:
    """The same content in three frames with garbage around it: one value.

    What sees further than a mask, such as MS-SSIM, is given the content without padding.
    """
    size = (20, 26) if wide else (26, 20)  # 31 by 40 in every frame
    limits = [(40, 52 + n) if not wide else (52 + n, 40) for n in (0, more, more + yet_more)]
    frames = [letterbox(size, target=(t[0], t[1])) for t in limits]
    assert len({box.content for box in frames}) == 1
    pred, target = (
        torch.rand(2, 1, *size, generator=new(seed + i), dtype=torch.float64) for i in (0, 1)
    )
    values = []
    for box in frames:
        pictures = [box.image(x) for x in (pred, target)]
        mask, inner = box.mask(batch=2), box.mask(batch=2, inset=5)
        wild = [torch.rand(p.shape, generator=new(seed)) * 9 * i for i, p in enumerate(pictures, 1)]
        filled = [torch.where(mask, p, w) for p, w in zip(pictures, wild, strict=True)]
        holes = [torch.where(mask, p, torch.nan) for p in pictures]
        values.append(
            torch.stack(
                [
                    metrics.psnr(*holes, data_range=1.0, mask=mask),
                    metrics.mae(*holes, mask=mask),
                    metrics.bias(*holes, mask=mask),
                    losses.l1(*holes, mask=mask),
                    losses.mse(*holes, mask=mask),
                    losses.gradient_difference(*filled, mask=mask),
                    losses.gradient_difference(*filled, operator="sobel", mask=mask),
                    metrics.laplacian_ratio(*filled, mask=mask),
                    metrics.sharpness_ratio(*map(box.crop, filled)),
                    metrics.ms_ssim(*map(box.crop, filled), data_range=1.0, weights=(0.3, 0.7)),
                    metrics.ssim(*filled, data_range=1.0, mask=inner),
                    losses.ssim(*filled, data_range=1.0, mask=inner),
                ]
            )
        )
    torch.testing.assert_close(values[1], values[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(values[2], values[0], rtol=1e-9, atol=1e-9)


def test_ssim_needs_the_inset() -> None:
    """Its windows see padding from inside the mask: why `mask` has ``inset``."""
    box = letterbox((26, 20), target=(52, 64))
    pred, target = (box.image(noise(box, seed)) for seed in (0, 1))
    bright = torch.where(box.mask(), pred, 1.0)

    def change(inset: int) -> float:
        mask = box.mask(batch=2, inset=inset)
        scores = [metrics.ssim(x, target, data_range=1.0, mask=mask) for x in (pred, bright)]
        return (scores[0] - scores[1]).abs().max().item()

    assert change(0) > 0.01
    assert change(5) < 1e-9


@given(boxes(), st.tuples(st.floats(0.01, 5), st.floats(0.01, 5)), seeds)
def test_millimetres(box: Letterbox, spacing: tuple[float, float], seed: int) -> None:
    source = torch.rand(4, 2, generator=new(seed), dtype=torch.float64) * 1000
    expected = source * torch.tensor(spacing, dtype=torch.float64)
    there = box.points(source)
    torch.testing.assert_close(box.points_mm(there, spacing), expected, atol=1e-6, rtol=1e-9)
    steps = (there - there[0]) * torch.tensor(box.spacing_mm(spacing), dtype=torch.float64)
    torch.testing.assert_close(steps, expected - expected[0], atol=1e-6, rtol=1e-9)


@given(boxes())
def test_dictionary_comes_back(box: Letterbox) -> None:
    values = json.loads(json.dumps(box.to_dict()))
    assert values == box.to_dict()
    assert Letterbox.from_dict(values) == box
    assert set(values) == {"source", "target", "roi", "keep_aspect"}


def test_identity_changes_nothing() -> None:
    box = letterbox((7, 9), target=(7, 9))
    x = torch.rand(1, 3, 7, 9, generator=new(5))
    assert torch.equal(box.image(x), x)
    assert torch.equal(box.source_image(x), x)
    assert box.mask().all()


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused() -> None:
    box = letterbox((8, 6), target=(4, 4))
    for size in ((0, 5), (5,), (5, 5, 5), (5.0, 5), (True, 5), 7):
        with pytest.raises(ValueError, match=r"size must be whole numbers \(height, width\)"):
            letterbox(size, target=(4, 4))
        with pytest.raises(ValueError, match=r"target must be whole numbers .* got"):
            letterbox((4, 4), target=size)
    for roi in ((0, 0, 0, 4), (0, 0, 4), (0.5, 0, 4, 4), "abcd"):
        with pytest.raises(ValueError, match=r"roi must be whole numbers \(top, left"):
            letterbox((8, 6), target=(4, 4), roi=roi)
    for roi in ((8, 0, 4, 4), (-4, 0, 4, 4), (0, 6, 1, 1), (7, 0, 100, 100)):
        with pytest.raises(ValueError, match=r"roi .* shows no pixel of a picture of \(8, 6\)"):
            letterbox((8, 6), target=(4, 4), roi=roi)
    with pytest.raises(ValueError, match=r"x must be \(batch, channel, 4, 4\), got"):
        box.crop(torch.zeros(1, 1, 4, 3))
    for x in (torch.zeros(1, 1, 6, 8), torch.zeros(8, 6)):
        with pytest.raises(ValueError, match=r"x must be \(batch, channel, 8, 6\), got"):
            box.image(x)
        with pytest.raises(ValueError, match=r"x must be \(batch, channel, 4, 4\), got"):
            box.source_image(x)
    for points in (torch.zeros(3), torch.zeros(()), torch.zeros(2, 2).half(), torch.zeros(2).int()):
        with pytest.raises(ValueError, match=r"points must be \(\.\.\., 2\) as \(row, column\)"):
            box.points(points)
        with pytest.raises(ValueError, match="points must be"):
            box.source_points(points)
    for spacing in ((0.1,), (0.1, 0.0), (float("inf"), 1.0), 0.1):
        with pytest.raises(ValueError, match="source_spacing_mm must be 2 finite lengths"):
            box.spacing_mm(spacing)
    for inset in (-1, 2):
        with pytest.raises(ValueError, match=f"leave something of .* got {inset}"):
            box.mask(inset=inset)
    with pytest.raises(ValueError, match="batch must be above 0"):
        box.mask(batch=0)
    good = box.to_dict()
    with pytest.raises(ValueError, match="a letterbox has source, target, roi, keep_aspect, got"):
        Letterbox.from_dict({**good, "scale": 2})
    with pytest.raises(ValueError, match="a letterbox has"):
        Letterbox.from_dict({"source": [8, 6]})
    with pytest.raises(ValueError, match="keep_aspect must be one of True, False, got 'no'"):
        Letterbox.from_dict({**good, "keep_aspect": "no"})
