"""The layout number of a namespace: the newest form in which its data is stored.

Releases whose numbers differ by one work side by side, so that a rolling deploy can pass. A process that is further
behind does not start: it would meet data that it cannot read.
"""

from __future__ import annotations

from taskq.errors import LayoutMismatch
from taskq.message import LAYOUT
from taskq.store import keys
from taskq.store.scripts import Call, Link, load, run


def check(link: Link, namespace: str, own: int = LAYOUT) -> int:
    """Store our number if it is higher than what is there; returns the newest one in use.

    Raises LayoutMismatch if that is more than one above ours. Works on a full server.
    """
    newest = run(link, raise_to(namespace, own))
    if newest > own + 1:
        raise LayoutMismatch(
            f"namespace {namespace!r} is used by a release that stores layout {newest}, and this one reads up to"
            f" {own + 1}: upgrade taskq here, or use another namespace"
        )
    return newest


def raise_to(namespace: str, own: int = LAYOUT) -> Call[int]:
    """Store a number if it is higher than what is there; answers the newest one."""
    return Call(load("layout"), [keys.layout(namespace)], [own], int)
