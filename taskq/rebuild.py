"""Annotations to converters: what a value of a type looks like in JSON, and how it is rebuilt from that.

Single values are in `taskq.scalars`. Here is what is made of them:

- list, tuple, set, frozenset, Sequence, Set, Collection, Iterable and their mutable kinds are JSON lists and come back
  as the type that is annotated (Sequence and the like as list, Set as set). dict and Mapping are objects; keys may be
  str, int, Enum, UUID, date, datetime, Decimal and the like.
- Dataclasses, NamedTuples and TypedDicts are objects with all their fields; a field that is missing without a default,
  or that is unknown, does not fit. A subclass does not fit either: it would come back as its base. Fields with
  `init=False` are computed anew by the class. Pydantic models go through their own dump and validation.
- int, bool and Enum of int are told apart as Python does it: True fits int, 1 does not fit bool. An int fits float and
  arrives as float. Subclasses of str, int and float arrive as what they are made of.
- A union: None apart, JSON alone often does not tell its members apart (`UUID | str`). It is read by rank: bool first,
  then all in the order they are written, then float, Decimal and timedelta, lists and dicts without fields, str, Any. A
  value that this would give back as another member is sent with a tag, `{"$is": "str", "of": "..."}`.
"""

from __future__ import annotations

import collections.abc as abc
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, cast, get_args, get_origin

from taskq.errors import ConfigError
from taskq.names import shown
from taskq.records import is_record, model_converter, record_converter, resolved
from taskq.scalars import ANY, SCALARS, Convert, Converter, Unfit, enum_converter, leaf
from taskq.unions import literal_converter, union_converter

_LISTS: dict[Any, tuple[tuple[type, ...], Callable[[Any], Any]]] = {
    # annotation: what fits, what is made of the JSON list
    list: ((list,), list),
    set: ((set,), set),
    frozenset: ((frozenset,), frozenset),
    abc.Sequence: ((abc.Sequence,), list),
    abc.MutableSequence: ((abc.MutableSequence,), list),
    abc.Set: ((abc.Set,), set),
    abc.MutableSet: ((abc.MutableSet,), set),
    abc.Collection: ((abc.Collection,), list),
    abc.Iterable: ((abc.Iterable,), list),
}
_DICTS: dict[Any, type] = {dict: dict, abc.Mapping: abc.Mapping, abc.MutableMapping: abc.MutableMapping}
_NOT_LISTS = (str, bytes, bytearray, memoryview, abc.Mapping)


def converter(annotation: Any, localns: Mapping[str, Any] | None = None) -> Converter:
    """The converter of `annotation`; `ConfigError` says what taskq cannot rebuild.

    `localns` are names for annotations that are text, beside the globals of the module where they stand.

    >>> from datetime import date
    >>> dates = converter(dict[date, tuple[int, ...]])
    >>> dates.encode({date(2026, 1, 2): (1, 2)})
    {'2026-01-02': [1, 2]}
    >>> dates.decode({"2026-01-02": [1, 2]})
    {datetime.date(2026, 1, 2): (1, 2)}
    """
    try:
        return _Builder(localns).build(annotation)
    except RecursionError:  # `type Json = list[Json]`, of Python 3.12: an alias has no name to stop at
        raise ConfigError(f"{shown(annotation)} refers to itself: use a dataclass, or Any for plain JSON") from None


def register(kind: type, write: Convert, read: Convert) -> None:
    """Teach taskq a class, before the tasks that use it: `write` makes a text of a value, `read` the value again.

    `read` raises `ValueError` for a text that it cannot read.

    >>> from ipaddress import IPv4Address
    >>> register(IPv4Address, str, IPv4Address)
    >>> converter(list[IPv4Address]).decode(["10.0.0.1"])
    [IPv4Address('10.0.0.1')]
    """
    SCALARS[kind] = leaf(kind, write, read)


class _Builder:
    """Builds the converters of one annotation; records may refer to themselves."""

    def __init__(self, localns: Mapping[str, Any] | None) -> None:
        self.localns = localns
        self.records: dict[type, Converter] = {}

    def build(self, annotation: Any) -> Converter:
        annotation = _plain(annotation)
        if annotation is Any or annotation is object:
            return ANY
        try:
            known = SCALARS.get(annotation)
        except TypeError:  # Annotated and Literal with members that have no hash
            known = None
        if known is not None:
            return known
        origin = get_origin(annotation) or annotation
        if origin is Union or origin is types.UnionType:
            return union_converter([self.build(member) for member in get_args(annotation)])
        if origin is Literal:
            return literal_converter([(value, self.build(type(value))) for value in get_args(annotation)])
        if origin is tuple:
            return self._tuple(annotation)
        if origin in _LISTS:
            (item,) = get_args(annotation) or (Any,)
            return _list(_name(annotation), self.build(item), *_LISTS[origin])
        if origin in _DICTS:
            key, value = get_args(annotation) or (str, Any)
            return _dict(_name(annotation), self._key(key), self.build(value), _DICTS[origin])
        if isinstance(origin, type):
            return self._class(origin)
        raise _unsupported(annotation)

    def _class(self, kind: type) -> Converter:
        if issubclass(kind, Enum):
            return enum_converter(kind)
        if hasattr(kind, "model_validate_json") and hasattr(kind, "model_dump"):
            return model_converter(kind)
        if not is_record(kind):
            raise _unsupported(kind)
        if kind not in self.records:
            fields: dict[str, Converter] = {}  # filled below: a record that contains itself finds its own converter
            hints, required = resolved(kind, self.localns)
            self.records[kind] = record_converter(kind, fields, required)
            fields.update((name, self.build(hint)) for name, hint in hints.items())
        return self.records[kind]

    def _tuple(self, annotation: Any) -> Converter:
        members = get_args(annotation)
        if annotation is tuple or not hasattr(annotation, "__args__"):
            members = (Any, ...)
        if len(members) == 2 and members[1] is Ellipsis:
            return _list(_name(annotation), self.build(members[0]), (tuple,), tuple)
        return _fixed_tuple(_name(annotation), [self.build(member) for member in members])

    def _key(self, annotation: Any) -> Converter:
        if _plain(annotation) is Any:
            return SCALARS[str]
        key = self.build(annotation)
        if not key.key:
            raise ConfigError(
                f"{key.name} cannot be a key of a dict: keys are text in JSON; use str, int, Enum, UUID ..."
            )
        return key


