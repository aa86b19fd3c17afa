from __future__ import annotations

import ssl
from typing import NamedTuple

import pytest

from app.config import SettingError
from app.upstream.route import base_url, credential, find_route, proxy_url, trusted_certificates
from app.upstream.settings import LaneSettings

API = "https://api.anthropic.com"
PROXY = "http://proxy.internal:3128"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com"),
        (" https://api.anthropic.com/ ", "https://api.anthropic.com"),
        ("http://127.0.0.1:8001/anthropic/", "http://127.0.0.1:8001/anthropic"),
        ("http://[::1]:8001", "http://[::1]:8001"),
    ],
)
def test_a_base_url_has_no_slash_at_its_end(text, url):
    assert base_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.anthropic.com",
        "ftp://api.anthropic.com",
        "https://",
        "https://a?b=c",
        "https://a#b",
        "https://u@a",
        "http://a:x",
    ],
)
def test_what_is_no_base_url_is_refused(text):
    with pytest.raises(SettingError, match=r"^ANTHROPIC_BASE_URL: "):
        base_url(text)


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, PROXY),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"HTTPS_PROXY": PROXY, "ALL_PROXY": "http://other:1"}, PROXY),
        ({"HTTP_PROXY": PROXY}, None),
        ({"HTTPS_PROXY": "proxy.internal:3128"}, PROXY),
        ({"HTTPS_PROXY": "http://user:pass@proxy.internal:3128"}, "http://user:pass@proxy.internal:3128"),
        ({"HTTPS_PROXY": ""}, None),
    ],
)
def test_the_proxy_of_the_environment(environ, proxy):
    assert proxy_url(API, "", environ) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "exempt"),
    [
        ("*", True),
        ("api.anthropic.com", True),
        ("API.Anthropic.com", True),
        ("anthropic.com", True),
        (".anthropic.com", True),
        ("*.anthropic.com", True),
        ("localhost, anthropic.com", True),
        ("localhost anthropic.com", True),
        ("api.anthropic.com:443", True),
        ("api.anthropic.com:8443", False),
        ("thropic.com", False),
        ("anthropic.com.evil", False),
        ("10.0.0.0/8", False),
        ("", False),
        (",", False),
    ],
)
def test_no_proxy_exempts_hosts_and_domains(no_proxy, exempt):
    proxy = proxy_url(API, "", {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy})
    assert proxy == (None if exempt else PROXY)


@pytest.mark.parametrize(
    ("target", "no_proxy", "exempt"),
    [
        ("http://127.0.0.1:8001", "127.0.0.1", True),
        ("http://127.0.0.1:8001", "127.0.0.1:8001", True),
        ("http://127.0.0.1:8001", "127.0.0.1:8002", False),
        ("http://10.1.2.3", "10.0.0.0/8", True),
        ("http://11.1.2.3", "10.0.0.0/8", False),
        ("http://[::1]:8001", "::1", True),
        ("http://[::1]:8001", "[::1]:8001", True),
        ("http://[fd00::7]", "fd00::/8", True),
    ],
)
def test_no_proxy_exempts_addresses_and_networks(target, no_proxy, exempt):
    assert proxy_url(target, "", {"http_proxy": PROXY, "no_proxy": no_proxy}) == (None if exempt else PROXY)


def test_the_setting_beats_the_environment_and_its_exemptions():
    environ = {"HTTPS_PROXY": "http://other:1", "NO_PROXY": "*"}
    assert proxy_url(API, PROXY, environ) == PROXY


def test_a_request_header_is_not_taken_for_a_proxy():
    assert proxy_url("http://a", "", {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}) is None


@pytest.mark.parametrize("text", ["socks5://127.0.0.1", "http://", "http://a:port", "://"])
def test_what_is_no_http_proxy_is_refused(text):
    with pytest.raises(SettingError, match=r"^CLAUDE_WRAPPER_UPSTREAM_PROXY: "):
        proxy_url(API, text, {})


def test_certificates_and_host_names_are_verified():
    context = trusted_certificates("", {})
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_ssl_cert_dir_has_to_be_a_directory():
    with pytest.raises(SettingError, match=r"^SSL_CERT_DIR: "):
        trusted_certificates("", {"SSL_CERT_DIR": __file__})


class Paths(NamedTuple):
    capath: str | None


@pytest.fixture
def bare_openssl(monkeypatch):
    """An OpenSSL that comes without certificates of its own."""
    monkeypatch.setattr(ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


@pytest.mark.parametrize("has_empty_directory", [False, True])
def test_a_machine_without_certificates_gets_those_of_certifi(bare_openssl, monkeypatch, tmp_path, has_empty_directory):
    paths = Paths(str(tmp_path) if has_empty_directory else None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    assert trusted_certificates("", {}).cert_store_stats()["x509_ca"] > 100


def test_a_machine_whose_certificates_are_looked_up_when_needed_keeps_to_them(bare_openssl, monkeypatch, tmp_path):
    (tmp_path / "0a1b2c3d.0").touch()
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: Paths(str(tmp_path)))
    assert trusted_certificates("", {}).cert_store_stats()["x509_ca"] == 0


@pytest.mark.parametrize(("text", "value"), [("", ""), ("  ", ""), (" sk-ant-1\n", "sk-ant-1")])
def test_space_around_a_credential_is_a_slip_of_copying(text, value):
    assert credential("ANTHROPIC_API_KEY", text) == value


@pytest.mark.parametrize("text", ["sk ant", "sk\nant", "sk\x00", "schl\u00fcssel"])
def test_what_cannot_be_a_credential_is_refused_without_showing_it(text):
    with pytest.raises(SettingError) as raised:
        credential("ANTHROPIC_API_KEY", text)
    assert str(raised.value).startswith("ANTHROPIC_API_KEY: ")
    assert text not in str(raised.value)


def test_plain_http_needs_no_certificates():
    route = find_route(LaneSettings(base_url="http://127.0.0.1:1", ca_bundle="/nowhere.pem", api_key="k"))
    assert (route.url, route.tls, route.key, route.token) == ("http://127.0.0.1:1", None, "k", "")
