"""`taskq doctor`: what it finds, and that what it advises helps."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from taskq.settings import BrokerChoice
from taskq.store.binaries import find_server
from taskq_workers.commands.doctor import examine
from taskq_workers.commands.rights import ARGUMENTS, script_commands
from tests.runtime import shell as shells
from tests.runtime.shell import Shell
from tests.servers import MODERN, RealServer, free_port

shell = shells.shell

KEPT = ("on", ">pw", "~taskq:*", "resetchannels", "&taskq:*")
"""How a user begins who is kept to taskq. Before Redis 7 he has all channels, beside which no pattern may stand."""


def verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    return {check["name"]: check["verdict"] for check in checks}


def test_the_doctor_finds_nothing_wrong_with_the_embedded_server(shell: Shell) -> None:
    shell("server", "start")
    done = shell("doctor", "--json")
    assert done.returncode == 0
    found = verdicts(done)
    if find_server().version < MODERN:
        assert found.pop("server") == "warn", "topics need a newer one"
    assert set(found.values()) == {"ok"}, done.stdout
    assert "ok" in shell("doctor").stdout


def test_the_doctor_fails_what_loses_tasks(shell: Shell, start_server: Callable[..., RealServer]) -> None:
    server = start_server(maxmemory="64mb", config={"maxmemory-policy": "allkeys-lru", "protected-mode": "no"})
    with server.client() as client:
        client.config_set("bind", "127.0.0.1 -::*")
    done = shell.typed("doctor", "--json", "--url", server.tcp_url)
    assert done.returncode == 6
    found = verdicts(done)
    assert (found["eviction"], found["persistence"], found["exposure"]) == ("fail", "warn", "fail")
    assert (found["memory"], found["clock"], found["rights"]) == ("ok", "ok", "ok")
    assert found["server"] == ("ok" if server.binary.version >= MODERN else "warn"), "topics need a newer one"


def test_the_doctor_names_missing_rights_and_what_it_could_not_see(
    shell: Shell, start_server: Callable[..., RealServer]
) -> None:
    server = start_server()
    with server.client() as client:
        rules = ["+@all", "-@dangerous", "-@admin", "-evalsha", "-zadd", "-subscribe"]
        client.execute_command("ACL", "SETUSER", "low", *KEPT, *rules)
    done = shell.typed("doctor", "--url", f"redis://low:pw@127.0.0.1:{server.port}")
    assert done.returncode == 6
    assert "not allowed: EVALSHA ZADD SUBSCRIBE" in done.stdout
    assert "-> ACL SETUSER low +evalsha +zadd +subscribe\n" in done.stdout
    assert "unknown  eviction" in done.stdout
    with server.client() as client:
        assert client.dbsize() == 0


@pytest.mark.each_server
@pytest.mark.parametrize(
    ("rules", "found", "advice"),
    [
        ("allkeys allchannels +@all -zadd", "ZADD", "+zadd"),
        ("~taskq:* resetchannels +@all -zadd", "ZADD, channels taskq:*", "+zadd &taskq:*"),
        ("~taskq:* resetchannels &taskq:* +@all -subscribe", "SUBSCRIBE", "+subscribe"),
        ("~other:* allchannels +@all", "keys taskq:*", "~taskq:*"),
        ("~other:* resetchannels +@all -script", "SCRIPT, keys taskq:*, channels taskq:*", "+script ~taskq:* &taskq:*"),
    ],
)
def test_what_the_doctor_advises_can_be_typed_and_is_enough(
    start_server: Callable[..., RealServer], rules: str, found: str, advice: str
) -> None:
    server = start_server()
    choice = BrokerChoice(f"redis://low:pw@127.0.0.1:{server.port}", "the test")

    def rights() -> tuple[str, str, str]:
        (check,) = (check for check in examine(choice, "ns", 2) if check.name == "rights")
        return check.verdict, check.found, check.advice

    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "low", "reset", "on", ">pw", *rules.split())
        assert rights() == ("fail", f"not allowed: {found}", f"ACL SETUSER low {advice}")
        client.execute_command(*rights()[2].split())
        assert rights() == ("ok", "scripts, keys and channels", "")
        assert client.dbsize() == 0


def test_the_doctor_cannot_examine_who_is_not_there(shell: Shell) -> None:
    done = shell.typed("doctor", "--json", "--url", f"redis://:hush@127.0.0.1:{free_port()}")
    assert done.returncode == 3
    assert verdicts(done) == {"broker": "ok", "reachable": "fail"}
    assert "hush" not in done.stdout


def test_the_doctor_knows_a_full_server_and_a_replica(start_server: Callable[..., RealServer]) -> None:
    server = start_server(maxmemory="1")
    found = {check.name: check.verdict for check in examine(BrokerChoice(server.url, "the test"), "ns", 2)}
    assert (found["memory"], found["rights"]) == ("fail", "ok")
    with server.client() as client:
        client.replicaof("127.0.0.1", free_port())
    found = {check.name: check.verdict for check in examine(BrokerChoice(server.url, "the test"), "ns", 2)}
    assert found["role"] == "fail"


def test_the_doctor_tries_what_stream_queues_need(shell: Shell, start_server: Callable[..., RealServer]) -> None:
    server = start_server()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "low", *KEPT, "+@all", "-@stream")
    done = shell.typed("doctor", "--url", f"redis://low:pw@127.0.0.1:{server.port}")
    names = "XACK XADD XCLAIM XDEL XGROUP XINFO XLEN XPENDING XRANGE XREADGROUP XREVRANGE XSETID XTRIM"
    assert f"not allowed: {names}" in done.stdout
    with server.client() as client:
        assert client.dbsize() == 0


def test_the_doctor_tells_what_dashboards_readers_and_broadcasts_will_miss(
    shell: Shell, start_server: Callable[..., RealServer]
) -> None:
    """Each right by itself: tasks run without it, so it is a warning that says what does not work."""
    server = start_server()
    told = {
        "info": ("watching", "INFO (dashboards and metrics know no memory"),
        "xread": ("topics", "XREAD (ordered groups read no records)"),
        "psubscribe": ("topics", "PSUBSCRIBE (broadcasts to a pattern are not heard)"),
    }
    with server.client() as client:
        for command, (name, found) in told.items():
            rules = ["reset", "on", ">pw", "~taskq:*", "allchannels", "+@all", f"-{command}"]
            client.execute_command("ACL", "SETUSER", "low", *rules)
            done = shell("doctor", "--json", "--url", f"redis://low:pw@127.0.0.1:{server.port}")
            checks = {check["name"]: check for check in map(json.loads, done.stdout.splitlines())}
            assert done.returncode in (0, 6)
            assert checks[name]["verdict"] == "warn", checks
            assert found in checks[name]["found"]
            assert f"ACL SETUSER low +{command}" in checks[name]["advice"]
            others = {"watching", "topics"} - {name}
            assert [checks[other]["verdict"] for other in others] == ["ok"]
            assert checks["rights"]["verdict"] == "ok", checks["rights"]
        assert client.dbsize() == 0


def test_the_doctor_knows_that_patterns_of_channels_are_allowed_by_their_spelling(
    shell: Shell, start_server: Callable[..., RealServer]
) -> None:
    server = start_server()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "low", *KEPT, "+@all")
    done = shell("doctor", "--namespace", "shop", "--url", f"redis://low:pw@127.0.0.1:{server.port}")
    assert done.returncode == 0
    assert "PSUBSCRIBE (broadcasts to a pattern are not heard)" in done.stdout
    assert "allchannels, or &taskq:{shop}:broadcast:..." in done.stdout
    assert "SUBSCRIBE (broadcasts are not heard)" not in done.stdout


def test_every_command_of_every_script_is_tried() -> None:
    untried = script_commands() - ARGUMENTS.keys() - {"PUBLISH"}
    assert not untried, "give these harmless arguments in taskq_workers/commands/rights.py"
