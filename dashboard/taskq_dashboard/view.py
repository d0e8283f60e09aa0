"""The whole screen from a state: a line on top, the view, a line of news, the keys. Pure."""

from __future__ import annotations

from taskq_dashboard.cells import clock, count, plain, size, span
from taskq_dashboard.detail import detail_lines, help_lines
from taskq_dashboard.offers import offers
from taskq_dashboard.pages import body
from taskq_dashboard.paint import Frame, Line, Paint, Piece, faded, trim, wide
from taskq_dashboard.panels import filled
from taskq_dashboard.rows import runs, slots
from taskq_dashboard.state import LEAST_HEIGHT, LEAST_WIDTH, Message, Order, State


def view(state: State, paint: Paint) -> Frame:
    """The screen in exactly `state.width` times `state.height` cells."""
    width, height = state.width, state.height
    if state.too_small:
        text = f"too small: {LEAST_WIDTH} by {LEAST_HEIGHT} at least, q quits"
        return Frame(tuple(filled([trim([(text, "warn")], width, paint.signs.more)], width, height)), width)
    middle = _middle(state, paint, width, height - 3)
    if state.lost is not None:
        middle = [faded(line) for line in middle]
    return Frame((_head(state, paint), *middle, _news(state, paint), _keys(state, paint)), width)


def plain_view(state: State, paint: Paint) -> Frame:
    """The screen without keys, for paper and pipes."""
    lines = [_head(state, paint), *_middle(state, paint, state.width, state.height - 1)]
    while len(lines) > 1 and not "".join(text for text, _ in lines[-1]).strip():
        lines.pop()
    return Frame(tuple(lines), state.width)


def _middle(state: State, paint: Paint, width: int, height: int) -> list[Line]:
    if state.help:
        return filled(help_lines(paint, width), width, height)
    if state.detail is None:
        return body(state, paint, width, height)
    snapshot, detail = state.snapshot, state.detail
    running = runs(snapshot) if snapshot is not None and isinstance(detail, Message) else []
    run = next((one for one in running if isinstance(detail, Message) and one.id == detail.id), None)
    lines = detail_lines(detail, snapshot.now if snapshot is not None else state.now, paint, width, run)
    first = min(state.scroll, max(len(lines) - height, 0))
    return filled(lines[first : first + height], width, height)


# -- the first line ----------------------------------------------------------------------------------------------------


def _head(state: State, paint: Paint) -> Line:
    """Where this is, how it is, and the time; what matters least is left out first."""
    snapshot, width = state.snapshot, state.width
    left: list[Piece] = [(" taskq ", "bold"), (plain(snapshot.namespace if snapshot else ""), "title")]
    right = _health(state, paint)
    room = width - wide(left) - wide(right) - 2
    for piece in _facts(state, paint):
        if wide([piece]) + 2 > room:
            break
        left += [("  ", ""), piece]
        room -= wide([piece]) + 2
    gap = max(width - wide(left) - wide(right), 1)
    return trim([*left, (" " * gap, ""), *right], width, paint.signs.more)


def _facts(state: State, paint: Paint) -> list[Piece]:
    snapshot = state.snapshot
    if snapshot is None:
        return []
    server, room = snapshot.server, slots(snapshot)
    there = sum(one.present for one in snapshot.workers)
    memory = f"mem {size(server.memory)}" + (f" of {size(server.limit)}" if server.limit else "")
    full = bool(server.limit) and server.memory > server.limit * 0.9
    facts: list[Piece] = [
        (f"workers {there}", "" if there else "warn"),
        (f"slots {count(room.used)}/{count(room.all)}", "" if room.all else "dim"),
        (memory, "alarm" if full else "dim"),
        (paint.text(plain(f"{server.kind} {server.version}")), "dim"),
        (f"clients {count(server.clients)}", "dim"),
    ]
    if server.nodes > 1:
        facts.append((f"nodes {server.nodes}", "dim"))
    if snapshot.truncated:
        facts.insert(0, (paint.text(plain(f"not complete: {', '.join(snapshot.truncated)}")), "warn"))
    return facts


