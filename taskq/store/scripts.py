"""Lua scripts as values: loaded once, called by content hash, so that two releases side by side never collide.

A `Call` is one verb ready to run: script, keys, arguments and what to make of the reply. It is built in one place per
verb and run by either client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, Generic, Protocol, TypeVar

from taskq.errors import BrokerRefused, NoScript, TaskqError
from taskq.store import keys, topic_keys

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua file and its hash."""

    name: str
    text: str
    sha: str


_prefix = ""


def set_prefix(text: str) -> None:
    """Put a line before every script; the test kit uses `#!lua` to let the server check the declared keys."""
    global _prefix
    _prefix = text
    load.cache_clear()
    load_joined.cache_clear()


@cache
def load(name: str) -> Script:
    """The script of a verb, like `tasks/lease`."""
    return _script(name, _read(name))


@cache
def load_joined(name: str, parts: tuple[str, ...], verb: str | None = None) -> Script:
    """One script of several files, in their order; that of `verb` becomes a function of its KEYS and ARGV.

    It stands behind the first part, so that all later ones can call it.
    """
    texts = [_read(part) for part in parts]
    if verb is not None:
        texts.insert(1, f"local function verb(KEYS, ARGV)\n{_read(verb)}\nend\n")
    return _script(name, "\n".join(texts))


def _read(name: str) -> str:
    return files("taskq.store").joinpath("lua", *f"{name}.lua".split("/")).read_text("utf-8")


def _script(name: str, text: str) -> Script:
    text = _prefix + text
    return Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())


def preload(folder: str) -> None:
    """Read all scripts of a folder now: a process whose tasks may leave it no free descriptor cannot do so later."""
    for entry in files("taskq.store").joinpath("lua", folder).iterdir():
        if entry.name.endswith(".lua"):
            load(f"{folder}/{entry.name.removesuffix('.lua')}")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One run of one script, not yet sent; sending it again is safe, since every script is idempotent."""

    script: Script
    keys: Sequence[str]
    args: Sequence[Any]
    decode: Callable[[Any], T]

    def command(self) -> tuple[Any, ...]:
        """By hash; the server answers NOSCRIPT if it does not have it."""
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args)

    def full_command(self) -> tuple[Any, ...]:
        """With the text, which the server then keeps."""
        return ("EVAL", self.script.text, len(self.keys), *self.keys, *self.args)


class Link(Protocol):
    """What running a call needs of a synchronous connection."""

    def execute(self, *args: Any) -> Any: ...
    def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]: ...


class WaitingLink(Link, Protocol):
    """What waiting on the server needs beside that."""

    def behind(self, block_s: float, commands: Sequence[tuple[Any, ...]]) -> list[Any]: ...


class AsyncLinkLike(Protocol):
    """What running a call needs of an asynchronous connection."""

    async def execute(self, *args: Any) -> Any: ...
    async def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]: ...


def run(link: Link, call: Call[T]) -> T:
    """Run a call; raises the error the link translated."""
    try:
        try:
            reply = link.execute(*call.command())
        except NoScript:
            reply = link.execute(*call.full_command())
    except BrokerRefused as error:
        if _unnamed(error, call):
            _name(error, call, link.pipeline(_types(call)))
        raise
    return call.decode(reply)


async def run_async(link: AsyncLinkLike, call: Call[T]) -> T:
    """The same on an asynchronous connection."""
    try:
        try:
            reply = await link.execute(*call.command())
        except NoScript:
            reply = await link.execute(*call.full_command())
    except BrokerRefused as error:
        if _unnamed(error, call):
            _name(error, call, await link.pipeline(_types(call)))
        raise
    return call.decode(reply)


def run_many(link: Link, calls: Sequence[Call[T]]) -> list[T | TaskqError]:
    """Run calls in one round trip; each answers with its value or the error it met. Order is kept.

    After the first NOSCRIPT the rest is sent again one by one: calls of one lane count on their order.
    """
    replies = link.pipeline([call.command() for call in calls])
    for index, reply in enumerate(replies):
        if isinstance(reply, NoScript):
            done = _decoded(calls[:index], replies[:index])
            for call in calls[index:]:
                try:
                    done.append(run(link, call))
                except TaskqError as error:
                    done.append(error)
            return done
    for call, reply in zip(calls, replies, strict=True):
        if _unnamed(reply, call):
            _name(reply, call, link.pipeline(_types(call)))
    return _decoded(calls, replies)


def run_behind(
    link: WaitingLink, seconds: float, bell: tuple[Any, ...], call: Call[T]
) -> tuple[Any, list[T | TaskqError]]:
    """Wait on the server by `bell`, a blocking command, and run a call right behind it on the same connection.

    Answers with the reply to the bell, or its error, and with what the call met, in a list.
    """
    rung, reply = link.behind(seconds, [bell, call.command()])
    if isinstance(reply, NoScript):
        try:
            return rung, [run(link, call)]
        except TaskqError as error:
            return rung, [error]
    if _unnamed(reply, call):
        _name(reply, call, link.pipeline(_types(call)))
    return rung, _decoded([call], [reply])


async def run_many_async(link: AsyncLinkLike, calls: Sequence[Call[T]]) -> list[T | TaskqError]:
    """The same on an asynchronous connection."""
    replies = await link.pipeline([call.command() for call in calls])
    for index, reply in enumerate(replies):
        if isinstance(reply, NoScript):
            done = _decoded(calls[:index], replies[:index])
            for call in calls[index:]:
                try:
                    late = await run_async(link, call)
                    done.append(late)
                except TaskqError as error:
                    done.append(error)
            return done
    for call, reply in zip(calls, replies, strict=True):
        if _unnamed(reply, call):
            _name(reply, call, await link.pipeline(_types(call)))
    return _decoded(calls, replies)


def _decoded(calls: Sequence[Call[T]], replies: Sequence[Any]) -> list[T | TaskqError]:
    answers: list[T | TaskqError] = []
    for call, reply in zip(calls, replies, strict=True):
        try:
            answers.append(reply if isinstance(reply, TaskqError) else call.decode(reply))
        except TaskqError as error:  # a refusal that the script put into its reply
            answers.append(error)
    return answers


# -- a key of another type: scripts look at many keys, and the server does not say at which of them it stumbled


def _unnamed(reply: object, call: Call[Any]) -> bool:
    wrong = isinstance(reply, BrokerRefused) and reply.code == "WRONGTYPE"
    return wrong and not any(f"{key} is " in str(reply) for key in call.keys)


def _types(call: Call[Any]) -> list[tuple[str, str]]:
    return [("TYPE", key) for key in call.keys]


def _name(error: BrokerRefused, call: Call[Any], found: Sequence[Any]) -> None:
    """Add to the error which key it is that holds something else."""
    for key, reply in zip(call.keys, found, strict=True):
        kind = str(reply, "ascii") if isinstance(reply, bytes) else "none"
        right = keys.kind_of(key) or topic_keys.kind_of(key)
        if right is not None and kind not in (right, "none"):
            error.args = (f"{error}: {key} is a {kind}, not a {right}",)
            return
