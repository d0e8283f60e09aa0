"""Mutants that no test can tell from the script itself, each with its reason."""

from __future__ import annotations

READ = "It is read before the first write, and there the server refuses a wrong type by itself."
FIRST = "The first write goes there: the server refuses it, and nothing has been written."
DIGEST = "Without the flag a message holds no unique key: whatever these bytes are, its id is not found under them."
SETTLING = "It is read first if the call has a number, and not touched at all if it has none."
SENDING = "It is read before the first write if there is a message, and not touched at all if there is none."
NAMED = "It is read before the first write if an id is named, and not touched at all if none is."

_TYPES: dict[str, dict[str, str]] = {
    "carried": {"moves (key 3)": FIRST},
    "land": {"moved (key 17)": READ},
    "take": {"moves (key 9)": READ},
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
    "remove": {"body (key 2)": NAMED, "state (key 3)": NAMED},
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

ASKED = "For none, or for less than none, read asks the server for nothing and writes nothing."
LEASED = "What is leased has its body."
NO_ERROR = "The verb has no error to answer with: what it stumbles over, the server raises."
REFUSED = "A verb that answers with an error has written nothing, so what follows finds nothing to do."
NOWHERE = "Where there is no such field, none is taken away."
NO_IDS = "An error has no ids, so nothing is settled or noted, and it is answered all the same."
CARE = "More entries are looked up than need be then, and each look finds what is so."

_STREAMS: dict[str, dict[str, str]] = {
    "history": {
        "leaves out `ours` in `ours and known_entry(fields[2], call('HGET', KEYS[8], fields[2])) == wide(entry)`": "An "
        "entry that is not ours is acknowledged when it is read, so nothing is held or given back by it.",
    },
    "parts/audit": {
        "leaves out `known` in `known and known == wide(entry) and (waits or token)`": "What is not known "
        "is not equal to an entry.",
    },
    "parts/lease": {
        "reads though enough waits": ASKED,
        "never returns for `reply.err`": NO_ERROR,
        "a lease that took nothing rings": "A read that moved nothing came to the end, where nothing is "
        "unread; what was dropped without reading rings for nothing unread, either.",
        "leaves out `not leased[id]` in `not leased[id] and call('HEXISTS', KEYS[7], id) == 0`": LEASED,
    },
    "parts/overview": {"never returns for `reply.err`": NO_ERROR},
    "parts/purge": {
        "though enough waits in the list": ASKED,
        "never returns for `reply.err`": "What it refuses it has refused before, when it was asked for nothing.",
    },
    "parts/read": {
        "leaves out `not doubt` in `back and not doubt`": CARE,
    },
    "parts/ready": {"after a refusal": REFUSED},
    "parts/reclaim": {
        "only that something is held": "Only what is held has a token in that place.",
        "is not compared": "What another token holds is held as before when the verb has run, and is passed over then.",
        "never returns for `reply.err`": REFUSED,
        "leaves out `entries` in `entries and call('HEXISTS', KEYS[9], token) == 0`": NOWHERE,
    },
    "parts/settle": {
        "leaves out `entry` in `entry and record and sub(record, 9, 28) == token`": "Its present token has it.",
        "only an older one is a repeat": "What the same call acknowledged before is acknowledged already.",
        "leaves out `batch` in `batch and call('HEXISTS', KEYS[9], token) == 0`": NOWHERE,
    },
}

_STREAMS_MORE: dict[str, dict[str, str]] = {
    "replay": {
        "the cursor moves though nothing was enqueued": NO_ERROR,
        "never returns for `reply.err`": NO_ERROR,
        "what is kept may be anything": READ,
    },
    "parts/take": dict.fromkeys(("an error is taken for ids", "never returns for `type(taken) == 'table'`"), NO_IDS),
    "watch": {
        "in the call that made the group nothing keeps it back": "It asks for a restore as well, which does.",
        "looks while the pending list is not whole": "What is pending is vouched for or not, whatever "
        "is claimed beside it.",
    },
}

_BITS = "bit.band(flags, 16) > 0"

EQUIVALENT: dict[tuple[str, str], str] = {
    (script, f"does not check the type of {key}"): reason
    for script, keys in _TYPES.items()
    for key, reason in keys.items()
} | {
    **{
        (f"streams/{script}", name): reason
        for script, names in (_STREAMS | _STREAMS_MORE).items()
        for name, reason in names.items()
    },
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
    **dict.fromkeys(
        (
            ("enqueue", f"leaves out `not said` in `{before}streamed and not said`")
            for before in ("", "#entries > 0 and ")
        ),
        "The same word is written over itself.",
    ),
    ("lease", "does not `call('HLEN', KEYS[6])`"): READ,
    ("carried", "nothing is freed first"): "The first write is an HDEL then, which a full server takes as well.",
    ("land", "leaves out `reply.err` in `reply.err or reply[1] ~= 0`"): NO_ERROR,
    (
        "take",
        "leaves out `digest ~= ''` in `digest ~= '' and call('HGET', KEYS[5], digest) == id`",
    ): "A message without a unique key is looked for under an empty digest then, under which nobody is a holder.",
    ("take", "leaves out `listed` in `listed and at[id]`"): "Only in a list has a message a place that is known.",
    (
        "redrive",
        "does not `call('DEL', KEYS[10])`",
    ): "The first write is a ZREM then, which a full server takes as well.",
    (
        "remove",
        "does not `call('DEL', KEYS[9])`",
    ): "The first write is an HDEL then, which a full server takes as well.",
    (
        "remove",
        "leaves out `digest ~= ''` in `digest ~= '' and call('HGET', KEYS[5], digest) == id`",
    ): "A digest has 16 bytes, so no id is found under none.",
    (
        "purge",
        "leaves out `ARGV[6] ~= ''` in `ARGV[6] ~= '' and left == 0`",
    ): "No task has an empty name, so nothing is struck off.",
}
