"""`taskq doctor`: examines the broker and says, for each finding, whether it will do and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import click

from taskq.desk import chosen_broker
from taskq.errors import BrokerError, BrokerRefused
from taskq.settings import BrokerChoice
from taskq.store.connection import ServerFacts, SyncLink, check_server, server_facts
from taskq.store.topic_keys import broadcast
from taskq.store.url import BrokerUrl, parse_url
from taskq_workers import exits
from taskq_workers.commands.health import has_answered
from taskq_workers.commands.rights import TOPICS, WATCHING, grant, missing_rights, missing_uses, refused
from taskq_workers.commands.shared import Amount, broker_options, json_option, print_json

Verdict = Literal["ok", "warn", "fail", "unknown"]

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "unknown": "bright_black"}
NEARLY_FULL = 0.8
SKEW_WARN_S = 1.0
SKEW_FAIL_S = 60.0
TOPICS_NEED = (7, 0)
LOOPBACK = ("127.", "::1", "-::1", "localhost")
HIDDEN = "its access rules hide this"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: a verdict, what was found, and what to do unless it is ok."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


@click.command()
@broker_options
@click.option("--namespace", default="doctor", show_default=True, help="Whose keys to try the access rights on.")
@click.option("--timeout", type=Amount(min=0.05), default=2.0, show_default=True, help="Seconds per answer.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, url: str | None, app: str | None, namespace: str, timeout: float, as_json: bool) -> None:
    """Examine the broker and say what to do about it.

    Exit code 0 if nothing failed (warnings are no failures), 3 if it cannot be reached, 6 if a check failed, or if it
    answers that it will not serve us.
    """
    choice = chosen_broker(ctx.obj, url, app)
    checks = examine(choice, namespace, timeout)
    for check in checks:
        print_json(asdict(check)) if as_json else _show(check)
    failed = {check.name for check in checks if check.verdict == "fail"}
    ctx.exit(exits.UNREACHABLE if "reachable" in failed else exits.UNHEALTHY if failed else exits.OK)


def examine(choice: BrokerChoice, namespace: str, timeout: float) -> list[Check]:
    """Run every check; a server that cannot be reached ends them."""
    url = parse_url(choice.url)
    checks = [Check("broker", "ok", f"{url.masked} from {choice.source}")]
    if url.kind == "memory":
        return [*checks, Check("reachable", "warn", "in this process", "it shares nothing with other processes")]
    link = SyncLink(url, timeout=timeout, connect_timeout=timeout)
    try:
        link.execute("PING")
        facts = server_facts(link)
        user = facts.acl_user or url.username or "default"  # some may not ask who they are
        checks.append(Check("reachable", "ok", f"answers as user {user}"))
        checks += _judge(facts, url)
        checks.append(_rights(link, namespace, user))
        checks.append(_uses(link, namespace, user, ("watching", "dashboards and metrics", WATCHING)))
        checks.append(_uses(link, namespace, user, ("topics", "readers, groups and broadcasts", TOPICS)))
    except BrokerError as error:
        checks.append(Check("served" if has_answered(error) else "reachable", "fail", str(error)))
    finally:
        link.close()
    return checks


def _judge(facts: ServerFacts, url: BrokerUrl) -> Iterator[Check]:
    yield _server(facts)
    yield _role(facts)
    yield _eviction(facts)
    yield _memory(facts)
    yield _persistence(facts)
    yield _clock(facts)
    yield _connections(facts)
    yield _exposure(facts, url)


def _server(facts: ServerFacts) -> Check:
    try:
        check_server(facts)
    except BrokerRefused as error:
        return Check("server", "fail", str(error), "upgrade it, or use another server")
    if facts.version is None:
        return Check("server", "unknown", HIDDEN, "grant INFO or HELLO")
    if facts.version < TOPICS_NEED:
        return Check("server", "warn", facts.name, "tasks work; topics need 7.0")
    return Check("server", "ok", f"{facts.name}, {facts.mode or 'standalone'}")


def _role(facts: ServerFacts) -> Check:
    if facts.role is None:
        return Check("role", "unknown", HIDDEN, "grant INFO")
    if facts.role == "master":
        return Check("role", "ok", "primary")
    return Check("role", "fail", f"{facts.role}: it takes no writes", "use the primary, or a redis+sentinel:// URL")


def _eviction(facts: ServerFacts) -> Check:
    policy = facts.maxmemory_policy
    if policy is None:
        return Check("eviction", "unknown", HIDDEN, "see that maxmemory-policy is noeviction")
    if policy == "noeviction":
        return Check("eviction", "ok", policy)
    if policy.startswith("allkeys"):
        return Check("eviction", "fail", f"{policy}: a full server throws tasks away", "set noeviction")
    return Check("eviction", "warn", f"{policy}: a full server throws results and locks away", "set noeviction")


def _memory(facts: ServerFacts) -> Check:
    if facts.used_memory is None or facts.maxmemory is None:
        return Check("memory", "unknown", HIDDEN, "grant INFO")
    used = f"{facts.used_memory / 2**20:.1f} MiB used"
    if not facts.maxmemory:
        return Check("memory", "ok", f"{used}, no limit set")
    share = facts.used_memory / facts.maxmemory
    found = f"{used}, {share:.0%} of {facts.maxmemory / 2**20:.1f} MiB"
    if share >= 1:
        return Check("memory", "fail", f"{found}: full, it takes no new tasks", "drain queues or raise maxmemory")
    verdict: Verdict = "warn" if share >= NEARLY_FULL else "ok"
    return Check("memory", verdict, found, "drain queues or raise maxmemory" if verdict == "warn" else "")


def _persistence(facts: ServerFacts) -> Check:
    if facts.last_write_ok is False:
        return Check("persistence", "fail", "its last write to disk failed", "free its disk; see its log")
    if facts.aof is None:
        return Check("persistence", "unknown", HIDDEN, "see that appendonly is on")
    if facts.aof:
        lost = {"always": "nothing", "everysec": "up to a second"}.get(facts.appendfsync or "", "what the host held")
        return Check("persistence", "ok", f"append-only file; a host that dies loses {lost}")
    if facts.save:
        found = "snapshots only: a crash loses what came since the last one"
        return Check("persistence", "warn", found, "set appendonly yes")
    if facts.save is None:
        return Check("persistence", "warn", "no append-only file", "set appendonly yes")
    return Check("persistence", "warn", "none: a restart loses everything", "set appendonly yes")


def _clock(facts: ServerFacts) -> Check:
    skew = facts.clock_skew
    if skew is None:
        return Check("clock", "unknown", HIDDEN, "grant TIME: the scripts need it")
    if abs(skew) < SKEW_WARN_S:
        return Check("clock", "ok", f"{skew:+.3f} s from ours")
    advice = "start NTP on both; delays and schedules given as a time of day are off by as much"
    return Check("clock", "fail" if abs(skew) >= SKEW_FAIL_S else "warn", f"{skew:+.1f} s from ours", advice)


def _connections(facts: ServerFacts) -> Check:
    if facts.clients is None or not facts.maxclients:
        return Check("connections", "unknown", HIDDEN, "grant INFO")
    found = f"{facts.clients} of {facts.maxclients}"
    if facts.clients >= NEARLY_FULL * facts.maxclients:
        return Check("connections", "warn", found, "raise maxclients, or close what does not use them")
    return Check("connections", "ok", found)


def _exposure(facts: ServerFacts, url: BrokerUrl) -> Check:
    remote = any(not host.startswith(LOOPBACK) for host, _ in url.hosts)
    if remote and not url.tls:
        return Check("exposure", "warn", "tasks and password cross the network unencrypted", "use rediss://")
    if facts.port == 0:
        return Check("exposure", "ok", "unix socket only")
    if facts.has_password is None or facts.bind is None:
        return Check("exposure", "unknown", HIDDEN, "see that it has a password and is not bound to every address")
    local = all(address.startswith(LOOPBACK) for address in facts.bind.split()) and bool(facts.bind)
    if facts.has_password or facts.protected_mode or local:
        return Check("exposure", "ok", "password" if facts.has_password else "only this host" if local else "protected")
    found = f"no password, bound to {facts.bind or 'every address'}: whoever reaches it can run tasks"
    return Check("exposure", "fail", found, "set requirepass or an ACL user, or bind it to 127.0.0.1")


def _rights(link: SyncLink, namespace: str, user: str) -> Check:
    missing = missing_rights(link, namespace)
    if not missing:
        return Check("rights", "ok", "scripts, keys and channels")
    return Check("rights", "fail", f"not allowed: {refused(missing)}", grant(user, missing))


def _uses(link: SyncLink, namespace: str, user: str, uses: tuple[str, str, Mapping[str, str]]) -> Check:
    """Rights that tasks do not need: each that is missing is told with what does not work without it."""
    name, whole, wanted = uses
    missing = missing_uses(link, namespace, wanted)
    if not missing:
        return Check(name, "ok", whole)
    found = "not allowed: " + "; ".join(f"{command} ({use})" for command, use in missing.items())
    advice = f"ACL SETUSER {user} {' '.join(f'+{command.lower()}' for command in missing)}"
    if "PSUBSCRIBE" in missing:
        advice += f" allchannels, or &{broadcast(namespace, '...')} for each pattern, spelled as it is listened to"
    return Check(name, "warn", found, advice)


def _show(check: Check) -> None:
    verdict = click.style(f"{check.verdict:<8}", fg=COLOURS[check.verdict])
    click.echo(f"{verdict} {check.name:<12} {check.found}")
    if check.advice:
        click.echo(f"{'':<22}-> {check.advice}")
