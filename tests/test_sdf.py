"""Signed distance fields: exact on the voxels, within half a voxel of the true surfaces."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from libimg.shapes import present_classes, sdf, signed_distance
from tests.reference.distance import brute_force
from tests.strategies import seeds

CLASSES = (1, 2, 5)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16)
SPACINGS = ((1.0, 1.0, 1.0), (0.63, 0.49, 0.49), (5.0, 0.7, 0.7), (2.0, 1.0, 0.5), (0.3, 4.0, 1.1))


@st.composite
def volumes(draw: st.DrawFn, most: int = 7) -> Tensor:
    """Labels 0, 1, 2, 5 and 9, in noise or in blocks; some of them often missing."""
    size = draw(st.tuples(*[st.integers(1, most)] * 3))
    generator = torch.Generator().manual_seed(draw(seeds))
    values = torch.tensor(draw(st.lists(st.sampled_from((0, 1, 2, 5, 9)), min_size=1, max_size=6)))
    coarse = draw(st.sampled_from((1, 2, 4)))
    few = [math.ceil(n / coarse) for n in size]
    labels = values[torch.randint(len(values), few, generator=generator)]
    for axis in range(3):
        labels = labels.repeat_interleave(coarse, axis)
    return labels[tuple(slice(n) for n in size)].to(torch.uint8)


spacings = st.sampled_from(SPACINGS) | st.tuples(*[st.floats(0.2, 6)] * 3)
surfaces = st.sampled_from(("faces", "voxels"))
borders = st.sampled_from(("open", "closed"))


def diagonal(labels: Tensor, spacing: tuple[float, ...]) -> float:
    return math.hypot(*(n * s for n, s in zip(labels.shape, spacing, strict=True)))


@given(volumes(), spacings, surfaces, borders, st.none() | st.floats(0.5, 6))
def test_agrees_with_the_definition(labels, spacing, surface, border, band):
    found = signed_distance(
        labels, classes=CLASSES, spacing_mm=spacing, band_mm=band, surface=surface, border=border
    )
    reach = diagonal(labels, spacing) if band is None else band
    truth = brute_force(
        labels.numpy(),
        CLASSES,
        spacing,
        reach=reach,
        faces=surface == "faces",
        closed=border == "closed",
    )
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, truth, rtol=2e-6, atol=2e-6)


@given(volumes(9), spacings, surfaces, borders, st.none() | st.floats(0.5, 6))
def test_plain_operations_do_the_same_as_compiled_loops(labels, spacing, surface, border, band):
    faces, reach = surface == "faces", diagonal(labels, spacing) if band is None else band
    edges = sdf._edges(labels.shape, spacing, reach, faces, border == "closed")
    loops = sdf._compiled(labels, [1, 2, 5], spacing, reach, faces, edges)
    plain = sdf._in_torch(labels, [1, 2, 5], spacing, reach, faces, edges)
    torch.testing.assert_close(plain, loops, rtol=2e-6, atol=2e-6)


def test_plain_operations_in_small_chunks(monkeypatch):
    labels = torch.randint(3, (5, 6, 7), generator=torch.Generator().manual_seed(1))
    edges = sdf._edges(labels.shape, (1, 2, 3), 50.0, True, False)
    whole = sdf._in_torch(labels, [1, 2], (1.0, 2.0, 3.0), 50.0, True, edges)
    monkeypatch.setattr(sdf, "CHUNK", 100)
    assert sdf._in_torch(labels, [1, 2], (1.0, 2.0, 3.0), 50.0, True, edges).equal(whole)


def blobs(size: tuple[int, int, int]) -> Tensor:
    """Nested, touching and thin classes."""
    z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in size], indexing="ij")
    labels = torch.zeros(size, dtype=torch.int64)
    labels[z**2 + y**2 + x**2 < 0.4] = 1
    labels[z**2 + y**2 + x**2 < 0.15] = 2
    labels[(x - 0.7) ** 2 + y**2 < 0.1] = 3
    labels[(x + 0.7).abs() + (y - z).abs() < 0.08] = 4
    labels[0, -1, 3] = 5
    return labels


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("size", [(40, 33, 70), (7, 65, 20)])
def test_voxels_agree_with_scipy(spacing, size):
    labels = blobs(size)
    classes = range(6)
    found = signed_distance(labels, classes=classes, spacing_mm=spacing, surface="voxels")
    for label, field in zip(classes, found.numpy(), strict=True):
        mask = labels.numpy() == label
        assert mask.any()
        truth = distance_transform_edt(~mask, sampling=spacing)
        truth -= distance_transform_edt(mask, sampling=spacing)
        np.testing.assert_allclose(field, truth, rtol=1e-6, atol=1e-6)


def test_equal_spacings_are_exact():
    """Squared distances are whole numbers, and faces are the voxels' distances less a half."""
    labels = blobs((40, 33, 70))
    options = {"classes": range(1, 6), "spacing_mm": (1, 1, 1)}
    voxels = signed_distance(labels, surface="voxels", **options)
    squares = voxels.double().square()
    assert (squares - squares.round()).abs().max() < 1e-2
    for label, field in enumerate(voxels.numpy(), 1):
        outside = distance_transform_edt(labels.numpy() != label)
        assert (np.maximum(field, 0) == outside.astype(np.float32)).all()
    faces = signed_distance(labels, **options)
    torch.testing.assert_close(faces, voxels - voxels.sign() / 2, rtol=0, atol=1e-5)


