"""Who is in which split: decided by content, so that neither names nor file order matter."""

import hashlib
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

__all__ = ["check_splits", "fixed_list", "split_cases"]

Cases = Sequence[str]


def split_cases(
    hashes: Mapping[str, str],
    *,
    shares: Mapping[str, float] | None = None,
    counts: Mapping[str, int | None] | None = None,
    groups: Mapping[str, str] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Divide cases among splits by the hash of their contents.

    Cases with the same content, or of the same group, stay together. With ``shares`` each content
    has its place for good: a new case moves no other (unless it joins two groups into one), and
    the sizes are only about right. With ``counts`` the sizes are exact, and a new case may push
    one other from each split on to the next.

    Args:
        hashes: case name to content hash, as from `manifest`.
        shares: split to its share; they sum to 1.
        counts: split to its number of cases, of which one may be None and takes the rest.
        groups: case name to group, such as the patient; all cases must be in it.

    Returns:
        Split to case names, sorted.

    Raises:
        ValueError: both or neither of ``shares`` and ``counts``; shares that are negative or do
            not sum to 1; counts that do not fit; a split without cases; a case without group.

    Example:
        >>> hashes = {f"case{i:02}": f"{i:064x}" for i in range(40)}
        >>> splits = split_cases(hashes, counts={"test": 8, "val": 4, "train": None})
        >>> {name: len(cases) for name, cases in splits.items()}
        {'test': 8, 'val': 4, 'train': 28}
    """
    blocks = _blocks(hashes, groups)
    wanted: Mapping[str, float | None]
    if shares is not None and counts is None:
        wanted, splits = shares, _by_share(blocks, shares)
    elif counts is not None and shares is None:
        wanted, splits = counts, _by_count(blocks, counts)
    else:
        msg = "give either shares or counts"
        raise ValueError(msg)
    empty = [name for name, cases in splits.items() if not cases and wanted[name] != 0]
    if empty:
        msg = f"{len(hashes)} cases leave {', '.join(empty)} empty, got {dict(wanted)}"
        raise ValueError(msg)
    return {name: tuple(sorted(cases)) for name, cases in splits.items()}


def check_splits(splits: Mapping[str, Mapping[str, str]]) -> None:
    """Raise if two splits share a case, by name or by content.

    For pairs of pictures check each kind by itself as well: two pairs may share one picture.

    Args:
        splits: split to case name to content hash.

    Raises:
        ValueError: the first such cases are named, each with its splits.

    Example:
        >>> check_splits({"train": {"p1": "aa"}, "test": {"p7": "aa"}})
        Traceback (most recent call last):
        ValueError: splits share cases: train/p1 and test/p7 have the same content
    """
    by_name: dict[str, str] = {}
    by_content: dict[str, tuple[str, str]] = {}
    found = []
    for split, hashes in splits.items():
        for name, digest in hashes.items():
            other = by_name.setdefault(name, split)
            first = by_content.setdefault(digest, (split, name))
            if other != split:
                found.append(f"{name} is in {other} and in {split}")
            elif first[0] != split:
                found.append(f"{first[0]}/{first[1]} and {split}/{name} have the same content")
    if found:
        rest = f" and {len(found) - 5} more" if len(found) > 5 else ""
        msg = f"splits share cases: {'; '.join(found[:5])}{rest}"
        raise ValueError(msg)


def fixed_list(hashes: Mapping[str, str], *, count: int = 20) -> tuple[str, ...]:
    """Choose the cases of every table and picture once, by content and not by eye.

    A longer list begins with the shorter one, and of several names of one content only the first
    in the alphabet is taken. Save it with `write_manifest`: new cases may enter a list that is
    chosen anew.

    Args:
        hashes: case name to content hash, as from `manifest`.
        count: number of cases.

    Returns:
        Case names, in an order that only the contents decide.

    Raises:
        ValueError: ``count`` is below 1, or there are fewer contents.

    Example:
        >>> fixed_list({"a": "11", "b": "22", "again": "11", "c": "33"}, count=3)
        ('a', 'c', 'b')
    """
    names: dict[str, str] = {}
    for name in sorted(hashes):
        names.setdefault(hashes[name], name)
    if not 1 <= count <= len(names):
        msg = f"count must be from 1 to the {len(names)} different contents there are, got {count}"
        raise ValueError(msg)
    order = sorted(names, key=lambda digest: _place("fixed", digest))
    return tuple(names[digest] for digest in order[:count])


def _place(purpose: str, key: str) -> float:
    """Fixed number in [0, 1) of a key, another one for each purpose."""
    digest = hashlib.sha256(f"{purpose}:{key}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _blocks(
    hashes: Mapping[str, str], groups: Mapping[str, str] | None
) -> list[tuple[float, Cases]]:
    """Cases that stay together, with their place in [0, 1), in this order."""
    alone = [name for name in hashes if groups is not None and name not in groups]
    if alone:
        msg = f"groups lack {len(alone)} of {len(hashes)} cases: {', '.join(alone[:5])}"
        raise ValueError(msg)
    labels = {name: hashes[name] if groups is None else groups[name] for name in hashes}
    parent: dict[str, str] = {}

    def root(label: str) -> str:
        while parent.setdefault(label, label) != label:
            label = parent[label]
        return label

    owner: dict[str, str] = {}
    for name, digest in hashes.items():
        first = owner.setdefault(digest, labels[name])
        parent[root(labels[name])] = root(first)
    members: dict[str, list[str]] = defaultdict(list)
    for name, label in labels.items():
        members[root(label)].append(name)
    return sorted(
        (min(_place("split", labels[name]) for name in names), sorted(names))
        for names in members.values()
    )


def _by_share(
    blocks: Iterable[tuple[float, Cases]], shares: Mapping[str, float]
) -> dict[str, list[str]]:
    total = math.fsum(shares.values())
    if not all(share >= 0 for share in shares.values()) or not math.isclose(total, 1, abs_tol=1e-9):
        msg = f"shares must be 0 or more and sum to 1, got {dict(shares)}"
        raise ValueError(msg)
    splits: dict[str, list[str]] = {name: [] for name in shares}
    uppers = list(accumulate(shares.values()))
    names = list(shares)
    for place, cases in blocks:
        splits[names[min(bisect_right(uppers, place), len(names) - 1)]] += cases
    return splits


def _by_count(
    blocks: Sequence[tuple[float, Cases]], counts: Mapping[str, int | None]
) -> dict[str, list[str]]:
    total, rest = (
        sum(len(cases) for _, cases in blocks),
        [n for n, c in counts.items() if c is None],
    )
    wanted = sum(count for count in counts.values() if count is not None)
    negative = any(count is not None and count < 0 for count in counts.values())
    if negative or len(rest) > 1 or wanted > total or (not rest and wanted < total):
        msg = f"counts must divide {total} cases, with at most one None for the rest, "
        msg += f"got {dict(counts)}"
        raise ValueError(msg)
    splits: dict[str, list[str]] = {name: [] for name in counts}
    for _, cases in blocks:
        fits = [n for n, c in counts.items() if c is not None and len(splits[n]) + len(cases) <= c]
        for name in (*fits, *rest)[:1]:
            splits[name] += cases
    short = {n: len(splits[n]) for n, c in counts.items() if c is not None and len(splits[n]) < c}
    if short:
        msg = f"groups of cases that stay together do not fit counts {dict(counts)}: "
        msg += ", ".join(f"{name} has {have}" for name, have in short.items())
        raise ValueError(msg)
    return splits
