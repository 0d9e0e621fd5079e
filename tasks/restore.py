r"""Photographs with noise and JPEG artefacts to clean ones: training, evaluation, files, demo.

python tasks/restore.py                                  scikit-image's photographs, two minutes
python tasks/restore.py preview                          see what the network will be given
python tasks/restore.py train --cfg tasks/configs/restore/full.yaml --cfg.data.photos FOLDER
python tasks/restore.py eval --run outputs/restore/default
python tasks/restore.py infer photo.jpg                  with the network that comes with libimg
python tasks/restore.py infer FOLDER --output OTHER --model outputs/restore/default/best.pt
python tasks/restore.py export model.onnx --model outputs/restore/default/best.pt
python tasks/restore.py demo
"""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from libimg import diagnose, figures, inference, losses, restoration
from libimg._extras import optional
from libimg.degradations import Degradation, DegradationParams, curriculum, histogram
from libimg.demo import serve
from libimg.ranges import ValueRange
from libimg.restoration import Network, Photo, Restorer
from libimg.train import (
    Ahead,
    Best,
    Muon,
    Run,
    RunConfig,
    checkpoint_config,
    cli,
    cosine,
    load_config,
    write_json,
)

DEFAULT = Path(__file__).resolve().parent / "configs" / "restore" / "default.yaml"
RANGE = ValueRange(0, 1, "[0, 1]")
LEVELS = 8 / 255  # mean error of a patch that counts half as much as a clean one
LOSSES: dict[str, Callable[..., Tensor]] = {
    "l1": losses.l1,
    "charbonnier": losses.charbonnier,
    "psnr": partial(losses.psnr, data_range=RANGE),
}
WATCHED = restoration.frozen_grid((5, 25), (10, 90))
SHOWN = {
    "noise 25": DegradationParams(sigma=25),
    "JPEG 10": DegradationParams(quality=10),
    "noise 25, JPEG 30": DegradationParams(sigma=25, quality=30),
}
COLUMNS = ("input psnr", "blur psnr", "restored psnr", "gain", "input ssim", "restored ssim")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Photographs and patches of them.

    Args:
        photos: folder to train on, with all below it; those of scikit-image if empty.
        test_photos: folder to test on; others of scikit-image if empty.
        name: of the photographs to train on, in words; it is written into every model file.
        validation: how many of the photographs to train on are kept back, to choose the best step.
        patch: height and width of a training patch.
        batch: patches in a step.
        gray_share: share of the patches that are turned gray.
        test_size: largest height and width to test on, cut from the middle; 0 for all.
    """

    photos: str = ""
    test_photos: str = ""
    name: str = "photographs of scikit-image"
    validation: int = 2
    patch: int = 256
    batch: int = 8
    gray_share: float = 0.1
    test_size: int = 0


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole task.

    Args:
        run: where and how it runs.
        data: photographs.
        degradation: what is drawn for each patch.
        gray: what is drawn for gray patches; the same as for colour if null.
        start: what is drawn at first, lighter; it moves to ``degradation`` over ``curriculum``.
        curriculum: share of the training that the way from light to heavy takes; 0 for none.
        network: between degraded and restored.
        init: file of weights to begin with, ``shipped`` for those of libimg; at random if empty.
        loss: of pixels.
        ssim: weight of 1 - SSIM beside it.
        relative_from: share of the training after which a patch counts less the worse it was, so
            that the network learns to leave good photographs alone; 1 for never.
        optimizer: Muon for the convolutions inside, or Adam for all.
        steps: of training.
        check_every: steps between two validations.
        rate: peak learning rate; a cosine leads to zero.
        workers: threads that prepare the next batches.
    """

    run: RunConfig = field(default_factory=lambda: RunConfig(folder="outputs/restore"))
    data: Data = field(default_factory=Data)
    degradation: Degradation = field(default_factory=Degradation)
    gray: Degradation | None = None
    start: Degradation = field(
        default_factory=lambda: Degradation(sigma_range=(0, 15), quality_range=(60, 95))
    )
    curriculum: float = 0.0
    network: Network = field(default_factory=Network)
    init: str = ""
    loss: Literal["l1", "charbonnier", "psnr"] = "l1"
    ssim: float = 0.0
    relative_from: float = 1.0
    optimizer: Literal["muon", "adam"] = "muon"
    steps: int = 1000
    check_every: int = 250
    rate: float = 3e-3
    workers: int = 2


def train(cfg: Config) -> None:
    """Train, test the best network and write everything to the run's folder.

    Args:
        cfg: the configuration.
    """
    run = fit(cfg)
    if run.main:
        report(run.folder)