def analytic(place: Tensor, centre: Tensor) -> Iterator[tuple[str, Tensor]]:
    q = place - centre.view(3, 1, 1, 1)
    r = q.norm(dim=0)
    yield "sphere", r - 17.3
    yield "torus", torch.stack([q[1].hypot(q[2]) - 14, q[0]]).norm(dim=0) - 6.2
    yield "shell", (r - 15.0).abs() - 3.1


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 0.5, 0.5), (2.5, 1.0, 1.0)])
@pytest.mark.parametrize("offset", [0.0, 0.37])
def test_within_half_a_voxel_of_true_surfaces(spacing, offset):
    size = [int(46 / s) for s in spacing]
    axes = [torch.arange(n).double() * s for n, s in zip(size, spacing, strict=True)]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    centre = torch.tensor([(n // 2 + offset) * s for n, s in zip(size, spacing, strict=True)])
    for name, truth in analytic(place, centre):
        labels = (truth < 0).to(torch.uint8)
        field = signed_distance(labels, classes=[1], spacing_mm=spacing)[0].double()
        assert ((field < 0) == (truth < 0)).all()
        error = (field - truth) / max(spacing)
        assert error.abs().max() <= 0.501, name
        near = truth.abs() < 2 * max(spacing)
        assert error[near].mean().abs() < 0.07, name
        larger = (error * truth.sign())[near].mean()  # are magnitudes too large?
        assert larger.abs() < 0.13, name
        options = {"classes": [1], "spacing_mm": spacing, "surface": "voxels"}
        plain = (signed_distance(labels, **options)[0] - truth) / max(spacing)
        assert (plain * truth.sign())[near].mean() > larger.abs() + 0.08, name


@pytest.mark.parametrize("spacing", SPACINGS)
def test_faces_of_a_box_are_exact(spacing):
    """Zero lies on the face between two voxels, in every direction and for every spacing."""
    labels = torch.zeros(12, 13, 14, dtype=torch.int32)
    labels[4:8, 3:9, 5:10] = 7
    field = signed_distance(labels, classes=[7], spacing_mm=spacing)[0]
    away = torch.arange(4) + 0.5
    torch.testing.assert_close(field[:4, 5, 7].flip(0), away * spacing[0])
    torch.testing.assert_close(field[5, 9:, 7], away * spacing[1])
    torch.testing.assert_close(field[5, 5, 10:], away * spacing[2])
    for axis, step in enumerate(spacing):
        n = field.shape[axis] - 1
        a, b = field.narrow(axis, 0, n), field.narrow(axis, 1, n)
        crossing = (a < 0) != (b < 0)  # near an edge another face may be nearer
        assert (a[crossing].abs() <= step / 2 * 1.00001).all()
        assert (b[crossing].abs() <= step / 2 * 1.00001).all()


def test_of_a_box_every_corner_is_within_half_a_voxel():
    labels = torch.zeros(30, 30, 30, dtype=torch.uint8)
    labels[8:20, 9:24, 10:18] = 1
    place = torch.stack(torch.meshgrid(*[torch.arange(30.0)] * 3, indexing="ij"))
    middle, half = torch.tensor([13.5, 16.0, 13.5]), torch.tensor([6.0, 7.5, 4.0])
    q = (place - middle.view(3, 1, 1, 1)).abs() - half.view(3, 1, 1, 1)
    truth = q.clamp(min=0).norm(dim=0) + q.amax(0).clamp(max=0)
    error = signed_distance(labels, classes=[1], spacing_mm=(1, 1, 1))[0] - truth
    assert error.abs().max() < 0.5
    assert error.abs().mean() < 0.15


@given(volumes(), spacings, st.none() | st.floats(0.5, 6))
def test_voxel_distances_grow_by_no_more_than_the_step(labels, spacing, band):
    """Lipschitz 1 on either side; across the surface both distances are at most the step."""
    fields = signed_distance(
        labels, classes=CLASSES, spacing_mm=spacing, band_mm=band, surface="voxels"
    )
    for label, field in zip(CLASSES, fields.double(), strict=True):
        mask = labels == label
        place = torch.stack(torch.meshgrid(*[torch.arange(n) for n in labels.shape], indexing="ij"))
        place = (place.flatten(1).T * torch.tensor(spacing).double()).unsqueeze(0)
        away = (place - place.transpose(0, 1)).norm(dim=-1) * 1.00001
        flat, side = field.flatten(), mask.flatten()
        same = side[:, None] == side
        grows = (flat[:, None] - flat).abs()
        assert (grows[same] <= away[same] + 1e-5).all()
        assert (torch.maximum(flat[:, None].abs(), flat.abs())[~same] <= away[~same] + 1e-5).all()


@given(volumes(), spacings, borders)
def test_face_distances_grow_by_no_more_than_the_step_on_a_side(labels, spacing, border):
    fields = signed_distance(labels, classes=CLASSES, spacing_mm=spacing, border=border)
    for label, field in zip(CLASSES, fields, strict=True):
        mask = labels == label
        assert ((field < 0) == mask).all()
        assert field.isfinite().all()
        assert (field.abs() >= min(spacing) / 2 * 0.9999).all()
        for axis, step in enumerate(spacing):
            same = ~mask.diff(dim=axis) if labels.shape[axis] > 1 else None
            if same is not None:
                assert (field.diff(dim=axis)[same].abs() <= step * 1.0001 + 1e-5).all()


@given(volumes(), spacings, surfaces, borders, st.permutations(range(3)))
def test_axes_may_be_exchanged(labels, spacing, surface, border, order):
    options = {"classes": CLASSES, "surface": surface, "border": border}
    field = signed_distance(labels, spacing_mm=spacing, **options)
    turned = signed_distance(
        labels.permute(*order), spacing_mm=[spacing[i] for i in order], **options
    )
    expected = field.permute(0, *[i + 1 for i in order])
    torch.testing.assert_close(turned, expected, rtol=2e-6, atol=2e-6)


@given(volumes(), spacings, surfaces, st.sets(st.integers(0, 2)))
def test_mirrored_volumes_have_mirrored_fields(labels, spacing, surface, axes):
    options = {"classes": CLASSES, "spacing_mm": spacing, "surface": surface}
    flipped = signed_distance(labels.flip(*axes) if axes else labels, **options)
    field = signed_distance(labels, **options)
    expected = field.flip(*[a + 1 for a in axes]) if axes else field
    torch.testing.assert_close(flipped, expected, rtol=2e-6, atol=2e-6)


@given(volumes(), spacings, surfaces, st.sampled_from((0.125, 3.0, 10.0)))
def test_scaled_spacing_scales_the_field(labels, spacing, surface, factor):
    options = {"classes": CLASSES, "surface": surface}
    field = signed_distance(labels, spacing_mm=spacing, **options)
    scaled = signed_distance(labels, spacing_mm=[factor * s for s in spacing], **options)
    torch.testing.assert_close(scaled, factor * field, rtol=2e-6, atol=2e-6)


@given(volumes(), spacings)
def test_union_of_labels(labels, spacing):
    """Outside, the nearest of two classes is the nearer one; inside, a union is only deeper."""
    options = {"spacing_mm": spacing, "surface": "voxels"}
    one, two = signed_distance(labels, classes=(1, 2), **options)
    both = labels.masked_fill(labels == 2, 1)
    union = signed_distance(both, classes=(1,), **options)[0]
    outside = both != 1
    torch.testing.assert_close(union[outside], one.minimum(two)[outside])
    assert (union <= one.minimum(two) + 1e-5).all()


@given(volumes(), spacings, surfaces, st.floats(0.5, 6))
def test_band_limits_the_field(labels, spacing, surface, band):
    options = {"classes": CLASSES, "spacing_mm": spacing, "surface": surface}
    field = signed_distance(labels, **options)
    found = signed_distance(labels, band_mm=band, **options)
    for label, whole, limited in zip(CLASSES, field, found, strict=True):
        mask = labels == label
        if mask.any() and not mask.all():
            torch.testing.assert_close(limited, whole.clamp(-band, band), rtol=2e-6, atol=2e-6)
        else:
            assert (limited.abs() == torch.tensor(band)).all()


@given(volumes(), st.sampled_from(INTEGERS), st.integers(1, 3))
def test_dtype_layout_and_threads_do_not_matter(labels, dtype, threads):
    options = {"classes": CLASSES, "spacing_mm": (2.0, 1.0, 0.5)}
    expected = signed_distance(labels, **options)
    assert signed_distance(labels.to(dtype), **options).equal(expected)
    strided = torch.stack([labels, labels + 1], -1)[..., 0]
    before = strided.clone()
    now = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert signed_distance(strided, **options).equal(expected)
    finally:
        torch.set_num_threads(now)
    assert strided.equal(before)


def test_threads_share_larger_volumes():
    labels, now = blobs((48, 50, 52)), torch.get_num_threads()
    options = {"classes": range(6), "spacing_mm": (1.0, 0.8, 0.8), "border": "closed"}
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            found.append(signed_distance(labels, **options))
        finally:
            torch.set_num_threads(now)
    assert found[0].equal(found[1])


@given(volumes())
def test_presence(labels):
    classes = (0, 1, 2, 5, 9, 300, -1)
    found = present_classes(labels, classes=classes)
    assert found.tolist() == [int(label) in labels.unique().tolist() for label in classes]
    fields = signed_distance(labels, classes=classes, spacing_mm=(1, 1, 1))
    diagonal_mm = torch.tensor(diagonal(labels, (1.0, 1.0, 1.0)))
    for there, field in zip(found, fields, strict=True):
        assert there or (field == diagonal_mm).all()
    assert ((fields < 0).flatten(1).any(1) == found).all()


def test_labels_that_the_dtype_cannot_hold_are_absent():
    """256 is not 0, and -1 is not 255, for labels of eight bits."""
    labels = torch.tensor([[[0, 255, 3]]], dtype=torch.uint8)
    assert present_classes(labels, classes=(256, -1, 255)).tolist() == [False, False, True]
    for path in (sdf._compiled, sdf._in_torch):
        edges = sdf._edges((1, 1, 3), (1.0, 1.0, 1.0), 9.0, True, False)
        fields = path(labels, [256, -1, 255], (1.0, 1.0, 1.0), 9.0, True, edges)
        assert fields[:2].eq(9).all()
        assert fields[2].flatten().tolist() == [0.5, -0.5, 0.5]


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5)])
def test_class_that_fills_the_volume(shape):
    labels = torch.full(shape, 4)
    options = {"classes": [4, 0], "spacing_mm": (1.0, 1.0, 2.0)}
    full, absent = signed_distance(labels, **options)
    reach = torch.tensor(diagonal(labels, (1.0, 1.0, 2.0)))
    assert full.eq(-reach).all()
    assert absent.eq(reach).all()
    closed = signed_distance(labels, border="closed", **options)[0]
    assert closed.amax() == -0.5
    assert closed.amin() == -shape[0] // 2 + 0.5 if shape[0] == 3 else True


