"""Broker URLs: parsed once, checked at once, and never shown with their password.

redis://[user:password@]host[:port][/db]        TCP; `valkey://` is the same, `rediss://` and `valkeys://` use TLS
unix://[user:password@]/path/to.sock[?db=1]     unix socket
redis+cluster://host:port[,host:port...]        Redis or Valkey Cluster; `rediss+cluster://` uses TLS
redis+sentinel://host:port[,...]/service[/db]   Sentinel; `rediss+sentinel://` uses TLS to sentinels and servers
embedded://[/project/root]                      the project's own server, started if need be
memory://                                       in this process, for tests
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NoReturn
from urllib.parse import parse_qsl, unquote

from taskq.errors import ConfigError
from taskq.names import shown

Kind = Literal["tcp", "unix", "cluster", "sentinel", "embedded", "memory"]

SCHEMES: Mapping[str, tuple[Kind, bool]] = MappingProxyType(
    {
        "redis": ("tcp", False),
        "rediss": ("tcp", True),
        "valkey": ("tcp", False),
        "valkeys": ("tcp", True),
        "unix": ("unix", False),
        "redis+cluster": ("cluster", False),
        "rediss+cluster": ("cluster", True),
        "valkey+cluster": ("cluster", False),
        "valkeys+cluster": ("cluster", True),
        "redis+sentinel": ("sentinel", False),
        "rediss+sentinel": ("sentinel", True),
        "valkey+sentinel": ("sentinel", False),
        "valkeys+sentinel": ("sentinel", True),
        "embedded": ("embedded", False),
        "memory": ("memory", False),
    }
)

TLS_TEXT_OPTIONS = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password")
TLS_OPTIONS = (*TLS_TEXT_OPTIONS, "ssl_cert_reqs", "ssl_check_hostname")
CREDENTIALS = ("username", "password")
SENTINEL_CREDENTIALS = ("sentinel_username", "sentinel_password")

_EXAMPLE = "write it like redis://:password@host:6379/0 (special characters in a password percent-encoded)"
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<name>[\w.-]+))(?::(?P<port>[^:]*))?", re.ASCII)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*", re.ASCII | re.IGNORECASE)
_SECRET_OPTION = re.compile(r"([?&](?:sentinel_|ssl_)?password=)[^&]*", re.IGNORECASE)
_ODD_PORT = re.compile(r"^([^\[\]:/?]*:)(?!\d+(?:[/?,]|$))[^/?@]+")


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """One broker address, checked. `text` is what the user gave; show `masked` to people instead."""

    kind: Kind
    text: str = field(repr=False)
    masked: str
    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    service: str = ""
    options: Mapping[str, str | bool] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.masked


def masked(url: str) -> str:
    """Return `url` without its secrets, whether or not it is a valid URL."""
    scheme, separator, rest = url.partition("://")
    if not _SCHEME.fullmatch(scheme) or not separator:
        scheme, separator, rest = "", "", url
    # The last @ of all: a password may hold an unencoded @, ? or /, and hiding too much is the safe side.
    credentials, at, address = rest.rpartition("@")
    if at:
        user, colon, _ = credentials.partition(":")
        address = f"{user}:***@{address}" if colon else f"***@{address}"
    else:
        address = _ODD_PORT.sub(r"\1***", rest)
    return scheme + separator + _SECRET_OPTION.sub(r"\1***", address)


def parse_url(text: str) -> BrokerUrl:
    """Parse a broker URL; anything that cannot be meant raises `ConfigError`, with the password masked."""
    if not isinstance(text, str):
        raise ConfigError(f"broker URL {shown(text)}: it is no text; {_EXAMPLE}")
    return _Parser(text).parse()


class _Parser:
    """Takes one URL apart, step by step, so that every refusal can name the same masked text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.shown = masked(text)
        self.kind: Kind = "tcp"

    def fail(self, why: str) -> NoReturn:
        raise ConfigError(f"broker URL {self.shown!r}: {why}")

    def parse(self) -> BrokerUrl:
        if not self.text or any(char.isspace() or not char.isprintable() for char in self.text):
            self.fail(f"it is empty or holds blanks or control characters; {_EXAMPLE}")
        scheme, separator, rest = self.text.partition("://")
        if not separator and self.text.partition(":")[0].lower() in SCHEMES:
            self.fail(f"after its scheme the // is missing; {_EXAMPLE}")
        if not separator or scheme.lower() not in SCHEMES:
            self.refuse_scheme(scheme if separator and _SCHEME.fullmatch(scheme) else "")
        self.kind, tls = SCHEMES[scheme.lower()]
        if "#" in rest:
            self.fail(f"a # has no meaning here; {_EXAMPLE}")
        body, _, query = rest.partition("?")
        if "@" in query:
            self.fail(f"an @ after the ? is part of a password, it seems; {_EXAMPLE}")
        options = self.options_of(query, tls)
        authority, slash, path = body.partition("/")
        if self.kind in ("memory", "embedded"):
            return self.local(authority, slash + path, options)
        username, password, address = self.credentials_of(authority, options)
        if self.kind == "unix":
            hosts: tuple[tuple[str, int], ...] = ()
            socket_path, service, db = self.unix_path(address, slash + path), "", ""
        else:
            hosts = self.hosts_of(address)
            socket_path = ""
            service, db = self.service_and_db(path)
        number = self.number_of(db, options)
        return BrokerUrl(
            self.kind,
            self.text,
            self.shown,
            tls=tls,
            hosts=hosts,
            path=socket_path,
            db=number,
            username=username,
            password=password,
            service=service,
            options=MappingProxyType(options),
        )

    def refuse_scheme(self, scheme: str) -> NoReturn:
        close = difflib.get_close_matches(scheme.lower(), SCHEMES, n=1)
        hint = f"did you mean {close[0]}://?" if close else f"known are {', '.join(f'{name}://' for name in SCHEMES)}"
        self.fail(f"unknown scheme {scheme!r}; {hint}" if scheme else f"it has no scheme; {_EXAMPLE}")

    def options_of(self, query: str, tls: bool) -> dict[str, str | bool]:
        allowed = ["db", *CREDENTIALS] if self.kind not in ("memory", "embedded") else []
        allowed += TLS_OPTIONS if tls else ()
        allowed += SENTINEL_CREDENTIALS if self.kind == "sentinel" else ()
        found: dict[str, str | bool] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name not in allowed:
                self.refuse_option(name, tls, allowed)
            if name in found:
                self.fail(f"the option {name} is given twice")
            found[name] = self.option_value(name, value)
        return found

    def refuse_option(self, name: str, tls: bool, allowed: list[str]) -> NoReturn:
        if name in TLS_OPTIONS and not tls:
            self.fail(f"the option {name} needs a TLS scheme, such as rediss://")
        if "timeout" in name or "retry" in name or name == "max_connections":
            self.fail(f"{name} cannot be set in the URL: taskq sets time limits, retries and pools itself")
        close = difflib.get_close_matches(name, allowed, n=1)
        self.fail(f"unknown option {name!r}" + (f"; did you mean {close[0]}?" if close else ""))

    def option_value(self, name: str, value: str) -> str | bool:
        if name == "ssl_check_hostname":
            if value.lower() not in ("true", "false", "yes", "no", "1", "0"):
                self.fail("ssl_check_hostname is true or false")
            return value.lower() in ("true", "yes", "1")
        if name == "ssl_cert_reqs" and value not in ("required", "optional", "none"):
            self.fail("ssl_cert_reqs is required, optional or none")
        if not value:
            self.fail(f"the option {name} is empty")
        return value

    def local(self, authority: str, path: str, options: Mapping[str, str | bool]) -> BrokerUrl:
        if authority or options or (self.kind == "memory" and path not in ("", "/")):
            usage = "memory://" if self.kind == "memory" else "embedded:// or embedded:///path/of/the/project"
            self.fail(f"it takes no host and no options; write {usage}")
        root = self.decode(path) if path != "/" else ""
        return BrokerUrl(self.kind, self.text, self.shown, path=root)

    def credentials_of(self, authority: str, options: dict[str, str | bool]) -> tuple[str | None, str | None, str]:
        pair, at, address = authority.rpartition("@")
        user, colon, secret = pair.partition(":")
        if at and not (colon and secret):
            self.fail("a user name without a password; write redis://:password@host or redis://user:password@host")
        if at and any(name in options for name in CREDENTIALS):
            self.fail("credentials are given twice, before the @ and as options")
        username = self.decode(user) if at else options.pop("username", None)
        password = self.decode(secret) if at else options.pop("password", None)
        if username and not password:
            self.fail("a user name without a password")
        return (str(username) if username else None), (str(password) if password else None), address

    def decode(self, text: str) -> str:
        try:
            return unquote(text, errors="strict")
        except UnicodeDecodeError:
            self.fail("its percent-escapes are not UTF-8")

    def unix_path(self, address: str, path: str) -> str:
        if address:
            self.fail("a unix socket has no host; write unix:///path/to.sock, with three slashes")
        decoded = self.decode(path)
        if decoded.rstrip("/") == "" or decoded.endswith("/"):
            self.fail("it names no socket; write unix:///path/to.sock")
        return decoded

    def hosts_of(self, address: str) -> tuple[tuple[str, int], ...]:
        if not address:
            self.fail(f"it names no host; {_EXAMPLE}")
        parts = address.split(",")
        if self.kind == "tcp" and len(parts) > 1:
            self.fail("more than one host; use redis+cluster:// or redis+sentinel://")
        return tuple(self.host_of(part) for part in parts)

    def host_of(self, part: str) -> tuple[str, int]:
        found = _HOST.fullmatch(part)
        if found is None:
            why = "put an IPv6 address in brackets, like [::1]:6379" if part.count(":") > 1 else _EXAMPLE
            self.fail(f"its host cannot be read; {why}")
        port = found["port"]
        number = (26379 if self.kind == "sentinel" else 6379) if port is None else self.whole(port, "port", 65535)
        if number == 0:
            self.fail("port 0 cannot be connected to")
        return found["v6"] or found["name"], number

    def service_and_db(self, path: str) -> tuple[str, str]:
        parts = path.split("/") if path else []
        if self.kind == "sentinel":
            if not parts or not parts[0] or len(parts) > 2:
                self.fail("name the service: redis+sentinel://host:26379/service or .../service/db")
            return self.decode(parts[0]), parts[1] if len(parts) > 1 else ""
        if len(parts) > 1:
            self.fail("after the host comes only the number of the database, like /0")
        return "", parts[0] if parts else ""

    def number_of(self, db: str, options: dict[str, str | bool]) -> int:
        option = str(options.pop("db", ""))
        if db and option and db != option:
            self.fail("two different databases, in the path and as an option")
        number = self.whole(db or option or "0", "database", 2**31 - 1)
        if number and self.kind == "cluster":
            self.fail("a cluster has only database 0")
        return number

    def whole(self, text: str, what: str, limit: int) -> int:
        # The text itself is not shown: after a mistyped @ it can be part of a password.
        if not (text.isascii() and text.isdigit()) or int(text) > limit:
            self.fail(f"its {what} is not a number from 0 to {limit}")
        return int(text)
