"""Image networks as files that run without libimg, ONNX and ``torch.export``, checked."""

import copy
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from libimg._check import positive
from libimg._extras import optional

__all__ = ["export", "load_exported"]

SUFFIXES = (".onnx", ".pt2")
ENTRY = "libimg"  # key of the ONNX metadata and name of the extra file in a .pt2
OPSET, IR_VERSION = 18, 8
NAMES = {0: "batch", 2: "height", 3: "width"}
Run = Callable[[Tensor], Tensor]


def export(
    net: nn.Module,
    path: str | Path,
    *,
    metadata: Mapping[str, Any],
    channels: int = 3,
    sizes: Sequence[tuple[int, int]] = ((37, 53), (64, 64), (90, 131), (2, 3), (1, 1)),
    tolerance: float = 1e-4,
) -> dict[tuple[int, int], float]:
    """Write a network as one file for any batch, height and width, if the file agrees with it.

    ``.onnx`` is for onnxruntime and its like (opset 18, which they read since 2023), ``.pt2`` for
    ``torch.export.load`` of the same or a later torch. There is no TorchScript: torch has
    deprecated it and warns. What is written is in eval mode, in float32 and for the CPU; ``net``
    itself stays as it is. The same network gives the same bytes, without paths of this machine
    (but torch 2.6 puts the time into a ``.pt2``).

    Before the file takes its name it is read back as a user would and run on every size, as one
    image and as three. Of a network that chooses its way by the size, one way is in the file: if
    the others give something else, a size of each must be among ``sizes`` to be noticed.

    Args:
        net: ``(b, channels, h, w)`` in and out.
        path: file, ``.onnx`` or ``.pt2``; its folder is made.
        metadata: plain JSON values, kept inside the file; see `load_exported`.
        channels: of the input.
        sizes: height and width to compare on. The first is traced: best two different odd numbers.
        tolerance: largest absolute difference allowed, for inputs in [0, 1].

    Returns:
        The largest absolute difference between file and network, for each size.

    Raises:
        ImportError: a package of the extra ``export``, for ``.onnx``, is missing.
        ValueError: unknown suffix, metadata that are not plain, or a file that differs from the
            network; nothing is written then.

    Example:
        >>> import tempfile
        >>> net = nn.Conv2d(1, 1, 3, padding=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "net.pt2"
        ...     parity = export(net, path, metadata={"sigma": [0, 50]}, channels=1)
        ...     model, metadata = load_exported(path)
        >>> max(parity.values()) < 1e-4, metadata, model(torch.rand(1, 1, 7, 4)).shape
        (True, {'sigma': [0, 50]}, torch.Size([1, 1, 7, 4]))
    """
    file = _known(path)
    positive(channels=channels, tolerance=tolerance, sizes=len(sizes))
    for package in ("onnxscript", "onnxruntime") if file.suffix == ".onnx" else ():
        optional(package, extra="export")
    text = json.dumps({"channels": channels, "metadata": _plain(metadata)})
    frozen = copy.deepcopy(net).cpu().float().eval().requires_grad_(False)
    program = _traced(frozen, torch.zeros(2, channels, *sizes[0]))
    content = (_onnx_bytes if file.suffix == ".onnx" else _program_bytes)(program, text)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.stem}.part{file.suffix}")
    try:
        temporary.write_bytes(content)
        model = load_exported(temporary)[0]
        parity = {size: _difference(file, frozen, model, channels, size) for size in sizes}
        worst = max(parity, key=lambda size: parity[size])
        if parity[worst] > tolerance:
            msg = f"{file}: differs from the network by {parity[worst]:.3g} on {_times(worst)}, "
            msg += f"more than {tolerance:g}; not written"
            raise ValueError(msg)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return parity


