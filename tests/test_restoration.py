"""Photographs: patches with their records, scores beside the input, files and folders."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from libimg.degradations import Degradation, DegradationParams, jpeg
from libimg.io import Picture, read_image, write_image
from libimg.nets import RestorationResNet, RestorationUNet
from libimg.restoration import (
    Photo,
    degrade,
    draw_patches,
    evaluate_grid,
    failure_sheet,
    frozen_grid,
    paper_grid,
    photo_sheet,
    photographs,
    restore_files,
    restore_picture,
)

NOTHING = Degradation(sigma_range=(0, 0), quality_range=None)
HEAVY = Degradation(sigma_range=(5, 50), quality_range=(10, 95))


def photo(name: str = "a", size: tuple[int, int] = (24, 30), seed: int = 0) -> Photo:
    """A smooth photograph without symmetry."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 6, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1)
    return Photo(name, (fine[0] * 255).round().byte())


def draw(photos: list[Photo], seed: int = 0, **options: object) -> object:
    settings = {"patch": 8, "batch": 6, "degradation": HEAVY, **options}
    return draw_patches(photos, **settings, generator=torch.Generator().manual_seed(seed))


def test_built_in_photographs_differ_between_the_parts() -> None:
    train, test = (photographs(part=part) for part in ("train", "test"))
    assert not {p.name for p in train} & {p.name for p in test}
    for _, image in (*train, *test):
        assert image.dtype == torch.uint8
        assert image.shape[0] in (1, 3)
        assert 250 < min(image.shape[1:]) <= max(image.shape[1:]) <= 1024


def test_a_folder_of_photographs(tmp_path: Path) -> None:
    write_image(tmp_path / "b.png", Picture(photo().image.float() / 255))
    write_image(tmp_path / "sub" / "a.png", Picture(torch.full((1, 9, 8), 0.4)))
    found = photographs(tmp_path, part="train")
    assert [p.name for p in found] == ["b", "sub/a"]
    assert torch.equal(found[0].image, photo().image)
    assert found[1].image.unique().tolist() == [102]
    assert found[1].image.shape == (1, 9, 8)
    (tmp_path / "c.png").write_text("no")
    with pytest.raises(ValueError, match=r"c\.png"):
        photographs(tmp_path, part="train")


@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_patches_are_places_of_a_photograph(seed: int) -> None:
    one = photo(size=(11, 9))
    batch = draw([one], seed, patch=6, batch=2, degradation=NOTHING)
    assert torch.equal(batch.degraded, batch.clean)
    whole = one.image.float() / 255
    places = [whole[:, y : y + 6, x : x + 6] for y in range(6) for x in range(4)]
    for patch in batch.clean:
        turned = [torch.rot90(p, k, (1, 2)) for p in (patch, patch.flip(2)) for k in range(4)]
        assert any(torch.equal(t, place) for t in turned for place in places)


def test_patches_are_drawn_by_the_generator_and_replayed_by_their_records() -> None:
    photos = [photo(seed=0), photo("b", seed=1)]
    first, second, other = draw(photos), draw(photos), draw(photos, seed=1)
    assert torch.equal(first.degraded, second.degraded)
    assert first.params == second.params
    assert not torch.equal(first.degraded, other.degraded)
    assert torch.equal(Degradation.apply(first.clean, first.params), first.degraded)
    assert first.degraded.shape == first.clean.shape == (6, 3, 8, 8)


def test_gray_patches_are_degraded_gray() -> None:
    mixed = draw([photo()], batch=12, gray_share=0.5)
    gray = [bool((p[0] == p[1]).all() and (p[0] == p[2]).all()) for p in mixed.clean]
    assert 0 < sum(gray) < 12
    for is_gray, degraded, clean, record in zip(gray, *mixed, strict=True):
        again = Degradation.apply(clean[:1] if is_gray else clean, record)
        assert torch.equal(again.expand(3, -1, -1), degraded)
    one = Photo("a", photo().image[:1])
    assert torch.equal(draw([one], gray_share=1.0).clean, draw([one], gray_share=0.0).clean)