def test_one_voxel_at_each_corner_of_the_volume():
    for corner in itertools.product((0, -1), repeat=3):
        labels = torch.zeros(4, 5, 6, dtype=torch.int16)
        labels[corner] = 1
        field = signed_distance(labels, classes=[1], spacing_mm=(3, 2, 1))[0]
        assert field[corner] == -0.5
        assert (field < 0).sum() == 1
        far = tuple(-1 - c for c in corner)
        expected = math.hypot(9 - 1, 8 - 0.5, 5) - 0.5
        assert field[far].item() == pytest.approx(expected, rel=1e-6)


def test_what_the_border_means():
    """An organ that the image cuts off goes on beyond an open border and ends at a closed one."""
    labels = torch.zeros(1, 1, 8, dtype=torch.uint8)
    labels[..., 3:] = 1
    options = {"classes": [1], "spacing_mm": (9, 9, 1)}
    cut = signed_distance(labels, **options).flatten()
    assert cut.tolist() == [2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5, -4.5]
    capped = signed_distance(labels, border="closed", **options).flatten()
    assert capped.tolist() == [2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -1.5, -0.5]


@given(volumes(5), spacings, surfaces)
def test_a_closed_border_is_a_frame_of_background(labels, spacing, surface):
    labels = torch.where((labels == 9) | (labels == 0), 1, labels)
    options = {"classes": CLASSES, "spacing_mm": spacing, "band_mm": 40.0, "surface": surface}
    framed = signed_distance(torch.nn.functional.pad(labels, [1] * 6), **options)
    closed = signed_distance(labels, border="closed", **options)
    torch.testing.assert_close(closed, framed[:, 1:-1, 1:-1, 1:-1], rtol=2e-6, atol=2e-6)


