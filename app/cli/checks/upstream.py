"""Anthropic: is there a credential, and how far does a request get: name, connection, TLS, first byte.

By hand, over ``socket`` and ``ssl``, so that each step has its own time and its own advice; with the proxy and the
certificates that the gateway itself would use. The request is ``GET /v1/models``: authenticated, and free of charge.
"""

from __future__ import annotations

import base64
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
from msgspec import Struct

from app.cli.checks.finding import Finding, in_ms, timed
from app.config import Config, SettingError
from app.upstream import route

#: Sent with the request; Anthropic refuses a call without it.
_API_VERSION = "2023-06-01"

_NETWORK_ADVICE = "Check the network, ANTHROPIC_BASE_URL and the proxy settings."

_TIMEOUT_S = 15.0


class _Step(Exception):
    """A step that failed; the finding says how."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.detail)
        self.finding = finding


class _Credential(Struct, frozen=True):
    """What a request authenticates with.

    Args:
        name: where it was set, for a finding.
        header: the line that is sent; must not be shown.
    """

    name: str
    header: str


class _Target(Struct, frozen=True):
    """Where the request goes, and the first hop on the way."""

    url: SplitResult
    proxy: SplitResult | None
    timeout_s: float

    @property
    def hop(self) -> tuple[str, int]:
        """What is connected to."""
        return _address(self.proxy or self.url)


def check_credential(config: Config) -> Finding:
    """Whether the gateway can authenticate to Anthropic; its value is not judged here."""
    if config.mock:
        return Finding.skip("credential", "not needed with --mock")
    match _credentials(config):
        case [only]:
            return Finding.ok("credential", f"{only.name} is set")
        case [_, *_] as several:
            return Finding.ok("credential", f"{len(several)} API keys are set")
    return Finding.fail("credential", "none", "Set ANTHROPIC_API_KEY, or use --mock to work without one.")


def check_upstream(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """The way to Anthropic, step by step, and its answer to each credential; ends with the first step that fails."""
    if config.mock:
        yield Finding.skip("upstream", "not used with --mock")
        return
    try:
        base = route.base_url(config.anthropic_base_url)
        proxy = route.proxy_url(base, config.upstream_proxy, environ)
        context = route.trusted_certificates(config.upstream_ca_bundle, environ)
    except SettingError as exc:
        yield Finding.fail("upstream", str(exc), "Correct the variable.")
        return
    target = _Target(urlsplit(base), urlsplit(proxy) if proxy else None, _TIMEOUT_S)
    credentials: list[_Credential | None] = [*_credentials(config)] or [None]
    first, *further = credentials
    try:
        yield from _try(target, context, first)
        for number, credential in enumerate(further, 2):
            *_, answer = _try(target, context, credential)
            yield msgspec.structs.replace(answer, name=f"{answer.name} {number}")
    except _Step as step:
        yield step.finding


def _try(target: _Target, context: ssl.SSLContext, credential: _Credential | None) -> Iterator[Finding]:
    """One request over a connection of its own; the last finding is about the answer.

    Raises:
        _Step: a step before it failed.
    """
    address, finding = _resolve(target)
    yield finding
    connection, finding = _connect(target, address)
    yield finding
    with connection:
        if target.url.scheme == "https":
            connection, finding = _secure(target, connection, context)
            yield finding
        with connection:
            yield _ask(target, connection, credential)


def _credentials(config: Config) -> list[_Credential]:
    """Everything that the gateway may authenticate with; its keys, each once, or else its token."""
    names = {config.anthropic_api_key: "ANTHROPIC_API_KEY"}
    for number, key in enumerate(config.anthropic_api_keys, 1):
        names.setdefault(key, f"key {number} of CLAUDE_WRAPPER_ANTHROPIC_API_KEYS")
    found = [_Credential(names[key], f"x-api-key: {key}") for key in config.anthropic_keys]
    if not found and config.anthropic_auth_token:
        found.append(_Credential("ANTHROPIC_AUTH_TOKEN", f"Authorization: Bearer {config.anthropic_auth_token}"))
    return found


def _resolve(target: _Target) -> tuple[tuple[str, int], Finding]:
    host, port = target.hop
    via = "the proxy " if target.proxy else ""
    try:
        found, took = timed(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        advice = "Check the name and this machine's DNS." if not target.proxy else "Check the proxy settings."
        raise _Step(Finding.fail("upstream dns", f"{via}{host} cannot be resolved", advice)) from None
    addresses = {entry[4][0] for entry in found}
    detail = f"{via}{host} in {took}" + (f", {len(addresses)} addresses" if len(addresses) > 1 else "")
    return (host, port), Finding.ok("upstream dns", detail)


def _connect(target: _Target, address: tuple[str, int]) -> tuple[socket.socket, Finding]:
    where = f"{address[0]}:{address[1]}"
    try:
        connection, took = timed(lambda: socket.create_connection(address, timeout=target.timeout_s))
        if target.proxy is not None:
            where += " (proxy)"
            try:
                _open_tunnel(target, connection)
            except OSError:
                connection.close()
                raise
    except OSError as exc:
        detail = f"no connection to {where}: {exc.strerror or exc}"
        raise _Step(Finding.fail("upstream tcp", detail, _NETWORK_ADVICE)) from None
    return connection, Finding.ok("upstream tcp", f"{where} in {took}")


def _open_tunnel(target: _Target, connection: socket.socket) -> None:
    """Asks the proxy for a way through; a request over plain HTTP would go to the proxy itself, but so few do."""
    assert target.proxy is not None  # noqa: S101 - asked by the caller
    host, port = _address(target.url)
    lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
    if target.proxy.username is not None:
        who = f"{unquote(target.proxy.username)}:{unquote(target.proxy.password or '')}"
        lines.append("Proxy-Authorization: Basic " + base64.b64encode(who.encode()).decode())
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = connection.recv(4096)
        if not chunk:
            break
        head += chunk
    status = head.split(b" ")[1:2]
    if status != [b"200"]:
        raise OSError(f"the proxy answered {status[0].decode(errors='replace') if status else 'nothing'}")


def _secure(target: _Target, connection: socket.socket, context: ssl.SSLContext) -> tuple[ssl.SSLSocket, Finding]:
    host = target.url.hostname or ""
    try:
        secured, took = timed(lambda: context.wrap_socket(connection, server_hostname=host))
    except ssl.SSLCertVerificationError as exc:
        detail = f"the certificate of {host} is not trusted: {exc.verify_message}"
        advice = (
            "Behind a proxy that inspects TLS, set CLAUDE_WRAPPER_UPSTREAM_CA_BUNDLE to its CA; else check the clock."
        )
        raise _Step(Finding.fail("upstream tls", detail, advice)) from None
    except OSError as exc:
        detail = f"no TLS with {host}: {exc.strerror or exc}"
        raise _Step(Finding.fail("upstream tls", detail, _NETWORK_ADVICE)) from None
    return secured, Finding.ok("upstream tls", f"{secured.version()} in {took}")


def _ask(target: _Target, connection: socket.socket, credential: _Credential | None) -> Finding:
    host, port = _address(target.url)
    lines = [
        f"GET {target.url.path}/v1/models?limit=1 HTTP/1.1",
        f"Host: {host}:{port}" if target.url.port else f"Host: {host}",
        f"anthropic-version: {_API_VERSION}",
        "Connection: close",
    ]
    if credential is not None:
        lines.append(credential.header)
    started = time.perf_counter()
    try:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        first = connection.recv(4096)
    except OSError as exc:
        return Finding.fail("upstream answer", f"none: {exc.strerror or exc}", _NETWORK_ADVICE)
    status = first.split(b" ")[1:2] if first.startswith(b"HTTP/1.") else []
    if not status or not status[0].isdigit():
        return Finding.fail("upstream answer", "not HTTP", "Check ANTHROPIC_BASE_URL.")
    return _judge(int(status[0]), f"{int(status[0])}, first byte in {in_ms(time.perf_counter() - started)}", credential)


def _judge(status: int, detail: str, credential: _Credential | None) -> Finding:
    name = "upstream answer"
    if status in (401, 403):
        if credential is None:
            return Finding.skip(name, f"{detail}: it answers, and wants a credential")
        advice = f"Check {credential.name}: is it whole, and not revoked?"
        return Finding.fail(name, f"{detail}: the credential is refused", advice)
    if status == 404:
        return Finding.ok(name, f"{detail}: it answers, but lists no models")
    if status == 429:
        return Finding.ok(name, f"{detail}: the credential is good, its rate limit is used up")
    if status >= 500:
        return Finding.fail(name, detail, "Anthropic has trouble; see its status page, and try again later.")
    if status >= 300:
        return Finding.fail(name, detail, "Check ANTHROPIC_BASE_URL: this is not how Anthropic's API answers.")
    return Finding.ok(name, detail)


def _address(url: SplitResult) -> tuple[str, int]:
    return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
