"""The page as its visitors meet it: in a browser, and from places where it must not answer."""

import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from libimg.degradations import DegradationParams
from libimg.demo import Limits, range_notes, restore_upload, restore_uploads
from libimg.demo.text import caption, report
from libimg.demo.work import pack
from libimg.io import Picture, read_image, write_image
from libimg.restoration import Card, Restorer, photographs

SAME = Restorer(lambda x: x, Card(sigma_range=(5, 30), quality_range=(20, 90)))
START = """
from libimg.demo import serve
from libimg.restoration import load_restorer
serve(load_restorer(device="cpu"), port=0)
"""


def image(path: Path, size: tuple[int, int] = (24, 30), **options: Any) -> Path:
    """Write a random image."""
    values = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    write_image(path, replace(Picture(values), **options))
    return path


def bomb(path: Path, side: int = 30_000) -> Path:
    """Write a PNG of nothing that unpacks to gigabytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000))
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    good = image(tmp_path / "good.png")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(image(tmp_path / "whole.jpg", (200, 200)).read_bytes()[:900])
    text = tmp_path / "text.png"
    text.write_text("no image")
    bombs = [bomb(tmp_path / "large.png", 10_000), bomb(tmp_path / "bomb.png")]
    done, failed = restore_uploads([*bombs, text, good, cut], SAME, tmp_path)
    assert [found.name for found in done] == ["good.png"]
    names = [line.split(":")[0] for line in failed]
    assert names == ["large.png", "bomb.png", "text.png", "cut.jpg"]
    assert "100 megapixels, more than the limit of 24" in failed[0]
    assert "exceeds limit" in failed[1]
    assert "is not a PNG" in failed[2]
    assert "cannot be read" in failed[3]
    assert str(tmp_path) not in "".join(failed)


def test_limits_of_size_and_number(tmp_path: Path) -> None:
    files = [image(tmp_path / f"{i}.png") for i in range(3)]
    _, failed = restore_uploads(files, SAME, tmp_path, limits=Limits(files=2))
    assert failed == ["2.png: not looked at, more than the limit of 2 files at once"]
    with pytest.raises(ValueError, match=r"0\.png: 0\.0 MB, more than the limit of 0\.001"):
        restore_upload(files[0], SAME, tmp_path, limits=Limits(megabytes=0.001))


def test_what_the_network_does_not_see_is_kept(tmp_path: Path) -> None:
    deep = image(tmp_path / "deep.png", bits=16, alpha=torch.rand(1, 24, 30))
    found = restore_upload(deep, SAME, tmp_path)
    result, original = read_image(found.target), read_image(deep)
    assert result.bits == 16
    torch.testing.assert_close(result.image, original.image, atol=1e-4, rtol=0)
    torch.testing.assert_close(result.alpha, original.alpha, atol=1e-4, rtol=0)
    assert "16 bits kept" in found.notes
    assert read_image(found.after).bits == 8


def test_degraded_first_it_is_scored(tmp_path: Path) -> None:
    params = DegradationParams(sigma=40, quality=95)
    found = restore_upload(image(tmp_path / "a.png"), SAME, tmp_path, degradation=params)
    assert found.clean is not None
    assert found.psnr is not None
    assert found.psnr[0] == found.psnr[1] < 25
    assert found.notes == range_notes(SAME.card, params)
    assert found.notes == (
        "noise of 40 lies outside the trained range of 5 to 30",
        "JPEG quality 95 lies outside the trained range of 20 to 90",
    )
    assert range_notes(replace(SAME.card, quality_range=None), replace(params, sigma=9)) == (
        "the network was trained without JPEG",
    )
    assert range_notes(SAME.card, None) == ()


def test_two_files_of_one_name(tmp_path: Path) -> None:
    files = [image(tmp_path / folder / "a.png") for folder in ("one", "two")]
    done, failed = restore_uploads(files, SAME, tmp_path)
    assert not failed
    assert len({found.target for found in done}) == 2
    assert [path.suffix for path in pack(done)] == [".zip", ".png", ".png"]
    assert [path.suffix for path in pack(done[:1])] == [".png"]


def test_names_are_escaped(tmp_path: Path) -> None:
    found = restore_upload(image(tmp_path / "<b>.png"), SAME, tmp_path)
    assert "<b>.png" not in caption(found)
    assert "&lt;b&gt;.png" in caption(found)
    assert "&lt;i&gt;" in report([found], ["<i>: bad"])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The page of the shipped network, served by a process of its own."""
    pytest.importorskip("gradio")
    misleading = {"GRADIO_SHARE": "True", "GRADIO_SERVER_NAME": "0.0.0.0"}  # neither counts
    server = subprocess.Popen(
        [sys.executable, "-c", START],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **misleading, "OMP_NUM_THREADS": "1"},
    )
    assert server.stdout is not None
    found = re.match(r"http://127\.0\.0\.1:\d+/", server.stdout.readline())
    assert found is not None
    yield found.group()
    server.terminate()
    server.wait(timeout=20)
    server.stdout.close()


