"""Values to bytes and back: JSON by default, other codecs by registration.

The JSON codec stores only what comes back as it was: str, int of 64 bits, finite float, bool, None, list, and dict with
str keys. orjson alone would turn NaN into null and a datetime, tuple, Enum or dataclass into something else without a
word, so each value is looked at first. Richer types reach JSON through the annotations of the task (`taskq.rebuild`).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, Protocol

import orjson

from taskq.errors import ConfigError, DecodeError, PayloadTooLarge, ResultTooLarge, SerializationError
from taskq.names import did_you_mean, shown
from taskq.values import a

MAX_ARGUMENTS: Final = 1_048_576  # bytes
MAX_RESULT: Final = 65_536
MAX_DEPTH: Final = 100  # lists and dicts in an argument: far beyond real data, far within what orjson and stack take

_DEPTH: Final = MAX_DEPTH + 2  # an argument lies in the list of arguments, and that beside the keywords
_ATOMS: Final = frozenset({str, int, bool, type(None)})
_FLOAT: Final = frozenset({float})
_CODEC_NAME = re.compile(r"[a-z0-9][a-z0-9+_.-]{0,31}")


class Codec(Protocol):
    """Values to bytes and back, under a name that messages carry.

    `dumps` raises for what it cannot give back exactly; `loads` raises for what `dumps` never makes. Neither may run
    code or import names that the bytes ask for.
    """

    @property
    def name(self) -> str: ...

    def dumps(self, value: Any, /) -> bytes: ...

    def loads(self, data: bytes, /) -> Any: ...


class Unstorable(SerializationError):
    """A value that a codec refuses: where it lies, as steps from the top, and why."""

    def __init__(self, steps: Sequence[str | int], why: str) -> None:
        super().__init__(f"{path('value', steps)} {why}")
        self.steps = steps
        self.why = why


class JsonCodec:
    """JSON by orjson, for exactly the values that JSON has."""

    __slots__ = ()
    name = "json"

    def dumps(self, value: Any, /) -> bytes:
        if _storable(value, _DEPTH):
            try:
                return orjson.dumps(value)
            except TypeError:  # a key, an int or a surrogate that the quick look does not see: told below
                pass
        steps, why = _fault(value, (), ()) or ((), "cannot be stored as JSON")
        raise Unstorable(steps, why)

    def loads(self, data: bytes, /) -> Any:
        return orjson.loads(data)


class Compressed:
    """A codec that compresses what `inner` makes, from `threshold` bytes on, with zlib.

    What is larger than `limit` bytes uncompressed is refused both ways, so a few bytes never fill the memory.

    >>> codec = Compressed(JSON, threshold=100)
    >>> len(codec.dumps("x" * 10_000)) < 100, codec.loads(codec.dumps([1])), codec.name
    (True, [1], 'json+zlib')
    """

    __slots__ = ("inner", "level", "limit", "name", "threshold")

    def __init__(self, inner: Codec, threshold: int = 1_024, limit: int = 16 * MAX_ARGUMENTS, level: int = 6) -> None:
        self.name = f"{inner.name}+zlib"
        self.inner = inner
        self.threshold = threshold
        self.limit = limit
        self.level = level

    def dumps(self, value: Any, /) -> bytes:
        data = self.inner.dumps(value)
        if len(data) > self.limit:
            raise PayloadTooLarge(f"{len(data):,} bytes before compression; the limit is {self.limit:,}")
        small = zlib.compress(data, self.level) if len(data) >= self.threshold else data
        return b"z" + small if len(small) < len(data) else b"-" + data

    def loads(self, data: bytes, /) -> Any:
        if data[:1] == b"-":
            return self.inner.loads(data[1:])
        if data[:1] != b"z":
            raise DecodeError(f"{shown(data[:1])} is not a mark of {self.name}")
        inflater = zlib.decompressobj()
        plain = inflater.decompress(data[1:], self.limit)
        if not inflater.eof or inflater.unused_data:
            raise DecodeError(f"compressed data is cut short, has a tail, or holds more than {self.limit:,} bytes")
        return self.inner.loads(plain)


JSON: Final = JsonCodec()
_CODECS: dict[str, Codec] = {JSON.name: JSON}


def register(codec: Codec) -> None:
    """Make `codec` known under its name, in the producers as in the workers; a name is never given twice.

    Codecs read what others can write into Redis: one that can run code (pickle, full YAML) hands them the worker.
    """
    if not _CODEC_NAME.fullmatch(codec.name):
        raise ConfigError(f"codec name {shown(codec.name)} is not valid: use up to 32 of a-z 0-9 + _ . -")
    if _CODECS.setdefault(codec.name, codec) is not codec:
        raise ConfigError(f"another codec is registered as {codec.name!r}")


def get(name: str) -> Codec:
    """The codec of that name, else `ConfigError`."""
    codec = _CODECS.get(name)
    if codec is None:
        raise ConfigError(f"no codec {shown(name)} is registered{did_you_mean(name, _CODECS)}: {', '.join(_CODECS)}")
    return codec


def encode_arguments(
    args: Sequence[Any], kwargs: Mapping[str, Any], codec: Codec = JSON, limit: int = MAX_ARGUMENTS
) -> bytes:
    """The bytes of a call's arguments; nothing is half stored.

    `SerializationError` names the path to what cannot be stored, `PayloadTooLarge` the size and the limit in bytes.

    >>> encode_arguments((42, "mail"), {"copies": 2})
    b'[[42,"mail"],{"copies":2}]'
    >>> encode_arguments(({"user": {"avatar": b""}},), {})
    Traceback (most recent call last):
    taskq.errors.SerializationError: args[0].user.avatar is a bytes, which JSON does not have: annotate ...
    """
    try:
        call = [list(args), dict(kwargs)]
        plain = codec is JSON and _ATOMS.issuperset(map(type, args)) and _ATOMS.issuperset(map(type, kwargs.values()))
        data = _plain(call) if plain else codec.dumps(call)
    except Unstorable as error:
        raise _unstorable_argument(error.steps, error.why) from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _refusal(error, codec, "the arguments") from error
    if len(data) > limit:
        raise PayloadTooLarge(
            f"the arguments take {len(data):,} bytes, the limit is {limit:,}: store the data elsewhere and pass where"
            " it is, or raise the limit of the app"
        )
    return data


def check_arguments(args: Sequence[Any], kwargs: Mapping[str, Any], *, thorough: bool = False) -> None:
    """Refuse arguments that JSON would not give back, for a caller that writes them by orjson as a part of more.

    The quick look leaves keys, ints beyond 64 bits and half surrogates to orjson: after its TypeError, look again with
    `thorough`, and the `SerializationError` names the path to the value.
    """
    call = [list(args), dict(kwargs)]
    if (thorough or not _storable(call, _DEPTH)) and (fault := _fault(call, (), ())):
        raise _unstorable_argument(*fault)


def dumps_of(codec: Codec, values: list[Any]) -> Callable[[Any], bytes]:
    """What encodes each of many values fastest: for JSON one look at all of them takes the place of one at each.

    Where it raises TypeError, `codec.dumps` says what is wrong.
    """
    return orjson.dumps if codec is JSON and _storable(values, _DEPTH) else codec.dumps


def decode_arguments(data: bytes, codec: Codec = JSON) -> tuple[list[Any], dict[str, Any]]:
    """The arguments out of what `encode_arguments` made, else `DecodeError`."""
    value = decode_value(data, codec)
    if isinstance(value, list) and len(value) == 2:
        args, kwargs = value
        if isinstance(args, list) and isinstance(kwargs, dict) and all(isinstance(key, str) for key in kwargs):
            return args, kwargs
    raise DecodeError(f"stored arguments are not a list and a dict: {shown(data)}")


def encode_result(value: Any, codec: Codec = JSON, limit: int = MAX_RESULT) -> bytes:
    """The bytes of a return value; raises `SerializationError`, or `ResultTooLarge` above `limit` bytes."""
    try:
        data = codec.dumps(value)
    except Unstorable as error:
        raise SerializationError(f"{path('result', error.steps)} {error.why}") from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _refusal(error, codec, "the result") from error
    if len(data) > limit:
        raise ResultTooLarge(
            f"the result takes {len(data):,} bytes, the limit is {limit:,}: store it elsewhere and return where it is,"
            " or raise max_result of the task"
        )
    return data


def decode_value(data: bytes, codec: Codec = JSON) -> Any:
    """The value in `data`, else `DecodeError`, whatever the codec raised."""
    try:
        return codec.loads(data)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"stored bytes are not {codec.name}: {error}: {shown(data)}") from error


def path(root: str, steps: Sequence[str | int]) -> str:
    """How to reach a part of a value, as one would write it.

    >>> path("args", [0, "user", "e-mail", 3])
    "args[0].user['e-mail'][3]"
    """
    parts = (f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{shown(step)}]" for step in steps)
    return root + "".join(parts)


def _plain(call: list[Any]) -> bytes:
    """The bytes of arguments that are text, ints, bools and None: most calls, so the short way."""
    try:
        return orjson.dumps(call)
    except TypeError:
        return JSON.dumps(call)  # finds out which one, and why


def _unstorable_argument(steps: Sequence[str | int], why: str) -> SerializationError:
    which, *rest = steps or (0,)
    return SerializationError(f"{path('kwargs' if which else 'args', rest)} {why}")


def _refusal(error: Exception, codec: Codec, what: str) -> SerializationError:
    if isinstance(error, SerializationError):
        return error
    return SerializationError(f"codec {codec.name!r} cannot store {what}: {error}")


def _storable(value: Any, depth: int) -> bool:
    """A quick look: only exact types of JSON, no NaN, not too deep. Keys, large ints and surrogates orjson refuses."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is float:
        return isfinite(value)
    if depth == 0 or (kind is not list and kind is not dict):
        return False
    members = value if kind is list else value.values()
    if _ATOMS.issuperset(map(type, members)):
        return True
    if _FLOAT.issuperset(map(type, members)):
        return all(map(isfinite, members))
    for item in members:  # noqa: SIM110 -- a generator here costs more than the look itself
        if type(item) not in _ATOMS and not _storable(item, depth - 1):
            return False
    return True


