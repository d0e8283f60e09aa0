"""From what was given to a server that can be connected to: the chosen URL, with `embedded://` made real."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from taskq.errors import ConfigError
from taskq.settings import BrokerChoice, Settings, broker_url, read_settings
from taskq.store import embedded
from taskq.store.url import parse_url


def choose_broker(
    explicit: str | None = None,
    app_url: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> BrokerChoice:
    """Return the broker to use, its URL checked and ready for a link (or `memory://`).

    Only `embedded://` starts a server. Without any URL the project's running server is used, else `ConfigError`.
    """
    known = settings if settings is not None else read_settings()
    choice = broker_url(explicit, os.environ if env is None else env, app_url, known, embedded.attach)
    try:
        url = parse_url(choice.url)
    except ConfigError as error:
        raise ConfigError(f"{choice.source}: {error}") from error
    if url.kind != "embedded":
        return choice
    root = Path(url.path) if url.path else known.project_root
    return BrokerChoice(embedded.start(root).url, f"embedded:// from {choice.source}, data in {root / '.taskq'}")
