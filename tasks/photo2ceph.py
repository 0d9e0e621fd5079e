r"""Profile photograph to lateral X-ray, judged by landmarks; why a run trains but is not usable.

python tasks/photo2ceph.py                                  built-in heads, two minutes on a CPU
python tasks/photo2ceph.py train --cfg tasks/configs/photo2ceph/full.yaml --cfg.data.folder FOLDER
python tasks/photo2ceph.py audit --folder FOLDER            look at the files before anything else
python tasks/photo2ceph.py eval --run outputs/photo2ceph/default
python tasks/photo2ceph.py infer --input photo.jpg --output OUT
python tasks/photo2ceph.py diagnose --run outputs/photo2ceph/default
python tasks/photo2ceph.py grid                             lambda of L1: 100, 80, 60, equal seeds
python tasks/photo2ceph.py story                            from a failed small run to the verdict
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from libimg import cephalometry, diagnose, io, translation
from libimg._extras import optional
from libimg.cephalometry import Detector, Frame, Framed, HeadPair, Heads
from libimg.train import (
    Best,
    Muon,
    Run,
    RunConfig,
    checkpoint_config,
    cli,
    cosine,
    load_config,
    load_shared,
    write_json,
)

DEFAULT = Path(__file__).resolve().parent / "configs" / "photo2ceph" / "default.yaml"
STORY = DEFAULT.with_name("story.yaml")
GATE = DEFAULT.with_name("gate.yaml")
GRADIENT = 10.0  # weight of the gradient loss in the repaired run of the story
BEST = "outputs/photo2ceph/default/best.pt"
SHOWN = 3  # held-out cases in the picture of every run
COLUMNS = ("mre", "delta_mre", "sdr2", "sharpness", "ssim", "psnr", "l1")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole task.

    Args:
        run: where and how it runs.
        data: pairs of photograph and X-ray.
        frame: the picture that G works in: letterbox with a region, or a square squash.
        judge_frame: the picture in which every run is judged, whatever its own frame.
        networks: G and D.
        weights: of the losses: l1, gradient, ssim, perceptual, adversarial, feature.
        steps: of training.
        batch: pairs in a step.
        check_every: steps between two validations.
        best: score that decides which checkpoint is best.pt.
        rates: peak learning rates of G (Muon) and D (AdamW); half a cosine brings them down.
        jitter: largest shift as a share of the frame, and largest change of scale.
        detector: the judge, trained on real X-rays, and the baseline, trained on photographs.
        perceptual: backbone of the perceptual loss, where that has a weight.
        perceptual_weights: its weights on disk, where they cannot be downloaded.
    """

    run: RunConfig = field(default_factory=lambda: RunConfig(folder="outputs/photo2ceph"))
    data: Heads = field(default_factory=Heads)
    frame: Frame = field(default_factory=Frame)
    judge_frame: Frame = field(default_factory=Frame)
    networks: translation.NetworksConfig = field(default_factory=translation.NetworksConfig)
    weights: dict[str, float] = field(default_factory=lambda: {"l1": 100.0, "adversarial": 1.0})
    steps: int = 400
    batch: int = 4
    check_every: int = 100
    best: Literal["mre", "l1"] = "mre"
    rates: dict[str, float] = field(default_factory=lambda: {"G": 1e-2, "D": 4e-4})
    jitter: float = 0.0
    detector: Detector = field(default_factory=Detector)
    perceptual: str = "lpips-alex"
    perceptual_weights: str = ""


def train(cfg: Config) -> None:
    """Train, evaluate the best network and write everything to the run's folder.

    Args:
        cfg: the configuration.
    """
    if fit(cfg):
        report(Path(cfg.run.folder) / cfg.run.name)


