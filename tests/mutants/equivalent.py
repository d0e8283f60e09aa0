"""Mutants that no test can tell from the script itself, each with its reason."""

from __future__ import annotations

READ = "It is read before the first write, and there the server refuses a wrong type by itself."
FIRST = "The first write goes there: the server refuses it, and nothing has been written."
DIGEST = "Without the flag a message holds no unique key: whatever these bytes are, its id is not found under them."
SETTLING = "It is read first if the call has a number, and not touched at all if it has none."
SENDING = "It is read before the first write if there is a message, and not touched at all if there is none."

_TYPES: dict[str, dict[str, str]] = {
    "ack": {"worker (key 1)": SETTLING, "body (key 3)": FIRST, "state (key 4)": READ},
    "nack": {"worker (key 1)": SETTLING, "state (key 3)": READ, "left (key 6)": FIRST, "delayed (key 7)": READ},
    "dead_letter": {"worker (key 1)": SETTLING, "state (key 4)": READ, "left (key 7)": FIRST},
    "cancel": {"body (key 2)": READ, "state (key 3)": READ},
    "discard": {"state (key 2)": READ},
    "expire_parked": {
        "state (key 3)": READ,
        "parked (key 11)": READ,
        "parked list of the task (key 13)": READ,
    },
    "extend": {"leases (key 2)": READ},
    "fire": {"the entry (key 2)": READ}
    | dict.fromkeys(("body (key 4)", "state (key 5)", "delayed (key 6)", "tombs (key 7)"), SENDING),
    "park": {"state (key 2)": READ, "left (key 5)": FIRST},
    "pause": {"meta (key 1)": FIRST},
    "progress": {"state (key 1)": READ},
    "put": {"the entry (key 2)": READ},
    "release": {"state (key 1)": READ},
    "reclaim": {"worker (key 1)": FIRST, "leases (key 4)": READ, "held (key 5)": READ},
    "redrive": {"body (key 2)": READ, "state (key 3)": READ},
    "sweep": dict.fromkeys(
        (
            *("meta (key 1)", "leases (key 4)", "delayed (key 5)", "outbox (key 13)", "parked (key 14)"),
            "alone (key 21)",
        ),
        READ,
    ),
    "unpark": {"state (key 2)": READ, "parked list of the task (key 4)": READ},
    "purge": {"state (key 3)": READ, "a ready list (key 12)": READ},
}

_BITS = "bit.band(flags, 16) > 0"

EQUIVALENT: dict[tuple[str, str], str] = {
    (script, f"does not check the type of {key}"): reason
    for script, keys in _TYPES.items()
    for key, reason in keys.items()
} | {
    **{
        (script, f"leaves out `{_BITS}` in `{_BITS} and call('HGET', KEYS[{key}], digest) == id`"): DIGEST
        for script, key in (("ack", 11), ("dead_letter", 11), ("cancel", 5), ("purge", 5))
    },
    (
        "expire_parked",
        "leaves out `band(flags, 16) > 0` in `band(flags, 16) > 0 and call('HGET', KEYS[5], digest) == id`",
    ): DIGEST,
    ("enqueue", "does not `call('HLEN', KEYS[4])`"): "A message that is new has been looked for there before the first "
    "write; if none is new, nothing is written there.",
    ("lease", "does not `call('HLEN', KEYS[6])`"): READ,
    (
        "redrive",
        "does not `call('DEL', KEYS[10])`",
    ): "The first write is a ZREM then, which a full server takes as well.",
    (
        "purge",
        "leaves out `ARGV[6] ~= ''` in `ARGV[6] ~= '' and left == 0`",
    ): "No task has an empty name, so nothing is struck off.",
}
