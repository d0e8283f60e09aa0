"""Tests of tasks in this process: no server, no worker, no waiting, and a clock that moves when told to.

In this folder:    python -m pytest test_shop.py
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import shop

from taskq import TaskFailed
from taskq.testing import Memory

pytest_plugins = ["taskq.pytest_plugin"]  # in a real project: in the topmost conftest.py


@pytest.fixture
def q(taskq_memory: Callable[..., Memory]) -> Memory:
    """The app of the shop, in memory; the mailbox is empty before each test."""
    shop.mailbox.clear()
    return taskq_memory(shop.app)


def test_an_order_asks_for_two_mails(q: Memory) -> None:
    handle = shop.place_order.enqueue("ada", ["tea", "cup"])
    q.run_until_idle()
    assert handle.result() == 2
    assert [(call.queue, call.args) for call in q.enqueued if call.task == "shop.send_mail"] == [
        ("mail", ("ada", "2 items are on their way")),
        ("mail", ("ada", "was all well?")),
    ]


def test_the_question_comes_a_day_later(q: Memory) -> None:
    shop.place_order.enqueue("ada", ["tea"])
    q.run_until_idle()
    assert shop.mailbox == ["ada: 1 items are on their way"]
    q.clock.advance(86_400)
    q.run_until_idle()
    assert shop.mailbox[1:] == ["ada: was all well?"]


def test_an_order_that_runs_twice_sends_no_mail_twice(q: Memory) -> None:
    shop.place_order.enqueue("ada", ["tea"])
    with q.crash_before_settle(shop.place_order):  # it ends, its worker dies, and it runs again
        q.run_until_idle()
    assert shop.mailbox == ["ada: 1 items are on their way"]


def test_an_order_without_items_ends_as_a_dead_letter(q: Memory) -> None:
    handle = shop.place_order.options(retry=False).enqueue("ada", [])
    q.run_until_idle(raise_errors=False)
    assert handle.status() == "dead"
    with pytest.raises(TaskFailed, match="an order without items"):
        handle.result()


def test_the_error_of_a_task_fails_the_test(q: Memory) -> None:
    shop.place_order.enqueue("ada", [])
    with pytest.raises(ValueError, match="an order without items"):
        q.run_until_idle()  # raise_errors=True is the default
