"""GAN losses, discriminators, penalties and balance."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from libimg import gan, losses

MODES = ("lsgan", "hinge", "vanilla")
logit = st.floats(-4, 4)


def filled(value: float) -> Tensor:
    return torch.full((2, 1, 3, 3), value, dtype=torch.float64)


@given(logit, logit)
def test_plain_formulas(r: float, f: float) -> None:
    sigmoid = lambda t: 1 / (1 + math.exp(-t))  # noqa: E731
    want = {
        "lsgan": (0.5 * ((r - 1) ** 2 + f**2), 0.5 * (f - 1) ** 2),
        "hinge": (max(0, 1 - r) + max(0, 1 + f), -f),
        "vanilla": (-math.log(sigmoid(r)) - math.log(1 - sigmoid(f)), -math.log(sigmoid(f))),
    }
    for mode, (d, g) in want.items():
        got = losses.gan_discriminator(filled(r), filled(f), mode=mode)  # type: ignore[arg-type]
        assert got.tolist() == pytest.approx([d, d])
        assert losses.gan_generator(filled(f), mode=mode).tolist() == pytest.approx([g, g])  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
def test_scales_are_averaged_and_samples_kept_apart(mode: str) -> None:
    a, b = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 2, 2)
    both = losses.gan_generator([a, b], mode=mode)  # type: ignore[arg-type]
    parts = [losses.gan_generator(x, mode=mode) for x in (a, b)]  # type: ignore[arg-type]
    torch.testing.assert_close(both, torch.stack(parts).mean(0))
    torch.testing.assert_close(losses.gan_generator(a[1:], mode=mode), parts[0][1:])  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
def test_gan_gradcheck(mode: str) -> None:
    x = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r, f: losses.gan_discriminator(r, f, mode=mode), (x, y))  # type: ignore[arg-type]


def test_monai_squashes_logits_and_we_do_not() -> None:
    """Its hinge puts tanh first, so that a margin of 1 is never reached."""
    monai = pytest.importorskip("monai.losses")
    sure = torch.full((1, 1, 2, 2), 5.0)
    theirs = monai.PatchAdversarialLoss(criterion="hinge")(sure, True, for_discriminator=True)
    ours = losses.gan_discriminator(sure, -sure, mode="hinge")
    assert ours.item() == 0
    assert theirs.item() > 0
    fake = torch.full((1, 1, 2, 2), -5.0)
    lsgan = monai.PatchAdversarialLoss(criterion="least_squares")(
        fake, True, for_discriminator=False
    )
    assert losses.gan_generator(fake, mode="lsgan").item() == pytest.approx(18.0)
    assert lsgan.item() < 2  # LeakyReLU has hidden how wrong the logit is


@pytest.mark.usefixtures("unchecked")
def test_gan_losses_refuse() -> None:
    with pytest.raises(ValueError, match="mode"):
        losses.gan_generator(filled(0), mode="wgan")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got none"):
        losses.gan_generator([], mode="hinge")
    with pytest.raises(ValueError, match="2 scales and fake_logits 1"):
        losses.gan_discriminator([filled(0)] * 2, [filled(0)], mode="hinge")


def test_feature_matching() -> None:
    fake = [torch.zeros(2, 3, 4, 4, requires_grad=True), torch.zeros(2, 3, 2, 2)]
    real = [torch.ones(2, 3, 4, 4, requires_grad=True), torch.full((2, 3, 2, 2), 3.0)]
    value = losses.feature_matching([fake, fake], [real, real])
    assert value.tolist() == [2.0, 2.0]
    value.sum().backward()
    assert real[0].grad is None
    with pytest.raises(ValueError, match="equally many"):
        losses.feature_matching(fake, real[:1])


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_receptive_field_is_what_the_gradient_reaches(layers: int, field: int) -> None:
    judge = gan.PatchDiscriminator(2, in_channels=1, width=2, layers=layers).double()
    assert judge.receptive_field == field
    x = torch.randn(1, 1, 112, 112, dtype=torch.float64, requires_grad=True)
    logits = judge(x)
    middle = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], x)
    for axis in (2, 3):
        touched = gradient.abs().amax([a for a in range(4) if a != axis]).nonzero().flatten()
        assert int(touched.max() - touched.min() + 1) == field


def test_a_pyramid_field_is_what_the_gradient_reaches() -> None:
    judge = gan.MultiScaleDiscriminator(2, scales=2, in_channels=1, width=2, layers=1).double()
    x = torch.randn(1, 1, 96, 96, dtype=torch.float64, requires_grad=True)
    for logits, field in zip(judge(x), judge.receptive_field, strict=True):
        middle = logits.shape[-1] // 2
        (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], x, retain_graph=True)
        touched = gradient.abs().amax((0, 1, 2)).nonzero().flatten()
        assert int(touched.max() - touched.min() + 1) == field


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", [None, "instance", "group"])
@pytest.mark.parametrize("spectral", [False, True])
def test_discriminator_forms(dims: int, norm: str | None, spectral: bool) -> None:
    judge = gan.PatchDiscriminator(
        dims,
        in_channels=2,
        width=4,
        layers=2,
        norm=norm,
        spectral=spectral,  # type: ignore[arg-type]
    ).eval()
    x = torch.randn(2, 2, *[24] * dims)
    features = judge.features(x)
    assert len(features) == 4
    assert torch.equal(features[-1], judge(x))
    assert features[-1].shape == (2, 1, *[4] * dims)
    torch.testing.assert_close(judge(x[:1]), judge(x)[:1], rtol=1e-4, atol=1e-5)
    assert judge(x).std() > 0
    before = judge(x).detach()
    last = [p for name, p in judge.named_parameters() if name.endswith("bias")][-1]
    torch.nn.init.constant_(last, float(last.detach()) + 50)
    torch.testing.assert_close(judge(x).detach(), before + 50)  # linear, not squashed


def test_the_smallest_image_gives_one_logit_and_less_is_refused() -> None:
    judge = gan.PatchDiscriminator(2, in_channels=1, width=2, layers=3)
    n = judge.smallest
    assert judge(torch.zeros(1, 1, n, n)).shape == (1, 1, 1, 1)
    with pytest.raises(ValueError, match=f"at least {n} voxels"):
        judge(torch.zeros(1, 1, n - 1, n))
    with pytest.raises(ValueError, match="2 spatial axes"):
        judge(torch.zeros(1, 2, n, n))


def test_the_pyramid_pools() -> None:
    """Each scale judges the image of the one before, pooled; MONAI's class does not pool."""
    judge = gan.MultiScaleDiscriminator(2, scales=3, in_channels=1, width=4, layers=1).eval()
    x = torch.randn(1, 1, 64, 64)
    for part, logits in zip(judge.judges, judge(x), strict=True):
        assert torch.equal(part(x), logits)
        x = nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)


