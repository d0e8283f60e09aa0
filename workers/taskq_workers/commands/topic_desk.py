"""What the commands about topics share: the way to a topic, and places in it as they are typed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import click

from taskq import TaskQ
from taskq.errors import InvalidOption
from taskq.events.record import Offset
from taskq.topic_control import TopicControl
from taskq_workers.commands.history import Instant, instant
from taskq_workers.commands.operating import Desk
from taskq_workers.terminal import clean

F = TypeVar("F", bound=Callable[..., Any])


def control_of(desk: Desk) -> TopicControl:
    """The way to the topics of a namespace: by the app if it was named (it may know codecs), else by one of ours."""
    app = desk.app if isinstance(desk.app, TaskQ) and desk.app.namespace == desk.namespace else TaskQ(desk.namespace)
    app.broker(desk.url)
    return TopicControl(app.events)


@dataclass(frozen=True)
class Place:
    """A place in a topic as it was typed."""

    word: Literal["earliest", "latest"] | None = None
    at: Offset | None = None
    instant: Instant | None = None

    def offset(self) -> Offset:
        """The offset that was typed."""
        assert self.at is not None
        return self.at


def place(value: str) -> Place:
    """earliest, latest, an offset like 1700000000000-0, a moment with its zone, or a duration: so long ago."""
    text = str(value).strip()
    if text == "earliest" or text == "latest":
        return Place(word="earliest" if text == "earliest" else "latest")
    try:
        return Place(at=Offset.parse(text))
    except InvalidOption:
        pass
    try:
        return Place(instant=instant(text))
    except click.BadParameter as error:
        raise click.BadParameter(
            f"{clean(text)!r} is no place: write earliest, latest, an offset, 2026-11-24T18:30+01:00, or 2h for two"
            " hours ago"
        ) from error


def where(desk: Desk, given: Place) -> Offset | float | Literal["earliest", "latest"]:
    """The place as the library takes it; so long ago is meant by the server's clock."""
    if given.word is not None:
        return given.word
    return given.instant.seconds(desk) if given.instant is not None else given.offset()


def partition_option(command: F) -> F:
    return click.option(
        "--partition",
        "partitions",
        type=int,
        multiple=True,
        metavar="NUMBER",
        help="Only this one; may be given again.",
    )(command)
