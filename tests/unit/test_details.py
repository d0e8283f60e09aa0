"""Which queues a watch asks for the figures of their tasks, and when."""

from __future__ import annotations

from taskq.details import LEAST, Details
from taskq.snapshot import Sample

STEP_S = 0.5  # between looks
CLOCK = [1_000.0]
LINE = b"r" + bytes(16) + b"%013d" + b'{"type":"ValueError"}'


def round_of(
    details: Details, counters: dict[str, int], refused: tuple[str, ...] = (), *, whole: bool = False
) -> list[str]:
    """One look at queues of which so many messages are done; answers whom it asked."""
    CLOCK[0] += STEP_S
    asked = sorted(details.due(counters, CLOCK[0], whole=whole))
    for name in asked:
        if name not in refused:
            details.take_tasks(name, [b"d shop.send", b"%d" % counters[name]])
            details.take_failures(name, [LINE % counters[name]])
    details.keep(
        asked, refused, {name: {b"done": b"%d" % count, b"enqueued": b"9"} for name, count in counters.items()}
    )
    return asked


def done(details: Details) -> dict[str, int]:
    return {stats.queue: stats.done for stats in details.tasks}


def names(count: int) -> list[str]:
    return [f"q{number:03}" for number in range(count)]


def test_all_are_asked_at_first_and_none_again_that_has_not_moved() -> None:
    details, still = Details(), dict.fromkeys(names(200), 1)
    assert round_of(details, still) == names(200)
    assert [round_of(details, still) for _ in range(3)] == [[], [], []]
    assert round_of(details, still | {"q007": 2}) == [], "the look that sees it move was sent before"
    assert round_of(details, still | {"q007": 2}) == ["q007"]
    assert done(details)["q007"] == 2
    assert round_of(details, still | {"q007": 2}) == []


def test_what_moves_all_the_time_takes_turns() -> None:
    for count, at_once in ((50, LEAST), (200, 20)):  # five seconds are ten looks
        details, turns = Details(), count // at_once
        every = names(count)
        rounds = [round_of(details, dict.fromkeys(every, turn + 1)) for turn in range(1 + 2 * turns + 1)]
        assert [len(asked) for asked in rounds[2:]] == [at_once] * (2 * turns)
        assert sorted(name for asked in rounds[2 : 2 + turns] for name in asked) == every
        assert rounds[2 : 2 + turns] == rounds[2 + turns :]


def test_what_is_over_is_known_in_full_a_few_looks_later() -> None:
    details, every = Details(), names(50)
    for turn in range(7):
        round_of(details, dict.fromkeys(every, turn))
    for _ in range(12):
        round_of(details, dict.fromkeys(every, 100))
    assert done(details) == dict.fromkeys(every, 100)
    assert len(details.failures) == 50


def test_a_whole_look_asks_all_of_them() -> None:
    details, every = Details(), names(50)
    assert [round_of(details, dict.fromkeys(every, 1), whole=True) for _ in range(2)] == [every, every]


def test_what_is_gone_or_refused_leaves_nothing_and_is_asked_again() -> None:
    details = Details()
    round_of(details, {"a": 1, "b": 1})
    assert round_of(details, {"b": 1}) == []
    assert set(done(details)) == {"b"}
    assert round_of(details, {"a": 1, "b": 1}) == ["a"]
    round_of(details, {"a": 2, "b": 1})
    assert round_of(details, {"a": 2, "b": 1}, refused=("a",)) == ["a"]
    assert set(done(details)) == {"b"}
    assert round_of(details, {"a": 2, "b": 1}) == ["a"]
    assert done(details) == {"a": 2, "b": 1}


def test_failures_of_all_queues_are_in_order_newest_first() -> None:
    details = Details()
    round_of(details, {"a": 5, "b": 9, "c": 7})
    assert [(one.queue, one.at) for one in details.failures] == [("b", 9), ("c", 7), ("a", 5)]


def sampled(details: Details, count: int, now: float) -> list[str]:
    due = sorted(details.samples_due(names(count), now))
    for name in due:
        details.take_samples(name, (Sample(round(now), 1, 1, 0, 0, 0, 0),))
    return due


def test_samples_are_asked_for_again_after_five_seconds_a_tenth_at_a_time() -> None:
    details = Details()
    details.due(names(50), 99.5)
    details.due(names(50), 100.0)
    assert sampled(details, 50, 100.0) == names(50)
    assert [sampled(details, 50, 100.0 + tick / 2) for tick in range(1, 10)] == [[]] * 9
    again = [sampled(details, 50, 105.0 + tick / 2) for tick in range(10)]
    assert [len(due) for due in again] == [LEAST] * 10
    assert sorted(name for due in again for name in due) == names(50)
    assert sampled(details, 51, 109.9) == ["q050"]
    assert list(details.samples) == names(51)
    sampled(details, 3, 109.9)
    assert list(details.samples) == names(3)


def test_who_looks_seldom_asks_more_at_a_time() -> None:
    details, every = Details(), names(200)
    for now, expected in ((0.0, 200), (2.0, 0), (4.0, 80), (5.0, 40), (15.0, 160), (14.0, LEAST)):
        asked = details.due(every, now)
        assert len(asked) == expected, now
        details.keep(asked, (), {name: {b"done": b"%d" % (now * 10)} for name in every})
