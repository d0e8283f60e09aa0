"""From the bytes of a terminal to keys. Pure: who reads the bytes also looks at the clock.

Arrows and their kin are escape sequences, and a slow line may tear one apart. Its rest must never be taken for keys:
the left arrow ends in `D`, which deletes. What is pasted is no key either, and is dropped.
"""

from __future__ import annotations

ESCAPE_S = 0.05
"""So long an escape waits for the rest of a sequence before it is the Esc key."""

_ESC = 0x1B
_PASTE_END = b"\x1b[201~"
_LONGEST = 64  # bytes of one sequence; more is noise

_NAMES = {
    0x0D: "enter",
    0x0A: "enter",
    0x09: "tab",
    0x7F: "backspace",
    0x08: "backspace",
    0x20: "space",
    0x0C: "redraw",
}
_LETTERS = {"A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end", "Z": "backtab"}
_NUMBERS = {"1": "home", "7": "home", "4": "end", "8": "end", "5": "pgup", "6": "pgdn"}
_AFTER_O = frozenset(b"ABCDHFPQRSM")


class Keyboard:
    """Takes bytes as they come and gives keys: signs as they are, others by name ("up", "enter", "esc")."""

    def __init__(self) -> None:
        self._held = b""
        self._pasting = False
        self._escaped = False  # the last key was an Esc for which we stopped waiting: its rest may still come

    @property
    def waits(self) -> bool:
        """Whether an escape came and it is not known yet what it is."""
        return self._held == b"\x1b" and not self._pasting

    def feed(self, data: bytes) -> list[str]:
        """The keys that are complete now."""
        if self._escaped and data[:1] in (b"[", b"O") and not self._held:
            self._held = b"\x1b"
        self._escaped = self._escaped and not data
        self._held += data
        keys: list[str] = []
        while self._held:
            taken, key = self._take()
            if not taken:
                break
            self._held = self._held[taken:]
            if key:
                keys.append(key)
        return keys

    def expire(self) -> list[str]:
        """Nothing more came in time: a lone escape was the Esc key."""
        if not self.waits:
            return []
        self._held, self._escaped = b"", True
        return ["esc"]

    def _take(self) -> tuple[int, str]:
        """How many bytes the next key takes (0: its end has not come), and its name ('' for none of ours)."""
        held = self._held
        if self._pasting:
            return self._skip_paste()
        first = held[0]
        if first == _ESC:
            return self._sequence()
        if first < 0x20 or first == 0x7F or first == 0x20:
            return 1, _NAMES.get(first, "")
        size = 1 if first < 0x80 else 2 if first >> 5 == 0b110 else 3 if first >> 4 == 0b1110 else 4
        if len(held) < size and all(byte >> 6 == 0b10 for byte in held[1:]):
            return 0, ""
        try:
            sign = held[:size].decode()
        except UnicodeDecodeError:
            return 1, ""
        return size, sign if sign.isprintable() else ""

    def _skip_paste(self) -> tuple[int, str]:
        end = self._held.find(_PASTE_END)
        if end < 0:
            return max(len(self._held) - len(_PASTE_END) + 1, 0), ""
        self._pasting = False
        return end + len(_PASTE_END), ""

    def _sequence(self) -> tuple[int, str]:
        held = self._held
        if len(held) < 2:
            return 0, ""
        if held[1:2] == b"O":
            if len(held) < 3:
                return 0, ""
            return (3, _LETTERS.get(chr(held[2]), "")) if held[2] in _AFTER_O else (2, "")
        if held[1:2] != b"[":
            return 1, "esc"
        for at in range(2, min(len(held), _LONGEST)):
            if 0x40 <= held[at] <= 0x7E:
                return at + 1, self._control(held[2:at].decode("ascii"), chr(held[at]))
            if not 0x20 <= held[at] <= 0x3F:
                return at, ""  # it was broken off
        return (0, "") if len(held) < _LONGEST else (len(held), "")

    def _control(self, parameters: str, final: str) -> str:
        if final != "~":
            return _LETTERS.get(final, "")
        if parameters == "200":
            self._pasting = True
        return _NUMBERS.get(parameters.split(";")[0], "")
