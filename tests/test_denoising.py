"""Event denoising: pairs, crops, files through a model, scores, overlaid noise, another host."""

import math
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from libimg import denoising
from libimg.denoising import Codec, EventData, Overlays, VoxelPairs
from libimg.events import Clock, Events, encode_voxels, encode_windows, read_events, write_events
from tests.reference.events import from_rows, rows_of

SENSOR = (6, 9)
LENGTH = 100_000


def events_of(
    seed: int = 0,
    count: int = 400,
    *,
    sensor: tuple[int, int] = SENSOR,
    start: int = 0,
    length: int = LENGTH,
    signed: bool = True,
) -> Events:
    """Random events; if not signed, one polarity a pixel, so that none cancel in a voxel."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(start, start + length, count))
    y, x = rng.integers(0, sensor[0], count), rng.integers(0, sensor[1], count)
    p = rng.choice([-1, 1], count) if signed else 1 - 2 * ((x + y) % 2)
    return Events(t, x, y, p, sensor=sensor)


def merged(*streams: Events) -> Events:
    return from_rows(sorted(row for s in streams for row in rows_of(s)), streams[0].sensor)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A noisy and a clean file of 100 ms."""
    clean = events_of(1, 200)
    paths = tmp_path / "noisy" / "a.h5", tmp_path / "clean" / "a.h5"
    write_events(paths[0], merged(clean, events_of(2, 300)), start_us=0)
    write_events(paths[1], clean, start_us=0)
    return paths


# Pairs


def test_a_recording_of_100_ms_gives_five_items(pair: tuple[Path, Path]) -> None:
    items = VoxelPairs([pair, pair], EventData())
    assert len(items) == 10
    for index in range(5):
        item = items[index]
        assert set(item) == {"raw", "label"}
        for name, path in zip(("raw", "label"), pair, strict=True):
            assert item[name].shape == (1, 8, *SENSOR)
            assert item[name].dtype == torch.float32
            whole = read_events(path)
            expected = encode_voxels(whole, bins=8, start_us=index * 20_000, duration_us=20_000)
            assert torch.equal(item[name][0], expected)
    noisy, clean = items.recording(1)
    assert (rows_of(noisy), rows_of(clean)) == tuple(rows_of(read_events(p)) for p in pair)
    batch = next(iter(torch.utils.data.DataLoader(items, batch_size=4)))
    assert batch["raw"].shape == batch["label"].shape == (4, 1, 8, *SENSOR)


def test_noisy_and_clean_share_a_clock(tmp_path: Path) -> None:
    """The clean recording starts 15 ms behind the noisy one: its events stay where they are."""
    a, b = tmp_path / "a.h5", tmp_path / "b.h5"
    write_events(a, Events([1000, 30_000], [0, 1], [0, 1], [1, 1], sensor=SENSOR))
    write_events(b, Events([16_000], [3], [2], [-1], sensor=SENSOR))
    items = VoxelPairs([(a, b)], EventData(codec=Codec(bins=4)))
    assert list(items.clocks[0]) == [1000, 21_000]
    assert items[0]["label"].nonzero().tolist() == [[0, 3, 2, 3]]
    assert items[0]["raw"].nonzero().tolist() == [[0, 0, 0, 0]]
    assert items[1]["raw"].nonzero().tolist() == [[0, 1, 1, 1]]
    assert not items[1]["label"].any()
    assert items.events(1)["raw"].t_us.tolist() == [9000]


def test_two_channels_of_counts_and_their_swap(pair: tuple[Path, Path]) -> None:
    signed, split = (
        VoxelPairs([pair], EventData(codec=Codec(polarity=kind))) for kind in ("sum", "split")
    )
    other = Codec(polarity="split")
    for index in range(5):
        for name, grid in split[index].items():
            assert grid.shape == (2, 8, *SENSOR)
            assert torch.equal(grid[:1] - grid[1:], signed[index][name])
            events = split.events(index)[name]
            assert grid.sum() == len(events)
            events = Events(events.t_us, events.x, events.y, -events.p, sensor=SENSOR)
            expected = denoising.encode_segment(events, start_us=0, codec=other)
            assert torch.equal(denoising.swap_polarity(grid, channel=0), expected)
            single = signed[index][name][None]
            assert torch.equal(denoising.swap_polarity(single, channel=1), -single)
    with pytest.raises(ValueError, match="for the polarity 'sum', got 'split'"):
        denoising.write_3dunet(split, pair[0].parent / "host")