def test_gray_patches_may_be_degraded_in_a_way_of_their_own() -> None:
    noise = Degradation(sigma_range=(5, 50), quality_range=None, clip=False)
    coded = Degradation(quality_range=(10, 40), noise_share=0)
    how = {"degradation": noise, "gray_share": 0.5, "gray_degradation": coded}
    mixed = draw([photo()], batch=12, **how)
    for clean, record in zip(mixed.clean, mixed.params, strict=True):
        gray = bool((clean[0] == clean[1]).all())
        assert (record.quality is not None) == gray
        assert (record.sigma > 0) != gray


def test_gray_photographs_are_scored_gray() -> None:
    one = Photo("a", photo(size=(40, 48)).image[:1])
    seen: list[torch.Tensor] = []

    def model(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x + torch.tensor([-0.1, 0.0, 0.1]).view(3, 1, 1)

    found = evaluate_grid([one], model, cells=paper_grid(gray=True))
    assert list(found["rows"]) == ["JPEG 10", "JPEG 20", "JPEG 30", "JPEG 40"]
    assert all(row["gain"] == pytest.approx(0, abs=1e-4) for row in found["rows"].values())
    x = seen[0]
    assert x.shape == (1, 3, 40, 48)
    assert torch.equal(x[:, :1], jpeg(one.image[None].float() / 255, 10))


def test_noise_of_the_papers_is_neither_clipped_nor_rounded() -> None:
    for sigma, params in zip((15, 25, 50), paper_grid(gray=False).values(), strict=True):
        clean, degraded = degrade(photo(size=(64, 64)), params)
        assert degraded.min() < 0
        assert float((degraded - clean).std()) == pytest.approx(sigma / 255, rel=0.03)


def test_two_photographs_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a name of its own, got \['a', 'a'\]"):
        evaluate_grid([photo(), photo()], lambda x: x, cells=frozen_grid())


def test_a_perfect_answer_is_listed_and_not_averaged() -> None:
    one = photo(size=(32, 32))
    clean = one.image[None].float() / 255
    found = evaluate_grid([one], lambda x: clean, cells=frozen_grid((25,), ()))
    assert found["summary"]["noise 25"]["restored psnr"]["undefined"] == ["a"]
    assert found["worse"] == 0


def test_failures_name_the_photograph_and_the_cell(tmp_path: Path) -> None:
    photos = [photo(str(s), size=(70, 80), seed=s) for s in range(2)]
    cells = frozen_grid((25,), (10,))
    given = photos, lambda x: x + 0.2 * (x.shape[2] == 70) * (x < 0.5)
    report = evaluate_grid(*given, cells=cells)["failures"]
    assert report.images == 6
    assert report.worse_rate == 1
    assert {crop.name for crop in report.crops} <= {f"{i}, {c}" for i in "01" for c in cells}
    sheets = [
        failure_sheet(tmp_path / "f.png", report, *given, cells=cells),
        photo_sheet(tmp_path / "p.png", *given, cells=cells),
    ]
    for sheet in sheets:
        assert read_image(sheet).image.shape[1] > 500


def test_patches_larger_than_a_photograph_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a: patch must fit .* got 25 for \(24, 30\)"):
        draw([photo()], patch=25)


def test_the_grid_holds_every_pair_and_either_alone() -> None:
    cells = frozen_grid()
    assert len(cells) == 4 + 5 + 20
    assert cells["noise 25"] == DegradationParams(sigma=25)
    assert cells["JPEG 10"] == DegradationParams(quality=10)
    assert cells["noise 50, JPEG 80"] == DegradationParams(sigma=50, quality=80)


def test_scores_of_the_identity_and_of_the_truth() -> None:
    photos = [photo(size=(32, 40), seed=s, name=str(s)) for s in range(2)]
    cells = frozen_grid((15,), (20,))
    same = evaluate_grid(photos, lambda x: x, cells=cells)
    assert set(same["rows"]) == set(cells)
    for name, row in same["rows"].items():
        assert row["gain"] == row["worse"] == 0
        assert row["restored psnr"] == row["input psnr"]
        mean = sum(same["cases"][name][p.name]["blur psnr"] for p in photos) / 2
        assert row["blur psnr"] == pytest.approx(mean)
    assert same["rows"]["noise 15"]["input psnr"] == pytest.approx(24.6, abs=0.6)
    worse = evaluate_grid(photos, lambda x: 0 * x, cells=cells)
    assert worse["worse"] == 1
    assert worse == evaluate_grid(photos, lambda x: 0 * x, cells=cells)
    assert (same["range"], same["space"]) == ([0, 1], "all channels, rounded to 8 bits")


def test_every_photograph_has_noise_of_its_own() -> None:
    seen: list[torch.Tensor] = []
    flat = [Photo(n, torch.full((3, 16, 16), 128, dtype=torch.uint8)) for n in "ab"]

    def model(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x

    evaluate_grid(flat, model, cells={"noise": DegradationParams(sigma=20)})
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("kind", [RestorationResNet, RestorationUNet])
def test_tiles_are_the_whole(kind: type) -> None:
    torch.manual_seed(0)
    net = RestorationUNet(widths=(8, 8, 8), blocks=1)
    net = RestorationResNet(width=8, blocks=2) if kind is RestorationResNet else net
    torch.nn.init.normal_(net.tail.weight, std=0.01)  # changes of about a tenth
    picture = Picture(photo(size=(150, 131)).image.float() / 255)
    whole = restore_picture(picture, net.eval(), tile=200)
    tiled = restore_picture(picture, net, tile=96, overlap=0.5)
    assert (whole.image - picture.image).abs().max() > 0.02
    assert (whole.image - tiled.image).abs().max() < 1 / 255


def test_pictures_keep_what_the_network_does_not_see() -> None:
    alpha = torch.rand(1, 6, 7)
    picture = Picture(torch.rand(1, 6, 7), alpha, bits=16, notes=("n",))
    out = restore_picture(picture, lambda x: x + 0.5)
    assert out.alpha is alpha
    assert (out.bits, out.notes) == (16, ("n",))
    torch.testing.assert_close(out.image, (picture.image + 0.5).clamp(max=1))
    for options in ({"tile": 15}, {"overlap": 1.0}):
        with pytest.raises(ValueError, match="expected a tile of 16 or more"):
            restore_picture(picture, lambda x: x, **options)
    for bad in (lambda x: x[..., 4:, 4:], lambda x: x * float("nan")):
        with pytest.raises(ValueError, match="model must give finite values"):
            restore_picture(picture, bad)


def test_a_folder_keeps_its_tree_and_goes_on(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "sub/b.jpg", "sub/c.tif"):
        write_image(source / name, Picture(photo().image.float() / 255))
    (source / "bad.png").write_text("no image")
    found = {f.source.name: f for f in restore_files(source, target, lambda x: 1 - x)}
    assert {n: f.state for n, f in found.items()} == {
        "a.png": "restored",
        "b.jpg": "restored",
        "c.tif": "restored",
        "bad.png": "failed",
    }
    assert "bad.png" in found["bad.png"].notes
    files = sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file())
    assert files == ["a.png", "sub/b.jpg.png", "sub/c.tif"]
    torch.testing.assert_close(
        read_image(target / "a.png").image, 1 - photo().image.float() / 255, rtol=0, atol=1e-6
    )
    before = (target / "a.png").stat().st_mtime_ns
    again = [f.state for f in restore_files(source, target, lambda x: x)]
    assert sorted(again) == ["failed", "kept", "kept", "kept"]
    assert (target / "a.png").stat().st_mtime_ns == before


def test_one_file(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", Picture(torch.full((1, 8, 8), 0.25)))
    [found] = restore_files(tmp_path / "a.jpg", tmp_path / "b.png", lambda x: 2 * x)
    assert found.target == tmp_path / "b.png"
    assert read_image(tmp_path / "b.png").image.unique().tolist() == pytest.approx([128 / 255])
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        list(restore_files(tmp_path / "none.png", tmp_path / "c.png", lambda x: x))
    for target in (tmp_path, tmp_path / "inside"):
        with pytest.raises(ValueError, match="must lie outside"):
            list(restore_files(tmp_path, target, lambda x: x))
