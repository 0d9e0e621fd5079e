"""Quick tests of generators, discriminators, registration and wiring, on tiny known cases."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from libimg import diagnose, gan, nets, registration


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def smooth(*shape: int, seed: int = 0) -> Tensor:
    """Blobs of a few voxels."""
    return nn.functional.avg_pool2d(draw(*shape, seed=seed), 3, 1, 1)


def roughness(x: Tensor) -> Tensor:
    """A discriminator that asks for sharp pictures."""
    return x[:, -1:].diff(dim=-1).abs()


def test_blur_auc_knows_who_looks_at_blur() -> None:
    x = draw(6, 1, 16, 16)
    assert diagnose.blur_auc(roughness, x) == 1.0
    assert diagnose.blur_auc(lambda x: -roughness(x), x) == 0.0
    assert diagnose.blur_auc(lambda x: torch.zeros(len(x), 1, 2, 2), x) == 0.5


def test_blur_leaves_the_condition_alone() -> None:
    pair = torch.cat([draw(4, 1, 12, 12), torch.zeros(4, 1, 12, 12)], 1)
    assert diagnose.blur_auc(lambda x: x[:, :1].diff(dim=-1).abs(), pair) == 0.5


def test_blur_keeps_a_constant_and_the_mean_level() -> None:
    seen: list[Tensor] = []

    def judge(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    diagnose.blur_auc(judge, torch.full((1, 1, 9, 9), 3.0))
    torch.testing.assert_close(seen[1], seen[0])


def test_blur_probe_tells_the_able_from_the_blind() -> None:
    g = torch.Generator().manual_seed(0)
    x, other = draw(16, 1, 16, 16), draw(16, 1, 16, 16, seed=1)

    class Mean(nn.Module):
        """Sees the mean of each channel only."""

        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.line(x.mean((2, 3)))
            return out

    def able() -> nn.Module:
        return gan.PatchDiscriminator(2, in_channels=1, width=4, layers=1)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert diagnose.blur_probe(able, x, other, steps=40, rate=5e-3, generator=g) > 0.95
        assert diagnose.blur_probe(Mean, x, other, steps=40, rate=5e-3, generator=g) < 0.75


def test_blur_probe_takes_scales() -> None:
    def make() -> nn.Module:
        return gan.MultiScaleDiscriminator(2, scales=2, in_channels=1, width=2, layers=1)

    g = torch.Generator().manual_seed(0)
    x = draw(4, 1, 24, 24)
    assert 0 <= diagnose.blur_probe(make, x, x, steps=2, batch=2, generator=g) <= 1


def test_shift_auc_needs_a_condition() -> None:
    x = draw(5, 1, 16, 16)
    pair = torch.cat([x, x], 1)
    assert diagnose.shift_auc(lambda p: -(p[:, 1:] - p[:, :1]).abs(), pair, shift=1) == 1.0
    assert diagnose.shift_auc(lambda p: torch.zeros_like(p[:, :1]), pair) == 0.5
    with pytest.raises(ValueError, match="shift"):
        diagnose.shift_auc(lambda p: p, pair, shift=0)


def test_cues() -> None:
    fake = draw(8, 1, 12, 12) * 2 - 1
    capped = fake.clamp(max=0.2)

    def flatness(x: Tensor) -> Tensor:
        return (x >= 0.2 - 1e-6).float() * (x <= 0.2 + 1e-6)

    found = diagnose.cue_probe(flatness, capped, fake)
    assert found["auc"] == 1.0
    assert found["without_plateaus"] == 0.5  # without its cue it knows nothing
    assert found["plateaus"] == pytest.approx(float((fake > 0.2).float().mean()), abs=0.01)
    honest = diagnose.cue_probe(roughness, fake, 0.5 * fake)
    assert honest["auc"] == honest["without_plateaus"] == honest["without_levels"] == 1.0
    flat = diagnose.cue_probe(roughness, torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
    assert flat["auc"] == flat["without_levels"] == 0.5
    assert flat["levels"] == 1.0


@given(st.integers(1, 3), st.integers(0, 3))
@settings(max_examples=8)
def test_levels_move_a_value_by_half_a_level_at_most(steps: int, seed: int) -> None:
    seen: list[Tensor] = []

    def judge(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    fake = draw(2, 1, 6, 6, seed=seed)
    real = (draw(2, 1, 6, 6, seed=seed + 9) * steps).round() / steps
    real[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    diagnose.cue_probe(judge, real, fake)
    snapped = seen[-1]
    assert torch.isin(snapped, real.unique()).all()
    known = real.unique()
    nearest = (fake[..., None] - known).abs().min(-1).values
    torch.testing.assert_close((snapped - fake).abs(), nearest)


class Funnel(nn.Module):
    """Throws the detail away."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 4, 4, 4), nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.up(nn.functional.interpolate(self.down(x), scale_factor=4.0))
        return out


