r"""Hearts from any part of them: label maps in, all classes out as meshes and label maps.

python tasks/heart.py                                    phantom hearts, three minutes on a CPU
python tasks/heart.py prepare LABELS --output CASES      label NIfTIs to training cases
python tasks/heart.py train --cfg tasks/configs/heart/small.yaml --cfg.data.folder CASES
python tasks/heart.py train --cfg.phase 3 --cfg.start outputs/heart/default/best.pt \
    --cfg.run.name phase3
python tasks/heart.py eval outputs/heart/default
python tasks/heart.py infer PARTIAL.nii.gz --output FOLDER
python tasks/heart.py fit LABELS.nii.gz --output FOLDER
"""

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from libimg import completion, diagnose, nets
from libimg._extras import optional
from libimg.completion import Batch, Completer, Drop, HeartData, Plan, Sampling, Weights
from libimg.completion.complete import check_targets
from libimg.completion.decode import cube_grid
from libimg.io import case_name, list_volumes
from libimg.phantoms import HEART_CLASSES
from libimg.train import (
    Ahead,
    Best,
    Run,
    RunConfig,
    checkpoint_config,
    cli,
    cosine,
    load_checkpoint,
    load_config,
    load_shared,
    write_json,
)

DEFAULT = Path(__file__).resolve().parent / "configs" / "heart" / "default.yaml"
BEST = "outputs/heart/default/best.pt"
LEVELLED = 24  # training cases beside those of validation that set the levels of the surfaces


