"""The documentation runs: every Python block of the pages, each page in one namespace."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "docs" / "start.md"]
PAGES += sorted((ROOT / "docs" / "concepts").glob("*.md")) + sorted(
    (ROOT / "docs/how-to").glob("*.md")
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_blocks_run(page: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks, f"{page} shows no code"
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), namespace)


def test_readme_has_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("pip install")] == [
        'pip install -e ".[tasks]" && python tasks/ncct2cta.py',
        'pip install -e ".[dev]" && pytest',
    ]


def test_pictures_are_there() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).is_file(), f"{page}: {link}"


def test_every_subpackage_has_an_api_page() -> None:
    packages = {p.parent.name for p in (ROOT / "libimg").glob("*/__init__.py")} - {"_ops"}
    modules = {"ranges", "figures", "export"}
    for name in packages | modules:
        page = ROOT / "docs" / "api" / f"{name}.md"
        assert f"::: libimg.{name}" in page.read_text(encoding="utf-8")
