"""Durations as a histogram: two buckets for each doubling, from a microsecond up, so that a median is off by a quarter.

A bucket is a small number, computed from a duration without a search: twice its binary length in microseconds, and one
more in the upper half. Counts by bucket add up and subtract, whoever counted them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MOST = 75
"""The last bucket: about 38 hours and everything above."""


def bucket(microseconds: int) -> int:
    """The bucket of a duration; negative ones count as 0.

    >>> bucket(0), bucket(1), bucket(2), bucket(3), bucket(1_000), bucket(10**15)
    (0, 2, 4, 5, 21, 75)
    """
    if microseconds <= 0:
        return 0
    length = microseconds.bit_length()
    return min(2 * length + (microseconds << 2 >> length & 1), MOST)


def bounds(number: int) -> tuple[float, float]:
    """The shortest duration of a bucket and the first one above it, in seconds.

    >>> bounds(21)
    (0.000768, 0.001024)
    """
    if number < 2:
        return 0.0, 1e-6
    low = float(1 << (number // 2 - 1))
    half = low / 2
    return ((low + half) / 1e6, 2 * low / 1e6) if number % 2 else (low / 1e6, (low + half) / 1e6)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many durations fell into each bucket.

    >>> one = Histogram({bucket(1_000): 3, bucket(4_000): 1})
    >>> one.total, round(one.quantile(0.5), 4), one.minus(one).quantile(0.5)
    (4, 0.0009, None)
    """

    counts: Mapping[int, int] = field(default_factory=dict, hash=False)

    @property
    def total(self) -> int:
        """All durations."""
        return sum(self.counts.values())

    def quantile(self, share: float) -> float | None:
        """A duration in seconds that this share does not exceed, as far as buckets tell; None if there are none."""
        wanted = share * self.total
        if not self.counts or wanted < 0 or not self.total:
            return None
        seen = 0
        for number in sorted(self.counts):
            count = self.counts[number]
            if count > 0 and seen + count >= wanted:
                low, high = bounds(number)
                return low + (high - low) * max(wanted - seen, 0.0) / count
            seen += count
        return bounds(max(self.counts))[1]

    def plus(self, other: Histogram) -> Histogram:
        """Both together."""
        keys = self.counts.keys() | other.counts.keys()
        return Histogram({key: self.counts.get(key, 0) + other.counts.get(key, 0) for key in keys})

    def minus(self, earlier: Histogram) -> Histogram:
        """What came since `earlier`; a count that went down (it was reset) counts from nothing."""
        left = {}
        for key, count in self.counts.items():
            before = earlier.counts.get(key, 0)
            new = count - before if count >= before else count
            if new:
                left[key] = new
        return Histogram(left)
