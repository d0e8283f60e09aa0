"""What a worker is told to do: from where each setting comes, and which are refused."""

from __future__ import annotations

from taskq_workers.config import ChildSettings


def test_settings_of_a_child_survive_the_way_through_the_environment() -> None:
    settings = ChildSettings(
        app="shop:app",
        worker="host-1",
        index=2,
        parent=77,
        table_fd=5,
        up_fd=6,
        down_fd=7,
        url="redis://:p%40ss@host/1",
        queues=(("high", 3), ("default", 1)),
        strict_order=True,
        alone=True,
        lease=2.5,
        max_memory_mb=512,
        log_format="json",
        verbosity=1,
    )
    assert ChildSettings.from_json(settings.to_json()) == settings
