"""What others may do to the stream of a stream queue, by hand or with a tool that knows nothing of taskq."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskq.store.connection import SyncLink
from taskq.store.keys import QueueKeys
from tests.faults.stage import Stage

Meddling = Callable[[SyncLink, QueueKeys], int]
"""One misdeed; answers how much it changed, 0 if there was nothing to change."""

GROUP = "taskq"


def delete_stream(link: SyncLink, names: QueueKeys) -> int:
    return int(link.execute("DEL", names.stream))


def destroy_group(link: SyncLink, names: QueueKeys) -> int:
    return int(link.execute("XGROUP", "DESTROY", names.stream, GROUP)) if _there(link, names) else 0


def trim_all(link: SyncLink, names: QueueKeys) -> int:
    return int(link.execute("XTRIM", names.stream, "MAXLEN", 0))


def delete_unread(link: SyncLink, names: QueueKeys) -> int:
    """Every other entry that nobody has read."""
    if not _there(link, names):
        return 0
    entries = link.execute("XRANGE", names.stream, b"(" + _position(link, names), "+", "COUNT", 40)[::2]
    return int(link.execute("XDEL", names.stream, *(entry for entry, _ in entries))) if entries else 0


def delete_pending(link: SyncLink, names: QueueKeys) -> int:
    if not _there(link, names):
        return 0
    entries = [one[0] for one in link.execute("XPENDING", names.stream, GROUP, "-", "+", 20)]
    return int(link.execute("XDEL", names.stream, *entries)) if entries else 0


def read_and_keep(link: SyncLink, names: QueueKeys) -> int:
    """A consumer of somebody else in our group, which never acknowledges."""
    if not _there(link, names):
        return 0
    words = ("XREADGROUP", "GROUP", GROUP, "stranger", "COUNT", 20, "STREAMS", names.stream, ">")
    reply = link.execute(*words)
    return len(reply[0][1]) if reply else 0


def add_entries(link: SyncLink, names: QueueKeys) -> int:
    """Entries that are no messages."""
    for fields in (("hello", "world"), ("id", "short", "body", "x"), ("id", "x" * 16), ("body", "x", "id", "y" * 16)):
        link.execute("XADD", names.stream, "*", *fields)
    return 4


def read_again(link: SyncLink, names: QueueKeys) -> int:
    return _set_back(link, names, "0")


def skip_unread(link: SyncLink, names: QueueKeys) -> int:
    """As much as was unread is never read."""
    if not _there(link, names):
        return 0
    unread = link.execute("XRANGE", names.stream, b"(" + _position(link, names), "+", "COUNT", 1000)
    return len(unread) if _set_back(link, names, "$") else 0


def unlink_entries(link: SyncLink, names: QueueKeys) -> int:
    return int(link.execute("UNLINK", names.entries))


def unlink_tally(link: SyncLink, names: QueueKeys) -> int:
    return int(link.execute("UNLINK", names.tally))


MEDDLINGS: tuple[Meddling, ...] = (
    delete_stream, destroy_group, trim_all, delete_unread, delete_pending, read_and_keep, add_entries, read_again,
    skip_unread, unlink_entries, unlink_tally,
)  # fmt: skip


def meddle(here: Stage, how: Meddling) -> int:
    """Do it once; answers how much it changed."""
    return how(here.broker.link, here.broker.keys("work"))


def _set_back(link: SyncLink, names: QueueKeys, entry: str) -> int:
    if not _there(link, names):
        return 0
    link.execute("XGROUP", "SETID", names.stream, GROUP, entry)
    return 1


def _there(link: SyncLink, names: QueueKeys) -> bool:
    return bool(_group(link, names))


def _position(link: SyncLink, names: QueueKeys) -> bytes:
    """The last entry that the group has read."""
    return bytes(_group(link, names)[b"last-delivered-id"])


def _group(link: SyncLink, names: QueueKeys) -> dict[bytes, Any]:
    if not link.execute("EXISTS", names.stream):
        return {}
    groups = [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in link.execute("XINFO", "GROUPS", names.stream)]
    return next((group for group in groups if group[b"name"] == GROUP.encode()), {})