@pytest.mark.parametrize("start", [0, 3_000_000])
def test_recordings_without_events(tmp_path: Path, start: int) -> None:
    full, empty = tmp_path / "full.h5", tmp_path / "empty.h5"
    write_events(full, events_of(start=start))
    write_events(empty, events_of(count=0))
    items = VoxelPairs([(full, empty)], EventData())
    assert len(items) == 5
    assert not any(items[i]["label"].any() for i in range(5))
    assert sum(int(items[i]["raw"].sum()) for i in range(5)) == int(read_events(full).p.sum())
    both = VoxelPairs([(empty, empty)], EventData())
    assert len(both) == 1
    assert not both[0]["raw"].any()


def test_sensors_are_stated_or_given_and_equal(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    bare = tmp_path / "bare.h5"
    with h5py.File(bare, "w") as file:
        columns = {"t": [5, 9], "x": [1, 2], "y": [0, 1], "p": [1, 0]}
        for name, values in columns.items():
            file[f"events/{name}"] = np.array(values)
    items = VoxelPairs([(bare, bare)], EventData(sensor=(7, 5)))
    assert items[0]["raw"].shape == (1, 8, 7, 5)
    with pytest.raises(ValueError, match=r"a\.h5 has a sensor of \(6, 9\) and .*bare\.h5 one of"):
        VoxelPairs([(pair[0], bare)], EventData())


def test_what_cannot_be_read_raises_with_its_name(pair: tuple[Path, Path]) -> None:
    items = VoxelPairs([pair], EventData())
    content = pair[1].read_bytes()
    for wrong in (b"", b"no events", content[: len(content) // 2]):
        pair[1].write_bytes(wrong)
        for read in (lambda: items[0], lambda: VoxelPairs([pair], EventData())):
            with pytest.raises(ValueError, match=r"clean/a\.h5: "):
                read()
    pair[1].unlink()
    with pytest.raises(FileNotFoundError, match=r"clean/a\.h5"):
        items[0]


def test_an_event_beyond_the_sensor_raises_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_events(path, events_of())
    with h5py.File(path, "a") as file:
        file["events/x"][3] = 50
    with pytest.raises(ValueError, match=r"a\.h5: 1 events lie beyond the sensor"):
        VoxelPairs([(path, path)], EventData())[0]


def folders(root: Path, *names: str) -> tuple[str, str]:
    for kind in ("noisy", "clean"):
        for name in names:
            write_events(root / kind / name, events_of())
    return str(root / "noisy"), str(root / "clean")


def test_files_are_paired_by_name_and_held_out(tmp_path: Path) -> None:
    noisy, clean = folders(tmp_path / "a", "r3.h5", "r1.h5", "r2.hdf5")
    train, test = denoising.event_pairs(
        EventData(noisy=noisy, clean=clean, val_files=1), tmp_path, seed=0
    )
    assert [(a.name, b.name) for a, b in train] == [("r1.h5", "r1.h5"), ("r2.hdf5", "r2.hdf5")]
    assert [a.name for a, _ in test] == ["r3.h5"]
    all_of_them = EventData(noisy=noisy, clean=clean, val_files=0)
    assert denoising.event_pairs(all_of_them, tmp_path, seed=0) == (train + test,) * 2
    other = folders(tmp_path / "b", "v.h5")
    config = EventData(noisy=noisy, clean=clean, val_noisy=other[0], val_clean=other[1])
    found = denoising.event_pairs(config, tmp_path, seed=0)
    assert (found[0], [a.name for a, _ in found[1]]) == (train + test, ["v.h5"])


def test_pairs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    noisy, clean = folders(tmp_path, "r1.h5", "r2.h5")
    for wrong in ({"noisy": noisy}, {"clean": clean}, {"val_noisy": noisy}):
        with pytest.raises(ValueError, match="noisy and clean folders come in pairs"):
            denoising.event_pairs(EventData(**wrong), tmp_path, seed=0)
    config = EventData(noisy=noisy, clean=clean, val_files=2)
    with pytest.raises(ValueError, match="must leave pairs to train on, got 2 of 2"):
        denoising.event_pairs(config, tmp_path, seed=0)
    (Path(clean) / "r2.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"noisy/r2\.h5 has no partner"):
        denoising.event_pairs(config, tmp_path, seed=0)


def test_scenes_are_written_once_as_pairs(tmp_path: Path) -> None:
    config = EventData(scenes=2, sensor=(16, 24), length_us=20_000, val_files=1)
    noisy, clean = denoising.write_scene_pairs(config, tmp_path, seed=3)
    names = ["scene_3_000.h5", "scene_3_001.h5"]
    assert (noisy.name, clean.name) == (denoising.NOISY, denoising.CLEAN)
    first = []
    for name in names:
        a, b = read_events(noisy / name), read_events(clean / name)
        assert a.sensor == b.sensor == (16, 24)
        assert 0 < len(b) < len(a)
        label = denoising.label_by_truth(a, b)
        assert label is not None
        assert int(label.sum()) == len(b)
        first.append(rows_of(a))
    assert first[0] != first[1]
    write_events(noisy / names[0], events_of(7))
    denoising.write_scene_pairs(config, tmp_path, seed=3)
    assert rows_of(read_events(noisy / names[0])) == rows_of(events_of(7))
    (clean / names[0]).unlink()
    denoising.write_scene_pairs(config, tmp_path, seed=3)
    assert rows_of(read_events(noisy / names[0])) == first[0]
    denoising.write_scene_pairs(config, tmp_path, seed=4)
    assert rows_of(read_events(noisy / "scene_4_000.h5")) != first[0]
    train, test = denoising.event_pairs(config, tmp_path, seed=3)
    assert [pair[0].name for pair in train + test] == names


# Crops


def grids(count: int = 2, size: tuple[int, int] = (4, 5)) -> list[dict[str, torch.Tensor]]:
    every = torch.arange(count * math.prod(size), dtype=torch.float32).reshape(count, 1, 1, *size)
    return [{"raw": grid, "label": -grid} for grid in every]


def test_crops_reach_every_place_and_mirror() -> None:
    generator = torch.Generator().manual_seed(0)
    items = grids()
    found = denoising.draw_crops(items, crop=(3, 2), batch=1500, generator=generator)
    expected = {
        tuple(item["raw"][0, 0, i : i + 3, j : j + 2].flip(axes).flatten().tolist())
        for item in items
        for i in range(2)
        for j in range(4)
        for axes in ((), (0,), (1,), (0, 1))
    }
    assert len(expected) == 64
    assert {tuple(crop.flatten().tolist()) for crop in found["raw"]} == expected
    assert torch.equal(found["label"], -found["raw"])


@pytest.mark.parametrize("swap", [False, True])
def test_square_crops_are_transposed_and_swapped_if_wished(
    generator: torch.Generator, swap: bool
) -> None:
    item = grids(1, (3, 3))[0]
    options = {"crop": (), "batch": 300, "generator": generator, "swap": swap}
    found = denoising.draw_crops([item], **options)
    grid = item["raw"][0, 0]
    turned = [turn.flip(axes) for turn in (grid, grid.T) for axes in ((), (0,), (1,), (0, 1))]
    expected = [sign * turn for turn in turned for sign in ((1, -1) if swap else (1,))]
    assert {tuple(crop.flatten().tolist()) for crop in found["raw"]} == {
        tuple(turn.flatten().tolist()) for turn in expected
    }
    assert torch.equal(found["label"], -found["raw"])


def test_crops_are_the_generators(pair: tuple[Path, Path]) -> None:
    items = VoxelPairs([pair], EventData())

    def draw(seed: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return denoising.draw_crops(items, crop=(4, 4), batch=3, generator=generator)

    one, same, other = draw(1), draw(1), draw(2)
    for name in ("raw", "label"):
        assert one[name].shape == (3, 1, 8, 4, 4)
        assert torch.equal(one[name], same[name])
    assert not torch.equal(one["raw"], other["raw"])


def test_whole_grids_and_crops_that_do_not_fit(generator: torch.Generator) -> None:
    found = denoising.draw_crops(grids(), crop=(), batch=2, generator=generator)
    assert found["raw"].shape == (2, 1, 1, 4, 5)
    for crop in ((5, 5), (4, 6)):
        with pytest.raises(ValueError, match=r"crop must fit .* for a grid of \(4, 5\)"):
            denoising.draw_crops(grids(), crop=crop, batch=1, generator=generator)


# Files through a model


@given(st.floats(0.05, 0.95), st.integers(0, 6), st.floats(0, 0.999), st.sampled_from((-1.0, 1.0)))
def test_toward_keeping_counts_fractions_from_the_threshold(
    threshold: float, whole: int, fraction: float, sign: float
) -> None:
    voxels = torch.tensor([sign * (whole + fraction)], dtype=torch.float64)
    found = denoising.toward_keeping(voxels, threshold=threshold).round()
    if abs(fraction - threshold) > 1e-9:
        assert found.item() == sign * (whole + (fraction > threshold))


def test_toward_keeping_leaves_halves_alone_and_keeps_zero() -> None:
    voxels = torch.linspace(-3, 3, 61)
    assert torch.allclose(denoising.toward_keeping(voxels, threshold=0.5), voxels)
    assert not denoising.toward_keeping(torch.zeros(3), threshold=0.1).any()
    for threshold in (0, 1, -0.2, math.nan):
        with pytest.raises(ValueError, match=r"threshold must be in \(0, 1\)"):
            denoising.toward_keeping(voxels, threshold=threshold)


def identity(voxels: torch.Tensor) -> torch.Tensor:
    return voxels


@settings(max_examples=10)
@given(st.integers(0, 1000), st.sampled_from([7000, 20_000, 250_000]), st.integers(1, 9))
def test_identity_keeps_all_that_does_not_cancel(seed: int, segment: int, bins: int) -> None:
    codec = Codec(segment_us=segment, bins=bins)
    single = events_of(seed, length=segment, signed=False)
    restored = denoising.restore_events(single, identity, start_us=0, codec=codec)
    assert rows_of(restored) == rows_of(single)
    both = events_of(seed, length=segment)
    restored = denoising.restore_events(both, identity, start_us=0, codec=codec)
    window = {"bins": bins, "start_us": 0, "duration_us": segment}
    grid = encode_voxels(both, **window)
    assert len(restored) == int(grid.abs().sum())
    assert torch.equal(encode_voxels(restored, **window), grid)
    assert not Counter(rows_of(restored)) - Counter(rows_of(both))


@settings(max_examples=10)
@given(st.integers(0, 1000), st.sampled_from(["keep", "decode"]))
def test_two_channels_lose_nothing(seed: int, output: str) -> None:
    events = events_of(seed, length=20_000)
    codec = Codec(polarity="split", output=output)
    restored = denoising.restore_events(events, identity, start_us=0, codec=codec)
    options = {"start_us": 0, "codec": codec}
    expected = denoising.encode_segment(events, **options)
    assert torch.equal(denoising.encode_segment(restored, **options), expected)
    if output == "keep":
        assert rows_of(restored) == rows_of(events)

    def positive(voxels: torch.Tensor) -> torch.Tensor:
        assert voxels.shape == (1, 2, 8, *SENSOR)
        return torch.cat([voxels[:, :1], -voxels[:, 1:]], 1)

    restored = denoising.restore_events(events, positive, **options)
    assert set(restored.p.tolist()) == {1}
    assert len(restored) == int((events.p > 0).sum())


@pytest.mark.parametrize("start", [0, 123_456_789])
@pytest.mark.parametrize("output", ["keep", "decode"])
def test_files_go_through_window_by_window(tmp_path: Path, output: str, start: int) -> None:
    source, target = tmp_path / "a.h5", tmp_path / "out" / "b.h5"
    events = events_of(3, start=start, signed=False)
    write_events(source, events, start_us=start)
    shapes = []

    def model(voxels: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(voxels.shape))
        return voxels.bfloat16()

    codec = Codec(output=output)
    found = denoising.restore_file(source, target, model, codec=codec, compression="gzip")
    assert found == {"events": 400, "kept": 400, "segments": 5}
    assert shapes == [(1, 1, 8, *SENSOR)] * 5
    restored = read_events(target)
    assert restored.is_sorted()
    window = {"windows": 5, "bins": 8, "start_us": start, "duration_us": 20_000}
    expected = encode_windows(events, outside="raise", **window)
    assert torch.equal(encode_windows(restored, outside="raise", **window), expected)
    assert (rows_of(restored) == rows_of(events)) is (output == "keep")


def test_half_of_the_grid_is_half_of_the_events(tmp_path: Path) -> None:
    source, target = tmp_path / "a.h5", tmp_path / "b.h5"
    write_events(source, events_of(3, signed=False))

    def left(voxels: torch.Tensor) -> torch.Tensor:
        return voxels * (torch.arange(SENSOR[1]) < 4)

    denoising.restore_file(source, target, left, codec=Codec())
    expected = [row for row in rows_of(read_events(source)) if row[1] < 4]
    assert rows_of(read_events(target)) == expected
    for threshold, kept in ((0.3, 400), (0.5, 0)):
        write_events(source, events_of(3, count=400, signed=False, sensor=(200, 200)))
        codec = Codec(threshold=threshold)
        found = denoising.restore_file(source, target, lambda v: 0.4 * v.sign(), codec=codec)
        assert found["kept"] == kept


def test_events_before_the_stated_start_count_in_training_and_inference(tmp_path: Path) -> None:
    source, target = tmp_path / "a.h5", tmp_path / "b.h5"
    events = Events([90, 30_000], [0, 1], [0, 1], [1, -1], sensor=(2, 2))
    write_events(source, events, start_us=500)
    items = VoxelPairs([(source, source)], EventData())
    assert list(items.clocks[0]) == [90, 20_090]
    assert sum(int(items[i]["raw"].abs().sum()) for i in range(2)) == 2
    counts = denoising.restore_file(source, target, identity, codec=Codec(), progress=True)
    assert counts == {"events": 2, "kept": 2, "segments": 2}
    assert read_events(target).t_us.tolist() == [90, 30_000]


def test_a_file_without_events(tmp_path: Path) -> None:
    source, target = tmp_path / "a.h5", tmp_path / "b.h5"
    write_events(source, events_of(count=0))
    found = denoising.restore_file(source, target, identity, codec=Codec())
    assert found == {"events": 0, "kept": 0, "segments": 1}
    assert len(read_events(target)) == 0


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda v: v[..., 1:], r"model must keep the shape \(1, 1, 8, 6, 9\), got \(1, 1, 8, 6, 8"),
        (lambda v: v[0], "model must keep the shape"),
        (lambda v: v / 0, "not finite for the segment at 0 us"),
        (lambda v: v + math.inf, "not finite"),
    ],
)
def test_models_that_break_the_grid_leave_no_file(tmp_path: Path, model, said: str) -> None:
    source, target = tmp_path / "a.h5", tmp_path / "out" / "b.h5"
    write_events(source, events_of(), start_us=0)
    with pytest.raises(ValueError, match=said):
        denoising.restore_file(source, target, model, codec=Codec())
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.usefixtures("unchecked")
def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.h5"):
        denoising.restore_file(tmp_path / "none.h5", tmp_path / "b.h5", identity, codec=Codec())
    with pytest.raises(ValueError, match="output must be"):
        denoising.restore_events(
            events_of(), identity, start_us=0, codec=Codec(segment_us=LENGTH, output="both")
        )
    with pytest.raises(ValueError, match="lie outside"):
        denoising.restore_events(events_of(), identity, start_us=0, codec=Codec())


# Scores

ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 1), st.sampled_from((-1, 1))),
    max_size=12,
)


