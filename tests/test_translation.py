"""The translation graph: switches, phases, gradients, vitals, volumes."""

import pytest
import torch
from torch import Tensor, nn

from libimg import registration, translation
from libimg.phantoms import chest
from libimg.ranges import SIGNED, ValueRange
from libimg.train import Phase, module_hash

SMALL = translation.NetworksConfig(
    generator=translation.GeneratorConfig(channels=(4, 8)),
    discriminator=translation.DiscriminatorConfig(width=4, layers=1),
    refiner=translation.RefinerConfig(enabled=True, width=4, blocks=1),
)
WEIGHTS = {"l1": 1.0, "ssim": 0.2, "gradient": 0.5, "smooth": 0.1, "adversarial": 0.1}


def batch(generator: torch.Generator, *, channels: int = 1, size: int = 24) -> dict[str, Tensor]:
    draw = lambda c: torch.rand(2, c, size, size, generator=generator) * 2 - 1  # noqa: E731
    mask = (torch.rand(2, 1, size, size, generator=generator) > 0.5).float()
    return {
        "input": draw(channels),
        "target": draw(1),
        "lung": mask,
        "vessel": 1 - mask,
        "body": torch.ones_like(mask),
    }


def wake(networks: dict[str, nn.Module]) -> None:
    """Move zero-initialised layers, so that every gradient can flow."""
    with torch.no_grad():
        for network in networks.values():
            for weight in network.parameters():
                weight.add_(
                    0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
                )


def phase(*train: str, frozen: tuple[str, ...] = (), **weights: float) -> Phase:
    return Phase(name="p", epochs=1, train=train, frozen=frozen, weights=dict(weights))


def test_a_switch_changes_no_other_network() -> None:
    off = translation.NetworksConfig(
        generator=SMALL.generator, registration=translation.RegistrationConfig(enabled=False)
    )
    everything = translation.build_networks(SMALL, spatial_dims=2, seed=3)
    less = translation.build_networks(off, spatial_dims=2, seed=3)
    assert set(everything) == {"G", "G2", "R", "D"}
    assert set(less) == {"G", "D"}
    assert module_hash(everything["G"]) == module_hash(less["G"])


