"""Restoration networks as files: the same answers, their card, refusal of anything else."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from libimg.restoration import (
    Card,
    Network,
    build,
    export_restorer,
    load_restorer,
    load_weights,
    save_restorer,
)
from libimg.restoration.restorer import SHIPPED

SMALL = [
    Network(name="resnet", widths=(8,), blocks=1),
    Network(name="unet", widths=(8, 16), blocks=1),
    Network(name="unet", widths=(8, 16), blocks=1, bound=0.5),
]


def trained(network: Network) -> torch.nn.Module:
    """A network whose answers are not its input."""
    torch.manual_seed(0)
    net = build(network)
    torch.nn.init.normal_(net.tail.weight, std=0.02)
    return net


@pytest.mark.parametrize("network", SMALL, ids=lambda n: f"{n.name}-{n.bound}")
def test_a_file_answers_as_its_network(network: Network, tmp_path: Path) -> None:
    net, path = trained(network), tmp_path / "sub" / "net.pt"
    save_restorer(path, net, network=network, card=Card(trained_on="squares"))
    x = torch.rand(1, 3, 17, 23)
    restorer = load_restorer(path, device="cpu")
    change = net(x) - x
    assert change.abs().max() > 0.02
    torch.testing.assert_close(restorer(x) - x, change.detach(), rtol=1e-2, atol=1e-3)
    count = sum(p.numel() for p in net.parameters())
    assert restorer.card == Card(trained_on="squares", parameters=count, multiple=2)
    assert path.stat().st_size < 2 * count + 20_000
    assert not restorer(x).requires_grad


def test_half_precision_is_exact_the_second_time(tmp_path: Path) -> None:
    first, second = tmp_path / "a.pt", tmp_path / "b.pt"
    save_restorer(first, trained(SMALL[1]), network=SMALL[1], card=Card())
    assert max(export_restorer(second, first).values()) < 1e-6
    assert second.stat().st_size == first.stat().st_size
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(load_restorer(first)(x), load_restorer(second)(x))


@given(
    sigma=st.tuples(st.floats(0, 10), st.floats(10, 90)),
    quality=st.none() | st.tuples(st.integers(1, 50), st.integers(50, 100)),
    words=st.text(max_size=10),
)
def test_cards_come_back(
    sigma: tuple[float, float], quality: tuple[int, int] | None, words: str
) -> None:
    card = Card(sigma_range=sigma, quality_range=quality, trained_on=words, multiple=4)
    assert Card.from_dict(card.to_dict()) == card
    with pytest.raises(TypeError, match="unknown"):
        Card.from_dict({**card.to_dict(), "unknown": 1})


def test_training_goes_on_from_a_file(tmp_path: Path) -> None:
    path, net = tmp_path / "net.pt", build(SMALL[1])
    save_restorer(path, trained(SMALL[1]), network=SMALL[1], card=Card())
    load_weights(net, path)
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(net(x), load_restorer(path, device="cpu")(x))
    with pytest.raises(ValueError, match=r"net\.pt: holds another network, Network\(name='unet'"):
        load_weights(build(SMALL[0]), path)


def test_anything_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with pytest.raises(FileNotFoundError, match=r"net\.pt: no such file"):
        load_restorer(path)
    path.write_text("no")
    with pytest.raises(ValueError, match=r"net\.pt: not a restoration network of libimg"):
        load_restorer(path)
    torch.save({"weights": {}}, path)
    with pytest.raises(ValueError, match=r"not a restoration network of libimg \(KeyError"):
        load_restorer(path)
    save_restorer(path, trained(SMALL[0]), network=replace(SMALL[0], blocks=2), card=Card())
    with pytest.raises(ValueError, match="Missing key"):
        load_restorer(path)
    with pytest.raises(ValueError, match=r"net\.xyz: expected \.onnx, \.pt2 or \.pt"):
        export_restorer(tmp_path / "net.xyz")


def test_the_shipped_network_is_small_and_says_what_it_is() -> None:
    assert SHIPPED.stat().st_size <= 3_000_000
    card = load_restorer(device="cpu").card
    assert card.sigma_range == (0, 55)
    assert card.quality_range == (8, 97)
    assert "BSDS500" in card.trained_on
    assert card.parameters <= 4_000_000
