"""Avro and Protobuf: what comes back, and what is refused."""

from __future__ import annotations

import sys

import pytest

from taskq import TaskQ, codec
from taskq.errors import ConfigError, SerializationError
from taskq.events.codecs import AvroCodec, ProtobufCodec
from taskq.events.record import Undecodable

fastavro = pytest.importorskip("fastavro")
wrappers = pytest.importorskip("google.protobuf.wrappers_pb2")

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [{"name": "id", "type": "long"}, {"name": "note", "type": ["null", "string"]}],
}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_CODECS", dict(codec._CODECS))
    codec.register(AvroCodec("order-v1", ORDER))
    codec.register(ProtobufCodec("text-v1", wrappers.StringValue))


@pytest.mark.parametrize("packed", [False, True])
def test_avro_values_come_back_and_others_are_refused(app: TaskQ, packed: bool) -> None:
    topic = app.topic("t", partitions=1, codec="order-v1", packed=packed)
    values = [{"id": number, "note": None if number % 2 else "x"} for number in range(10)]
    topic.publish_many(values)
    assert [one.value for one in topic.read(0)] == values
    for bad in ({"id": "x", "note": None}, {"id": 1}, {"id": 1, "note": None, "more": 1}):
        with pytest.raises(SerializationError, match="codec 'order-v1' cannot store its value"):
            topic.publish(bad)


@pytest.mark.parametrize("packed", [False, True])
def test_protobuf_messages_come_back_and_others_are_refused(app: TaskQ, packed: bool) -> None:
    topic = app.topic("t", partitions=1, codec="text-v1", packed=packed)
    topic.publish(wrappers.StringValue(value="größe"))
    assert topic.read(0)[0].value.value == "größe"
    with pytest.raises(SerializationError, match="it is a str, not a StringValue"):
        topic.publish("größe")


def test_bytes_of_another_schema_are_undecodable(app: TaskQ) -> None:
    topic = app.topic("t", partitions=1, codec="order-v1")
    topic.properties()
    app.broker().link.execute("XADD", topic.log.keys.partition(0).log, "*", "n", "1,3", "v", b"\x02\x00\xff")
    assert isinstance(topic.read(0)[0].value, Undecodable)


def test_without_fastavro_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(
        ConfigError, match=r"^codec 'order-v2' needs the package fastavro: install taskq-redis\[avro\]$"
    ):
        AvroCodec("order-v2", ORDER)
