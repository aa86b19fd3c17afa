"""Addresses from URLs, and the words for those that are not accepted."""

from __future__ import annotations

import pytest

from app.config import SettingError
from app.state.urls import Address, TlsOptions, parse_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://", Address()),
        ("redis://cache", Address(host="cache")),
        ("redis://cache:6380/2", Address(host="cache", port=6380, database=2)),
        ("redis://cache?db=2", Address(host="cache", database=2)),
        ("redis://:pass@cache", Address(host="cache", password="pass")),
        ("redis://user:p%40ss%2F@cache", Address(host="cache", username="user", password="p@ss/")),
        ("redis://[::1]:6380", Address(host="::1", port=6380)),
        ("REDIS://cache", Address(host="cache")),
        ("rediss://cache", Address(host="cache", tls=TlsOptions())),
        (
            "rediss://cache?ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
            Address(host="cache", tls=TlsOptions(ca_file="/ca.pem", check_hostname=False)),
        ),
        (
            "rediss://cache?ssl_cert_reqs=none",
            Address(host="cache", tls=TlsOptions(verify=False, check_hostname=False)),
        ),
        (
            "rediss://cache?ssl_certfile=/cert.pem&ssl_keyfile=/key.pem",
            Address(host="cache", tls=TlsOptions(cert_file="/cert.pem", key_file="/key.pem")),
        ),
        ("unix:///run/redis.sock", Address(unix_path="/run/redis.sock")),
        ("unix:///run/my%20redis.sock?db=4", Address(unix_path="/run/my redis.sock", database=4)),
        ("unix://user:pass@/run/redis.sock", Address(unix_path="/run/redis.sock", username="user", password="pass")),
        ("unix:///run/redis.sock?password=pass", Address(unix_path="/run/redis.sock", password="pass")),
    ],
)
def test_address_of_a_url(url: str, address: Address) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:6379", "it takes redis://"),
        ("http://cache", "it takes redis://"),
        ("auto", "it takes redis://"),
        ("redis+sentinel://cache/mymaster", "Redis Sentinel .* is not built yet"),
        ("redis+cluster://cache", "Redis Cluster .* is not built yet"),
        ("redis://cache:port", "cannot be read"),
        ("redis://cache:99999", "cannot be read"),
        ("redis://cache/zero", "database must be a whole number"),
        ("redis://cache?timeout=3", "'timeout' is not known"),
        ("redis://cache?ssl_cert_reqs=none", "'ssl_cert_reqs' is not known"),
        ("rediss://cache?ssl_cert_reqs=maybe", "required or none"),
        ("rediss://cache?ssl_check_hostname=maybe", "true or false"),
        ("unix://relative/path", "absolute path"),
        ("unix://", "absolute path"),
    ],
)
def test_what_is_not_accepted_is_said(url: str, said: str) -> None:
    with pytest.raises(SettingError, match=f"CLAUDE_WRAPPER_REDIS_URL: .*{said}"):
        parse_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@cache/zero",
        "redis://:hunter2@cache:port",
        "http://:hunter2@cache",
        "redis://:hunter2@cache?x=1",
    ],
)
def test_an_error_never_repeats_the_password(url: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_address(url)
    assert "hunter2" not in str(caught.value)


def test_the_representation_hides_the_password() -> None:
    assert "hunter2" not in repr(parse_address("redis://user:hunter2@cache"))
