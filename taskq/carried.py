"""The context of a trace in headers, as W3C Trace Context spells it: what a message or record causes carries it on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

FIELDS: Final = ("traceparent", "tracestate", "baggage")


def carry_on(wire: dict[str, Any], origin: object) -> dict[str, Any]:
    """A call or record on its way, in JSON's terms, with the context of what it follows from, unless it has its own.

    >>> carry_on({"task": "t"}, {"traceparent": "00-1-2-01", "other": "x"})
    {'task': 't', 'headers': {'traceparent': '00-1-2-01'}}
    """
    if not isinstance(origin, Mapping) or not isinstance(wire, dict):  # whoever has stored them
        return wire
    carried = {name: origin[name] for name in FIELDS if isinstance(origin.get(name), str)}
    own = wire.get("headers") or {}
    if not carried or not isinstance(own, dict) or any(name in own for name in FIELDS):
        return wire
    return {**wire, "headers": {**carried, **own}}
