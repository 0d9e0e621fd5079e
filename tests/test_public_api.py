"""Every public name exists, is shown by an example that runs, and has its page.

That names are documented at all, and that the contract is kept, is in test_imports.py.
"""

import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import libimg

PAGES = Path(__file__).resolve().parents[1] / "docs" / "api"
COMPONENTS = [name for name in libimg.__all__ if name != "__version__"]
WITHOUT_EXAMPLE = {
    "needs volumes on disk": """
        data.pair_files data.file_hash data.manifest data.compare_metrics
        io.Volume io.read_volume io.write_volume
    """,
    "needs whole cases, or networks that take part in a phase; shown by tasks/ncct2cta.py": """
        data.Patch data.same_geometry data.sample_batch phantoms.ChestCase
        translation.build_optimizers translation.ct_case translation.ct_pairs translation.ct_panel
        translation.ct_scores translation.discriminator_loss translation.draw_batch
        translation.evaluation translation.generate translation.generator_terms
        translation.hold_out translation.middle translation.region_weight translation.register
        translation.registration_report translation.set_modes translation.translate_hu
        translation.translate_volume translation.translation_vitals translation.validate
        translation.weighted_sum
    """,
    "needs recordings and a network; shown by tasks/events.py": """
        denoising.Overlays denoising.decode_predictions denoising.draw_crops
        denoising.evaluate_pairs denoising.event_panel denoising.event_pairs
        denoising.on_device denoising.rank_events denoising.write_scene_pairs
        nets.load_3dunet_weights
    """,
    "needs prepared hearts and a model; shown by tasks/heart.py": """
        completion.Completion completion.decode_labels completion.dice_of
    """,
    "needs whole runs; shown by tasks/photo2ceph.py": """
        cephalometry.tell
    """,
    "only holds settings": """
        denoising.EventData
        translation.CtConfig translation.DiscriminatorConfig translation.GeneratorConfig
        translation.Losses translation.NetworksConfig translation.Rates translation.RefinerConfig
        translation.RegistrationConfig
    """,
}
EXEMPT = {name for names in WITHOUT_EXAMPLE.values() for name in names.split()}


def component(name: str) -> ModuleType:
    return importlib.import_module(f"libimg.{name}")


def callables() -> list[str]:
    """Public functions and classes as ``component.name``."""
    found = []
    for part in COMPONENTS:
        for name in component(part).__all__:
            thing = getattr(component(part), name)
            if inspect.isroutine(thing) or inspect.isclass(thing):
                found.append(f"{part}.{name}")
    return found


@pytest.mark.parametrize("name", COMPONENTS)
def test_lists_of_public_names_are_true(name: str) -> None:
    module = component(name)
    assert len(set(module.__all__)) == len(module.__all__)
    assert [n for n in module.__all__ if not hasattr(module, n)] == []
    assert [n for n in module.__all__ if n.startswith("_")] == []
    assert len(inspect.getdoc(module) or "") >= 25
    if hasattr(module, "__path__"):  # what a package imports by name is public
        theirs = {
            n
            for n, thing in vars(module).items()
            if not n.startswith("_") and getattr(thing, "__module__", "").startswith("libimg.")
        }
        assert theirs <= set(module.__all__)


@pytest.mark.parametrize("name", sorted(set(callables()) - EXEMPT))
def test_functions_and_classes_are_shown_by_an_example(name: str) -> None:
    part, _, thing = name.partition(".")
    assert ">>>" in (inspect.getdoc(getattr(component(part), thing)) or "")


def test_exemptions_are_of_names_that_exist() -> None:
    assert set(callables()) >= EXEMPT


def test_units_of_constants() -> None:
    """What is neither function nor class is a plain, documented constant of its module."""
    for part in COMPONENTS:
        for name in component(part).__all__:
            if f"{part}.{name}" not in callables():
                assert name.isupper(), f"{part}.{name}"


@pytest.mark.parametrize("name", COMPONENTS)
def test_components_have_a_page(name: str) -> None:
    lines = (PAGES / f"{name}.md").read_text(encoding="utf-8").splitlines()
    assert f"::: libimg.{name}" in lines


def test_pages_are_of_components() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} - {"index"} == set(COMPONENTS)