def test_building_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    translation.build_networks(SMALL, spatial_dims=3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (phase("G", l2=1.0), "l2"),
        (phase("G", "X"), "X"),
        (phase("G", "G2"), "frozen G"),
        (phase("R"), "G must be listed"),
    ],
)
def test_plan_refuses(bad: Phase, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        translation.plan_phases([bad], SMALL)


def test_plan_refuses_to_train_nothing() -> None:
    with pytest.raises(ValueError, match="nothing left"):
        translation.plan_phases([phase("G2", frozen=("G",))], translation.NetworksConfig())


def test_frozen_networks_do_not_move_and_stay_in_eval_mode(generator: torch.Generator) -> None:
    networks = translation.build_networks(SMALL, spatial_dims=2)
    wake(networks)
    before = {name: module_hash(network) for name, network in networks.items()}
    active = translation.set_modes(networks, phase("G2", "R", frozen=("G",)))
    assert set(active) == {"G", "G2", "R"}
    assert not networks["G"].training
    weights = [w for network in networks.values() for w in network.parameters()]
    optimizer = torch.optim.Adam(weights)
    data = batch(generator)
    how = translation.Losses()
    y = translation.generate(active, data["input"])
    out = translation.register(active, y, data["target"])
    terms = translation.generator_terms(active, out, data, WEIGHTS, how=how)
    assert "adversarial" not in terms  # D takes no part
    translation.weighted_sum(terms, WEIGHTS).backward()
    optimizer.step()
    after = {name: module_hash(network) for name, network in networks.items()}
    assert {name for name in after if after[name] != before[name]} == {"G2", "R"}


def test_r_sends_the_picture_no_gradient_of_its_own(generator: torch.Generator) -> None:
    """The gradient at y is that of the warp with the flow held fixed."""
    networks = translation.build_networks(SMALL, spatial_dims=2)
    wake(networks)
    data = batch(generator)
    y = data["input"].clone().requires_grad_()
    out = translation.register(networks, y, data["target"])
    (through_graph,) = torch.autograd.grad(out["moved"].square().sum(), y)
    fixed = out["flow"].detach()
    (through_warp,) = torch.autograd.grad(registration.warp(y, fixed).square().sum(), y)
    torch.testing.assert_close(through_graph, through_warp)


def test_discriminator_step_does_not_reach_the_generator(generator: torch.Generator) -> None:
    networks = translation.build_networks(SMALL, spatial_dims=2)
    data = batch(generator)
    y = data["input"].clone().requires_grad_()
    how = translation.Losses(conditional=False)
    terms = translation.discriminator_loss(networks, y, data, {"r1": 10.0}, how=how, r1_every=4)
    assert set(terms) == {"adversarial", "r1"}
    sum(terms.values(), torch.zeros(())).backward()
    assert y.grad is None
    assert all(w.grad is not None for w in networks["D"].parameters())


def test_generator_step_leaves_no_gradient_in_d(generator: torch.Generator) -> None:
    networks = translation.build_networks(SMALL, spatial_dims=2)
    data = batch(generator)
    out = {"y": data["input"].clone().requires_grad_(), "moved": data["input"]}
    terms = translation.generator_terms(
        networks, out, data, {"adversarial": 1.0, "feature": 1.0}, how=translation.Losses()
    )
    (terms["adversarial"] + terms["feature"]).backward()
    assert out["y"].grad is not None
    assert all(w.grad is None for w in networks["D"].parameters())
    assert all(w.requires_grad for w in networks["D"].parameters())


def test_region_weight(generator: torch.Generator) -> None:
    data = batch(generator)
    assert translation.region_weight(data, {"l1": 1.0}) is None
    weight = translation.region_weight(data, {"lung": 10.0, "vessel": 2.0})
    assert weight is not None
    assert set(weight.unique().tolist()) == {10.0, 2.0}
    flow = torch.zeros(2, 2, 24, 24)
    flow[:, 1] = 1.0
    moved = translation.region_weight(data, {"lung": 10.0}, flow)
    assert moved is not None
    torch.testing.assert_close(moved[..., :-1], 1 + 9 * data["lung"][..., 1:], rtol=0, atol=1e-4)


def test_vitals_change_nothing_and_scale_with_the_weight(generator: torch.Generator) -> None:
    networks = translation.build_networks(SMALL, spatial_dims=2)
    wake(networks)
    active = translation.set_modes(networks, phase("G2", "R", "D", frozen=("G",)))
    data = batch(generator)
    before = {name: module_hash(network) for name, network in networks.items()}
    modes = {name: network.training for name, network in networks.items()}
    how = translation.Losses(scales=(1, 2))
    small = translation.translation_vitals(active, data, WEIGHTS, how=how)
    large = translation.translation_vitals(active, data, WEIGHTS | {"adversarial": 0.3}, how=how)
    assert before == {name: module_hash(network) for name, network in networks.items()}
    assert modes == {name: network.training for name, network in networks.items()}
    assert small["hash/G"] == before["G"]
    for region in ("body", "lung"):
        key = f"gradient_ratio/{region}"
        assert float(small[key]) > 0  # type: ignore[arg-type]
        assert large[key] == pytest.approx(3 * float(small[key]), rel=1e-4)  # type: ignore[arg-type]
    wanted = {"loss/l1", "weighted/ssim", "D/auc", "D/real_mean", "D/fake_mean", "flow/mean"}
    wanted |= {"flow/p95", "flow/folding", "saturated/output", "saturated/target"}
    assert wanted <= small.keys()
    assert small["weighted/ssim"] == pytest.approx(0.2 * float(small["loss/ssim"]))  # type: ignore[arg-type]


@pytest.mark.parametrize("dims", ["2d", "2.5d", "3d"])
@pytest.mark.parametrize("tta", ["none", "flip", "both"])
def test_an_untrained_residual_generator_is_the_identity(dims: str, tta: str) -> None:
    made = chest(shape=(10, 20, 18), generator=torch.Generator().manual_seed(0))
    x = ValueRange(-1000, 600).to(made.ncct.clamp(-1000, 600), SIGNED)
    networks = translation.build_networks(
        SMALL, spatial_dims=3 if dims == "3d" else 2, channels=3 if dims == "2.5d" else 1
    )
    networks = {name: networks[name].eval() for name in ("G",)}
    out = translation.translate_volume(networks, x, dims=dims, size=(8, 16, 16), tta=tta)  # type: ignore[arg-type]
    assert out.shape == x.shape
    if tta == "both":  # rotations interpolate
        assert float((out - x).abs().mean()) < 0.1
    else:
        torch.testing.assert_close(out, x, rtol=0, atol=1e-5)


class KnowsTheFlow(nn.Module):
    """A registration network that is always right."""

    def __init__(self, flow: Tensor) -> None:
        super().__init__()
        self.flow = nn.Parameter(flow)
        self.seen = 0

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        part = self.flow[self.seen : self.seen + len(moving)]
        self.seen += len(moving)
        return part


@pytest.mark.parametrize("dims", ["2d", "3d"])
def test_registration_report_of_the_true_flow(dims: str) -> None:
    motion = (1.0, 2.0, 1.0) if dims == "3d" else (0.0, 2.0, 1.0)
    made = chest(
        shape=(24, 64, 64),
        motion_voxels=motion,
        noise_hu=0,
        generator=torch.Generator().manual_seed(0),
    )
    case = {"cta": made.cta, "flow": made.flow, "is/body": made.labels > 0}
    flow = made.flow[None] if dims == "3d" else made.flow[1:].transpose(0, 1)
    report = translation.registration_report(
        KnowsTheFlow(flow),
        made.cta_aligned,
        case,
        window=ValueRange(-1000, 600),
        dims=dims,
        batch=5,  # type: ignore[arg-type]
    )
    assert report["error"] == 0
    assert report["error_of_zero_flow"] > 0.2
    inside = made.labels > 0
    as_seen = (lambda v: v[None, None]) if dims == "3d" else (lambda v: v[:, None])
    warped = registration.warp(as_seen(made.cta_aligned), flow)
    off = (warped - as_seen(made.cta)).abs()[as_seen(inside)].mean()
    assert report["mae_after"] == pytest.approx(float(off), rel=1e-5)
    assert report["mae_before"] == pytest.approx(
        float((made.cta_aligned - made.cta).abs()[inside].mean()), rel=1e-5
    )
    assert report["mae_after"] < 0.6 * report["mae_before"]  # the rest is interpolation
    assert report["folding"] == 0


def test_hold_out() -> None:
    cases = {name: {"x": torch.zeros(1)} for name in ("a", "b", "c")}
    learn, watch = translation.hold_out(cases, count=1)
    assert (list(learn), list(watch)) == (["a", "b"], ["c"])
    learn, watch = translation.hold_out(cases, count=0)
    assert list(learn) == list(watch) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="val_cases=3"):
        translation.hold_out(cases, count=3)


