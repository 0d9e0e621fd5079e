"""The perceptual loss: ranges, gray, volumes, local weights, clear errors."""

from pathlib import Path

import pytest
import torch
from torch import nn

from libimg import metrics
from libimg.losses import PerceptualLoss
from libimg.ranges import BYTE, SIGNED, UNIT, ValueRange

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


class Backbone(nn.Module):
    """Two layers of features of three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3, stride=2)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        a = self.first(x).tanh()
        return [a, self.second(a)]


@pytest.fixture
def net() -> Backbone:
    torch.manual_seed(0)
    return Backbone()


def images(shape: tuple[int, ...] = (3, 1, 12, 12)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(2, *shape, generator=generator)
    return x[0], x[1]


def test_laws(net: Backbone) -> None:
    distance = PerceptualLoss(net, value_range=UNIT)
    x, y = images()
    value = distance(x, y)
    assert value.shape == (3,)
    assert (value > 0).all()
    assert not distance(x, x).any()
    torch.testing.assert_close(distance(y, x), value)
    torch.testing.assert_close(distance(x[1:2], y[1:2]), value[1:2])
    torch.testing.assert_close(distance(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)), value)


def test_the_range_decides_and_not_the_scale(net: Backbone) -> None:
    x, y = images()
    value = PerceptualLoss(net, value_range=UNIT)(x, y)
    hu = ValueRange(-1000, 600)
    for other in (BYTE, SIGNED, hu):
        moved = PerceptualLoss(net, value_range=other)(UNIT.to(x, other), UNIT.to(y, other))
        torch.testing.assert_close(moved, value, rtol=1e-3, atol=1e-6)


def test_oracle(net: Backbone) -> None:
    x, y = images((1, 1, 8, 8))
    want = torch.zeros(())
    for a, b in zip(*(net((2 * v - 1).expand(-1, 3, -1, -1)) for v in (x, y)), strict=True):
        unit = [v / v.square().sum(1, keepdim=True).sqrt() for v in (a, b)]
        want = want + (unit[0] - unit[1]).square().sum(1).mean()
    got = PerceptualLoss(net, value_range=UNIT)(x, y)[0]
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_volumes_are_compared_slice_by_slice(net: Backbone) -> None:
    x, y = images((2, 1, 3, 12, 12))
    distance = PerceptualLoss(net, value_range=UNIT)
    slices = torch.stack([distance(x[:, :, i], y[:, :, i]) for i in range(3)])
    torch.testing.assert_close(distance(x, y), slices.mean(0))


def test_a_mask_hides_what_is_outside(net: Backbone) -> None:
    x, y = images()
    mask = torch.zeros(3, 1, 12, 12)
    mask[..., :6] = 1
    distance = PerceptualLoss(net, value_range=UNIT)
    spoilt = torch.where(mask.bool(), y, torch.full_like(y, float("nan")))
    torch.testing.assert_close(distance(x, spoilt, mask=mask), distance(x, y, mask=mask))


def test_frozen_for_good_and_yet_differentiable(net: Backbone) -> None:
    distance = PerceptualLoss(net, value_range=UNIT).train()
    assert not any(module.training for module in distance.modules())
    x, y = images()
    x.requires_grad_()
    distance(x, y).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in net.parameters())


def test_local_weights(net: Backbone, tmp_path: Path) -> None:
    torch.save(net.state_dict(), tmp_path / "net.pt")
    torch.manual_seed(9)
    other = Backbone()
    x, y = images()
    value = PerceptualLoss(other, value_range=UNIT, weights_path=tmp_path / "net.pt")(x, y)
    torch.testing.assert_close(value, PerceptualLoss(net, value_range=UNIT)(x, y))
    torch.save(nn.Linear(1, 1).state_dict(), tmp_path / "bad.pt")
    with pytest.raises(ValueError, match=r"bad\.pt"):
        PerceptualLoss(Backbone(), value_range=UNIT, weights_path=tmp_path / "bad.pt")
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        PerceptualLoss(Backbone(), value_range=UNIT, weights_path=tmp_path / "none.pt")


@pytest.mark.parametrize("kind", ["alex", "squeeze"])
def test_lpips_from_a_local_file_equals_lpips(kind: str, tmp_path: Path) -> None:
    lpips = pytest.importorskip("lpips")
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    whole = models.alexnet(weights=None) if kind == "alex" else models.squeezenet1_1(weights=None)
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    distance = PerceptualLoss(
        f"lpips-{kind}", value_range=SIGNED, weights_path=tmp_path / "weights.pth"
    )
    reference = lpips.LPIPS(net=kind, pnet_rand=True, verbose=False)
    index = 0
    for part in (getattr(reference.net, f"slice{i}") for i in range(1, reference.net.N_slices + 1)):
        for layer in part:
            layer.load_state_dict(whole.features[index].state_dict())
            index += 1
    x, y = images((2, 1, 64, 64))
    want = reference(*(v.expand(-1, 3, -1, -1) for v in (x, y))).flatten()
    torch.testing.assert_close(distance(x, y), want)
    how = {"net": kind, "weights_path": tmp_path / "weights.pth"}
    halves = metrics.lpips((x + 1) / 2, (y + 1) / 2, data_range=1.0, **how)
    torch.testing.assert_close(halves, want, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(metrics.lpips(x, y, data_range=SIGNED, **how), want)
    assert not metrics.lpips(x, x, data_range=SIGNED, **how).any()
    volume = torch.stack((x, y), 2)
    slices = metrics.lpips(volume, volume.flip(2), data_range=SIGNED, **how)
    torch.testing.assert_close(slices, want)


def test_vgg_from_a_local_file_gets_normalised_input(tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    whole = models.vgg19(weights=None).eval()
    torch.save(whole.state_dict(), tmp_path / "vgg.pth")
    distance = PerceptualLoss("vgg19", value_range=BYTE, weights_path=tmp_path / "vgg.pth")
    x, y = images((1, 3, 32, 32))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    want, weights = (
        torch.zeros(()),
        dict(zip((1, 6, 11, 20, 29), (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1), strict=True)),
    )
    a, b = ((v - mean) / deviation for v in (x, y))
    for index, layer in enumerate(whole.features[:30]):
        a, b = (layer(v.clone()) for v in (a, b))
        want = want + weights.get(index, 0) * (a - b).abs().mean()
    torch.testing.assert_close(distance(255 * x, 255 * y)[0], want.detach(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["lpips-alex", "vgg19"])
def test_without_a_network_the_file_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchvision")

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision._internally_replaced_utils.load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(RuntimeError, match=r"(alexnet-owt|vgg19-).*weights_path="):
        PerceptualLoss(name, value_range=UNIT)


@pytest.mark.usefixtures("unchecked")
def test_refuses(net: Backbone) -> None:
    with pytest.raises(ValueError, match="backbone"):
        PerceptualLoss("resnet", value_range=UNIT)
    x = torch.zeros(1, 3, 64, 64)
    with pytest.raises(ValueError, match="net must be"):
        metrics.lpips(x, x, data_range=1.0, net="vit")
    with pytest.raises(FileNotFoundError, match="none"):
        metrics.lpips(x, x, data_range=1.0, weights_path="none.pth")
    with pytest.raises(ValueError, match="channels"):
        metrics.lpips(x[:, :2], x[:, :2], data_range=1.0)
    distance = PerceptualLoss(net, value_range=UNIT)
    with pytest.raises(ValueError, match="channels"):
        distance(torch.zeros(1, 2, 9, 9), torch.zeros(1, 2, 9, 9))
    with pytest.raises(ValueError, match="one shape"):
        distance(torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 9, 8))
