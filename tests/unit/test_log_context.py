"""Which message a log record belongs to, in memory and with structlog."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import pytest
import structlog

import taskq
from taskq import LogContext, TaskQ, log_context
from taskq.tasks.log_context import FIELDS
from taskq.testing import memory
from taskq_workers.log import JsonFormatter


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.addFilter(LogContext("host-1"))

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler, logger = Kept(), logging.getLogger("shop")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in FIELDS}


def test_outside_a_task_the_fields_are_there_and_empty(kept: Kept) -> None:
    logging.getLogger("shop").warning("hello")
    (record,) = kept.records
    assert fields(record) == dict.fromkeys(FIELDS, "") | {"taskq_worker": "host-1"}
    assert log_context() == {}
    assert logging.Formatter("%(taskq_task)s|%(message)s").format(record) == "|hello"


def test_inside_a_task_they_are_those_of_the_attempt(kept: Kept) -> None:
    app = TaskQ("shop")
    with memory(app) as q:

        @app.task(name="shop.send", queue="mail")
        def send() -> None:
            logging.getLogger("shop").warning("plain")
            contextvars.copy_context().run(logging.getLogger("shop").warning, "copied")

        @app.task(name="shop.asend", queue="mail")
        async def asend() -> None:
            logging.getLogger("shop").warning("coroutine")

        ids = [task.enqueue().id for task in (send, asend)]
        q.run_until_idle()
    told = {record.getMessage(): fields(record) for record in kept.records}
    common = {"taskq_queue": "mail", "taskq_attempt": 1, "taskq_worker": "host-1", "taskq_trace": ""}
    assert told["plain"] == told["copied"] == common | {"taskq_message": ids[0], "taskq_task": "shop.send"}
    assert told["coroutine"] == common | {"taskq_message": ids[1], "taskq_task": "shop.asend"}


def test_a_record_keeps_what_it_brings(kept: Kept) -> None:
    logging.getLogger("shop").warning("hello", extra={"taskq_message": "mine"})
    (record,) = kept.records
    assert record.taskq_message == "mine"  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    assert '"taskq_message": "mine"' in JsonFormatter("w").format(record)
    assert "taskq_task" not in JsonFormatter("w").format(record), "what is empty is not printed"


def test_structlog_merges_it_with_one_function() -> None:
    def of_taskq(logger: Any, method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        return taskq.log_context() | dict(event)

    app = TaskQ("shop")
    with memory(app) as q, structlog.testing.capture_logs(processors=[of_taskq]) as lines:

        @app.task(name="shop.send", queue="mail")
        def send() -> None:
            structlog.get_logger().info("sent", order=7)

        handle = send.enqueue()
        q.run_until_idle()
    (line,) = lines
    assert (line["event"], line["order"], line["taskq_message"]) == ("sent", 7, handle.id)
