"""What follows from what happens: `reduce` takes the state and one event, and answers the next state and its wishes.

Pure: nothing here reads, writes or waits. `loop.py` carries out the effects and brings their answers as events.
"""

from __future__ import annotations

from dataclasses import replace

from taskq.snapshot import ScheduleInfo, TopicInfo
from taskq_dashboard.offers import offered
from taskq_dashboard.orders import advance, answer, demand, finish
from taskq_dashboard.picture import develop
from taskq_dashboard.rows import Run, items, key_of, place, selected, settled
from taskq_dashboard.state import (
    TABS,
    VIEWS,
    Advanced,
    Count,
    Counted,
    Effect,
    Event,
    Failed,
    Finished,
    Found,
    Key,
    Listed,
    Listing,
    Looked,
    Lost,
    Message,
    Notice,
    Open,
    Quit,
    Read,
    ReadPage,
    Resized,
    Row,
    State,
    Stop,
    Ticked,
    Want,
)

Next = tuple[State, list[Effect]]

AGAIN_MS = 2_000
"""A list that is shown is read again so often."""

_LONGEST_FILTER = 200


def reduce(state: State, event: Event) -> Next:
    """The state after the event, and what is to be done about it."""
    after, effects = _after(state, event)
    return settled(state, after), effects


def _after(state: State, event: Event) -> Next:
    match event:
        case Key(name):
            return _key(state, name)
        case Resized(width, height):
            return replace(state, width=width, height=height), []
        case Ticked(now):
            return replace(state, now=now), []
        case Looked():
            return _looked(state, event)
        case Lost(problem, at):
            return replace(state, lost=state.lost if state.lost is not None else at, problem=problem), []
        case Read(listing):
            # Another queue or filter may be wanted by now.
            return (replace(state, listing=listing), []) if listing.want == _want(state) else (state, [])
        case Found(message):
            return _found(state, message), []
        case Counted(want, count):
            fits = state.every and want == replace(_want(state), cursor=None)
            return (replace(state, counted=count), []) if fits else (state, [])
        case Advanced(done):
            return advance(state, done), []
        case Finished():
            return _reading(finish(state, event))
        case Failed(text):
            return replace(state, notice=Notice(text, "dead")), []


def _looked(state: State, event: Looked) -> Next:
    state = replace(state, picture=develop(event.snapshot, state.picture), lost=None, problem="")
    state = _with_queue(state)
    if isinstance(state.detail, ScheduleInfo):
        name = state.detail.name
        return replace(state, detail=next((one for one in event.snapshot.schedules if one.name == name), None)), []
    if isinstance(state.detail, TopicInfo):
        topic = state.detail.topic  # one that cannot be read now stays as it was, until it is closed
        found = (one for one in event.snapshot.topics if one.topic == topic)
        return replace(state, detail=next(found, state.detail)), []
    if state.now - state.asked < AGAIN_MS:
        return state, []
    if isinstance(state.detail, Message):
        return replace(state, asked=state.now), [Open(state.detail.queue, state.detail.id)]
    return _reading(state)


def _found(state: State, message: Message) -> State:
    """A message was read; of one that has gone meanwhile the last that was known stays, until it is closed."""
    shown = state.detail
    if not isinstance(shown, Message) or shown.id != message.id:
        return state
    gone = message.info is None and shown.info is not None
    return replace(state, detail=replace(shown, problem=message.problem) if gone else message)


# -- keys --------------------------------------------------------------------------------------------------------------


