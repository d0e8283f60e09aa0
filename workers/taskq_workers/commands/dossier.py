"""One message on a terminal, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from taskq.inspector import Contents, MessageInfo
from taskq.values import count_of
from taskq_workers.commands.operating import say
from taskq_workers.commands.shared import print_json
from taskq_workers.terminal import clean, clean_lines, cut, moment, span

_WIDE = 200


def show_message(info: MessageInfo, now_ms: float, as_json: bool) -> None:
    """Print all of it; what other people's code wrote is cleaned."""
    if as_json:
        print_json(_plain(info))
        return
    for name, text in _facts(info, now_ms):
        say(f"{name:<11} {clean(text)}")
    for line in _history(info):
        say(line)


def _facts(info: MessageInfo, now_ms: float) -> Iterator[tuple[str, str]]:
    yield "message", info.id
    yield "status", _status(info, now_ms)
    yield "task", info.task or "(unreadable)" if info.bytes else info.task or "(gone with its body)"
    yield "queue", info.queue if info.priority is None else f"{info.queue}, priority {info.priority}"
    if info.attempts is not None:
        yield "tried", f"attempts {info.attempts}, crashes {info.crashes}, deliveries {info.deliveries}"
    if info.created is not None:
        yield "created", f"{moment(info.created)}, {_ago(info.created, now_ms)}"
    if info.expires is not None:
        yield "expires", moment(info.expires)
    marks = [name for name in ("unique", "explicit", "once") if getattr(info, name)]
    if marks:
        said = {"unique": "holds a unique key", "explicit": "has an explicit id", "once": "may run only once"}
        yield "marks", ", ".join(said[name] for name in marks)
    if info.options:
        yield "options", ", ".join(f"{name}={json.dumps(value)}" for name, value in info.options.items())
    if info.then:
        yield "then", info.then
    if info.bytes:
        yield "stored", count_of(info.bytes, "byte")
    if info.progress:
        yield "progress", json.dumps(info.progress, ensure_ascii=False)
    if info.result is not None:
        until = f", kept until {moment(info.result_until)}" if info.result_until else ""
        yield "result", f"{info.result}, {count_of(info.result_bytes, 'byte')}{until}"
    if info.problem:
        yield "problem", info.problem
    if info.contents is not None:
        yield from _contents(info.contents)


def _contents(contents: Contents) -> Iterator[tuple[str, str]]:
    if contents.raw:
        yield "raw", contents.raw.hex(" ", 4)
    yield "args", json.dumps(list(contents.args), ensure_ascii=False, default=repr)
    yield "kwargs", json.dumps(dict(contents.kwargs), ensure_ascii=False, default=repr)
    if contents.headers:
        yield "headers", json.dumps(dict(contents.headers), ensure_ascii=False, default=repr)
    if contents.result is not None:
        yield "value", json.dumps(contents.result, ensure_ascii=False, default=repr)


def _status(info: MessageInfo, now_ms: float) -> str:
    text: str = info.status
    if info.buried is not None:
        text += f" since {moment(info.buried)}, {_ago(info.buried, now_ms)}"
    if info.due is not None:
        text += f" until {moment(info.due)}, in {span(max((info.due - now_ms) / 1000, 0.0))}"
    if info.cancel_requested:
        text += ", cancel requested"
    return text


def _history(info: MessageInfo) -> Iterator[str]:
    for entry in info.history:
        at = entry.get("at")
        when = moment(at) if isinstance(at, (int, float)) else "?"
        attempt = f" attempt {entry['attempt']}" if entry.get("attempt") else ""
        worker = f" on {cut(entry['worker'])}" if entry.get("worker") else ""
        yield f"{'failure':<11} {when}{attempt} {cut(entry.get('kind', '?'))}{worker}"
        text = str(entry.get("message", ""))
        for line in clean_lines(f"{entry.get('type', '?')}: {text}" if text else str(entry.get("type", "?"))):
            yield f"{'':<11} {cut(line, _WIDE)}"
    last = str(info.history[-1].get("traceback", "")) if info.history else ""
    if last.strip():
        yield "traceback   of the last failure"
        for line in clean_lines(last.rstrip("\n")):
            yield f"{'':<11} {line}"


def _ago(then: float, now_ms: float) -> str:
    return f"{span(max((now_ms - then) / 1000, 0.0))} ago"


def _plain(info: MessageInfo) -> dict[str, Any]:
    fields = asdict(info)
    contents = fields.pop("contents")
    if contents is not None:
        fields |= {name: contents[name] for name in ("args", "kwargs", "headers")}
        fields |= {"value": contents["result"], "raw": contents["raw"].hex() or None}
    return fields
