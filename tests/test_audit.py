"""The audit of pictures: each flag where it belongs, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional as F

from libimg import io
from libimg.data import (
    audit_image,
    audit_pair,
    duplicates,
    flag_precision,
    head_pose,
    perceptual_hash,
)
from libimg.phantoms import HeadParams, render_head, sample_head

SIZE = (380, 309)


def params(seed: int = 0) -> HeadParams:
    return sample_head(torch.Generator().manual_seed(seed))


def kinds(image: torch.Tensor, **options: object) -> set[str]:
    return {flag.kind for flag in audit_image(image, **options)}


@pytest.fixture(scope="module")
def xray() -> torch.Tensor:
    return render_head(params(), size=SIZE).xray


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return render_head(params(), size=SIZE).photo


def test_a_plain_head_has_no_flag(xray: torch.Tensor, photo: torch.Tensor) -> None:
    assert not kinds(xray)
    assert not kinds(photo)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_frame_and_ruler_are_no_faults(seed: int) -> None:
    case = render_head(replace(params(seed), frame=True, ruler=True), size=SIZE)
    flags = {flag.kind: flag for flag in audit_image(case.xray)}
    assert set(flags) == {"device_frame", "ruler"}
    assert not any(flag.fault for flag in flags.values())
    tick = flags["ruler"].evidence["spacing px"] * case.spacing_mm[0]
    assert min(abs(tick - 5), abs(tick - 10)) < 0.6  # millimetres


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
@pytest.mark.parametrize("frame", [False, True])
def test_a_bar_that_hides_something_is_a_fault(side: str, frame: bool) -> None:
    case = render_head(replace(params(4), border=side, frame=frame), size=SIZE)
    (flag,) = (flag for flag in audit_image(case.xray) if flag.kind == "border")
    assert flag.fault
    assert 0.08 < flag.evidence[side] < 0.22
    assert set(flag.evidence) == {side, "more than"}


@pytest.mark.parametrize("kind", ["photo", "xray"])
@pytest.mark.parametrize("turned", [90, 180, 270])
def test_turned_heads_are_faults(kind: str, turned: int) -> None:
    image = getattr(render_head(replace(params(5), turned=turned), size=SIZE), kind)
    (flag,) = (flag for flag in audit_image(image) if flag.kind == "orientation")
    assert flag.fault
    assert f"turned by {turned} degrees" in flag.text


@pytest.mark.parametrize("kind", ["photo", "xray"])
def test_the_pose_follows_the_picture(kind: str) -> None:
    least = {"photo": 8, "xray": 9}[kind]  # of 10: a photograph's background may be anything
    poses = {
        "upright": lambda x: x,
        "mirrored": lambda x: x.flip(2),
        "turned by 90 degrees": lambda x: torch.rot90(x, 1, (1, 2)),
        "mirrored and turned by 270 degrees": lambda x: torch.rot90(x.flip(2), 3, (1, 2)),
    }
    heads = [getattr(render_head(params(seed), size=(190, 155)), kind) for seed in range(10)]
    for name, pose in poses.items():
        assert sum(head_pose(pose(image)).best == name for image in heads) >= least
    left = [head_pose(image.flip(2), facing="left").best for image in heads]
    assert sum(best == "upright" for best in left) >= least


def test_noise_is_no_turned_head() -> None:
    noise = torch.rand(1, 300, 260, generator=torch.Generator().manual_seed(0))
    flags = [flag for flag in audit_image(noise) if flag.kind == "orientation"]
    assert not any(flag.fault for flag in flags)
    assert all(flag.text.startswith("Unsure.") for flag in flags)


@pytest.mark.parametrize(("exposure", "word"), [(0.35, "too dark"), (2.5, "clipped")])
def test_badly_exposed_x_rays_are_faults(exposure: float, word: str) -> None:
    case = render_head(replace(params(7), exposure=exposure), size=SIZE)
    (flag,) = (flag for flag in audit_image(case.xray) if flag.kind == "exposure")
    assert flag.fault
    assert word in flag.text


def test_sizes_and_depths_are_noted(xray: torch.Tensor) -> None:
    flags = {flag.kind: flag for flag in audit_image(xray, expected_size=(380, 300))}
    assert flags["size"].fault
    assert "380 x 309 pixels instead of 380 x 300" in flags["size"].text
    assert "size" in kinds(F.interpolate(xray[None], (150, 120))[0])
    eight = (xray * 255).round() / 255
    assert "bit_depth" in kinds(eight, bits=16)
    assert "bit_depth" not in kinds(xray, bits=16)
    coarse = (xray * 60).round() / 60
    assert "bit_depth" in kinds(coarse)


def test_pairs_must_have_one_size(xray: torch.Tensor, photo: torch.Tensor) -> None:
    assert audit_pair(photo, xray) == ()
    (flag,) = audit_pair(photo, xray[:, 1:])
    assert flag.kind == "pair_size"
    assert flag.fault


def test_the_real_x_ray_is_turned(data_folder: Path) -> None:
    path = data_folder / "xray" / "B1893L12.jpg"
    if not path.is_file():
        pytest.skip(f"no X-ray at {path}")
    image = io.read_image(path).image
    flags = {flag.kind: flag for flag in audit_image(image)}
    assert flags["orientation"].fault
    assert "turned by 90 degrees" in flags["orientation"].text
    assert "border" not in flags
    assert head_pose(torch.rot90(image, -1, (1, 2))).best == "upright"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(2, 40, 40), "1 or 3 channels"),
        (torch.zeros(1, 1, 1), "16 or more pixels"),
        (torch.full((1, 40, 40), torch.nan), "finite values"),
    ],
)
def test_impossible_pictures_are_refused(image: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        audit_image(image)


@given(st.integers(0, 40), st.floats(0.5, 1.0), st.floats(0.0, 0.2))
def test_a_copy_keeps_its_hash(seed: int, gain: float, offset: float) -> None:
    image = render_head(params(seed), size=(152, 124)).photo
    copy = F.interpolate(image[None], (120, 98), mode="bilinear", antialias=True)[0]
    hashes = {"a": perceptual_hash(image), "b": perceptual_hash(gain * copy + offset)}
    assert duplicates(hashes) == (("a", "b"),)


def test_different_heads_are_kept_apart() -> None:
    hashes = {}
    for seed in range(40):
        case = render_head(params(seed), size=(152, 124))
        hashes |= {f"{seed} photo": perceptual_hash(case.photo)}
    assert duplicates(hashes) == ()


@given(st.lists(st.integers(0, 2**64 - 1), max_size=12), st.integers(0, 8))
def test_groups_are_chains_of_near_hashes(values: list[int], distance: int) -> None:
    hashes = {str(i): value for i, value in enumerate(values)}
    near = [[bin(a ^ b).count("1") <= distance for b in values] for a in values]
    reach = np.array(near, bool).reshape(len(values), len(values))
    for _ in values:
        reach = reach @ reach
    expected = {tuple(str(j) for j in np.flatnonzero(row)) for row in reach if row.sum() > 1}
    assert set(duplicates(hashes, distance=distance)) == expected


def test_bad_hashes_are_refused() -> None:
    with pytest.raises(ValueError, match="a does not have 256 bits"):
        duplicates({"a": 2**256})
    with pytest.raises(ValueError, match="distance must be at least 0"):
        duplicates({}, distance=-1)
    with pytest.raises(ValueError, match="16 or more pixels"):
        perceptual_hash(torch.zeros(1, 9, 40))
    with pytest.raises(ValueError, match="finite values"):
        perceptual_hash(torch.full((1, 40, 40), torch.nan))


def test_the_brief_s_flags_do_not_explain_its_failures() -> None:
    """80 cases, 25 failed; frames on half of them, orientation on 3 of the failures."""
    names = [f"{i:03d}" for i in range(80)]
    flags = {name: {"border"} for name in names[10:50]}
    for name in names[22:30]:
        flags[name] = flags.get(name, set()) | {"orientation"}
    rows = flag_precision(flags, names[:25], cases=names)
    for row in rows.values():
        assert row.enrichment_interval[0] < 1 < row.enrichment_interval[1]
        assert "no evidence that it explains failures" in row.text
    assert rows["orientation"].flagged == 8
    assert rows["orientation"].failed == 3
    table = [[3, 5], [22, 50]]
    assert rows["orientation"].p == pytest.approx(stats.fisher_exact(table)[1])
    interval = stats.binomtest(3, 8).proportion_ci(method="wilson")
    assert rows["orientation"].precision_interval == pytest.approx(tuple(interval))


def test_a_flag_that_explains_failures_is_said() -> None:
    names = [f"{i:03d}" for i in range(60)]
    rows = flag_precision({n: {"exposure"} for n in names[:12]}, names[:15], cases=names)
    assert "explains failures" in rows["exposure"].text
    assert "no evidence" not in rows["exposure"].text
    assert rows["exposure"].precision == 1
    everywhere = flag_precision({n: {"frame"} for n in names}, names[:15])
    assert everywhere["frame"].base == everywhere["frame"].precision == 0.25
    with pytest.raises(ValueError, match="not among the cases: ghost"):
        flag_precision({}, {"ghost"}, cases=names)