def fit(cfg: Config) -> Run:
    """Train the network and keep the best and the last weights."""
    run = Run(cfg.run, settings=asdict(cfg))
    photos, watch = split(cfg.data)
    net = restoration.build(cfg.network).to(memory_format=torch.channels_last)
    if cfg.init:
        restoration.load_weights(net, "" if cfg.init == "shipped" else cfg.init)
    net = run.module("net", net)
    optimizer, best = run.optimizer("net", optimizer_of(cfg, net)), Best()
    run.parts["best"] = best
    run.resume()

    def draw(step: int) -> restoration.Patches:
        end, way = cfg.degradation, cfg.curriculum * cfg.steps
        now = curriculum(step, start=cfg.start, end=end, steps=way) if way else end
        how: Any = {"patch": cfg.data.patch, "batch": cfg.data.batch}
        how |= {"gray_share": cfg.data.gray_share, "gray_degradation": cfg.gray}
        how |= {"generator": run.generator(step)}
        return restoration.draw_patches(photos, degradation=now, **how)

    batches, drawn = Ahead(draw, workers=cfg.workers, total=cfg.steps), []
    for step in run.steps(cfg.steps):
        for group in optimizer.param_groups:
            group["lr"] = cfg.rate * cosine(step / cfg.steps, warmup=0.02, final=0.0)
        patches = batches(step)
        drawn += patches.params
        batch = run.share({"degraded": patches.degraded, "clean": patches.clean})
        with run.autocast():
            restored = net(batch["degraded"].contiguous(memory_format=torch.channels_last))
        loss = LOSSES[cfg.loss](restored.float(), batch["clean"])
        if cfg.ssim:
            unlike = losses.ssim(restored.float(), batch["clean"], data_range=RANGE)
            loss = loss + cfg.ssim * unlike
        if step >= cfg.relative_from * cfg.steps:
            loss = loss * LEVELS / (losses.l1(batch["degraded"], batch["clean"]) + LEVELS)
        last = (step + 1) % cfg.check_every == 0 or step + 1 == cfg.steps
        numbers = run.update(optimizer, loss.mean(), measure=last)
        if last and run.main:
            model = inference.ready(net)
            scores = validate(model, watch)
            run.log(step + 1, {"loss": float(loss.mean().detach()), **numbers, **scores})
            write_json(run.folder / "drawn" / f"{step + 1:07d}.json", histogram(drawn))
            path = run.folder / "samples" / f"{step + 1:07d}.png"
            restoration.photo_sheet(path, watch[:2], model, cells=SHOWN)
            net.train()
            if best.beats(-scores["val/psnr"], "train"):
                run.save("best.pt", step=step + 1)
        if last:
            drawn = []
            run.save("last.pt", step=step + 1)
    run.close()
    return run


def split(data: Data) -> tuple[list[Photo], list[Photo]]:
    """Load the photographs to train on, and the middles of those that choose the best step."""
    photos = restoration.photographs(data.photos, part="train")
    kept = len(photos) - data.validation
    if not 0 < kept < len(photos):
        msg = f"data.validation must leave some of the {len(photos)} photographs and take at "
        msg += f"least one, got {data.validation}"
        raise ValueError(msg)
    return photos[:kept], [restoration.middle(photo) for photo in photos[kept:]]


