"""Classical event filters, event by event in python, from the sentences that define them."""

from collections.abc import Iterator, Sequence
from math import exp

import numpy as np

from tests.reference.events import Row

NEVER = 2147483647


def latest(
    rows: Sequence[Row], radius: int, *, same_polarity: bool
) -> Iterator[tuple[int, list[int]]]:
    """Yield each event's time, and those of the latest earlier event of every neighbour."""
    for i, (now, x, y, p) in enumerate(rows):
        newest: dict[tuple[int, int], int] = {}
        for t, u, v, q in rows[:i]:
            near = abs(u - x) <= radius and abs(v - y) <= radius and (u, v) != (x, y)
            if near and (q == p or not same_polarity):
                newest[u, v] = t
        yield now, sorted(newest.values(), reverse=True)


def support_age(rows: Sequence[Row], *, k: int, radius: int, same_polarity: bool) -> list[int]:
    """Time since the k-th newest of the neighbours' latest events, at most that for never."""
    found = latest(rows, radius, same_polarity=same_polarity)
    ages = (now - times[k - 1] if len(times) >= k else NEVER for now, times in found)
    return [min(age, NEVER) for age in ages]


def time_surface(
    rows: Sequence[Row], *, decay_us: float, radius: int, same_polarity: bool
) -> list[float]:
    """Sum of exponentials of the neighbours' ages."""
    found = latest(rows, radius, same_polarity=same_polarity)
    return [sum(exp((t - now) / decay_us) for t in times) for now, times in found]


def hot_pixels(
    rows: Sequence[Row], sensor: tuple[int, int], *, factor: float, least: int
) -> np.ndarray:
    """Compare each pixel's count with the second largest around it, nothing being beyond."""
    count: dict[tuple[int, int], int] = {}
    for _, x, y, _ in rows:
        count[x, y] = count.get((x, y), 0) + 1
    hot = np.zeros(sensor, bool)
    for y in range(sensor[0]):
        for x in range(sensor[1]):
            around = [(x + a, y + b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
            second = sorted(count.get(pixel, 0) for pixel in around)[-2]
            own = count.get((x, y), 0)
            hot[y, x] = own >= least and own > factor * second
    return hot
