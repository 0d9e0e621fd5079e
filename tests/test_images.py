"""Photographs: what goes into a file comes out of it, and what changes on the way is said."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from libimg.io import Picture, as_rgb, list_images, read_image, restored, write_image

SIZE = (5, 7)


def drawn(channels: int, bits: int = 8, seed: int = 0) -> torch.Tensor:
    """Random whole levels as [0, 1]."""
    top = 2**bits - 1
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, top + 1, (channels, *SIZE), generator=generator) / top


def saved(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    """Write an array with Pillow."""
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


@settings(max_examples=20)
@given(
    channels=st.sampled_from((1, 3)),
    alpha=st.booleans(),
    bits=st.sampled_from((8, 16)),
    seed=st.integers(0, 99),
)
def test_png_comes_back(
    tmp_path_factory: pytest.TempPathFactory, channels: int, alpha: bool, bits: int, seed: int
) -> None:
    pytest.importorskip("cv2")
    if channels == 1 and alpha and bits == 16:
        return  # written as RGBA, below
    path = tmp_path_factory.mktemp("png") / "sub" / "a.png"
    clear = drawn(1, bits, seed + 1) if alpha else None
    write_image(path, Picture(drawn(channels, bits, seed), clear, bits))
    back = read_image(path)
    torch.testing.assert_close(back.image, drawn(channels, bits, seed), rtol=0, atol=1e-7)
    assert back.bits == bits
    assert (back.alpha is None) == (clear is None)
    if clear is not None and back.alpha is not None:
        torch.testing.assert_close(back.alpha, clear, rtol=0, atol=1e-7)
        assert "transparency kept apart" in back.notes
    assert ("16 bits kept" in back.notes) == (bits == 16)


def test_gray_of_16_bits_with_alpha_is_written_in_colour(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    write_image(tmp_path / "a.png", Picture(drawn(1, 16), drawn(1, 16, 1), 16))
    back = read_image(tmp_path / "a.png")
    torch.testing.assert_close(back.image, as_rgb(drawn(1, 16)), rtol=0, atol=1e-7)
    assert back.alpha is not None
    torch.testing.assert_close(back.alpha, drawn(1, 16, 1), rtol=0, atol=1e-7)


@pytest.mark.parametrize("suffix", [".tif", ".bmp", ".tiff"])
def test_other_lossless_formats_come_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, Picture(drawn(3)))
    torch.testing.assert_close(read_image(path).image, drawn(3), rtol=0, atol=1e-7)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path: Path, orientation: int) -> None:
    array = (drawn(3) * 255).byte().permute(1, 2, 0).numpy()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"
    path = saved(tmp_path / "a.png", array, exif=exif)
    turns = {1: 0, 6: -1, 8: 1, 3: 2, 2: 0, 4: 2, 5: -1, 7: 1}
    wanted = np.rot90(array, turns[orientation])
    wanted = wanted[:, ::-1] if orientation in (2, 4, 5, 7) else wanted
    picture = read_image(path)
    assert np.array_equal((picture.image * 255).round().byte().permute(1, 2, 0).numpy(), wanted)
    assert ("EXIF orientation applied" in picture.notes) == (orientation != 1)
    write_image(tmp_path / "b.png", picture)
    again = read_image(tmp_path / "b.png")
    assert torch.equal(again.image, picture.image)
    with Image.open(tmp_path / "b.png") as file:
        assert file.getexif().get(0x010F) == "maker"


def test_modes_are_said(tmp_path: Path) -> None:
    array = (drawn(3) * 255).byte().permute(1, 2, 0).numpy()
    palette = read_image(saved(tmp_path / "p.png", array, "P"))
    assert palette.image.shape == (3, *SIZE)
    assert palette.notes == ("palette looked up",)
    cmyk = read_image(saved(tmp_path / "c.tif", array, "CMYK"))
    assert "CMYK turned into RGB" in cmyk.notes
    assert (cmyk.image - drawn(3)).abs().max() < 0.02
    black = read_image(saved(tmp_path / "b.png", array, "1"))
    assert set(black.image.unique().tolist()) <= {0.0, 1.0}
    assert black.image.shape[0] == 1
    clear = Image.fromarray(array).quantize(8)
    clear.save(tmp_path / "t.png", transparency=0)
    assert read_image(tmp_path / "t.png").alpha is not None
    frames = [Image.fromarray(array), Image.fromarray(array[::-1].copy())]
    frames[0].save(tmp_path / "f.tif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "f.tif").notes == ("first frame of several",)
    plain = saved(tmp_path / "g.jpg", array[..., 0])
    assert read_image(plain).image.shape[0] == 1
    assert read_image(plain).notes == ()


def test_colour_profile_is_kept(tmp_path: Path) -> None:
    array = (drawn(3) * 255).byte().permute(1, 2, 0).numpy()
    path = saved(tmp_path / "a.png", array, icc_profile=b"profile")
    write_image(tmp_path / "b.png", read_image(path))
    with Image.open(tmp_path / "b.png") as file:
        assert file.info["icc_profile"] == b"profile"


def test_gray_through_a_colour_network(tmp_path: Path) -> None:
    picture = Picture(drawn(1), drawn(1, seed=1))
    torch.testing.assert_close(restored(picture, as_rgb(picture.image)).image, picture.image)
    assert restored(picture, as_rgb(picture.image)).alpha is picture.alpha
    assert torch.equal(as_rgb(drawn(3)), drawn(3))
    assert restored(Picture(drawn(3)), drawn(3, seed=2)).image.shape == (3, *SIZE)


def test_values_are_clipped_and_rounded(tmp_path: Path) -> None:
    image = torch.tensor([-1.0, 0.4999 / 255, 0.5001 / 255, 2.0]).view(1, 2, 2)
    write_image(tmp_path / "a.png", Picture(image))
    assert (read_image(tmp_path / "a.png").image * 255).flatten().tolist() == [0, 0, 1, 255]


def test_folders_are_listed_with_their_tree(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/c.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "notes.txt").touch()
    names = [p.relative_to(tmp_path).as_posix() for p in list_images(tmp_path)]
    assert names == ["a.JPG", "b.png", "sub/c.png"]
    assert list_images(tmp_path / "b.png") == [tmp_path / "b.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: no image"):
        list_images(tmp_path / "empty")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.png"):
        read_image(tmp_path / "no.png")
    text = tmp_path / "text.png"
    text.write_text("not an image")
    with pytest.raises(ValueError, match=r"text\.png: cannot be read as an image"):
        read_image(text)
    write_image(tmp_path / "whole.png", Picture(torch.rand(3, 64, 64)))
    cut = tmp_path / "cut.png"
    cut.write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"cut\.png: cannot be read"):
        read_image(cut)
    with pytest.raises(
        ValueError, match=r"whole\.png: 0 megapixels, more than the limit of 0\.001"
    ):
        read_image(tmp_path / "whole.png", megapixels=0.001)
    saved(tmp_path / "f.tif", np.zeros(SIZE, np.float32))
    with pytest.raises(ValueError, match=r"f\.tif: .*floating-point"):
        read_image(tmp_path / "f.tif")
    saved(tmp_path / "i.tif", np.full(SIZE, 70000, np.int32))
    with pytest.raises(ValueError, match=r"i\.tif: .*70000"):
        read_image(tmp_path / "i.tif")


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.png", Picture(torch.zeros(1, 64, 64)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"a\.png: cannot be read as an image"):
        read_image(tmp_path / "a.png")


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.gif: expected one of"):
        write_image(tmp_path / "a.gif", Picture(drawn(3)))
    with pytest.raises(ValueError, match="transparency"):
        write_image(tmp_path / "a.jpg", Picture(drawn(3), drawn(1)))
    with pytest.raises(ValueError, match="16 bits"):
        write_image(tmp_path / "a.jpg", Picture(drawn(3, 16), bits=16))