def _key(state: State, name: str) -> Next:
    if state.too_small and name != "q":
        # Nobody sees what a key would do, nor what is asked: only a no is safe.
        return answer(state, name) if name in ("n", "esc") else (state, [])
    state = replace(state, notice=None)
    if state.too_small:
        return _leave(state)
    if state.ask is not None:
        return answer(state, name)
    if state.typing is not None:
        return _typed(state, state.typing, name)
    if name == "q":
        return _leave(state)
    if name == "?" or (state.help and name in ("esc", "enter")):
        return replace(state, help=not state.help), []
    if state.help:
        return state, []
    if name == "esc" and state.work is not None:
        return _stopping(state), [Stop()]
    if name in ("r", "p", "C", "D"):
        return demand(state, name) if offered(state, name) else (state, [])
    if len(name) == 1 and name in "1234567":
        return _to_view(state, int(name) - 1)
    if state.detail is not None:
        return _in_detail(state, name)
    return _in_list(state, name)


def _leave(state: State) -> Next:
    return (_stopping(state), [Stop(), Quit()]) if state.work is not None else (state, [Quit()])


def _stopping(state: State) -> State:
    return state if state.work is None else replace(state, work=replace(state.work, stopping=True))


def _typed(state: State, typing: str, name: str) -> Next:
    """A key while the filter is typed: lists of what is here follow at once, lists that are read with enter."""
    if name == "enter":
        return _filtered(replace(state, typing=None), typing)
    if name == "esc":
        return _filtered(replace(state, typing=None), "")
    if name == "backspace":
        typing = typing[:-1]
    elif name == "space":
        typing += " "
    elif len(name) == 1:
        typing += name
    state = replace(state, typing=typing[:_LONGEST_FILTER])
    if state.view in TABS and state.tab != "failures":
        return state, []
    return replace(state, filters={**state.filters, state.view: state.typing or ""}), []


def _filtered(state: State, text: str) -> Next:
    state = _unmarked(replace(state, filters={**state.filters, state.view: text.strip()}, before=()))
    return _reading(replace(state, listing=None)) if state.view in TABS else (state, [])


def _to_view(state: State, number: int) -> Next:
    view = VIEWS[number]
    if view == state.view:
        return replace(state, detail=None, scroll=0), []
    chosen = state.at.get(state.view, "") if state.view in ("overview", "queues") and state.view in state.moved else ""
    state = replace(state, view=view, detail=None, scroll=0, listing=None, before=(), queue=chosen or state.queue)
    return _reading(_with_queue(_unmarked(state), afresh=view == "dead"))


def _in_detail(state: State, name: str) -> Next:
    page = max(state.height - 6, 1)
    steps = {"j": 1, "down": 1, "k": -1, "up": -1, "pgdn": page, "pgup": -page, "space": page, "home": -(10**9)}
    if name in ("esc", "backspace", "left", "h"):
        return _reading(replace(state, detail=None, scroll=0))
    if name in steps:
        return replace(state, scroll=max(state.scroll + steps[name], 0)), []
    return state, []


def _in_list(state: State, name: str) -> Next:
    match name:
        case "/":
            return replace(state, typing=state.text), []
        case "esc" | "backspace":
            if state.marked or state.every:
                return _unmarked(state), []
            return _filtered(state, "") if state.text else (state, [])
        case "tab" | "backtab" if state.view in TABS:
            return _next_tab(state, -1 if name == "backtab" else 1)
        case "left" | "right" | "h" | "l" if state.view in TABS:
            return _next_queue(state, -1 if name in ("left", "h") else 1)
        case "enter":
            return _open(state)
        case "space" if offered(state, name):
            return _mark(state)
        case "A" if offered(state, name):
            return _mark_all(state)
        case _:
            return _move(state, name)


def _move(state: State, name: str) -> Next:
    rows = items(state)
    if not rows:
        return state, []
    page = max(state.height - 8, 1)
    here = place(state, rows)
    last = len(rows) - 1
    steps = {"j": 1, "down": 1, "k": -1, "up": -1, "pgdn": page, "pgup": -page, "home": -last, "end": last, "g": -last}
    step = steps.get(name, last if name == "G" else 0)
    listing = state.listing
    if listing is not None and state.view in TABS and state.tab != "failures":
        if step > 0 and here == last and listing.cursor:
            return _reading(replace(state, before=(*state.before, listing.want.cursor)), listing.cursor)
        if step < 0 and here == 0 and state.before:
            return _reading(replace(state, before=state.before[:-1]), state.before[-1])
    to = rows[min(max(here + step, 0), last)]
    return replace(state, at={**state.at, state.view: key_of(to)}, moved=state.moved | {state.view}), []


