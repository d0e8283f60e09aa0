"""`taskq.cron` against slots that are counted out minute by minute (`tests/cron_oracle.py`, which has a long run)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest

from taskq.cron import cron, next_slot, slots
from tests.cron_oracle import FROM, LINES, changes, classes, compare, windows

PARTS = 4


@cache
def every_class() -> list[str]:
    return [names[0] for names, _ in classes()]


@pytest.mark.parametrize("part", range(PARTS))
def test_around_a_gap_and_a_repeated_hour_of_every_kind_of_zone(part: int) -> None:
    mine, compared = every_class()[part::PARTS], 0
    wrong: list[str] = []
    assert mine, "this machine has no zone data"
    assert len(LINES) >= 40
    for name in mine:
        found = changes(ZoneInfo(name))
        kinds = {(new > old): (moment, old, new) for moment, old, new in reversed(found)}
        for start, end in windows(tuple(kinds.values()), 4):
            count, odd = compare(name, start, end, LINES)
            compared, wrong = compared + count, wrong + odd
    assert compared > 1_000 * len(mine)
    assert wrong == []


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_seven_years_of_a_zone() -> None:
    lines = tuple(line for line in LINES if line not in ("* * * * *", "*/5 * * * *", "*/7 * * * *", "0-59 2 * * *"))
    compared, wrong = compare("Europe/Berlin", FROM, datetime(2031, 1, 1, tzinfo=UTC), lines)
    assert compared > 100_000
    assert wrong == []


BERLIN = {"gap": datetime(2026, 3, 29, 1, tzinfo=UTC), "repeated": datetime(2026, 10, 25, 1, tzinfo=UTC)}


@pytest.mark.parametrize("change", BERLIN)
def test_seconds(change: str) -> None:
    """Six fields, second by second through both kinds of change."""
    zone, start = ZoneInfo("Europe/Berlin"), BERLIN[change] - timedelta(hours=2)
    moments = [start + timedelta(seconds=second) for second in range(4 * 3_600)]
    walls = [moment.astimezone(zone).replace(tzinfo=None) for moment in moments]
    first, last = round(start.timestamp() * 1_000), round(moments[-1].timestamp() * 1_000)
    steady = [at for at, wall in zip(moments, walls, strict=True) if wall.second % 15 == 0]
    assert slots(cron("*/15 * * * * *", "Europe/Berlin", seconds=True), first - 1, last, 10_000) == _ms(steady)
    once, shown = [], walls[0] - timedelta(seconds=1)
    for at, wall in zip(moments, walls, strict=True):
        wanted = wall.replace(hour=2, minute=30, second=30)
        if shown < wanted <= wall:
            once.append(at)
        shown = max(shown, wall)
    assert len(once) == 1
    assert slots(cron("30 30 2 * * *", "Europe/Berlin", seconds=True), first - 1, last, 9) == _ms(once)


def _ms(moments: list[datetime]) -> list[int]:
    return [round(moment.timestamp() * 1_000) for moment in moments]


def test_slots_are_those_that_next_slot_walks_through() -> None:
    times = cron("*/7 1-3 * * *", "Australia/Lord_Howe")
    after = round(datetime(2026, 4, 4, 12, tzinfo=UTC).timestamp() * 1_000)
    listed = slots(times, after, after + 3 * 86_400_000, 1_000)
    for slot in listed:
        assert next_slot(times, after) == slot
        after = slot
    assert len(listed) > 80
