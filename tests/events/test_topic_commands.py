"""`taskq topic`, typed by an operator, and the values behind it (statement 102)."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq import Record, RetryPolicy, TaskQ
from taskq.errors import GroupActive, UnknownGroup, UnknownTopic
from taskq.events.hub import Events
from taskq.topic_control import TopicControl
from taskq.topics import TopicInspector
from tests.events.kit import wait_until
from tests.events.ordered_kit import LONG_S, Seen
from tests.runtime.operating import Operator, error_of, operating
from tests.servers import RealServer


@pytest.fixture
def taskq(server: RealServer, namespace: str, tmp_path: Path) -> Iterator[Operator]:
    with operating(server, namespace, tmp_path) as one:
        yield one


@pytest.fixture
def app(server: RealServer, namespace: str) -> Iterator[TaskQ]:
    with TaskQ(namespace, url=server.url) as one:
        yield one


def filled(app: TaskQ, count: int = 10) -> None:
    orders = app.topic("orders", partitions=2)
    for number in range(count):
        orders.publish({"order": number}, key=f"k{number}", partition=number % 2)


def control(app: TaskQ) -> TopicControl:
    return TopicControl(Events(app.namespace, app.events.links, 2.0))


def handled(app: TaskQ, seen: Seen, count: int, **options: Any) -> None:
    """Have a group handle so many records of `orders`, then leave."""
    with app.topic("orders").subscribe(group="billing", reset="earliest", **options) as reading:
        for record in reading:
            seen.add(record.value["order"])
            if len(seen.items) == count:
                reading.commit()
                break


# -- the reading side


def test_s102_lag_is_told_in_records_bytes_and_seconds_with_members_assignment_and_epochs(app: TaskQ) -> None:
    filled(app)
    inspector = TopicInspector(app.events.links().sync, app.namespace)
    with app.topic("orders").subscribe(group="billing", reset="earliest", member="one") as reading:
        first = next(iter(reading))
        reading.commit()
        group = inspector.group("orders", "billing")
        assert (group.kind, group.records) == ("ordered", 9)
        assert [member.name for member in group.members] == ["one"]
        assert group.members[0].partitions == (0, 1)
        assert group.epoch >= 1
        assert {place.owner for place in group.positions} == {"one"}
        of = group.positions[first.partition]
        assert (of.offset, of.records) == (str(first.offset), 4)
        assert of.bytes == sum(len(b'{"order":0}') + 2 for _ in range(4))
        assert of.seconds >= 0
    [info] = inspector.topics()
    assert (info.records, info.appended, len(info.partitions), info.properties.partitions) == (10, 10, 2, 2)
    assert info.bytes == 10 * (len(b'{"order":0}') + 2)


def test_s102_a_shared_group_is_told_with_what_its_consumers_have_in_hand(app: TaskQ) -> None:
    filled(app)
    topic = app.topic("orders")
    inspector = TopicInspector(app.events.links().sync, app.namespace)
    with topic.subscribe(group="mail", mode="shared", reset="earliest", ack="manual", max_in_flight=4) as records:
        held = [next(records) for _ in range(2)]
        group = inspector.group("orders", "mail")
        assert (group.kind, group.records, len(group.members)) == ("shared", 10, 1)
        assert sum(place.pending for place in group.positions) >= 2
        for record in held:
            assert records.ack(record)
    group = inspector.group("orders", "mail")
    assert (group.records, group.members) == (8, ())


def test_all_topics_take_as_many_round_trips_as_one(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        topic = app.topic(f"t{number}", partitions=3)
        topic.publish(number)
        with topic.subscribe(group=f"g{number}", reset="earliest"), topic.subscribe(group="s", mode="shared"):
            pass
    link, calls = app.events.links().sync, list[str]()
    TopicInspector(link, app.namespace).topics()  # the server learns the scripts

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            calls.append(name)
            return real(*given)

        return call

    for name in ("execute", "pipeline"):
        monkeypatch.setattr(link, name, counted(name, getattr(link, name)))
    infos = TopicInspector(link, app.namespace).topics()
    assert [len(info.groups) for info in infos] == [2] * 7
    assert len(calls) <= 6


# -- the commands


def test_ls_show_and_groups_tell_of_topics(taskq: Operator, app: TaskQ) -> None:
    assert "has no topics yet" in taskq("topic", "ls").stderr
    filled(app)
    handled(app, Seen(), 4)
    assert "orders" in taskq.ok("topic", "ls")
    [listed] = taskq.objects("topic", "ls")
    assert (listed["topic"], listed["records"], listed["groups"]) == ("orders", 10, ["billing"])
    shown = taskq.ok("topic", "show", "orders")
    assert "retention everything" in shown
    assert "PARTITION" in shown
    assert "billing" in shown
    [whole] = taskq.objects("topic", "show", "orders")
    assert [one["records"] for one in whole["partitions"]] == [5, 5]
    [group] = taskq.objects("topic", "groups", "orders")
    assert (group["group"], group["kind"], group["records"]) == ("billing", "ordered", 6)
    assert "billing" in taskq.ok("topic", "groups", "--members")


@pytest.mark.parametrize("command", [["show"], ["tail"], ["groups"], ["publish"], ["dead", "ls"], ["seek"]])
def test_a_topic_that_is_not_there_is_named_with_what_may_be_meant(
    taskq: Operator, app: TaskQ, command: list[str]
) -> None:
    filled(app, 1)
    rest = {"publish": ["1"], "ls": ["billing"], "seek": ["billing", "--to", "latest", "--yes"]}.get(command[-1], [])
    assert "there is no topic 'ordres'" in (said := error_of(taskq("topic", *command, "ordres", *rest), 2))
    assert "did you mean 'orders'?" in said
    assert [one["topic"] for one in taskq.objects("topic", "ls")] == ["orders"], "and it was not made"


def test_a_group_that_is_not_there_is_named(taskq: Operator, app: TaskQ) -> None:
    filled(app)
    handled(app, Seen(), 1)
    for line in (("seek", "orders", "biling", "--to", "latest", "--yes"), ("dead", "ls", "orders", "biling")):
        assert "no group 'biling' (did you mean 'billing'?)" in error_of(taskq("topic", *line), 2)


def test_what_is_published_is_seen_by_tail_and_nothing_in_it_reaches_the_terminal(taskq: Operator, app: TaskQ) -> None:
    filled(app, 3)
    where = taskq.ok("topic", "publish", "orders", '{"order": 7}', "--key", "k\x1b[31m", "--header", "a=b").strip()
    [last] = taskq.objects("topic", "tail", "orders", "-n", "1")
    assert f"{last['partition']}/{last['offset']}" == where
    assert (last["value"], last["key"], last["headers"]) == ({"order": 7}, "k\x1b[31m", {"a": "b"})
    text = taskq.ok("topic", "tail", "orders")
    values = sorted(line.partition("  ")[2] for line in text.splitlines())
    assert values == [f'{{"order": {number}}}' for number in (0, 1, 2, 7)]
    assert "\x1b" not in text
    assert len(taskq.objects("topic", "tail", "orders", "--from", "earliest", "-n", "2")) == 2
    assert taskq.objects(
        "topic", "tail", "orders", "--from", last["offset"], "--partition", str(last["partition"])
    ) == [last]
    assert "VALUE is not JSON" in error_of(taskq("topic", "publish", "orders", "hello"), 2)
    taskq.ok("topic", "publish", "orders", "hello", "--text")
    assert "no place" in error_of(taskq("topic", "tail", "orders", "--from", "soon"), 2)
    said = error_of(taskq("topic", "tail", "orders", "--partition", "9"), 2)
    assert "partition=9" in said
    assert "2 partitions, 0 to 1" in said


def test_tail_follows_until_it_is_interrupted(taskq: Operator, app: TaskQ) -> None:
    filled(app, 2)
    command = taskq.command("topic", "tail", "orders", "--follow", "--json", "-n", "1")
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # a suite in the background ignores it, and so would tail
    try:
        process = subprocess.Popen(command, cwd=taskq.folder, env=taskq.env, stdout=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["value"] == {"order": 1}
        app.topic("orders").publish({"order": "new"})
        assert json.loads(process.stdout.readline())["value"] == {"order": "new"}
        process.send_signal(signal.SIGINT)
        assert process.wait(LONG_S) == 130


def test_seek_says_what_it_would_do_asks_and_moves_the_group(taskq: Operator, app: TaskQ) -> None:
    filled(app)
    seen = Seen()
    handled(app, seen, 10)
    assert "10 records come again, 0 are skipped" in taskq.ok(
        "topic", "seek", "orders", "billing", "--to", "earliest", "--dry-run"
    )
    [group] = taskq.objects("topic", "groups", "orders")
    assert group["records"] == 0, "a dry run moves nothing"
    assert "Add --yes" in error_of(taskq("topic", "seek", "orders", "billing", "--to", "earliest"), 2)
    [told] = taskq.objects("topic", "seek", "orders", "billing", "--to", "earliest", "--partition", "1", "--yes")
    assert told["moves"] == [{"partition": 1, "before": told["moves"][0]["before"], "again": 5, "skipped": 0}]
    handled(app, seen, 15)
    assert seen.items[10:] == [1, 3, 5, 7, 9]
    third = app.topic("orders").read(0)[2]
    taskq.ok("topic", "seek", "orders", "billing", "--to", str(third.offset), "--partition", "0", "--yes")
    handled(app, seen, 18)
    assert seen.items[15:] == [4, 6, 8]
    assert "offset of one partition" in error_of(
        taskq("topic", "seek", "orders", "billing", "--to", str(third.offset), "--yes"), 2
    )


def test_a_group_with_members_is_moved_only_by_force(taskq: Operator, app: TaskQ) -> None:
    filled(app)
    for mode in ("shared", "partition"):
        options: Any = {"group": mode, "reset": "earliest", "mode": mode}
        with app.topic("orders").subscribe(**options) as reading:
            next(iter(reading))
            with pytest.raises(GroupActive, match=r"has 1 (member|consumer)"):
                control(app).seek("orders", mode, "latest")
            for answer in ((), ("--yes",)):  # it is not asked about before it is refused
                refused = error_of(taskq("topic", "seek", "orders", mode, "--to", "latest", *answer), 1)
                assert "stop them first, or force it" in refused
            assert "would put" in taskq.ok("topic", "seek", "orders", mode, "--to", "latest", "--dry-run")
            taskq.ok("topic", "seek", "orders", mode, "--to", "latest", "--yes", "--force")


def failing(record: Record) -> None:
    raise ValueError(f"no \x1b[31m{record.value['order']}")


@pytest.mark.parametrize("mode", ["partition", "shared"])
def test_dead_letters_are_listed_shown_redriven_and_removed(taskq: Operator, app: TaskQ, mode: Any) -> None:
    filled(app, 4)
    app.subscribe("orders", group="billing", mode=mode, reset="earliest", retry=RetryPolicy(max_attempts=1))(failing)
    with app.consume():
        wait_until(lambda: control(app).inspector.group("orders", "billing").dead == 4)
    listed = taskq.objects("topic", "dead", "ls", "orders", "billing")
    assert len(listed) == 4
    assert all("value" not in one and one["attempts"] == 1 for one in listed)
    text = taskq.ok("topic", "dead", "ls", "orders", "billing")
    assert "ValueError: no \\x1b[31m" in text
    [shown] = taskq.objects("topic", "dead", "show", "orders", "billing", listed[0]["id"], "--data")
    assert set(shown["value"]) == {"order"}
    assert "no dead letter" in error_of(taskq("topic", "dead", "show", "orders", "billing", "0/1-1"), 1)
    assert "name ids or say --all" in error_of(taskq("topic", "dead", "redrive", "orders", "billing"), 2)
    assert "is no id of a dead letter" in error_of(taskq("topic", "dead", "redrive", "orders", "billing", "x"), 2)
    [done] = taskq.objects("topic", "dead", "redrive", "orders", "billing", listed[0]["id"])
    assert done == {"redriven": 1, "stay": []}
    [done] = taskq.objects("topic", "dead", "remove", "orders", "billing", listed[1]["id"], "--yes")
    assert done == {"removed": 1}
    assert len(taskq.objects("topic", "dead", "ls", "orders", "billing")) == 2
    assert "Add --yes" in error_of(taskq("topic", "dead", "remove", "orders", "billing", "--all"), 2)
    assert "removed 2 dead letters" in taskq.ok("topic", "dead", "remove", "orders", "billing", "--all", "--yes")


def test_a_range_is_replayed_into_another_topic_once_under_a_label(taskq: Operator, app: TaskQ) -> None:
    filled(app)
    app.topic("copy", partitions=3).properties()
    options = ["topic", "replay", "orders", "--into", "copy", "--label", "one", "--yes"]
    [done] = taskq.objects(*options, "--partition", "0")
    assert (done["found"], done["published"]) == (5, 5)
    [done] = taskq.objects(*options)
    assert (done["found"], done["published"]) == (10, 5)
    copies = [record for number in range(3) for record in app.topic("copy").read(number)]
    assert sorted(record.value["order"] for record in copies) == list(range(10))
    assert {record.value["order"]: record.key for record in copies}[7] == "k7"
    assert "cannot be replayed into itself" in error_of(
        taskq("topic", "replay", "orders", "--into", "orders", "--yes"), 2
    )


def test_values_raise_for_what_is_not_there(app: TaskQ) -> None:
    filled(app, 1)
    with pytest.raises(UnknownTopic, match="did you mean 'orders'"):
        control(app).inspector.topic("order")
    with pytest.raises(UnknownGroup, match="it has none"):
        control(app).inspector.group("orders", "billing")
