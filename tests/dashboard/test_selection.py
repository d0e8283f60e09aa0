"""What is looked at is what is acted on, whatever comes and goes around it; what is not seen takes no key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from taskq_dashboard.rows import items, place, selected
from taskq_dashboard.state import Do, Effect, Finished, Listing, Looked, Order, Quit, Read, Resized, Want
from tests.dashboard.made_up import queue, rows, schedule, worker
from tests.dashboard.test_reducer import MAIL, dead, opened, play


def numbered(*numbers: int, want: Want | None = None) -> Read:
    """A page of the dead letters of mail with these numbers."""
    made = rows(max(numbers) + 1)
    shown = tuple(made[number] for number in numbers)
    return Read(Listing(want or Want("mail", "dead"), shown, len(shown), len(shown)))


def orders(wishes: list[Effect]) -> list[Order]:
    return [one.order for one in wishes if isinstance(one, Do)]


def test_a_letter_that_comes_on_top_is_not_deleted_for_the_one_that_was_there() -> None:
    state, wishes = play(opened("5"), numbered(3, 4, 5), numbered(1, 2, 3, 4, 5), "D")
    assert [one.ids for one in orders(wishes)] == [("id-0003",)]
    assert place(state, items(state)) == 2


@pytest.mark.parametrize("key", ["r", "D"])
def test_what_was_dealt_with_leaves_the_selection_to_its_neighbour(key: str) -> None:
    state, wishes = play(opened("5"), numbered(1, 2, 3, 4), "j", key)
    (order,) = orders(wishes)
    state, wishes = play(state, Finished(order, "done"), numbered(0, 1, 3, 4), key)
    assert [one.ids for one in orders(wishes)] == [("id-0003",)], "the next one, also if another came on top"
    state, _ = play(state, Finished(order, "done"), numbered(0, 1))
    assert getattr(selected(state), "id", "") == "id-0001", "the last one has nobody after it"
    state, _ = play(state, numbered(7, 8))
    assert getattr(selected(state), "id", "") == "id-0008", "nobody is known any more: the same place"


def test_another_page_and_another_list_begin_at_their_first_row() -> None:
    state = play(opened("5"), Read(Listing(Want("mail", "dead"), rows(3), 5, 3, "next")), "G", "j")[0]
    state, _ = play(state, numbered(7, 8, want=Want("mail", "dead", cursor="next")))
    assert getattr(selected(state), "id", "") == "id-0007"
    state, _ = play(state, "j", "tab", numbered(10, 11, want=Want("mail", "quarantined")))
    assert getattr(selected(state), "id", "") == "id-0010"


def test_a_schedule_that_was_paused_stays_selected_where_it_is_sorted_to() -> None:
    state, wishes = play(opened("6"), "p")
    (order,) = orders(wishes)
    after = replace(MAIL, schedules=(schedule("hourly"), schedule("weekly", "paused"), schedule("nightly", "paused")))
    state, wishes = play(state, Finished(order, "paused"), Looked(after), "p")
    assert orders(wishes) == [Order("release", "mail", ids=("nightly",))]


def test_a_queue_that_comes_first_is_not_paused_for_the_one_that_was() -> None:
    more = replace(MAIL, queues=(queue("a-new-one"), *MAIL.queues))
    assert orders(play(opened(), Looked(more), "p")[1]) == [Order("pause", "audit")]
    ended = replace(MAIL, workers=(worker("host-2"), worker()))
    assert orders(play(opened("4"), Looked(ended), "C")[1])[0].ids == ("id-host-1-1",)


@pytest.mark.parametrize("size", [(39, 24), (80, 9), (1, 1)])
def test_a_screen_that_shows_nothing_takes_no_key_but_q(size: tuple[int, int]) -> None:
    small = play(dead(), Resized(*size))[0]
    for key in ("D", "r", "space", "A", "2", "/", "?", "enter", "tab", "j"):
        after, wishes = play(small, key)
        assert (after, wishes) == (small, []), key
    assert play(small, "q")[1] == [Quit()]
    assert play(small, Resized(40, 10), "D")[1] != []


def test_a_question_that_is_not_seen_is_answered_by_no_alone() -> None:
    asked = play(dead(), "space", "space", "D", Resized(30, 5))[0]
    for key in ("y", "Y", "enter", "space"):
        assert play(asked, key) == (asked, [])
    for key in ("n", "esc"):
        state, wishes = play(asked, key)
        assert (state.ask, wishes, len(state.marked)) == (None, [], 2)
    assert play(asked, "q")[1] == [Quit()]
    assert orders(play(asked, Resized(80, 24), "y")[1]) == [asked.ask]


def test_q_is_no_letter_of_a_filter_that_is_not_seen() -> None:
    state, wishes = play(opened("/", "a"), Resized(30, 5), "u", "q")
    assert (state.typing, wishes) == ("a", [Quit()])
