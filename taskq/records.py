"""Values with named fields as JSON objects: dataclasses, NamedTuples, TypedDicts and pydantic models."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast, get_args, get_origin, get_type_hints

import orjson

from taskq.errors import ConfigError
from taskq.names import did_you_mean, shown
from taskq.scalars import Converter, Unfit

_WRAPPERS = {"Required", "NotRequired", "ReadOnly", "Final"}


def is_record(kind: type) -> bool:
    """Whether this is a dataclass, a NamedTuple or a TypedDict (of typing or of typing_extensions)."""
    return dataclasses.is_dataclass(kind) or hasattr(kind, "_fields") or _is_typed_dict(kind)


def resolved(kind: type, localns: Mapping[str, Any] | None) -> tuple[dict[str, Any], frozenset[str]]:
    """The annotation of each field that makes a value of `kind`, and the names of those that have to be there."""
    try:
        hints = get_type_hints(kind, localns=None if localns is None else dict(localns), include_extras=True)
    except Exception as error:
        raise ConfigError(f"{kind.__name__}: an annotation cannot be resolved: {error}") from error
    if _is_typed_dict(kind):
        required: set[str] = set(cast("Any", kind).__required_keys__)
        fields: dict[str, Any] = {}
        for name, hint in hints.items():
            fields[name], wrappers = _unwrapped(hint)
            # Under `from __future__ import annotations` the class itself does not see these two.
            if "NotRequired" in wrappers:
                required.discard(name)
            elif "Required" in wrappers:
                required.add(name)
        return fields, frozenset(required)
    if dataclasses.is_dataclass(kind):
        made = [field for field in dataclasses.fields(kind) if field.init]
        _check_init(kind, [field.name for field in made])
        missing = dataclasses.MISSING
        needed = (f.name for f in made if f.default is missing and f.default_factory is missing)
        return {field.name: _unwrapped(hints[field.name])[0] for field in made}, frozenset(needed)
    names = cast("tuple[str, ...]", cast("Any", kind)._fields)
    defaults = cast("Any", kind)._field_defaults
    return {name: hints.get(name, Any) for name in names}, frozenset(name for name in names if name not in defaults)


def record_converter(kind: type, fields: Mapping[str, Converter], required: frozenset[str]) -> Converter:
    """A converter of a record; `fields` may be filled afterwards, before the first use."""
    name = kind.__name__
    typed_dict = _is_typed_dict(kind)

    def convert(data: Mapping[str, Any], whole: Any, way: str) -> dict[str, Any]:
        for field in data.keys() - fields.keys():
            raise Unfit(whole, name, f"it has no field {shown(field)}{did_you_mean(field, fields)}")
        if missing := sorted(required - data.keys()):
            raise Unfit(whole, name, f"the field {missing[0]!r} is missing")
        result: dict[str, Any] = {}
        for field, value in data.items():
            step: Callable[[Any], Any] | None = getattr(fields[field], way)
            try:
                result[field] = value if step is None else step(value)
            except Unfit as error:
                raise error.under(field) from None
        return result

    def encode(value: Any) -> Any:
        if typed_dict:
            if not isinstance(value, dict):
                raise Unfit(value, name)
            return convert(cast("dict[str, Any]", value), value, "encode")
        if type(value) is not kind:
            raise Unfit(value, name, "a subclass would come back as its base" if isinstance(value, kind) else "")
        try:
            data = {field: getattr(value, field) for field in fields}
        except AttributeError as error:
            raise Unfit(value, name, str(error)) from error
        return convert(data, value, "encode")

    def decode(value: Any) -> Any:
        if type(value) is not dict:
            raise Unfit(value, name)
        data = convert(cast("dict[str, Any]", value), value, "decode")
        try:
            return data if typed_dict else kind(**data)
        except Exception as error:
            raise Unfit(value, name, f"{type(error).__name__}: {error}") from error

    return Converter(name, encode, decode, kinds=frozenset({dict if typed_dict else kind}))


def model_converter(kind: Any) -> Converter:
    """A converter of a pydantic model, by its own dump and validation; pydantic itself is never imported here.

    Fields go by name, not by alias, where this pydantic can read them so (2.11 and later). Validation is that of JSON,
    which strict models need.
    """
    name: str = kind.__name__
    by_name = "by_name" in inspect.signature(kind.model_validate_json).parameters
    reading = {"by_name": True, "by_alias": False} if by_name else {}

    def encode(value: Any) -> Any:
        if type(value) is not kind:
            raise Unfit(value, name, "a subclass would come back as its base" if isinstance(value, kind) else "")
        try:
            return value.model_dump(mode="json", by_alias=not by_name, round_trip=True)
        except Exception as error:
            raise Unfit(value, name, f"{type(error).__name__}: {error}") from error

    def decode(value: Any) -> Any:
        try:
            return kind.model_validate_json(orjson.dumps(value), **reading)
        except Exception as error:
            raise Unfit(value, name, f"{type(error).__name__}: {error}") from error

    return Converter(name, encode, decode, kinds=frozenset({kind}))


def _is_typed_dict(kind: type) -> bool:
    return issubclass(kind, dict) and hasattr(kind, "__required_keys__")


def _unwrapped(hint: Any) -> tuple[Any, set[str]]:
    """An annotation without Required, NotRequired, ReadOnly and Final, and which of them it had."""
    found: set[str] = set()
    while (name := getattr(get_origin(hint), "_name", None)) in _WRAPPERS:
        found.add(cast("str", name))
        (hint,) = get_args(hint)
    return hint, found


def _check_init(kind: type, fields: list[str]) -> None:
    """A dataclass can be rebuilt only if its `__init__` takes its fields, and needs nothing else."""
    parameters = inspect.signature(kind).parameters
    anything = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
    for name, item in parameters.items():
        needed = item.default is item.empty and item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)
        if needed and name not in fields:
            raise ConfigError(f"taskq cannot rebuild {kind.__name__}: its __init__ needs {name!r}, which is no field")
    if not anything and (lost := [name for name in fields if name not in parameters]):
        raise ConfigError(f"taskq cannot rebuild {kind.__name__}: its __init__ does not take the field {lost[0]!r}")
