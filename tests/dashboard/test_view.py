"""What is drawn: exact screens at every size, what must be seen, and nothing that breaks them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from rich.color import ColorSystem

from taskq.inspector import Contents
from taskq.snapshot import Snapshot
from taskq.topic_info import GroupMember
from taskq_dashboard.paint import ASCII, Frame, Paint, plain_text, wide
from taskq_dashboard.picture import Picture, develop
from taskq_dashboard.reducer import reduce
from taskq_dashboard.state import (
    Counted,
    Event,
    Found,
    Key,
    Listing,
    Looked,
    Lost,
    Message,
    Read,
    Resized,
    State,
    Ticked,
    Want,
)
from taskq_dashboard.still import as_json, svg
from taskq_dashboard.view import plain_view, view
from tests.dashboard.made_up import (
    NOW,
    busy,
    counters,
    failure,
    group,
    message,
    queue,
    rows,
    samples,
    schedule,
    snapshot,
    stats,
    topic,
    worker,
)
from tests.dashboard.test_cells import HOSTILE

BARE = Paint()
SIZES = [(80, 24), (160, 48), (40, 10), (99, 31), (240, 70)]


def drawn(state: State, *events: Event | str, paint: Paint = BARE) -> Frame:
    """The screen after some events; it is checked to be whole."""
    for event in events:
        state, _ = reduce(state, Key(event) if isinstance(event, str) else event)
    frame = view(state, paint)
    assert len(frame.lines) == state.height
    for line in frame.lines:
        assert wide(line) == state.width, plain_text(line)
    return frame


def seen(look: Snapshot, *events: Event | str, size: tuple[int, int] = (120, 40), paint: Paint = BARE) -> str:
    return drawn(State(now=1e12), Resized(*size), Looked(look), *events, paint=paint).text()


# -- whole screens


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("paint", [Paint(), Paint(ASCII)], ids=["full", "ascii"])
@pytest.mark.parametrize("key", "1234567?")
def test_every_view_fills_every_screen_exactly(size: tuple[int, int], paint: Paint, key: str) -> None:
    for look in (snapshot(), busy(1), busy(50)):
        listed = Listing(Want("queue-49", "dead"), rows(200, text="漢字 " * 50), 200, 200, "more", True)
        text = seen(look, key, Read(listed), "j", size=size, paint=paint)
        assert not paint.ascii or text.isascii()


@pytest.mark.parametrize("size", [(1, 1), (39, 24), (80, 9), (2, 50)])
def test_a_screen_that_is_too_small_says_so(size: tuple[int, int]) -> None:
    text = seen(busy(3), size=size)
    assert text.startswith("too small"[: size[0] - 1])


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_anywhere_leaves_the_screen_whole(text: str) -> None:
    long = text * 50
    look = snapshot(
        queue("mail", dead=3, counters=counters(1)),
        workers=(worker(text, state=text, queues=[text, 7], version=text),),
        failures=(failure(message=long, type=text, task=text, worker=text, id=text),),
        schedules=(schedule(text, task=text, cron=long, tz=text),),
        topics=(topic(text, replace(group(text, text, text), members=(GroupMember(text, text),)), codec=text),),
        tasks=(stats("mail", text),),
        truncated=(text,),
    )
    row = replace(rows(1)[0], task=text, note=long, worker=text, error=text, id=text)
    info = message(
        task=text,
        then=text,
        problem=text,
        contents=Contents((long, [text]), {text: text}, {text: long}, text),
        history=({"type": text, "message": long, "traceback": f"{text}\n{long}", "worker": text, "at": "never"},),
    )
    listed = Read(Listing(Want("mail", "dead"), (row,), 1, 1))
    for size in ((80, 24), (160, 48)):
        for paint in (Paint(), Paint(ASCII)):
            for keys in ("1", "2", "4", "6", "7", "5"):
                shown = seen(look, keys, listed, size=size, paint=paint)
                assert not any(ord(sign) < 0x20 and sign != "\n" for sign in shown)
            opened = seen(look, "5", listed, "enter", Found(Message("mail", text, info)), size=size, paint=paint)
            assert "\x1b" not in opened
            seen(look, "6", "enter", size=size, paint=paint)
            seen(look, "/", *text[:50], size=size, paint=paint)


def test_odd_records_of_workers_of_other_releases_are_borne() -> None:
    odd: list[dict[str, Any]] = [
        {"children": None, "running": "x", "counters": 7, "queues": "mail", "processes": "2"},
        {"children": [1, {"running": "many"}], "running": [7, {"seconds": float("nan"), "limit": -1}], "state": None},
    ]
    look = snapshot(queue("mail"), workers=tuple(replace(worker(f"w{n}"), record=one) for n, one in enumerate(odd)))
    for key in "14":
        assert "w1" in seen(look, key)


# -- the flow


def look_at_flow() -> Picture:
    first = snapshot(queue("mail", counters=counters(1_000, 10, 1, 2_000)))
    later = snapshot(
        queue(
            "mail",
            ready=400,
            leased=30,
            running=24,
            delayed=137,
            retrying=17,
            dead=3,
            parked_total=5,
            counters=counters(1_810, 22, 2, 2_840),
        ),
        queue("email", paused=True),
        now=NOW + 10_000,
        workers=(worker(running=24, processes=3, concurrency=8),),
    )
    return develop(later, develop(first))


@pytest.mark.parametrize("width", [80, 160])
def test_the_flow_has_its_numbers_and_rates_in_their_places(width: int) -> None:
    picture = look_at_flow()
    lines = view(State(picture=picture, width=width, height=24), Paint()).text().splitlines()
    words, numbers, _, aside, bottom = lines[2:7]
    for word, number in (("enqueued", "2840"), ("ready", "406"), ("running", "24 of 24"), ("done", "1810")):
        assert words.index(word) == numbers.index(number), "a number stands below its word"
    assert numbers.index("84/s") < numbers.index("406") < numbers.index("81/s")
    assert "delayed 120 ──" in aside
    assert "retry 17 ◂──" in aside
    assert "1.2/s failed" in aside
    assert "⏸ paused: email" in bottom
    assert "0.1/s" in bottom
    assert "dead 3" in bottom
    assert "parked 5" in lines[4]


def test_a_counter_that_went_down_never_gives_a_negative_rate() -> None:
    before = develop(snapshot(queue("mail", counters=counters(5_000))))
    after = develop(snapshot(queue("mail", counters=counters(50)), now=NOW + 10_000), before)
    assert after.pace("mail").rates.done == 5.0
    back = develop(snapshot(queue("mail", counters=counters(60)), now=NOW - 60_000), after)
    assert back.pace("mail").rates.done == 0.0, "the server's clock went back: begin anew"


def test_rates_are_taken_over_the_last_seconds_only() -> None:
    picture = None
    for second in range(60):
        done = 1_000 if second < 30 else 1_000 + 10 * (second - 30)
        picture = develop(snapshot(queue("mail", counters=counters(done)), now=NOW + second * 1_000), picture)
    assert picture is not None
    assert picture.pace("mail").rates.done == pytest.approx(10.0)
    assert picture.pace("mail").bars[-2:] == (50.0, 50.0)


def test_a_rate_goes_by_when_its_queue_was_read() -> None:
    """Two queues do ten a second each, and are read by turns."""
    picture = None
    read: dict[str, int] = {"mail": 0, "news": 0}
    for tick in range(40):
        read |= {name: tick for turn, name in enumerate(read) if not tick or tick % 2 == turn}
        look = snapshot(*(queue(name, counters=counters(1_000 + 5 * at)) for name, at in read.items()))
        queues = tuple(replace(info, now=NOW + 500 * read[info.name]) for info in look.queues)
        picture = develop(replace(look, now=NOW + 500 * tick, queues=queues), picture)
        rates = [pace.rates.done for pace in picture.paces.values()]
        assert all(rate in (0.0, pytest.approx(10.0)) for rate in rates)
        assert tick < 3 or rates == pytest.approx([10.0, 10.0])
    assert picture is not None
    assert picture.total.rates.done == pytest.approx(20.0)
    assert {pace.bars[-1] for pace in picture.paces.values()} == {50.0}


def test_a_queue_that_was_read_before_its_last_sample_shows_no_burst() -> None:
    look = snapshot(queue("mail", counters=counters(900)), samples={"mail": samples(1_000)})
    after = develop(replace(look, now=NOW + 500, queues=(replace(look.queues[0], now=NOW - 6_000),)))
    assert max(after.pace("mail").bars) == 10.0


def test_graphs_come_from_the_samples() -> None:
    with_samples = develop(busy(2))
    assert sum(with_samples.pace("queue-01").bars) > 1_000


def test_p95_is_that_of_the_last_minute() -> None:
    slow, quick = stats("mail", "shop.send", 1_000, 2.0), stats("mail", "shop.send", 100, 0.01)
    before = develop(snapshot(queue("mail"), tasks=(slow,)))
    assert (before.pace("mail").p95 or 0) > 1.0
    together = replace(slow, run=slow.run.plus(quick.run))
    after = develop(snapshot(queue("mail"), tasks=(together,), now=NOW + 5_000), before)
    assert (after.pace("mail").p95 or 9) < 0.02


# -- what must be seen


def test_a_paused_queue_is_seen_with_and_without_colour() -> None:
    look = snapshot(queue("mail", paused=True), queue("news"))
    for key in "12":
        assert any("mail" in line and "⏸" in line for line in seen(look, key).splitlines())
        assert any("mail" in line and "||" in line for line in seen(look, key, paint=Paint(ASCII)).splitlines())


def test_what_a_worker_that_has_gone_had_done_is_not_known() -> None:
    text = seen(snapshot(workers=(worker("host-1"), worker("host-2", present=False))), "4")
    here, gone = (next(line.split() for line in text.splitlines() if name in line) for name in ("host-1 ", "host-2 "))
    assert here[here.index("running") :][3:5] == ["5", "1"]
    assert gone[gone.index("gone") :][1:4] == ["-", "-", "-"]


def test_a_cut_list_says_how_much_there_is() -> None:
    text = seen(busy(50), size=(80, 24))
    assert "of 50" in text
    listed = Listing(Want("queue-00", "dead"), rows(200), 48_210, 10_000, "more", True)
    text = seen(busy(1), "5", Read(replace(listed, want=Want("queue-00", "dead"))))
    assert "of 200 listed, 48.2k in all, 10.0k looked at" in text
    filtered = replace(listed, want=Want("queue-00", "dead", "send"))
    text = seen(busy(1), "5", "/", *"send", "enter", Read(filtered))
    assert "of 200 listed, 48.2k in all before the filter" in text
    assert "not complete: queue news" in seen(replace(busy(1), truncated=("queue news",)))


@pytest.mark.parametrize("key", "12")
@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_queues_that_were_not_all_read_are_told(key: str, size: tuple[int, int]) -> None:
    look = replace(busy(50), truncated=("queues", "queue news"), queue_count=4_321)
    text = seen(look, key, size=size)
    assert "queues 50 of 4321" in text
    assert "not complete: queues" in text
    text = seen(look, key, "/", "n", "o", size=size)
    assert "nothing fits the filter; not all queues were read" in text
    assert "not all" not in seen(busy(50), key, "/", "n", "o", size=size)
    assert "not all" not in seen(look, "6", "/", "n", "o", size=size), "schedules were all read"


def test_the_overview_at_80_by_24_keeps_what_matters_most() -> None:
    text = seen(busy(4), size=(80, 24))
    for word in ("flow", "queues 4", "running now", "queue-00"):
        assert word in text
    wide_screen = seen(busy(4), size=(160, 48))
    for word in ("queues 4", "running now 80", "recent failures", "workers 10", "next schedules 10", "last 40s"):
        assert word in wide_screen


def test_the_key_bar_shows_only_what_works_here() -> None:
    def bar(*events: Event | str) -> str:
        return seen(busy(2), *events).splitlines()[-1]

    assert "p pause" in bar("1")
    assert not {"r retry", "D delete", "C cancel"} & {word for word in ("r retry", "D delete") if word in bar("1")}
    listed = Read(Listing(Want("queue-01", "dead"), rows(2), 2, 2))
    assert all(word in bar("5", listed) for word in ("space mark", "A mark all", "r retry", "D delete"))
    assert "C cancel" not in bar("5", listed)
    assert "r retry" not in bar("5"), "there is nothing to retry"
    assert bar("5", listed, "space", "space", "r").split() == ["y", "yes", "n", "no"]
    assert all("? help" in bar(key) and "q quit" in bar(key) for key in "1234567")


def test_a_question_names_the_number_and_what_is_meant() -> None:
    want = Want("queue-01", "dead", "tea")
    listed = Read(Listing(want, rows(3), 30, 30))
    text = seen(busy(2), "5", "/", *"tea", "enter", listed, "A", Counted(want, 100_000), "r")
    assert "retry 100,000 dead letters of queue queue-01 that fit 'tea': y/n" in text


def test_an_outage_is_said_once_and_the_last_picture_stays_grey() -> None:
    began = 1e12
    frame = drawn(State(now=began), Looked(busy(3)), Lost("cannot reach it", began), Ticked(began + 30_000))
    text = frame.text()
    assert text.count("no broker since") == 1
    assert "30 s" in text.splitlines()[0]
    assert "queue-02" in text
    looks = {word for line in frame.lines[1:-2] for piece, look in line if piece.strip() for word in look.split()}
    assert looks <= {"dim", "here"}


def test_a_message_shows_its_arguments_its_way_and_its_traceback() -> None:
    listed = Read(Listing(Want("mail", "dead"), rows(1), 1, 1))
    look = snapshot(queue("mail", dead=1), now=NOW + 2_000)
    text = seen(look, "5", listed, "enter", Found(Message("mail", "id-0000", message())))
    assert text.index("enqueued") < text.index("attempt 1 error on host-1: ValueError: no tea") < text.index("+400 ms")
    for words in ("dead since", "42", '"tea"', "size = 3", "timeout=9.0", "File x", "taskq dead retry id-0000"):
        assert words in text
    assert "D delete" in text.splitlines()[-1]


def test_a_message_that_runs_says_where_and_how_long() -> None:
    look = snapshot(queue("mail"), workers=(worker(),))
    info = message(id="id-host-1-1", status="running", buried=None, history=(), result=None)
    text = seen(look, "4", "enter", Found(Message("mail", "id-host-1-1", info)))
    assert "on host-1 0.1 for 3.0 s of 30 s" in text
    assert "C cancel" in text.splitlines()[-1]


def test_a_long_message_is_scrolled_to_its_end() -> None:
    listed = Read(Listing(Want("mail", "dead"), rows(1), 1, 1))
    long = message(contents=Contents(tuple(range(500))))
    events: list[Event | str] = ["5", listed, "enter", Found(Message("mail", "id-0000", long)), *["pgdn"] * 60]
    text = seen(snapshot(queue("mail", dead=1)), *events, size=(80, 24))
    assert "taskq dead retry" in text


def test_the_help_fits_the_smallest_usual_screen() -> None:
    text = seen(busy(1), "?", size=(80, 24))
    assert "its time an attempt has used up" in text
    assert "…" not in text


# -- other forms


def test_without_colour_the_selected_row_is_seen_and_nothing_is_coloured() -> None:
    frame = drawn(State(), Looked(busy(3)))
    bare = "\n".join(Paint().ansi(line) for line in frame.lines)
    assert "\x1b[7m" in bare
    assert not any(f"\x1b[{code}m" in bare for code in range(30, 48))
    coloured = "\n".join(Paint(colours=ColorSystem.STANDARD).ansi(line) for line in frame.lines)
    assert "32m" in coloured


def test_a_plain_screen_has_no_keys_and_no_blank_end() -> None:
    state = State(picture=develop(busy(3)), width=80, height=60)
    lines = plain_view(state, Paint()).text().splitlines()
    assert "queue-02" in "\n".join(lines)
    assert "q quit" not in "\n".join(lines)
    assert lines[-1].strip()


def test_a_picture_of_the_screen_loads_nothing_from_elsewhere() -> None:
    text = svg(plain_view(State(picture=develop(busy(3)), width=120, height=30), Paint()), "a <title>")
    assert text.startswith("<svg")
    assert "queue-02" in text
    assert "url(" not in text.replace("url(#", "")
    assert text.count("http") == text.count("http://www.w3.org") + text.count("https://www.textualize.io")


def test_a_snapshot_is_json_with_quantiles_and_milliseconds() -> None:
    found = as_json(busy(1))
    assert found["queues"][0]["name"] == "queue-00"
    assert found["tasks"][0]["run"]["p95"] == pytest.approx(0.04, rel=0.3)
    assert found["schedules"][0]["next"] == NOW + 90_000
    assert found["samples"]["queue-00"][-1]["done"] > 0
    [listed] = found["topics"]
    assert (listed["topic"], listed["appended"], listed["properties"]["retention"]["age"]) == ("topic-00", 10_000, 60)
    assert listed["groups"][0]["positions"][0]["records"] == 1_234
    assert json.loads(json.dumps(found)) == found
