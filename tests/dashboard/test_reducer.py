"""What follows from a key or an answer: states and wishes, without a terminal and without a broker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from taskq_dashboard.offers import CHANGING, offers
from taskq_dashboard.reducer import AGAIN_MS, reduce
from taskq_dashboard.rows import items, place, queue_at_hand, selected
from taskq_dashboard.state import (
    Advanced,
    Count,
    Counted,
    Do,
    Effect,
    Event,
    Failed,
    Finished,
    Found,
    Key,
    Listing,
    Looked,
    Lost,
    Message,
    Open,
    Order,
    Quit,
    Read,
    ReadPage,
    Resized,
    Row,
    State,
    Stop,
    Ticked,
    Want,
)
from tests.dashboard.made_up import NOW, busy, failure, message, queue, rows, schedule, snapshot, worker

MAIL = snapshot(
    queue("audit", ready=1),
    queue("mail", ready=5, dead=30),
    queue("news", paused=True),
    workers=(worker(),),
    failures=(failure(0), failure(1, "tea is out")),
    schedules=(schedule("nightly"), schedule("weekly", "paused")),
)


def play(state: State, *events: Event | str) -> tuple[State, list[Effect]]:
    """The state after some events (texts are keys), and all wishes on the way."""
    wishes: list[Effect] = []
    for event in events:
        state, more = reduce(state, Key(event) if isinstance(event, str) else event)
        wishes += more
    return state, wishes


def opened(*events: Event | str, **fields: Any) -> State:
    return play(State(now=1e12, **fields), Looked(MAIL), *events)[0]


def test_the_queue_at_hand_is_the_selected_one_or_that_whose_messages_are_listed() -> None:
    assert queue_at_hand(State()) == ""
    assert queue_at_hand(opened()) == "audit"
    assert queue_at_hand(opened("j")) == "mail"
    assert queue_at_hand(opened("2", "j", "j")) == "news"
    assert queue_at_hand(opened("j", "3")) == "mail"
    assert queue_at_hand(opened("j", "3", "right", "6")) == "news"


def dead(count: int = 4, **fields: Any) -> State:
    """The dead letters of mail, some of them read."""
    state = opened("5", **fields)
    return play(state, Read(Listing(Want("mail", "dead"), rows(count), count, count)))[0]


# -- views and moving


def test_numbers_open_views_and_q_leaves() -> None:
    state = opened()
    seen = []
    for number in "2345671":
        state, _ = play(state, number)
        seen.append(state.view)
    assert seen == ["queues", "messages", "workers", "dead", "schedules", "topics", "overview"]
    assert play(state, "q")[1] == [Quit()]


def test_a_list_of_messages_asks_for_a_queue_that_has_some() -> None:
    _, wishes = play(opened(), "5")
    assert wishes == [ReadPage(Want("mail", "dead"))]
    assert play(opened(), "3")[1] == [ReadPage(Want("mail", "ready"))]


def test_the_selected_row_stays_selected_whatever_comes_and_goes_around_it() -> None:
    state = opened("j")
    assert getattr(selected(state), "name", "") == "mail"
    more = replace(MAIL, queues=(queue("a-new-one"), *MAIL.queues))
    state, _ = play(state, Looked(more))
    assert getattr(selected(state), "name", "") == "mail"
    state, _ = play(state, Looked(replace(MAIL, queues=(queue("audit"),))))
    assert getattr(selected(state), "name", "") == "audit"
    assert selected(play(state, Looked(replace(MAIL, queues=())))[0]) is None


@pytest.mark.parametrize(("keys", "at"), [("j", 1), ("jj", 2), ("jjjjjj", 2), ("jk", 0), ("k", 0), ("G", 2), ("Gg", 0)])
def test_keys_move_and_stop_at_the_ends(keys: str, at: int) -> None:
    state = opened(*keys)
    assert place(state, items(state)) == at


def test_enter_on_a_queue_lists_its_messages() -> None:
    state, wishes = play(opened(), "j", "j", "enter")
    assert (state.view, state.queue, wishes) == ("messages", "news", [ReadPage(Want("news", "ready"))])


def test_the_queue_that_was_chosen_is_the_one_that_is_listed() -> None:
    assert play(opened(), "j", "j", "3")[1] == [ReadPage(Want("news", "ready"))]
    assert play(opened(), "j", "j", "5")[1] == [ReadPage(Want("mail", "dead"))], "news has no dead letters"


def test_who_leaves_in_the_middle_of_something_stops_it() -> None:
    state, wishes = play(dead(), "space", "space", "r", "y", "q")
    assert wishes[-2:] == [Stop(), Quit()]
    assert state.work is not None
    assert state.work.stopping


def test_tab_and_arrows_change_what_is_listed() -> None:
    state, wishes = play(opened("3"), "tab", "right", "backtab", "left")
    assert [wish.want for wish in wishes if isinstance(wish, ReadPage)] == [
        Want("mail", "delayed"),
        Want("news", "delayed"),
        Want("news", "ready"),
        Want("mail", "ready"),
    ]
    assert state.listing is None, "what another list holds is never shown under this one's name"


def test_an_answer_to_an_older_question_is_dropped() -> None:
    state = opened("5")
    late = Read(Listing(Want("mail", "quarantined"), rows(3)))
    assert play(state, late)[0].listing is None
    assert play(state, Read(Listing(Want("mail", "dead", "tea"), rows(3))))[0].listing is None


def test_pages_go_on_at_the_end_and_back_at_the_beginning() -> None:
    state = play(opened("5"), Read(Listing(Want("mail", "dead"), rows(2), 4, 2, "next")))[0]
    state, wishes = play(state, "j", "j")
    assert wishes == [ReadPage(Want("mail", "dead", cursor="next"))]
    state, _ = play(state, Read(Listing(Want("mail", "dead", cursor="next"), rows(2), 4, 2)))
    _, wishes = play(state, "j", "j", "j", "k", "k")
    assert wishes == [ReadPage(Want("mail", "dead"))]


def test_a_list_is_read_again_now_and_then() -> None:
    state = dead()
    assert play(state, Looked(MAIL))[1] == []
    assert play(state, Ticked(1e12 + AGAIN_MS), Looked(MAIL))[1] == [ReadPage(Want("mail", "dead"))]


# -- the filter


def test_the_filter_is_typed_and_shows_what_fits_at_once() -> None:
    state = opened("/", "a", "u")
    assert [getattr(one, "name", "") for one in items(state)] == ["audit"]
    state, _ = play(state, "backspace", "backspace", "q", "enter")
    assert items(state) == []
    assert state.text == "q", "while a filter is typed, keys are text"
    assert len(items(play(state, "esc")[0])) == 3


def test_the_filter_of_a_list_that_is_read_goes_with_the_question() -> None:
    state, wishes = play(dead(), "/", "t", "e", "a", "space", "enter")
    assert wishes == [ReadPage(Want("mail", "dead", "tea"))]
    assert play(state, "esc")[1] == [ReadPage(Want("mail", "dead"))]


def test_the_filter_looks_into_task_queue_id_and_error() -> None:
    state = opened("5", "tab", "tab")
    for text, fits in (("", 2), ("tea", 1), ("MAIL", 2), ("fail-0", 1), ("shop.s", 2), ("connection", 2), ("no", 1)):
        filtered, _ = play(replace(state, filters={"dead": text}))
        assert len(items(filtered)) == fits, text


def test_each_view_keeps_its_filter() -> None:
    state = opened("/", "a", "u", "enter", "2")
    assert state.text == ""
    assert play(state, "1")[0].text == "au"


# -- marks and orders


def test_one_letter_is_retried_at_once() -> None:
    state, wishes = play(dead(), "j", "r")
    assert wishes == [Do(Order("retry", "mail", "dead", ("id-0001",), count=1))]
    assert state.work is not None


def test_marked_letters_are_asked_about_first() -> None:
    state, wishes = play(dead(), "space", "space", "D")
    assert wishes == []
    order = Order("delete", "mail", "dead", ("id-0000", "id-0001"), count=2)
    assert state.ask == order
    assert play(state, "x", "enter", "j", "D")[0].ask == order, "only y and n are answers"
    stays, wishes = play(state, "n")
    assert (stays.ask, wishes, len(stays.marked)) == (None, [], 2)
    assert play(state, "y")[1] == [Do(order)]


def test_all_that_fit_are_counted_and_asked_about() -> None:
    state, wishes = play(dead(), "/", "t", "enter", Read(Listing(Want("mail", "dead", "t"), rows(3), 30, 30)), "A")
    want = Want("mail", "dead", "t")
    assert wishes == [ReadPage(want), Count(want)]
    early, wishes = play(state, "r")
    assert early.ask is None
    assert early.notice is not None, "before it is counted there is no number to agree to"
    assert wishes == []
    state, wishes = play(state, Counted(Want("mail", "dead", "other"), 7), Counted(want, 30_000), "r", "y")
    assert wishes == [Do(Order("retry", "mail", "dead", text="t", every=True, count=30_000))]


def test_taking_one_out_of_all_leaves_those_that_are_listed() -> None:
    state, _ = play(dead(), "A", "space")
    assert (state.every, sorted(state.marked)) == (False, ["id-0001", "id-0002", "id-0003"])


def test_marks_go_with_the_list_they_belong_to() -> None:
    state = play(dead(), "space")[0]
    for keys in (("tab",), ("right",), ("1",), ("esc",), ("/", "x", "enter")):
        assert play(state, *keys)[0].marked == frozenset()


def test_a_letter_that_is_listed_again_keeps_its_mark() -> None:
    state = play(dead(), "space", Read(Listing(Want("mail", "dead"), rows(6), 6, 6)))[0]
    assert state.marked == {"id-0000"}


def test_pause_and_resume_follow_what_is_there() -> None:
    assert play(opened(), "p")[1] == [Do(Order("pause", "audit"))]
    assert play(opened(), "j", "j", "p")[1] == [Do(Order("resume", "news"))]
    assert play(opened(), "6", "p")[1] == [Do(Order("hold", "mail", ids=("nightly",)))]
    assert play(opened(), "6", "j", "p")[1] == [Do(Order("release", "mail", ids=("weekly",)))]


def test_what_runs_is_cancelled() -> None:
    assert play(opened(), "4", "C")[1] == [Do(Order("cancel", "mail", "running", ("id-host-1-1",), count=1))]


@pytest.mark.parametrize(
    ("view", "keys"),
    [("1", "rCD"), ("2", "rCD"), ("3", "rDp"), ("4", "rDp"), ("5", "Cp"), ("6", "rCD"), ("7", "rCDp")],
)
def test_keys_that_are_not_offered_change_nothing(view: str, keys: str) -> None:
    state = opened(view)
    listed = "dead" if view == "5" else "ready"
    if view in "35":
        state, _ = play(state, Read(Listing(Want("mail", listed), rows(3))))  # type: ignore[arg-type]
    for key in keys:
        assert play(state, key)[1] == [], key


def test_with_read_only_nothing_can_be_changed() -> None:
    for view in "1234567":
        state = opened(view, read_only=True)
        if view in "35":
            listed = "dead" if view == "5" else "ready"
            state, _ = play(state, Read(Listing(Want("mail", listed), rows(3))))  # type: ignore[arg-type]
        assert not CHANGING & {key for key, _ in offers(state)}
        after, wishes = play(state, "r", "p", "C", "D", "space", "A", "r", "y")
        assert [one for one in wishes if isinstance(one, (Do, Count))] == []
        assert (after.marked, after.every, after.ask) == (frozenset(), False, None)


# -- work and its end


def test_work_shows_its_progress_and_is_stopped_by_esc() -> None:
    state = play(dead(), "A", Counted(Want("mail", "dead"), 30), "r", "y", Advanced(12))[0]
    assert state.work is not None
    assert (state.work.done, state.work.order.count) == (12, 30)
    state, wishes = play(state, "esc")
    assert wishes == [Stop()]
    assert state.work is not None
    assert state.work.stopping
    order = state.work.order
    state, wishes = play(state, Finished(order, "stopped: retried 12 of 30"))
    assert (state.work, state.every) == (None, False)
    assert state.notice is not None
    assert state.notice.text == "stopped: retried 12 of 30"
    assert wishes == [ReadPage(Want("mail", "dead"))], "the list is read again at once"


def test_one_thing_is_done_at_a_time_and_the_rest_goes_on() -> None:
    state = play(dead(), "space", "space", "r", "y")[0]
    state, wishes = play(state, "j", "D")
    assert [one for one in wishes if isinstance(one, Do)] == []
    assert play(state, "2")[0].view == "queues"


def test_a_notice_goes_with_the_next_key() -> None:
    state = play(opened(), Failed("no such queue"))[0]
    assert state.notice is not None
    assert play(state, "j")[0].notice is None


# -- one message


def test_a_message_is_opened_read_and_closed() -> None:
    state, wishes = play(dead(), "j", "enter")
    assert wishes == [Open("mail", "id-0001")]
    assert state.detail == Message("mail", "id-0001")
    other = play(state, Found(Message("mail", "id-9", problem="gone")))[0]
    assert other.detail == state.detail, "an answer to an older question"
    state = play(state, Found(Message("mail", "id-0001", problem="gone")), "j", "j", "k")[0]
    assert (state.scroll, state.detail) == (1, Message("mail", "id-0001", problem="gone"))
    assert play(state, "esc")[0].detail is None


def test_what_is_open_is_read_again_and_stays_when_it_goes() -> None:
    state = play(dead(), "enter")[0]
    assert play(state, Looked(MAIL))[1] == []
    assert play(state, Ticked(1e12 + AGAIN_MS), Looked(MAIL))[1] == [Open("mail", "id-0000")]
    known = Message("mail", "id-0000", message())
    state = play(state, Found(known), Found(Message("mail", "id-0000", problem="no trace")))[0]
    assert state.detail == replace(known, problem="no trace")
    state = play(opened(), "6", "enter", Looked(replace(MAIL, schedules=(schedule("nightly", "paused"),))))[0]
    assert getattr(state.detail, "state", "") == "paused"


def test_running_messages_and_failures_are_opened_too() -> None:
    assert play(opened(), "4", "enter")[1] == [Open("mail", "id-host-1-1")]
    assert play(opened(), "5", "tab", "tab", "enter")[1][-1] == Open("mail", "fail-0")
    assert play(opened(), "6", "enter")[0].detail == MAIL.schedules[0]


# -- outages, sizes, help


def test_an_outage_keeps_the_picture_and_its_beginning() -> None:
    state = play(opened(), Lost("cannot reach it", 5.0), Lost("cannot reach it", 9.0))[0]
    assert (state.lost, state.problem, state.snapshot) == (5.0, "cannot reach it", MAIL)
    assert play(state, Looked(MAIL))[0].lost is None


def test_a_size_and_help_are_only_about_the_screen() -> None:
    state = play(opened(), Resized(160, 48), "?")[0]
    assert (state.width, state.height, state.help) == (160, 48, True)
    assert play(state, "2", "p")[1] == []
    assert play(state, "esc")[0].help is False


def test_nothing_that_is_pressed_before_the_first_look_breaks() -> None:
    keys = ["j", "k", "G", "enter", "space", "A", "r", "p", "C", "D", "tab", "left", "pgdn", "/", "x", "enter", "esc"]
    state = State()
    for view in "1234567":
        state, wishes = play(state, view, *keys)
        assert not any(isinstance(one, (Do, Open)) for one in wishes)


def test_duplicates_among_the_failures_can_be_walked_through() -> None:
    same = tuple(failure(0, attempt=n, at=NOW - n) for n in range(5))
    state = play(opened(), Looked(replace(MAIL, failures=same)), "5", "tab", "tab", *"jjj")[0]
    assert place(state, items(state)) == 3
    assert isinstance(selected(state), Row)


def test_every_key_in_every_view_is_harmless_in_any_order() -> None:
    state = play(State(), Looked(busy(3)))[0]
    for first in "1234567":
        for key in [
            "j",
            "k",
            "enter",
            "esc",
            "tab",
            "backtab",
            "left",
            "right",
            "pgup",
            "pgdn",
            "home",
            "end",
            "?",
            "x",
        ]:
            state, _ = play(state, first, key, "esc", "esc")
    assert state.picture is not None
