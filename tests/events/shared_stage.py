"""What the tests of shared subscriptions stand on: plain servers, a topic, and waiting until all is settled."""

from __future__ import annotations

import pytest

from taskq import TaskQ, Topic
from taskq.events.shared import SharedSubscription
from tests.events.kit import Noted, wait_until
from tests.servers import SERVER_NAMES


@pytest.fixture(params=SERVER_NAMES)
def place(request: pytest.FixtureRequest) -> str:
    """Plain servers; `test_shared_cluster.py` plays a part of this on clusters."""
    return request.param or ""


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
def orders(app: TaskQ) -> Topic:
    topic = app.topic("orders", partitions=2)
    topic.properties()
    return topic


def settled(subscription: SharedSubscription) -> None:
    """Wait until nothing of the group is unread, in flight or waiting."""
    wait_until(lambda: all(one.records + one.pending == 0 for one in subscription.lag()))
