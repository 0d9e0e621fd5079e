"""Training with pytorch-3dunet instead: its files, its configurations, and its answer as events."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from libimg._extras import optional
from libimg.denoising.codec import Codec, toward_keeping
from libimg.denoising.pairs import VoxelPairs
from libimg.events import EventFile, EventWriter, decode_voxels, transfer_labels

__all__ = ["decode_predictions", "write_3dunet", "write_3dunet_configs"]


def write_3dunet(items: VoxelPairs, folder: str | PathLike[str]) -> list[Path]:
    """Write every segment as a file of its own, as pytorch-3dunet reads them.

    Args:
        items: segments of paired recordings.
        folder: target, ``<recording>_<segment>.h5`` with ``raw`` and ``label`` of
            ``(bins, h, w)`` float32, and where the segment belongs as attributes.

    Returns:
        The files.

    Raises:
        ValueError: the polarities are split, or two recordings have the same name.

    Example:
        >>> import tempfile
        >>> from libimg.denoising import EventData
        >>> from libimg.events import Events, write_events
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.h5"
        ...     write_events(path, Events([0, 39_999], [0, 1], [0, 1], [1, 1], sensor=(4, 6)))
        ...     pairs = VoxelPairs([(path, path)], EventData())
        ...     [file.name for file in write_3dunet(pairs, Path(folder) / "train")]
        ['a_000.h5', 'a_001.h5']
    """
    import h5py

    if items.config.codec.polarity != "sum":
        msg = "items: pytorch-3dunet's files are for the polarity 'sum', got 'split'"
        raise ValueError(msg)
    names = [noisy.stem for noisy, _ in items.pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"items: recordings need names of their own, got more than one of {twice}"
        raise ValueError(msg)
    target, written, numbers = Path(folder), [], dict.fromkeys(range(len(items.pairs)), 0)
    target.mkdir(parents=True, exist_ok=True)
    for index, (pair, start) in enumerate(items.items):
        recording = items.pairs[pair][0]
        path = target / f"{recording.stem}_{numbers[pair]:03d}.h5"
        numbers[pair] += 1
        with h5py.File(path, "w") as file:
            for name, grid in items[index].items():
                file.create_dataset(name, data=grid[0].numpy(), compression="gzip")
            file.attrs["recording"] = recording.name
            file.attrs["start_us"] = start
            file.attrs["duration_us"] = items.config.codec.segment_us
        written.append(path)
    return written


def write_3dunet_configs(
    folder: str | PathLike[str], *, shape: Sequence[int], seed: int = 0
) -> tuple[Path, Path]:
    """Write configurations that ``train3dunet`` and ``predict3dunet`` accept.

    ``is_segmentation: false`` keeps the sigmoid away from signed voxels; nothing is normalised,
    since its ``Normalize`` scales raw and label apart and counts are gone; the metric is MSE,
    since its PSNR guesses the range and fails on signed values; and the loaders have the keys
    the tool reads (``train.file_paths``, not ``train_path``).

    Args:
        folder: holds ``train`` and ``val`` of `write_3dunet`.
        shape: (bins, height, width) of the grids.
        seed: of the training.

    Returns:
        ``train3dunet.yaml`` and ``predict3dunet.yaml``.

    Raises:
        ValueError: a side is below 64 pixels, less than the tool takes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [path.name for path in write_3dunet_configs(folder, shape=(8, 180, 240))]
        ['train3dunet.yaml', 'predict3dunet.yaml']
    """
    bins, height, width = shape
    if min(height, width) < 64:
        msg = f"shape: pytorch-3dunet takes grids of 64 pixels and more, got {tuple(shape)}"
        raise ValueError(msg)
    root = Path(folder)
    plain = [{"name": "ToTensor", "expand_dims": True}]
    model = {
        "name": "ResidualUNet3D",
        "in_channels": 1,
        "out_channels": 1,
        "layer_order": "gcr",
        "f_maps": [32, 64, 128, 256],
        "num_groups": 8,
        "num_levels": 4,
        "is_segmentation": False,
        "final_sigmoid": False,
    }

    def part(
        name: str, size: Sequence[int], stride: Sequence[int], *, label: bool
    ) -> dict[str, Any]:
        slices: dict[str, Any] = {
            "name": "SliceBuilder",
            "patch_shape": list(size),
            "stride_shape": list(stride),
        }
        transformer: dict[str, Any] = {"raw": [dict(step) for step in plain]}
        if label:
            transformer["label"] = [dict(step) for step in plain]
        else:
            slices["halo_shape"] = [0, 0, 0]
        return {
            "file_paths": [str(root / name)],
            "slice_builder": slices,
            "transformer": transformer,
        }

    crop = (bins, min(height, 128), min(width, 128))
    whole = (bins, height, width)
    common = {"dataset": "StandardHDF5Dataset", "batch_size": 1, "num_workers": 0}
    paths = {"raw_internal_path": "raw", "label_internal_path": "label"}
    train = {
        "manual_seed": seed,
        "model": dict(model),
        "trainer": {
            "checkpoint_dir": str(root / "checkpoints"),
            "resume": None,
            "pre_trained": None,
            "validate_after_iters": 200,
            "log_after_iters": 50,
            "max_num_epochs": 50,
            "max_num_iterations": 20_000,
            "eval_score_higher_is_better": False,
        },
        "optimizer": {"name": "Adam", "learning_rate": 2e-4, "weight_decay": 1e-5},
        "loss": {"name": "MSELoss"},
        "eval_metric": {"name": "MSE"},
        "lr_scheduler": {"name": "ReduceLROnPlateau", "mode": "min", "factor": 0.5, "patience": 20},
        "loaders": {
            **common,
            **paths,
            "train": part("train", crop, (bins, crop[1] // 2, crop[2] // 2), label=True),
            "val": part("val", whole, whole, label=True),
        },
    }
    predict = {
        "model_path": str(root / "checkpoints" / "best_checkpoint.pytorch"),
        "model": dict(model),
        "predictor": {"name": "StandardPredictor"},
        "loaders": {
            **common,
            "raw_internal_path": "raw",
            "output_dir": str(root / "predictions"),
            "test": part("val", whole, whole, label=False),
        },
    }
    root.mkdir(parents=True, exist_ok=True)
    yaml = optional("yaml", extra="tasks")
    files = (root / "train3dunet.yaml", root / "predict3dunet.yaml")
    for path, content in zip(files, (train, predict), strict=True):
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return files


def decode_predictions(
    predictions: str | PathLike[str],
    prepared: str | PathLike[str],
    output: str | PathLike[str],
    *,
    noisy: str | PathLike[str] | None = None,
    codec: Codec | None = None,
) -> list[Path]:
    """Turn the predictions of ``predict3dunet`` into one event file a recording.

    Args:
        predictions: folder of ``<segment>_predictions.h5``.
        prepared: folder of `write_3dunet` that they were predicted from.
        output: folder for the event files.
        noisy: folder of the noisy recordings; with it the events that a prediction still counts
            are kept with their own times, without it events are decoded from the voxels.
        codec: threshold and output; by default ``"keep"`` with ``noisy`` and ``"decode"`` without.

    Returns:
        The files, sorted by recording.

    Raises:
        FileNotFoundError: there are no predictions, or one has no prepared file, or a prepared
            file has none, so that its events would be lost.
        ValueError: a prediction lacks its data set, has another shape than its prepared file or
            is not finite, or ``"keep"`` is asked for without ``noisy``.
    """
    import h5py

    how = codec or Codec(output="keep" if noisy is not None else "decode")
    if how.output == "keep" and noisy is None:
        msg = "noisy: output='keep' needs the folder of the noisy recordings, got None"
        raise ValueError(msg)
    files = sorted(Path(predictions).glob("*_predictions.h5"))
    if not files:
        msg = f"{predictions}: no *_predictions.h5 there"
        raise FileNotFoundError(msg)
    done = {path.name.replace("_predictions.h5", ".h5") for path in files}
    left = [path for path in sorted(Path(prepared).glob("*.h5")) if path.name not in done]
    if left:
        msg = f"{predictions}: no prediction for {len(left)} prepared files, the first {left[0]}"
        raise FileNotFoundError(msg)
    segments: dict[str, list[tuple[int, int, Path, tuple[int, ...]]]] = {}
    for path in files:
        source = Path(prepared) / path.name.replace("_predictions.h5", ".h5")
        if not source.exists():
            msg = f"{path}: its prepared file {source} is missing"
            raise FileNotFoundError(msg)
        with h5py.File(source, "r") as file:
            at = int(file.attrs["start_us"]), int(file.attrs["duration_us"])
            part = (*at, path, (1, *file["raw"].shape))
            segments.setdefault(str(file.attrs["recording"]), []).append(part)
    written = []
    for recording, parts in sorted(segments.items()):
        target = Path(output) / recording
        grids = [(_prediction(path, like), at, length) for at, length, path, like in sorted(parts)]
        size = (grids[0][0].shape[-2], grids[0][0].shape[-1])
        with EventWriter(target, sensor=size, start_us=grids[0][1]) as writer:
            for grid, start, length in grids:
                voxels = toward_keeping(grid, threshold=how.threshold)
                if how.output == "decode":
                    events = decode_voxels(voxels, start_us=start, duration_us=length)
                else:
                    with EventFile(Path(noisy or "") / recording, sensor=size) as file:
                        events = file.read(start_us=start, stop_us=start + length)
                    kept = transfer_labels(events, voxels, start_us=start, duration_us=length)
                    events = events[kept]
                writer.append(events)
        written.append(target)
    return written


def _prediction(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    import h5py

    with h5py.File(path, "r") as file:
        if "predictions" not in file:
            msg = f"{path}: no data set 'predictions', has {', '.join(file) or 'nothing'}"
            raise ValueError(msg)
        grid = torch.from_numpy(file["predictions"][...]).float()
    if grid.shape != shape:
        msg = f"{path}: expected predictions of (1, bins, h, w) = {shape}, got shape "
        msg += f"{tuple(grid.shape)}"
        raise ValueError(msg)
    if not bool(grid.isfinite().all()):
        msg = f"{path}: expected finite predictions, got {int((~grid.isfinite()).sum())} others"
        raise ValueError(msg)
    return grid[0]
