"""Completion: preparing label maps, batches, middles, baselines, scores, files."""

import json
import math
import os
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from libimg import completion, losses
from libimg.completion import Case, Centre, Completer, Drop, Outcome, Question, Sampling, folders
from libimg.completion import model as model_module
from libimg.completion.complete import check_targets
from libimg.nets import LatentFlow, VecSetAutoencoder
from libimg.shapes import Mesh, apply_rigid, sample_rigid

CLASSES = {"shell": 3, "core": 5, "side": 20}
PLAN = Sampling(surface=200, near=100, volume=300, grid=16, half_mm=40, band_mm=12, margin_mm=6)
AFFINE = np.array([[-2, 0, 0, 30], [0, 2, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1.0]])


def blobs(seed: int = 0, *, shift: float = 0.0) -> np.ndarray:
    """A ball in a shell, and a ball beside them, (i, j, k)."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(30.0)] * 3, indexing="ij"), -1)
    centre = 13 + rng.uniform(-1, 1, 3) + shift
    size = rng.uniform(0.9, 1.1)
    far = np.linalg.norm(grid - centre, axis=-1)
    labels = np.zeros(far.shape, np.int16)
    labels[np.linalg.norm(grid - centre - [0, 8 * size, 0], axis=-1) < 4 * size] = 20
    labels[far < 6 * size] = 3
    labels[far < 3.5 * size] = 5
    return labels


def save(path: Path, labels: np.ndarray, affine: np.ndarray = AFFINE, code: int = 1) -> Path:
    image = nib.Nifti1Image(labels, affine)
    image.set_sform(affine, code=code)
    image.set_qform(affine if code else None, code=code)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    folder = tmp_path_factory.mktemp("blobs")
    found = []
    for seed in range(5):
        path = save(folder / f"b{seed}.nii.gz", blobs(seed))
        found.append(completion.prepare_case(path, folder / "x.h5", classes=CLASSES, sampling=PLAN))
    return found


@pytest.fixture(scope="module")
def centre(cases: list[Case]) -> Centre:
    return completion.fit_centre([completion.class_centroids(c.surface) for c in cases])


@pytest.fixture
def model(cases: list[Case]) -> Completer:
    torch.manual_seed(0)
    how = {"width": 16, "latents": 8, "heads": 2, "latent_channels": 4, "frequencies": 4}
    net = VecSetAutoencoder(classes=3, bottleneck="normalised", **how)
    model = Completer(net, grid=16)
    completion.learn_shape(model, cases[:4])
    return model.eval()


def bad_files(folder: Path) -> dict[str, Path]:
    labels, skew = blobs(), AFFINE.copy()
    outside, fraction = labels.copy(), labels.astype(np.float32)
    outside[0, 0, 0], outside[1, 1, 1] = 7, 9
    fraction[3, 3, 3] = 2.5
    skew[0, 1] = 0.7
    files = {
        "outside": save(folder / "outside.nii.gz", outside),
        "empty": save(folder / "empty.nii.gz", labels * 0),
        "fraction": save(folder / "fraction.nii.gz", fraction),
        "missing": save(folder / "missing.nii.gz", labels, code=0),
        "flat": save(folder / "flat.nii.gz", labels[:, :, 13:14]),
        "full": save(folder / "full.nii.gz", np.full((9, 9, 9), 3, np.int16)),
        "huge": save(folder / "huge.nii.gz", np.where(labels == 3, 3e9, 0).astype(np.float32)),
    }
    image = nib.Nifti1Image(labels, skew)
    image.header["qform_code"] = 0
    nib.save(image, folder / "sheared.nii.gz")
    (folder / "cut.nii.gz").write_bytes(files["empty"].read_bytes()[:40])
    return files | {n: folder / f"{n}.nii.gz" for n in ("sheared", "cut")}


def test_bad_files_are_listed_with_their_reason_and_stop_nothing(tmp_path: Path) -> None:
    bad_files(tmp_path / "in")
    save(tmp_path / "in" / "good.nii.gz", blobs().astype(np.float32))
    how = {"classes": CLASSES, "sampling": PLAN}
    found = {
        o.source.name.split(".")[0]: o
        for o in completion.prepare_folder(tmp_path / "in", tmp_path / "out", **how)
    }
    reasons = {name: o.notes for name, o in found.items() if o.state == "failed"}
    wanted = {"outside", "empty", "fraction", "missing", "flat", "full", "huge", "sheared", "cut"}
    assert reasons.keys() == wanted
    assert "7, 9" in reasons["outside"]
    assert "empty" in reasons["empty"]
    assert "2.5" in reasons["fraction"]
    assert "affine is missing" in reasons["missing"]
    assert "two voxels" in reasons["flat"]
    assert "shell has no surface inside the volume" in reasons["full"]
    assert "at most 32767, got 3e+09" in reasons["huge"]
    assert "sheared" in reasons["sheared"]
    assert "not a readable" in reasons["cut"]
    assert found["good"].state == "prepared"
    assert "float32" in found["good"].notes
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["good.h5"]
    with pytest.raises(ValueError, match=r"outside\.nii\.gz"):
        completion.read_labels(tmp_path / "in" / "outside.nii.gz", classes=CLASSES)


def test_one_voxel_and_a_class_at_the_border_are_used_and_noted(tmp_path: Path) -> None:
    labels = blobs()
    labels[labels == 20] = 0
    labels[25, 25, 25] = 20
    labels[:, :, 12:] = np.where(labels[:, :, 12:13] > 0, 3, labels[:, :, 12:])
    path = save(tmp_path / "a.nii.gz", labels)
    case = completion.prepare_case(path, tmp_path / "a.h5", classes=CLASSES, sampling=PLAN)
    assert "side has 1 voxel" in case.source["notes"]
    assert "shell touches the border" in case.source["notes"]
    assert bool(case.surface.isfinite().all())
    middle = case.frame.patient(case.frame.to_mm(case.surface[2])).mean(0)
    expected = AFFINE[:3, :3] @ [25, 25, 25] + AFFINE[:3, 3]
    np.testing.assert_allclose(middle, expected, atol=0.3)


def test_what_is_prepared_is_kept_until_the_file_or_the_question_changes(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.nii.gz", blobs())
    target = tmp_path / "out"

    def state(**changes: object) -> str:
        how = {"classes": CLASSES, "sampling": PLAN, **changes}
        return next(iter(completion.prepare_folder(tmp_path / "in", target, **how))).state

    assert [state(), state()] == ["prepared", "kept"]
    assert [state(sampling=replace(PLAN, near=50)) for _ in range(2)] == ["prepared", "kept"]
    assert [state(labelled=["core"]) for _ in range(2)] == ["prepared", "kept"]
    save(tmp_path / "in" / "a.nii.gz", blobs(1))
    assert [state(), state()] == ["prepared", "kept"]
    (target / "a.h5").write_bytes((target / "a.h5").read_bytes()[:500])
    assert state() == "prepared"


def test_no_case_is_left_of_a_file_that_fails_now(tmp_path: Path) -> None:
    path, target = save(tmp_path / "in" / "a.nii.gz", blobs()), tmp_path / "out"
    how = {"classes": CLASSES, "sampling": PLAN}
    assert [o.state for o in completion.prepare_folder(tmp_path / "in", target, **how)] == [
        "prepared"
    ]
    path.write_bytes(path.read_bytes()[:40])
    (found,) = completion.prepare_folder(tmp_path / "in", target, **how)
    assert found.state == "failed"
    assert "a.h5 of an earlier run is now a.h5.stale" in found.notes
    assert [file.name for file in target.iterdir()] == ["a.h5.stale"]
    (found,) = completion.prepare_folder(tmp_path / "in", target, **how)
    assert "stale" not in found.notes


def test_two_files_of_one_name_are_not_prepared_as_one(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nii"):
        save(tmp_path / "in" / name, blobs())
    how = {"classes": CLASSES, "sampling": PLAN}
    for state in ("prepared", "kept"):
        found = {
            o.source.name: o
            for o in completion.prepare_folder(tmp_path / "in", tmp_path / "out", **how)
        }
        assert {name: o.state for name, o in found.items()} == {
            "a.nii": state,
            "a.nii.gz": "failed",
        }
        assert "a.nii.gz and a.nii would both become a.h5" in found["a.nii.gz"].notes
    assert (tmp_path / "out" / "a.h5").is_file()


@pytest.mark.parametrize("bad", [{"LV": 40000}, {"LV": 0}, {"LV": 3, "LA": 3}, {}])
def test_bad_tables_of_classes_are_refused_at_once(
    bad: dict[str, int], tmp_path: Path, cases: list[Case]
) -> None:
    message = "different labels from 1 to 32767, got"
    with pytest.raises(ValueError, match=message):
        next(completion.prepare_folder(save(tmp_path / "a.nii", blobs()), tmp_path, classes=bad))
    with pytest.raises(ValueError, match=message):
        completion.read_labels(tmp_path / "a.nii", classes=bad)
    completion.write_case(tmp_path / "a.h5", replace(cases[0], classes=bad))
    with pytest.raises(ValueError, match=rf"a\.h5: classes must be .* {message}"):
        completion.load_case(tmp_path / "a.h5")


def test_misspelt_labelled_classes_are_refused_at_once(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", blobs())
    (tmp_path / "a.h5").write_bytes(b"of an earlier run")
    with pytest.raises(ValueError, match="unknown classes"):
        next(completion.prepare_folder(path, tmp_path, classes=CLASSES, labelled=["core", "LV"]))
    assert (tmp_path / "a.h5").is_file()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, bad) for name in ("surface", "near", "volume", "grid") for bad in (0, -5)),
        *((n, bad) for n in ("band_mm", "half_mm", "margin_mm") for bad in (0.0, -1.0, math.inf)),
        ("half_mm", math.nan),
        ("sigmas_mm", ()),
        ("sigmas_mm", (1.0, math.inf)),
        ("sigmas_mm", (-1.0,)),
    ],
)
def test_sampling_names_what_it_refuses(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^sampling\.{name}"):
        Sampling(**{name: value})


@pytest.mark.parametrize(("factor", "noted"), [(1e-3, True), (1, False), (1e3, True)])
def test_sizes_that_no_heart_has_are_noted(factor: float, noted: bool, tmp_path: Path) -> None:
    affine = AFFINE * np.array([factor, factor, factor, 1])
    affine[:3, :3] *= 2
    path = save(tmp_path / "a.nii.gz", blobs(), affine)
    notes = completion.read_labels(path, classes=CLASSES).notes
    assert any("is the header in metres or micrometres?" in note for note in notes) == noted
    assert all(f"spacing {4 * factor:g} mm, the volume is {120 * factor:g} mm" in n for n in notes)


class Pool:
    """One process after the other; a file called ``kill`` takes the process with it."""

    unable = False
    sizes: list[int]

    def __init__(self, number: int, *_: object) -> None:
        self.sizes.append(number)
        self.broken = self.unable

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Any, job: folders.Job) -> "Future[Any]":
        if self.broken:
            raise BrokenProcessPool
        done: Future[Any] = Future()
        self.broken = work is not repr and "kill" in job[0].name
        if self.broken:
            done.set_exception(BrokenProcessPool())
        else:
            done.set_result(work(job))
        return done


def keep_or_die(job: folders.Job) -> Outcome:
    if "kill" in job[0].name:
        os._exit(9)
    return Outcome(job[0], job[1], "prepared", "")


FILES = ("kill0", "a", "b", "kill1", "c", "d", "e")


def killed(target: Path) -> dict[str, str]:
    """States of seven files, two of which take their process with them."""
    jobs = [(Path(name), target / f"{name}.h5") for name in FILES]
    jobs[0][1].write_bytes(b"of an earlier run")
    found = list(folders._parallel(keep_or_die, jobs, 2))
    assert len(found) == len(FILES)
    assert [p.name for p in target.iterdir()] == ["kill0.h5.stale"]
    assert all("was killed" in o.notes for o in found if o.state == "failed")
    return {o.source.name: o.state for o in found}


def test_only_the_file_that_kills_its_process_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(Pool, "sizes", [], raising=False)
    expected = {name: "failed" if "kill" in name else "prepared" for name in FILES}
    assert killed(tmp_path) == expected
    assert Pool.sizes.count(2) == 3  # most are still done side by side
    monkeypatch.setattr(Pool, "unable", True)
    with pytest.raises(RuntimeError, match="workers=2: processes die at once"):
        next(folders._parallel(keep_or_die, [(Path(n), tmp_path / n) for n in FILES], 2))


@pytest.mark.slow
def test_processes_that_are_killed_take_no_other_file_along(tmp_path: Path) -> None:
    assert killed(tmp_path) == {n: "failed" if "kill" in n else "prepared" for n in FILES}


@pytest.mark.slow
def test_processes_prepare_the_same_cases(tmp_path: Path) -> None:
    for seed in range(2):
        save(tmp_path / "in" / f"{seed}.nii.gz", blobs(seed))
    how = {"classes": CLASSES, "sampling": PLAN}
    for workers in (1, 2):
        outcomes = completion.prepare_folder(
            tmp_path / "in", tmp_path / str(workers), workers=workers, **how
        )
        assert [o.state for o in outcomes] == ["prepared"] * 2
    for name in ("0.h5", "1.h5"):
        a, b = (completion.load_case(tmp_path / w / name) for w in "12")
        assert torch.equal(a.surface, b.surface)
        assert torch.equal(a.grid, b.grid)


def test_a_case_survives_its_file(tmp_path: Path, cases: list[Case]) -> None:
    completion.write_case(tmp_path / "a.h5", cases[0])
    again = completion.load_case(tmp_path / "a.h5")
    assert (again.frame, again.classes, again.sampling) == (
        cases[0].frame,
        cases[0].classes,
        cases[0].sampling,
    )
    torch.testing.assert_close(again.surface, cases[0].surface)
    torch.testing.assert_close(again.near_mm, cases[0].near_mm, atol=0.01, rtol=0)
    assert torch.equal(again.labels, cases[0].labels)
    assert completion.load_case(tmp_path / "a.h5", volumes=False).grid is None
    (tmp_path / "b.h5").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"b\.h5: not a prepared case"):
        completion.load_case(tmp_path / "b.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["about"] = json.dumps({**json.loads(file.attrs["about"]), "version": 0})
    with pytest.raises(ValueError, match="version 0"):
        completion.load_case(tmp_path / "a.h5")


def test_distances_are_those_of_the_ball(cases: list[Case]) -> None:
    case = cases[0]
    core = case.surface[1] * 40
    middle, radius = core.mean(0), (core - core.mean(0)).norm(dim=1).mean()
    for points, found in ((case.near[2], case.near_mm[2]), (case.volume, case.volume_mm)):
        expected = ((points * 40 - middle).norm(dim=1) - radius).clamp(-12, 12)
        torch.testing.assert_close(found[:, 1], expected, atol=1.6, rtol=0)
    coarse = completion.read_coarse(case.grid, case.near[0])
    torch.testing.assert_close(coarse, case.near_mm[0], atol=3.0, rtol=0)


def test_absent_is_not_unlabelled(tmp_path: Path) -> None:
    labels = blobs()
    labels[labels == 20] = 0
    path = save(tmp_path / "a.nii.gz", labels)
    found = completion.read_labels(path, classes=CLASSES)
    absent = completion.sample_case(found, labelled=list(CLASSES), sampling=PLAN)
    unlabelled = completion.sample_case(found, sampling=PLAN)
    assert absent.labelled.tolist() == [True, True, True]
    assert unlabelled.labelled.tolist() == [True, True, False]
    assert bool((absent.volume_mm[:, 2] == 12).all())
    assert bool(unlabelled.volume_mm[:, 2].isnan().all())
    assert "absent: side" in absent.source["notes"]
    with pytest.raises(ValueError, match="none of the labelled"):
        completion.sample_case(found, labelled=["side"], sampling=PLAN)
    with pytest.raises(ValueError, match="unknown classes"):
        completion.sample_case(found, labelled=["LV"], sampling=PLAN)


def draw(cases: list[Case], centre: Centre, seed: int = 0, **changes: object) -> completion.Batch:
    how = {"batch": 3, "inputs": 60, "queries": 80, "drop": Drop(fewest=1, most=2), **changes}
    generator = torch.Generator().manual_seed(seed)
    return completion.draw_batch([cases], centre=centre, generator=generator, **how)


def test_batches_follow_their_generator(cases: list[Case], centre: Centre) -> None:
    one, two, other = (draw(cases, centre, seed) for seed in (3, 3, 4))
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, rtol=0, atol=0)
    assert not torch.equal(one.points, other.points)


@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_every_observed_class_gets_its_share(seed: int, shared: tuple[list[Case], Centre]) -> None:
    batch = draw(*shared, seed)
    for classes, presence in zip(batch.classes, batch.presence, strict=True):
        counts = torch.bincount(classes, minlength=3)
        assert bool(presence.any())
        assert counts[~presence].sum() == 0
        assert int(counts[presence].max() - counts[presence].min()) <= 1
        assert 1 <= int((~presence).sum()) <= 2


@pytest.fixture(scope="module")
def shared(cases: list[Case], centre: Centre) -> tuple[list[Case], Centre]:
    return cases, centre


@pytest.mark.parametrize("scale", [0.8, 1.25])
def test_distances_move_and_scale_with_the_heart(
    scale: float, cases: list[Case], centre: Centre
) -> None:
    only = [case.restrict(["core"]) for case in cases]
    batch = draw(only, centre, drop=Drop(), scale_range=(scale, scale), jitter_mm=0.0, inputs=900)
    for points, queries, distances in zip(batch.whole, batch.queries, batch.distances, strict=True):
        radius = (points - points.mean(0)).norm(dim=1).mean()
        expected = (queries - points.mean(0)).norm(dim=1) - radius
        near = distances[:, 1].isfinite()
        assert 20 < int(near.sum()) < 80
        torch.testing.assert_close(distances[near, 1], expected[near], atol=0.07, rtol=0)
        assert bool(distances[:, [0, 2]].isnan().all())


def test_unlabelled_targets_change_nothing(cases: list[Case], centre: Centre) -> None:
    clean = cases[0].restrict(["shell", "core"])
    noise = torch.randn(clean.near_mm.shape[:2])
    dirty = replace(
        clean,
        near_mm=torch.cat([clean.near_mm[..., :2], 1e3 * noise[..., None]], -1),
        volume_mm=torch.cat([clean.volume_mm[:, :2], torch.full((300, 1), torch.nan)], -1),
        surface=torch.cat([clean.surface[:2], torch.randn(1, 200, 3)]),
    )
    found = []
    for case in (clean, dirty):
        batch = draw([case], centre, drop=Drop())
        prediction = torch.zeros_like(batch.distances, requires_grad=True)
        how = {"mask": batch.labelled, "band": 0.1, "clamp": 0.2}
        loss = losses.sdf_l1(prediction, batch.distances, **how).mean()
        (gradient,) = torch.autograd.grad(loss, prediction)
        assert bool((gradient[..., 2] == 0).all())
        found.append((loss.detach(), gradient, batch.points))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_data_sets_are_mixed_by_their_shares(cases: list[Case], centre: Centre) -> None:
    first = [case.restrict(["shell", "core"]) for case in cases[:3]]
    second = [case.restrict(["shell", "side"]) for case in cases[3:]]
    how = {"batch": 150, "inputs": 4, "queries": 8, "shares": (0.9, 0.1), "hide_share": 1.0}
    generator = torch.Generator().manual_seed(0)
    batch = completion.draw_batch(
        [first, second], centre=centre, generator=generator, hide=((), ("side",)), **how
    )
    from_second = batch.labelled[:, 2]
    assert 0.04 < float(from_second.float().mean()) < 0.18
    assert not bool(batch.presence[:, 2].any())
    assert bool((batch.labelled & ~batch.presence)[from_second, 2].all())
    with pytest.raises(ValueError, match="a share for each"):
        completion.draw_batch([first], centre=centre, generator=generator, **how)


def test_schemes_take_groups(cases: list[Case]) -> None:
    drop = Drop(most=1, scheme_share=1.0, schemes={"ball": ("shell", "core")})
    observed = completion.draw_observed(cases[0], drop, generator=torch.Generator().manual_seed(0))
    assert observed.tolist() == [False, False, True]


def test_the_middle_comes_from_the_observed_classes_alone(
    cases: list[Case], centre: Centre
) -> None:
    observed = torch.tensor([True, False, True])
    case, far = cases[0], cases[0].surface.clone()
    far[1] += 5
    found = completion.observed_middle(case, observed, centre)
    assert torch.equal(
        found, completion.observed_middle(replace(case, surface=far), observed, centre)
    )
    shift = torch.tensor([0.1, -0.2, 0.3])
    moved = replace(case, surface=case.surface + shift)
    torch.testing.assert_close(completion.observed_middle(moved, observed, centre), found + shift)
    whole = completion.observed_middle(case, torch.tensor([True, True, True]), centre)
    assert float((found - whole).norm()) * 40 < 3
    with pytest.raises(ValueError, match="none of the observed"):
        centre(torch.full((3, 3), torch.nan), observed)


def test_middles_agree_between_data_sets_with_other_labels(cases: list[Case]) -> None:
    parts = [["shell", "core"], ["core", "side"], list(CLASSES)]
    mixed = [case.restrict(parts[i % 3]) for i, case in enumerate(cases)]
    fitted = completion.fit_centre(
        [torch.where(c.present[:, None], c.surface.mean(1), torch.nan) for c in mixed]
    )
    whole = completion.fit_centre([c.surface.mean(1) for c in cases])
    gap = (fitted.offsets - fitted.offsets[1]) - (whole.offsets - whole.offsets[1])
    assert float(gap.norm(dim=1).max()) * 40 < 2


def test_baselines_find_a_case_they_know(cases: list[Case], centre: Centre) -> None:
    baselines = completion.fit_baselines(cases, centre)
    observed = torch.tensor([True, False, False])
    for case in cases:
        middle = completion.observed_middle(case, case.labelled, centre)
        fields = completion.coarse_fields(case, middle)
        hidden = torch.where(observed[:, None, None, None], fields, torch.nan)
        found = baselines(hidden, observed)
        torch.testing.assert_close(found["nearest case"], fields, atol=1e-4, rtol=1e-4)
        error = {name: float((f - fields)[0].std()) for name, f in found.items()}  # but for level
        assert error["linear model"] < 0.7 * error["mean shape"]
        garbage = torch.where(observed[:, None, None, None], fields, 99.0)
        for name, field in baselines(garbage, observed).items():
            torch.testing.assert_close(field, found[name], rtol=0, atol=0)


def test_unlabelled_classes_of_the_nearest_case_come_from_the_mean(
    cases: list[Case], centre: Centre
) -> None:
    mixed = [cases[0].restrict(["shell", "core"]), *cases[1:]]
    baselines = completion.fit_baselines(mixed, centre)
    middle = completion.observed_middle(mixed[0], mixed[0].labelled, centre)
    fields = completion.coarse_fields(cases[0], middle)
    found = baselines(fields, torch.tensor([True, True, False]))
    torch.testing.assert_close(found["nearest case"][2], baselines.mean[2])
    torch.testing.assert_close(found["nearest case"][:2], fields[:2], atol=1e-4, rtol=1e-4)


def test_an_untrained_network_is_the_mean_shape(cases: list[Case], model: Completer) -> None:
    asked = completion.questions(cases[4:], drop=Drop(fewest=1, most=1))
    baselines = completion.fit_baselines(cases[:4], model.shape.centre)
    found = completion.evaluate({"network": model}, baselines, asked, inputs=60)
    assert found["table"]["network"] == pytest.approx(
        found["table"]["mean shape"], abs=1e-3, nan_ok=True
    )
    assert found["table"]["mean shape"]["dice observed"] > 0.5
    assert "no different from mean shape" in found["verdict"] or "+0.00" in found["verdict"]
    assert list(found["questions"].values()) == [cases[4].source["sha256"]]


def test_classes_without_truth_are_counted_and_not_averaged(
    tmp_path: Path, cases: list[Case], model: Completer
) -> None:
    labels = blobs(7)
    labels[labels == 20] = 0
    path = save(tmp_path / "a.nii.gz", labels)
    found = completion.read_labels(path, classes=CLASSES)
    case = completion.sample_case(found, sampling=PLAN)
    asked = [Question(case, case.labelled, "a")]
    scores = completion.evaluate({"network": model}, None, asked, inputs=60)
    side = scores["classes"]["network"]["dice"]["side"]
    assert (side["completed"]["defined"], side["completed"]["undefined"]) == (0, 1)
    assert scores["classes"]["network"]["dice"]["core"]["observed"]["defined"] == 1
    assert 0 < scores["table"]["network"]["dice observed"] <= 1


def test_classes_without_a_distance_are_counted(cases: list[Case], model: Completer) -> None:
    model.shape.mean[2] += 5  # no place of the cube is in it
    asked = [Question(cases[4], torch.tensor([True, True, False]), "a")]
    line = completion.evaluate({"network": model}, None, asked, inputs=60)["table"]["network"]
    assert (line["infinite observed"], line["infinite completed"]) == (0, 1)
    assert math.isfinite(line["hd95 observed"])
    assert math.isnan(line["hd95 completed"])
    whole = [Question(cases[4], torch.tensor([True, True, True]), "a")]
    line = completion.evaluate({"network": model}, None, whole, inputs=60)["table"]["network"]
    assert line["infinite observed"] == 1
    assert math.isnan(line["infinite completed"])


def test_classes_that_nothing_asks_for_are_not_scored(tmp_path: Path, cases: list[Case]) -> None:
    for number, case in enumerate(cases):
        completion.write_case(tmp_path / f"{number}.h5", replace(case, name=str(number)))
    data = completion.HeartData(folder=str(tmp_path), test=1, validation=1, sampling=PLAN)
    paths, kept = completion.list_cases(tmp_path), ("shell", "core")
    for changed, phase, known in (
        (replace(data, one="core"), 0, [False, True, False]),
        (replace(data, labelled=kept), 1, [True, True, False]),
        (replace(data, labelled=kept), 2, [True, True, False]),
        (data, 1, [True, True, True]),
    ):
        (question,) = completion.make_plan(phase, changed, paths).asked["test"]
        assert question.case.known.tolist() == known


def test_slopes_are_measured_in_full_precision(
    cases: list[Case], centre: Centre, model: Completer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = losses.finite_difference_gradient, []

    def spy(function: Any, points: torch.Tensor, *, step: float) -> torch.Tensor:
        seen.append(torch.is_autocast_enabled("cpu"))
        return real(function, points, step=step)

    monkeypatch.setattr(losses, "finite_difference_gradient", spy)
    weights = completion.Weights(eikonal=1.0)
    with torch.autocast("cpu", torch.bfloat16):
        batch, noise = draw(cases, centre), torch.Generator()
        loss = completion.shape_loss(model, batch, weights, PLAN, noise)
    assert seen == [False]
    assert bool(loss.detach().isfinite())


@pytest.mark.data
def test_a_real_heart_is_prepared_and_read_back(data_folder: Path, tmp_path: Path) -> None:
    names = ("Myocardium", "LA", "LV", "RA", "RV", "Aorta", "PA")
    classes = {name: label for label, name in enumerate(names, 1)}
    plan = Sampling(surface=512, near=512, volume=4096, grid=40)
    path = data_folder / "ct" / "heart_labels" / "mmwhs.nii.gz"
    case = completion.prepare_case(path, tmp_path / "a.h5", classes=classes, sampling=plan)
    assert bool(case.present.all())
    assert case.source["notes"] == ["Aorta touches the border"]
    model = Completer(VecSetAutoencoder.preset("tiny", classes=7, frequencies=3), grid=40).eval()
    completion.learn_shape(model, [case])
    asked = [Question(case, case.labelled, "real")]
    found = completion.evaluate({"network": model}, None, asked, inputs=256, stride=4)
    scores = found["classes"]["network"]["dice"]
    assert all(scores[name]["observed"]["mean"] > 0.8 for name in names)


def test_a_model_keeps_its_frame_for_another_data_set(cases: list[Case]) -> None:
    net = VecSetAutoencoder(classes=3, width=16, heads=2, latents=4)
    model = Completer(net, grid=16)
    completion.learn_shape(model, [case.restrict(["shell", "core"]) for case in cases[:3]])
    before = model.shape.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    assert float(model.shape.weights[2]) == 0
    assert bool((model.shape.mean[2] == 12 / 40).all())
    completion.learn_shape(model, [case.restrict(["core", "side"]) for case in cases[3:]])
    for name in ("mean", "offsets", "weights"):
        assert torch.equal(model.shape.state_dict()[name][:2], before[name][:2])
    assert float(model.shape.mean[2].min()) < 0
    offset = model.shape.offsets[2] - model.shape.offsets[1]
    true = cases[4].surface[2].mean(0) - cases[4].surface[1].mean(0)
    assert float((offset - true).norm()) * 40 < 3


def test_two_of_three_classes_give_all_on_the_same_grid(tmp_path: Path, model: Completer) -> None:
    labels = blobs(9, shift=1.5)
    given = np.where(labels == 20, 0, labels)
    path = save(tmp_path / "in" / "part.nii.gz", given)
    how = {"classes": CLASSES, "inputs": 60, "sampling": PLAN, "spacing_mm": 2.0}
    done = completion.complete_file(path, model, **how)
    files = completion.write_completion(done, tmp_path / "out")
    assert [file.name for file in files] == ["part.nii.gz", "part.ply"]
    image = nib.load(files[0])
    values = np.asarray(image.dataobj)
    np.testing.assert_array_equal(image.affine, AFFINE)
    np.testing.assert_array_equal(values[given > 0], given[given > 0])
    both = ((values == 20) & (labels == 20)).sum()
    assert 2 * both / ((values == 20).sum() + (labels == 20).sum()) > 0.5
    place = np.argwhere(labels == 20).mean(0) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    vertices = done.meshes()["side"].vertices
    assert float((vertices.mean(0) - torch.from_numpy(place).float()).norm()) < 5
    files = completion.write_completion(done, tmp_path / "stl", suffix=".stl")[1:]
    assert sorted(file.name for file in files) == [f"part_{name}.stl" for name in sorted(CLASSES)]
    assert all(file.read_bytes().startswith(b"binary STL") for file in files)
    free = completion.decode_labels(done, keep=False)
    assert set(free.unique().tolist()) == {0, 3, 5, 20}
    only = completion.complete_file(path, model, observed=["core"], **how)
    assert only.observed.tolist() == [False, True, False]
    with pytest.raises(ValueError, match="none of the labelled"):
        completion.complete_file(path, model, observed=["side"], **how)


def test_nothing_is_written_over_what_is_read(tmp_path: Path, model: Completer) -> None:
    path = save(tmp_path / "in" / "a.nii.gz", blobs(9))
    before = path.read_bytes()
    how = {"classes": CLASSES, "inputs": 60, "sampling": PLAN, "spacing_mm": 8.0}
    done = completion.complete_file(path, model, **how)
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for target in (tmp_path / "in", tmp_path / "link", tmp_path / "in" / ".." / "in"):
        with pytest.raises(ValueError, match=r"would be written over .*a\.nii\.gz"):
            completion.write_completion(done, target)
    with pytest.raises(ValueError, match=r"suffix must be one of \.ply.* got '\.xyz'"):
        completion.write_completion(done, tmp_path / "out", suffix=".xyz")
    assert not (tmp_path / "out").exists()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["a.nii.gz"]
    completion.write_completion(done, tmp_path / "in", name="b")
    assert path.read_bytes() == before


def test_targets_are_checked_for_all_files_together(tmp_path: Path) -> None:
    first = save(tmp_path / "a.nii.gz", blobs())
    other = save(tmp_path / "a_sample0.nii.gz", blobs())
    names = {first: ["a_sample0", "a_sample1"], other: ["a_sample0_sample0"]}
    with pytest.raises(ValueError, match=r"answer for .*a\.nii\.gz .* over .*a_sample0\.nii\.gz"):
        check_targets(names, tmp_path)
    check_targets(names, tmp_path / "out")
    with pytest.raises(NotADirectoryError, match="this is a file"):
        check_targets(names, first)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({"spacing_mm": bad}, "spacing_mm must be above 0 and at most 40")
            for bad in (0.0, -2.0)
        ),
        *(({"spacing_mm": bad}, "spacing_mm must") for bad in (math.nan, math.inf, 41.0)),
        ({"fit_steps": -1}, "fit_steps must be 0 or more, got -1"),
    ],
)
def test_bad_questions_are_refused_before_the_file_is_read(
    changes: dict[str, Any], message: str, model: Completer, tmp_path: Path
) -> None:
    how = {"classes": CLASSES, "inputs": 60, "sampling": PLAN, **changes}
    with pytest.raises(ValueError, match=message):
        completion.complete_file(tmp_path / "nothing.nii", model, **how)


def test_a_class_that_fills_the_volume_is_no_traceback(tmp_path: Path, model: Completer) -> None:
    path = save(tmp_path / "a.nii.gz", np.full((9, 9, 9), 5, np.int16))
    with pytest.raises(ValueError, match=r"a\.nii\.gz: core has no surface inside the volume"):
        completion.complete_file(path, model, classes=CLASSES, inputs=60, sampling=PLAN)


def test_counts_of_draws_and_steps_are_refused(cases: list[Case], model: Completer) -> None:
    latent, middle = completion.encode_case(model, cases[0], cases[0].labelled, inputs=60)
    for number in (-1, 0, 1):
        for function in (completion.sample_scores, completion.fit_spread):
            with pytest.raises(ValueError, match=f"number must be 2 or more draws.* {number}"):
                function(model, [], inputs=60, number=number)
    for steps in (-1, 0):
        with pytest.raises(ValueError, match=f"steps must be 1 or more, got {steps}"):
            completion.fit_latent(model, cases[0], latent.mean, middle, steps=steps)


def test_fitting_brings_the_decoder_closer(tmp_path: Path, model: Completer) -> None:
    torch.nn.init.normal_(model.net.field.answer.weight, std=0.01)
    path = save(tmp_path / "a.nii.gz", blobs(11))
    how = {"classes": CLASSES, "inputs": 60, "sampling": PLAN, "spacing_mm": 4.0}
    before = model.net.field.answer.weight.clone()
    scores = [
        completion.dice_of(completion.complete_file(path, model, **how, **fit))["mean"]
        for fit in ({}, {"fit_steps": 8}, {"fit_steps": 16, "fit_weights": True})
    ]
    assert scores[0] < scores[2]
    assert scores[0] < scores[1] + 0.02
    assert torch.equal(model.net.field.answer.weight, before)


def test_draws_are_scored_apart(cases: list[Case], model: Completer) -> None:
    asked = completion.questions(cases[4:], drop=Drop(fewest=1, most=1, scheme_share=0))
    with pytest.raises(ValueError, match="gives one answer"):
        completion.sample_scores(model, asked, inputs=60)
    torch.nn.init.normal_(model.net.field.answer.weight, std=0.05)
    model.flow = LatentFlow(channels=4, latents=8, width=16, layers=1, heads=2)
    found = completion.sample_scores(model, asked, inputs=60, number=4, points=50)
    assert found["coverage_if_calibrated"] == pytest.approx(0.6)
    for group in ("observed", "completed"):
        assert found[group]["spread_mm"] > 0
        assert found[group]["best_mm"] >= 0
        assert 0 <= found[group]["coverage"] <= 1


@pytest.mark.parametrize("true", [1.0, 3.0])
def test_the_spread_that_the_truth_has_is_found(
    true: float, cases: list[Case], model: Completer, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    torch.nn.init.normal_(model.net.field.answer.weight, std=0.05)
    model.flow = LatentFlow(channels=4, latents=8, width=16, layers=1, heads=2)

    def narrow(_: Any, x: torch.Tensor, *, steps: int, generator: torch.Generator) -> torch.Tensor:
        return x + 0.1 * torch.randn(x.shape, generator=generator)

    monkeypatch.setattr(model_module, "sample_flow", narrow)
    case, seen = cases[4], torch.tensor([True, False, False])
    latent, middle = completion.encode_case(model, case, seen, inputs=60)

    def draw(spread: float, number: int, seed: int) -> torch.Tensor:
        model.shape.spread.fill_(spread)
        return model.sample(latent, number=number, generator=torch.Generator().manual_seed(seed))

    close, wide = draw(1.0, 4, 1), draw(3.0, 4, 1)
    torch.testing.assert_close(wide - wide[:1], 3 * (close - close[:1]))
    places, asked = (case.near.flatten(0, 1) - middle)[None], []
    for truth in draw(true, 30, 9):
        distances = (model.decode(truth[None], places)[0] * 40).clamp(-12, 12).view(3, -1, 3)
        asked.append(Question(replace(case, near_mm=distances.detach()), seen, "a"))
    found = completion.fit_spread(model, asked, inputs=60, points=40)
    assert found == float(model.shape.spread)
    assert 0.6 < found / true < 1.6


def test_sparse_reading_gives_the_same_sides() -> None:
    def ball(points: torch.Tensor) -> torch.Tensor:
        return torch.stack([points.norm(dim=1) - 7, (points - 9).norm(dim=1) - 1.2], 1)

    how = {"shape": (17, 15, 13), "spacing_mm": (1.0, 1.0, 1.2), "origin_mm": (-3.0, -2.0, 0.0)}
    cheap = completion.sparse(ball, **how)
    points = torch.rand(5000, 3) * torch.tensor([16.0, 14, 14]) + torch.tensor([-3.0, -2, 0])
    assert torch.equal(cheap(points) < 0, ball(points) < 0)


def square(x: float, y: float, size: float = 1.0) -> Mesh:
    corners = torch.tensor([[-1.0, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]]) * size
    return Mesh(corners + torch.tensor([x, y, 0.0]), torch.tensor([[0, 1, 2], [0, 2, 3]]))


def test_pictures_have_the_left_on_the_right_and_the_front_in_front() -> None:
    front = ((-1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    how = {"centre_mm": (0, 0, 0), "half_mm": 4, "size": 32, "view": front}
    left = completion.render_meshes({"LV": square(-2, 0)}, **how)
    assert bool((left[:, :, :16] == 1).all())
    assert bool((left[1, 14:18, 22:26] < 0.9).all())
    both = {"LV": square(0, -1, 2), "RV": square(0, 1)}
    picture = completion.render_meshes(both, **how)
    assert float(picture[2, 16, 16]) > float(picture[0, 16, 16])
    assert float(picture[0, 16, 10]) > float(picture[2, 16, 10])
    assert bool((completion.render_meshes({}, **how) == 1).all())


def test_sheets_are_written(tmp_path: Path, cases: list[Case]) -> None:
    whole = completion.label_meshes(cases[0])
    part = completion.label_meshes(cases[0], torch.tensor([True, False, False]))
    assert (list(whole), list(part)) == (list(CLASSES), ["shell"])
    how = {"columns": ["input", "truth"], "classes": list(CLASSES), "size": 32}
    path = completion.heart_sheet(tmp_path / "p.png", [("a", [part, whole])], **how)
    assert path.stat().st_size > 3000
    with pytest.raises(ValueError, match="2 pictures"):
        completion.heart_sheet(tmp_path / "p.png", [("a", [whole])], **how)


def test_turning_keeps_the_hand() -> None:
    rigid = sample_rigid(torch.Generator().manual_seed(1), max_degrees=180)
    axes = apply_rigid(torch.eye(3), replace(rigid, shift=(0, 0, 0)))
    assert float(torch.linalg.det(axes)) > 0


def test_phases_refuse_what_does_not_fit(tmp_path: Path, cases: list[Case]) -> None:
    for number, case in enumerate(cases):
        completion.write_case(tmp_path / f"{number}.h5", replace(case, name=str(number)))
    paths = completion.list_cases(tmp_path)
    data = completion.HeartData(
        folder=str(tmp_path), test=1, validation=1, sampling=PLAN, one="core"
    )
    plan = completion.make_plan(0, data, paths)
    assert all(case.labelled.tolist() == [False, True, False] for case in plan.cases)
    with pytest.raises(ValueError, match="phase must be"):
        completion.make_plan(5, data, paths)
    with pytest.raises(ValueError, match="leave some of 5"):
        completion.make_plan(1, replace(data, test=4), paths)
    with pytest.raises(ValueError, match=r"data\.sampling\.half_mm"):
        completion.make_plan(1, replace(data, sampling=replace(PLAN, half_mm=50)), paths)
    three = completion.make_plan(3, replace(data, new=("side",), lacks=("shell",)), paths)
    assert three.shares == (0.95, 0.05)
    assert three.hide == (("shell",), ("side",))
    (question,) = three.asked["second data set, seen as the first"]
    assert question.observed.tolist() == [False, True, False]
