"""What children measured of records is added up, those that have ended too."""

from __future__ import annotations

from taskq.buckets import Histogram
from taskq.events.metering import Meter
from taskq_workers.measured import Measured, histogram


def told(handled: int, refused: int = 0, bucket: int = 20) -> dict[str, object]:
    return {
        "records": {"handled": handled, "failed": 1},
        "refused": refused,
        "handling": {str(bucket): handled},
        "commits": {"22": 1},
    }


def test_nothing_is_told_where_nothing_is_measured() -> None:
    measured = Measured()
    measured.ended(3)
    assert measured.total() is None


def test_children_are_added_up_and_stay_when_they_end() -> None:
    measured = Measured()
    measured.heard(0, told(5))
    measured.heard(0, told(7, 1))  # all that it has, each time
    measured.heard(1, told(10, 2, bucket=24))
    assert (total := measured.total()) is not None
    assert (total["records"], total["refused"]) == ({"handled": 17, "failed": 2}, 3)
    assert histogram(total["handling"]) == Histogram({20: 7, 24: 10})
    measured.ended(0)
    measured.ended(1)
    assert measured.total() == total
    measured.heard(2, Meter().told())
    assert (after := measured.total()) is not None
    assert after["records"] == total["records"]
