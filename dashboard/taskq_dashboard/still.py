"""One look without keys: a plain screen for pipes and paper, a picture for a page, or JSON for scripts."""

from __future__ import annotations

import re
import time
from dataclasses import fields, is_dataclass
from datetime import datetime
from io import StringIO
from typing import Any

from rich.console import Console
from rich.terminal_theme import MONOKAI

from taskq.buckets import Histogram
from taskq.snapshot import Snapshot
from taskq_dashboard.paint import Frame
from taskq_dashboard.picture import Picture, develop
from taskq_dashboard.source import Source

LEAST_WIDTH, MOST_WIDTH = 80, 160
HEIGHT = 40


def two_looks(source: Source, interval: float) -> Picture:
    """A picture with rates: one look tells none, unless the workers have stored samples."""
    first = develop(source.look(every=True))
    if not first.snapshot.queues and not first.snapshot.topics:
        return first
    time.sleep(interval)
    return develop(source.look(every=True), first)


def as_json(value: Any) -> Any:
    """A snapshot as plain values: times are milliseconds since 1970, a histogram has its quantiles in seconds."""
    if isinstance(value, Snapshot):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Histogram):
        shares = {f"p{share}": value.quantile(share / 100) for share in (50, 95, 99)}
        return {"total": value.total, **shares, "counts": {str(key): count for key, count in value.counts.items()}}
    if isinstance(value, datetime):
        return int(value.timestamp() * 1000)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(one) for one in value]
    return value


def svg(frame: Frame, title: str) -> str:
    """The screen as an SVG image that loads nothing from elsewhere."""
    console = Console(
        file=StringIO(),
        record=True,
        width=frame.width,
        force_terminal=True,
        color_system="standard",
        legacy_windows=False,
    )
    console.print(frame, end="")
    text = console.export_svg(title=title, theme=MONOKAI)
    return re.sub(r"\s*@font-face\s*\{.*?\}", "", text, flags=re.DOTALL).replace("Fira Code", "ui-monospace, Menlo")
