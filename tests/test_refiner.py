import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from libimg.nets import Refiner
from libimg.nets.refiner import product, product_nonneg

NAMES = ("x", "y", "product", "product_nonneg")
SUBSETS = [("x", "y", "product_nonneg"), ("x", "y"), ("product",), ("product", "x"), ("y",), NAMES]
signed = st.floats(-1, 1, allow_nan=False)


def pair(dims: int = 2, size: int = 7, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (2, batch, 1, *[size] * dims)
    x, y = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return x, y


def perturbed(net: Refiner) -> Refiner:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return net


def grid(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, -1)


@pytest.mark.parametrize("head", ["residual", "affine"])
@pytest.mark.parametrize("inputs", SUBSETS)
@pytest.mark.parametrize("dims", [2, 3])
def test_starts_as_its_base(dims: int, inputs: tuple[str, ...], head: str) -> None:
    x, y = pair(dims)
    images = {"x": x, "y": y, "product": product(x, y), "product_nonneg": product_nonneg(x, y)}
    base = images["y" if "y" in inputs else inputs[0]]
    net = Refiner(dims, inputs=inputs, head=head, width=4, blocks=1)
    assert torch.equal(net(x, y), base)
    assert not torch.allclose(perturbed(net)(x, y), base, atol=1e-3)


@pytest.mark.parametrize("head", ["residual", "affine"])
def test_gradient_reaches_every_parameter(head: str) -> None:
    x, y = pair()
    net = perturbed(Refiner(2, head=head, width=4))
    net(x, y).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_first_step_already_learns() -> None:
    """The last layer starts at zero, but its own gradient does not."""
    x, y = pair()
    net = Refiner(2, width=4)
    (net(x, y) - x).square().mean().backward()
    last = list(net.parameters())[-2:]
    assert all(parameter.grad.abs().max() > 0 for parameter in last)


def test_affine_head_is_gain_and_offset() -> None:
    x, y = pair()
    net = Refiner(2, head="affine", width=4, blocks=1)
    with torch.no_grad():
        net.net[-1].bias.copy_(torch.tensor([0.5, -0.25]))
    assert torch.allclose(net(x, y), 1.5 * y - 0.25)


def test_residual_can_leave_the_range() -> None:
    """No tanh: bright vessels do not saturate."""
    x, y = pair()
    net = Refiner(2, width=4, blocks=0)
    with torch.no_grad():
        net.net[-1].bias.fill_(3.0)
    assert torch.allclose(net(x, y), y + 3)


def test_batched_equals_one_by_one() -> None:
    x, y = pair(batch=3)
    net = perturbed(Refiner(2, width=4))
    alone = torch.cat([net(a[None], b[None]) for a, b in zip(x, y, strict=True)])
    assert torch.allclose(net(x, y), alone, atol=1e-6)


def test_order_of_inputs_is_the_order_of_channels() -> None:
    x, y = pair()
    one, two = Refiner(2, inputs=("x", "y"), width=4), Refiner(2, inputs=("y", "x"), width=4)
    perturbed(one)
    state = one.state_dict()
    two.load_state_dict({**state, "net.0.weight": state["net.0.weight"].flip(1)})
    assert torch.allclose(one(x, y), two(x, y), atol=1e-6)


def test_dtype_is_kept_and_arguments_are_not_written() -> None:
    x, y = (v.double() for v in pair())
    before = x.clone(), y.clone()
    out = perturbed(Refiner(2, width=4)).double()(x, y)
    assert out.dtype == torch.float64
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


@pytest.mark.parametrize("dims", [2, 3])
def test_documented_sizes(dims: int) -> None:
    for options, expected in (({}, (15e3, 43e3)), ({"width": 32, "blocks": 5}, (94e3, 280e3))):
        count = sum(parameter.numel() for parameter in Refiner(dims, **options).parameters())
        assert count == pytest.approx(expected[dims - 2], rel=0.04)
        assert 1e4 < count < 5e5


@given(values=st.lists(st.tuples(signed, signed), min_size=1, max_size=20))
def test_product_keeps_sign_and_never_grows(values: list[tuple[float, float]]) -> None:
    x, y = (grid(list(v)) for v in zip(*values, strict=True))
    p = product(x, y)
    assert (p * x >= 0).all()
    assert (p.abs() <= torch.minimum(x.abs(), y.abs())).all()
    assert torch.equal(p, product(x, -y))


@given(x=signed, y=signed, rise=st.floats(0, 2))
def test_product_nonneg_is_bounded_symmetric_and_monotone(x: float, y: float, rise: float) -> None:
    a, b = grid([x]), grid([y])
    p = product_nonneg(a, b)
    assert -1 <= p.item() <= 1
    assert torch.equal(p, product_nonneg(b, a))
    assert product_nonneg(a + rise, b) >= p
    assert product_nonneg(a, b + rise) >= p
    u = (a + 1) / 2 * (b + 1) / 2
    assert torch.allclose((p + 1) / 2, u, atol=1e-12)


def test_white_is_neutral_and_black_absorbs() -> None:
    x = grid([-1.0, -0.3, 0.0, 0.8])
    assert torch.allclose(product_nonneg(x, torch.ones_like(x)), x)
    assert torch.allclose(product_nonneg(x, -torch.ones_like(x)), -torch.ones_like(x))


@settings(max_examples=10)
@given(y=signed)
def test_only_the_signed_product_has_a_dead_zone(y: float) -> None:
    """At the middle of the window the signed product says nothing about ``y``."""
    x = grid([0.0])
    for function, slope in ((product, 0.0), (product_nonneg, 0.5)):
        free = grid([y]).requires_grad_()
        function(x, free).sum().backward()
        assert free.grad.item() == slope


def test_products_pass_gradcheck() -> None:
    x, y = (v.double()[:1, :, :3, :3].requires_grad_() for v in pair())
    assert torch.autograd.gradcheck(product, (x, y))
    assert torch.autograd.gradcheck(product_nonneg, (x, y))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width >= 1"),
        ({"blocks": -1}, "blocks >= 0"),
        ({"inputs": ()}, "at least one channel"),
        ({"inputs": ("x", "x")}, "none twice"),
    ],
)
def test_refuses_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Refiner(2, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ("x", "z")}, "inputs must be one of 'x', 'y', .* got 'z'"),
        ({"head": "tanh"}, "head must be one of"),
        ({"spatial_dims": 4}, "spatial_dims must be one of 2, 3, got 4"),
    ],
)
def test_names_the_unknown_choice(options: dict[str, object], message: str) -> None:
    build = inspect.unwrap(Refiner.__init__)  # as at run time: annotations are not enforced
    with pytest.raises(ValueError, match=message):
        build(Refiner.__new__(Refiner), **{"spatial_dims": 2, **options})


def test_refuses_images_that_do_not_fit() -> None:
    x, y = pair()
    forward = inspect.unwrap(Refiner.forward)
    for bad in (y[..., :-1], y.expand(-1, 2, -1, -1), y[..., None]):
        with pytest.raises(ValueError, match="x and y must both be"):
            forward(Refiner(2), x, bad)
    with pytest.raises(ValueError, match="3 spatial axes"):
        Refiner(3)(x, y)
