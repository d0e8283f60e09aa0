"""The parameters of a task: what a call must look like, and its arguments as JSON and back."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Optional, get_args, get_origin, get_type_hints

from taskq.errors import ArgumentsMismatch, ConfigError, DecodeError, InvalidArguments, SerializationError, TaskqError
from taskq.names import did_you_mean, shown
from taskq.options import OPTIONS
from taskq.rebuild import converter
from taskq.records import resolved
from taskq.scalars import ANY, Convert, Converter, Unfit

_NOTHING: frozenset[type] = frozenset()
_Way = Literal["encode", "decode", "read"]


class _Misfit(Exception):
    """The arguments do not fit; which error that is depends on the side."""


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    converter: Converter
    required: bool


class Signature:
    """The parameters of one function, read once when the task is registered.

    Arguments are checked and converted by annotation (`taskq.rebuild`); a parameter without one takes plain JSON and
    is not checked. An annotation of text is resolved in the function's module.

    >>> from datetime import date
    >>> def remind(user: int, day: date, *, text: str = "") -> None: ...
    >>> signature = Signature.of(remind, "shop.remind")
    >>> signature.encode((7, date(2026, 5, 1)), {"text": "tea"})
    ([7, '2026-05-01'], {'text': 'tea'})
    >>> signature.decode([7, "2026-05-01"], {})
    ([7, datetime.date(2026, 5, 1)], {})
    >>> signature.encode((7,), {"days": 1})
    Traceback (most recent call last):
    taskq.errors.InvalidArguments: shop.remind(user, day, *, text): there is no parameter 'days' (did you mean 'day'?)
    """

    def __init__(self, name: str, parameters: Sequence[inspect.Parameter], hints: _Hints, result: Converter) -> None:
        self.name = name
        self.shape = _shape(parameters)  # for error texts: `(user, day, *, text)`
        self.result = result
        self._positional: list[_Parameter] = []
        self._keywords: dict[str, _Parameter] = {}
        self._extra_args: Converter | None = None
        self._extra_kwargs: Converter | None = None
        for parameter in parameters:
            self._add(parameter, hints)
        # What the short way needs: how many arguments, and which types need no step.
        by_position = {parameter.name for parameter in self._positional}
        named_only = any(item.required for name, item in self._keywords.items() if name not in by_position)
        self._least = len(by_position) + 1 if named_only else sum(item.required for item in self._positional)
        self._kept = tuple(_plain(item.converter, "encode") for item in self._positional)
        self._given = tuple(_plain(item.converter, "decode") for item in self._positional)

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],
        name: str | None = None,
        *,
        result: bool = True,
        localns: Mapping[str, Any] | None = None,
    ) -> Signature:
        """Read the signature of `function`, the task `name`; `ConfigError` names an annotation that cannot be used.

        With `result=False` the return annotation is not looked at (a task that keeps no result may return anything).
        `localns` are more names for annotations of text.
        """
        task = name or function.__qualname__
        hints = _Hints(function, task, localns)
        returns = hints.converter("return", "the return value") if result else ANY
        return cls(task, list(inspect.signature(function).parameters.values()), hints, returns)

    def _add(self, item: inspect.Parameter, hints: _Hints) -> None:
        if item.kind is item.VAR_KEYWORD and (named := hints.unpacked(item.name)):
            self._keywords.update(named)
            return
        made = hints.converter(item.name, f"parameter {item.name!r}", optional=item.default is None)
        parameter = _Parameter(item.name, made, item.default is item.empty)
        if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD):
            self._positional.append(parameter)
        if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY):
            self._keywords[item.name] = parameter
        if item.kind is item.VAR_POSITIONAL:
            self._extra_args = made
        if item.kind is item.VAR_KEYWORD:
            self._extra_kwargs = made

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a call as JSON values, in the shape of the call; defaults are left to the worker.

        Raises `InvalidArguments` for a call that the function would not take, or a value that does not fit.
        """
        if not kwargs and self._least <= len(args) <= len(self._kept):
            for value, kept in zip(args, self._kept, strict=False):
                if kept is not None and type(value) not in kept:
                    break
            else:
                return list(args), {}
        try:
            return self._convert(args, kwargs, "encode")
        except _Misfit as error:
            raise InvalidArguments(f"{self.name}{self.shape}: {error}") from error.__cause__
        except RecursionError:
            raise SerializationError(
                f"{self.name}{self.shape}: an argument contains itself, or nests too deep"
            ) from None

    def decode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The inverse, in the worker: `ArgumentsMismatch` if the message does not fit the function (any more)."""
        if not kwargs and self._least <= len(args) <= len(self._given):
            for value, given in zip(args, self._given, strict=False):
                if given is not None and type(value) not in given:
                    break
            else:
                return list(args), {}
        try:
            return self._convert(args, kwargs, "decode")
        except _Misfit as error:
            raise ArgumentsMismatch(f"{self.name}{self.shape}: {error}") from error.__cause__
        except RecursionError:
            raise ArgumentsMismatch(f"{self.name}{self.shape}: an argument nests too deep") from None

    def typed(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, texts: bool) -> tuple[list[Any], dict[str, Any]]:
        """What somebody typed, as the values that the function takes: JSON values, or with `texts` plain words.

        A word is what the text in JSON would be (a date, an id, base64), or else a number, true, false or null. Raises
        `InvalidArguments`.

        >>> from datetime import date
        >>> def remind(day: date, times: int = 1) -> None: ...
        >>> Signature.of(remind, "shop.remind").typed(["2026-05-01", "3"], {}, texts=True)
        ([datetime.date(2026, 5, 1), 3], {})
        """
        try:
            return self._convert(args, kwargs, "read" if texts else "decode")
        except _Misfit as error:
            raise InvalidArguments(f"{self.name}{self.shape}: {error}") from error.__cause__
        except RecursionError:
            raise InvalidArguments(f"{self.name}{self.shape}: an argument nests too deep") from None

    def encode_result(self, value: Any) -> Any:
        """A return value as JSON; `SerializationError` if it does not fit the return annotation."""
        return self._result(value, "encode", SerializationError)

    def decode_result(self, value: Any) -> Any:
        """The inverse, where the result is read; `DecodeError` if it was made by another annotation."""
        return self._result(value, "decode", DecodeError)

    def _result(self, value: Any, way: _Way, failure: type[TaskqError]) -> Any:
        step: Convert | None = getattr(self.result, way)
        try:
            return value if step is None else step(value)
        except Unfit as error:
            raise failure(f"{self.name}: {error.text('result')}") from error.__cause__
        except RecursionError:
            raise failure(f"{self.name}: the result contains itself, or nests too deep") from None

    def _convert(self, args: Sequence[Any], kwargs: Mapping[str, Any], way: _Way) -> tuple[list[Any], dict[str, Any]]:
        positional = self._positional
        if len(args) > len(positional) and self._extra_args is None:
            _misfit(f"it takes {_count(len(positional))}, {len(args)} were given")
        pairs = zip(positional, args, strict=False)
        new_args = [_step(parameter.name, parameter.converter, value, way) for parameter, value in pairs]
        if self._extra_args is not None:
            for value in args[len(positional) :]:
                new_args.append(_step(f"argument {len(new_args) + 1}", self._extra_args, value, way))
        taken = {parameter.name for parameter in positional[: len(args)]}
        new_kwargs: dict[str, Any] = {}
        for name, value in kwargs.items():
            parameter = self._keywords.get(name)
            if parameter is None and self._extra_kwargs is None:
                self._unexpected(name)
            if parameter is not None and name in taken:
                _misfit(f"{name!r} was given twice, by position and by name")
            made = self._extra_kwargs if parameter is None else parameter.converter
            new_kwargs[name] = _step(name, made or ANY, value, way)
        if missing := self._missing(taken, kwargs):
            _misfit(f"missing {', '.join(missing)}")
        return new_args, new_kwargs

    def _missing(self, taken: set[str], kwargs: Mapping[str, Any]) -> list[str]:
        by_position_only = [item for item in self._positional if item.name not in self._keywords]
        missing = [item.name for item in by_position_only if item.required and item.name not in taken]
        named = [name for name, item in self._keywords.items() if item.required and name not in taken]
        return [repr(name) for name in (*missing, *(name for name in named if name not in kwargs))]

    def _unexpected(self, name: object) -> NoReturn:
        if any(parameter.name == name for parameter in self._positional):
            _misfit(f"{name!r} can be given by position only")
        near = did_you_mean(name, self._keywords)
        if not near and name in OPTIONS:
            near = f"; options of a call go before it: .options({name}=...).enqueue(...)"
        _misfit(f"there is no parameter {shown(name)}{near}")


class _Hints:
    """The annotations of a function, as converters."""

    def __init__(self, function: Callable[..., Any], task: str, localns: Mapping[str, Any] | None) -> None:
        self.task = task
        self.localns = localns
        self.hints = _resolve(inspect.unwrap(function), task, localns)

    def converter(self, key: str, what: str, *, optional: bool = False) -> Converter:
        hint = self.hints.get(key, Any)
        try:
            return converter(Optional[hint] if optional and hint is not Any else hint, self.localns)  # noqa: UP045 -- a value
        except ConfigError as error:
            raise ConfigError(f"{self.task}: {what}: {error}") from error.__cause__

    def unpacked(self, key: str) -> dict[str, _Parameter]:
        """The keywords that `**name: Unpack[SomeTypedDict]` stands for."""
        hint = self.hints.get(key)
        if getattr(get_origin(hint), "_name", "") != "Unpack":
            return {}
        fields, required = resolved(get_args(hint)[0], self.localns)
        return {
            name: _Parameter(name, converter(field, self.localns), name in required) for name, field in fields.items()
        }


def _resolve(function: Callable[..., Any], task: str, localns: Mapping[str, Any] | None) -> dict[str, Any]:
    names = None if localns is None else dict(localns)
    try:
        return get_type_hints(function, localns=names, include_extras=True)
    except Exception as error:
        why = _unresolved(function, names) or f"an annotation cannot be resolved: {error}"
        raise ConfigError(f"{task}: {why}") from error


def _unresolved(function: Callable[..., Any], localns: dict[str, Any] | None) -> str:
    """Which annotation it is that cannot be resolved."""
    try:
        annotations = inspect.get_annotations(function)
    except Exception:  # noqa: BLE001 -- from Python 3.14 on, asking is evaluating; the caller has that error
        return ""
    for name, annotation in annotations.items():
        scope = {**getattr(function, "__globals__", {}), **(localns or {})}
        try:
            get_type_hints(_Carrier(name, annotation), globalns=scope)
        except Exception as error:  # noqa: BLE001 -- whatever an annotation raises, it is named here
            return (
                f"the annotation {shown(annotation)} of {name!r} cannot be resolved ({error}): import it where the"
                " module itself sees it, not under TYPE_CHECKING only, or leave the annotation out and pass plain JSON"
            )
    return ""


class _Carrier:
    """One annotation in a form that `get_type_hints` takes."""

    def __init__(self, name: str, annotation: Any) -> None:
        self.__annotations__ = {name: annotation}


def _shape(parameters: Iterable[inspect.Parameter]) -> str:
    bare = [item.replace(annotation=item.empty, default=item.empty) for item in parameters]
    return str(inspect.Signature(bare, __validate_parameters__=False))


def _plain(made: Converter, way: _Way) -> frozenset[type] | None:
    """The types that need no step, None for all of them."""
    if getattr(made, way) is None:
        return None
    return made.kept if way == "encode" else made.given


def _step(name: str, made: Converter, value: Any, way: _Way) -> Any:
    step: Convert | None = _reader(made) if way == "read" else getattr(made, way)
    if step is None:
        return value
    try:
        return step(value)
    except Unfit as error:
        _misfit(error.text(name), error.__cause__)


def _reader(made: Converter) -> Convert | None:
    """The way from a word to a value; lists and objects are not typed as one word."""
    decode = made.decode
    if decode is None:
        return None

    def read(word: str) -> Any:
        try:
            return decode(word)
        except Unfit as error:
            try:
                value = json.loads(word)
            except ValueError:
                raise error from None
            if isinstance(value, (str, list, dict)):
                raise
            try:
                return decode(value)
            except Unfit as second:
                raise (error if error.why else second) from None

    return read


def _count(number: int) -> str:
    return f"{number} positional argument{'' if number == 1 else 's'}"


def _misfit(text: str, cause: BaseException | None = None) -> NoReturn:
    raise _Misfit(text) from cause
