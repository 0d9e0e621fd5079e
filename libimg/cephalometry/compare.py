"""A finished run beside what it has to beat, and its picture."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from libimg import diagnose
from libimg.cephalometry.frames import Frame, Framed, box_of, framed
from libimg.cephalometry.pairs import HeadPair
from libimg.cephalometry.pictures import head_panel
from libimg.cephalometry.score import evaluate_heads, into, round_trip

__all__ = ["compare_heads", "run_panel", "translate_photo"]

Picture = Float[Tensor, "1 h w"]
Detect = Callable[[Tensor], Tensor]


@torch.no_grad()
def translate_photo(
    net: nn.Module, photo: Float[Tensor, "3 h w"], *, frame: Frame, judge_frame: Frame
) -> Float[Tensor, "1 H W"]:
    """Make an X-ray in the judge's frame from a photograph.

    Args:
        net: from ``(1, 3, *frame.size)`` to one channel, in [-1, 1]; it is put in eval mode.
        photo: in [0, 1], any size.
        frame: the picture that the network works in.
        judge_frame: the picture in which every run is judged.

    Returns:
        In [-1, 1], ``judge_frame.size``; 0 where the photograph does not reach.

    Example:
        >>> class Gray(nn.Module):
        ...     def forward(self, x):
        ...         return x.mean(1, keepdim=True)
        >>> frames = {"frame": Frame(size=(32, 32)), "judge_frame": Frame(size=(48, 40))}
        >>> translate_photo(Gray(), torch.rand(3, 64, 64), **frames).shape
        torch.Size([1, 48, 40])
    """
    box = box_of(frame, photo.shape[1:])
    device = next((part.device for part in net.parameters()), photo.device)
    seen = box.image(photo[None] * 2 - 1) * box.mask()
    made = (net.eval()(seen.to(device)).clamp(-1, 1).cpu() * box.mask())[0]
    return into(made, box, box_of(judge_frame, photo.shape[1:]))


def compare_heads(
    fakes: Mapping[str, Picture],
    watch: Mapping[str, HeadPair],
    learn: Mapping[str, Framed],
    *,
    judge: Detect,
    direct: Detect,
    frame: Frame,
    judge_frame: Frame,
) -> dict[str, Any]:
    """Score generated X-rays beside what they have to beat.

    Args:
        fakes: generated X-rays of the held-out cases, in the judge's frame.
        watch: the held-out cases.
        learn: training cases in the judge's frame; mean X-ray and mean landmarks come from them.
        judge: from X-rays to landmarks.
        direct: from photographs to landmarks, without an X-ray between them.
        frame: of the network; the real X-ray that went through it is the best it can reach.
        judge_frame: in which all are judged.

    Returns:
        What `evaluate_heads` gives, with the rows ``real``, ``real, through the frame``,
        ``mean X-ray``, ``G``, ``mean position`` and ``direct, photo to landmarks``, and a
        ``verdict`` on G.

    Example:
        >>> from libimg.cephalometry import Heads, load_pair
        >>> pair = load_pair(Heads(size=(152, 124)), "head-000")
        >>> frame = Frame(size=(48, 48))
        >>> case = framed(pair, frame)
        >>> how = {"judge": lambda x: case.points[None], "frame": frame, "judge_frame": frame}
        >>> how["direct"] = how["judge"]
        >>> found = compare_heads({"a": case.xray}, {"a": pair}, {"b": case}, **how)
        >>> list(found["rows"])[:4]
        ['real', 'real, through the frame', 'mean X-ray', 'G']
    """
    cases = {name: framed(pair, judge_frame) for name, pair in watch.items()}
    mean = torch.stack([case.xray for case in learn.values()]).mean(0)
    place = torch.stack([case.points for case in learn.values()]).nanmean(0)
    pictures = {
        "real": {name: case.xray for name, case in cases.items()},
        "real, through the frame": {
            name: round_trip(pair, frame, judge_frame) for name, pair in watch.items()
        },
        "mean X-ray": dict.fromkeys(cases, mean),
        "G": fakes,
    }
    guessed = {name: direct(case.photo[None])[0] for name, case in cases.items()}
    points = {
        "mean position": dict.fromkeys(cases, place),
        "direct, photo to landmarks": guessed,
    }
    names = next(iter(watch.values())).names
    result = evaluate_heads(pictures, points, cases, judge=judge, names=names)
    rivals = {name: row["cases"] for name, row in result["rows"].items() if "real" not in name}
    verdict = diagnose.verdict(rivals, metric="mre", model="G", higher=False)
    return result | {"verdict": verdict}


def run_panel(
    path: Path,
    fakes: Mapping[str, Picture],
    watch: Mapping[str, HeadPair],
    *,
    judge: Detect,
    judge_frame: Frame,
    errors: Mapping[str, float],
    fixed: Sequence[str],
) -> Path:
    """Write the picture of a run: the same cases of every run, then the worst one.

    Args:
        path: PNG to write; its folder names the run.
        fakes: generated X-rays of the held-out cases, in the judge's frame.
        watch: the held-out cases.
        judge: from X-rays to landmarks.
        judge_frame: in which all are judged.
        errors: landmark error by case (mm).
        fixed: cases to show whatever their error.

    Example:
        >>> import tempfile
        >>> from libimg.cephalometry import Heads, load_pair
        >>> pair, frame = load_pair(Heads(size=(152, 124)), "head-000"), Frame(size=(48, 48))
        >>> case = framed(pair, frame)
        >>> how = {"judge": lambda x: case.points[None], "judge_frame": frame, "fixed": ["a"]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "panel.png"
        ...     run_panel(path, {"a": case.xray}, {"a": pair}, errors={"a": 0.0}, **how).name
        'panel.png'
    """
    worst = max(errors, key=errors.__getitem__)
    shown = list(dict.fromkeys((*fixed, worst)))
    title = f"{path.parent.name}: fixed cases, then the worst of {len(watch)} held-out ones"
    return head_panel(
        path,
        {name: framed(watch[name], judge_frame) for name in shown},
        fakes,
        {name: judge(fakes[name][None])[0] for name in shown},
        scores=errors,
        title=title,
    )
