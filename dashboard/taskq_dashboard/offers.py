"""Which keys do something now, and the word for each: the key bar shows these, and no other key changes anything."""

from __future__ import annotations

from typing import TypeAlias

from taskq.inspector import MessageInfo, QueueInfo
from taskq.snapshot import ScheduleInfo, TopicInfo
from taskq_dashboard.rows import Run, items, selected
from taskq_dashboard.state import TABS, Listed, Message, State, Verb

Offer: TypeAlias = tuple[str, str]
"""A key as it is shown, and what it does."""

VERBS: dict[str, Verb] = {"r": "retry", "C": "cancel", "D": "delete"}

_BURIED: frozenset[str] = frozenset({"dead", "quarantined"})
_WAITING: frozenset[str] = frozenset({"ready", "delayed", "retrying", "parked"})
CHANGING = frozenset({"r", "p", "C", "D", "space", "A"})
"""Keys that change something, or lead to it; none of them with --read-only."""


def offers(state: State) -> list[Offer]:
    """The keys that work now, the most wanted first."""
    if state.ask is not None:
        return [("y", "yes"), ("n", "no")]
    if state.typing is not None:
        return [("enter", "keep"), ("esc", "clear")]
    if state.help:
        return [("esc", "back"), ("q", "quit")]
    found = _detail(state) if state.detail is not None else _list(state)
    if state.read_only:
        found = [one for one in found if one[0] not in CHANGING]
    if state.work is not None:
        found = [("esc", "stop"), *(one for one in found if one[0] not in CHANGING and one[0] != "esc")]
    return [*found, ("?", "help"), ("q", "quit")]


def offered(state: State, key: str) -> bool:
    """Whether this key does something now."""
    return any(key == one for one, _ in offers(state))


def _detail(state: State) -> list[Offer]:
    found: list[Offer] = [("esc", "back")]
    if isinstance(state.detail, ScheduleInfo):
        return [*found, *_hold(state.detail)]
    if isinstance(state.detail, Message) and isinstance(state.detail.info, MessageInfo):
        found += [(key, word) for key, word in _verbs(state.detail.info.status)]
    return found


def _list(state: State) -> list[Offer]:
    rows = bool(items(state))
    found: list[Offer] = []
    if state.text or state.marked or state.every:
        found.append(("esc", "unmark" if state.marked or state.every else "show all"))
    if rows:
        found += [*_row(state), ("enter", "open")]
    found.append(("/", "filter"))
    if state.view in TABS:
        found.append(("tab", "state"))
        if state.tab != "failures":
            found.append(("←→", "queue"))
    found.append(("1-7", "view"))
    if rows:
        found.append(("jk", "move"))
    return found


def _row(state: State) -> list[Offer]:
    one = selected(state)
    if isinstance(one, QueueInfo):
        return [("p", "resume" if one.paused else "pause")]
    if isinstance(one, ScheduleInfo):
        return _hold(one)
    if isinstance(one, Run):
        return [("C", "cancel")]
    if isinstance(one, TopicInfo):
        return []
    verbs = _verbs(state.tab)
    return [("space", "mark"), ("A", "mark all"), *verbs] if verbs else []


def _verbs(listed: Listed | str) -> list[Offer]:
    if listed in _BURIED:
        return [("r", "retry"), ("D", "delete")]
    return [("C", "cancel")] if listed in _WAITING or listed == "running" else []


def _hold(info: ScheduleInfo) -> list[Offer]:
    if info.state not in ("active", "orphaned", "paused"):
        return []
    return [("p", "resume" if info.state == "paused" else "pause")]
