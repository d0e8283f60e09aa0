"""What is sent goes in as few writes as it may."""

from __future__ import annotations

import pytest

from taskq.store.pools import _CHUNK, _joined


@pytest.mark.parametrize(
    ("sizes", "writes"),
    [
        ([5], [5]),
        ([1] * 1_000, [1_000]),
        ([_CHUNK // 2, _CHUNK // 2], [_CHUNK]),
        ([_CHUNK // 2, _CHUNK // 2, 1], [_CHUNK, 1]),
        ([3 * _CHUNK], [3 * _CHUNK]),
        ([1, 3 * _CHUNK, 1, 1], [1, 3 * _CHUNK, 2]),
        ([_CHUNK] * 3, [_CHUNK] * 3),
    ],
)
def test_parts_are_joined_up_to_a_megabyte(sizes: list[int], writes: list[int]) -> None:
    parts = [bytes([at % 256]) * size for at, size in enumerate(sizes)]
    joined = _joined(parts)
    assert list(map(len, joined)) == writes
    assert b"".join(joined) == b"".join(parts)
