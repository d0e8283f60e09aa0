"""What a task costs the interpreter: bytecode instructions on the way of a task, counted, not timed."""

from __future__ import annotations

import sys
from zlib import crc32

import pytest

from taskq_workers.attempt import Attempt
from taskq_workers.report import Report
from tests.performance.counting import MARGIN, instructions
from tests.performance.parts import Hands, canned, ends_of, leased, make_app, noop, stop_clocks, take_canned

COUNT = 1_000
_DONE = [0, 0, b""]

# By version of Python, each as it was read; the limits stand MARGIN above. Compilers differ, so a version that is not
# here has no limit yet.
WORKER = {(3, 11): 836, (3, 12): 768, (3, 13): 672}
ENQUEUE = {(3, 11): 287, (3, 12): 264, (3, 13): 150}


def limit(read: dict[tuple[int, int], int]) -> float:
    value = read.get(sys.version_info[:2])
    if value is None:
        pytest.skip(f"nobody has counted on Python {sys.version_info.major}.{sys.version_info.minor} yet")
    return value * MARGIN


def worker_path(monkeypatch: pytest.MonkeyPatch) -> int:
    """Per task: the answer of a lease call is read and sorted, each attempt begun, run and done, all of it settled."""
    stop_clocks(monkeypatch)
    app = make_app("performance")
    hands = Hands(app, canned("performance", _DONE))
    replies = leased(app, hands, COUNT)

    def work() -> None:
        take_canned(hands, replies)
        hands.run()
        assert len(hands.outcomes) == COUNT
        hands.settle()

    work()  # what is worked out once is there now
    took = instructions(work)
    assert hands.report.done_count == 2 * COUNT
    assert hands.tokens.outstanding == 0
    hands.close()
    return took // COUNT


def enqueue_path() -> int:
    """Per call of a bulk."""
    app = make_app("performance")
    task, rows = app.tasks[f"{noop.__module__}.noop"], [(number,) for number in range(COUNT)]
    with app.use_broker(ends_of(canned("performance", [0, b""]))):
        task.enqueue_many(rows)
        return instructions(lambda: task.enqueue_many(rows)) // COUNT


def test_the_way_of_a_task_through_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    most = limit(WORKER)
    assert worker_path(monkeypatch) <= most


def test_the_way_of_a_call_into_the_broker() -> None:
    most = limit(ENQUEUE)
    assert enqueue_path() <= most


def test_the_same_work_counts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(WORKER)
    assert worker_path(monkeypatch) == worker_path(monkeypatch)
    assert enqueue_path() == enqueue_path()


def rounds_beyond(most: float, now: int) -> range:
    """So many rounds of an empty loop as use up what a limit leaves, at two instructions or more each."""
    return range(max(round((most - now) / 2), 0) + 1)


def test_a_loop_more_per_task_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds, done = rounds_beyond(limit(WORKER), worker_path(monkeypatch)), Report.done

    def slower(self: Report, attempt: Attempt) -> None:
        for _ in rounds:
            pass
        done(self, attempt)

    monkeypatch.setattr(Report, "done", slower)
    assert worker_path(monkeypatch) > limit(WORKER)


def test_a_loop_more_per_call_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = rounds_beyond(limit(ENQUEUE), enqueue_path())

    def slower(data: bytes) -> int:
        for _ in rounds:
            pass
        return crc32(data)

    monkeypatch.setattr("taskq.tasks.outgoing.crc32", slower)
    assert enqueue_path() > limit(ENQUEUE)
