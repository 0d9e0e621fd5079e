"""The networks of a paired translation, each with its switch, and who of them takes part when."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import nn

from libimg import gan, nets
from libimg.train import Phase

__all__ = [
    "DiscriminatorConfig",
    "GeneratorConfig",
    "NetworksConfig",
    "RefinerConfig",
    "RegistrationConfig",
    "build_networks",
    "plan_phases",
    "set_modes",
]

WEIGHTS = (
    *("l1", "ssim", "gradient", "perceptual", "adversarial", "feature", "smooth"),
    *("lung", "vessel", "r1"),
)
"""Names that a phase may give a weight."""


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """G, a U-Net.

    Args:
        channels: features of each level; the brief's 61 M are in the full configuration.
        residual: add the output to the input, so that G starts as the identity.
    """

    channels: tuple[int, ...] = (16, 32, 64, 128)
    residual: bool = True


@dataclass(frozen=True, kw_only=True)
class RegistrationConfig:
    """R, which moves the generated image onto the target before they are compared.

    Args:
        enabled: the switch.
        attention: one self-attention layer at the bottleneck.
        velocity_steps: squarings of a stationary velocity field; 0 predicts the flow itself.
        half_resolution: predict at half the resolution: smoother, and cheaper in 3-D.
    """

    enabled: bool = True
    attention: bool = False
    velocity_steps: int = 0
    half_resolution: bool = False


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """D, which judges the generated image before it is moved.

    Args:
        enabled: the switch.
        mode: the GAN loss.
        conditional: D also sees the input.
        spectral: spectral normalisation.
        width: features of the first layer.
        layers: strided layers; the receptive field is 16, 34, 70, 142 for 1 to 4.
        scales: discriminators on a pooled pyramid.
        r1_every: interval of the lazy R1 penalty, in steps.
    """

    enabled: bool = True
    mode: Literal["lsgan", "hinge", "vanilla"] = "lsgan"
    conditional: bool = False
    spectral: bool = True
    width: int = 32
    layers: int = 2
    scales: int = 1
    r1_every: int = 16


@dataclass(frozen=True, kw_only=True)
class RefinerConfig:
    """G2, which refines the output of a frozen G.

    Args:
        enabled: the switch.
        inputs: channels that it sees.
        head: an added residual, or a gain and a residual.
        width: features of each layer.
        blocks: residual blocks.
        dilated: the dilation doubles from block to block.
    """

    enabled: bool = False
    inputs: tuple[Literal["x", "y", "product", "product_nonneg"], ...] = ("x", "y")
    head: Literal["residual", "affine"] = "residual"
    width: int = 16
    blocks: int = 3
    dilated: bool = True


@dataclass(frozen=True, kw_only=True)
class NetworksConfig:
    """All four networks, each with its own switch.

    Args:
        generator: G, always on.
        registration: R.
        discriminator: D.
        refiner: G2.
    """

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    registration: RegistrationConfig = field(default_factory=RegistrationConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    refiner: RefinerConfig = field(default_factory=RefinerConfig)

    @property
    def names(self) -> frozenset[str]:
        """Names of the networks that are switched on: G, G2, R, D."""
        switches = {
            "G": True,
            "G2": self.refiner.enabled,
            "R": self.registration.enabled,
            "D": self.discriminator.enabled,
        }
        return frozenset(name for name, on in switches.items() if on)


def build_networks(
    config: NetworksConfig, *, spatial_dims: int, channels: int = 1, seed: int = 0
) -> dict[str, nn.Module]:
    """Build the networks that are switched on.

    Args:
        config: see `NetworksConfig`.
        spatial_dims: 2 or 3.
        channels: channels of G's input; the middle one is the slice that is translated.
        seed: of the weights; each network has its own stream, so that a switch changes no other.

    Returns:
        ``G`` and, where switched on, ``G2``, ``R`` and ``D``.

    Example:
        >>> sorted(build_networks(NetworksConfig(), spatial_dims=2))
        ['D', 'G', 'R']
    """
    g, r, d, g2 = config.generator, config.registration, config.discriminator, config.refiner
    makers: dict[str, Callable[[], nn.Module]] = {
        "G": lambda: nets.UNet(
            spatial_dims,
            in_channels=channels,
            channels=g.channels,
            residual=g.residual,
            base_channel=channels // 2,
        ),
        "G2": lambda: nets.Refiner(
            spatial_dims,
            inputs=g2.inputs,
            head=g2.head,
            width=g2.width,
            blocks=g2.blocks,
            dilated=g2.dilated,
        ),
        "R": lambda: nets.RegistrationUNet(
            spatial_dims,
            attention=r.attention,
            velocity_steps=r.velocity_steps,
            half_resolution=r.half_resolution,
        ),
        "D": lambda: gan.MultiScaleDiscriminator(
            spatial_dims,
            scales=d.scales,
            in_channels=1 + d.conditional,
            width=d.width,
            layers=d.layers,
            spectral=d.spectral,
        ),
    }
    built: dict[str, nn.Module] = {}
    for index, (name, make) in enumerate(makers.items()):
        if name in config.names:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1000 * seed + index)
                built[name] = make()
    return built


def plan_phases(phases: Sequence[Phase], config: NetworksConfig) -> tuple[Phase, ...]:
    """Take the networks that are switched off out of the phases, and check what is left.

    Args:
        phases: as configured.
        config: the switches.

    Returns:
        The phases in which something still trains.

    Raises:
        ValueError: a phase names an unknown network or weight, trains G under G2, leaves G out,
            or no phase is left.

    Example:
        >>> phase = Phase(name="all", epochs=1, train=("G", "R", "D"))
        >>> off = NetworksConfig(discriminator=DiscriminatorConfig(enabled=False))
        >>> plan_phases([phase], off)[0].train
        ('G', 'R')
    """
    kept = []
    for phase in phases:
        unknown = sorted(set(phase.weights) - set(WEIGHTS))
        unknown += sorted(phase.networks - {"G", "G2", "R", "D"})
        if unknown:
            msg = f"phase {phase.name!r}: unknown {unknown}; networks are G, G2, R, D "
            msg += f"and weights {', '.join(WEIGHTS)}"
            raise ValueError(msg)
        if config.refiner.enabled and "G" in phase.train:
            msg = f"phase {phase.name!r}: G2 refines a frozen G, so list G under frozen"
            raise ValueError(msg)
        if "G" not in phase.networks:
            msg = f"phase {phase.name!r}: G must be listed under train or frozen"
            raise ValueError(msg)
        train = tuple(name for name in phase.train if name in config.names)
        frozen = tuple(name for name in phase.frozen if name in config.names)
        if train:
            kept.append(replace(phase, train=train, frozen=frozen))
    if not kept:
        msg = f"phases: nothing left to train with {sorted(config.names)} switched on"
        raise ValueError(msg)
    return tuple(kept)


def set_modes(networks: Mapping[str, nn.Module], phase: Phase) -> dict[str, nn.Module]:
    """Let the networks of a phase train or freeze, and return those that take part.

    A frozen network is in eval mode and its weights ask for no gradient, so that neither batch
    statistics nor an optimiser can move it.

    Args:
        networks: all networks.
        phase: the current phase.
    """
    for name, network in networks.items():
        network.train(name in phase.train).requires_grad_(name in phase.train)
    return {name: network for name, network in networks.items() if name in phase.networks}
