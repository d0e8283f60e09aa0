"""What error replies of every server version become."""

from __future__ import annotations

import pytest

from taskq.errors import BrokerError, BrokerFull, BrokerRefused, BrokerUnavailable, NoScript
from taskq.store.connection import translate
from taskq.store.refusals import refusal


def test_silence_may_mean_that_there_is_no_tls() -> None:
    for url, told in (("rediss://h", True), ("valkeys+cluster://h", True), ("redis://h", False)):
        assert ("or speak no TLS on that port" in str(translate(TimeoutError(), url))) is told


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        ("NOSCRIPT", "No matching script. Please use EVAL.", NoScript),
        ("OOM", "command not allowed when used memory > 'maxmemory'.", BrokerFull),
        (None, "OOM command not allowed when used memory > 'maxmemory'. script: ab, on @user_script:1.", BrokerFull),
        # Redis 6.2 wraps what went wrong inside a script.
        (None, "ERR Error running script (call to f_ab): @user_script:1: -OOM command not allowed", BrokerFull),
        (None, "ERR Error running script (call to f_ab): @user_script: 1: WRONGTYPE Operation against", BrokerRefused),
        ("LOADING", "Redis is loading the dataset in memory", BrokerUnavailable),
        (None, "BUSY Redis is busy running a script.", BrokerUnavailable),
        (None, "MISCONF Redis is configured to save RDB snapshots", BrokerUnavailable),
        ("MASTERDOWN", "Link with MASTER is down", BrokerUnavailable),
        (None, "NOREPLICAS Not enough good replicas to write.", BrokerUnavailable),
        ("READONLY", "You can't write against a read only replica.", BrokerUnavailable),
        ("CLUSTERDOWN", "Hash slot not served", BrokerUnavailable),
        ("TRYAGAIN", "Multiple keys request during rehashing of slot", BrokerUnavailable),
        ("ERR", "max number of clients reached", BrokerUnavailable),
        ("NOAUTH", "Authentication required.", BrokerRefused),
        ("WRONGPASS", "invalid username-password pair", BrokerRefused),
        ("NOPERM", "this user has no permissions to run the 'hset' command", BrokerRefused),
        (None, "ERR The user executing the script can't run this command or subcommand", BrokerRefused),
        (None, "WRONGTYPE Operation against a key holding the wrong kind of value", BrokerRefused),
        (None, "ERR unknown command 'XAUTOCLAIM', with args beginning with:", BrokerRefused),
        ("CROSSSLOT", "Keys in request don't hash to the same slot", BrokerRefused),
        (None, "ERR syntax error", BrokerError),
        (None, "ERR value of OOMPH is not a BUSYNESS", BrokerError),
    ],
)
def test_each_reply_has_its_error(code: str | None, text: str, kind: type[BrokerError]) -> None:
    error = refusal(code, text, "redis://h")
    assert type(error) is kind
    assert "redis://h" in str(error)
    assert text in str(error)
