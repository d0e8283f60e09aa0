"""What the probes of a worker say. Liveness asks only this process: an outage of the broker must not restart it."""

from __future__ import annotations

from dataclasses import dataclass

STUCK_S = 30.0
"""The main loop turns four times a second; it waits at most 10 s for the keeper at the end of a burst."""
SILENT_S = 10.0
"""For so long a worker counts as being there after its last record."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a worker stands: seconds since its loop turned, and since its record was stored (None: never yet).

    `state` is that of its record. `serving` says whether a child has its app imported, `outage` whether the last round
    trip found no broker.
    """

    state: str
    turned: float
    serving: bool = False
    recorded: float | None = None
    outage: bool = False


def stuck(standing: Standing) -> str | None:
    """Why this process should be restarted; None if it should not.

    >>> stuck(Standing("running", 0.1, outage=True)), stuck(Standing("running", 31.0))
    (None, 'the main loop has not turned for 31 s')
    """
    return f"the main loop has not turned for {standing.turned:.0f} s" if standing.turned >= STUCK_S else None


def unready(standing: Standing) -> str | None:
    """Why this worker is not at work; None if it is.

    >>> unready(Standing("running", 0.1, serving=True, recorded=0.5)), unready(Standing("draining", 0.1))
    (None, 'draining')
    """
    if why := stuck(standing):
        return why
    if standing.state != "running":
        return standing.state
    if standing.outage:
        return "the broker does not answer"
    if standing.recorded is None or standing.recorded >= SILENT_S:
        return "not registered: the broker has no record of this worker that is young enough"
    return None if standing.serving else "no child is running"