@given(ROWS, ROWS, st.randoms(use_true_random=False))
def test_labels_by_truth_are_a_matching(clean, more, random) -> None:
    noisy = clean + more
    random.shuffle(noisy)
    label = denoising.label_by_truth(from_rows(noisy, (2, 2)), from_rows(clean, (2, 2)))
    assert label is not None
    assert Counter(row for row, is_signal in zip(noisy, label, strict=True) if is_signal) == (
        Counter(clean)
    )
    lost = Counter(clean) - Counter(more)
    other = denoising.label_by_truth(from_rows(more, (2, 2)), from_rows(clean, (2, 2)))
    assert (other is None) is bool(lost)


def test_equal_grids_have_the_best_scores_and_worse_ones_worse() -> None:
    truth = torch.randint(-2, 3, (3, 1, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    for grid in (truth.float(), torch.zeros(2, 1, 4, 8, 8)):
        best = denoising.grid_scores(grid, grid)
        assert best == {
            **dict.fromkeys(("mse", "pmse2", "pmse4"), 0.0),
            **dict.fromkeys(("r_f1", "t_f1", "tp_f1"), 1.0),
            "psnr": math.inf,
        }
    worse = denoising.grid_scores(truth.float() + 1, truth.float())
    assert worse["mse"] == pytest.approx(1)
    assert worse["psnr"] == pytest.approx(10 * math.log10(16**2))
    assert max(worse["r_f1"], worse["t_f1"], worse["tp_f1"]) < 1
    assert min(worse["pmse2"], worse["pmse4"]) > 0


def test_scores_of_streams() -> None:
    truth = events_of(4, 300, sensor=(16, 16))
    clock = Clock(0, 20_000, 5)
    best = denoising.score_stream(truth, truth, clock=clock, bins=8)
    noisy = denoising.score_stream(
        merged(truth, events_of(5, 300, sensor=(16, 16))), truth, clock=clock, bins=8
    )
    for name in ("mse", "pmse2", "pmse4", "chamfer", "chamfer_both", "gaussian"):
        assert best[name] == pytest.approx(0, abs=1e-6), name
        assert noisy[name] > best[name], name
    for name in ("r_f1", "t_f1", "tp_f1", "psnr"):
        assert noisy[name] < best[name], name
    nothing = denoising.score_stream(truth[:0], truth, clock=clock, bins=8)
    assert nothing["r_f1"] == 0
    assert nothing["chamfer_both"] == math.inf
    with pytest.raises(ValueError, match="lie outside"):
        denoising.score_stream(truth.shift(1_000_000), truth, clock=clock, bins=8)


def test_scores_of_what_is_kept() -> None:
    events = events_of(6, 600, sensor=(16, 16))
    signal = torch.arange(600) % 3 == 0
    best = denoising.score_kept(events, signal, signal, scores=signal.float(), slice_events=100)
    for name in ("auc", "best_f1", "precision", "recall", "f1"):
        assert best[name] == 1, name
    assert best["snr"] == math.inf
    assert best["retention"] == pytest.approx(1 / 3)
    assert best["mesr"] == best["mesr_oracle"]
    everything = torch.ones_like(signal)
    all_kept = denoising.score_kept(events, everything, signal, slice_events=100)
    assert math.isnan(all_kept["auc"])
    assert math.isnan(all_kept["best_f1"])
    assert (all_kept["recall"], all_kept["retention"]) == (1, 1)
    assert all_kept["precision"] == pytest.approx(1 / 3)
    assert all_kept["mesr"] == all_kept["mesr_raw"]
    none = denoising.score_kept(events, ~everything, signal, scores=-signal.float())
    assert (none["recall"], none["retention"], none["auc"]) == (0, 0, 0)
    assert math.isnan(none["precision"])


def test_network_scores_are_the_share_of_each_event_that_stays() -> None:
    events = events_of(7, signed=False, start=50)
    clock = Clock(50, 20_000, 5)
    found = denoising.network_scores(
        events, lambda v: v * (torch.arange(SENSOR[1]) < 4), clock=clock, codec=Codec()
    )
    assert torch.equal(found, (events.x.int() < 4).float())
    mixed, split = events_of(7, start=50), Codec(polarity="split")
    found = denoising.network_scores(
        mixed, lambda v: v * torch.tensor([0.25, 0.5]).view(2, 1, 1, 1), clock=clock, codec=split
    )
    assert torch.equal(found, torch.where(mixed.p > 0, 0.25, 0.5))
    assert len(denoising.network_scores(events[:0], identity, clock=clock, codec=Codec())) == 0


@pytest.mark.parametrize("name", list(denoising.FILTERS))
def test_filters_are_thresholds_of_their_scores(name: str) -> None:
    events = events_of(8, 800, sensor=(12, 12))
    kept = denoising.FILTERS[name](events)
    assert kept.dtype == torch.bool
    assert kept.shape == (800,)
    if name in denoising.FILTER_SCORES:
        score = denoising.FILTER_SCORES[name](events)
        assert 0 < int(kept.sum()) < 800
        assert score[kept].min() > score[~kept].max()


# Recorded noise


def place(number: int, down: int, right: int) -> tuple[int, int]:
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    sides = [(0, right // 2), (down, right // 2), (down // 2, 0), (down // 2, right)]
    return (corners + sides)[number]


@given(st.integers(0, 1000), st.integers(1, 9), st.sampled_from([None, 40, 1000, 5]))
def test_noise_is_laid_over_as_the_definition_says(
    seed: int, copies: int, period: int | None
) -> None:
    signal = events_of(seed, 15, sensor=(3, 4), start=500, length=90)
    noise = events_of(seed + 1, 30, sensor=(7, 9), start=90, length=40)
    mixed, is_signal = denoising.overlay_noise(signal, noise, copies=copies, period_us=period)
    (first, last), (since, until) = signal.span, noise.span
    length = until - since + 1 if period is None else period
    expected: Counter[tuple[int, ...]] = Counter()
    for number in range(copies):
        top, left = place(number, 4, 5)
        for t, x, y, p in rows_of(noise):
            inside = top <= y < top + 3 and left <= x < left + 4 and t - since < length
            for at in range(first + t - since, last + 1, length) if inside else ():
                expected[at, x - left, y - top, p] += 1
    assert rows_of(mixed[is_signal]) == rows_of(signal)
    assert Counter(rows_of(mixed[~is_signal])) == expected
    mixed.validate()
    assert mixed.sensor == (3, 4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sensor": (2, 9)}, r"sensor of at least \(3, 4\), got \(2, 9\)"),
        ({"sensor": (7, 3)}, "sensor of at least"),
        ({"copies": 0}, "copies"),
        ({"copies": 10}, "copies"),
        ({"period_us": 0}, "period_us must be above 0"),
        ({"count": 0}, "both streams need events, got 15 of signal and 0 of noise"),
    ],
)
def test_noise_that_does_not_fit_is_refused(options: dict, said: str) -> None:
    made = {k: v for k, v in options.items() if k in ("sensor", "count")}
    given = {k: v for k, v in options.items() if k not in made}
    noise = events_of(1, **{"sensor": (7, 9), "count": 20, **made})
    signal = events_of(0, 15, sensor=(3, 4))
    with pytest.raises(ValueError, match=said):
        denoising.overlay_noise(signal, noise, **given)


def test_overlays_write_pairs_and_keep_the_halves_of_the_noise_apart(tmp_path: Path) -> None:
    """The first half of the noise is positive and the second negative; signal is on one pixel."""
    source, target = tmp_path / "in", tmp_path / "out"
    noise = events_of(0, 200, sensor=(7, 9), length=1000)
    halved = 1 - 2 * (noise.t_us >= noise.span[0] + 500).to(torch.int8)
    noise = Events(noise.t_us, noise.x, noise.y, halved, sensor=(7, 9))
    write_events(source / "noise.h5", noise)
    for number, name in enumerate(("a.h5", "b.h5", "test.h5")):
        write_events(source / name, events_of(number, 40, sensor=(3, 4), start=77, length=3000))
    overlays = Overlays(source, "noise.h5", "test.h5", copies=(1, 4), test_copies=2)
    noisy, clean = overlays.write_training(target)
    assert (noisy, clean) == (target / denoising.NOISY, target / denoising.CLEAN)
    names = ["a_1.h5", "a_4.h5", "b_1.h5", "b_4.h5"]
    assert [p.name for p in sorted(noisy.iterdir())] == names
    assert [p.name for p in sorted(clean.iterdir())] == names
    counts = []
    for name in names:
        signal = read_events(source / f"{name[0]}.h5")
        assert rows_of(read_events(clean / name)) == rows_of(signal)
        mixed = read_events(noisy / name)
        label = denoising.label_by_truth(mixed, signal)
        assert label is not None
        assert int(label.sum()) == 40
        assert (Counter(mixed.p.tolist()) - Counter(signal.p.tolist())).keys() == {1}
        counts.append(len(mixed))
    assert counts[1] > counts[0] > 40
    assert len(VoxelPairs([(noisy / names[0], clean / names[0])], EventData())) == 1
    test, is_signal = overlays.test_stream()
    assert set(test[~is_signal].p.tolist()) == {-1}
    assert rows_of(test[is_signal]) == rows_of(read_events(source / "test.h5"))
    write_events(noisy / "a_1.h5", events_of(9))
    overlays.write_training(target)
    assert rows_of(read_events(noisy / "a_1.h5")) == rows_of(events_of(9))


def test_overlays_refuse_what_is_missing(tmp_path: Path) -> None:
    write_events(tmp_path / "noise.h5", events_of(count=0))
    write_events(tmp_path / "test.h5", events_of())
    overlays = Overlays(tmp_path, "noise.h5", "test.h5")
    with pytest.raises(FileNotFoundError, match=r"no event files beside noise\.h5 and test\.h5"):
        overlays.write_training(tmp_path / "out")
    with pytest.raises(ValueError, match=r"noise\.h5: expected a recording of noise, got no"):
        overlays.test_stream()
    with pytest.raises(FileNotFoundError, match=r"gone\.h5"):
        Overlays(tmp_path, "gone.h5", "test.h5").test_stream()


# Another host


@pytest.fixture
def prepared(tmp_path: Path) -> VoxelPairs:
    """Two recordings of 100 ms and 40 ms, written for the other tool into ``val``."""
    pairs = []
    for name, length in (("b", 40_000), ("a", 100_000)):
        clean = events_of(11, 150, start=5000, length=length)
        paths = tmp_path / "noisy" / f"{name}.h5", tmp_path / "clean" / f"{name}.h5"
        write_events(paths[0], merged(clean, events_of(12, 99, start=5000, length=length)))
        write_events(paths[1], clean)
        pairs.append(paths)
    items = VoxelPairs(pairs, EventData())
    denoising.write_3dunet(items, tmp_path / "val")
    return items


def predict(folder: Path, name: str) -> Path:
    """A perfect network: its predictions are a data set of the prepared files."""
    target = folder / "predictions"
    target.mkdir()
    for path in sorted((folder / "val").iterdir()):
        with h5py.File(path) as source, h5py.File(target / f"{path.stem}_predictions.h5", "w") as f:
            f["predictions"] = source[name][...][None]
    return target


def test_segments_become_files(prepared: VoxelPairs, tmp_path: Path) -> None:
    names = [f"b_{i:03d}.h5" for i in range(2)] + [f"a_{i:03d}.h5" for i in range(5)]
    assert sorted(p.name for p in (tmp_path / "val").iterdir()) == sorted(names)
    for index, name in enumerate(names):
        with h5py.File(tmp_path / "val" / name) as file:
            for key, grid in prepared[index].items():
                assert file[key].dtype == np.float32
                assert np.array_equal(file[key][...], grid[0].numpy())
            assert file.attrs["recording"] == f"{name[0]}.h5"
            assert file.attrs["start_us"] == prepared.items[index][1]
            assert file.attrs["duration_us"] == 20_000
    same = VoxelPairs([prepared.pairs[0], prepared.pairs[0]], EventData())
    with pytest.raises(ValueError, match=r"names of their own, got more than one of \['b'\]"):
        denoising.write_3dunet(same, tmp_path / "twice")


def again(path: Path, items: VoxelPairs, number: int) -> torch.Tensor:
    clock = items.clocks[number]
    window = {"start_us": clock.start_us, "duration_us": clock.duration_us, "windows": len(clock)}
    return encode_windows(read_events(path), bins=8, outside="raise", **window)


@pytest.mark.parametrize("keep", [True, False])
def test_perfect_predictions_come_back_as_the_clean_grids(
    prepared: VoxelPairs, tmp_path: Path, keep: bool
) -> None:
    options = {"noisy": tmp_path / "noisy"} if keep else {}
    out = tmp_path / "out"
    predictions = predict(tmp_path, "label")
    files = denoising.decode_predictions(predictions, tmp_path / "val", out, **options)
    assert files == [out / "a.h5", out / "b.h5"]
    for number, path in enumerate(reversed(files)):
        expected = again(prepared.pairs[number][1], prepared, number)
        assert expected.any()
        assert torch.equal(again(path, prepared, number), expected)
        if keep:
            lost = Counter(rows_of(read_events(path)))
            assert not lost - Counter(rows_of(read_events(prepared.pairs[number][0])))


@pytest.mark.usefixtures("prepared")
def test_a_threshold_above_the_voxels_leaves_nothing(tmp_path: Path) -> None:
    predictions = predict(tmp_path, "raw")
    for path in predictions.iterdir():
        with h5py.File(path, "a") as file:
            file["predictions"][...] = 0.6 * np.sign(file["predictions"][...])
    for threshold, some in ((0.5, True), (0.7, False)):
        codec = Codec(output="decode", threshold=threshold)
        files = denoising.decode_predictions(
            predictions, tmp_path / "val", tmp_path / "out", codec=codec
        )
        assert all((len(read_events(path)) > 0) is some for path in files)


@pytest.mark.usefixtures("prepared")
def test_predictions_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    def decode(**options: object) -> None:
        denoising.decode_predictions(predictions, tmp_path / "val", tmp_path / "out", **options)

    predictions = tmp_path / "nothing"
    with pytest.raises(FileNotFoundError, match=r"no \*_predictions\.h5 there"):
        decode()
    predictions = predict(tmp_path, "raw")
    last = sorted(predictions.iterdir())[-1]
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(FileNotFoundError, match=r"no prediction for 1 prepared files, the first"):
        decode()
    assert not (tmp_path / "out").exists()
    last.write_bytes(content)
    with pytest.raises(ValueError, match="output='keep' needs the folder"):
        decode(codec=Codec())
    path = predictions / "a_001_predictions.h5"
    with h5py.File(path, "r") as file:
        good = file["predictions"][...]
    for wrong, said in (
        ({"other": good}, r"no data set 'predictions', has other"),
        ({"predictions": good[0]}, r"got shape \(8, 6, 9\)"),
        ({"predictions": good[:, :4]}, r"= \(1, 8, 6, 9\), got shape \(1, 4, 6, 9\)"),
        ({"predictions": good[..., 1:]}, r"got shape \(1, 8, 6, 8\)"),
        ({"predictions": good * np.nan}, "expected finite predictions, got 432 others"),
    ):
        with h5py.File(path, "w") as file:
            for name, values in wrong.items():
                file[name] = values
        for options in ({}, {"noisy": tmp_path / "noisy"}):
            with pytest.raises(ValueError, match=r"a_001_predictions\.h5: .*" + said):
                decode(**options)
    (tmp_path / "val" / "a_001.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"its prepared file .*a_001\.h5 is missing"):
        decode()


@pytest.mark.parametrize("shape", [(8, 180, 240), (8, 64, 100)])
def test_configurations_have_the_keys_and_sizes_of_the_tool(
    tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    files = denoising.write_3dunet_configs(tmp_path / "host", shape=shape, seed=5)
    train, predict = (yaml.safe_load(path.read_text("utf-8")) for path in files)
    assert train["model"] == predict["model"]
    assert train["model"]["name"] == "ResidualUNet3D"
    assert train["model"]["is_segmentation"] is train["model"]["final_sigmoid"] is False
    assert (train["model"]["layer_order"], train["manual_seed"]) == ("gcr", 5)
    assert len(train["model"]["f_maps"]) == train["model"]["num_levels"]
    assert (train["loss"]["name"], train["eval_metric"]["name"]) == ("MSELoss", "MSE")
    assert train["trainer"]["eval_score_higher_is_better"] is False
    assert predict["model_path"].startswith(train["trainer"]["checkpoint_dir"])
    loaders = train["loaders"]
    assert {"dataset", "raw_internal_path", "label_internal_path", "train", "val"} <= set(loaders)
    for part, label, whole in (
        (loaders["train"], True, False),
        (loaders["val"], True, True),
        (predict["loaders"]["test"], False, True),
    ):
        (folder,) = part["file_paths"]
        assert Path(folder).parent == tmp_path / "host"
        patch, stride = (part["slice_builder"][f"{k}_shape"] for k in ("patch", "stride"))
        assert all(0 < s <= p <= n for s, p, n in zip(stride, patch, shape, strict=True))
        assert min(patch[1:]) >= 64
        assert patch[0] == shape[0]
        assert (tuple(patch) == shape) or not whole
        assert set(part["transformer"]) == {"raw", "label"} if label else {"raw"}
        for steps in part["transformer"].values():
            assert [step["name"] for step in steps] == ["ToTensor"]


def test_grids_below_the_least_of_the_tool_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"grids of 64 pixels and more, got \(8, 63, 100\)"):
        denoising.write_3dunet_configs(tmp_path, shape=(8, 63, 100))