def _plain(annotation: Any) -> Any:
    """Without what says nothing about JSON: Annotated, NewType, type aliases, bounded type variables."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = annotation.__origin__
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # `type X = ...` of Python 3.12
            annotation = annotation.__value__
        elif isinstance(annotation, TypeVar):
            annotation = annotation.__bound__ or Any
        else:
            return annotation


def _name(annotation: Any) -> str:
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")


def _unsupported(annotation: Any) -> ConfigError:
    return ConfigError(
        f"taskq cannot rebuild {shown(annotation)} from JSON: annotate with a plain type, a dataclass, a TypedDict or a"
        " pydantic model, teach it by taskq.rebuild.register(), or leave the annotation out and pass plain JSON"
    )


def each(values: Iterable[Any], convert: Convert | None, unchanged: frozenset[type]) -> list[Any]:
    """All `values` converted; an `Unfit` knows at which index."""
    items = list(values)
    if convert is None or unchanged.issuperset(map(type, items)):
        return items
    for index, item in enumerate(items):
        try:
            items[index] = convert(item)
        except Unfit as error:
            raise error.under(index) from None
    return items


def _list(name: str, item: Converter, fits: tuple[type, ...], make: Callable[[Any], Any]) -> Converter:
    def encode(value: Any) -> Any:
        if not isinstance(value, fits) or isinstance(value, _NOT_LISTS):
            raise Unfit(value, name)
        return each(cast("Iterable[Any]", value), item.encode, item.kept)

    def decode(value: Any) -> Any:
        if type(value) is not list:
            raise Unfit(value, name)
        items = each(value, item.decode, item.given)
        try:
            return items if make is list else make(items)
        except TypeError as error:  # a set of what has no hash
            raise Unfit(items, name, str(error)) from error

    kinds = frozenset(kind for kind in fits if kind in (list, set, frozenset, tuple))
    same = frozenset({list}) if item is ANY and fits == (list,) else frozenset[type]()
    return Converter(name, encode, decode, same, same, kinds, rank=7 if item is ANY else 0)


def _fixed_tuple(name: str, items: Sequence[Converter]) -> Converter:
    def convert(values: Sequence[Any], whole: Any, way: str) -> list[Any]:
        if len(values) != len(items):
            raise Unfit(whole, name, f"it has {len(values)} items, not {len(items)}")
        result: list[Any] = []
        for index, (item, value) in enumerate(zip(items, values, strict=True)):
            step: Convert | None = getattr(item, way)
            try:
                result.append(value if step is None else step(value))
            except Unfit as error:
                raise error.under(index) from None
        return result

    def encode(value: Any) -> Any:
        if not isinstance(value, tuple):
            raise Unfit(value, name)
        return convert(value, value, "encode")

    def decode(value: Any) -> Any:
        if type(value) is not list:
            raise Unfit(value, name)
        return tuple(convert(value, value, "decode"))

    return Converter(name, encode, decode, kinds=frozenset({tuple}))


def _dict(name: str, key: Converter, item: Converter, fits: type) -> Converter:
    def convert(value: Mapping[Any, Any], step: Convert | None, unchanged: frozenset[type], to_key: Convert) -> Any:
        result: dict[Any, Any] = {}
        for name_of, member in value.items():
            try:
                new = to_key(name_of)
                result[new] = member if step is None or type(member) in unchanged else step(member)
            except Unfit as error:
                raise error.under(name_of if isinstance(name_of, (str, int)) else str(name_of)) from None
        if len(result) != len(value):
            raise Unfit(value, name, "two of its keys are the same once converted")
        return result

    def encode(value: Any) -> Any:
        if not isinstance(value, fits):
            raise Unfit(value, name)
        return convert(cast("Mapping[Any, Any]", value), item.encode, item.kept, write_key)

    def decode(value: Any) -> Any:
        if type(value) is not dict:
            raise Unfit(value, name)
        return convert(value, item.decode, item.given, read_key)

    write_key, read_key = _key_ways(key)
    bare = item is ANY and key is SCALARS[str]
    same = frozenset({dict}) if bare else frozenset[type]()
    return Converter(name, encode, decode, same, same, frozenset({dict}), rank=7 if item is ANY else 0)


def _key_ways(key: Converter) -> tuple[Convert, Convert]:
    write, read = key.encode, key.decode
    assert write is not None  # only ANY has no ways, and it is no key
    assert read is not None
    if key.key == "text":
        return write, read

    def read_number(text: Any) -> Any:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or str(number) != text:
            raise Unfit(text, f"{key.name} as a key")
        return read(number)

    return lambda value: str(int(write(value))), read_number
