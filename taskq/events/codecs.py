"""Codecs for schemas, by registration: Avro (extra `avro`) and Protobuf (extra `protobuf`)."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Protocol

from taskq.errors import ConfigError, DecodeError
from taskq.values import a


class ProtobufMessage(Protocol):
    """What is needed of a class that `protoc` has made."""

    def SerializeToString(self) -> bytes: ...  # noqa: N802 - protobuf's own names
    def ParseFromString(self, data: bytes, /) -> Any: ...  # noqa: N802


class AvroCodec:
    """Values of one Avro schema, without a header: `register(AvroCodec("order-v1", schema))`.

    `schema` is a dict, as the `.avsc` file has it. What does not fit the schema is refused. Raises ConfigError without
    fastavro.
    """

    def __init__(self, name: str, schema: dict[str, Any]) -> None:
        try:
            import fastavro
        except ImportError as error:
            raise ConfigError(f"codec {name!r} needs the package fastavro: install taskq-redis[avro]") from error
        self.name = name
        self._avro: Any = fastavro
        self._schema = fastavro.parse_schema(schema)

    def dumps(self, value: Any, /) -> bytes:
        self._avro.validate(value, self._schema, strict=True)
        data = BytesIO()
        self._avro.schemaless_writer(data, self._schema, value, strict=True)
        return data.getvalue()

    def loads(self, data: bytes, /) -> Any:
        stream = BytesIO(data)
        value = self._avro.schemaless_reader(stream, self._schema)
        if stream.read(1):
            raise DecodeError(f"there is more behind a value of {self.name}")
        return value


class ProtobufCodec:
    """Messages of one Protobuf class: `register(ProtobufCodec("payment-v1", Payment))`. Values are messages of it."""

    def __init__(self, name: str, kind: type[ProtobufMessage]) -> None:
        self.name = name
        self._kind = kind

    def dumps(self, value: Any, /) -> bytes:
        if type(value) is not self._kind:
            raise TypeError(f"it is {a(type(value).__name__)}, not {a(self._kind.__name__)}")
        data: bytes = value.SerializeToString()
        return data

    def loads(self, data: bytes, /) -> Any:
        message = self._kind()
        message.ParseFromString(data)
        return message