def load_exported(path: str | Path) -> tuple[Run, dict[str, Any]]:
    """Load what `export` wrote.

    Args:
        path: file, ``.onnx`` or ``.pt2``; from somebody you trust.

    Returns:
        A function of ``(b, channels, h, w)`` tensors, floating point, any size and device; it
        computes in float32 on the CPU with as many threads as torch has now, and answers in
        float32 on the device of its input. And the metadata.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: onnxruntime, of the extra ``export``, is missing.
        ValueError: it is not such a file; the message names it.

    Example:
        See `export`; what is not there is refused by name:

        >>> load_exported("nowhere.onnx")
        Traceback (most recent call last):
        FileNotFoundError: nowhere.onnx: no such file
    """
    file = _known(path)
    if not file.is_file():
        msg = f"{file}: no such file"
        raise FileNotFoundError(msg)
    try:
        run, text = (_open_onnx if file.suffix == ".onnx" else _open_program)(file)
        entry = json.loads(text or "{}")
    except ImportError:
        raise
    except Exception as error:
        msg = f"{file}: not a readable {file.suffix} file ({type(error).__name__}: {error})"
        raise ValueError(msg) from error
    if not {"channels", "metadata"} <= set(entry):
        msg = f"{file}: holds no metadata of libimg; it was not written by libimg.export"
        raise ValueError(msg)
    channels = entry["channels"]

    @torch.no_grad()
    def model(x: Tensor) -> Tensor:
        fits = x.ndim == 4 and x.shape[1] == channels and x.numel() and x.is_floating_point()
        if not fits:
            msg = f"{file}: expected (b, {channels}, h, w), floating point and not empty, "
            msg += f"got {tuple(x.shape)}, {x.dtype}"
            raise ValueError(msg)
        return run(x.detach().float().cpu().contiguous()).to(x.device)

    return model, entry["metadata"]


def _known(path: str | Path) -> Path:
    file = Path(path)
    if file.suffix not in SUFFIXES:
        msg = f"{file}: expected a file that ends in {' or '.join(SUFFIXES)}"
        raise ValueError(msg)
    return file


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata as a dict, refusing what JSON would lose or change."""
    values = dict(metadata)
    try:
        kept = json.loads(json.dumps(values, allow_nan=False))
    except (TypeError, ValueError):
        kept = None
    if kept != values:
        msg = "metadata must be plain JSON values (names, numbers, lists, None), "
        msg += f"got {values!r}"
        raise ValueError(msg)
    return values


def _traced(net: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """Trace a network for any batch, height and width; no path of this machine stays in it.

    While tracing, torch assumes that no size is 1, and that other sizes are as even or odd as the
    example, and would refuse the rest. Convolutions and padding do not care: the assumptions are
    dropped here, and the comparison with the network decides.
    """
    dynamic = dict.fromkeys(NAMES, torch.export.Dim.DYNAMIC)
    program = torch.export.export(net, (example,), dynamic_shapes=(dynamic,), strict=False)
    getattr(program, "_guards_code", []).clear()
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _program_bytes(program: torch.export.ExportedProgram, text: str) -> bytes:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={ENTRY: text})
    return file.getvalue()


def _onnx_bytes(program: torch.export.ExportedProgram, text: str) -> bytes:
    with warnings.catch_warnings():  # some versions of torch warn of what they do themselves
        warnings.simplefilter("ignore", FutureWarning)
        written: Any = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=["image"],
            output_names=["restored"],
            opset_version=OPSET,
        )
    proto = written.model_proto
    proto.ir_version = IR_VERSION
    graph = proto.graph
    graph.ClearField("value_info")
    for part in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for value in (*graph.input, *graph.output):
        for axis, name in NAMES.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    proto.metadata_props.add(key=ENTRY, value=text)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _open_onnx(file: Path) -> tuple[Run, str]:
    ort = optional("onnxruntime", extra="export")
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # errors are raised, not printed
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: x.numpy()})[0])

    return run, session.get_modelmeta().custom_metadata_map.get(ENTRY, "")


def _open_program(file: Path) -> tuple[Run, str]:
    with zipfile.ZipFile(file) as archive:
        found = [name for name in archive.namelist() if name.endswith(f"/{ENTRY}")]
        text = archive.read(found[0]).decode() if found else ""
    return torch.export.load(file).module(), text


def _difference(file: Path, net: Run, model: Run, channels: int, size: tuple[int, int]) -> float:
    """Return the largest absolute difference on one image and on three; not finite is infinite."""
    images = torch.rand(3, channels, *size, generator=torch.Generator().manual_seed(0))
    worst = 0.0
    for x in (images[:1], images):
        with torch.no_grad():
            wanted = net(x)
        try:
            got = model(x)
        except Exception as error:
            msg = f"{file}: fails on {_times(size)}, batch {len(x)}, where the network works; "
            msg += f"not written ({type(error).__name__}: {error})"
            raise ValueError(msg) from error
        if got.shape != wanted.shape:
            msg = f"{file}: gives {tuple(got.shape)} on {_times(size)}, batch {len(x)}, where the "
            msg += f"network gives {tuple(wanted.shape)}; not written"
            raise ValueError(msg)
        difference = float((got - wanted).abs().max())
        worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
