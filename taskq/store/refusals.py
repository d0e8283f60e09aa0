"""What an error reply of the server means to us: which error it becomes, and what the user can do about it.

Pure text in, error out: the replies are the same on every client. Error replies that come out of a script carry the
code of the failing command inside their text, on Redis 6.2 behind a dash, so the text is searched as well.
"""

from __future__ import annotations

import re

from taskq.errors import BrokerError, BrokerFull, BrokerRefused, BrokerUnavailable, NoScript

_NOT_READY = {
    "LOADING": "it is still loading its data; it answers as soon as that is done",
    "BUSY": "a script has been running for too long and blocks it; see `SLOWLOG GET` for which",
    "UNKILLABLE": "a script has been running for too long and blocks it; see `SLOWLOG GET` for which",
    "MISCONF": "it cannot save to its disk and refuses writes; free the disk or repair its persistence",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "NOREPLICAS": "too few replicas are in step (min-replicas-to-write)",
    "READONLY": "it is a replica and takes no writes; connections are dropped so that the primary is found again",
    "CLUSTERDOWN": "the cluster does not cover every slot; see `CLUSTER INFO`",
    "TRYAGAIN": "the keys are being moved to another cluster node",
    "NOGOODSLAVE": "no replica can take over; see the Sentinel log",
}
_REFUSED = {
    "NOAUTH": "it asks for a password; put it into the URL, like redis://:password@host",
    "WRONGPASS": "it does not accept the user name or password of the URL",
    "NOPERM": "the ACL user lacks a right; `taskq doctor` lists what is missing",
    "WRONGTYPE": "a key of taskq holds data of another type; use another namespace or remove that key",
    "CROSSSLOT": "keys of one call lie in different cluster slots; this is a mistake in taskq, please report it",
    "NOPROTO": "it does not speak this protocol version",
    "DENIED": "it is in protected mode; set a password, or bind it to an address that only its clients reach",
}
_FULL = (
    "it is at its memory limit (maxmemory) and takes no new messages; run more workers to drain it, raise maxmemory, "
    "or shorten result_ttl"
)
_OLD = "it does not know a command that taskq needs; Redis 6.2 or Valkey 7.2 is the oldest that will do"
_NO_SENTINEL = "it is no Sentinel; name the sentinels (port 26379 as a rule), or write redis:// for a single server"
_INNER_CODE = re.compile(r"(?:^|[-\s:])(" + "|".join(["OOM", "NOSCRIPT", *_NOT_READY, *_REFUSED]) + r")\b")


_NO_PRIMARY = re.compile(r"No master found for (['\"].*?['\"])(?: : (.*))?", re.DOTALL)
_ADDRESS = re.compile(r"host=([^,)]+),port=(\d+)")
_FAILURE = re.compile(r" - .*?(\w+Error)\b")


def no_primary(text: str, url: str) -> BrokerUnavailable | None:
    """The error for what redis-py says when no Sentinel told a primary; None if it says something else.

    It shows its own objects for the Sentinels that failed; of those the addresses and the kinds of error are kept.
    """
    found = _NO_PRIMARY.match(text)
    if found is None:
        return None
    failed = [f"{host}:{port}" for host, port in _ADDRESS.findall(found[2] or "")]
    kinds = _FAILURE.findall(found[2] or "")
    asked = ", ".join(f"{where} ({kind})" for where, kind in zip(failed, kinds, strict=False))
    why = (
        f"asking failed at {asked}: is a Sentinel running there, and does it take this password?"
        if asked
        else "it answers, but knows no primary of that name that is up; `SENTINEL MASTERS` tells which it watches"
    )
    return BrokerUnavailable(f"the Sentinel at {url} names no server for the service {found[1]}: {why}")


def refusal(code: str | None, text: str, url: str) -> BrokerError:
    """Return the error for an error reply with this code and text from the server at `url` (already masked)."""
    known = code if code and code != "ERR" else _code_in(text)
    where = f"the broker at {url}"
    detail = f"[{text if not code or text.startswith(code) else f'{code} {text}'}]"
    if known == "NOSCRIPT":
        return NoScript(f"{where} does not have the script {detail}")
    if known == "OOM":
        return BrokerFull(f"{where} is full: {_FULL} {detail}")
    if "max number of clients reached" in text:
        return BrokerUnavailable(f"{where} is not available: it has no connection left; raise maxclients {detail}")
    if known in _NOT_READY:
        return BrokerUnavailable(f"{where} is not ready: {_NOT_READY[known]} {detail}")
    if known in _REFUSED:
        return _refused(f"{where} refused: {_REFUSED[known]} {detail}", known)
    if "unknown command" in text.lower() or "unknown subcommand" in text.lower():
        why = _NO_SENTINEL if "'sentinel'" in text.lower() or "`sentinel`" in text.lower() else _OLD
        return BrokerRefused(f"{where} refused: {why} {detail}")
    if "unknown redis command called from" in text.lower():
        return BrokerRefused(f"{where} refused: {_OLD} {detail}")
    if "DB index is out of range" in text:
        return BrokerRefused(f"{where} refused: it has no database of that number; see `CONFIG GET databases` {detail}")
    if "called without any password configured" in text:
        return BrokerRefused(f"{where} refused: it has no password set; remove the one in the URL {detail}")
    return BrokerError(f"{where} answered with an error {detail}")


def _refused(text: str, code: str) -> BrokerRefused:
    error = BrokerRefused(text)
    error.code = code
    return error


def _code_in(text: str) -> str | None:
    # Redis 7 says this in words, without the code, when a script runs a command that its user may not run.
    if "ACL failure" in text or "can't run this command" in text or "No permissions to access a key" in text:
        return "NOPERM"
    found = _INNER_CODE.search(text)
    return found.group(1) if found else None
