"""The address of the state store, from its URL.

``redis://[user:password@]host[:port][/database]``, ``rediss://`` the same over TLS, ``unix://[user:password@]/path``
(``?db=N``). TLS takes ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile`` (paths), ``ssl_cert_reqs`` (``required`` or
``none``) and ``ssl_check_hostname`` as query parameters, by the names redis-py gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from msgspec import Struct

from app.config import SettingError

VARIABLE = "CLAUDE_WRAPPER_REDIS_URL"

_ACCEPTED = "redis://, rediss://, unix://, memory:// or auto"
_LATER = {"redis+sentinel": "Redis Sentinel", "rediss+sentinel": "Redis Sentinel", "redis+cluster": "Redis Cluster"}
_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})


class TlsOptions(Struct, frozen=True, kw_only=True):
    """How the server proves itself, and we to it; paths are files in PEM."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    check_hostname: bool = True


class Address(Struct, frozen=True, kw_only=True):
    """Where the server is and who we are to it. ``unix_path`` excludes ``host`` and ``port``."""

    host: str = "localhost"
    port: int = 6379
    unix_path: str | None = None
    username: str | None = None
    password: str | None = None
    database: int = 0
    tls: TlsOptions | None = None

    @property
    def place(self) -> str:
        """Where it is, without who we are: for logs."""
        return self.unix_path or f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        """Without the password: an address ends up in logs and in failed tests."""
        return f"Address({self.place!r}, database={self.database}, tls={self.tls is not None})"


def scheme_of(url: str) -> str:
    """The scheme, lower-case; empty when there is none."""
    return url.partition("://")[0].lower() if "://" in url else ""


def parse_address(url: str) -> Address:
    """The address in a URL.

    Raises:
        SettingError: the URL is not accepted; the text does not repeat it, as it may hold a password.
    """
    scheme = scheme_of(url)
    if scheme in _LATER:
        raise SettingError(f"{VARIABLE}: {_LATER[scheme]} ({scheme}://) is not built yet; name one server by redis://.")
    if scheme not in {"redis", "rediss", "unix"}:
        raise SettingError(f"{VARIABLE}: the given URL is not accepted; it takes {_ACCEPTED}.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SettingError(f"{VARIABLE}: host or port of the URL cannot be read.") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    address = _unix(parts, options) if scheme == "unix" else _tcp(parts, port, options)
    if options:
        raise SettingError(f"{VARIABLE}: the URL's parameter {min(options)!r} is not known.")
    return address


def _unix(parts: SplitResult, options: dict[str, str]) -> Address:
    if parts.hostname or not parts.path:
        raise SettingError(f"{VARIABLE}: a unix:// URL needs an absolute path, as in unix:///run/redis.sock.")
    return Address(
        unix_path=unquote(parts.path),
        username=_username(parts),
        password=_password(parts) or options.pop("password", None),
        database=_database(options.pop("db", "0")),
    )


def _tcp(parts: SplitResult, port: int | None, options: dict[str, str]) -> Address:
    database = parts.path.strip("/") or options.pop("db", "0")
    tls_options = (
        {name: options.pop(name) for name in _TLS_OPTIONS & options.keys()} if parts.scheme == "rediss" else {}
    )
    return Address(
        host=parts.hostname or "localhost",
        port=port or 6379,
        username=_username(parts),
        password=_password(parts) or options.pop("password", None),
        database=_database(database),
        tls=_tls(tls_options) if parts.scheme == "rediss" else None,
    )


def _tls(options: Mapping[str, str]) -> TlsOptions:
    requirement = options.get("ssl_cert_reqs", "required")
    if requirement not in {"required", "none"}:
        raise SettingError(f"{VARIABLE}: ssl_cert_reqs takes required or none.")
    hostname = options.get("ssl_check_hostname", "true").lower()
    if hostname not in {"true", "false"}:
        raise SettingError(f"{VARIABLE}: ssl_check_hostname takes true or false.")
    return TlsOptions(
        ca_file=options.get("ssl_ca_certs"),
        cert_file=options.get("ssl_certfile"),
        key_file=options.get("ssl_keyfile"),
        verify=requirement == "required",
        check_hostname=requirement == "required" and hostname == "true",
    )


def _username(parts: SplitResult) -> str | None:
    return unquote(parts.username) if parts.username else None


def _password(parts: SplitResult) -> str | None:
    return unquote(parts.password) if parts.password else None


def _database(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise SettingError(f"{VARIABLE}: the database must be a whole number, as in redis://host:6379/0.")
    return int(text)
