r"""Non-contrast CT to CT angiography: generator, refiner, registration net, discriminator.

python tasks/ncct2cta.py                                   the built-in case, two minutes on a CPU
python tasks/ncct2cta.py train --cfg tasks/configs/ncct2cta/full.yaml \
    --cfg.data.ncct NCCT_FOLDER --cfg.data.cta CTA_FOLDER
python tasks/ncct2cta.py eval --run outputs/ncct2cta/default
python tasks/ncct2cta.py infer --input scan.nii.gz --output cta.nii.gz
python tasks/ncct2cta.py virtual --cta cta.nii.gz --vessels aorta.nii.gz --output pairs
"""

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from libimg import data, diagnose, figures, io, losses, phantoms, translation
from libimg.ranges import SIGNED, ValueRange
from libimg.train import (
    Best,
    Ema,
    Phase,
    Run,
    RunConfig,
    checkpoint_config,
    cli,
    cosine,
    load_checkpoint,
    load_config,
    load_shared,
    phase_at,
    value_at,
    write_json,
)

DEFAULT = Path(__file__).resolve().parent / "configs" / "ncct2cta" / "default.yaml"
BEST = "outputs/ncct2cta/default/best.pt"
COLUMNS = ("body/psnr", "body/ssim", "body/mae", "lung/sharpness", "vessel/bias", "vessel/mae")


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Learning rate of each network at the start of a phase; half a cosine brings it down."""

    G: float = 1e-3
    G2: float = 1e-3
    R: float = 1e-3
    D: float = 4e-4


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole task.

    Args:
        run: where and how it runs.
        data: volumes and batches.
        networks: G, R, D and G2 with their switches.
        phases: which networks train when, with which weights.
        epoch_steps: steps between two validations.
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
    rates: Rates = field(default_factory=Rates)
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
    d, distance = cfg.networks.discriminator, None
    if any(phase.weights.get("perceptual") for phase in phases):
        path = Path(cfg.perceptual_weights) if cfg.perceptual_weights else None
        distance = losses.PerceptualLoss(cfg.perceptual, value_range=SIGNED, weights_path=path)
    return translation.Losses(
        scales=cfg.scales, mode=d.mode, conditional=d.conditional, perceptual=distance
    )


def train(cfg: Config) -> None:
    """Train, evaluate the best networks and write everything to the run's folder.

    Args:
        cfg: the configuration.
    """
    phases = translation.plan_phases(cfg.phases, cfg.networks)
    run = Run(cfg.run, settings=asdict(cfg))
    cases = translation.ct_pairs(cfg.data)
    learn, watch = translation.hold_out(cases, count=cfg.data.val_cases)
    networks = {name: run.module(name, network) for name, network in build(cfg).items()}
    if cfg.initial:
        load_shared(Path(cfg.initial), networks)
    averages = {n: Ema(networks[n], decay=cfg.ema) for n in ("G", "G2") if n in networks}
    averages = {n: run.module(f"{n}.ema", a) for n, a in averages.items()} if cfg.ema else {}
    learning = {name for phase in phases for name in phase.train}
    adam = partial(torch.optim.AdamW, lr=0.0, betas=(0.5, 0.99), weight_decay=1e-4)
    optimizers = {}
    for name, members in (("makers", ("G", "G2", "R")), ("judge", ("D",))):
        groups = [
            {"params": list(networks[n].parameters()), "name": n} for n in members if n in learning
        ]
        if groups:
            optimizers[name] = run.optimizer(name, adam(groups))
    how, best = loss_settings(cfg, phases), Best()
    run.parts["best"] = best
    run.resume()
    watched = run.share(
        translation.draw_batch(cfg.data, watch, generator=run.generator(0, stream="watch"))
    )
    for step in run.steps(cfg.epoch_steps * sum(phase.epochs for phase in phases)):
        epoch, numbers = step / cfg.epoch_steps, {}
        phase, share = phase_at(phases, epoch)
        active = translation.set_modes(networks, phase)
        weights = {name: value_at(value, epoch) for name, value in phase.weights.items()}
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = getattr(cfg.rates, group["name"]) * cosine(share, warmup=0.02)
        last = (step + 1) % cfg.epoch_steps == 0
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
            numbers |= run.update(optimizers["judge"], sum(judged.values()), measure=last)
        if set(phase.train) - {"D"}:
            with run.autocast():
                out = translation.register(active, y, batch["target"])
                terms = translation.generator_terms(active, out, batch, weights, how=how)
            loss = translation.weighted_sum(terms, weights)
            numbers |= run.update(optimizers["makers"], loss, measure=last)
            for name in averages.keys() & set(phase.train):
                averages[name].update(networks[name])
        if last:
            makers = final_networks(active, averages)
            numbers |= translation.translation_vitals(active, watched, weights, how=how)
            numbers |= {f"weight/{name}": value for name, value in weights.items()}
            numbers |= {
                f"lr/{group['name']}": group["lr"]
                for optimizer in optimizers.values()
                for group in optimizer.param_groups
            }
            scores = score_cases(cfg, makers, watch, tta=False)
            means = {k: v["mean"] for k, v in diagnose.summarise(scores).items()}
            run.log(step + 1, {"phase": phase.name, **numbers, **means})
            if best.beats(means["body/mae"], phase.name):
                run.save("best.pt", step=step + 1)
            run.save("last.pt", step=step + 1)
    run.close()
    if run.main:
        evaluate(str(run.folder))


def final_networks(networks: Any, averages: Any) -> dict[str, nn.Module]:
    """Return G and G2 in eval mode, their averages where they are kept."""
    chosen = {
        n: averages[n].module if n in averages else networks[n]
        for n in ("G", "G2")
        if n in networks
    }
    return {name: network.eval() for name, network in chosen.items()}


def predict(cfg: Config, networks: dict[str, nn.Module], ncct: Tensor, *, tta: bool) -> Tensor:
    """Translate a volume in HU; what lies beyond the window keeps its distance from it."""
    window = cfg.data.hu
    inside = window.clip(ncct)
    y = translation.translate_volume(
        networks,
        window.to(inside, SIGNED),
        dims=cfg.data.dims,
        size=cfg.data.size,
        neighbours=cfg.data.neighbours,
        tta=tta,
    )
    return SIGNED.to(y, window) + (ncct - inside)


def score(cfg: Config, case: dict[str, Tensor], fake: Tensor) -> dict[str, float]:
    """Score one translated volume."""
    return diagnose.translation_scores(
        fake,
        case["truth"],
        value_range=cfg.data.hu,
        regions={name: case[f"is/{name}"] for name in ("body", "lung")},
        tissues={name: case[f"is/{name}"] for name in ("lung", "vessel", "soft", "bone")},
    )


def score_cases(
    cfg: Config, networks: Any, cases: Any, *, tta: bool
) -> dict[str, dict[str, float]]:
    """Translate and score each case."""
    return {
        name: score(cfg, case, predict(cfg, networks, case["ncct"], tta=tta))
        for name, case in cases.items()
    }


def restore(checkpoint: Path) -> tuple[Config, dict[str, nn.Module]]:
    """Build the networks of a checkpoint and fill them."""
    cfg = load_config(Config, checkpoint_config(checkpoint))
    networks = build(cfg)
    averages = {n: Ema(networks[n]) for n in ("G", "G2") if n in networks and cfg.ema}
    parts = networks | {f"{n}.ema": average for n, average in averages.items()}
    load_checkpoint(checkpoint, parts)
    return cfg, networks | final_networks(networks, averages)


@torch.no_grad()
def evaluate(run: str, *, checkpoint: str = "best", tta: bool = False) -> None:
    """Score a finished run on its held-out cases, beside the baselines; write the picture.

    Args:
        run: folder of the run.
        checkpoint: ``best`` of the last phase, or ``last``.
        tta: average over augmented inputs.
    """
    folder = Path(run)
    cfg, networks = restore(folder / f"{checkpoint}.pt")
    learn, watch = translation.hold_out(translation.ct_pairs(cfg.data), count=cfg.data.val_cases)
    table = diagnose.fit_lookup_table(
        [(c["ncct"], c["cta"], c["is/body"]) for c in learn.values()], value_range=cfg.data.hu
    )
    only_g = {"G": networks["G"]}
    methods = {
        "NCCT itself": lambda case: case["ncct"],
        "look-up table": lambda case: table(case["ncct"]),
        "G": lambda case: predict(cfg, only_g, case["ncct"], tta=tta),
    }
    if "G2" in networks:
        methods["G + G2"] = lambda case: predict(cfg, networks, case["ncct"], tta=tta)
    fakes = {m: {name: make(case) for name, case in watch.items()} for m, make in methods.items()}
    rows = {
        m: {name: score(cfg, case, fakes[m][name]) for name, case in watch.items()} for m in methods
    }
    final, final_name = list(fakes.values())[-1], list(rows)[-1]
    means = {m: diagnose.summarise(scores) for m, scores in rows.items()}
    verdict = diagnose.verdict(rows, metric="body/psnr", model=final_name, higher=True)
    result: dict[str, Any] = {
        "checkpoint": f"{checkpoint}.pt",
        "range": {"lo": cfg.data.hu.lo, "hi": cfg.data.hu.hi, "unit": "HU"},
        "masks": "body and lung found in the NCCT; vessel from labels; see docs/tasks/ncct2cta.md",
        "truth": "aligned, noise-free" if not cfg.data.ncct else "the CTA file, where it lies",
        "held_out": cfg.data.val_cases > 0,
        "manifest": {
            f"{name}/{k}": data.tensor_hash(c[k])
            for name, c in watch.items()
            for k in ("ncct", "truth")
        },
        "tta": tta,
        "verdict": verdict,
        "rows": {m: {"mean": means[m], "cases": rows[m]} for m in rows},
    }
    if "R" in networks:
        result["registration"] = {
            name: translation.registration_report(
                networks["R"], final[name], case, window=cfg.data.hu, dims=cfg.data.dims
            )
            for name, case in watch.items()
        }
    write_json(folder / "metrics.json", result)
    name = next(iter(watch))
    draw(cfg, folder / "panel.png", name, watch[name], final[name], table(watch[name]["ncct"]))
    shown = {m: {c: means[m][c]["mean"] for c in COLUMNS} for m in means}
    print(diagnose.markdown_table(shown, columns=COLUMNS))
    for name, numbers in result.get("registration", {}).items():
        print(f"R on {name}: " + ", ".join(f"{k} {v:.3g}" for k, v in numbers.items()))
    print(f"{verdict}\nmean over {len(watch)} held-out cases; everything is in {folder}/")


def draw(cfg: Config, path: Path, name: str, case: Any, fake: Tensor, table: Tensor) -> None:
    """Draw the slice with most vessel, in a mediastinal and a lung window."""
    mask = case["is/vessel"] if case["is/vessel"].any() else case["is/lung"]
    z = int(mask.sum((1, 2)).argmax())
    error = ValueRange(-300, 300, "HU")
    windows = {
        "mediastinum": ValueRange.window(centre=150, width=700, unit="HU"),
        "lung": ValueRange.window(centre=-600, width=1500, unit="HU"),
    }
    volumes = (case["ncct"], table, fake, case["truth"])
    rows = [
        [
            *(figures.Tile(volume[z], window) for volume in volumes),
            figures.Tile((fake - case["truth"])[z], error, colours="RdBu_r"),
        ]
        for window in windows.values()
    ]
    figures.panel(
        path,
        rows,
        columns=("NCCT", "look-up table", "fake CTA", "true CTA", "fake - true"),
        labels=[f"{key}\n{w.lo:g} to {w.hi:g} HU" for key, w in windows.items()],
        title=f"{name}, slice {z}, not seen in training",
    )


@torch.no_grad()
def infer(input: str, output: str, *, checkpoint: str = BEST, tta: bool = False) -> None:
    """Translate a NIfTI file or a folder of them; geometry and HU scale stay those of the input.

    Args:
        input: file or folder.
        output: file, or folder for a folder.
        checkpoint: what to translate with.
        tta: average over augmented inputs.
    """
    source, target = Path(input), Path(output)
    files = io.list_volumes(source)
    cfg, networks = restore(Path(checkpoint))
    for path in files:
        volume = io.read_volume(path, hu=True)
        fake = predict(cfg, networks, volume.data, tta=tta)
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
    print(f"wrote {folder}/ncct, cta and vessel")


if __name__ == "__main__":
    cli({"train": train, "eval": evaluate, "infer": infer, "virtual": virtual}, default=DEFAULT)