def answer(url: str, **headers: str) -> int:
    """The status of a request."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_only_this_machine_and_this_page_get_an_answer(url: str) -> None:
    port = int(url.rsplit(":", 1)[1].strip("/"))
    assert answer(url) == 200
    assert answer(url, Host=f"evil.example:{port}") == 403
    assert answer(url, Origin="http://evil.example") == 403
    for path in (
        "gradio_api/file=/etc/passwd",
        "gradio_api/file=../../etc/passwd",
        "docs",
        "login",
    ):
        assert answer(url + path) == 403
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells the address of this machine
            own = probe.getsockname()[0]
        except OSError:
            own = ""
    if own and not own.startswith("127."):
        with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
            socket.create_connection((own, port), timeout=2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_in_a_browser(url: str, tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    clean = [photo for photo in photographs(part="test") if photo.name != "camera"]
    files = []
    for photo in clean:
        files.append(tmp_path / f"{photo.name}.png")
        write_image(files[-1], Picture(photo.image[:, 100:228, 200:328].float() / 255))
    (tmp_path / "letter.png").write_text("not an image")
    outside: list[str] = []

    def watch(request: Any) -> None:
        if not request.url.startswith((url, "data:", "blob:")):
            outside.append(request.url)

    with api.sync_playwright() as play:
        window = play.chromium.launch(executable_path=browser, args=["--headless", "--no-sandbox"])
        page = window.new_page(viewport={"width": 1400, "height": 1000})
        page.on("request", watch)
        page.goto(url)
        page.locator("#files input[type=file]").set_input_files(
            [*map(str, files), str(tmp_path / "letter.png")]
        )
        page.locator("#files").get_by_text("letter").first.wait_for()
        page.locator("#degrade input").check()
        page.locator("#sigma input[type=number]").wait_for()
        page.locator("#go").click()
        page.locator("#caption .caption").wait_for(timeout=60_000)
        said = page.locator("#caption").inner_text()
        before, after = map(float, re.findall(r"([\d.]+) dB (?:degraded|restored)", said))
        assert after > before + 2
        failed = page.locator("#report .failed").inner_text()
        assert failed == "letter.png: is not a PNG, JPEG, TIFF, BMP or WebP image"
        page.locator("#several img").nth(1).click()
        page.locator("#caption").get_by_text(files[1].name).wait_for()
        box = page.locator("#pair").bounding_box()
        assert box is not None
        handle = page.locator("#pair .inner, #pair .outer, #pair [role=slider]").first
        start = handle.bounding_box()
        middle = box["y"] + box["height"] / 2
        page.mouse.move(start["x"] + start["width"] / 2, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.8, middle, steps=5)
        page.mouse.up()
        moved = handle.bounding_box()
        assert moved["x"] > start["x"] + 50
        window.close()
    assert outside == []
