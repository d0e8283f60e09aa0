"""The app with all that it can do: tasks, from below, and topics."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from taskq.checks import function_of
from taskq.errors import ConfigError, InvalidName, InvalidOption
from taskq.names import shown
from taskq.tasks import app as tasks
from taskq.tasks.outgoing import Call
from taskq.tasks.publishes import Publishes
from taskq.tasks.task import Task

if TYPE_CHECKING:  # events are imported when an app first has any: most workers and web processes have none
    from taskq.events.broadcast import Broadcast
    from taskq.events.hub import Events
    from taskq.events.listening import OnGap
    from taskq.events.properties import TopicOptions, TopicProperties
    from taskq.events.record import Record
    from taskq.events.shared_options import Filter, SharedSaid
    from taskq.events.subscription import SubscribeOptions
    from taskq.events.subscriptions import Consumption
    from taskq.events.topic import Topic
    from taskq.events.tracing import Tracer

F = TypeVar("F", bound=Callable[..., Any])


class TaskQ(tasks.TaskQ):
    __doc__ = tasks.TaskQ.__doc__

    record_tracer: Tracer | None = None
    """What puts spans around publishes and handlers; `taskq.telemetry.instrument` sets it."""

    @cached_property
    def events(self) -> Events:
        """The topics of this app, and what is subscribed to here."""
        from taskq import bridge
        from taskq.events.hub import Events
        from taskq.events.outbox import Routes

        events = Events(self.namespace, self._brokers.links, self._brokers.timeout, lambda: self.record_tracer)
        events.ordered.enqueue = lambda call: bridge.entry_of(call, self.record_tracer)
        events.ordered.routes = Routes(lambda name: events.topic(name).log, bridge.carrier(self._brokers.ends))
        return events

    def topic(self, name: str, **options: Unpack[TopicOptions]) -> Topic:
        """A topic: `app.topic("orders", partitions=8, retention=Retention(age=86_400))`.

        What is said is stored at its first use. `partitions` (8 unless it was made otherwise), `codec`, `packed` and
        `index` stay as they are for ever: another word here raises ConfigError then. Of `retention`, `compact`, `dedup`
        and `tombstones` the last word counts. What is not said stays as it is. Raises InvalidName, InvalidOption.
        """
        return self.events.topic(name, **options)

    @property
    def has_events(self) -> bool:
        """Whether a topic, a subscription or a broadcast was named here."""
        return "events" in vars(self)

    @overload
    def subscribe(
        self,
        target: str,
        *,
        group: str,
        mode: Literal["shared"],
        filter: Filter | None = None,
        **options: Unpack[SharedSaid],
    ) -> Callable[[F], F]: ...
    @overload
    def subscribe(
        self, target: str, *, mode: Literal["broadcast"], on_gap: OnGap | None = None
    ) -> Callable[[F], F]: ...
    @overload
    def subscribe(self, target: str, *, group: str, **options: Unpack[SubscribeOptions]) -> Callable[[F], F]: ...
    def subscribe(self, target: str, *, mode: str = "partition", **said: Any) -> Callable[[F], F]:
        """Register a function as a handler: `@app.subscribe("orders", group="billing")`; `consume` runs it.

        The members of a group share the partitions of the topic, and the records of one are handled in order; see
        `Subscription` for the options. With `batch` the function gets a list, with `delivery="exactly_once"` also a
        transaction. For the other modes `target` may be a pattern: `*` is one level, `>` at the end all that follow.
        With `mode="shared"` each record goes to one consumer of the group, in no promised order. With
        `mode="broadcast"` the function hears what is said on a channel, at most once. Raises InvalidOption,
        InvalidName, ConfigError.
        """
        if callable(target):
            raise InvalidOption(f"subscribe({shown(target)}): write @app.subscribe('orders', group='billing')")
        subscriptions = self.events.subscriptions
        if mode == "broadcast":
            on_gap = said.pop("on_gap", None)
            if said:
                raise InvalidOption(f"{next(iter(said))}= is no option of a broadcast: only on_gap= is")
            return subscriptions.broadcast(target, on_gap)
        if mode != "shared":
            if "group" not in said:
                raise InvalidOption(f"subscribe({shown(target)}): say for which group, like group='billing'")
            _one_topic(target)
            return self.events.ordered.decorator(self.topic(target).log, said.pop("group"), {"mode": mode, **said})
        return subscriptions.shared(target, said.pop("group", None), said, said.pop("filter", None))

    def bridge(
        self,
        target: str,
        *,
        group: str,
        call: Callable[[Record], Call[Any] | None],
        **options: Unpack[SubscribeOptions],
    ) -> None:
        """Have each record enqueue a task: `app.bridge("orders", group="mail", call=lambda r: send.call(r.value))`.

        `call` makes a call of a record, with options if need be, or None for none. Calls are enqueued in the order of
        the records of a partition, and once for each record: their ids follow from the record, and queues remember
        those for `AppOptions.id_window`. Options are those of an ordered group. Raises InvalidOption, InvalidName.
        """
        from taskq import bridge

        function_of(call, "call", "record")
        said: dict[str, Any] = {"batch": bridge.BATCH, **options}
        if said["batch"] != bridge.BATCH or said.get("delivery", "at_least_once") != "at_least_once":
            raise InvalidOption("a bridge has a batch and a delivery of its own: leave both out")
        _one_topic(target)
        handler = bridge.handler(group, call, bridge.carrier(self._brokers.ends))
        self.events.ordered.decorator(self.topic(target).log, group, said)(handler)

    def publish_results(
        self, task: Task[..., Any], target: str, *, key: Callable[[Any], str | None] | None = None
    ) -> None:
        """Have each result of a task become a record of a topic, with the key that `key` makes of it.

        The record is kept by the script that settles the message, and carried to the topic from there: once, as long as
        the topic remembers ids (`Dedup`). The result has to be JSON. A task whose result or key cannot be published is
        a dead letter. Raises InvalidName, ConfigError.
        """
        if key is not None:
            function_of(key, "key", "result")
        if task.publishes is not None and task.publishes.topic != target:
            raise ConfigError(f"results of {task.name} go to topic {task.publishes.topic!r} already")
        task.publishes = Publishes(self.topic(target).name, key)

    def record_publisher(self) -> Callable[[Any], None]:
        """What publishes the results that wait in outboxes of queues; for workers."""
        from taskq import bridge

        return bridge.publisher(self.topic)

    def consume(self) -> Consumption:
        """Everything that functions were subscribed to here, to be run in this process: `with app.consume(): ...`."""
        from taskq.events.subscriptions import Consumption

        return Consumption(self.events.parts())

    def broadcast(self, name: str, codec: str = "json") -> Broadcast:
        """A channel on which whoever listens now hears, at most once: `app.broadcast("cache.flush").publish(7)`.

        A pattern of channels can be listened to. Raises InvalidName.
        """
        return self.events.broadcast(name, codec)

    def topics(self) -> dict[str, TopicProperties]:
        """All topics of the namespace that were ever used, by name."""
        return self.events.topics()

    async def atopics(self) -> dict[str, TopicProperties]:
        """`topics`, awaited."""
        return await self.events.atopics()


def _one_topic(target: str) -> None:
    """Raise InvalidName for a pattern where one topic has to be named: an ordered group has the partitions of one."""
    from taskq.events.patterns import is_pattern

    if is_pattern(target):
        raise InvalidName(
            f"topic name {shown(target)} is a pattern, and an ordered group is of one topic: follow many with"
            " mode='shared' (or mode='broadcast', for channels), or subscribe to each of them by its name"
        )
