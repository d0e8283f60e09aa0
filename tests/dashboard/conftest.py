"""Fixtures of the dashboard's tests."""

from __future__ import annotations

from tests.dashboard.scene import scene

__all__ = ["scene"]
