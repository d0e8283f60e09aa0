"""What is drawn of topics: the line of the overview, the view of its own, one topic."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from taskq.snapshot import Snapshot
from taskq_dashboard.paint import ASCII, Paint
from taskq_dashboard.picture import develop
from taskq_dashboard.state import Looked
from tests.dashboard.made_up import NOW, group, queue, snapshot, topic
from tests.dashboard.test_view import seen


def test_the_overview_has_a_line_of_the_groups_that_are_behind() -> None:
    look = snapshot(queue("mail"), topics=(topic("orders", group(), group("mail", seconds=75.0)), topic("bare")))
    for size in ((80, 24), (160, 48)):
        [line] = [line for line in seen(look, size=size).splitlines() if line.startswith(" topics")]
        assert re.fullmatch(r" topics 2  dead 6   orders/mail 1234 1.2 m +orders/billing 1234 3.0 s", line), line
    calm = snapshot(queue("mail"), topics=(topic("orders", group(records=0, dead=0)),))
    assert " topics 1  no group is behind" in seen(calm)
    assert "topics" not in seen(snapshot(queue("mail")))
    assert " topics 1" in seen(replace(calm, queues=())), "with nothing but topics, too"


@pytest.mark.parametrize("paint", [Paint(), Paint(ASCII)], ids=["full", "ascii"])
@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_topics_have_a_view_with_the_groups_of_the_selected_one(size: tuple[int, int], paint: Paint) -> None:
    look = snapshot(topics=(topic("bare"), topic("orders", group(), group("mail", kind="shared", members=()))))
    text = seen(look, "7", size=size, paint=paint)
    for words in ("topics 2", "records", "oldest", "dead"):
        assert words in text
    assert "groups of" not in text, "the first topic has none"
    text = seen(look, "7", "j", size=size, paint=paint)
    for pattern in ("groups of orders", "group +.*members +lag", "billing .* 1234 .* 3.0 s", r"mail +.* 0 +1234"):
        assert re.search(pattern, text), pattern
    assert "p pause" not in text.splitlines()[-1]
    assert "r retry" not in text.splitlines()[-1], "nothing is changed here"
    assert "bare" not in seen(look, "7", "/", "b", "i", "l", "l", size=size, paint=paint), "groups are looked into"
    assert "nothing yet" in seen(snapshot(), "7", size=size, paint=paint)


def test_a_topic_is_opened_with_partitions_groups_and_members_and_follows_the_looks() -> None:
    def look(lag: int) -> Snapshot:
        return snapshot(topics=(topic("orders", group(records=lag, retried=9)),))

    text = seen(look(7), "7", "enter", size=(100, 40))
    for words in (
        *("topic orders", "plain, codec json", "records 5000, age 1.0 m of each partition", "10,000 were published"),
        *("partitions 2", "1800000000000-99", "group billing, ordered", "7 records", "retried 9, dead ever 3"),
        *("member-1 host:7, partitions 0, 1", "1800000000000-3", "epoch 7"),
    ):
        assert words in text, words
    assert "8 records" in seen(look(7), "7", "enter", Looked(look(8)), size=(100, 40))
    assert "7 records" in seen(look(7), "7", "enter", Looked(snapshot()), size=(100, 40)), "one that is gone stays"
    assert "topics 0" in seen(look(7), "7", "enter", Looked(snapshot()), "esc", size=(100, 40))


def test_rates_of_topics_and_groups_come_from_their_counters() -> None:
    def look(now: int, appended: int, done: int) -> Snapshot:
        return snapshot(topics=(topic("orders", group(done=done), appended=appended),), now=now)

    picture = develop(look(NOW, 10_000, 5_000))
    assert picture.flow("orders") == 0
    picture = develop(look(NOW + 5_000, 10_500, 5_100), picture)
    assert (picture.flow("orders"), picture.flow("orders", "billing"), picture.flow("other")) == (100, 20, 0)
    picture = develop(look(NOW + 10_000, 2_000, 5_100), picture)
    assert picture.flow("orders") == 400, "a topic that was made anew never gives a negative rate"