@given(st.floats(0.1, 20), st.integers(1, 16))
def test_r1_of_linear_and_quadratic_judges(gamma: float, interval: int) -> None:
    a = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)
    x = torch.randn(3, 1, 2, 2, dtype=torch.float64)
    linear = gan.r1_penalty(lambda v: (a * v).flatten(1).sum(1), x, gamma=gamma, interval=interval)
    want = gamma / 2 * interval * a.square().sum()
    torch.testing.assert_close(linear, want.expand(3))
    square = gan.r1_penalty(lambda v: [v.square(), 2 * v.square()], x, gamma=gamma)
    torch.testing.assert_close(square, gamma / 2 * (6 * x).square().flatten(1).sum(1))


def test_r1_trains_the_judge_and_leaves_the_images() -> None:
    judge = gan.MultiScaleDiscriminator(
        2, scales=2, in_channels=1, width=4, layers=1, spectral=True
    )
    x = torch.randn(2, 1, 24, 24, requires_grad=True)
    gan.r1_penalty(judge, x).sum().backward()
    assert x.grad is None
    weights = [w for name, w in judge.named_parameters() if "bias" not in name]
    assert all(w.grad is not None and w.grad.isfinite().all() for w in weights)
    with pytest.raises(ValueError, match="interval"):
        gan.r1_penalty(judge, x, interval=0)


@given(st.floats(0.01, 10), st.floats(0.01, 10))
def test_gradient_ratio(a: float, b: float) -> None:
    y = torch.randn(1, 1, 4, 4, requires_grad=True)
    c = y * 1.0
    ratio = gan.gradient_ratio(a * c.sum(), b * c.sum(), c)
    assert ratio.item() == pytest.approx(a / b, rel=1e-4)
    assert y.grad is None


def test_gradient_ratio_in_a_region_and_detached() -> None:
    y = torch.ones(1, 1, 2, 2, requires_grad=True)
    left = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    adversarial, rest = (y * left).sum(), y.sum()
    assert gan.gradient_ratio(adversarial, rest, y, mask=left).item() == 1
    assert gan.gradient_ratio(adversarial, rest, y, mask=1 - left).item() == 0
    assert gan.gradient_ratio(adversarial.detach(), rest, y).item() == 0
    assert math.isinf(gan.gradient_ratio(adversarial, rest.detach(), y).item())


def test_adaptive_weight() -> None:
    w = torch.ones(4, requires_grad=True)
    assert gan.adaptive_weight(3 * w.sum(), w.sum(), w, epsilon=0).item() == pytest.approx(3)
    assert gan.adaptive_weight(w.sum(), 0 * w.sum(), w, limit=7).item() == 7
    assert not gan.adaptive_weight(3 * w.sum(), w.sum(), w).requires_grad


def test_frozen_restores_even_after_an_error() -> None:
    net = nn.Linear(2, 2)
    net.bias.requires_grad_(False)

    def stop() -> None:
        with gan.frozen(net):
            assert not net.weight.requires_grad
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop()
    assert net.weight.requires_grad
    assert not net.bias.requires_grad
