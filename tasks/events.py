r"""Event denoising from HDF5 to HDF5: events → voxels → 3-D network → voxels → events.

python tasks/events.py                                   the built-in scenes, two minutes on a CPU
python tasks/events.py train --cfg tasks/configs/events/full.yaml \
    --cfg.data.noisy background_with_flare_events --cfg.data.clean background_with_light_events
python tasks/events.py test --run outputs/events/default
python tasks/events.py inference --input_file noisy.h5 --output_file clean.h5
python tasks/events.py baseline --input_file noisy.h5 --output_file codec.h5
python tasks/events.py prepare --config tasks/configs/events/prepare.yaml
python tasks/events.py real --config tasks/configs/events/real.yaml --recordings FOLDER
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from libimg import denoising, diagnose, losses, nets
from libimg.denoising import Codec, EventData, VoxelPairs
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
    write_json,
)

DEFAULT = Path(__file__).resolve().parent / "configs" / "events" / "default.yaml"
BEST = "outputs/events/default/best.pt"
LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": losses.mse,
    "l1": losses.l1,
    "charbonnier": losses.charbonnier,
    "huber": losses.huber,
}
COLUMNS = ("mse", "psnr", "pmse2", "pmse4", "r_f1", "t_f1", "tp_f1", "chamfer", "gaussian")
KEPT = ("auc", "snr", "precision", "recall", "retention", "mesr", "mesr_random", "mesr_oracle")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The network between the voxels.

    Args:
        name: ``residual_unet3d`` or ``umamba``.
        channels: width of each level.
    """

    name: Literal["residual_unet3d", "umamba"] = "residual_unet3d"
    channels: tuple[int, ...] = (32, 64, 128, 256)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole task.

    Args:
        run: where and how it runs.
        data: recordings and voxels.
        network: between the voxels.
        loss: distance of restored from clean voxels.
        empty: weight of voxels without events in the noisy and the clean grid, which are most of
            them, beside 1 for the rest.
        steps: of training.
        check_every: steps between two validations.
        rate: peak learning rate; a cosine leads to zero.
        weight_decay: of AdamW.
        workers: threads that prepare the next batches.
        memory: keep all training grids in memory.
        tta: average the network over the mirror images of the sensor (and both signs, with
            ``data.swap``) wherever it is tested or used.
    """

    run: RunConfig = field(default_factory=lambda: RunConfig(folder="outputs/events"))
    data: EventData = field(default_factory=EventData)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: Literal["mse", "l1", "charbonnier", "huber"] = "mse"
    empty: float = 0.05
    steps: int = 300
    check_every: int = 100
    rate: float = 1e-3
    weight_decay: float = 1e-5
    workers: int = 2
    memory: bool = True
    tta: bool = False


def build(cfg: Config) -> nn.Module:
    """Build the network; untrained, it is the identity."""
    both = 2 if cfg.data.codec.polarity == "split" else 1
    kind = nets.UMamba if cfg.network.name == "umamba" else nets.ResidualUNet3D
    return kind(in_channels=both, out_channels=both, channels=cfg.network.channels)


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
    learn, watch = denoising.event_pairs(cfg.data, run.folder.parent / "scenes", seed=cfg.run.seed)
    pairs, held = VoxelPairs(learn, cfg.data), VoxelPairs(watch, cfg.data)
    items: Any = [pairs[i] for i in range(len(pairs))] if cfg.memory else pairs
    net = run.module("net", build(cfg))
    adam = torch.optim.AdamW(net.parameters(), lr=cfg.rate, weight_decay=cfg.weight_decay)
    optimizer, best = run.optimizer("net", adam), Best()
    run.parts["best"] = best
    run.resume()

    def draw(step: int) -> dict[str, Tensor]:
        generator = run.generator(step)
        how: Any = {"crop": cfg.data.crop, "batch": cfg.data.batch, "swap": cfg.data.swap}
        return denoising.draw_crops(items, **how, generator=generator)

    batches = Ahead(draw, workers=cfg.workers, total=cfg.steps)
    for step in run.steps(cfg.steps):
        for group in optimizer.param_groups:
            group["lr"] = cosine(step / cfg.steps) * cfg.rate
        batch = run.share(batches(step))
        with run.autocast():
            restored = net(batch["raw"])
        active = (batch["raw"] != 0) | (batch["label"] != 0)
        weight = active.float().clamp(min=cfg.empty)
        loss = LOSSES[cfg.loss](restored.float(), batch["label"], mask=weight).mean()
        last = (step + 1) % cfg.check_every == 0 or step + 1 == cfg.steps
        numbers = run.update(optimizer, loss, measure=last)
        if last and run.main:
            scores = validate(run, net, held)
            run.log(step + 1, {"loss": float(loss.detach()), **numbers, **scores})
            if best.beats(scores["val/mse"], "train"):
                run.save("best.pt", step=step + 1)
        if last:
            run.save("last.pt", step=step + 1)
    run.close()
    return run


@torch.no_grad()
def validate(run: Run, net: nn.Module, held: VoxelPairs) -> dict[str, float]:
    """Score rounded voxels of the held-out recordings, segment by segment."""
    net.eval()
    rows = []
    for index in range(len(held)):
        batch = {name: grid[None].to(run.device) for name, grid in held[index].items()}
        with run.autocast():
            restored = net(batch["raw"]).float()
        if held.config.codec.output == "keep":
            restored = denoising.limit_to_input(restored, batch["raw"])
        rows.append(denoising.grid_scores(restored.round(), batch["label"]))
    net.train()
    return {f"val/{name}": sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def restore(checkpoint: Path) -> tuple[Config, Callable[[Tensor], Tensor]]:
    """Build the network of a checkpoint, fill it, and make it ready to use."""
    cfg = load_config(Config, checkpoint_config(checkpoint))
    net = build(cfg)
    load_checkpoint(checkpoint, {"net": net})
    net.to("cuda" if torch.cuda.is_available() else "cpu")
    low = torch.bfloat16 if cfg.run.precision == "bf16-mixed" else None
    return cfg, denoising.on_device(net, autocast=low, tta=cfg.tta, swap=cfg.data.swap)


def evaluate(run: str, *, checkpoint: str = "best") -> None:
    """Score a finished run on its held-out recordings, beside the classical filters.

    Args:
        run: folder of the run.
        checkpoint: ``best`` or ``last``.
    """
    report(Path(run), checkpoint=checkpoint)


def report(folder: Path, *, checkpoint: str = "best") -> None:
    """Write ``metrics.json`` and ``panel.png`` of a run, and print the tables."""
    cfg, model = restore(folder / f"{checkpoint}.pt")
    _, watch = denoising.event_pairs(cfg.data, folder.parent / "scenes", seed=cfg.run.seed)
    result = denoising.evaluate_pairs(watch, model, data=cfg.data)
    write_json(folder / "metrics.json", result)
    denoising.event_panel(folder / "panel.png", watch[0], model, data=cfg.data)
    means = {row: {c: v["mean"] for c, v in found.items()} for row, found in result["rows"].items()}
    print(diagnose.markdown_table(means, columns=COLUMNS), end="\n\n")
    print(diagnose.markdown_table(means, columns=KEPT))
    print(result["verdict"])
    print(f"Means over {len(watch)} recordings, signal positive. Look at {folder}/panel.png first.")


def inference(
    input_file: str,
    output_file: str,
    *,
    checkpoint: str = BEST,
    output: Literal["keep", "decode", "run"] = "run",
    sensor: tuple[int, int] | None = None,
) -> None:
    """Denoise an event file of any layout and length, in bounded memory.

    Args:
        input_file: HDF5 file.
        output_file: HDF5 file to write.
        checkpoint: what to denoise with.
        output: keep events with their own times, decode new ones, or as the run was configured.
        sensor: (height, width), where the file does not say it.
    """
    cfg, model = restore(Path(checkpoint))
    codec = cfg.data.codec if output == "run" else replace(cfg.data.codec, output=output)
    how: Any = {"codec": codec, "sensor": sensor, "progress": True}
    counts = denoising.restore_file(input_file, output_file, model, **how)
    print(f"{input_file} -> {output_file}: {counts['kept']} of {counts['events']} events")


def baseline(
    input_file: str,
    output_file: str,
    *,
    bins: int = 8,
    segment_us: int = 20_000,
    sensor: tuple[int, int] | None = None,
) -> None:
    """Encode and decode without a network: what the voxels cost by themselves.

    Args:
        input_file: HDF5 file.
        output_file: HDF5 file to write.
        bins: time bins of a segment.
        segment_us: length of a segment.
        sensor: (height, width), where the file does not say it.
    """
    codec = Codec(segment_us=segment_us, bins=bins, output="decode")
    how: Any = {"codec": codec, "sensor": sensor, "progress": True}
    counts = denoising.restore_file(input_file, output_file, nn.Identity(), **how)
    print(f"{input_file} -> {output_file}: {counts['kept']} of {counts['events']} events")


def prepare(cfg: Config, output: str) -> None:
    """Write the voxels of all pairs as pytorch-3dunet reads them, and its configurations.

    Args:
        cfg: the configuration; its data decide what is written.
        output: folder for ``train``, ``val``, ``train3dunet.yaml`` and ``predict3dunet.yaml``.
    """
    folder = Path(output)
    parts = denoising.event_pairs(cfg.data, folder / "scenes", seed=cfg.run.seed)
    for name, pairs in zip(("train", "val"), parts, strict=True):
        items = VoxelPairs(pairs, cfg.data)
        files = denoising.write_3dunet(items, folder / name)
        print(f"{folder / name}: {len(files)} segments of {len(pairs)} recordings")
    shape = tuple(items[0]["raw"].shape[1:])
    for path in denoising.write_3dunet_configs(folder, shape=shape, seed=cfg.run.seed):
        print(path)


def decode(predictions: str, prepared: str, output: str, *, noisy: str | None = None) -> None:
    """Turn the predictions of predict3dunet into event files.

    Args:
        predictions: its folder of ``*_predictions.h5``.
        prepared: the folder they were predicted from, such as ``val``.
        output: folder for the event files.
        noisy: folder of the noisy recordings, to keep their events instead of decoding new ones.
    """
    for path in denoising.decode_predictions(predictions, prepared, output, noisy=noisy):
        print(path)


def real(cfg: Config, recordings: str, *, noise: str, tests: list[str], shifts: int = 1) -> None:
    """Lay recorded noise over recordings; train on all but one and rank the events of that one.

    Args:
        cfg: the configuration of the trainings.
        recordings: folder of event files.
        noise: name of the file in it that holds noise alone; its first half trains, its second
            half tests.
        tests: names of the files to test on, each by a network that has not seen it.
        shifts: clocks whose scores are averaged, each a part of a segment earlier.
    """
    folder = Path(cfg.run.folder)
    rows: dict[str, dict[str, float]] = {}
    for name in tests:
        overlays = denoising.Overlays(Path(recordings), noise=noise, test=name)
        pairs = overlays.write_training(folder / "overlays" / name)
        data = replace(cfg.data, noisy=str(pairs[0]), clean=str(pairs[1]))
        fold = fit(replace(cfg, data=data, run=replace(cfg.run, name=Path(name).stem)))
        _, model = restore(fold.folder / "last.pt")
        stream, codec = overlays.test_stream(), cfg.data.codec
        scores = denoising.rank_events(*stream, model, codec=codec, shifts=shifts)
        rows |= {f"{Path(name).stem}: {method}": row for method, row in scores.items()}
        print(diagnose.markdown_table(rows, columns=("auc", "best_f1", "f1")))
    write_json(folder / "real.json", rows)


if __name__ == "__main__":
    cli(
        {
            "train": train,
            "test": evaluate,
            "inference": inference,
            "baseline": baseline,
            "prepare": prepare,
            "decode": decode,
            "real": real,
        },
        default=DEFAULT,
    )
