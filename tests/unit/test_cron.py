from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from taskq.cron import Cron, Every, cron, every, next_slot, slots, zone
from taskq.cron_fields import parse
from taskq.errors import InvalidOption


def ms(*parts: int) -> int:
    return round(datetime(*parts, tzinfo=UTC).timestamp() * 1_000)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "has 0 fields, not 5"),
        ("* * * *", "has 4 fields, not 5: minute, hour, day of month, month, day of week"),
        ("* * * * * *", "for a field of seconds say seconds=True"),
        ("60 * * * *", "'60' is no minute: those are 0 to 59"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "'0' is no day of month"),
        ("* * * 13 *", "'13' is no month"),
        ("* * * * 8", "'8' is no day of week"),
        ("* * * foo *", "'foo' is no month"),
        ("mon * * * *", "'mon' is no minute"),
        ("*/0 * * * *", "the step 0 of the minute"),
        ("*/60 * * * *", "the step 60 of the minute"),
        ("1-x * * * *", "'1-x' is no minute"),
        ("-1 * * * *", "'-1' is no minute"),
        ("1,,2 * * * *", "'' is no minute"),
        ("? * * * *", "'?' is no minute"),
        ("50-10/5 * * * *", "ends before it begins"),
        ("R * * * *", "'r' is no minute"),
        ("H H * * *", "'h' is no minute"),
        ("0 0 15W * *", "'15w' is no day of month"),
        ("0 0 * * 1#6", "second Monday"),
        ("0 0 15 * 1#2", "need '*' as day of month"),
        ("0 0 * * 1,2#1", "second Monday"),
        ("30 2 30 2 *", "this date never comes"),
        ("0 0 31 2,4,6,9,11 *", "this date never comes"),
        ("@reboot", "of such words there are @yearly"),
        ("9" * 600, "give a cron line"),
        (5, "give a cron line"),
        (None, "give a cron line"),
        ("\u0663 * * * *", "is no minute"),
    ],
)
def test_bad_lines_are_refused_by_one_sentence(text: object, error: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        cron(text)
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tz", ["Mars/Phobos", "America", "", "../etc/passwd", "europe/berlin\0", 5, None])
def test_unknown_zones_are_refused(tz: object) -> None:
    with pytest.raises(InvalidOption, match="no time zone that this machine knows"):
        cron("* * * * *", tz)


def test_what_always_falls_into_a_gap_never_comes() -> None:
    with pytest.raises(InvalidOption, match="never comes in Europe/Berlin"):
        cron("*/30 2 * 3 L0", "Europe/Berlin")
    assert next_slot(cron("30 2 * 3 L0", "Europe/Berlin"), ms(2026, 3, 1)) == ms(2026, 3, 29, 1)


@pytest.mark.parametrize("value", [0, 0.5, -1, "30", float("nan"), float("inf"), True, None, timedelta(days=5_000)])
def test_bad_intervals_are_refused(value: object) -> None:
    with pytest.raises(InvalidOption, match="every="):
        every(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("*/15 9-10 1,L jan-mar MON", "0,15,30,45 9,10 1,l 1,2,3 1"),
        ("9-9 22-2 * * 5-7", "9 0,1,2,22,23 * * 0,5,6"),
        ("*/1 */1 ? * ?", "* * * * *"),
        ("50/5 0 * * sun,7", "50,55 0 * * 0"),
        ("0 0 * * fri#2,1#3", "0 0 * * 5#2,1#3"),
        ("0 0 * * L5", "0 0 * * l5"),
        ("@weekly", "0 0 * * 0"),
    ],
)
def test_lines_are_given_to_croniter_as_plain_numbers(text: str, canonical: str) -> None:
    assert parse(text).canonical == canonical


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("30 2 * * *", False),
        ("0,30 1-4 * * *", False),
        ("0-50/10 2 * * *", False),
        ("30 * * * *", True),
        ("*/30 2 * * *", True),
        ("5/10 2 * * *", True),
        ("0 */2 * * *", True),
    ],
)
def test_which_lines_go_on_around_the_clock(text: str, interval: bool) -> None:
    assert parse(text).interval is interval


def test_seconds_count_for_that_too() -> None:
    assert parse("*/10 30 2 * * *", seconds=True).interval
    assert not parse("0 30 2 * * *", seconds=True).interval
    assert parse("@daily", seconds=True).canonical == "0 0 0 * * *"


def test_a_day_that_fits_either_field_counts_if_both_are_given() -> None:
    found = slots(cron("0 0 13 * 5"), ms(2026, 2, 1), ms(2026, 3, 1), 99)
    assert found == [ms(2026, 2, day) for day in (6, 13, 20, 27)]


def test_the_next_slot_is_after_the_moment_and_on_a_whole_second() -> None:
    times = cron("*/5 * * * *")
    assert next_slot(times, ms(2026, 1, 1)) == ms(2026, 1, 1, 0, 5)
    assert next_slot(times, ms(2026, 1, 1) - 1) == ms(2026, 1, 1)
    assert next_slot(times, ms(2026, 1, 1) + 1) == ms(2026, 1, 1, 0, 5)


def test_a_far_date_is_found_across_all_changes_between() -> None:
    times = cron("*/30 2 29 2 *", "Europe/Berlin")
    assert next_slot(times, ms(2026, 3, 29)) == ms(2028, 2, 29, 1)


def test_no_slot_after_the_years_that_taskq_stores() -> None:
    assert next_slot(cron("* * * * *"), ms(2099, 12, 31, 23, 59)) == ms(2100, 1, 1)
    assert next_slot(cron("* * * * *"), ms(2100, 1, 1)) is None
    assert next_slot(Every(1_000), ms(2100, 1, 1)) is None


def test_every_counts_from_its_anchor() -> None:
    assert next_slot(every(30), ms(2026, 1, 1)) == ms(2026, 1, 1, 0, 0, 30)
    assert slots(every(timedelta(seconds=10), 3), 3, 20_003, 9) == [10_003, 20_003]
    assert next_slot(Every(10_000, 50_000), 0) == 10_000, "an anchor is one of the moments, not the first"


def test_slots_stop_at_their_cap_and_their_end() -> None:
    assert slots(cron("* * * * *"), 0, ms(2026, 1, 1), 3) == [60_000, 120_000, 180_000]
    assert slots(cron("* * * * *"), 0, 119_999, 3) == [60_000]
    assert slots(cron("* * * * *"), 0, ms(2026, 1, 1), 0) == []


def test_values_are_kept_as_they_were_meant() -> None:
    assert cron("  */5  * * * * ", ZoneInfo("Europe/Berlin")) == Cron("*/5 * * * *", "Europe/Berlin")
    assert zone("UTC") is UTC