def _health(state: State, paint: Paint) -> list[Piece]:
    signs = paint.signs
    mode: list[Piece] = [("read only  ", "warn")] if state.read_only else []
    if state.lost is not None:
        for_how_long = span(max(state.now - state.lost, 0) / 1000)
        return [*mode, (f"{signs.lost} no broker since {clock(state.lost)}, {for_how_long} ", "alarm")]
    if state.snapshot is None:
        return [*mode, (f"{signs.dot} connecting ", "dim")]
    return [*mode, (f"{signs.live} live", "done"), (f"  {clock(state.snapshot.now)} ", "dim")]


# -- the last two lines ------------------------------------------------------------------------------------------------


def _news(state: State, paint: Paint) -> Line:
    """The one thing that needs to be said now."""
    return trim([(" ", ""), *_said(state, paint)], state.width, paint.signs.more)


def _said(state: State, paint: Paint) -> list[Piece]:
    if state.ask is not None:
        return [(paint.text(question(state.ask)), "warn"), (": y/n", "bold")]
    if state.typing is not None:
        return [("/", "key"), (paint.text(plain(state.typing)), "bold"), (paint.signs.full, "dim")]
    if state.notice is not None:
        return [(paint.text(plain(state.notice.text)), state.notice.look)]
    if state.work is not None:
        order, done = state.work.order, state.work.done
        of = f" of {order.count:,}" if order.count is not None else ""
        how = ", stopping" if state.work.stopping else ""
        return [(f"{_ING[order.verb]} {done:,}{of} in {plain(order.queue)}{how}", "run")]
    said: list[Piece] = []
    if state.every:
        text = "counting all that fit" if state.counted is None else f"all {state.counted:,} that fit are marked"
        said += [(text, "warn"), ("   ", "")]
    elif state.marked:
        said += [(f"{len(state.marked):,} marked", "warn"), ("   ", "")]
    if state.text:
        said += [("/", "key"), (paint.text(plain(state.text)), ""), ("   ", "")]
    if state.lost is not None and state.problem:
        said.append((paint.text(plain(state.problem)), "dim"))
    return said


_ING = {
    "retry": "retrying",
    "cancel": "cancelling",
    "delete": "deleting",
    "pause": "pausing",
    "resume": "resuming",
    "hold": "pausing",
    "release": "resuming",
}


def question(order: Order) -> str:
    """What is asked before many are changed; `: y/n` follows.

    >>> question(Order("delete", "mail", ids=("a", "b"), count=2))
    'delete 2 dead letters of queue mail'
    """
    number = len(order.ids) if order.count is None else order.count
    one = "dead letter" if order.listed == "dead" else f"{order.listed} message"
    text = f" that fit {plain(order.text)!r}" if order.every and order.text else ""
    what = f"{number:,} {one}{'' if number == 1 else 's'} of queue {plain(order.queue)}{text}"
    return f"{order.verb} {what}"


def _keys(state: State, paint: Paint) -> Line:
    """The keys that work here, as many as there is room for; help and quit always."""
    shown = offers(state)
    last = [one for one in shown if one[0] in ("?", "q")]
    first = [one for one in shown if one not in last]
    room = state.width - sum(len(key) + len(word) + 3 for key, word in last) - 1
    pieces: list[Piece] = [(" ", "")]
    for key, word in first:
        key = key.replace("←→", "<>") if paint.ascii else key
        needed = len(key) + len(word) + 3
        if needed > room:
            break
        room -= needed
        pieces += [(key, "key"), (f" {word}  ", "dim")]
    for key, word in last:
        pieces += [(key, "key"), (f" {word}  ", "dim")]
    return trim(pieces, state.width, paint.signs.more)
