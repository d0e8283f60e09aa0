"""`taskq topic ls|show|tail|publish`; what is about groups is in modules of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from taskq.events.log import check_partition
from taskq.events.record import Record, Undecodable
from taskq.events.topic import Topic
from taskq.topics import TopicInfo
from taskq.values import count_of
from taskq_workers.commands.operating import Desk, operator_options, print_rows, say, warn
from taskq_workers.commands.shared import Whole, json_option, print_json
from taskq_workers.commands.topic_dead import dead
from taskq_workers.commands.topic_desk import Place, control_of, partition_option, place, where
from taskq_workers.commands.topic_groups import group_row, groups, replay, seek
from taskq_workers.terminal import clean, cut, moment, span

_HEAD = ("TOPIC", "PARTITIONS", "RECORDS", "BYTES", "APPENDED", "GROUPS", "LAG", "OLDEST", "KIND")
_PARTITIONS = ("PARTITION", "RECORDS", "BYTES", "APPENDED", "FROM", "LAST")
_FOLLOW_S = 0.5


@click.group()
def topic() -> None:
    """List and read topics, publish to them, and steer their groups."""


for command in (groups, seek, replay, dead):
    topic.add_command(command)


@topic.command("ls")
@json_option
@operator_options
def list_topics(desk: Desk, as_json: bool) -> None:
    """Show all topics. LAG is that of the group that is furthest behind, OLDEST the age of what it has not handled."""
    infos = control_of(desk).inspector.topics()
    if as_json:
        for info in infos:
            print_json(_object(info, whole=False))
    elif infos:
        print_rows(_HEAD, [_row(info) for info in infos])
    else:
        warn(f"namespace {desk.namespace!r} has no topics yet")


@topic.command()
@click.argument("name", metavar="TOPIC")
@json_option
@operator_options
def show(desk: Desk, name: str, as_json: bool) -> None:
    """Show one topic: what was said of it, its partitions and its groups."""
    info = control_of(desk).inspector.topic(name)
    if as_json:
        print_json(_object(info, whole=True))
        return
    properties, retention = info.properties, info.properties.retention
    kept = {
        "count": retention.count,
        "bytes": retention.bytes,
        "age": None if retention.age is None else span(float(retention.age)),  # type: ignore[arg-type]
        "keep": ", ".join(retention.keep) or None,
    }
    facts = {
        "topic": info.topic,
        "kind": _kind(info),
        "codec": properties.codec,
        "retention": ", ".join(f"{word} {value}" for word, value in kept.items() if value is not None) or "everything",
        "created": moment(properties.created) if properties.created else None,
        "holds": f"{count_of(info.records, 'record')}, {count_of(info.bytes, 'byte')}",
    }
    for word, value in facts.items():
        if value is not None:
            say(f"{word:<9} {clean(value)}")
    say()
    rows = [(one.partition, one.records, one.bytes, one.appended, one.first, one.last) for one in info.partitions]
    print_rows(_PARTITIONS, rows)
    if info.groups:
        say()
        print_rows(("GROUP", *_GROUPS), [(one.group, *group_row(one)) for one in info.groups])


_GROUPS = ("KIND", "MEMBERS", "EPOCH", "LAG", "BYTES", "OLDEST", "WAITING", "DEAD", "LOST")


@topic.command()
@click.argument("name", metavar="TOPIC")
@partition_option
@click.option("--from", "since", type=place, metavar="PLACE", help="earliest, latest, an offset, or a time: 2h ago.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is published, until Ctrl+C.")
@click.option("-n", "--limit", type=Whole(1, 100_000), default=20, show_default=True, help="At most so many.")
@json_option
@operator_options
def tail(
    desk: Desk,
    name: str,
    partitions: tuple[int, ...],
    since: Place | None,
    follow: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Show records of a topic, those of all partitions by time. It is no group, and moves none.

    Without --from the last ones that are there; with it the first from there on, so that a larger --limit shows more.
    """
    of = control_of(desk).topic(name)
    count = of.properties().partitions
    numbers = tuple(check_partition(name, number, count) for number in partitions) or tuple(range(count))
    ends = of.ends()
    found: list[Record] = []
    if since is not None:
        begin = where(desk, since)
        found = [one for number in numbers for one in of.read(number, since=begin, limit=limit)]
    elif limit:
        found = [one for number in numbers for one in _last(of, desk, number, limit)]
    found.sort(key=lambda record: (record.offset, record.partition))
    shown = found[:limit] if since is not None else found[-limit:]
    for record in shown:
        _print(record, as_json)
    if not follow:
        if not shown:
            warn(f"topic {name} has no such records")
        return
    after = {number: ends[number] for number in numbers}
    after |= {record.partition: record.offset.after for record in shown if record.offset >= ends[record.partition]}
    while True:
        news = [one for number in numbers for one in of.read(number, since=after[number])]
        for record in sorted(news, key=lambda record: (record.offset, record.partition)):
            _print(record, as_json)
            after[record.partition] = record.offset.after
        if not news:
            time.sleep(_FOLLOW_S)