def fit(cfg: Config) -> bool:
    """Train G against D, keep the best and the last weights; tell whether to write a report."""
    cfg = replace(cfg, data=replace(cfg.data, landmarks=cephalometry.landmark_names(cfg.data)))
    split = cephalometry.divide(cfg.data)
    names = split.train[: cfg.data.train or None]
    learn = list(cephalometry.framed_pairs(cfg.data, names, cfg.frame).values())
    watch = list(cephalometry.load_pairs(cfg.data, split.held_out))
    run = Run(cfg.run, settings=asdict(cfg))
    net = run.module("judge", judge_of(cfg, split))  # infer needs it where the X-rays are not
    judge = cephalometry.points_of(net, stride=cfg.detector.stride)
    built = translation.build_networks(cfg.networks, spatial_dims=2, channels=3, seed=cfg.run.seed)
    networks = {name: run.module(name, network) for name, network in built.items()}
    opts, best = optimizers(cfg, run, networks), Best()
    how = translation.losses_of(
        cfg.networks.discriminator,
        cfg.weights,
        perceptual=cfg.perceptual,
        perceptual_weights=cfg.perceptual_weights,
    )
    run.parts["best"] = best
    run.resume()
    for step in run.steps(cfg.steps):
        for name, optimizer in opts.items():
            for group in optimizer.param_groups:
                group["lr"] = cfg.rates[name] * cosine(step / cfg.steps, warmup=0.02)
        numbers: dict[str, Any] = {}
        last = (step + 1) % cfg.check_every == 0 or step + 1 == cfg.steps
        drawn = cephalometry.draw_framed(
            learn, batch=cfg.batch, jitter=cfg.jitter, generator=run.generator(step)
        )
        batch = run.share(drawn)
        with run.autocast():
            y = networks["G"](batch["input"]) * batch["mask"]
        if "D" in networks:  # D's step is over before G's backward begins
            with run.autocast():
                judged = translation.discriminator_loss(networks, y, batch, cfg.weights, how=how)
            numbers |= run.update(opts["D"], judged["adversarial"], measure=last)
        with run.autocast():
            out = {"y": y, "moved": y}
            terms = translation.generator_terms(networks, out, batch, cfg.weights, how=how)
        loss = translation.weighted_sum(terms, cfg.weights)
        numbers |= run.update(opts["G"], loss, measure=last)
        if last and run.main:
            numbers |= {f"loss/{name}": float(term.detach()) for name, term in terms.items()}
            scores = validate(cfg, networks["G"], watch, judge)
            run.log(step + 1, numbers | {f"val/{name}": value for name, value in scores.items()})
            if best.beats(scores[cfg.best], "train"):
                run.save("best.pt", step=step + 1)
        if last:
            run.save("last.pt", step=step + 1)
    run.close()
    return run.main


def optimizers(cfg: Config, run: Run, networks: dict[str, nn.Module]) -> dict[str, Optimizer]:
    """Build Muon for G, whose first and last layer take Adam's step, and AdamW for D."""
    made = {"G": run.optimizer("G", Muon(networks["G"], lr=0.0, adam=("encoder.0", "head")))}
    if "D" in networks:
        adam = torch.optim.AdamW(networks["D"].parameters(), lr=0.0, betas=(0.5, 0.99))
        made["D"] = run.optimizer("D", adam)
    return made


def judge_of(cfg: Config, split: cephalometry.Split) -> nn.Module:
    """Train or read the judge: a landmark detector that has only seen real X-rays."""
    pairs = cephalometry.framed_pairs(cfg.data, split.train, cfg.judge_frame)
    return detector(cfg, pairs, source="target")


def detector(
    cfg: Config, pairs: dict[str, Framed], *, source: Literal["input", "target"]
) -> nn.Module:
    """Train or read a landmark detector of X-rays (target) or photographs (input)."""
    made_from = {"frame": asdict(cfg.judge_frame), "cases": sorted(pairs), "marks": cfg.data.marks}
    return cephalometry.detector_of(
        cfg.run, list(pairs.values()), detector=cfg.detector, source=source, made_from=made_from
    )


