r"""Non-contrast CT to CT angiography: generator, refiner, registration net, discriminator.

python tasks/ncct2cta.py                                   the built-in case, two minutes on a CPU
python tasks/ncct2cta.py train --cfg tasks/configs/ncct2cta/full.yaml \
    --cfg.data.ncct NCCT_FOLDER --cfg.data.cta CTA_FOLDER
python tasks/ncct2cta.py eval --run outputs/ncct2cta/default
python tasks/ncct2cta.py diagnose --run outputs/ncct2cta/default     why is the picture blurred?
python tasks/ncct2cta.py infer --input scan.nii.gz --output cta.nii.gz
python tasks/ncct2cta.py virtual --cta cta.nii.gz --vessels aorta.nii.gz --output pairs
"""

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from libimg import data, diagnose, io, phantoms, translation
from libimg.train import (
    Best,
    Ema,
    Phase,
    Run,
    RunConfig,
    checkpoint_config,
    cli,
    load_checkpoint,
    load_config,
    load_shared,
    phase_at,
    value_at,
    write_json,
)

DEFAULT = Path(__file__).resolve().parent / "configs" / "ncct2cta" / "default.yaml"
BEST = "outputs/ncct2cta/default/best.pt"
Augmentation = Literal["none", "flip", "rotate", "both"]
COLUMNS = ("body/psnr", "body/ssim", "body/mae", "lung/sharpness", "vessel/bias", "vessel/mae")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole task.

    Args:
        run: where and how it runs.
        data: volumes and batches.
        networks: G, R, D and G2 with their switches.
        phases: which networks train when, with which weights.
        epoch_steps: steps between two validations.
        best: score that decides which checkpoint is best.pt; lower is better.
        rates: learning rates.
        ema: decay of the average of G and G2 that is evaluated; 0 evaluates the last weights.
        scales: pyramid of the L1 and SSIM losses, such as [1, 2, 4].
        perceptual: backbone of the perceptual loss, where that has a weight.
        perceptual_weights: its weights on disk, where they cannot be downloaded.
        initial: checkpoint whose networks this run starts from.
    """

    run: RunConfig = field(default_factory=lambda: RunConfig(folder="outputs/ncct2cta"))
    data: translation.CtConfig = field(default_factory=translation.CtConfig)
    networks: translation.NetworksConfig = field(default_factory=translation.NetworksConfig)
    phases: tuple[Phase, ...] = ()
    epoch_steps: int = 50
    best: Literal["body/mae", "lung/mae", "vessel/mae"] = "body/mae"
    rates: translation.Rates = field(default_factory=translation.Rates)
    ema: float = 0.0
    scales: tuple[int, ...] = (1,)
    perceptual: str = "lpips-alex"
    perceptual_weights: str = ""
    initial: str = ""


def build(cfg: Config) -> dict[str, nn.Module]:
    """Build the networks that are switched on."""
    dims = 3 if cfg.data.dims == "3d" else 2
    return translation.build_networks(
        cfg.networks, spatial_dims=dims, channels=cfg.data.channels, seed=cfg.run.seed
    )


def loss_settings(cfg: Config, phases: tuple[Phase, ...]) -> translation.Losses:
    """Collect what the losses need; a perceptual backbone is loaded only if it has a weight."""
    return translation.losses_of(
        cfg.networks.discriminator,
        *(phase.weights for phase in phases),
        scales=cfg.scales,
        perceptual=cfg.perceptual,
        perceptual_weights=cfg.perceptual_weights,
    )


def train(cfg: Config) -> None:
    """Train, evaluate the best networks and write everything to the run's folder.

    Args:
        cfg: the configuration.
    """
    phases = translation.plan_phases(cfg.phases, cfg.networks)
    how = loss_settings(cfg, phases)
    cases = translation.ct_pairs(cfg.data)
    learn, watch = translation.hold_out(cases, count=cfg.data.val_cases)
    run = Run(cfg.run, settings=asdict(cfg))
    networks = {name: run.module(name, network) for name, network in build(cfg).items()}
    if cfg.initial:
        load_shared(Path(cfg.initial), networks)
    makers: dict[str, nn.Module] = {n: networks[n] for n in ("G", "G2") if n in networks}
    averages = {name: Ema(net, decay=cfg.ema) for name, net in makers.items() if cfg.ema}
    for name, average in averages.items():
        run.module(f"{name}.ema", average)
    opts, best = translation.build_optimizers(run, networks, phases), Best()
    run.parts["best"] = best
    run.resume()
    seen = translation.draw_batch(cfg.data, watch, generator=run.generator(0, stream="watch"))
    watched = run.share(seen)
    for step in run.steps(cfg.epoch_steps * sum(phase.epochs for phase in phases)):
        epoch = step / cfg.epoch_steps
        phase, share = phase_at(phases, epoch)
        active = translation.set_modes(networks, phase)
        weights = {name: value_at(value, epoch) for name, value in phase.weights.items()}
        last = (step + 1) % cfg.epoch_steps == 0
        rates = translation.set_rates(opts, cfg.rates, share=share)
        numbers: dict[str, Any] = {"phase": phase.name, **rates}
        drawn = translation.draw_batch(cfg.data, learn, generator=run.generator(step))
        batch = run.share(drawn)
        with run.autocast():
            y = translation.generate(active, batch["input"])
        if "D" in phase.train:  # D's step is over before G's backward begins
            every = cfg.networks.discriminator.r1_every
            with run.autocast():
                judged = translation.discriminator_loss(
                    active, y, batch, weights, how=how, r1_every=0 if step % every else every
                )
            loss = torch.stack(list(judged.values())).sum()
            numbers |= run.update(opts["judge"], loss, measure=last)
        if set(phase.train) - {"D"}:
            with run.autocast():
                out = translation.register(active, y, batch["target"])
                terms = translation.generator_terms(active, out, batch, weights, how=how)
            loss = translation.weighted_sum(terms, weights)
            numbers |= run.update(opts["makers"], loss, measure=last)
            for name in averages.keys() & set(phase.train):
                averages[name].update(networks[name])
        if last and run.main:
            numbers |= translation.translation_vitals(active, watched, weights, how=how)
            final = {name: averages.get(name, net).eval() for name, net in makers.items()}
            means = translation.validate(final, watch, config=cfg.data)
            shown = {f"weight/{name}": value for name, value in weights.items()}
            run.log(step + 1, {**numbers, **shown, **means})
            if best.beats(means[cfg.best], phase.name):
                run.save("best.pt", step=step + 1)
        if last:
            run.save("last.pt", step=step + 1)
    run.close()
    if run.main:
        report(run.folder, cases)


def restore(checkpoint: Path) -> tuple[Config, dict[str, nn.Module]]:
    """Build the networks of a checkpoint and fill them, G and G2 with their averages if kept."""
    cfg = load_config(Config, checkpoint_config(checkpoint))
    networks = build(cfg)
    averages = {n: Ema(networks[n]) for n in ("G", "G2") if n in networks and cfg.ema}
    parts = networks | {f"{name}.ema": average for name, average in averages.items()}
    load_checkpoint(checkpoint, parts)
    return cfg, {name: net.eval() for name, net in (networks | averages).items()}


def evaluate(run: str, *, checkpoint: str = "best", tta: Augmentation = "none") -> None:
    """Score a finished run on its held-out cases, beside the baselines; write the picture.

    Args:
        run: folder of the run.
        checkpoint: ``best`` of the last phase, or ``last``.
        tta: average over a flipped input, rotated inputs, both or neither.
    """
    cfg, _ = restore(Path(run) / f"{checkpoint}.pt")
    report(Path(run), translation.ct_pairs(cfg.data), checkpoint=checkpoint, tta=tta)


@torch.no_grad()
def report(
    folder: Path,
    cases: dict[str, dict[str, Tensor]],
    *,
    checkpoint: str = "best",
    tta: Augmentation = "none",
) -> None:
    """Write ``metrics.json`` and ``panel.png`` of a run, and print the table."""
    cfg, networks = restore(folder / f"{checkpoint}.pt")
    learn, watch = translation.hold_out(cases, count=cfg.data.val_cases)
    table = diagnose.fit_lookup_table(
        [(case["ncct"], case["cta"], case["is/body"]) for case in learn.values()],
        value_range=cfg.data.hu,
    )
    translate = partial(translation.translate_hu, config=cfg.data, tta=tta)
    methods = {
        "NCCT itself": lambda case: case["ncct"],
        "look-up table": lambda case: table(case["ncct"]),
        "G": lambda case: translate({"G": networks["G"]}, case["ncct"]),
    }
    if "G2" in networks:
        methods["G + G2"] = lambda case: translate(networks, case["ncct"])
    result, fakes = translation.evaluation(methods, watch, window=cfg.data.hu)
    result |= {
        "checkpoint": f"{checkpoint}.pt",
        "tta": tta,
        "held_out": cfg.data.val_cases > 0,
        "truth": "the CTA as it lies" if cfg.data.ncct else "aligned with the NCCT, noise-free",
    }
    if "R" in networks:
        result["registration"] = {
            name: translation.registration_report(
                networks["R"], fakes[name], case, window=cfg.data.hu, dims=cfg.data.dims
            )
            for name, case in watch.items()
        }
    write_json(folder / "metrics.json", result)
    name, case = next(iter(watch.items()))
    pictures = {"look-up table": table(case["ncct"]), "fake CTA": fakes[name]}
    translation.ct_panel(folder / "panel.png", name, case, pictures)
    means = {m: {c: row["mean"][c]["mean"] for c in COLUMNS} for m, row in result["rows"].items()}
    final = list(means)[-1]
    means |= {f"{final} on {n}": scores for n, scores in result["rows"][final]["cases"].items()}
    print(diagnose.markdown_table(means, columns=COLUMNS))
    for column in COLUMNS:
        low, high = result["rows"][final]["mean"][column]["interval"]
        print(
            f"{final} {column}: {means[final][column]:.4g}, 95 % interval {low:.4g} to {high:.4g}"
        )
    for name, numbers in result.get("registration", {}).items():
        print(f"R on {name}: " + ", ".join(f"{k} {v:.3g}" for k, v in numbers.items()))
    kind = "held-out" if result["held_out"] else "TRAINING"
    print(f"{result['verdict']}\nMeans over {len(watch)} {kind} cases, {cfg.data.hu}.")
    print(f"Everything is in {folder}/: look at panel.png first.")


def measure(
    folder: Path, *, checkpoint: str = "last", patches: int = 32, steps: int = 200
) -> tuple[Config, dict[str, float], dict[str, str]]:
    """Collect what decides about a run: numbers by name, and what could not be measured."""
    records, path = translation.read_log(folder / "metrics.jsonl"), folder / f"{checkpoint}.pt"
    cfg = load_config(Config, checkpoint_config(path))
    networks, start = build(cfg), build(cfg)
    epoch = max(load_checkpoint(path, networks) - 1, 0) / cfg.epoch_steps
    if cfg.initial:
        load_shared(Path(cfg.initial), start)
    phases = translation.plan_phases(cfg.phases, cfg.networks)
    fresh = replace(cfg, run=replace(cfg.run, seed=cfg.run.seed + 1))
    numbers, notes = translation.examine_networks(
        networks,
        start,
        translation.ct_pairs(cfg.data),
        make=lambda name: build(fresh)[name],
        config=cfg.data,
        phase=phase_at(phases, epoch)[0],
        epoch=epoch,
        how=loss_settings(cfg, phases),
        maker_step=translation.generator_terms,
        judge_step=translation.discriminator_loss,
        patches=patches,
        steps=steps,
    )
    return cfg, numbers | translation.examine_log(records), notes


def diagnosis(run: str, *, checkpoint: str = "last", patches: int = 32, steps: int = 200) -> None:
    """Say why the picture is still blurred: the deciding numbers, the causes, what to try next.

    Args:
        run: folder of the run.
        checkpoint: ``last`` or ``best``.
        patches: held-out patches that are looked at.
        steps: training steps of each quick test that trains a fresh network.
    """
    cfg, numbers, notes = measure(Path(run), checkpoint=checkpoint, patches=patches, steps=steps)
    print(translation.write_diagnosis(Path(run), asdict(cfg), numbers, notes))


@torch.no_grad()
def infer(input: str, output: str, *, checkpoint: str = BEST, tta: Augmentation = "none") -> None:
    """Translate a NIfTI file or a folder of them; geometry and HU scale stay those of the input.

    Args:
        input: file or folder.
        output: file, or folder for a folder.
        checkpoint: what to translate with.
        tta: average over a flipped input, rotated inputs, both or neither.
    """
    source, target = Path(input), Path(output)
    files = io.list_volumes(source)
    cfg, networks = restore(Path(checkpoint))
    for path in files:
        volume = io.read_volume(path, hu=True)
        fake = translation.translate_hu(networks, volume.data, config=cfg.data, tta=tta)
        written = target / path.name if source.is_dir() else target
        io.write_volume(written, fake, like=volume)
        print(f"{path} -> {written}")


def virtual(cta: str, vessels: list[str], output: str, *, blood_hu: float = 40.0) -> None:
    """Make a pair from a contrast scan and its labels: a virtual NCCT beside the scan.

    Args:
        cta: contrast scan.
        vessels: label files on its grid; every labelled voxel counts as enhanced blood.
        output: folder; the pair goes to its sub-folders ncct, cta and vessel.
        blood_hu: blood without contrast.
    """
    scan, folder = io.read_volume(Path(cta), hu=True), Path(output)
    blood = torch.zeros_like(scan.data, dtype=torch.bool)
    for path in vessels:
        label = io.read_volume(Path(path), allow_constant=True)
        data.same_geometry(scan, label)
        blood |= label.data > 0
    plain = phantoms.virtual_noncontrast(scan.data, blood, blood_hu=blood_hu)
    for part, volume in (("ncct", plain), ("cta", scan.data), ("vessel", blood.float())):
        io.write_volume(folder / part / Path(cta).name, volume, like=scan)
    print(f"{folder}/: ncct, cta and vessel written")


if __name__ == "__main__":
    cli(
        {
            "train": train,
            "eval": evaluate,
            "diagnose": diagnosis,
            "infer": infer,
            "virtual": virtual,
        },
        default=DEFAULT,
    )
