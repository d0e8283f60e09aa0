"""The rules for names, stated once: queues, namespaces and topics share one, task names have another."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

from taskq.errors import InvalidName
from taskq.values import shown as shown

RULE = "1 to 128 ASCII letters, digits, '_', '-' or '.', and a letter or digit first"
TASK_RULE = "1 to 255 characters: parts of ASCII letters, digits, '_', '-' or ':' joined by single dots"

# Braces would move a key to another cluster slot, a colon ends a part of a key, `*?[` are glob signs: all stay outside.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
# A part may begin with a digit, because modules run as scripts may: `01_hello.greet`.
_TASK_NAME = re.compile(r"[A-Za-z0-9_:-]+(?:\.[A-Za-z0-9_:-]+)*")


def check_name(name: object, what: str = "queue") -> str:
    """Return `name` if it is a valid name of a `what` (queue, namespace, topic), else raise `InvalidName`.

    Upper and lower case are different names.

    >>> check_name("mail.high-1")
    'mail.high-1'
    >>> check_name("a}b", "topic")
    Traceback (most recent call last):
    taskq.errors.InvalidName: topic name 'a}b' is not valid: use 1 to 128 ASCII letters, digits, ...
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    if what == "queue" and hasattr(type(name), "transport"):
        inner: object = getattr(name, "name", "")
        raise InvalidName(
            f"queue name {shown(name, 30)} is not valid: give its name here, queue={shown(inner)}, "
            "and the Queue in TaskQ(queues=[...])"
        )
    raise InvalidName(f"{what} name {shown(name)} is not valid: use {RULE}")


def check_task_name(name: object) -> str:
    """Return `name` if it is a valid task name, else raise `InvalidName`.

    >>> check_task_name("shop.mail.Sender.send_receipt")
    'shop.mail.Sender.send_receipt'
    >>> check_task_name("shop.größe")
    Traceback (most recent call last):
    taskq.errors.InvalidName: task name 'shop.größe' is not valid (set another by name=): use 1 to 255 characters: ...
    """
    if isinstance(name, str) and len(name) <= 255 and _TASK_NAME.fullmatch(name):
        return name
    raise InvalidName(f"task name {shown(name)} is not valid (set another by name=): use {TASK_RULE}")


def match(pattern: str, name: str) -> bool:
    """Whether `name` fits `pattern` as a whole: `*` any text, `?` one character, `[ab]` one of these; case counts.

    >>> match("orders.*", "orders.eu"), match("orders.*", "orders"), match("a*", "A1")
    (True, False, False)
    """
    return fnmatchcase(name, pattern)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A hint to put at the end of an error text: the nearest known name, or nothing.

    >>> did_you_mean("prioritty", ["queue", "priority"])
    " (did you mean 'priority'?)"
    >>> did_you_mean("add", ["store.add", "aadd"])
    " (did you mean 'store.add'?)"
    >>> did_you_mean("colour", ["queue", "priority"])
    ''
    """
    near = _near(name, list(known)) if isinstance(name, str) and 0 < len(name) <= 255 else []
    return f" (did you mean {near[0]!r}?)" if near else ""


def _near(name: str, known: list[str]) -> list[str]:
    """The nearest first; of dotted names, the one whose last part this is comes before others that look like it."""
    same = [one for one in known if one.endswith(f".{name}")]
    if same or "." in name:
        return same or get_close_matches(name, known, n=1)
    lasts = {one.rpartition(".")[2]: one for one in reversed(known)}
    return get_close_matches(name, known, n=1) or [lasts[last] for last in get_close_matches(name, lasts, n=1)]