@settings(max_examples=5)
@given(seeds)
def test_touching_and_nested_classes_share_their_surface(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(1, 3, (6, 7, 8), generator=generator)
    one, two = signed_distance(labels, classes=(1, 2), spacing_mm=(1.5, 1.0, 0.7))
    torch.testing.assert_close(one, -two)


def test_bad_input_is_refused(unchecked):
    labels = torch.zeros(3, 3, 3, dtype=torch.uint8)
    good = {"classes": [1], "spacing_mm": (1, 1, 1)}
    for wrong in (labels.float(), labels.bool(), labels.to(torch.complex64)):
        with pytest.raises(TypeError, match="labels must be integers, got torch"):
            signed_distance(wrong, **good)
        with pytest.raises(TypeError, match="labels must be integers"):
            present_classes(wrong, classes=[1])
    for wrong in (labels[0], labels[None], labels[:0]):
        with pytest.raises(ValueError, match=r"labels must be \(d, h, w\) and not empty"):
            signed_distance(wrong, **good)
    for wrong in ([], [1, 1], [1, 2, 1], range(40000)):
        with pytest.raises(ValueError, match="classes must be 1 to 32767 different labels"):
            signed_distance(labels, **{**good, "classes": wrong})
    for wrong in ([1.9], [1, 2.0], [None]):
        with pytest.raises(TypeError, match="classes must be integers, got"):
            signed_distance(labels, **{**good, "classes": wrong})
        with pytest.raises(TypeError, match="classes must be integers, got"):
            present_classes(labels, classes=wrong)
    for wrong in ((1, 1), (1, 1, 0), (1, -1, 1), (1, 1, math.nan), (1, math.inf, 1), (1,) * 4):
        with pytest.raises(ValueError, match="spacing_mm must be three finite lengths above 0"):
            signed_distance(labels, **{**good, "spacing_mm": wrong})
    for wrong in (0.0, -2.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="band_mm must be a finite length above 0"):
            signed_distance(labels, band_mm=wrong, **good)
    with pytest.raises(ValueError, match="surface must be one of"):
        signed_distance(labels, surface="cells", **good)
    with pytest.raises(ValueError, match="border must be one of"):
        signed_distance(labels, border="none", **good)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_accelerator_agrees():
    labels = blobs((40, 33, 70))
    options = {"classes": range(7), "spacing_mm": (2.0, 1.0, 0.5), "border": "closed"}
    found = signed_distance(labels.cuda(), **options)
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), signed_distance(labels, **options))
