"""Broker URLs: what is accepted, what is refused and how, and that no password is ever shown."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.errors import ConfigError
from taskq.store.url import SCHEMES, masked, parse_url

SECRET = "s3cr3t-w0rd"


def shown_for(text: str) -> str:
    """All that a person gets to see of a URL, good or bad."""
    try:
        return f"{parse_url(text)!r} {parse_url(text)}"
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize(
    ("text", "kind", "hosts", "db", "tls"),
    [
        ("redis://cache", "tcp", (("cache", 6379),), 0, False),
        ("redis://cache:7000/3", "tcp", (("cache", 7000),), 3, False),
        ("REDIS://cache/", "tcp", (("cache", 6379),), 0, False),
        ("valkey://10.0.0.1", "tcp", (("10.0.0.1", 6379),), 0, False),
        ("rediss://cache?db=2", "tcp", (("cache", 6379),), 2, True),
        ("valkeys://cache", "tcp", (("cache", 6379),), 0, True),
        ("redis://[::1]:6380/1", "tcp", (("::1", 6380),), 1, False),
        ("redis://[fe80::1%eth0]", "tcp", (("fe80::1%eth0", 6379),), 0, False),
        ("redis+cluster://a:1,b,[::1]:2", "cluster", (("a", 1), ("b", 6379), ("::1", 2)), 0, False),
        ("rediss+cluster://a", "cluster", (("a", 6379),), 0, True),
        ("redis+sentinel://a,b:3/main/4", "sentinel", (("a", 26379), ("b", 3)), 4, False),
        ("rediss+sentinel://a/main", "sentinel", (("a", 26379),), 0, True),
    ],
)
def test_a_good_url_is_read_whole(text: str, kind: str, hosts: object, db: int, tls: bool) -> None:
    url = parse_url(text)
    assert (url.kind, url.hosts, url.db, url.tls) == (kind, hosts, db, tls)


def test_a_sentinel_url_names_its_service_and_both_passwords() -> None:
    url = parse_url("redis+sentinel://u:p@a/main?sentinel_username=su&sentinel_password=sp")
    assert (url.service, url.username, url.password) == ("main", "u", "p")
    assert dict(url.options) == {"sentinel_username": "su", "sentinel_password": "sp"}


def test_a_unix_socket_has_a_path_a_database_and_credentials() -> None:
    url = parse_url("unix://u:p@/run/my%20redis/s.sock?db=5")
    assert (url.kind, url.path, url.db, url.username, url.password) == ("unix", "/run/my redis/s.sock", 5, "u", "p")


def test_local_brokers_take_no_address() -> None:
    assert parse_url("memory://").kind == "memory"
    assert parse_url("embedded://").path == ""
    assert parse_url("embedded:///srv/my%20shop").path == "/srv/my shop"


def test_tls_options_come_as_their_types() -> None:
    url = parse_url("rediss://h?ssl_ca_certs=/etc/ca.pem&ssl_check_hostname=no&ssl_cert_reqs=none")
    assert dict(url.options) == {"ssl_ca_certs": "/etc/ca.pem", "ssl_check_hostname": False, "ssl_cert_reqs": "none"}


@pytest.mark.parametrize("place", ["before", "option"])
def test_percent_escapes_in_a_password_are_decoded_once(place: str) -> None:
    word = "p@:/?#%25 é"
    text = f"redis://:{quote(word, safe='')}@h" if place == "before" else f"redis://h?password={quote(word, safe='')}"
    assert parse_url(text).password == word


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("redis://h ", "blanks"),
        ("redis://h\nx", "control characters"),
        ("localhost:6379", "no scheme"),
        ("redis:/x", "after its scheme the // is missing"),
        ("rediss:hunter2@h", "after its scheme the // is missing"),
        ("redi://h", "did you mean redis://"),
        ("http://h", "unknown scheme 'http'"),
        ("redis://", "names no host"),
        ("redis:///0", "names no host"),
        ("redis://h:port", "port is not a number"),
        ("redis://h:0", "port 0"),
        ("redis://h:65536", "port is not a number from 0 to 65535"),
        ("redis://h:", "port is not a number"),
        ("redis://::1", "in brackets"),
        ("redis://h/x", "database is not a number"),
        ("redis://h/-1", "database is not a number"),
        ("redis://h/\u0663", "database is not a number"),
        ("redis://h/0/1", "only the number of the database"),
        ("redis://h/1?db=2", "two different databases"),
        ("redis://a,b", "more than one host"),
        ("redis://u@h", "user name without a password"),
        ("redis://u:@h", "user name without a password"),
        ("redis://h?username=u", "user name without a password"),
        ("redis://u:p@h?password=q", "given twice"),
        ("redis://:%ff@h", "not UTF-8"),
        ("redis://h#x", "# has no meaning"),
        ("redis://h?socket_timeout=1", "cannot be set in the URL"),
        ("redis://h?max_connections=1", "cannot be set in the URL"),
        ("redis://h?ssl_ca_certs=x", "needs a TLS scheme"),
        ("rediss://h?ssl_ca_cert=x", "did you mean ssl_ca_certs"),
        ("rediss://h?ssl_ca_certs=", "is empty"),
        ("rediss://h?ssl_check_hostname=maybe", "true or false"),
        ("rediss://h?ssl_cert_reqs=sometimes", "required, optional or none"),
        ("rediss://h?db=1&db=2", "given twice"),
        ("unix://", "names no socket"),
        ("unix:///", "names no socket"),
        ("unix://run/s.sock", "three slashes"),
        ("redis+cluster://h/1", "only database 0"),
        ("redis+sentinel://h", "name the service"),
        ("redis+sentinel://h/", "name the service"),
        ("redis+sentinel://h/a/1/2", "name the service"),
        ("memory://h", "no host and no options"),
        ("memory:///x", "no host and no options"),
        ("embedded://h", "no host and no options"),
        ("embedded://?db=1", "unknown option"),
    ],
)
def test_a_bad_url_is_one_clear_error(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match="broker URL") as refused:
        parse_url(text)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        f"redis://:{SECRET}@h",
        f"redis://user:{SECRET}@h:1/2",
        f"redis://:{SECRET}@@h",
        f"redis://:x?{SECRET}@h",
        f"redis://:x/{SECRET}@h",
        f"redis://:x#{SECRET}@h",
        f"redis://{SECRET}@h",
        f"redis://h:{SECRET}",
        f"redis://:{SECRET}",
        f"redis://h?password={SECRET}",
        f"redis://h?PASSWORD={SECRET}",
        f"rediss://h?ssl_password={SECRET}",
        f"redis+sentinel://h/s?sentinel_password={SECRET}",
        f"wrong://u:{SECRET}@h",
        f"u:{SECRET}@h:6379",
        f"unix://:{SECRET}@/s.sock",
        f" redis://:{SECRET}@h",
        f"user:{SECRET}@h://x",
    ],
)
def test_no_password_is_shown_by_a_url_or_its_error(text: str) -> None:
    assert SECRET not in shown_for(text)
    assert SECRET not in masked(text)


def test_masking_keeps_what_helps() -> None:
    assert masked("redis://user:pw@h:6379/0") == "redis://user:***@h:6379/0"
    assert masked("redis://h:6379/0") == "redis://h:6379/0"
    assert masked("redis+cluster://a:1,b:2") == "redis+cluster://a:1,b:2"
    assert masked("redis://[::1]:6379") == "redis://[::1]:6379"


@given(scheme=st.sampled_from([*SCHEMES]), filler=st.text(max_size=20), tail=st.text(max_size=20))
def test_whatever_stands_around_a_password_it_is_never_shown(scheme: str, filler: str, tail: str) -> None:
    text = f"{scheme}://user:{filler}{SECRET}{tail.replace('@', '')}@host/0"
    assert SECRET not in masked(text)
    assert SECRET not in shown_for(text)


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_a_config_error(text: str) -> None:
    for candidate in (text, f"redis://{text}", f"unix://{text}", f"redis+sentinel://{text}"):
        try:
            url = parse_url(candidate)
        except ConfigError:
            continue
        assert url.kind in {kind for kind, _ in SCHEMES.values()}
