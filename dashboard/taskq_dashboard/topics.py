"""Topics: their line in the overview, their view, and one of them in full. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from taskq.snapshot import GroupInfo, TopicInfo
from taskq_dashboard.cells import clock, count, plain, size, span
from taskq_dashboard.grid import Column, table, window
from taskq_dashboard.paint import Line, Paint, Piece, trim
from taskq_dashboard.panels import duration, figure, filled, per_second, title
from taskq_dashboard.picture import Picture

if TYPE_CHECKING:
    from taskq.topic_info import PositionInfo

OLD_S = 60.0
"""From this age on, what a group has not done yet is shown in yellow."""

_WORD = 11

TOPIC_COLUMNS = (
    Column("topic", 10, 40),
    Column("parts", 5, 5, right=True, rank=4),
    Column("records", 7, 7, right=True),
    Column("size", 5, 6, right=True, rank=2),
    Column("in/s", 5, 6, right=True),
    Column("groups", 6, 6, right=True, rank=3),
    Column("lag", 5, 6, right=True),
    Column("oldest", 6, 7, right=True),
    Column("dead", 5, 6, right=True),
    Column("lost", 5, 6, right=True, rank=1),
    Column("kind", 6, 20, rank=5),
)
GROUP_COLUMNS = (
    Column("group", 10, 40),
    Column("kind", 7, 7, rank=4),
    Column("members", 7, 7, right=True),
    Column("lag", 5, 6, right=True),
    Column("bytes", 5, 6, right=True, rank=5),
    Column("oldest", 6, 7, right=True),
    Column("out/s", 5, 6, right=True),
    Column("waiting", 7, 7, right=True, rank=2),
    Column("retried", 7, 7, right=True, rank=3),
    Column("dead", 5, 6, right=True),
    Column("lost", 5, 6, right=True, rank=1),
)
PARTITION_COLUMNS = (
    Column("partition", 9, 9, right=True),
    Column("records", 7, 7, right=True),
    Column("size", 5, 6, right=True),
    Column("published", 9, 9, right=True),
    Column("behind", 15, 40, rank=1),
    Column("last", 15, 40),
)
POSITION_COLUMNS = (
    Column("partition", 9, 9, right=True),
    Column("lag", 5, 6, right=True),
    Column("oldest", 6, 7, right=True),
    Column("position", 15, 40, rank=2),
    Column("in hand", 7, 7, right=True, rank=3),
    Column("waiting", 7, 7, right=True),
    Column("dead", 5, 6, right=True),
    Column("lost", 5, 6, right=True, rank=1),
    Column("owner", 8, 40, rank=4),
)


def behind(info: TopicInfo) -> GroupInfo | None:
    """The group of a topic that is furthest behind; None if it has none."""
    return max(info.groups, key=lambda one: (one.seconds, one.records), default=None)


def topic_line(picture: Picture, paint: Paint, width: int) -> list[Line]:
    """One line for the overview: dead letters, and which groups are behind, the furthest first. None without topics."""
    topics = picture.snapshot.topics
    if not topics:
        return []
    groups = [one for info in topics for one in info.groups if one.records]
    pieces: list[Piece] = [(" topics ", "dim"), (count(len(topics)), "")]
    dead = sum(one.dead for info in topics for one in info.groups)
    if dead:
        pieces += [("  dead ", "dim"), (count(dead), "dead")]
    if not groups:
        return [trim([*pieces, ("  no group is behind", "dim")], width, paint.signs.more)]
    for one in sorted(groups, key=lambda one: (-one.seconds, -one.records)):
        pieces += [("   ", ""), (paint.text(f"{plain(one.topic)}/{plain(one.group)}"), "")]
        pieces += [(f" {count(one.records)}", "bold"), (f" {span(one.seconds)}", _old(one.seconds) or "dim")]
    return [trim(pieces, width, paint.signs.more)]


def topic_page(
    picture: Picture, found: Sequence[TopicInfo], paint: Paint, width: int, height: int, at: int
) -> list[Line]:
    """All topics, and below them the groups of the selected one."""
    groups = found[at].groups
    under = min(len(groups) + 2, max(height // 2, 3)) if groups else 0
    room = height - under
    first, end = window(len(found), room - 2, at)
    note = f"{first + 1}-{end} of {len(found)}" if end - first < len(found) else ""
    rows = [topic_row(one, picture) for one in found[first:end]]
    head = f"topics {len(found)}"
    lines = [title(paint, head, width, note), *table(paint, TOPIC_COLUMNS, rows, width, here=at - first)]
    if under:
        lines = filled(lines, width, min(len(lines), room))
        rows = [group_row(one, picture) for one in groups[: under - 2]]
        more = f"{under - 2} of {len(groups)}" if len(groups) > under - 2 else ""
        lines += [title(paint, f"groups of {plain(found[at].topic)}", width, more)]
        lines += table(paint, GROUP_COLUMNS, rows, width)
    return filled(lines, width, height)


def topic_row(info: TopicInfo, picture: Picture) -> list[Piece]:
    """One topic; its lag is that of the group that is furthest behind."""
    last = behind(info)
    return [
        (plain(info.topic), ""),
        figure(len(info.partitions)),
        figure(info.records),
        (size(info.bytes), "" if info.bytes else "dim"),
        per_second(picture.flow(info.topic), "done"),
        figure(len(info.groups)),
        figure(max((one.records for one in info.groups), default=0), "bold"),
        _age(last),
        figure(sum(one.dead for one in info.groups), "dead"),
        figure(sum(one.lost for one in info.groups), "dead"),
        (kind(info), "dim"),
    ]


def group_row(one: GroupInfo, picture: Picture) -> list[Piece]:
    """One group of a topic."""
    return [
        (plain(one.group), ""),
        (plain(one.kind), "dim"),
        figure(len(one.members), "run") if one.members else ("0", "warn" if one.records else "dim"),
        figure(one.records, "bold"),
        (size(one.bytes), "" if one.bytes else "dim"),
        _age(one),
        per_second(picture.flow(one.topic, one.group), "done"),
        figure(one.waiting, "retry"),
        figure(one.retried, "retry"),
        figure(one.dead, "dead"),
        figure(one.lost, "dead"),
    ]


def topic_lines(info: TopicInfo, now: float, paint: Paint, width: int) -> list[Line]:
    """One topic in full: what was said of it, the ends of its partitions, where its groups stand and who is in them."""
    lines = [title(paint, f"topic {plain(info.topic)}", width)]
    for word, text in _facts(info, now):
        lines.append(trim([(f" {word:<{_WORD}}", "dim"), (paint.text(text), "")], width, paint.signs.more))
    rows = [
        [
            *((str(one.partition), ""), figure(one.records), (size(one.bytes), ""), figure(one.appended)),
            *((plain(one.first), "dim"), (plain(one.last), "")),
        ]
        for one in info.partitions
    ]
    lines += [title(paint, f"partitions {len(rows)}", width), *table(paint, PARTITION_COLUMNS, rows, width)]
    for group in info.groups:
        lines += _group_lines(group, paint, width)
    return lines


def _group_lines(group: GroupInfo, paint: Paint, width: int) -> Iterator[Line]:
    yield title(paint, f"group {plain(group.group)}, {plain(group.kind)}", width)
    counts = f"done {group.done:,}, retried {group.retried:,}, dead ever {group.buried:,}, lost {group.lost:,}"
    facts = [("behind", f"{group.records:,} records, {size(group.bytes)}, {span(group.seconds)}")]
    facts += [("counts", f"{counts}, epoch {group.epoch}")]
    for member in group.members:
        parts = ", ".join(map(str, member.partitions)) or "none"
        which = f", partitions {parts}" if group.kind == "ordered" else ""
        facts.append(("member", f"{plain(member.name)} {plain(member.label)}".rstrip() + which))
    if not group.members:
        facts.append(("member", "nobody is there"))
    for word, text in facts:
        yield trim([(f" {word:<{_WORD}}", "dim"), (paint.text(text), "")], width, paint.signs.more)
    yield from table(paint, POSITION_COLUMNS, [_position_row(one) for one in group.positions], width)


def _position_row(one: PositionInfo) -> list[Piece]:
    return [
        (str(one.partition), ""),
        figure(one.records, "bold"),
        (span(one.seconds) if one.records else "-", _old(one.seconds) if one.records else "dim"),
        (plain(one.offset), "dim"),
        figure(one.pending, "run"),
        figure(one.waiting, "retry"),
        figure(one.dead, "dead"),
        figure(one.lost, "dead"),
        (plain(one.owner) or "-", "dim"),
    ]


def kind(info: TopicInfo) -> str:
    """What is special about a topic, in words."""
    words = [word for word in ("packed", "compact", "index") if getattr(info.properties, word)]
    return ", ".join(words) or "plain"


def _facts(info: TopicInfo, now: float) -> Iterator[tuple[str, str]]:
    properties, retention = info.properties, info.properties.retention
    yield "kind", f"{kind(info)}, codec {plain(properties.codec)}"
    age: Any = retention.age
    kept = {
        "records": retention.count,
        "bytes": retention.bytes,
        "age": None if age is None else span(float(age)),
        "not past": plain(", ".join(retention.keep)) or None,
    }
    said = ", ".join(f"{word} {value}" for word, value in kept.items() if value is not None)
    yield "retention", f"{said} of each partition" if said else "everything stays"
    yield "holds", f"{info.records:,} records, {size(info.bytes)}; {info.appended:,} were published"
    if properties.created:
        yield "created", clock(properties.created, now)


def _old(seconds: float) -> str:
    return "warn" if seconds >= OLD_S else ""


def _age(one: GroupInfo | None) -> Piece:
    return duration(None) if one is None or not one.records else duration(one.seconds, _old(one.seconds))
