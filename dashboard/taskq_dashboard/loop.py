"""The loop: keys, signals and what errands bring become events; what the reducer answers is drawn and carried out."""

from __future__ import annotations

import select
import signal
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

from taskq_dashboard.cells import plain
from taskq_dashboard.errands import Errands
from taskq_dashboard.keyboard import ESCAPE_S, Keyboard
from taskq_dashboard.paint import Paint
from taskq_dashboard.reducer import reduce
from taskq_dashboard.rows import queue_at_hand
from taskq_dashboard.source import Source
from taskq_dashboard.state import (
    Count,
    Do,
    Effect,
    Event,
    Finished,
    Key,
    Open,
    Quit,
    ReadPage,
    Resized,
    State,
    Stop,
    Ticked,
)
from taskq_dashboard.terminal import Gone, Screen, Signals
from taskq_dashboard.view import view

_TICK_S = 1.0
"""At least so often the screen is drawn: an outage gets older although nothing comes."""

_FRAME_S = 0.03
_BACKGROUND_S = 0.2
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(source: Source, state: State, paint: Paint, interval: float, screen: Screen) -> int:
    """Show the dashboard until somebody leaves it. Answers the exit code: 0, or 128 and the signal that ended it.

    Ctrl+C raises KeyboardInterrupt. However it ends, the terminal is as it was before; what was still being done is
    stopped, and a line then says how far it came.
    """
    ended: signal.Signals | None = None
    said: list[str] = []
    with Signals() as signals, _taken(screen):
        ended = _Loop(source, state, paint, interval, (screen, signals)).run(said)
    for text in said:
        print(paint.text(plain(text)))
    if ended is signal.SIGINT:
        raise KeyboardInterrupt
    return 0 if ended is None else 128 + ended


@contextmanager
def _taken(screen: Screen) -> Generator[None]:
    try:
        screen.enter()
        yield
    except Gone:
        return  # whoever had the terminal has closed it: there is nobody to tell
    finally:
        screen.leave()


class _Loop:
    """One thread owns the state; others only post."""

    def __init__(
        self, source: Source, state: State, paint: Paint, interval: float, ends: tuple[Screen, Signals]
    ) -> None:
        self._screen, self._signals = ends
        self._state = state
        self._paint = paint
        self._keyboard = Keyboard()
        self._posted: deque[Event | BaseException] = deque()
        self._drawn = 0.0
        self._stale = True
        self._leaving = False
        self._errands = Errands(source, interval, self._post)

    def run(self, said: list[str]) -> signal.Signals | None:
        """Until it is left; answers the signal that ended it, and adds what is to be said afterwards."""
        try:
            self._resize()
            while not self._leaving:
                self._wait()
                ended = self._hear()
                if ended is not None:
                    return ended
                self._take()
            self._draw()
            return None
        finally:
            self._errands.close()
            said += [event.text for event in self._posted if isinstance(event, Finished)]

    def _post(self, event: Event | BaseException) -> None:
        self._posted.append(event)
        self._signals.ring()

    def _wait(self) -> None:
        """Draw if something changed, then wait for something to happen."""
        now = time.monotonic()
        due = self._drawn + (_FRAME_S if self._stale else _TICK_S)
        if now >= due:
            self._happens(Ticked(time.time() * 1000))
            self._draw()
            self._drawn, self._stale = now, False
            due = now + _TICK_S
        timeout = max(due - now, 0.0)
        if self._keyboard.waits:
            timeout = min(timeout, ESCAPE_S)
        readable, _, _ = select.select([self._screen.reader, self._signals.wake], [], [], timeout)
        if self._signals.wake in readable:
            self._signals.drain()
        if self._screen.reader in readable:
            self._keys(self._keyboard.feed(self._screen.read()))
        elif self._keyboard.waits:
            self._keys(self._keyboard.expire())

    def _draw(self) -> None:
        self._errands.focus(queue_at_hand(self._state))
        self._screen.draw([self._paint.ansi(line) for line in view(self._state, self._paint).lines])

    def _keys(self, names: list[str]) -> None:
        for name in names:
            if name == "redraw":
                self._screen.forget()
                self._stale = True
            else:
                self._happens(Key(name))

    def _take(self) -> None:
        while self._posted:
            event = self._posted.popleft()
            if isinstance(event, BaseException):
                raise event
            self._happens(event)

    def _happens(self, event: Event) -> None:
        before = self._state
        self._state, effects = reduce(before, event)
        self._stale = self._stale or (self._state is not before and not isinstance(event, Ticked))
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case ReadPage() | Open():
                self._errands.read(effect)
            case Count():
                self._errands.count(effect)
            case Do():
                self._errands.do(effect)
            case Stop():
                self._errands.stop()
            case Quit():
                self._leaving = True

    # -- signals -------------------------------------------------------------------------------------------------------

    def _hear(self) -> signal.Signals | None:
        heard = self._signals.heard
        while heard:
            number = heard.popleft()
            if number in _ENDING:
                return number
            if number is signal.SIGWINCH:
                self._resize()
            elif number is signal.SIGTSTP:
                self._screen.leave()
                self._signals.suspend()
                self._return()
            else:  # SIGCONT: whoever stopped us may have used the terminal
                self._return()
        return None

    def _return(self) -> None:
        """Take the terminal again, once we are in front; in the background nothing is drawn."""
        while not self._screen.is_ours():
            if any(number in _ENDING for number in self._signals.heard):
                return
            time.sleep(_BACKGROUND_S)
        self._screen.enter()
        self._resize()

    def _resize(self) -> None:
        self._screen.forget()
        self._happens(Resized(*self._screen.size()))
        self._stale = True
