"""How long one frame takes, by hand: `python -m tests.dashboard.measure`. No test: machines differ."""

from __future__ import annotations

import time

from rich.color import ColorSystem

from taskq_dashboard.paint import Paint
from taskq_dashboard.reducer import reduce
from taskq_dashboard.state import Looked, State
from taskq_dashboard.view import view
from tests.dashboard.made_up import NOW, busy


def measure(width: int, height: int, frames: int = 200) -> tuple[float, float]:
    """CPU milliseconds for taking in one snapshot of 50 queues, and for drawing it."""
    state = State(width=width, height=height)
    paint = Paint(colours=ColorSystem.STANDARD)
    looks = [busy(50, NOW + 500 * n, 40 * n) for n in range(frames)]
    taken = drawn = 0.0
    for look in looks:
        began = time.process_time()
        state, _ = reduce(state, Looked(look))
        middle = time.process_time()
        for line in view(state, paint).lines:
            paint.ansi(line)
        taken, drawn = taken + middle - began, drawn + time.process_time() - middle
    return taken / frames * 1000, drawn / frames * 1000


if __name__ == "__main__":
    for size in ((80, 24), (160, 48)):
        taken, drawn = measure(*size)
        share = (taken + drawn) * 2 / 10
        print(f"{size[0]}x{size[1]}: {taken:.2f} ms to take in, {drawn:.2f} ms to draw; {share:.2f} % of a core at 2/s")