def _fault(
    value: Any, steps: tuple[str | int, ...], above: tuple[int, ...]
) -> tuple[tuple[str | int, ...], str] | None:
    """The first thing in `value` that cannot be stored: the way to it, and why not."""
    kind = type(value)
    if kind is not list and kind is not dict:
        why = _atom_fault(value)
        return (steps, why) if why else None
    if id(value) in above:
        return steps, "contains itself"
    if len(above) >= _DEPTH:
        return steps[:4], f"is nested more than {MAX_DEPTH} levels deep"
    items = enumerate(value) if kind is list else value.items()
    for key, item in items:
        if kind is dict and (why := _key_fault(key)):
            return steps, why
        if fault := _fault(item, (*steps, key), (*above, id(value))):
            return fault
    return None


def _key_fault(key: Any) -> str:
    if type(key) is str:
        return _atom_fault(key) and "has a key with half a surrogate pair, which UTF-8 cannot carry"
    return (
        f"has the key {shown(key)}, but keys are str: annotate the parameter (as dict[int, str], say) or use str(key)"
    )


def _atom_fault(value: Any) -> str:
    kind = type(value)
    if kind is float:
        return "" if isfinite(value) else f"is {value}, which JSON does not have"
    if kind is int:
        return "" if -(2**63) <= value < 2**64 else "is an int beyond 64 bits: pass it as str"
    if kind is str:
        half = any("\ud800" <= sign <= "\udfff" for sign in value)
        return "has half a surrogate pair, which UTF-8 cannot carry" if half else ""
    if kind in _ATOMS:
        return ""
    bases = [base.__name__ for base in (str, int, float, list, dict) if isinstance(value, base)]
    what = f"is {a(kind.__qualname__)}, which JSON " + (f"would give back as {bases[0]}" if bases else "does not have")
    return f"{what}: annotate the parameter with its type, or convert it"
