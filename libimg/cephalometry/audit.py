"""Look at the pictures of a collection before anything is trained on them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from libimg import data, diagnose, io
from libimg._extras import optional
from libimg.cephalometry.pairs import Heads, load_pair, pair_names

__all__ = ["audit_heads", "audit_text", "flags_of"]


def audit_heads(
    heads: Heads, names: Sequence[str] | None = None, *, progress: bool = False
) -> dict[str, Any]:
    """Check the pictures of cases; nothing is left out by itself.

    Args:
        heads: built-in heads; a folder with ``photo`` and ``xray``; or a folder of single pictures.
        names: of the cases; all if None.
        progress: show a bar.

    Returns:
        ``cases``: name to picture (``photo``, ``xray``) to its flags, each with its evidence;
        ``duplicates``: groups of pictures that look the same; ``unreadable``: file to reason.

    Example:
        >>> table = audit_heads(Heads(count=2, size=(380, 309)))
        >>> sorted(table), len(table["cases"])
        (['cases', 'duplicates', 'unreadable'], 2)
    """
    cases: dict[str, dict[str, list[dict[str, Any]]]] = {}
    hashes: dict[str, int] = {}
    unreadable: dict[str, str] = {}
    tqdm = optional("tqdm", extra="tasks").tqdm
    for name, kind, picture in tqdm(_pictures(heads, names), disable=not progress, unit="picture"):
        if isinstance(picture, str):
            unreadable[name] = picture
            continue
        flags = data.audit_image(picture.image, bits=picture.bits)
        cases.setdefault(name, {})[kind] = [asdict(flag) for flag in flags]
        hashes[f"{name} {kind}".strip()] = data.perceptual_hash(picture.image)
    groups = [list(group) for group in data.duplicates(hashes)]
    return {"cases": cases, "duplicates": groups, "unreadable": unreadable}


def flags_of(table: dict[str, Any]) -> dict[str, set[str]]:
    """Kinds of the flags of each case, such as ``xray device_frame``.

    Example:
        >>> flags_of({"cases": {"a": {"xray": [{"kind": "ruler"}]}}})
        {'a': {'xray ruler'}}
    """
    return {
        name: {f"{kind} {flag['kind']}".strip() for kind, flags in some.items() for flag in flags}
        for name, some in table["cases"].items()
    }


def audit_text(table: dict[str, Any]) -> str:
    """Lay an audit out as Markdown: how often each flag is up, every fault with its evidence.

    Example:
        >>> flag = {"kind": "ruler", "fault": False, "evidence": {}, "text": "Ticks."}
        >>> table = {"cases": {"a": {"xray": [flag]}}, "duplicates": [], "unreadable": {}}
        >>> print(audit_text(table))
        1 cases. A flag is a question, and drops nothing by itself.
        <BLANKLINE>
        |            | cases | faults |
        | :--------- | ----: | -----: |
        | xray ruler | 1     | 0      |
        <BLANKLINE>
        No fault was found.
    """
    rows: dict[str, dict[str, object]] = {}
    faults = []
    for name, some in table["cases"].items():
        for kind, flags in some.items():
            for flag in flags:
                row = rows.setdefault(f"{kind} {flag['kind']}".strip(), {"cases": 0, "faults": 0})
                row["cases"] = int(str(row["cases"])) + 1
                if flag["fault"]:
                    row["faults"] = int(str(row["faults"])) + 1
                    faults.append(f"- {name} {kind}: {flag['text']}")
    lines = [f"{len(table['cases'])} cases. A flag is a question, and drops nothing by itself.", ""]
    lines += [diagnose.markdown_table(dict(sorted(rows.items())), columns=["cases", "faults"])]
    lines += ["", *faults] if faults else ["", "No fault was found."]
    lines += [f"- these look the same: {', '.join(group)}" for group in table["duplicates"]]
    lines += [f"- cannot be read: {why}" for why in table["unreadable"].values()]
    return "\n".join(lines)


def _pictures(
    heads: Heads, names: Sequence[str] | None
) -> Iterator[tuple[str, str, io.Picture | str]]:
    """Yield name, kind and picture, or why it cannot be read."""
    if not heads.folder:
        for name in pair_names(heads) if names is None else names:
            pair = load_pair(heads, name)
            yield name, "photo", io.Picture(pair.photo)
            yield name, "xray", io.Picture(pair.xray)
        return
    for path in io.list_images(Path(heads.folder)):
        kind = path.parent.name if path.parent.name in ("photo", "xray") else ""
        name = path.stem if kind else path.relative_to(heads.folder).as_posix()
        if names is not None and name not in names:
            continue
        try:
            yield name, kind, io.read_image(path)
        except ValueError as error:
            yield str(path), kind, str(error)
