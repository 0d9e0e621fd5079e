"""What an evaluation of completions says, in tables and in one picture."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from libimg import diagnose
from libimg.completion.asked import Question
from libimg.completion.decode import decode_meshes
from libimg.completion.evaluate import encode_case
from libimg.completion.model import Completer
from libimg.completion.picture import heart_sheet, label_meshes

__all__ = ["completion_sheet", "scores_text"]

SEEN = ("observed", "completed")
SHEET = ("input", "input, completed", "the network's own", "truth")


def scores_text(found: Mapping[str, Any]) -> str:
    """Write the scores of `evaluate` as Markdown: all rows, then class by class, then the verdict.

    Args:
        found: what `evaluate` gave, perhaps with ``samples`` of `sample_scores`.

    Example:
        >>> line = {"dice observed": 0.5, "dice completed": math.nan}
        >>> found = {"table": {"network": line}, "classes": {}, "verdict": "Too few to tell."}
        >>> print(scores_text(found))
        observed classes:
        <BLANKLINE>
        |         | dice  |
        | :------ | ----: |
        | network | 0.500 |
        <BLANKLINE>
        Too few to tell.
    """
    parts = []
    for seen in SEEN:
        end = f" {seen}"
        table = {
            row: {m.removesuffix(end): v for m, v in line.items() if m.endswith(end)}
            for row, line in found["table"].items()
        }
        if any(math.isfinite(value) for line in table.values() for value in line.values()):
            parts += [f"{seen} classes:", _markdown(table)]
    rows: dict[str, dict[str, float]] = {}
    for row, scores in found["classes"].items():
        for name, score in scores["dice"].items():
            if name != "all" and any(score[seen]["defined"] for seen in SEEN):
                mean = {f"{row} {seen[:4]}.": score[seen]["mean"] for seen in SEEN}
                rows.setdefault(name, {}).update(mean)
    if rows:
        parts += ["Dice by class:", _markdown(rows)]
    if "samples" in found:
        parts += [_markdown({seen: found["samples"][seen] for seen in SEEN})]
    return "\n\n".join([*parts, found["verdict"]])


def completion_sheet(
    path: Path, model: Completer, asked: Sequence[Question], *, inputs: int
) -> Path:
    """Write hearts as they went in, as they came out, and as they are.

    Args:
        path: PNG to write.
        model: in evaluation mode.
        asked: cases with what is observed of them.
        inputs: number of points that the network sees.

    Example:
        >>> import tempfile
        >>> from libimg.completion import learn_shape, phantom_case
        >>> from libimg.nets import VecSetAutoencoder
        >>> case = phantom_case()
        >>> model = Completer(VecSetAutoencoder.preset("tiny", classes=10), grid=16).eval()
        >>> learn_shape(model, [case])
        >>> asked = [Question(case, case.restrict(["LV", "RV"]).labelled, "a")]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     completion_sheet(Path(folder) / "panel.png", model, asked, inputs=64).name
        'panel.png'
    """
    rows = []
    for question in asked:
        case, seen = question.case, question.observed
        latent, middle = encode_case(model, case, seen, inputs=inputs)
        done = decode_meshes(model, case, latent.mean, middle, spacing_mm=2.5)
        given, truth = label_meshes(case, seen), label_meshes(case)
        known = {n: m for (n, m), k in zip(done.items(), case.known, strict=True) if k}
        name = question.name.replace(" without", "\nwithout")
        rows.append((name, [given, known | given, known, truth]))
    return heart_sheet(path, rows, columns=SHEET, classes=list(asked[0].case.classes))


def _markdown(rows: Mapping[str, Mapping[str, float]]) -> str:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    return diagnose.markdown_table(rows, columns=columns)
