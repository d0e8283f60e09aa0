"""What may stand in Redis (group G): bytes that are no message, of other releases, damaged, forged, in two places."""

from __future__ import annotations

import json
import pickle
import struct
from zlib import crc32

import pytest

from taskq.message import LAYOUT, decode, encode, id_text, new_ids
from taskq.tasks.broker import Outgoing
from taskq.tasks.failure import parse
from tests.faults.misdeeds import Canary
from tests.faults.stage import MISDEEDS, Stage

pytestmark = pytest.mark.crash

EFFECTIVE = f"{MISDEEDS}.effective"


def wrapped(payload: bytes, layout: int = LAYOUT) -> bytes:
    """An envelope with a right checksum around anything."""
    return struct.pack("<BI", layout, crc32(payload)) + payload


def array(*fields: object) -> bytes:
    """Fields where the six of a message should be."""
    return wrapped(json.dumps(fields).encode())


GOOD = encode(EFFECTIVE, ["good"], {}, 0)

NO_MESSAGES: dict[str, bytes] = {
    "g13-pickle": pickle.dumps(Canary("pickle")),
    "g13-pickle-in-an-envelope": wrapped(pickle.dumps(Canary("enveloped"))),
    "g13-yaml": b'!!python/object/apply:os.system ["exit 1"]',
    "g13-marshal": b"\xe3\x00\x00\x00\x00",
    "g08-empty": b"",
    "g08-no-envelope": GOOD[5:],
    "g08-layout-zero": wrapped(GOOD[5:], 0),
    "g15-one-bit": GOOD[:-3] + bytes([GOOD[-3] ^ 1]) + GOOD[-2:],
    "g15-cut": GOOD[:-4],
    "g15-checksum": GOOD[:1] + bytes([GOOD[1] ^ 128]) + GOOD[2:],
    "g04-int-of-5000-digits": wrapped(b'["' + EFFECTIVE.encode() + b'",[' + b"9" * 5000 + b"],{},0,null,null]"),
    "g04-nesting": wrapped(b"[" * 100_000),
    "g04-nan": wrapped(b'["' + EFFECTIVE.encode() + b'",[NaN],{},0,null,null]'),
    "g10-options-text": array(EFFECTIVE, ["x"], {}, 0, "options", None),
    "g10-attempts-text": array(EFFECTIVE, ["x"], {}, 0, {"r": ["abc", 10.0, 3600.0]}, None),
    "g10-timeout-negative": array(EFFECTIVE, ["x"], {}, 0, {"t": -1}, None),
    "g10-task-number": array(7, ["x"], {}, 0, None, None),
    "g10-args-text": array(EFFECTIVE, "x", {}, 0, None, None),
    "g10-too-few": array(EFFECTIVE),
    "g07-unknown-codec": wrapped(b'["' + EFFECTIVE.encode() + b'",null,null,0,null,null,"zip"]\0bomb'),
}


@pytest.fixture
def filled(here: Stage) -> tuple[Stage, dict[str, bytes]]:
    """All of them in one queue, in front of and between good ones, and one worker."""
    ids: dict[str, bytes] = {}
    for number, (name, body) in enumerate(NO_MESSAGES.items()):
        ids[name] = new_ids(1)[0]
        here.broker.enqueue("work", [Outgoing(ids[name], body)])
        here.put("effective", f"e{number}")
    here.hire("-c", "2")
    return here, ids


def test_g04_g07_g08_g10_g13_g15_what_is_no_message_is_quarantined_and_the_others_run(
    filled: tuple[Stage, dict[str, bytes]],
) -> None:
    here, ids = filled
    for message in list(here.accepted):
        here.until_state(message, "o")
    odd = {name: here.until_state(message, "q", "x", "o").state for name, message in ids.items()}
    assert odd == dict.fromkeys(odd, "q")
    for name, message in ids.items():
        (line,) = parse(here.found(message).lines)
        assert line["kind"] == "undecodable", name
        stored = here.broker.link.execute("HGET", here.broker.keys("work").body, message)
        assert stored == NO_MESSAGES[name], "kept as it was, byte for byte"
    assert not here.said("loaded", "canary"), "nothing stored was ever loaded as code"
    here.accepted.update({message: name for name, message in ids.items()})
    here.settled(*[message for message, tag in here.accepted.items() if tag not in ids], dead=True)


def test_g05_odd_text_arrives_as_it_was_sent(here: Stage) -> None:
    here.hire("-c", "2")
    for text in (
        "\0",
        "\ufeffx",
        "\u2028\u2029",
        "\u202eabc",
        "🦀" * 10,
        "a\r\nDEL x\r\n",
        'x" redis.call("FLUSHALL")',
        "",
    ):
        handle = here.app.remote(f"{MISDEEDS}.echo", queue="work").enqueue(text)
        assert handle.result(timeout=30) == text


def test_g08_a_newer_message_waits_for_a_newer_worker(here: Stage) -> None:
    worker = here.hire("-c", "2")
    newer = new_ids(1)[0]
    here.broker.enqueue("work", [Outgoing(newer, wrapped(GOOD[5:], LAYOUT + 1))])
    found = here.until_state(newer, "p")
    assert (found.attempts, found.crashes) == (0, 0)
    assert "newer" in worker.text()
    here.broker.link.execute("HSET", here.broker.keys("work").body, newer, GOOD)
    here.broker.unpark("work", f"layout {LAYOUT + 1}")
    here.accepted[newer] = "good"
    here.settled()


