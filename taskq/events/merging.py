"""Global order: which partition has the oldest record of a topic, and how far it goes before another has an older one.

Records are merged by the time at which they were appended, in milliseconds. In a cluster that is as exact as the clocks
of its nodes agree.
"""

from __future__ import annotations

from collections.abc import Collection

from taskq.events.holding import Holding
from taskq.events.turns import Bound

_END = 2**63


def oldest(holdings: Collection[Holding], partitions: int) -> tuple[Holding, Bound] | None:
    """The partition whose turn it is, and the place that it may go up to; None as long as nobody can know.

    A partition that has nothing fetched counts by how far it is known to be empty.
    """
    if len(holdings) < partitions:
        return None
    heads: list[tuple[Bound, Holding]] = []
    known = _END
    for holding in holdings:
        if holding.paused:
            continue
        records = holding.peek(1)
        if records:
            offset = records[0].offset
            heads.append(((offset.ms, offset.seq, holding.number), holding))
        else:
            known = min(known, holding.frontier)
    if not heads:
        return None
    heads.sort(key=lambda pair: pair[0])
    (first, holding), *others = heads
    if first[0] > known:
        return None
    bound = (known + 1, 0, 0)
    return holding, min(bound, others[0][0]) if others else bound
