"""Shared settings: hypothesis profiles, the data folder outside the repository, one torch thread a worker."""

import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import settings

settings.register_profile("dev", max_examples=20, deadline=None, print_blob=True)
settings.register_profile("ci", max_examples=40, deadline=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real data outside the repository: ``$LIBIMG_DATA`` or ``../shared/data``."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("LIBIMG_DATA", root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder} (set LIBIMG_DATA)")
    return folder


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator, one for each test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switch the shape checks of the tests off: what a user without them meets."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
