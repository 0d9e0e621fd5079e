"""Faults to plant in the NCCT to CTA task, each with the cause that its diagnosis must name."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from libimg import nets, translation
from tasks import ncct2cta

__all__ = ["FAULTS", "HEALTHY", "planted"]

WEIGHTS = {"l1": 1, "ssim": 0.2, "smooth": 0.05}
HEALTHY: dict[str, Any] = {
    "run": {"progress": False, "accelerator": "cpu"},
    "data": {
        "train_cases": 4,
        "val_cases": 2,
        "shape": [16, 64, 64],
        "size": [48, 48],
        "batch": 4,
        "motion": [0, 2, 1],
    },
    "networks": {
        "generator": {"channels": [8, 16, 32]},
        "discriminator": {"width": 16, "layers": 1, "spectral": False},
    },
    "epoch_steps": 40,
    "rates": {"G": 2e-3, "R": 2e-3, "D": 4e-3},
    "phases": [
        {"name": "G", "epochs": 1, "train": ["G"], "weights": {"l1": 1, "ssim": 0.2}},
        {"name": "G+R", "epochs": 2, "train": ["G", "R"], "weights": WEIGHTS},
        {"name": "D", "epochs": 4, "train": ["D"], "frozen": ["G"]},
        {
            "name": "G+R+D",
            "epochs": 2,
            "train": ["G", "R", "D"],
            "weights": {**WEIGHTS, "adversarial": 0.5},
        },
    ],
}
"""A run that works: small pairs, all networks on, D pulling about a third as hard as the rest."""

Settings = dict[str, Any]
Patches = Mapping[tuple[Any, str], Any]


def _adversarial(weight: float, settings: Settings) -> None:
    settings["phases"][-1]["weights"]["adversarial"] = weight


def _aligned(settings: Settings) -> None:
    """Pairs that lie on each other, no R, a hinge D that also sees the input."""
    settings["data"]["motion"] = [0, 0, 0]
    settings["networks"]["registration"] = {"enabled": False}
    settings["networks"]["discriminator"] |= {"mode": "hinge", "conditional": True}
    _adversarial(0.05, settings)


def _rate_zero(settings: Settings) -> None:
    settings["rates"]["D"] = 0.0


def _misaligned(settings: Settings) -> None:
    settings["data"]["motion"] = [0, 4, 4]
    settings["networks"]["registration"] = {"enabled": False}


def _smoothed(settings: Settings) -> None:
    settings["data"]["motion"] = [0, 4, 4]
    for phase in (settings["phases"][1], settings["phases"][-1]):
        phase["weights"]["smooth"] = 1000


def _conditional(settings: Settings) -> None:
    settings["data"]["motion"] = [0, 4, 4]
    settings["networks"]["discriminator"]["conditional"] = True


def _head_start(settings: Settings) -> None:
    """Let D learn alone for longer, and G against it for less."""
    settings["phases"][2]["epochs"], settings["phases"][3]["epochs"] = 8, 1


def _saturated(settings: Settings) -> None:
    """Let D learn its cue to the end: a head start, and a weight that G does not fight."""
    _head_start(settings)
    _adversarial(0.05, settings)


def _no_change(settings: Settings) -> None:
    """Leave the settings alone: the fault is in the code."""


def _plain(settings: Settings) -> None:
    settings["networks"]["generator"]["residual"] = False


class _NoSkips(nets.UNet):
    """A U-Net whose skip connections carry nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Go down and up again."""
        h = x
        sizes = []
        for level in self.encoder:
            h = level(h)
            sizes.append(h.shape)
        for up, level, shape in zip(self.up, self.decoder, sizes[-2::-1], strict=True):
            h = level(torch.cat((torch.zeros(shape), up(h)), 1))
        out: Tensor = self.head(h)
        return out


def _detached(step: Any, networks: Any, out: Any, batch: Any, weights: Any, *, how: Any) -> Any:
    """Compute the terms of G with the adversarial one cut off."""
    terms = step(networks, out, batch, weights, how=how)
    if "adversarial" in terms:
        terms["adversarial"] = terms["adversarial"].detach().requires_grad_()
    return terms


def _warped_maker(step: Any, networks: Any, out: Any, batch: Any, weights: Any, *, how: Any) -> Any:
    """Show D the picture after the warp, in the step of G."""
    return step(networks, {**out, "y": out["moved"]}, batch, weights, how=how)


def _warped_judge(
    step: Any, networks: Any, y: Any, batch: Any, weights: Any, **options: Any
) -> Any:
    """Show D the picture after the warp, in its own step."""
    with torch.no_grad():
        moved = translation.register(networks, y, batch["target"])["moved"]
    return step(networks, moved, batch, weights, **options)


def _unit_judge(step: Any, networks: Any, y: Any, batch: Any, weights: Any, **options: Any) -> Any:
    """Show D the real picture in [0, 1] and the generated one in [-1, 1]."""
    unit = {**batch, "target": (batch["target"] + 1) / 2}
    return step(networks, y, unit, weights, **options)


def _changed_cases(change: Callable[[dict[str, Tensor]], dict[str, Tensor]], config: Any) -> Any:
    return {name: change(case) for name, case in cached_cases(config).items()}


def _unit_target(case: dict[str, Tensor]) -> dict[str, Tensor]:
    return case | {"target": (case["target"] + 1) / 2}


def _capped(step: Any, networks: Any, y: Any, batch: Any, weights: Any, **options: Any) -> Any:
    """Show D the real picture clipped at 200 HU, as from a file saved in a narrow window."""
    clipped = {**batch, "target": batch["target"].clamp(max=0.5)}
    return step(networks, y, clipped, weights, **options)


def _coarse(step: Any, networks: Any, y: Any, batch: Any, weights: Any, **options: Any) -> Any:
    """Show D the real picture in 9 levels."""
    rounded = {**batch, "target": (batch["target"] * 4).round() / 4}
    return step(networks, y, rounded, weights, **options)


make_cases = translation.ct_pairs
MAKER, JUDGE = translation.generator_terms, translation.discriminator_loss
maker, judge = (translation, "generator_terms"), (translation, "discriminator_loss")
FAULTS: dict[str, tuple[str, Callable[[Settings], None], Patches]] = {
    "healthy": ("healthy", _no_change, {}),
    "healthy, aligned, conditional hinge": ("healthy", _aligned, {}),
    "healthy, D with a head start": ("healthy", _head_start, {}),
    "adversarial weight 0.002": (
        "adversarial weight too small",
        partial(_adversarial, 0.002),
        {},
    ),
    "adversarial weight 20": ("adversarial weight too large", partial(_adversarial, 20.0), {}),
    "learning rate of D 0": ("D does not learn", _rate_zero, {}),
    "D's real clipped at 200 HU": (
        "D uses a trivial cue",
        _saturated,
        {judge: partial(_capped, JUDGE)},
    ),
    "D's real in 9 levels": (
        "D uses a trivial cue",
        _saturated,
        {judge: partial(_coarse, JUDGE)},
    ),
    "misaligned pairs, R off": ("pairs are misaligned and R is off", _misaligned, {}),
    "smoothness of R 1000": ("R is over-smoothed", _smoothed, {}),
    "conditional D, misaligned pairs": (
        "conditional D looks at the misalignment",
        _conditional,
        {},
    ),
    "G without skips": ("G blurs by itself", _plain, {(nets, "UNet"): _NoSkips}),
    "detached gradient": ("detached gradient", _no_change, {maker: partial(_detached, MAKER)}),
    "target in [0, 1]": (
        "wrong data range",
        _no_change,
        {(translation, "ct_pairs"): partial(_changed_cases, _unit_target)},
    ),
    "D's real in [0, 1]": (
        "wrong data range",
        _no_change,
        {judge: partial(_unit_judge, JUDGE)},
    ),
    "D judges the warped picture": (
        "D judges the warped picture",
        _no_change,
        {maker: partial(_warped_maker, MAKER), judge: partial(_warped_judge, JUDGE)},
    ),
}
"""Name to the cause that must be named first, the settings and the code that plant it."""


@lru_cache(maxsize=8)
def cached_cases(config: translation.CtConfig) -> dict[str, dict[str, Tensor]]:
    """Make the chests of a configuration once."""
    return make_cases(config)


@contextmanager
def planted(patches: Patches) -> Iterator[None]:
    """Replace functions of the task for a while."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(translation, "ct_pairs", cached_cases))
        stack.enter_context(mock.patch.object(ncct2cta, "report"))  # slow, and not asked for here
        stack.enter_context(
            mock.patch.object(translation, "validate", return_value={"body/mae": 0.0})
        )
        for (where, name), other in patches.items():
            stack.enter_context(mock.patch.object(where, name, other))
        yield