def test_identity_probe() -> None:
    x, other = draw(8, 1, 16, 16), draw(4, 1, 16, 16, seed=1)
    g = torch.Generator().manual_seed(0)

    def residual() -> nn.Module:
        return nets.UNet(2, in_channels=3, channels=(4, 8), residual=True, base_channel=1)

    exact = diagnose.identity_probe(
        residual, x, other, data_range=1.0, channels=3, steps=2, generator=g
    )
    assert exact == {"psnr": math.inf, "sharpness": 1.0}
    blurred = diagnose.identity_probe(Funnel, x, other, data_range=1.0, steps=30, generator=g)
    assert blurred["psnr"] < 25
    assert blurred["sharpness"] < 0.5


@given(st.floats(0.5, 3), st.integers(2, 3))
@settings(max_examples=6)
def test_known_shift_is_found_by_who_knows_it(shift: float, axes: int) -> None:
    size = (16,) * axes
    images = draw(1, 1, *size)
    answers = itertools.product(range(axes), (1.0, -1.0))

    def register(moving: Tensor, fixed: Tensor) -> Tensor:
        axis, sign = next(answers)
        flow = torch.zeros(1, axes, *size)
        flow[:, axis] = sign * shift
        torch.testing.assert_close(registration.warp(moving, flow), fixed)
        return flow

    found = diagnose.known_shift_probe(register, images, shift=shift)
    assert found == pytest.approx({"error": 0.0, "recovered": 1.0}, abs=1e-6)


def test_known_shift_of_half_the_way_and_refusal() -> None:
    images = draw(2, 1, 16, 16)
    answers = itertools.product(range(2), (1.0, -1.0))

    def half(moving: Tensor, fixed: Tensor) -> Tensor:
        axis, sign = next(answers)
        flow = torch.zeros(2, 2, 16, 16)
        flow[:, axis] = sign * 1.5
        return flow

    found = diagnose.known_shift_probe(half, images, shift=3.0, mask=torch.ones(2, 1, 16, 16))
    assert found == pytest.approx({"error": 1.5, "recovered": 0.5})
    with pytest.raises(ValueError, match="shift"):
        diagnose.known_shift_probe(half, images, shift=0.0)


@given(st.integers(-2, 2), st.integers(-2, 2))
@settings(max_examples=6)
def test_local_shifts_find_a_shift_through_a_change_of_contrast(y: int, x: int) -> None:
    image = draw(1, 1, 40, 40)
    found = diagnose.local_shifts(3 * image.roll((y, x), (-2, -1)) - 7, image)
    assert found["shift"] == pytest.approx(math.hypot(y, x), abs=0.2)
    assert found["ncc"] + found["gain"] == pytest.approx(1.0, abs=1e-3)


def test_local_shifts_in_parts_of_a_voxel_and_in_3d() -> None:
    image = smooth(1, 1, 48, 48)
    flow = torch.zeros(1, 2, 48, 48)
    flow[:, 1] = 1.5
    assert diagnose.local_shifts(registration.warp(image, flow), image)["shift"] == pytest.approx(
        1.5, abs=0.15
    )
    volume = draw(1, 1, 14, 14, 14)
    found = diagnose.local_shifts(volume.roll(1, -3), volume, reach=1, block=6)
    assert found["shift"] == pytest.approx(1.0, abs=0.1)


def test_local_shifts_without_anything_to_see() -> None:
    flat = torch.zeros(1, 1, 40, 40)
    assert math.isnan(diagnose.local_shifts(flat, flat)["shift"])
    image = draw(1, 1, 40, 40)
    assert math.isnan(diagnose.local_shifts(image, image, mask=flat)["shift"])
    with pytest.raises(ValueError, match="block"):
        diagnose.local_shifts(image[..., :20, :20], image[..., :20, :20])


def test_inputs_seen_takes_its_hook_away() -> None:
    judge = nn.Identity()

    def fails() -> None:
        judge(torch.ones(1))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        diagnose.inputs_seen(judge, fails)
    assert not judge._forward_pre_hooks
    image = draw(2).requires_grad_()
    (seen,) = diagnose.inputs_seen(judge, lambda: judge(image))
    assert not seen.requires_grad


def test_weight_change() -> None:
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    assert diagnose.weight_change(a, a) == 0.0
    with torch.no_grad():
        for ours, theirs in zip(a.parameters(), b.parameters(), strict=True):
            ours.copy_(1.25 * theirs)
    assert diagnose.weight_change(a, b) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="different weights"):
        diagnose.weight_change(a, nn.Linear(3, 2))
    with torch.no_grad():
        for weight in b.parameters():
            weight.zero_()
    assert diagnose.weight_change(b, b) == 0.0


def test_range_probe() -> None:
    x = draw(2, 1, 20, 20) * 2 - 1
    found = diagnose.range_probe(x, x, lo=-1, hi=1)
    assert found["outside"] == 0.0
    assert found["offset"] == 0.0
    assert found["spread"] == 1.0
    assert found["fill"] > 0.98
    other = diagnose.range_probe(2 * x, x, lo=-1, hi=1)
    assert other["outside"] == pytest.approx(0.5, abs=0.1)
    assert other["spread"] == pytest.approx(0.5)
    assert diagnose.range_probe(0 * x, x, lo=-1, hi=1)["spread"] == math.inf
