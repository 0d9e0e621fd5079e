"""Manifests, splits and fixed lists: the same for any file order, and refused when they leak."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from libimg import data


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@st.composite
def cases(draw: st.DrawFn, *, least: int = 12, most: int = 60) -> dict[str, str]:
    """Cases by name; some have the same content."""
    count = draw(st.integers(least, most))
    seed = draw(st.integers(0, 999))
    copies = draw(st.integers(0, 4))
    hashes = {f"case{i:03}": sha(f"{seed} {i}") for i in range(count)}
    return hashes | {f"copy{i}": hashes[f"case{i:03}"] for i in range(copies)}


def split_of(splits: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {name: split for split, names in splits.items() for name in names}


SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def by_share(hashes: dict[str, str], **options: dict[str, str]) -> dict[str, tuple[str, ...]]:
    try:
        return data.split_cases(hashes, shares=SHARES, **options)
    except ValueError:
        assume(False)
        raise


@given(cases(), st.randoms())
def test_splits_are_complete_and_stay_as_they_are(hashes: dict[str, str], random: object) -> None:
    splits = by_share(hashes)
    assert list(splits) == list(SHARES)
    assert Counter(n for names in splits.values() for n in names) == Counter(list(hashes))
    assert all(list(names) == sorted(names) for names in splits.values())
    data.check_splits({s: {n: hashes[n] for n in names} for s, names in splits.items()})

    order = list(hashes)
    random.shuffle(order)
    assert by_share({name: hashes[name] for name in order}) == splits

    more = hashes | {f"new{i}": sha(f"new {i}") for i in range(7)}
    after = split_of(by_share(more))
    assert {name: after[name] for name in hashes} == split_of(splits)

    renamed = by_share({f"x{name}": digest for name, digest in hashes.items()})
    assert renamed == {s: tuple(f"x{n}" for n in names) for s, names in splits.items()}


def test_shares_are_met() -> None:
    hashes = {str(i): sha(str(i)) for i in range(4000)}
    splits = data.split_cases(hashes, shares=SHARES)
    for name, share in SHARES.items():
        assert len(splits[name]) / 4000 == pytest.approx(share, abs=0.03)
    alone = data.split_cases(hashes, shares={"a": 1.0, "b": 0.0})
    assert (len(alone["a"]), alone["b"]) == (4000, ())


@given(cases(), st.integers(1, 5))
def test_counts_are_exact(hashes: dict[str, str], count: int) -> None:
    hashes = {name: digest for name, digest in hashes.items() if name.startswith("case")}
    counts = {"test": count, "val": 3, "train": None}
    splits = data.split_cases(hashes, counts=counts)
    assert (len(splits["test"]), len(splits["val"])) == (count, 3)
    whole = counts | {"train": len(hashes) - count - 3}
    assert data.split_cases(hashes, counts=whole) == splits
    before = split_of(splits)
    after = split_of(data.split_cases(hashes | {"new": sha("new")}, counts=counts))
    moved = Counter((before[n], after[n]) for n in hashes if before[n] != after[n])
    assert set(moved) <= {("test", "val"), ("val", "train")}
    assert all(number == 1 for number in moved.values())


@given(cases(), st.integers(2, 6))
def test_groups_stay_together(hashes: dict[str, str], size: int) -> None:
    patient = {name: f"p{int(name.strip('caseopy')) // size}" for name in hashes}
    splits = split_of(by_share(hashes, groups=patient))
    for key in (patient, hashes):
        seen: dict[str, set[str]] = {}
        for name, split in splits.items():
            seen.setdefault(key[name], set()).add(split)
        assert all(len(found) == 1 for found in seen.values())
    late = hashes | {"late": sha("late")}
    assert split_of(by_share(late, groups=patient | {"late": "p0"})) == splits | {
        "late": splits["case000"]
    }


def test_groups_that_share_a_picture_are_one() -> None:
    hashes = {f"{i}{part}": sha(f"{i}{part}") for i in range(30) for part in "ab"}
    hashes |= {"7b": hashes["3a"], "9a": hashes["7a"]}
    splits = split_of(data.split_cases(hashes, shares=SHARES, groups={n: n[:-1] for n in hashes}))
    assert len({splits[name] for name in ("3a", "3b", "7a", "7b", "9a", "9b")}) == 1


def test_bad_splits_are_refused() -> None:
    hashes = {str(i): sha(str(i)) for i in range(10)}
    for options in ({}, {"shares": {"a": 1.0}, "counts": {"a": 10}}):
        with pytest.raises(ValueError, match="either shares or counts"):
            data.split_cases(hashes, **options)
    for shares in ({"a": 0.5, "b": 0.6}, {"a": 1.5, "b": -0.5}, {}, {"a": float("nan")}):
        with pytest.raises(ValueError, match="shares must be 0 or more and sum to 1"):
            data.split_cases(hashes, shares=shares)
    for counts in ({"a": 11}, {"a": 9}, {"a": None, "b": None}, {"a": -1, "b": None}):
        with pytest.raises(ValueError, match="counts must divide 10 cases"):
            data.split_cases(hashes, counts=counts)
    with pytest.raises(ValueError, match="10 cases leave b empty"):
        data.split_cases(hashes, counts={"a": 10, "b": None})
    with pytest.raises(ValueError, match="leave val empty"):
        data.split_cases(hashes, shares={"train": 1.0, "val": 1e-12})
    with pytest.raises(ValueError, match="groups lack 9 of 10 cases: 1, 2, 3, 4, 5"):
        data.split_cases(hashes, shares={"a": 1.0}, groups={"0": "p"})
    with pytest.raises(ValueError, match=r"do not fit counts .*: a has 0"):
        data.split_cases(hashes, counts={"a": 3, "b": None}, groups=dict.fromkeys(hashes, "p"))


def test_shared_cases_are_refused() -> None:
    data.check_splits({"train": {"a": "1", "again": "1"}, "val": {"b": "2"}, "test": {}})
    with pytest.raises(ValueError, match=r"train/a and test/b have the same content$"):
        data.check_splits({"train": {"a": "1"}, "test": {"b": "1"}})
    with pytest.raises(ValueError, match=r"a is in train and in test$"):
        data.check_splits({"train": {"a": "1"}, "test": {"a": "2"}})
    with pytest.raises(ValueError, match=r"a is in train and in test$"):
        data.check_splits({"train": {"a": "1"}, "test": {"a": "1"}})
    many = {str(i): str(i) for i in range(8)}
    with pytest.raises(ValueError, match=r"4 is in x and in y and 3 more$"):
        data.check_splits({"x": many, "y": many})


@given(cases(least=25), st.randoms())
def test_fixed_list(hashes: dict[str, str], random: object) -> None:
    chosen = data.fixed_list(hashes)
    assert len({hashes[name] for name in chosen}) == len(chosen) == 20
    order = list(hashes)
    random.shuffle(order)
    assert data.fixed_list({name: hashes[name] for name in order}) == chosen
    assert data.fixed_list(hashes, count=8) == chosen[:8]
    assert not {name for name in chosen if name.startswith("copy")}
    others = {f"x{name}": digest for name, digest in hashes.items()}
    assert data.fixed_list(others) == tuple(f"x{name}" for name in chosen)


@pytest.mark.parametrize("count", [0, 4])
def test_fixed_list_of_too_few_is_refused(count: int) -> None:
    hashes = {"a": "1", "b": "2", "c": "3", "again": "1"}
    with pytest.raises(ValueError, match=f"from 1 to the 3 different contents .* got {count}"):
        data.fixed_list(hashes, count=count)


def test_cases_of_several_files(tmp_path: Path) -> None:
    photo, xray, marks = (tmp_path / name for name in ("photo.png", "xray.png", "marks.json"))
    for path in (photo, xray, marks):
        path.write_text(path.name)
    one = data.manifest({"p": photo})
    assert one == {"p": data.file_hash(photo)} == data.manifest({"p": [photo]})
    both = data.manifest({"p": [photo, xray], "a": (photo, xray, marks)})
    assert list(both) == ["a", "p"]
    assert len({*both.values(), *one.values()}) == 3
    assert data.manifest({"p": (xray, photo)})["p"] != both["p"]
    xray.write_text("another")
    assert data.manifest({"p": [photo, xray]})["p"] != both["p"]
    xray.unlink()
    with pytest.raises(FileNotFoundError, match=r"no such file: .*xray\.png, .*none"):
        data.manifest({"p": [photo, xray], "q": tmp_path / "none"})
    with pytest.raises(ValueError, match="no file for p"):
        data.manifest({"p": []})


@given(cases(least=25))
def test_a_manifest_comes_back(tmp_path_factory: object, hashes: dict[str, str]) -> None:
    splits = by_share(hashes)
    chosen = data.Manifest(hashes=hashes, splits=splits, fixed=data.fixed_list(hashes))
    path = tmp_path_factory.mktemp("m") / "cases.json"
    assert data.write_manifest(path, chosen) == path
    back = data.read_manifest(path)
    assert back == chosen
    assert list(back.splits) == list(splits)
    assert json.loads(path.read_text())["version"] == 1


def test_damaged_manifests_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.json"
    chosen = data.Manifest(hashes={"a": "11", "b": "22"}, splits={"test": ("a",)}, fixed=("b",))
    good = data.write_manifest(path, chosen).read_text()
    for text in (good[: len(good) // 2], "", "\ufffe{"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"cases\.json is damaged, no JSON"):
            data.read_manifest(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"cases\.json is damaged"):
        data.read_manifest(path)
    for text in ("[]", "{}", good.replace('"version": 1', '"version": 2')):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"cases\.json is no manifest of version 1, got"):
            data.read_manifest(path)
    edits = {"11": "12", '"test"': '"train"', '"version": 1': '"version": 1, "more": 0'}
    for old, new in edits.items():
        path.write_text(good.replace(old, new))
        with pytest.raises(ValueError, match=r"cases\.json was edited or is damaged"):
            data.read_manifest(path)
    content = json.loads(good)
    del content["checksum"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="checksum does not fit"):
        data.read_manifest(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"cases\.json"):
        data.read_manifest(path)


def test_manifests_that_contradict_themselves_are_refused() -> None:
    hashes = {"a": "1", "b": "2", "copy": "1"}
    with pytest.raises(ValueError, match="test has cases without a hash: z"):
        data.Manifest(hashes=hashes, splits={"test": ("a", "z")})
    with pytest.raises(ValueError, match="the fixed list has cases twice"):
        data.Manifest(hashes=hashes, fixed=("a", "b", "a"))
    with pytest.raises(ValueError, match="fixed has cases without a hash: y"):
        data.Manifest(hashes=hashes, splits={"fixed": ("y",)}, fixed=("a",))
    with pytest.raises(ValueError, match="train/a and test/copy have the same content"):
        data.Manifest(hashes=hashes, splits={"train": ("a", "b"), "test": ("copy",)})


def metrics_file(path: Path, **changes: object) -> Path:
    scores = {"p": {"mae": 1.0, "psnr": 30.0}, "q": {"mae": 2.0, "psnr": 20.0}}
    content = {
        "manifest": {"p": "11", "q": "22"},
        "range": {"lo": -1, "hi": 1, "unit": ""},
        "rows": {"model": {"cases": scores}, "mean": {"cases": scores}},
    }
    path.write_text(json.dumps(content | changes))
    return path


def test_runs_are_compared_case_by_case(tmp_path: Path) -> None:
    one = metrics_file(tmp_path / "one.json")
    rows = {"model": {"cases": {"q": {"mae": 5.0}, "p": {"mae": 4.0}}}}
    two = metrics_file(tmp_path / "two.json", rows=rows)
    pairs = data.compare_metrics(one, two, row="model", metric="mae")
    assert pairs == {"p": (1.0, 4.0), "q": (2.0, 5.0)}


REFUSED = {
    "other content": ({"manifest": {"p": "11", "q": "23"}}, ValueError, "q has other contents"),
    "more cases": ({"manifest": {"p": "11", "q": "22", "r": "3"}}, ValueError, "r is only in the"),
    "fewer cases": ({"manifest": {"p": "11"}}, ValueError, "q is only in the first"),
    "range": ({"range": {"lo": 0, "hi": 1, "unit": ""}}, ValueError, r"one\.json has the range .*"),
    "unit": ({"range": {"lo": -1, "hi": 1, "unit": "HU"}}, ValueError, "and .*two.json {.*HU"),
    "row": ({"rows": {"other": {"cases": {}}}}, KeyError, r"two\.json has no row 'model', only ot"),
    "metric": (
        {"rows": {"model": {"cases": {"p": {"mae": 1.0}, "q": {"l1": 1.0}}}}},
        KeyError,
        r"two\.json has no 'mae' of q in row 'model', only l1",
    ),
    "unscored case": (
        {"rows": {"model": {"cases": {"p": {"mae": 1.0}}}}},
        ValueError,
        r"scored on different cases in .*one\.json and .*two\.json: q",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_comparable_is_refused(tmp_path: Path, name: str) -> None:
    changes, kind, message = REFUSED[name]
    one, two = metrics_file(tmp_path / "one.json"), metrics_file(tmp_path / "two.json", **changes)
    with pytest.raises(kind, match=message):
        data.compare_metrics(one, two, row="model", metric="mae")


def test_what_is_no_metrics_file_is_refused(tmp_path: Path) -> None:
    one, two = metrics_file(tmp_path / "one.json"), tmp_path / "two.json"
    two.write_text("{")
    with pytest.raises(ValueError, match=r"two\.json is no JSON"):
        data.compare_metrics(one, two, row="model", metric="mae")
    for text, lacks in (("[]", "manifest, range, rows"), ('{"manifest": {}}', "range, rows")):
        two.write_text(text)
        with pytest.raises(ValueError, match=rf"two\.json is no metrics file .* lacks {lacks}$"):
            data.compare_metrics(one, two, row="model", metric="mae")
