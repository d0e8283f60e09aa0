"""Changing things: from a key to an order, the question before it, its progress and its end. Pure."""

from __future__ import annotations

from dataclasses import replace

from taskq.inspector import MessageInfo, QueueInfo
from taskq.snapshot import ScheduleInfo
from taskq_dashboard.offers import VERBS
from taskq_dashboard.rows import Run, selected
from taskq_dashboard.state import Do, Effect, Finished, Listed, Message, Notice, Order, Progress, Row, State

Next = tuple[State, list[Effect]]


def demand(state: State, key: str) -> Next:
    """A key that changes something was pressed where it is offered: the order it means, or why there is none yet."""
    if state.work is not None:
        return replace(state, notice=Notice("one thing at a time: esc stops what is being done", "warn")), []
    order = _pausing(state) if key == "p" else _order(state, key)
    if order is None:
        return state, []
    if order.every and order.count is None:
        return replace(state, notice=Notice("still counting what the filter fits", "warn")), []
    if order.every and not order.count:
        return replace(state, notice=Notice("nothing fits")), []
    if order.every or len(order.ids) > 1:
        return replace(state, ask=order), []
    return _begin(state, order)


def answer(state: State, key: str) -> Next:
    """A key while a question stands there: only a clear yes is one."""
    order = state.ask
    if order is None or key not in ("y", "n", "esc"):
        return state, []
    state = replace(state, ask=None)
    if key == "y":
        return _begin(state, order)
    return replace(state, notice=Notice("nothing was done")), []


def advance(state: State, done: int) -> State:
    """So many are done."""
    return state if state.work is None else replace(state, work=replace(state.work, done=done))


def finish(state: State, event: Finished) -> State:
    """The order is over; what it was about is no longer marked, and a message that is open is read again."""
    state = replace(state, work=None, notice=Notice(event.text, "done" if event.good else "dead"))
    if isinstance(state.detail, Message) and state.detail.id in event.order.ids:
        state = replace(state, detail=None, scroll=0)
    same = (event.order.queue, event.order.listed) == (state.queue, state.tab)
    return replace(state, marked=frozenset(), every=False, counted=None) if same else state


def _begin(state: State, order: Order) -> Next:
    return replace(state, work=Progress(order)), [Do(order)]


def _pausing(state: State) -> Order | None:
    one = state.detail if isinstance(state.detail, ScheduleInfo) else selected(state)
    if isinstance(one, QueueInfo):
        return Order("resume" if one.paused else "pause", one.name)
    if isinstance(one, ScheduleInfo):
        return Order("release" if one.state == "paused" else "hold", one.queue, ids=(one.name,))
    return None


def _order(state: State, key: str) -> Order | None:
    verb = VERBS[key]
    if isinstance(state.detail, Message):
        info = state.detail.info
        listed: Listed = "quarantined" if isinstance(info, MessageInfo) and info.status == "quarantined" else "dead"
        return Order(verb, info.queue if info is not None else state.detail.queue, listed, (state.detail.id,), count=1)
    if state.every:
        return Order(verb, state.queue, state.tab, text=state.text, every=True, count=state.counted)
    if state.marked:
        return Order(verb, state.queue, state.tab, tuple(sorted(state.marked)), count=len(state.marked))
    one = selected(state)
    if isinstance(one, Run):
        return Order(verb, one.queue, "running", (one.id,), count=1)
    return Order(verb, one.queue, state.tab, (one.id,), count=1) if isinstance(one, Row) else None
