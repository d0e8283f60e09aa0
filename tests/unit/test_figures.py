"""Stored statistics become values: cut lines are read as far as they go, gaps between samples are filled."""

from __future__ import annotations

import doctest
import json
import random

import pytest

from taskq import buckets, figures
from taskq.buckets import Histogram, bounds, bucket
from taskq.figures import beginning, samples, task_stats
from taskq.snapshot import Sample
from taskq.tasks import statistics
from taskq.tasks.failure import Failure
from taskq.tasks.statistics import SLOT_MS, SLOTS
from taskq_workers.commands import stats
from taskq_workers.counting import _BOUNDS, _NUMBERS


@pytest.mark.parametrize("module", [buckets, figures, statistics, stats], ids=lambda module: str(module.__name__))
def test_examples_in_the_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


# -- histograms


def test_quantiles_are_those_of_a_plain_computation_to_one_bucket() -> None:
    rng = random.Random(7)
    durations = sorted(int(10 ** rng.uniform(0, 7)) for _ in range(20_000))
    counts: dict[int, int] = {}
    for one in durations:
        counts[bucket(one)] = counts.get(bucket(one), 0) + 1
    for share in (0.01, 0.5, 0.9, 0.95, 0.99, 0.999):
        plain = durations[int(share * len(durations)) - 1] / 1e6
        told = Histogram(counts).quantile(share)
        assert told is not None
        low, high = bounds(bucket(int(plain * 1e6)))
        assert low <= told <= high


@pytest.mark.parametrize("micros", [-5, 0, 1, 2, 3, 4, 5, 6, 7, 8, 999, 1_000, 1_536, 123_456_789, 2**36, 2**45])
def test_a_worker_finds_the_bucket_that_the_formula_gives(micros: int) -> None:
    from bisect import bisect_right

    assert _NUMBERS[bisect_right(_BOUNDS, micros / 1e6)] == bucket(micros)


# -- tasks


def test_the_fields_of_a_queue_become_its_tasks_by_name() -> None:
    flat = [b"d b", b"2", b"f a", b"1", b"R7 b", b"2", b"W9 b", b"1", b"q c", b"1", b"Rx a", b"1", b"d a", b"-1"]
    one, two = task_stats("mail", flat)
    assert (one.queue, one.task, one.failed, one.done) == ("mail", "a", 1, 0)
    assert (two.task, two.done, dict(two.run.counts), dict(two.wait.counts)) == ("b", 2, {7: 2}, {9: 1})


# -- error lines


def test_a_line_that_was_cut_anywhere_tells_what_stands_before_the_cut() -> None:
    failure = Failure("error", "shop.Närrisch", 'no "tea"\n\\ \x00 at 5,"type":"x" €', "tb", 2, "w-1", "shop.send")
    line = failure.line()
    whole = json.loads(line)
    for end in range(len(line) + 1):
        said = beginning(line[:end])
        for name, value in said.items():
            if isinstance(value, str):
                assert whole[name].startswith(value)
        if end > line.index(b'"message":"') + 11:
            assert (said["type"], said["task"], said["attempt"]) == ("shop.Närrisch", "shop.send", 2)


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b'"x"'])
def test_what_is_no_line_says_nothing(line: bytes) -> None:
    assert dict(beginning(line)) == {}


# -- samples

NOW = 1_800_000_000_000 + 700
FIRST = NOW // SLOT_MS - SLOTS + 1


def stored(*kept: tuple[int, int], last: tuple[int, int] | None = None) -> list[bytes]:
    """Samples by slot before now, each with what was enqueued."""
    flat: list[bytes] = []
    for back, enqueued in kept:
        at = NOW - back * SLOT_MS
        flat += (b"%d" % (at // SLOT_MS % SLOTS), b"%d %d 0 0 0 0 0" % (at, enqueued))
    if last is not None:
        flat += (b"last", b"%d %d 0 0 0 0 0" % (NOW - last[0] * SLOT_MS, last[1]))
    return flat


def told(found: tuple[Sample, ...]) -> list[tuple[int, int]]:
    return [(NOW // SLOT_MS - one.at // SLOT_MS, one.enqueued) for one in found]


def test_gaps_have_the_values_before_them_until_the_last_sweep() -> None:
    found = samples(stored((6, 1), (3, 5)), NOW, NOW - SLOT_MS)
    assert told(found) == [(6, 1), (5, 1), (4, 1), (3, 5), (2, 5), (1, 5)]
    assert [one.at for one in found][:2] == [NOW - 6 * SLOT_MS, NOW // SLOT_MS * SLOT_MS - 5 * SLOT_MS]
    assert told(samples(stored((6, 1), (3, 5)), NOW, NOW - 30 * SLOT_MS))[-1] == (3, 5), "no sweep since"


def test_a_queue_that_was_idle_for_longer_than_the_ring_is_flat() -> None:
    found = samples(stored((500, 9), last=(500, 9)), NOW, NOW)
    assert told(found) == [(back, 9) for back in range(SLOTS - 1, -1, -1)]


def test_an_old_sample_of_the_same_place_in_the_ring_is_not_taken_for_a_new_one() -> None:
    assert told(samples(stored((SLOTS + 2, 1), (1, 7)), NOW, NOW))[-3:] == [(2, 1), (1, 7), (0, 7)]


def test_nothing_stored_and_what_lies_in_the_future_make_no_samples() -> None:
    assert samples([], NOW, NOW) == ()
    assert samples(stored((-10, 3)), NOW, NOW) == ()
