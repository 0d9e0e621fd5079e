"""The numbers of one validation that decide about a GAN, in one flat record."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from libimg import diagnose
from libimg.train import module_hash
from libimg.translation.steps import (
    Losses,
    discriminator_loss,
    generate,
    generator_terms,
    register,
    weighted_sum,
)

__all__ = ["translation_vitals"]


def translation_vitals(
    networks: Mapping[str, nn.Module],
    batch: Mapping[str, Tensor],
    weights: Mapping[str, float],
    *,
    how: Losses,
) -> dict[str, object]:
    """Measure losses, gradients, D and R on one batch without changing anything.

    Args:
        networks: those that take part, as ``set_modes`` left them.
        batch: ``input``, ``target``, ``lung``, ``vessel``, ``body``; the same at each validation.
        weights: of the current epoch.
        how: see `Losses`.

    Returns:
        ``loss/<term>`` and ``weighted/<term>``; ``gradient_ratio/<region>`` of the adversarial to
        all other losses at the output; ``D/real_mean``, ``D/fake_mean``, ``D/auc`` and
        ``D/loss``; ``flow/mean``, ``flow/p95`` (voxels), ``flow/folding``; ``saturated``, the
        share of the output at the ends of the range, and of the target;
        ``hash/G`` while G is frozen.
    """
    modes = {network: network.training for network in networks.values()}
    for network in modes:
        network.eval()  # spectral normalisation iterates in train mode
    with torch.enable_grad():
        y = generate(networks, batch["input"]).detach().requires_grad_()
        out = register(networks, y, batch["target"])
        terms = generator_terms(networks, out, batch, weights, how=how)
    record: dict[str, object] = {
        f"loss/{name}": float(value.detach()) for name, value in terms.items()
    }
    record |= {f"weighted/{name}": weights[name] * float(v.detach()) for name, v in terms.items()}
    pictures = "l1 ssim gradient perceptual smooth"
    if "adversarial" in terms and set(terms) & set(pictures.split()):
        ratios = diagnose.gradient_vitals(
            weighted_sum(terms, weights, without=pictures),
            weighted_sum(terms, weights, without="adversarial feature"),
            y,
            masks={"body": batch["body"], "lung": batch["lung"]},
        )
        record |= {f"gradient_ratio/{name}": value for name, value in ratios.items()}
    if "D" in networks:
        with torch.no_grad():
            loss = discriminator_loss(networks, y, batch, {}, how=how)["adversarial"]
            real = networks["D"](how.seen(batch, batch["target"]))
            fake = networks["D"](how.seen(batch, y))
        record |= {"D/loss": float(loss)}
        record |= {f"D/{k}": v for k, v in diagnose.discriminator_vitals(real, fake).items()}
    if "flow" in out:
        vitals = diagnose.flow_vitals(out["flow"], mask=batch["body"])
        record |= {f"flow/{name}": value for name, value in vitals.items()}
    record["saturated/output"] = float(diagnose.saturated_share(y.detach()).mean())
    record["saturated/target"] = float(diagnose.saturated_share(batch["target"]).mean())
    if not any(weight.requires_grad for weight in networks["G"].parameters()):
        record["hash/G"] = module_hash(networks["G"])
    for network, training in modes.items():
        network.train(training)
    return record