def translate(cfg: Config, net: nn.Module, photo: Tensor) -> Tensor:
    """Make an X-ray in the judge's frame from a photograph ``(3, h, w)`` in [0, 1]."""
    return cephalometry.translate_photo(net, photo, frame=cfg.frame, judge_frame=cfg.judge_frame)


def validate(
    cfg: Config, net: nn.Module, watch: list[HeadPair], judge: Callable[[Tensor], Tensor]
) -> dict[str, float]:
    """Score G on the held-out cases: L1, sharpness, and the judge's error in millimetres."""
    cases = {pair.name: cephalometry.framed(pair, cfg.judge_frame) for pair in watch}
    fakes = {pair.name: translate(cfg, net, pair.photo) for pair in watch}
    real = {name: case.xray for name, case in cases.items()}
    result = cephalometry.evaluate_heads(
        {"real": real, "G": fakes}, {}, cases, judge=judge, names=watch[0].names
    )
    net.train()
    return {name: value["mean"] for name, value in result["rows"]["G"]["mean"].items()}


def evaluate(run: str, *, checkpoint: Literal["best", "last"] = "best") -> None:
    """Score a finished run on its held-out cases, beside the baselines; write the picture.

    Args:
        run: folder of the run.
        checkpoint: ``best`` or ``last``.
    """
    report(Path(run), checkpoint=checkpoint)


def restore(path: Path) -> tuple[Config, nn.Module, Callable[[Tensor], Tensor]]:
    """Build G and the judge of a checkpoint and fill them."""
    cfg = load_config(Config, checkpoint_config(path))
    built = translation.build_networks(cfg.networks, spatial_dims=2, channels=3)
    count, stride = len(cfg.data.landmarks), cfg.detector.stride
    judge = cephalometry.build_detector(cfg.detector, inputs=1, landmarks=count, seed=0)
    load_shared(path, {"G": built["G"], "judge": judge})
    return cfg, built["G"].eval(), cephalometry.points_of(judge.eval(), stride=stride)


def report(folder: Path, *, checkpoint: str = "best") -> dict[str, Any]:
    """Write ``metrics.json`` and ``panel.png`` of a run, and print the table."""
    cfg, net, judge = restore(folder / f"{checkpoint}.pt")
    split, seen = cephalometry.divide(cfg.data), cfg.judge_frame
    learn = cephalometry.framed_pairs(cfg.data, split.train[: cfg.data.train or None], seen)
    watch = {pair.name: pair for pair in cephalometry.load_pairs(cfg.data, split.held_out)}
    fakes = {name: translate(cfg, net, pair.photo) for name, pair in watch.items()}
    rival = detector(cfg, learn, source="input")
    how: Any = {"judge": judge, "judge_frame": seen}
    result = cephalometry.compare_heads(
        fakes,
        watch,
        learn,
        direct=cephalometry.points_of(rival, stride=cfg.detector.stride),
        frame=cfg.frame,
        **how,
    )
    result |= {"manifest": split.manifest, "checkpoint": f"{checkpoint}.pt", "train": len(learn)}
    result |= {"frame": asdict(cfg.frame), "judge_frame": asdict(cfg.judge_frame)}
    write_json(folder / "metrics.json", result)
    how |= {"errors": errors_of(result), "fixed": split.held_out[:SHOWN]}
    cephalometry.run_panel(folder / "panel.png", fakes, watch, **how)
    print(diagnose.markdown_table(means_of(result), columns=COLUMNS))
    print(f"\n{result['verdict']}")
    print(f"Means over {len(watch)} held-out cases; mre and delta_mre in mm, l1 in [-1, 1].")
    print(f"Everything is in {folder}/: look at panel.png first.")
    return result


def errors_of(result: dict[str, Any]) -> dict[str, float]:
    """Take the landmark error of each held-out case of G, in millimetres."""
    return {name: row["mre"] for name, row in result["rows"]["G"]["cases"].items()}


