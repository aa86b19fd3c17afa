"""The network between the gateway and Anthropic: base URL, proxy, trusted certificates and the credential.

Worked out once, when a lane is opened, from the settings and the environment that is passed in; a mistake is said then,
with the name of the variable, and not with every request. No connection is made here.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import certifi

from app.config import SettingError
from app.upstream.settings import LaneSettings


class Route(NamedTuple):
    """Where calls go, through what, and as whom; ``proxy``, ``key`` and ``token`` must not be shown."""

    url: str
    proxy: str | None
    tls: ssl.SSLContext | None
    key: str
    token: str


def find_route(settings: LaneSettings) -> Route:
    """The route that the settings describe.

    Raises:
        SettingError: a setting makes no sense; names the variable.
    """
    url = base_url(settings.base_url)
    return Route(
        url=url,
        proxy=proxy_url(url, settings.proxy, settings.environ),
        tls=trusted_certificates(settings.ca_bundle, settings.environ) if url.startswith("https:") else None,
        key=credential("ANTHROPIC_API_KEY", settings.api_key),
        token=credential("ANTHROPIC_AUTH_TOKEN", settings.auth_token),
    )


def credential(name: str, text: str) -> str:
    """A key or token as it may stand in a header; empty when there is none.

    Args:
        name: the variable, for the message; the value is never shown.
        text: what was configured; space around it is a slip of copying.

    Raises:
        SettingError: it holds characters that no credential has.
    """
    value = text.strip()
    if value and not (value.isascii() and value.isprintable() and " " not in value):
        raise SettingError(f"{name}: holds characters that no credential has; copy it again.")
    return value


def base_url(text: str) -> str:
    """``ANTHROPIC_BASE_URL`` without a slash at its end; may have a path.

    Raises:
        SettingError: it is no http or https URL, or carries a user, a query or a fragment.
    """
    parts = _split("ANTHROPIC_BASE_URL", text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError("ANTHROPIC_BASE_URL: takes a URL such as https://api.anthropic.com.")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise SettingError("ANTHROPIC_BASE_URL: takes a URL without user, query or fragment.")
    return text.strip().rstrip("/")


def proxy_url(target: str, setting: str, environ: Mapping[str, str]) -> str | None:
    """The proxy for a URL: the setting, else what ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` say.

    The lower-case names win, as they do for curl. The result may hold a password and must not be shown.

    Args:
        target: the base URL of the calls.
        setting: ``CLAUDE_WRAPPER_UPSTREAM_PROXY``, empty when unset; ``NO_PROXY`` does not apply to it.
        environ: environment variables.

    Raises:
        SettingError: the proxy is no http or https URL.
    """
    name, text = "CLAUDE_WRAPPER_UPSTREAM_PROXY", setting.strip()
    if not text:
        parts = urlsplit(target)
        if _is_exempt(parts, _lower_or_upper("no_proxy", environ)[1]):
            return None
        name, text = _lower_or_upper(f"{parts.scheme}_proxy", environ)
        if not text:
            name, text = _lower_or_upper("all_proxy", environ)
        if not text:
            return None
    proxy = _split(name, text if "://" in text else f"http://{text}")
    if proxy.scheme not in ("http", "https") or not proxy.hostname:
        raise SettingError(f"{name}: takes the URL of an HTTP proxy such as http://proxy.internal:3128.")
    return proxy.geturl()


def trusted_certificates(ca_bundle: str, environ: Mapping[str, str]) -> ssl.SSLContext:
    """The TLS context for calls: certificates and host names are always verified.

    Args:
        ca_bundle: ``CLAUDE_WRAPPER_UPSTREAM_CA_BUNDLE``, a PEM file; empty for ``SSL_CERT_FILE``, ``SSL_CERT_DIR`` or
            what the system trusts.
        environ: environment variables.

    Raises:
        SettingError: the file cannot be read or holds no certificate.
    """
    name, cafile, capath = "CLAUDE_WRAPPER_UPSTREAM_CA_BUNDLE", ca_bundle.strip(), ""
    if not cafile:
        name, cafile = "SSL_CERT_FILE", environ.get("SSL_CERT_FILE", "")
    if not cafile:
        name, capath = "SSL_CERT_DIR", environ.get("SSL_CERT_DIR", "")
    if not cafile and not capath:
        return _with_alpn(_system_certificates())
    if capath and not Path(capath).is_dir():
        raise SettingError(f"{name}: {capath!r} is not a directory.")
    try:
        return _with_alpn(ssl.create_default_context(cafile=cafile or None, capath=capath or None))
    except (OSError, ssl.SSLError) as exc:
        raise SettingError(f"{name}: {cafile!r} cannot be used; it takes a PEM file of CA certificates.") from exc


def _system_certificates() -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and not _has_hashed_certificates(
        ssl.get_default_verify_paths().capath
    ):
        # A slim container, or python.org's build for macOS: this OpenSSL knows no certificates at all.
        context.load_verify_locations(certifi.where())
    return context


def _has_hashed_certificates(directory: str | None) -> bool:
    """Whether OpenSSL would find certificates there when it needs them; it does not load them before."""
    return directory is not None and any(Path(directory).glob("[0-9a-f]" * 8 + ".[0-9]"))


def _with_alpn(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_alpn_protocols(["http/1.1"])
    return context


def _split(name: str, text: str) -> SplitResult:
    try:
        parts = urlsplit(text.strip())
        _ = parts.port  # a port that is no number shows only when it is asked for
    except ValueError:
        raise SettingError(f"{name}: is not a URL.") from None
    return parts


def _lower_or_upper(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """A proxy variable as ``(name, value)``."""
    upper = name.upper()
    if environ.get(name):
        return name, environ[name].strip()
    if upper == "HTTP_PROXY" and environ.get("REQUEST_METHOD"):
        # In a CGI process this variable is a request header that anybody can send (httpoxy).
        return upper, ""
    return upper, environ.get(upper, "").strip()


def _is_exempt(target: SplitResult, no_proxy: str) -> bool:
    """Whether ``NO_PROXY`` names the target: ``*``, a host, a domain, an address or a network, maybe with a port."""
    host = (target.hostname or "").rstrip(".")
    port = target.port or (443 if target.scheme == "https" else 80)
    for entry in no_proxy.lower().replace(",", " ").split():
        if entry == "*":
            return True
        name, found, entry_port = entry.rpartition(":")
        if not found or not entry_port.isdigit() or (":" in name and not name.endswith("]")):
            name = entry
        elif int(entry_port) != port:
            continue
        name = name.strip("[]").removeprefix("*").strip(".")
        if name and (host == name or host.endswith(f".{name}") or _in_network(host, name)):
            return True
    return False


def _in_network(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
