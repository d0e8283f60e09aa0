"""A child with many slots: messages that come one by one each hold a lease call, and none may keep a slot idle."""

from __future__ import annotations

from taskq_workers.table import Table


def test_there_is_an_entry_for_each_slot_and_room_for_calls_under_way() -> None:
    slots = 1000
    table = Table.create(slots)
    running = [table.announce(0, number.to_bytes(20, "big")) for number in range(slots)]
    assert None not in running
    assert table.announce(0, bytes(20)) is not None
    assert len(table.held()) == slots + 1
    table.close()
