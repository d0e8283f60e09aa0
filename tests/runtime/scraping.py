"""Asking a process over HTTP what it has to say, as Prometheus and Kubernetes do."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

PATIENCE_S = 40.0
_ADDRESS = re.compile(r"serving (.*) at http://(127\.0\.0\.1:\d+)")

Numbers = dict[tuple[str, tuple[str, ...]], float]


def addresses(log: str) -> list[str]:
    """Where the process that wrote this log serves its pages."""
    return [address for _, address in _ADDRESS.findall(log)]


def fetch(address: str, path: str, **headers: str) -> tuple[int, str]:
    """Status and body."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def numbers(text: str) -> Numbers:
    """Every sample by name and label values, as the official parser reads them."""
    families: Iterable[Any] = text_string_to_metric_families(text)
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def scrape(address: str) -> Numbers:
    status, body = fetch(address, "/metrics")
    assert status == 200, body
    return numbers(body)


def told(found: Numbers, name: str, *labels: str) -> float | None:
    """One number; labels in the order of their names."""
    return found.get((name, labels))
