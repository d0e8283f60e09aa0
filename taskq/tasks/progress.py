"""What a running task says of its progress, kept for readers while its lease is held."""

from __future__ import annotations

from taskq.store.keys import QueueKeys
from taskq.store.scripts import Call, load

PROGRESS_TTL_MS = 60_000


def progress(keys: QueueKeys, token: bytes, id: bytes, text: bytes) -> Call[bool]:
    """Store the newest word of one run; False if another worker may have the message by now."""
    names = [keys.state, keys.progress(id), keys.none]
    return Call(load("tasks/progress"), names, [token, id, text, PROGRESS_TTL_MS], lambda reply: reply == 1)
