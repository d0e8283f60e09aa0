"""What the dashboard knows and shows at one moment, what can happen to it, and what it asks for. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from taskq.inspector import MessageInfo
from taskq.snapshot import ScheduleInfo, Snapshot, TopicInfo
from taskq_dashboard.picture import Picture

View: TypeAlias = Literal["overview", "queues", "messages", "workers", "dead", "schedules", "topics"]
VIEWS: tuple[View, ...] = ("overview", "queues", "messages", "workers", "dead", "schedules", "topics")

Listed: TypeAlias = Literal["ready", "delayed", "retrying", "running", "parked", "dead", "quarantined", "failures"]
"""What a list of messages shows; `failures` are the last failed attempts of all queues."""

TABS: Mapping[View, tuple[Listed, ...]] = {
    "messages": ("ready", "delayed", "retrying", "running", "parked"),
    "dead": ("dead", "quarantined", "failures"),
}

LEAST_WIDTH, LEAST_HEIGHT = 40, 10
"""The smallest screen on which anything is shown, in cells."""

PAGE = 200
"""Messages that are read at once."""


# -- what is shown ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One message in a list; moments are ms of the server's clock. `note` is its error, or its arguments."""

    queue: str
    id: str
    task: str
    at: float | None = None
    due: float | None = None
    attempts: int = 0
    worker: str = ""
    error: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Want:
    """Which messages are to be listed. `cursor` is where the page begins."""

    queue: str
    listed: Listed
    text: str = ""
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of messages. `total` is how many there are without the filter, None if that is not known.

    With a `cursor` there is more. `looked` is how many were looked at; `cut` says that the search ended before the
    page was full.
    """

    want: Want
    rows: tuple[Row, ...] = ()
    total: int | None = None
    looked: int = 0
    cursor: str | None = None
    cut: bool = False


# -- what is done ----------------------------------------------------------------------------------------------------

Verb: TypeAlias = Literal["retry", "cancel", "delete", "pause", "resume", "hold", "release"]
"""`hold` and `release` are pause and resume of a schedule."""


@dataclass(frozen=True, slots=True)
class Order:
    """Something to be done: to these ids, or to all that the text fits. `count` is how many that are, if known."""

    verb: Verb
    queue: str
    listed: Listed = "dead"
    ids: tuple[str, ...] = ()
    text: str = ""
    every: bool = False
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """An order that is being carried out. `stopping` since somebody asked for its end."""

    order: Order
    done: int = 0
    stopping: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """One line about what has happened; it goes with the next key."""

    text: str
    look: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message in full, or that it is being fetched."""

    queue: str
    id: str
    info: MessageInfo | None = None
    problem: str = ""


Detail: TypeAlias = Message | ScheduleInfo | TopicInfo


@dataclass(frozen=True, slots=True)
class State:
    """All of it. `at` is the selected row of each view by its key, `moved` the views where somebody chose it; `marked`
    are ids of the list that is shown.

    `every` means all that the filter fits, marked by one key, with their number once it is counted. `typing` is what is
    being typed into the filter. `before` are the cursors of the pages before this one.
    """

    view: View = "overview"
    read_only: bool = False
    picture: Picture | None = None
    lost: float | None = None  # since when the broker is away, ms of our clock
    problem: str = ""
    at: Mapping[str, str] = field(default_factory=dict, hash=False)
    moved: frozenset[View] = frozenset()
    filters: Mapping[str, str] = field(default_factory=dict, hash=False)
    typing: str | None = None
    queue: str = ""
    tabs: Mapping[str, Listed] = field(default_factory=dict, hash=False)
    listing: Listing | None = None
    before: tuple[str | None, ...] = ()
    asked: float = 0.0  # when a page was asked for, ms of our clock
    marked: frozenset[str] = frozenset()
    every: bool = False
    counted: int | None = None
    ask: Order | None = None
    work: Progress | None = None
    notice: Notice | None = None
    detail: Detail | None = None
    scroll: int = 0
    help: bool = False
    width: int = 80
    height: int = 24
    now: float = 0.0  # ms of our clock

    @property
    def snapshot(self) -> Snapshot | None:
        """The last look, if there was one."""
        return self.picture.snapshot if self.picture is not None else None

    @property
    def too_small(self) -> bool:
        """Whether the screen has no room for any of it, but for saying so."""
        return self.width < LEAST_WIDTH or self.height < LEAST_HEIGHT

    @property
    def text(self) -> str:
        """The filter of this view."""
        return self.filters.get(self.view, "")

    @property
    def tab(self) -> Listed:
        """Which messages this view lists."""
        return self.tabs.get(self.view, TABS[self.view][0] if self.view in TABS else "dead")


# -- what happens ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Key:
    """A key: its sign, or a name like "up", "enter", "esc"."""

    name: str


@dataclass(frozen=True, slots=True)
class Resized:
    """The terminal has another size."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passes; ms of our clock."""

    now: float


@dataclass(frozen=True, slots=True)
class Looked:
    """A snapshot came."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Lost:
    """A look failed: the broker is away, or refuses."""

    problem: str
    at: float


@dataclass(frozen=True, slots=True)
class Read:
    """A page of messages came."""

    listing: Listing


@dataclass(frozen=True, slots=True)
class Found:
    """One message came, or why not."""

    message: Message


@dataclass(frozen=True, slots=True)
class Counted:
    """How many messages a filter fits."""

    want: Want
    count: int


@dataclass(frozen=True, slots=True)
class Advanced:
    """So many of the order are done."""

    done: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The order is over: what was done, and why it ended if that was not its end."""

    order: Order
    text: str
    good: bool = True


@dataclass(frozen=True, slots=True)
class Failed:
    """Something that was asked for cannot be had."""

    text: str


Event: TypeAlias = Key | Resized | Ticked | Looked | Lost | Read | Found | Counted | Advanced | Finished | Failed


# -- what is asked for -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadPage:
    """Read a page of messages."""

    want: Want


@dataclass(frozen=True, slots=True)
class Count:
    """Count what a filter fits."""

    want: Want


@dataclass(frozen=True, slots=True)
class Open:
    """Read one message; `queue` may be empty: then it is searched."""

    queue: str
    id: str


@dataclass(frozen=True, slots=True)
class Do:
    """Carry out an order."""

    order: Order


@dataclass(frozen=True, slots=True)
class Stop:
    """End the order that is being carried out, after the step that it is in."""


@dataclass(frozen=True, slots=True)
class Quit:
    """Leave."""


Effect: TypeAlias = ReadPage | Count | Open | Do | Stop | Quit