def optimizer_of(cfg: Config, net: torch.nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer; first and last layer always take Adam's step."""
    if cfg.optimizer == "muon":
        return Muon(net, lr=cfg.rate, adam=("head", "tail"))
    return torch.optim.Adam(net.parameters(), lr=cfg.rate, betas=(0.9, 0.99))


def validate(model: Callable[[Tensor], Tensor], watch: list[Photo]) -> dict[str, float]:
    """Score the photographs kept back on a few cells of the grid, and their mean."""
    rows = restoration.evaluate_grid(watch, model, cells=WATCHED)["rows"]
    scores: dict[str, float] = {}
    for kind in ("psnr", "ssim"):
        each = {name: row[f"restored {kind}"] for name, row in rows.items()}
        scores[f"val/{kind}"] = sum(each.values()) / len(each)
        scores |= {f"val/{name}/{kind}": value for name, value in each.items()}
    return scores


def report(folder: Path) -> None:
    """Score the best network of a run on photographs that it has not seen."""
    cfg = load_config(Config, checkpoint_config(folder / "best.pt"))
    photos = restoration.photographs(cfg.data.test_photos, part="test")
    if cfg.data.test_size:
        photos = [restoration.middle(photo, size=cfg.data.test_size) for photo in photos]
    score(restoration.load_restorer(folder / "best.pt"), photos, folder)


def score(model: Restorer, photos: list[Photo], folder: Path, *, papers: bool = False) -> None:
    """Write the tables, ``panel.png`` and ``failures.png``, and print what matters."""
    gray = all(len(photo.image) == 1 for photo in photos)
    cells = restoration.paper_grid(gray=gray) if papers else restoration.frozen_grid()
    result = restoration.evaluate_grid(photos, model, cells=cells, progress=True)
    failures = result.pop("failures")
    where = diagnose.markdown_table(failures.rows(), columns=(*diagnose.KINDS, "all", "worse"))
    write_json(folder / "metrics.json", result | {"gain by kind of pixel": failures.rows()})
    (folder / "failures.md").write_text(where + "\n", encoding="utf-8")
    shown = cells if papers else SHOWN
    restoration.photo_sheet(folder / "panel.png", photos[:2], model, cells=shown)
    restoration.failure_sheet(folder / "failures.png", failures, photos, model, cells=cells)
    print(diagnose.markdown_table(result["rows"], columns=COLUMNS), where, sep="\n\n")
    lost = [name for name, row in result["rows"].items() if row["gain"] <= 0]
    print(f"\nMeans over {len(photos)} photographs; below: gain in dB by kind of pixel.")
    print(f"Cells that are no better than their input: {', '.join(lost) or 'none'}.")
    print(f"Photographs that came out worse than they went in: {result['worse']:.2%}.")
    print(f"Look at {folder}/panel.png and {folder}/failures.png first.")


def evaluate(
    *,
    model: str = "",
    photos: str = "",
    output: str = "outputs/restore/eval",
    papers: bool = False,
    ensemble: bool = False,
) -> None:
    """Score a network on the frozen grid of noise and JPEG, or as papers do.

    Args:
        model: ``best.pt`` of a run, or an exported file; the one of libimg if empty.
        photos: folder to test on; those of scikit-image that no training sees if empty.
        output: folder for the tables and pictures.
        papers: unclipped noise of 15, 25 and 50 on colour photographs, JPEG of 10 to 40 on gray.
        ensemble: mean over the eight ways to turn and mirror the input; eight times as slow.
    """
    test, net = restoration.photographs(photos, part="test"), restoration.load_restorer(model)
    if ensemble:
        turned = partial(inference.tta, model=net.model, flips=(0,), rotations=(90, 180, 270))
        net = Restorer(turned, net.card)
    score(net, test, Path(output), papers=papers)


def preview(cfg: Config, output: str = "outputs/restore/preview.png") -> None:
    """Show what the network will be given, with its records.

    Args:
        cfg: the configuration.
        output: picture to write.
    """
    photos, _ = split(cfg.data)
    how: Any = {"patch": cfg.data.patch, "batch": 6, "gray_share": cfg.data.gray_share}
    how |= {"generator": torch.Generator().manual_seed(cfg.run.seed)}
    drawn = restoration.draw_patches(photos, degradation=cfg.degradation, **how)
    pairs = zip(drawn.degraded, drawn.clean, strict=True)
    rows = [[figures.Tile(image, RANGE) for image in pair] for pair in pairs]
    labels = [f"sigma {p.sigma:.0f}\nquality {p.quality}" for p in drawn.params]
    print(figures.panel(Path(output), rows, columns=["degraded", "clean"], labels=labels))
    for params in drawn.params:
        print(params.to_dict())


def infer(input: str, *, output: str = "", model: str = "", tile: int = 512) -> None:
    """Restore a photograph, or all of a folder with its tree; a stopped run goes on.

    Args:
        input: file or folder.
        output: file or folder to write; beside the input, with ``.restored``, if empty.
        model: ``best.pt`` of a run, or an exported file; the one of libimg if empty.
        tile: largest side that the network gets at once.
    """
    source = Path(input)
    suffix = ".restored" if source.is_dir() else ".restored.png"
    target = Path(output) if output else source.with_name(f"{source.stem}{suffix}")
    counts = {"restored": 0, "kept": 0, "failed": 0}
    net, say = restoration.load_restorer(model), optional("tqdm", extra="tasks").tqdm.write
    for found in restoration.restore_files(source, target, net, tile=tile, progress=True):
        counts[found.state] += 1
        say(f"{found.state}: {found.source} -> {found.target} {found.notes}".rstrip())
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    if counts["failed"]:
        sys.exit(f"error: {counts['failed']} files failed, see above")


def export(output: str, *, model: str = "") -> None:
    """Write a network for use elsewhere, after comparing its answers with the original's.

    Args:
        output: ``.onnx``, ``.pt2`` (torch.export), or ``.pt`` for half-size weights with a card.
        model: ``best.pt`` of a run; the one of libimg if empty.
    """
    for size, difference in restoration.export_restorer(Path(output), model).items():
        print(f"{size}: largest difference {difference:.1e}")
    print(f"{output}: {Path(output).stat().st_size / 1e6:.2f} MB")


def demo(*, model: str = "", port: int = 7860) -> None:
    """Open the network in a browser on this machine, and nowhere else.

    Args:
        model: ``best.pt`` of a run, or an exported file; the one of libimg if empty.
        port: on 127.0.0.1.
    """
    serve(restoration.load_restorer(model), port=port)


if __name__ == "__main__":
    commands: dict[str, Any] = {"train": train, "preview": preview, "eval": evaluate}
    commands |= {"infer": infer, "export": export, "demo": demo}
    cli(commands, default=DEFAULT, positional=True)
