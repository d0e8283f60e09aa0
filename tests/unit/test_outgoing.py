"""What a call becomes before it is sent."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest

from taskq import codec as codecs
from taskq.codec import JSON, Compressed
from taskq.errors import DecodeError, InvalidArguments, InvalidOption, PayloadTooLarge, SerializationError
from taskq.message import decode, encode, id_text, new_ids, task_in
from taskq.options import TaskOptions
from taskq.signature import Signature
from taskq.tasks.outgoing import Call, Stamp, Target, follow_outgoing, follow_wire, unique_digest

ID = UUID("01a20fc7-1ba2-7b96-b429-be711eaacefc")


def send(order: int, when: datetime | None = None, *, note: str = "") -> None: ...


TARGET = Target("shop.send", Signature.of(send, "shop.send"))


def stamp(**options: Any) -> Stamp:
    return Stamp.of(TARGET, TaskOptions.of(queue="mail").merge(**options))


def call(*args: Any, **kwargs: Any) -> Call[Any]:
    return Call(stamp(), args, kwargs)


def test_the_body_is_the_message_of_the_layout() -> None:
    """`Stamp` writes the bytes by itself; they may never differ from what `taskq.message` writes."""
    made = stamp(timeout=5, headers={"trace": "é"}).outgoing(ID.bytes, (42,), {"note": "hi"}, 1_700_000_000_000)
    told = encode("shop.send", [42], {"note": "hi"}, 1_700_000_000_000, {"t": 5.0}, {"trace": "é"})
    assert made.body == told
    many = stamp().outgoing_many([ID.bytes], [(42,)], 1_700_000_000_000)
    assert many[0].body == encode("shop.send", [42], {}, 1_700_000_000_000)


def test_bulk_and_single_write_the_same() -> None:
    rows: list[tuple[Any, ...]] = [(1,), (2, datetime(2026, 1, 1, tzinfo=UTC)), (2**40,)]
    ids = new_ids(3)
    for options in ({}, {"priority": 1}, {"delay": 5}):
        bulk = stamp(**options).outgoing_many(ids, rows, 7)
        assert bulk == [stamp(**options).outgoing(raw, row, {}, 7) for raw, row in zip(ids, rows, strict=True)]


def test_relative_times_are_left_to_the_clock_of_the_server() -> None:
    later = stamp(delay=1.5, expires=60).outgoing(ID.bytes, (1,), {}, 0)
    assert (later.due, later.expires) == (-1500, -60_000)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    at = stamp(at=moment, expires=moment).outgoing(ID.bytes, (1,), {}, 0)
    assert at.due == at.expires == moment.timestamp() * 1000


def test_an_expiry_at_the_epoch_is_in_the_past_and_not_absent() -> None:
    assert stamp(expires=datetime(1970, 1, 1, tzinfo=UTC)).outgoing(ID.bytes, (1,), {}, 0).expires == 1


def test_an_explicit_id_replaces_the_drawn_one() -> None:
    made = stamp(id=ID).outgoing(bytes(16), (1,), {}, 0)
    assert made.explicit
    assert id_text(made.id) == str(ID)
    with pytest.raises(InvalidOption, match="names one message, and these are 2"):
        stamp(id=ID).outgoing_many(new_ids(2), [(1,), (2,)], 0)


def test_a_unique_key_belongs_to_its_task() -> None:
    made = stamp(unique="order-42").outgoing(ID.bytes, (1,), {}, 0)
    assert made.unique == unique_digest("shop.send", "order-42")
    assert made.unique != unique_digest("shop.ship", "order-42")
    assert len(made.unique) == 16


def test_a_moment_and_a_span_are_compared_when_the_call_is_made() -> None:
    now = 1_700_000_000_000
    late: list[dict[str, Any]] = [
        {"at": now / 1000 + 61, "expires": 60},
        {"delay": 61, "expires": datetime.fromtimestamp(now / 1000 + 60, UTC)},
    ]
    for options in late:
        with pytest.raises(InvalidOption, match="is 1 s after expires=: the message could never start"):
            stamp(**options).outgoing(ID.bytes, (1,), {}, now)
        with pytest.raises(InvalidOption, match="could never start"):
            stamp(**options).outgoing_many(new_ids(2), [(1,), (2,)], now)
        assert stamp(**options).outgoing(ID.bytes, (1,), {}, now + (2000 if "at" in options else -2000)).due


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "text"),
    [
        ((), {}, InvalidArguments, r"shop.send\(order, when, \*, note\): missing 'order'"),
        ((1,), {"nota": "x"}, InvalidArguments, "did you mean 'note'"),
        (("x",), {}, InvalidArguments, "order"),
        (("x" * 100,), {}, InvalidArguments, "order"),
    ],
)
def test_a_call_that_the_function_would_not_take_is_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        stamp().outgoing(ID.bytes, args, kwargs, 0)
    if not kwargs:
        with pytest.raises(error, match=text):
            stamp().outgoing_many([ID.bytes], [args], 0)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (math.nan, SerializationError, r"args\[0\] is nan"),
        ({"user": {"avatar": b""}}, SerializationError, r"args\[0\].user.avatar is a bytes"),
        (datetime(2026, 1, 1, tzinfo=UTC), SerializationError, "annotate the parameter"),
        (2**64, SerializationError, "beyond 64 bits"),
        ("\ud800", SerializationError, "surrogate"),
        ("x" * 2_000, PayloadTooLarge, r"2,\d+ bytes, the limit is 1,000"),
    ],
)
def test_a_task_known_by_name_takes_plain_json_only(value: Any, error: type[Exception], text: str) -> None:
    by_name = Stamp.of(Target("far.away", limit=1_000), TaskOptions.of())
    for make in (
        lambda: by_name.outgoing(ID.bytes, (value,), {}, 0),
        lambda: by_name.outgoing_many([ID.bytes], [(value,)], 0),
    ):
        with pytest.raises(error, match=f"far.away.*{text}"):
            make()


def test_the_bad_call_of_a_bulk_is_named() -> None:
    by_name = Stamp.of(Target("far.away"), TaskOptions.of())
    with pytest.raises(SerializationError, match=r"call 2: far\.away: "):
        by_name.outgoing_many(new_ids(3), [(1,), (2,), (math.inf,)], 0)


def test_another_codec_carries_the_arguments() -> None:
    codecs.register(codec := Compressed(JSON, threshold=100))
    target = Target("shop.send", Signature.of(send, "shop.send"), codec)
    made = Stamp.of(target, TaskOptions.of()).outgoing(ID.bytes, (1,), {"note": "x" * 10_000}, 5)
    assert len(made.body) < 500
    read = decode(made.id, made.body)
    assert (read.args, read.kwargs, read.created) == ([1], {"note": "x" * 10_000}, 5)
    assert task_in(made.body) == task_in(stamp().outgoing(ID.bytes, (1,), {}, 0).body) == "shop.send"


@pytest.mark.parametrize(
    "body", [None, b"", b"\x01abcd", b"\x01abcd[]", b"\x01abcd[7]", b"\x01abcd{}", b"\x80\x04junk"]
)
def test_bytes_that_are_no_message_name_no_task(body: bytes | None) -> None:
    assert task_in(body) == ""


def test_a_follow_up_travels_as_json_and_arrives_as_a_message() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    follow: Call[None] = Call(stamp(delay=2, priority=1, unique="k", timeout=9, headers={"a": "b"}), (7, moment))
    made = Stamp.of(TARGET, TaskOptions.of(), follow_wire(follow)).outgoing(ID.bytes, (1,), {}, 0)
    options = decode(made.id, made.body).options
    assert options is not None
    queue, message = follow_outgoing(orjson.loads(orjson.dumps(options["then"])), bytes(16))
    read = decode(message.id, message.body)
    assert (queue, message.id, message.explicit) == ("mail", bytes(16), False)
    assert (message.due, message.priority, message.unique) == (-2000, 1, unique_digest("shop.send", "k"))
    assert (read.task, read.options, read.headers) == ("shop.send", {"t": 9.0}, {"a": "b"})
    assert TARGET.signature is not None
    assert TARGET.signature.decode(read.args, read.kwargs) == ([7, moment], {})


def test_a_follow_up_may_have_a_follow_up_and_an_id() -> None:
    last = follow_wire(call(3))
    middle = follow_wire(Call(Stamp.of(TARGET, TaskOptions.of(id=str(ID)), last), (2,)))
    _, message = follow_outgoing(middle, bytes(16))
    assert (message.id, message.explicit) == (ID.bytes, True)
    options = decode(message.id, message.body).options
    assert options is not None
    assert follow_outgoing(options["then"], bytes(16))[0] == "mail"


def test_a_bad_follow_up_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidArguments, match="order"):
        follow_wire(call("x"))
    with pytest.raises(InvalidOption, match=r"then=task.call\(1\)"):
        follow_wire(send)  # type: ignore[arg-type]
    with pytest.raises(DecodeError, match="follow-up"):
        follow_outgoing({"task": "x"}, bytes(16))


def test_a_call_shows_itself() -> None:
    assert repr(call(1, note="x" * 200)).startswith("Call(shop.send(1, note='xxx")
    assert repr(call(1)).endswith("in 'mail')")