def means_of(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Take the means of every row."""
    rows = result["rows"].items()
    return {name: {c: row["mean"][c]["mean"] for c in COLUMNS} for name, row in rows}


@torch.no_grad()
def infer(input: str, output: str, *, checkpoint: str = BEST) -> None:
    """Make X-rays from photographs, on their own grid, with the landmarks that the judge finds.

    Args:
        input: photograph or folder of them; orientation, CMYK, gray and 16 bits are handled.
        output: folder for ``NAME.png`` and ``NAME.csv``.
        checkpoint: what to translate with; the judge is in it.
    """
    cfg, net, judge = restore(Path(checkpoint))
    for path in io.list_images(Path(input)):
        picture = io.read_image(path)
        photo = io.as_rgb(picture.image)
        box = cephalometry.box_of(cfg.judge_frame, photo.shape[1:])
        fake = translate(cfg, net, photo)
        xray = box.source_image(fake[None], fill=-1.0)[0]
        target = Path(output) / f"{path.stem}.png"
        io.write_image(target, io.Picture((xray + 1) / 2))
        found = box.source_points(judge(fake[None])[0])
        points = cephalometry.within(found, photo.shape[1:])
        marks = target.with_suffix(".csv")
        cephalometry.write_landmarks(marks, cfg.data.landmarks, points)
        said = f" ({', '.join(picture.notes)})" if picture.notes else ""
        lost = int(points.isnan().any(1).sum())
        said += f", {lost} landmarks outside the picture left out" if lost else ""
        print(f"{path}{said} -> {target}")


def audit(*, folder: str = "", output: str = "outputs/photo2ceph/audit", count: int = 80) -> None:
    """Check pictures and say what stands out, with its evidence; nothing is left out by itself.

    Args:
        folder: with ``photo`` and ``xray``; built-in heads if empty. A folder of pictures without
            these two is checked picture by picture.
        output: folder for ``audit.json`` and ``audit.md``.
        count: of the built-in heads.
    """
    table = cephalometry.audit_heads(
        Heads(folder=folder, count=count, marks="faulty"), progress=True
    )
    write_json(Path(output) / "audit.json", table)
    text = cephalometry.audit_text(table)
    (Path(output) / "audit.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def explain(run: str, *, failed_mm: float = 4.0) -> cephalometry.Diagnosis:
    """Say why a run is not usable: what each cause costs in millimetres, and what to try next.

    Args:
        run: folder of the run.
        failed_mm: a case with a larger landmark error has failed.
    """
    folder = Path(run)
    cfg, net, judge = restore(folder / "best.pt")
    split = cephalometry.divide(cfg.data)
    sides = {"held out": split.held_out, "train": split.train[: cfg.data.train or None]}
    pairs = {
        side: {pair.name: pair for pair in cephalometry.load_pairs(cfg.data, names)}
        for side, names in sides.items()
    }
    fakes = {
        side: {name: translate(cfg, net, pair.photo) for name, pair in some.items()}
        for side, some in pairs.items()
    }
    found = cephalometry.diagnose_heads(
        pairs,
        fakes,
        judge=judge,
        frame=cfg.frame,
        judge_frame=cfg.judge_frame,
        weights=cfg.weights,
        flags=cephalometry.flags_of(cephalometry.audit_heads(cfg.data, split.held_out)),
        failed_mm=failed_mm,
    )
    causes = [asdict(cause) for cause in found.causes]
    write_json(folder / "diagnosis.json", {"causes": causes, "flags": found.flags})
    (folder / "diagnosis.md").write_text(found.text + "\n", encoding="utf-8")
    print(found.text)
    return found


def curve(*, settings: Path = STORY, sizes: tuple[int, ...] = (8, 16, 32)) -> dict[str, Any]:
    """Train on fewer cases, predict the error on all, and say whether data or method is missing.

    Args:
        settings: configuration file of the runs.
        sizes: of the training sets, each part of the next.
    """
    cfg = load_config(Config, settings)
    everything = len(cephalometry.divide(cfg.data).train)
    runs = [run_named(cfg, f"n{size}", train=size) for size in sizes]
    errors = [list(errors_of(run).values()) for run in runs]
    found = diagnose.learning_curve(sizes, errors, predict_at=everything, same_cases=True)
    write_json(Path(cfg.run.folder) / f"{cfg.run.name}-curve.json", asdict(found))
    print(found.text)
    return asdict(found)


def grid(*, settings: Path = DEFAULT, l1: tuple[float, ...] = (100, 80, 60)) -> None:
    """Train the same run with several weights of L1, with equal seeds, and compare.

    Args:
        settings: configuration file of the runs.
        l1: weights.
    """
    cfg = load_config(Config, settings)
    runs = {
        f"L1 x {weight:g}": run_named(
            replace(cfg, weights=cfg.weights | {"l1": weight}), f"l1-{weight:g}"
        )
        for weight in l1
    }
    rows = {name: means_of(result)["G"] for name, result in runs.items()}
    print(diagnose.markdown_table(rows, columns=COLUMNS))


def run_named(cfg: Config, name: str, *, train: int | None = None) -> dict[str, Any]:
    """Train and score a run under a name of its own, or read its scores if it is finished."""
    size = cfg.data.train if train is None else train
    cfg = replace(
        cfg,
        run=replace(cfg.run, name=f"{cfg.run.name}-{name}"),
        data=replace(cfg.data, train=size),
    )
    fit(cfg)
    return report(Path(cfg.run.folder) / cfg.run.name)


def story(*, settings: Path = STORY, sizes: tuple[int, ...] = (8, 16, 32)) -> None:
    """Replay a failure and its repair: small squashed run, diagnosis, more cases, repair, verdict.

    Args:
        settings: configuration file of the first run; the repaired one takes the judge's region
            and a gradient loss.
        sizes: of the training sets of the learning curve; the last one is the failed run.
    """
    cfg = load_config(Config, settings)
    folder, gate = Path(cfg.run.folder), gate_of(GATE)
    found = curve(settings=settings, sizes=sizes)
    failed = folder / f"{cfg.run.name}-n{sizes[-1]}"
    causes = explain(str(failed))
    large = run_named(cfg, "all", train=0)
    weights = cfg.weights | {"gradient": GRADIENT}
    better = replace(cfg, frame=replace(cfg.judge_frame, size=cfg.frame.size), weights=weights)
    repaired = run_named(better, "repaired", train=0)
    small = json.loads((failed / "metrics.json").read_text(encoding="utf-8"))
    runs = {"small, squashed": small, "all cases, squashed": large, "repaired": repaired}
    places = (failed.name, f"{cfg.run.name}-all", f"{cfg.run.name}-repaired")
    panels = {name: folder / place / "panel.png" for name, place in zip(runs, places, strict=True)}
    sections = cephalometry.tell(runs, causes=causes, curve=found, gate=gate, panels=panels)
    report, page = cephalometry.write_report(folder / "story.md", "Photo to X-ray", sections)
    print(report.read_text(encoding="utf-8"))
    print(f"{report} and {page} written.")


def gate_of(path: Path) -> diagnose.Gate:
    """Read the thresholds of a gate."""
    content = optional("yaml", extra="tasks").safe_load(path.read_text(encoding="utf-8"))
    return diagnose.Gate.from_dict(content)


COMMANDS: dict[str, Callable[..., object]] = {
    "train": train,
    "audit": audit,
    "eval": evaluate,
    "infer": infer,
    "diagnose": explain,
    "curve": curve,
    "grid": grid,
    "story": story,
}

if __name__ == "__main__":
    cli(COMMANDS, default=DEFAULT)