def _last(of: Topic, desk: Desk, number: int, limit: int) -> list[Record]:
    """The last records of a partition: so many entries from its end hold at least so many records."""
    entries = desk.broker.link.execute("XREVRANGE", of.log.keys.partition(number).log, "+", "-", "COUNT", limit)
    if not entries:
        return []
    return of.read(number, since=place(str(entries[-1][0], "ascii")).offset(), limit=100_000)[-limit:]


@topic.command()
@click.argument("name", metavar="TOPIC")
@click.argument("value", metavar="VALUE")
@click.option("--key", metavar="TEXT", help="The key: records with one key stay in order.")
@click.option("--header", "headers", multiple=True, metavar="NAME=TEXT", help="A header; may be given again.")
@click.option("--partition", type=int, metavar="NUMBER", help="The partition; else the key's, or any.")
@click.option("--text", is_flag=True, help="VALUE is a text, not JSON.")
@json_option
@operator_options
def publish(
    desk: Desk,
    name: str,
    value: str,
    key: str | None,
    headers: tuple[str, ...],
    partition: int | None,
    text: bool,
    as_json: bool,
) -> None:
    """Publish one record: VALUE is JSON, and `null` with a key is a tombstone."""
    of = control_of(desk).topic(name)
    done = of.publish(value if text else _parsed(value), key, _headers(headers), partition=partition)
    if as_json:
        print_json({"topic": name, "partition": done.partition, "offset": str(done.offset)})
        return
    say(f"{done.partition}/{done.offset}")


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise click.UsageError(
            f"VALUE is not JSON ({error}): write texts with quotes, like '\"hello\"', or give --text"
        ) from error


def _headers(given: tuple[str, ...]) -> Mapping[str, str] | None:
    found: dict[str, str] = {}
    for one in given:
        name, sign, value = one.partition("=")
        if not sign or not name:
            raise click.UsageError(f"--header {one!r}: write NAME=TEXT")
        found[name] = value
    return found or None


# -- output ------------------------------------------------------------------------------------------------------------


def _print(record: Record, as_json: bool) -> None:
    value = record.value
    if isinstance(value, Undecodable):
        value = {"undecodable": repr(value.data[:1_000]), "reason": value.reason}
    if as_json:
        fields = {"topic": record.topic, "partition": record.partition, "offset": str(record.offset)}
        more = {"number": record.number, "key": record.key, "headers": dict(record.headers), "time": record.time}
        print_json(fields | more | {"value": _plain(value)})
        return
    key = "" if record.key is None else f" {clean(record.key)}"
    say(f"{record.partition}/{record.offset} {moment(record.time)}{key}  {cut(_text(value), 2_000)}")


def _plain(value: Any) -> Any:
    """The value if JSON has it, else how Python writes it: other codecs may give anything."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    return value


def _text(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)


def _kind(info: TopicInfo) -> str:
    words = [word for word in ("packed", "compact", "index") if getattr(info.properties, word)]
    return ", ".join(words) or "plain"


def _row(info: TopicInfo) -> list[Any]:
    lag = max((one.records for one in info.groups), default=None)
    oldest = max((one.seconds for one in info.groups if one.records), default=None)
    counts = [info.records, info.bytes, info.appended, len(info.groups)]
    return [info.topic, len(info.partitions), *counts, lag, span(oldest), _kind(info)]


def _object(info: TopicInfo, *, whole: bool) -> dict[str, Any]:
    found = asdict(info)
    found["properties"]["retention"] = {
        name: value for name, value in found["properties"]["retention"].items() if value not in (None, ())
    }
    if not whole:
        del found["partitions"]
        found["groups"] = [one.group for one in info.groups]
    return found
