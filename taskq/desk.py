"""The namespace that an operator means, opened: what the commands and the dashboard share.

Which one it is comes from options, the environment, the project and the app, in one order for all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from taskq.backoff import pauses
from taskq.control import Control
from taskq.errors import ConfigError, InvalidName
from taskq.inspector import Inspector
from taskq.loading import load_app
from taskq.names import check_name
from taskq.settings import URL_VARIABLE, BrokerChoice, Settings
from taskq.store.connection import SyncLink
from taskq.store.selection import choose_broker
from taskq.tasks import schedule_admin, schedule_steps
from taskq.tasks.app import TaskQ
from taskq.tasks.lists import ListBroker
from taskq.tasks.packing import Limits

_PATIENCE_S = 10.0


def _quiet(text: str) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class Desk:
    """One namespace on one broker, open. `app` is there if it was named, and then it is imported.

    `warn` is told, in a sentence, when a list is not complete.
    """

    broker: ListBroker
    inspector: Inspector
    control: Control
    app: TaskQ | None
    url: str
    warn: Callable[[str], object] = _quiet

    @property
    def namespace(self) -> str:
        return self.broker.namespace

    def queues(self, queue: str | None) -> list[str]:
        """The one queue that was named, or all; raises UnknownQueue."""
        if queue is None:
            names, truncated = self.inspector.queue_names()
            if truncated:
                self.warn(f"only {len(names)} queues are looked at, and there are more; name one with --queue")
            return names
        self.inspector.need_queue(queue)
        return [queue]

    def pause_schedule(self, name: str, paused: bool = True) -> None:
        """Make no messages of a schedule until it is resumed, or go on with its next slot. Raises UnknownSchedule."""
        steps = schedule_admin.hold(self.namespace, name, paused)
        schedule_steps.drive(self.broker.link, steps, pauses(time.monotonic() + _PATIENCE_S))


@contextmanager
def open_desk(
    settings: Settings,
    url: str | None,
    app: str | None,
    namespace: str | None,
    warn: Callable[[str], object] = _quiet,
) -> Generator[Desk]:
    """The namespace that is meant: `--namespace`, else that of `--app`, of [tool.taskq], of the app named there.

    The app is imported only if it has to say something. Raises ConfigError if nobody names a namespace.
    """
    known = None if namespace else _project_namespace(settings)
    named = app or (None if namespace or known else settings.app)
    loaded: TaskQ | None = load_app(named) if named else None
    space = namespace or (loaded.namespace if loaded is not None else known)
    if not space:
        raise ConfigError(
            "no namespace is set. Three ways out: give --namespace NAME, or --app module:app; write namespace or app "
            "into [tool.taskq] of pyproject.toml; or set TASKQ_NAMESPACE"
        )
    choice = chosen_broker(settings, url, app)
    if choice.url.startswith("memory:"):
        raise ConfigError("a memory:// broker lives inside its own process; nothing outside can look into it")
    link = SyncLink(choice.url)
    try:
        broker = ListBroker(link, space, loaded.limits if loaded is not None else Limits())
        yield Desk(broker, Inspector(link, space), Control(broker), loaded, choice.url, warn)
    finally:
        link.close()


def _project_namespace(settings: Settings) -> str | None:
    known = settings.values.get("namespace")
    try:
        return None if known is None else check_name(known, "namespace")
    except InvalidName as error:
        raise InvalidName(f"namespace in [tool.taskq] of {settings.source}: {error}") from error


def chosen_broker(settings: Settings, url: str | None, app: str | None) -> BrokerChoice:
    """Return the broker that is meant; the app is imported only if nothing before it in the order is given."""
    named = app or settings.app
    if named and not url and not os.environ.get(URL_VARIABLE):
        choice: BrokerChoice = load_app(named).broker_url()
        return choice
    return choose_broker(url, settings=settings)