def _mark(state: State) -> Next:
    one = selected(state)
    if not isinstance(one, Row):
        return state, []
    # Who takes one out of all of them means those that are listed.
    listed = frozenset(row.id for row in state.listing.rows) if state.every and state.listing else state.marked
    state = replace(state, marked=listed ^ {one.id}, every=False, counted=None)
    rows = items(state)
    below = rows[min(place(state, rows) + 1, len(rows) - 1)]
    return replace(state, at={**state.at, state.view: key_of(below)}), []


def _mark_all(state: State) -> Next:
    if state.every:
        return _unmarked(state), []
    state = replace(state, every=True, marked=frozenset(), counted=None)
    return state, [Count(replace(_want(state), cursor=None))]


def _open(state: State) -> Next:
    one = selected(state)
    if isinstance(one, (Row, Run)):
        opened = replace(state, detail=Message(one.queue, one.id), scroll=0, asked=state.now)
        return opened, [Open(one.queue, one.id)]
    if one is None:
        return state, []
    if isinstance(one, (ScheduleInfo, TopicInfo)):
        return replace(state, detail=one, scroll=0), []
    return _to_view(replace(state, queue=one.name, tabs={**state.tabs, "messages": "ready"}), VIEWS.index("messages"))


# -- lists that are read -----------------------------------------------------------------------------------------------


def _want(state: State) -> Want:
    """What the open list is to show."""
    cursor = state.listing.want.cursor if state.listing is not None else None
    return Want(state.queue, state.tab, state.text, cursor)


def _reading(state: State, cursor: str | bool | None = False) -> Next:
    """Ask for the page that is shown, or for that at another cursor."""
    if state.view not in TABS or state.tab == "failures" or not state.queue or state.detail is not None:
        return state, []
    want = _want(state)
    if not isinstance(cursor, bool):
        want = replace(want, cursor=cursor)
        # An empty page of what is wanted stands here until it comes.
        state = replace(state, listing=Listing(want), at={**state.at, state.view: ""})
    return replace(state, asked=state.now), [ReadPage(want)]


def _with_queue(state: State, afresh: bool = False) -> State:
    """With a queue to list, if there is one; `afresh` one that has dead letters, if that at hand has none."""
    snapshot = state.snapshot
    if snapshot is None or not snapshot.queues:
        return state
    known = next((one for one in snapshot.queues if one.name == state.queue), None)
    if known is not None and (not afresh or known.dead or not any(one.dead for one in snapshot.queues)):
        return state
    if state.view == "dead":
        best = max(snapshot.queues, key=lambda one: one.dead)
    else:
        best = max(snapshot.queues, key=lambda one: one.ready + one.delayed + one.leased)
    return replace(state, queue=best.name)


def _next_queue(state: State, step: int) -> Next:
    snapshot = state.snapshot
    if snapshot is None or not snapshot.queues or state.tab == "failures":
        return state, []
    names = [one.name for one in snapshot.queues]
    at = names.index(state.queue) if state.queue in names else 0
    queue = names[(at + step) % len(names)]
    return _reading(_unmarked(replace(state, queue=queue, listing=None, before=())))


def _next_tab(state: State, step: int) -> Next:
    tabs = TABS[state.view]
    tab: Listed = tabs[(tabs.index(state.tab) + step) % len(tabs)]
    state = replace(state, tabs={**state.tabs, state.view: tab}, listing=None, before=())
    return _reading(_unmarked(state))


def _unmarked(state: State) -> State:
    return replace(state, marked=frozenset(), every=False, counted=None)