@dataclass(frozen=True, kw_only=True)
class Network:
    """The autoencoder, and the flow over its latents.

    Args:
        preset: ``tiny`` (a CPU), ``small`` (a GPU of 12 GB) or ``base`` (the size of VecSetX).
        frequencies: octaves of the positions' waves, 0 for those of the preset; few of them answer
            smoothly, which is what few cases and few steps can support.
        bottleneck: ``none``, ``kl`` or ``normalised``; the latter suits the flow.
        flow_width: of the flow; it is only built if ``flow_steps`` is above 0.
        flow_layers: of the flow.
    """

    preset: Literal["tiny", "small", "base"] = "tiny"
    frequencies: int = 0
    bottleneck: Literal["none", "kl", "normalised"] = "normalised"
    flow_width: int = 128
    flow_layers: int = 4


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole task.

    Args:
        run: where and how it runs.
        data: hearts and how they become batches.
        phase: 0 one class; 1 all in, all out; 2 some in, all out; 3 two data sets with different
            labels; 4 partial labels.
        start: checkpoint that phases 3 and 4 go on from; any other phase may, too.
        classes: name to label.
        network: its size.
        weights: of the loss.
        steps: of the autoencoder.
        flow_steps: of the flow afterwards: several completions of one input instead of one.
        check_every: steps between two validations.
        rate: peak learning rate; a cosine leads to zero.
        weight_decay: of AdamW.
        workers: threads that prepare the next batches.
        stride: every how many voxels of the labels are scored.
    """

    run: RunConfig = field(default_factory=lambda: RunConfig(folder="outputs/heart"))
    data: HeartData = field(default_factory=HeartData)
    phase: int = 2
    start: str = ""
    classes: dict[str, int] = field(default_factory=lambda: dict(HEART_CLASSES))
    network: Network = field(default_factory=Network)
    weights: Weights = field(default_factory=Weights)
    steps: int = 400
    flow_steps: int = 0
    check_every: int = 100
    rate: float = 1e-3
    weight_decay: float = 0.01
    workers: int = 1
    stride: int = 1


def data(cfg: Config, folder: Path) -> Plan:
    """Collect the cases of a phase; phantom hearts are built beside the runs."""
    show = cfg.run.progress
    how: Any = {"classes": cfg.classes, "seed": cfg.run.seed, "progress": show}
    paths = completion.prepared(cfg.data, folder / "hearts", **how)
    plan = completion.make_plan(cfg.phase, cfg.data, paths, seed=cfg.run.seed)
    if plan.classes != cfg.classes:
        msg = f"the cases have the classes {plan.classes}, but cfg.classes are {cfg.classes}"
        raise ValueError(msg)
    return plan


def build(cfg: Config) -> Completer:
    """Build the network; untrained, it answers with the mean shape."""
    torch.manual_seed(cfg.run.seed)
    kind, size = nets.VecSetAutoencoder, cfg.network
    more: Any = {"frequencies": size.frequencies} if size.frequencies else {}
    more["bottleneck"] = size.bottleneck
    net = kind.preset(size.preset, classes=len(cfg.classes), **more)
    flow = None
    if cfg.flow_steps:
        how: Any = {"width": size.flow_width, "layers": size.flow_layers}
        how["latents"] = net.latents if net.queries == "learned" else None
        flow = nets.LatentFlow(channels=net.latent_channels, **how)
    return Completer(net, grid=cfg.data.sampling.grid, flow=flow)


def train(cfg: Config) -> None:
    """Train a phase, score it and write everything to the run's folder.

    Args:
        cfg: the configuration.
    """
    run = fit(cfg)
    if run.main:
        report(run.folder)


def fit(cfg: Config) -> Run:
    """Train the autoencoder, then the flow, and keep the best and the last weights."""
    if cfg.phase in (3, 4) and not cfg.start:
        msg = "phases 3 and 4 go on from a trained network: --cfg.start outputs/heart/NAME/best.pt"
        raise ValueError(msg)
    run = Run(cfg.run, settings=asdict(cfg))
    plan, model = data(cfg, run.folder.parent), build(cfg)
    for name, part in model.parts().items():
        run.module(name, part)
    if cfg.start:
        load_shared(Path(cfg.start), model.parts())
    completion.learn_shape(model, plan.cases)
    optimizers = [optimizer(cfg, run, name) for name in ("net", "flow") if name in model.parts()]
    best = run.parts["best"] = Best()
    run.resume()
    centre = model.shape.centre

    def draw(step: int) -> Batch:
        how = plan.how(cfg.data) | {"generator": run.generator(step), "centre": centre}
        return completion.draw_batch(plan.sets, **how)

    total = cfg.steps + cfg.flow_steps
    batches = Ahead(draw, workers=cfg.workers, total=total)
    for step in run.steps(total):
        late = step >= cfg.steps
        if step == cfg.steps and step > 0:
            load_checkpoint(run.folder / "best.pt", {"net": model.net})
        share = (step - cfg.steps) / cfg.flow_steps if late else step / cfg.steps
        for group in optimizers[late].param_groups:
            group["lr"] = cfg.rate * cosine(share, warmup=0.05, final=0.0)
        batch = Batch(**run.share(batches(step)._asdict()))
        seed = run.generator(step, stream="noise").initial_seed()
        noise = torch.Generator(run.device).manual_seed(seed)
        with run.autocast():
            if late:
                loss = completion.flow_loss(model, batch, noise)
            else:
                loss = completion.shape_loss(model, batch, cfg.weights, cfg.data.sampling, noise)
        last = (step + 1) % cfg.check_every == 0 or step + 1 in (cfg.steps, total)
        numbers = run.update(optimizers[late], loss, measure=last)
        if last and run.main:
            how = plan.how(cfg.data) | {"centre": centre}
            score = completion.held_error(model, plan.held, how, flow=late)
            run.log(step + 1, {"loss": float(loss.detach()), **numbers, "val/error": score})
            if best.beats(score, "flow" if late else "shape"):
                calibrate(cfg, model, plan, late=late)
                run.save("best.pt", step=step + 1)
        if last:
            run.save("last.pt", step=step + 1)
    run.close()
    return run


def calibrate(cfg: Config, model: Completer, plan: Plan, *, late: bool) -> None:
    """Choose the levels of the surfaces, and the spread of draws on validation cases."""
    drop = cfg.data.drop if cfg.phase == 2 else Drop()
    held, learnt = (
        [c for cases in sets for c in cases[:n]]
        for sets, n in ((plan.held, 4), (plan.sets, LEVELLED))
    )
    asked = completion.questions(held, drop=drop, each=2, seed=cfg.run.seed)
    more = completion.questions(learnt, drop=drop, seed=cfg.run.seed)
    model.eval()
    if not late:
        completion.fit_levels(model, [*asked, *more], inputs=cfg.data.inputs)
    if late or cfg.network.bottleneck == "kl":
        completion.fit_spread(model, asked, inputs=cfg.data.inputs)
    model.train()


def optimizer(cfg: Config, run: Run, name: str) -> torch.optim.Optimizer:
    """Build the optimizer of the autoencoder or the flow."""
    weights = run.parts[name].parameters()
    adam = torch.optim.AdamW(weights, lr=cfg.rate, weight_decay=cfg.weight_decay)
    return run.optimizer(name, adam)


def restore(checkpoint: Path) -> tuple[Config, Completer]:
    """Build the network of a checkpoint, fill it, and make it ready to use."""
    cfg = load_config(Config, checkpoint_config(checkpoint))
    model = build(cfg)
    load_checkpoint(checkpoint, model.parts())
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return cfg, model


def at_least(lowest: int, **values: int) -> None:
    """Raise ``ValueError`` unless every named number is the lowest that makes sense, or more."""
    for name, value in values.items():
        if value < lowest:
            msg = f"{name} must be {lowest} or more, got {value}"
            raise ValueError(msg)


def evaluate(run: str, *, checkpoint: str = "best", stride: int = 0, samples: int = 8) -> None:
    """Score a finished run on the cases held out, beside the baselines.

    Args:
        run: folder of the run.
        checkpoint: ``best`` or ``last``.
        stride: every how many voxels of the labels are scored; 0 takes that of the run.
        samples: completions of each case, where the network can draw them; at least 2.
    """
    at_least(0, stride=stride)
    at_least(2, samples=samples)
    report(Path(run), checkpoint=checkpoint, stride=stride, samples=samples)


def report(folder: Path, *, checkpoint: str = "best", stride: int = 0, samples: int = 8) -> None:
    """Write ``metrics.json`` and ``panel.png`` of a run, and print the tables."""
    cfg, model = restore(folder / f"{checkpoint}.pt")
    plan = data(cfg, folder.parent)
    models = {"network": model}
    if cfg.phase in (3, 4):
        models["before"] = restore(Path(cfg.start))[1]
    baselines = completion.fit_baselines(plan.cases, model.shape.centre)
    how: Any = {"inputs": cfg.data.inputs, "stride": stride or cfg.stride}
    how |= {"progress": cfg.run.progress}
    result: dict[str, Any] = {"phase": cfg.phase, "unit": "mm; dice within [0, 1]", "groups": {}}
    for group, asked in plan.asked.items():
        found = completion.evaluate(models, baselines, asked, **how)
        if model.flow is not None or cfg.network.bottleneck == "kl":
            draws: Any = {"inputs": cfg.data.inputs, "number": samples}
            found["samples"] = completion.sample_scores(model, asked, **draws)
        result["groups"][group] = found
        print(f"\n{group}: {len(asked)} questions, voxels of {found['grid_mm']} mm")
        print(completion.scores_text(found))
    write_json(folder / "metrics.json", result)
    shown = next(iter(plan.asked.values()))[:2]
    completion.completion_sheet(folder / "panel.png", model, shown, inputs=cfg.data.inputs)
    print(f"Look at {folder}/panel.png first; every case is in {folder}/metrics.json.")


def prepare(
    input: str,
    *,
    output: str,
    labelled: list[str] | None = None,
    classes: dict[str, int] | None = None,
    sampling: Sampling | None = None,
    workers: int = 2,
    seed: int = 0,
) -> None:
    """Turn label NIfTIs into training cases; a stopped run goes on, bad files are listed.

    Args:
        input: file or folder.
        output: folder for the cases.
        labelled: classes that this data set annotates: one that a file lacks is absent there.
            If not given, what a file lacks counts as unlabelled.
        classes: name to label; the ten of the heart if not given.
        sampling: points of each case.
        workers: processes; with 1 no other is started.
        seed: of the points.
    """
    at_least(1, workers=workers)
    table = dict(HEART_CLASSES) if classes is None else classes
    how: Any = {"classes": table, "labelled": labelled, "sampling": sampling, "workers": workers}
    counts = {"prepared": 0, "kept": 0, "failed": 0}
    say = optional("tqdm", extra="tasks").tqdm.write
    found = completion.prepare_folder(Path(input), Path(output), **how, seed=seed, progress=True)
    for outcome in found:
        counts[outcome.state] += 1
        say(f"{outcome.state}: {outcome.source} {outcome.notes}".rstrip())
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    if counts["failed"]:
        sys.exit(f"error: {counts['failed']} files could not be prepared, see above")


def infer(
    input: str,
    *,
    output: str,
    model: str = BEST,
    observed: list[str] | None = None,
    spacing_mm: float = 2.0,
    samples: int = 0,
    keep: bool = True,
    suffix: str = ".ply",
) -> None:
    """Complete the heart of a label map with any subset of classes: label map and meshes.

    Args:
        input: NIfTI file, or a folder of them.
        output: folder.
        model: checkpoint.
        observed: classes to look at; those with a voxel if not given.
        spacing_mm: of the distances that are asked for.
        samples: draw so many different completions instead of one.
        keep: leave the labels that were given as they are.
        suffix: of the meshes: ``.ply``, ``.vtp``, ``.obj``, or ``.stl`` (one file a class).
    """
    at_least(0, samples=samples)
    names = {
        path: [f"{case_name(path)}_sample{i}" for i in range(samples)] or [case_name(path)]
        for path in list_volumes(Path(input))
    }
    check_targets(names, Path(output), suffix=suffix)
    cfg, net = restore(Path(model))
    cube_grid(cfg.data.sampling.half_mm, spacing_mm=spacing_mm)
    how: Any = {"classes": cfg.classes, "inputs": cfg.data.inputs, "observed": observed}
    how |= {"sampling": cfg.data.sampling, "spacing_mm": spacing_mm}
    failed = 0
    for path, own in names.items():
        for number, name in enumerate(own):
            try:
                draw = number if samples else None
                done = completion.complete_file(path, net, sample=draw, **how)
                files = completion.write_completion(
                    done, Path(output), name=name, keep=keep, suffix=suffix
                )
            except (ValueError, OSError, MemoryError, RuntimeError) as error:
                failed += 1
                reason = str(error).removeprefix(f"{path}: ") or type(error).__name__
                print(f"failed: {path}: {reason}")
                break
            given = [n for n, o in zip(cfg.classes, done.observed, strict=True) if o]
            print(f"{path}: from {', '.join(given)} -> {', '.join(map(str, files))}")
    if failed:
        sys.exit(f"error: {failed} files failed, see above")


def reconstruct(
    input: str,
    *,
    output: str,
    model: str = BEST,
    steps: int = 300,
    weights: bool = False,
    spacing_mm: float = 1.5,
) -> None:
    """Fit latents to a label map, write what the decoder makes of them, and score it.

    Args:
        input: NIfTI file.
        output: folder.
        model: checkpoint.
        steps: of the fit; 0 leaves it at the encoder's answer.
        weights: also fit a copy of the decoder to this one heart.
        spacing_mm: of the distances that are asked for.
    """
    at_least(0, steps=steps)
    check_targets({Path(input): [case_name(Path(input))]}, Path(output))
    cfg, net = restore(Path(model))
    how: Any = {"classes": cfg.classes, "inputs": cfg.data.inputs, "spacing_mm": spacing_mm}
    rows: dict[str, dict[str, float]] = {}
    for name, count in (("encoder", 0), ("fitted", steps)):
        fitting: Any = {"fit_steps": count, "fit_weights": weights}
        done = completion.complete_file(
            Path(input), net, sampling=cfg.data.sampling, **how, **fitting
        )
        rows[name] = completion.dice_of(done)
    for path in completion.write_completion(done, Path(output), keep=False):
        print(path)
    print(diagnose.markdown_table(rows, columns=list(rows["fitted"])))


if __name__ == "__main__":
    commands: dict[str, Any] = {"train": train, "prepare": prepare, "eval": evaluate}
    commands |= {"infer": infer, "fit": reconstruct}
    cli(commands, default=DEFAULT, positional=True)