def test_other_chests_to_train_on_and_the_same_held_out() -> None:
    small = {"shape": (8, 24, 24), "train_cases": 2, "val_cases": 1, "motion": (0.0, 0.5, 0.5)}
    first = translation.ct_pairs(translation.CtConfig(**small))  # type: ignore[arg-type]
    other = translation.ct_pairs(translation.CtConfig(first_case=10, **small))  # type: ignore[arg-type]
    assert list(first) == ["chest000", "chest001", "chest002"]
    assert list(other) == ["chest010", "chest011", "chest002"]
    assert torch.equal(first["chest002"]["ncct"], other["chest002"]["ncct"])
    with pytest.raises(ValueError, match="held-out chests"):
        translation.ct_pairs(translation.CtConfig(first_case=1, **small))  # type: ignore[arg-type]


def test_built_in_pairs_are_scored_against_an_aligned_truth() -> None:
    config = translation.CtConfig(train_cases=1, val_cases=1, shape=(16, 48, 48))
    cases = translation.ct_pairs(config)
    assert sorted(cases) == ["chest000", "chest001"]
    case = cases["chest000"]
    assert not torch.equal(case["cta"], case["truth"])
    assert case["input"].min() >= -1
    assert case["input"].max() <= 1
    assert case["is/vessel"].any()
    assert not (case["is/vessel"] & (case["is/soft"] | case["is/bone"])).any()
    drawn = translation.draw_batch(
        translation.CtConfig(dims="2.5d", size=(32, 32), batch=3),
        cases,
        generator=torch.Generator().manual_seed(0),
    )
    assert drawn["input"].shape == (3, 3, 32, 32)
    assert drawn["target"].shape == (3, 1, 32, 32)