def test_g11_a_task_that_nobody_knows_is_set_aside_and_told(here: Stage) -> None:
    worker = here.hire("-c", "2")
    message = new_ids(1)[0]
    here.broker.enqueue("work", [Outgoing(message, encode("os.system", ["exit 1"], {}, 0))])
    found = here.until_state(message, "p")
    assert (found.attempts, found.deliveries) == (0, 0)
    assert "os.system" in worker.text()
    here.put("effective", "after")
    here.until_state(next(iter(here.accepted)), "o")


@pytest.mark.parametrize(
    ("args", "kwargs"), [([], {}), (["t", 1, 2], {}), (["t"], {"unknown": 1}), (["t", 1], {"one": 1})], ids=repr
)
def test_g12_arguments_that_do_not_fit_are_dead_at_once(
    here: Stage, args: list[object], kwargs: dict[str, object]
) -> None:
    here.hire("-c", "1")
    message = new_ids(1)[0]
    here.broker.enqueue("work", [Outgoing(message, encode(f"{MISDEEDS}.two_arguments", args, kwargs, 0))])
    found = here.until_state(message, "x")
    assert [line["kind"] for line in parse(found.lines)] == ["arguments"]


@pytest.mark.parametrize(
    "record", [b"", b"l", b"r\x02", b"?" * 8, b"l" + b"\xff" * 7, b"r" + b"\xff" * 7, b"d" + b"\0" * 50], ids=repr
)
def test_g10_a_damaged_record_stops_nobody_else(here: Stage, record: bytes) -> None:
    """Its message runs once, unless the record says that it is elsewhere; those behind it run, and the worker stays."""
    damaged = here.put("effective", "damaged")
    here.broker.link.execute("HSET", here.broker.keys("work").state, damaged, record)
    ids = [here.put("effective", f"e{n}") for n in range(5)]
    worker = here.hire("-c", "2")
    for message in ids:
        here.until_state(message, "o")
    assert [here.runs(f"e{n}") for n in range(5)] == [1] * 5
    here.until(lambda: here.found(damaged).state != "r" or record[:1] == b"d", "the damaged one to be dealt with")
    assert here.runs("damaged") <= 1
    assert worker.process.poll() is None


@pytest.mark.parametrize("where", ["its own list", "another list", "delayed"])
def test_g14_an_id_in_two_places_has_one_outcome_and_runs_at_most_once_more(short: Stage, where: str) -> None:
    here = short
    message = here.put("effective", "twice")
    names = here.broker.keys("work")
    if where == "delayed":
        here.broker.link.execute("ZADD", names.delayed, 1, message)
    else:
        here.broker.link.execute("RPUSH", names.ready_for(1 if where == "another list" else 0), message)
    for n in range(5):
        here.put("effective", f"e{n}")
    here.hire("-c", "2")
    for each in here.accepted:
        assert here.until_state(each, "o").result[:1] == b"d"
    indexes = (names.delayed, names.leases, *names.ready)
    here.until(lambda: not any(here.broker.link.execute("EXISTS", key) for key in indexes), "the odd entry to go")
    assert here.runs("twice") <= 2
    assert [here.runs(f"e{n}") for n in range(5)] == [1] * 5
    assert here.counter("done") == 6


@pytest.mark.parametrize("record", [b"", b"d", b"d\xff\0", b"d" + b"\xff" * 7, b"?" * 8], ids=repr)
def test_g10_a_damaged_record_of_a_delayed_message_stops_nobody_else(here: Stage, record: bytes) -> None:
    damaged = here.put("effective", "damaged", delay=0.1)
    here.broker.link.execute("HSET", here.broker.keys("work").state, damaged, record)
    for n in range(5):
        here.put("effective", f"e{n}", delay=0.2)
    here.hire("-c", "2")
    here.settled()
    assert here.runs("damaged") == 1


def test_g14_an_entry_without_a_message_is_dropped(here: Stage) -> None:
    names = here.broker.keys("work")
    for entry in (new_ids(1)[0], b"not an id", b""):
        here.broker.link.execute("RPUSH", names.ready_for(0), entry)
    here.put("effective", "after")
    here.hire("-c", "1")
    here.settled()


def test_g14_a_lease_of_nobody_and_one_without_messages_are_taken_back(short: Stage) -> None:
    here = short
    names = here.broker.keys("work")
    here.broker.link.execute("ZADD", names.leases, 1, b"t" * 20)
    here.broker.link.execute("ZADD", names.leases, 2, b"odd")
    here.put("effective", "e")
    here.hire("-c", "1")
    here.until(lambda: here.broker.link.execute("ZCARD", names.leases) == 0, "the leases of nobody to go")
    here.settled()


def test_g02_g06_what_cannot_be_stored_is_refused_with_its_path_and_nothing_is_enqueued(here: Stage) -> None:
    sender = here.app.remote(f"{MISDEEDS}.echo", queue="work")
    circular: list[object] = []
    circular.append(circular)
    for value in (
        {1, 2},
        b"bytes",
        object(),
        circular,
        {1: "a", "1": "b"},
        float("nan"),
        "\ud800",
        [[["deep", {2: 1}]]],
    ):
        with pytest.raises(TypeError, match=r"args\[0\]"):
            sender.enqueue(value)
    assert here.broker.link.execute("EXISTS", here.broker.keys("work").body) == 0


def test_what_is_good_is_good() -> None:
    """Or the envelopes above would be refused for the wrong reason."""
    message = new_ids(1)[0]
    assert decode(message, wrapped(GOOD[5:])).task == EFFECTIVE
    assert decode(message, array(EFFECTIVE, ["x"], {}, 0, None, None)).args == ["x"]
    assert len(id_text(message)) == 36
