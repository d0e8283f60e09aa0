"""The history of stream queues is read: by time, by task, from either end, page by page, whatever lies in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from taskq.errors import ConfigError, DecodeError, InvalidName, InvalidOption, UnknownQueue
from taskq.inspector import History
from taskq.message import id_text
from taskq.store.scripts import run
from taskq.tasks.broker import Held
from taskq.tasks.past import history
from tests.runtime.past import Past, past
from tests.servers import RealServer


@pytest.fixture
def here(server: RealServer, namespace: str) -> Iterator[Past]:
    with past(server, namespace) as one:
        yield one


def test_entries_say_what_was_enqueued_when_and_what_came_of_it(here: Past) -> None:
    before = here.inspector.server_ms()
    ids = [id_text(one) for one in here.enqueue(4)]
    here.hands.finish(here.take(1)[0])
    here.take(1)
    found = here.inspector.history("mail").entries
    assert [entry.id for entry in found] == ids
    assert [entry.place for entry in found] == ["delivered", "pending", "unread", "unread"]
    assert {entry.task for entry in found} == {"shop.send"}
    assert all(before <= entry.at <= here.inspector.server_ms() for entry in found)
    assert all(entry.size > 0 and entry.entry.startswith(f"{entry.at}-") for entry in found)


def test_arguments_are_decoded_when_they_are_asked_for(here: Past) -> None:
    here.enqueue(2)
    (first, second) = here.inspector.history("mail", contents=True).entries
    assert (first.message().args, second.message().args) == ([0], [1])
    assert first.message().task == "shop.send"
    here.app.remote("shop.send", queue="mail").enqueue("x" * 1_000)
    (large,) = here.inspector.history("mail", newest=True, limit=1).entries
    with pytest.raises(DecodeError, match=r"was not read: ask for history\(contents=True\)"):
        large.message()


def test_a_retry_is_another_entry_of_the_same_message(here: Past) -> None:
    (raw,) = here.enqueue(1)
    here.hands.retry(here.take(1)[0], 0)
    found = here.inspector.history("mail").entries
    assert [(entry.id, entry.place) for entry in found] == [(id_text(raw), "delivered"), (id_text(raw), "unread")]


def test_what_was_given_back_is_pending_still(here: Past) -> None:
    here.enqueue(1)
    (item,) = here.take(1)
    assert not here.broker.release("mail", [Held(item.id, item.token)])
    assert [entry.place for entry in here.inspector.history("mail").entries] == ["pending"]


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("match", [None, "shop.s*"])
def test_a_cursor_goes_on_where_a_page_ended(here: Past, newest: bool, match: str | None) -> None:
    for number in range(40):
        here.enqueue(7, "shop.send")
        here.enqueue(3, "other.task" if number % 2 else "shop.scan")
    every = [entry.entry for entry in here.entries() if match is None or entry.task.startswith("shop.")]
    read: list[str] = []
    cursor: str | None = None
    sizes: list[int] = []
    while True:
        page = here.inspector.history("mail", match=match, limit=30, cursor=cursor, newest=newest)
        read += [entry.entry for entry in page.entries]
        sizes.append(len(page.entries))
        cursor = page.cursor
        if cursor is None:
            break
    assert read == (every[::-1] if newest else every)
    assert set(sizes[:-1]) == {30}


def test_a_range_of_time_has_both_its_ends(here: Past) -> None:
    keys, link = here.broker.keys("mail"), here.broker.link
    for second in (1_000, 1_001, 1_002):
        link.execute("XADD", keys.stream, f"{second}000-1", "id", b"i" * 16, "body", b"b")
    history = here.inspector.history
    assert [one.at for one in history("mail", since=1_001, until=1_002).entries] == [1_001_000, 1_002_000]
    moment = datetime.fromtimestamp(1_001, UTC)
    assert [one.at for one in history("mail", since=moment, until=moment).entries] == [1_001_000]
    assert [one.at for one in history("mail", until=1_001, newest=True).entries] == [1_001_000, 1_000_000]
    assert history("mail", since=1_003) == History((), 0)


def test_what_others_wrote_is_shown_as_such(here: Past) -> None:
    here.enqueue(1)
    here.append("price", "12", "colour", "blue")
    here.append("id", "short", "body", "x")
    here.append("id", b"u" * 16, "body", b"\xff not a message")
    found = here.inspector.history("mail", contents=True).entries
    assert [(entry.foreign, entry.task) for entry in found] == [
        (False, "shop.send"),
        (True, ""),
        (True, ""),
        (False, ""),
    ]
    assert [entry.size for entry in found[1:]] == [len("price12colourblue"), len("idshortbodyx"), 15]
    for entry in found[1:]:
        with pytest.raises(DecodeError):
            entry.message()
    assert [entry.id for entry in here.inspector.history("mail", match="*").entries] == [found[0].id]


def test_a_page_is_bounded_in_bytes_and_one_large_body_goes_alone(here: Past) -> None:
    sender = here.app.remote("shop.send", queue="mail")
    for size in (1, 100_000, 100_000, 600_000, 1, 1):
        sender.enqueue("x" * size)
    pages: list[int] = []
    first = "-"
    while True:
        page = run(here.broker.link, history(here.broker.keys("mail"), first, "+", contents=True))
        pages.append(len(page.entries))
        assert len(page.entries) == 1 or sum(len(entry.body) for entry in page.entries) <= 256 * 1024
        if page.next is None:
            break
        first = page.next
    assert pages == [3, 1, 2]
    assert [
        len(entry.body) for entry in run(here.broker.link, history(here.broker.keys("mail"), "-", "+")).entries
    ] == [min(entry.size, 300) for entry in here.entries()[:3]]
    assert [entry.size > 600_000 for entry in here.inspector.history("mail").entries] == [False] * 3 + [True] + [
        False
    ] * 2


def test_reading_a_stream_without_group_or_without_entries_says_what_there_is(here: Past) -> None:
    assert here.inspector.history("mail") == History((), 0)
    here.enqueue(2)
    here.take(1)
    here.broker.link.execute("XGROUP", "DESTROY", here.broker.keys("mail").stream, "taskq")
    assert [entry.place for entry in here.inspector.history("mail").entries] == ["pending", "unread"]
    here.broker.link.execute("DEL", here.broker.keys("mail").stream)
    assert here.inspector.history("mail") == History((), 0)


def test_other_groups_change_nothing_about_the_place_of_an_entry(here: Past) -> None:
    here.enqueue(3)
    here.take(1)
    link, stream = here.broker.link, here.broker.keys("mail").stream
    link.execute("XGROUP", "CREATE", stream, "mine", "0")
    link.execute("XREADGROUP", "GROUP", "mine", "me", "COUNT", 3, "STREAMS", stream, ">")
    assert [entry.place for entry in here.inspector.history("mail").entries] == ["pending", "unread", "unread"]


def test_reading_changes_nothing(here: Past) -> None:
    here.enqueue(3)
    here.append("a", "b")
    before = here.stored()
    here.inspector.history("mail", newest=True, contents=True, match="shop.*")
    assert here.stored() == before


def test_a_search_that_finds_nothing_says_where_it_ended(here: Past) -> None:
    here.enqueue(10_000)
    here.enqueue(10, "shop.rare")
    page = here.inspector.history("mail", match="shop.rare")
    assert (page.entries, page.looked, page.truncated) == ((), 10_000, True)
    page = here.inspector.history("mail", match="shop.rare", cursor=page.cursor)
    assert (len(page.entries), page.cursor, page.truncated) == (10, None, False)


def test_bad_input_is_refused_by_name(here: Past) -> None:
    history = here.inspector.history
    with pytest.raises(ConfigError, match=r"queue 'lists' is a list queue.*Queue\('lists', transport=\"stream\"\)"):
        history("lists")
    with pytest.raises(UnknownQueue, match="there is no queue 'male'"):
        history("male")
    with pytest.raises(InvalidName, match="queue name 'a b'"):
        history("a b")
    with pytest.raises(InvalidOption, match="has no time zone"):
        history("mail", since=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidOption, match="since=9 is after until=8"):
        history("mail", since=9, until=8)
    with pytest.raises(InvalidOption, match="outside the years"):
        history("mail", until=1_800_000_000_000)
    with pytest.raises(InvalidOption, match="cursor='1; FLUSHALL'"):
        history("mail", cursor="1; FLUSHALL")
    with pytest.raises(InvalidOption, match="match=''"):
        history("mail", match="")
    with pytest.raises(InvalidOption, match="limit=0"):
        history("mail", limit=0)
