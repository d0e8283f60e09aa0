"""The app: a namespace on a broker, its tasks, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from contextlib import contextmanager
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, Protocol, Self, TypeVar, Unpack, cast, overload
from uuid import UUID

from taskq import codec as codecs
from taskq.checks import Duration, message_id, seconds
from taskq.errors import InvalidName, InvalidOption
from taskq.message import id_bytes
from taskq.middleware import Middlewares, Seam
from taskq.names import check_name, check_task_name, shown
from taskq.options import Overrides
from taskq.settings import BrokerChoice
from taskq.signature import Signature
from taskq.store.selection import choose_broker
from taskq.store.url import masked, parse_url
from taskq.tasks import hooks
from taskq.tasks.app_options import AppOptions, task_options
from taskq.tasks.async_lists import AsyncListBroker
from taskq.tasks.batch import Batch
from taskq.tasks.brokers import Brokers, ConnectOptions, Ends, ProducerBroker, in_process
from taskq.tasks.handle import Handle
from taskq.tasks.hooks import H, Hooks
from taskq.tasks.includes import import_all
from taskq.tasks.lists import ListBroker
from taskq.tasks.outgoing import Call, Stamp, Target
from taskq.tasks.periodic import PeriodicDecorator, PeriodicOptions, periodic
from taskq.tasks.producer import Producer
from taskq.tasks.queues import Queue, Queues
from taskq.tasks.registry import Registry, task_function, task_name
from taskq.tasks.schedules import Schedules
from taskq.tasks.task import AsyncTask, CallOptions, Sender, SyncTask, Task
from taskq.values import count_of

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=Callable[..., Any])


class TaskOverrides(Overrides, total=False):
    """What can be said of a task when it is registered."""

    name: str | None
    aliases: Iterable[str]
    codec: str | None


class Decorator(Protocol):
    """What `app.task(...)` gives: it makes a task of a function and keeps its parameters."""

    # A coroutine function is a function too: the first that fits is taken, which is what is meant here.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> AsyncTask[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> SyncTask[P, T]: ...


class TaskQ:
    """An app: the tasks of a program, in one namespace on one broker.

    `lease` is how long a worker that fell silent keeps its messages, `enqueue_timeout` how long an enqueue may take in
    all, re-sends included; both are seconds or timedelta. `include` are modules that a worker imports. `defaults` are
    options for every task, `queues` the queues that are no plain list queues. Without `url` the broker is `TASKQ_URL`,
    `[tool.taskq] url`, or the project's own server.

    An enqueue may outlast its limit by one answer of the broker that never came (`AppOptions.call_timeout`).

    Nothing is connected before it is needed. Threads may share an app; forks and loops have their own connections.
    """

    _is_taskq_app = True

    def __init__(
        self,
        namespace: str,
        url: str | None = None,
        include: Iterable[str] = (),
        lease: Duration = 10,
        enqueue_timeout: Duration = 2.0,
        *,
        defaults: Overrides | None = None,
        codec: str = "json",
        options: AppOptions | None = None,
        queues: Iterable[Queue] = (),
    ) -> None:
        self.namespace = check_name(namespace, "namespace")
        self.include = _names(include, "include", "names of modules")
        self.lease = seconds(lease, "lease")
        self.app_options = options or AppOptions()
        self.limits = self.app_options.limits(lease)
        self._queues = Queues()
        for queue in _queues(queues):
            self._queues.declare(queue)
        self.hooks = Hooks()
        self.middlewares = Middlewares()
        self._url = None if url is None else parse_url(url).text
        self._codec = codecs.get(codec)
        if defaults is not None and not isinstance(defaults, Mapping):
            raise InvalidOption(f"defaults={shown(defaults)}: give a dict of options")
        self._defaults = task_options({}, dict(defaults or {}))
        self._given = dict(defaults or {})
        self._registry: Registry[Task[..., Any]] = Registry()
        self._explicit: str | None = None
        self._brokers = Brokers(lambda: self.broker_url(self._explicit), self._connect_options(enqueue_timeout))
        self._producer = Producer(self._brokers, self.middlewares)
        self.schedules = Schedules(self.namespace, self.limits, self._brokers, self._registry)

    def _connect_options(self, enqueue_timeout: Duration) -> ConnectOptions:
        options, limit = self.app_options, seconds(enqueue_timeout, "enqueue_timeout")
        if limit == 0:
            raise InvalidOption("enqueue_timeout=0 leaves no time")
        call_s, connect_s = options.timeouts()
        rest = (call_s, connect_s, options.max_connections, self._queues)
        return ConnectOptions(self.namespace, self.limits, limit, *rest)

    # -- queues and tasks -------------------------------------------------------------------------------------------

    @property
    def queues(self) -> Queues:
        """The declared queues by name; any other name is a plain list queue, unless others made it a stream queue."""
        return self._queues

    def declare(self, queue: Queue) -> Queue:
        """Declare a queue, before anything is enqueued to it here. Raises ConfigError if it is declared otherwise."""
        return self._queues.declare(queue)

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """The registered tasks by name, aliases included."""
        return self._registry

    @property
    def max_payload(self) -> int:
        """The largest call, in bytes."""
        return self.app_options.max_payload

    @overload
    def task(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> AsyncTask[P, T]: ...
    @overload
    def task(self, function: Callable[P, T], /) -> SyncTask[P, T]: ...
    @overload
    def task(self, **options: Unpack[TaskOverrides]) -> Decorator: ...
    def task(self, *given: Any, **options: Any) -> Any:
        """Register a function as a task: `@app.task` or `@app.task(queue="mail", retry=5)`.

        It is named `module.qualname` unless `name` says otherwise; `aliases` are names that it had before. The options
        are those of `Sender.options`, without `id`, `at` and `then`. Raises ConfigError for closures, methods and what
        else a worker could not find, DuplicateTask, InvalidOption.
        """
        if not given:
            return lambda function: self._register(function, options)
        function, *others = given
        if others or isinstance(function, str):
            raise InvalidOption(
                f"task({', '.join(map(shown, given))}): write @app.task above one function, or @app.task(name=...)"
            )
        return self._register(function, options)

    def periodic(self, cron: str | None = None, /, **options: Unpack[PeriodicOptions]) -> PeriodicDecorator:
        """Run a task by itself: `@app.periodic("*/5 * * * *", tz="Europe/Berlin")` or `@app.periodic(every=30)`.

        Above a function it makes a task of it, above a task it takes that. `args` and `kwargs` are those of each call,
        `queue` is where it goes, `name` that of the schedule (the task's). A cron line has five fields, with
        `seconds=True` six, and is meant in the zone `tz`. `missed` says what happens to slots at which no worker was
        there: "latest" runs the last of them, "all" the last `cap` ones, "skip" none. `overlap` says what happens while
        the last message is not over: "skip" (so without `missed="all"`), "allow" or "cancel_previous". Each run is up
        to `jitter` later than its slot; `start` and `end` are moments. Raises InvalidOption, and what `task` raises.
        """
        return periodic(cron, options, self.schedules, self._register)

    def _register(self, given: Any, options: dict[str, Any]) -> Task[..., Any]:
        function = task_function(given)
        name = task_name(function, options.get("name"))
        codec = self._codec if options.get("codec") is None else codecs.get(options["codec"])
        rest = {key: value for key, value in options.items() if key not in ("name", "aliases", "codec")}
        try:
            defaults = task_options(self._given, rest)
        except (InvalidOption, InvalidName) as error:
            error.args = (f"task {name}: {error}",)
            raise
        signature = Signature.of(function, name, result=defaults.result_ttl > 0)
        target = Target(name, signature, codec, self.max_payload)
        kind = AsyncTask if iscoroutinefunction(function) else SyncTask
        task: Task[..., Any] = kind(function, signature, target, defaults, self._producer)
        self._registry.add(task, _names(options.get("aliases", ()), "aliases", "names that the task had"))
        return task

    def remote(self, name: str, /, **options: Unpack[CallOptions]) -> Sender[..., Any]:
        """A task by its name alone, registered here or not: `app.remote("shop.mail.send", queue="mail").enqueue(42)`.

        What is not registered here is not checked, takes plain JSON, and goes to the default queue without `queue`.
        """
        task = self._registry.get(check_task_name(name))
        if task is not None:
            return task.options(**options) if options else task
        sender: Sender[..., Any] = Sender(
            self._producer, Stamp.of(Target(name, None, self._codec, self.max_payload), self._defaults)
        )
        return sender.options(**options) if options else sender

    def enqueue(self, name: str, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Enqueue a call by the name of its task, which need not be imported here; see `remote` for its options."""
        return self.remote(name).enqueue(*args, **kwargs)

    async def aenqueue(self, name: str, /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """`enqueue`, awaited."""
        return await self.remote(name).aenqueue(*args, **kwargs)

    def enqueue_many(self, calls: Iterable[Call[T]]) -> Batch[T]:
        """Enqueue calls of any tasks, on their queues; each is a value like `task.call(1)`."""
        return self._producer.send_many(None, calls)

    async def aenqueue_many(self, calls: Iterable[Call[T]]) -> Batch[T]:
        """`enqueue_many`, awaited."""
        return await self._producer.asend_many(None, calls)

    def handle(self, id: str | UUID, queue: str = "default") -> Handle[Any]:
        """A handle for a message that was enqueued elsewhere. Whether it exists is asked only when it is used."""
        text = message_id(id, "id")
        if text is None:
            raise InvalidOption("id=None names no message")
        return Handle(self._brokers.ends(), check_name(queue), id_bytes(text), True, Target(""))

    def task_queues(self) -> list[str]:
        """The queues of the registered tasks: what a worker serves unless it is told otherwise."""
        return sorted({task.defaults.queue for task in self._registry.values()})

    def load_includes(self) -> None:
        """Import the modules of `include`, so that their tasks are registered. Raises AppImportError."""
        import_all(self.include)

    # -- what happens around them -----------------------------------------------------------------------------------

    def middleware(self, seam: Seam) -> Callable[[M], M]:
        """Put a middleware around "enqueue", "enqueue_many" or "execute", inside those that are there; a decorator."""
        self.middlewares.check(seam)

        def add(function: M) -> M:
            self.middlewares.add(seam, function)
            return function

        return add

    def on_startup(self, function: H) -> H:
        """Call `function` when a child process starts, before its first task; a decorator."""
        return hooks.add(self.hooks, "startup", function)

    def on_shutdown(self, function: H) -> H:
        """Call `function` when a child process ends in order, after its last task; a decorator."""
        return hooks.add(self.hooks, "shutdown", function)

    def on_failure(self, function: H) -> H:
        """Call `function` with an `Incident` after each failed attempt of any task; a decorator.

        One that took its process, too: a crash, a hard time limit. Its `error` is None then, and a child of the same
        worker calls the hooks, again if that child ends over them (three times at most), and none if the worker ends
        before. A lease that lapses, as when a host dies, is told by `on_dead` only, and only if it was the last time.
        """
        return hooks.add(self.hooks, "failure", function)

    def on_dead(self, function: H) -> H:
        """Call `function` with an `Incident` when a message that had been started became a dead letter; a decorator.

        Also for what died with its process, or was lost by it, as in `on_failure`. Not for messages that were never
        started: parked ones that grew too old, and bytes that are no message.
        """
        return hooks.add(self.hooks, "dead", function)

    # -- the broker -------------------------------------------------------------------------------------------------

    def broker_url(self, explicit: str | None = None) -> BrokerChoice:
        """Which broker is meant and who said so. Raises ConfigError if nobody did."""
        return choose_broker(explicit, self._url)

    def broker(self, url: str | None = None) -> ListBroker:
        """The broker as threads use it. With `url` all of the app goes there from now on, in this process."""
        if url is not None and url != self._explicit:
            self._brokers.replace(self.broker_url(url))
            self._explicit = url
        return cast("ListBroker", self._brokers.ends().broker)

    def async_broker(self) -> AsyncListBroker:
        """The broker as event loops use it."""
        return cast("AsyncListBroker", self._brokers.ends().async_broker)

    @contextmanager
    def use_broker(self, broker: ProducerBroker | Ends) -> Generator[None]:
        """Put a broker of this process, or the ends of any, in the place of the app's, as tests do."""
        with self._brokers.swapped(broker if isinstance(broker, Ends) else in_process(broker)):
            yield

    def close(self) -> None:
        """Close the connections that threads use; whatever is used afterwards opens new ones."""
        self._brokers.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, and those that threads use."""
        await self._brokers.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        url = "" if self._url is None else f" at {masked(self._url)}"
        return f"TaskQ({self.namespace!r}{url}, {count_of(len(self._registry), 'task')})"


def _queues(given: object) -> Iterable[Any]:
    if isinstance(given, Queue) or not isinstance(given, Iterable):
        raise InvalidOption(f'queues={shown(given)}: give a list of queues, like [Queue("audit", transport="stream")]')
    return given


def _names(given: object, what: str, example: str) -> tuple[str, ...]:
    """One name, or several of them."""
    names: tuple[Any, ...] = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    for name in names:
        if not isinstance(name, str):
            raise InvalidOption(f"{what}={shown(given)}: give {example}, one text or a list of them")
    return names
