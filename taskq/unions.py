"""Converters of Literal and of unions: which member a JSON value belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskq.scalars import ANY, NONE, SCALARS, Convert, Converter, Unfit

_TAG = "$is"
_OF = "of"
_ATOMS = tuple(SCALARS[kind] for kind in (str, int, float, bool))


def literal_converter(choices: Sequence[tuple[Any, Converter]]) -> Converter:
    """A converter of exactly these values, each with the converter of its type.

    >>> converter = literal_converter([("a", SCALARS[str]), (1, SCALARS[int])])
    >>> converter.name, converter.decode(1), converter.key
    ("Literal['a', 1]", 1, '')
    """
    pairs = [(value, kind.encode(value) if kind.encode else value) for value, kind in choices]
    name = f"Literal[{', '.join(repr(value) for value, _ in pairs)}]"
    kinds = frozenset(type(value) for value, _ in pairs)
    raw = {type(encoded) for _, encoded in pairs}

    def encode(value: Any) -> Any:
        for choice, encoded in pairs:
            if type(choice) is type(value) and choice == value:
                return encoded
        raise Unfit(value, name)

    def decode(value: Any) -> Any:
        for choice, encoded in pairs:
            if type(encoded) is type(value) and encoded == value:
                return choice
        raise Unfit(value, name)

    return Converter(name, encode, decode, kinds=kinds, key="text" if raw == {str} else "int" if raw == {int} else "")


def union_converter(members: Sequence[Converter]) -> Converter:
    """A converter of any of `members`; None is told apart first, so that an optional value costs little."""
    some = [member for member in members if member is not NONE]
    if ANY in some:
        return ANY
    one = some[0] if len(some) == 1 else _several(some)
    if len(some) == len(members):
        return one
    name = f"{one.name} | None"

    def optional(way: Convert | None) -> Convert:
        def convert(value: Any) -> Any:
            return None if value is None or way is None else way(value)

        return convert

    none = frozenset({type(None)})
    encode, decode = optional(one.encode), optional(one.decode)
    return Converter(name, encode, decode, one.kept | none, one.given | none, one.kinds | none, rank=one.rank)


def _several(members: Sequence[Converter]) -> Converter:
    name = " | ".join(member.name for member in members)
    kinds = frozenset[type]().union(*(member.kinds for member in members))
    plain = kinds if all(member in _ATOMS for member in members) else frozenset[type]()
    rank = max(member.rank for member in members)
    return Converter(name, _Encode(name, members), _Decode(name, members), plain, plain, kinds, rank=rank)


class _Decode:
    """JSON to the value of one member: by its tag, else by rank."""

    def __init__(self, name: str, members: Sequence[Converter]) -> None:
        self.name = name
        self.members = members
        self.order = sorted(range(len(members)), key=lambda index: members[index].rank)
        names = [member.name for member in members]
        self.tags = [name if names.count(name) == 1 else f"{name}#{index}" for index, name in enumerate(names)]

    def __call__(self, value: Any) -> Any:
        if not is_tagged(value):
            return self.untagged(value)[1]
        if value[_TAG] not in self.tags:
            raise Unfit(value, self.name)
        decode = self.members[self.tags.index(value[_TAG])].decode
        return value[_OF] if decode is None else decode(value[_OF])

    def untagged(self, value: Any) -> tuple[int, Any]:
        """The member that takes `value` first, and what it makes of it."""
        for index in self.order:
            decode = self.members[index].decode
            try:
                return index, value if decode is None else decode(value)
            except Unfit:
                continue
        raise Unfit(value, self.name)


class _Encode:
    """The value of one member to JSON; tagged only if it would be read as another member."""

    def __init__(self, name: str, members: Sequence[Converter]) -> None:
        self.name = name
        self.members = members
        self.reader = _Decode(name, members)

    def __call__(self, value: Any) -> Any:
        exact = [index for index, member in enumerate(self.members) if type(value) in member.kinds]
        others = [index for index in range(len(self.members)) if index not in exact]
        reasons: list[Unfit] = []
        for index in (*exact, *others):
            encode = self.members[index].encode
            try:
                raw = value if encode is None else encode(value)
            except Unfit as error:
                reasons.append(error)
                continue
            if not is_tagged(raw) and self._reads_back(raw) == index:
                return raw
            return {_TAG: self.reader.tags[index], _OF: raw}
        # The one member that was meant can tell what is wrong inside of the value.
        raise reasons[0] if len(exact) == 1 else Unfit(value, self.name)

    def _reads_back(self, raw: Any) -> int:
        try:
            return self.reader.untagged(raw)[0]
        except Unfit:
            return -1


def is_tagged(value: Any) -> bool:
    """Whether this JSON value has the form of a tagged member."""
    return type(value) is dict and len(value) == 2 and _TAG in value and _OF in value
