"""Phantom hearts: every structure, in its place, of a size that hearts have."""

import json

import numpy as np
import pytest
import torch
from scipy import ndimage

from libimg.phantoms import HEART_CLASSES, HeartCase, HeartParams, heart_labels, sample_heart

SPACING = 2.5
SEEDS = range(5)
SIDE = 3.0  # mm, of the voxels where many hearts are made
ML = {  # generous: normal to dilated, end diastole, as the ranges of the parameters allow
    "Myocardium": (60, 330),
    "LA": (30, 200),
    "LV": (60, 380),
    "RA": (30, 220),
    "RV": (60, 380),
    "Aorta": (40, 330),
    "PA": (20, 170),
    "LAA": (1, 30),
    "Coronary": (0.5, 20),
    "PV": (3, 60),
}


def params(seed: int) -> HeartParams:
    return sample_heart(torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def hearts() -> list[HeartCase]:
    return [heart_labels(params(seed), spacing_mm=SPACING) for seed in SEEDS]


def centre(case: HeartCase, name: str) -> np.ndarray:
    """Centroid of a structure in RAS millimetres."""
    k, j, i = torch.where(case.labels == HEART_CLASSES[name])
    voxel = np.array([float(v.float().mean()) for v in (i, j, k)] + [1.0])
    return (case.affine @ voxel)[:3]


def test_every_structure_is_there_in_a_size_that_hearts_have(hearts: list[HeartCase]) -> None:
    for case in hearts:
        assert case.labels.dtype == torch.int16
        assert case.labels.unique().tolist() == list(range(11))
        in_range(case, SPACING)


def test_sizes_of_many_hearts() -> None:
    for seed in range(5, 10):
        in_range(heart_labels(params(seed), spacing_mm=SIDE), SIDE)


def in_range(case: HeartCase, spacing_mm: float) -> None:
    for name, (low, high) in ML.items():
        millilitres = float((case.labels == HEART_CLASSES[name]).sum()) * spacing_mm**3 / 1000
        assert low < millilitres < high, name


def test_hearts_differ(hearts: list[HeartCase]) -> None:
    for name in ("LV", "LA", "LAA", "PV"):
        volumes = [float((case.labels == HEART_CLASSES[name]).sum()) for case in hearts]
        assert np.std(volumes) > 0.05 * np.mean(volumes)


def test_chambers_are_of_one_piece(hearts: list[HeartCase]) -> None:
    for case in hearts:
        for name in ("Myocardium", "LA", "LV", "RA", "RV", "Aorta", "PA"):
            mask = (case.labels == HEART_CLASSES[name]).numpy()
            parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
            largest = np.bincount(parts.ravel())[1:].max()
            assert largest > 0.97 * mask.sum(), (name, count)


def test_a_steep_aorta_does_not_cut_the_pulmonary_artery() -> None:
    for seed in (15, 29):
        mask = (heart_labels(params(seed), spacing_mm=SIDE).labels == HEART_CLASSES["PA"]).numpy()
        parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
        assert np.bincount(parts.ravel())[1:].max() > 0.97 * mask.sum()


def test_the_left_ventricle_lies_in_the_myocardium(hearts: list[HeartCase]) -> None:
    inside = [HEART_CLASSES[n] for n in ("LV", "Myocardium", "LA", "Aorta", "Coronary")]
    for case in hearts:
        blood = (case.labels == HEART_CLASSES["LV"]).numpy()
        shell = ndimage.binary_dilation(blood) & ~blood
        labels = case.labels.numpy()[shell]
        assert np.isin(labels, inside).mean() > 0.97
        assert (labels == HEART_CLASSES["Myocardium"]).mean() > 0.6


def test_left_is_left_and_the_front_is_in_front(hearts: list[HeartCase]) -> None:
    for case in hearts:
        at = {name: centre(case, name) for name in HEART_CLASSES}
        right, front, up = range(3)
        assert at["RV"][right] > at["LV"][right]
        assert at["RV"][front] > at["LV"][front]
        assert at["RA"][right] > at["LA"][right]
        assert at["LA"][front] < at["LV"][front]
        assert at["LAA"][right] < at["LA"][right]
        assert at["Aorta"][up] > at["LV"][up]
        assert at["PV"][front] < at["LV"][front]


def meeting(case: HeartCase, one: str, *others: str) -> np.ndarray:
    """Middle, in RAS millimetres, of the voxels of a structure that touch others."""
    labels = case.labels.numpy()
    beside = ndimage.binary_dilation(np.isin(labels, [HEART_CLASSES[n] for n in others]))
    voxels = np.argwhere((labels == HEART_CLASSES[one]) & beside)
    assert len(voxels) > 10, (one, others)
    return case.affine[:3] @ np.append(voxels.mean(0)[::-1], 1)


def test_the_apex_points_left_forwards_and_down(hearts: list[HeartCase]) -> None:
    for case in hearts:
        base = meeting(case, "LV", "LA", "Aorta")
        inside = np.argwhere(case.labels.numpy() == HEART_CLASSES["LV"])[:, ::-1]
        blood = inside @ case.affine[:3, :3].T + case.affine[:3, 3]
        apex = blood[np.linalg.norm(blood - base, axis=1).argmax()]
        right, front, up = apex - base
        assert right < -20
        assert front > 10
        assert up < -5


def test_valves_and_great_vessels_lie_as_in_a_heart(hearts: list[HeartCase]) -> None:
    for case in hearts:
        aortic, pulmonary = meeting(case, "Aorta", "LV"), meeting(case, "PA", "RV")
        mitral, tricuspid = meeting(case, "LA", "LV"), meeting(case, "RA", "RV")
        right, front, up = pulmonary - aortic
        assert right < 0  # the pulmonary trunk crosses in front of the aorta, to the left
        assert front > 0
        assert up > 0
        assert mitral[1] < aortic[1]
        assert tricuspid[0] > mitral[0] + 15
        aorta, lungs = (
            np.argwhere(case.labels.numpy() == HEART_CLASSES[n]) for n in ("Aorta", "PA")
        )
        assert aorta[:, 0].max() > lungs[:, 0].max()  # the arch passes above
        assert aorta[:, 1].min() * SPACING + case.affine[1, 3] < centre(case, "LA")[1]  # and behind


def test_the_right_ventricle_is_a_crescent_on_the_left_one(hearts: list[HeartCase]) -> None:
    """It covers less than 200 degrees of it half way to the apex; 130 in a real label map."""
    for case in hearts:
        base, labels = meeting(case, "LV", "LA", "Aorta"), case.labels.numpy()
        left, right = (
            np.argwhere(labels == HEART_CLASSES[n])[:, ::-1] @ case.affine[:3, :3].T
            + case.affine[:3, 3]
            for n in ("LV", "RV")
        )
        way = left[np.linalg.norm(left - base, axis=1).argmax()] - base
        length = np.linalg.norm(way)
        way = way / length
        side = np.cross(way, (0, 0, 1.0))
        left, right = (p[np.abs((p - base) @ way - 0.5 * length) < SPACING] for p in (left, right))
        out = (right - left.mean(0)) @ np.stack([side, np.cross(way, side)], 1)
        degrees = np.degrees(np.arctan2(*out.T)) // 5
        assert 90 < 5 * len(np.unique(degrees)) < 200


def test_coronaries_are_no_dust() -> None:
    case = heart_labels(params(1), spacing_mm=1.25)
    mask = (case.labels == HEART_CLASSES["Coronary"]).numpy()
    parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.sort(np.bincount(parts.ravel())[1:])[::-1]
    assert sizes[:2].sum() > 0.95 * mask.sum()  # a left and a right tree
    assert sizes[1] > 0.1 * mask.sum()


def test_size_does_not_depend_on_the_voxels() -> None:
    volumes = []
    for spacing in (2.0, 3.0):
        labels = heart_labels(params(2), spacing_mm=spacing).labels
        counts = torch.bincount(labels.flatten().long(), minlength=11)[1:6].double()
        volumes.append(counts * spacing**3)
    torch.testing.assert_close(volumes[0], volumes[1], rtol=0.08, atol=0)


def test_the_same_seed_gives_the_same_heart(hearts: list[HeartCase]) -> None:
    again = heart_labels(HeartParams.from_dict(params(0).to_dict()), spacing_mm=SPACING)
    assert torch.equal(again.labels, hearts[0].labels)
    assert (again.affine == hearts[0].affine).all()
    assert params(0) == params(0) != params(1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_heart_survives_its_record(seed: int) -> None:
    record = json.loads(json.dumps(params(seed).to_dict()))
    assert HeartParams.from_dict(record) == params(seed)


def test_a_given_shape_keeps_the_heart_in_its_middle(hearts: list[HeartCase]) -> None:
    shape = tuple(n + 10 for n in hearts[0].labels.shape)
    larger = heart_labels(params(0), spacing_mm=SPACING, shape=shape)
    assert torch.equal(larger.labels[5:-5, 5:-5, 5:-5], hearts[0].labels)
    assert np.allclose(centre(larger, "LV"), centre(hearts[0], "LV"))


@pytest.mark.usefixtures("unchecked")
def test_refuses() -> None:
    with pytest.raises(ValueError, match="spacing_mm must be"):
        heart_labels(params(0), spacing_mm=0)
    with pytest.raises(ValueError, match="spacing_mm must be"):
        heart_labels(params(0), spacing_mm=-1.0)
    with pytest.raises(ValueError, match=r"shape must be three sizes of 1 or more, got \(4, 5\)"):
        heart_labels(params(0), shape=(4, 5))
    values = params(0).to_dict()
    with pytest.raises(ValueError, match="lv_radius_mm must be between"):
        HeartParams.from_dict({**values, "lv_radius_mm": 90.0})
    with pytest.raises(ValueError, match=r"missing or unknown: \['third_ventricle'"):
        HeartParams.from_dict({**values, "third_ventricle": 1})
    with pytest.raises(ValueError, match="laa_type must be one of"):
        HeartParams.from_dict({**values, "laa_type": "banana"})
