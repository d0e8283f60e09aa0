"""What a child says of itself once its app is imported; `process.Hello` is how the supervisor reads it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from taskq.tasks.calls import Limits
from taskq_workers.config import ChildSettings


def hello(
    settings: ChildSettings,
    app: Any,
    limits: Limits,
    names: Sequence[str],
    queues: Iterable[str],
    consumes: Sequence[str],
    *,
    hooks: bool,
) -> dict[str, Any]:
    """The fields; `names` are those of the tasks without their aliases."""
    tasks, broker = not settings.events_only, app.broker_url(settings.url)
    return {
        "app": settings.app,
        "namespace": app.namespace,
        "lease": limits.lease / 1000,
        "url": broker.url,
        "source": broker.source,
        "tasks": names if tasks else [],
        "aliases": [name for name in app.tasks if name not in names] if tasks else [],
        "queues": list(queues),
        "task_queues": app.task_queues() if tasks else [],
        "declared": [(one.name, one.transport, one.kept.wire()) for one in app.queues.values()],
        "schedules": [str(one.wire, "utf-8") for one in app.schedules.declared()] if tasks else [],
        "consumes": consumes,
        "hooks": hooks,
        "python": sys.version.split()[0],
        "limits": {name: getattr(limits, name) for name in limits.__slots__},
    }
