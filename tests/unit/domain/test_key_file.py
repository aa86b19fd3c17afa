from __future__ import annotations

import hashlib
from typing import get_args

import msgspec
import pytest

from app.domain.auth import ApiKey, key_text, tenant_tag
from app.domain.caching import CacheRule
from app.domain.key_file import KeyFile, KeyFileError, Kind, parse_key_file
from app.domain.limits import Limits

TEXT = "canary-0123456789"
DIGEST = hashlib.sha256(TEXT.encode()).digest()

YAML = f"""
keys:
  - key: {TEXT}
    tenant: acme
    name: Nightly batch
    scopes: [inference]
    models: [claude-haiku-*]
    limits: {{requests_per_minute: 60, budget_day: 5.0}}
    expires: 2030-01-31T12:00:00Z
    outage: fail_closed
    cache: {{mode: on, ttl: 600, share_within: tenant}}
    metadata: {{team: search}}
  - key_sha256: {"AB" * 32}
    id: second
    tenant: other
tenants:
  acme: {{concurrency: 20, budget_month: 100}}
"""

TOML = f"""
[[keys]]
key = "{TEXT}"
tenant = "acme"
name = "Nightly batch"
scopes = ["inference"]
models = ["claude-haiku-*"]
limits = {{requests_per_minute = 60, budget_day = 5.0}}
expires = 2030-01-31T12:00:00Z
outage = "fail_closed"
cache = {{mode = "on", ttl = 600, share_within = "tenant"}}
metadata = {{team = "search"}}

[[keys]]
key_sha256 = "{"AB" * 32}"
id = "second"
tenant = "other"

[tenants]
acme = {{concurrency = 20, budget_month = 100}}
"""

PARSED = KeyFile(
    keys={
        DIGEST: ApiKey(
            id=f"file-{DIGEST.hex()[:12]}",
            tenant="acme",
            name="Nightly batch",
            secret_hash=DIGEST.hex(),
            scopes=("inference",),
            models=("claude-haiku-*",),
            limits=Limits(requests_per_minute=60, budget_day_nano=5_000_000_000),
            outage="fail_closed",
            cache=CacheRule(mode="on", ttl_s=600, share_within="tenant"),
            expires_at=1_896_091_200.0,
            metadata={"team": "search"},
        ),
        b"\xab" * 32: ApiKey(id="second", tenant="other", name="second", secret_hash="ab" * 32),
    },
    tenants={tenant_tag("acme"): Limits(concurrency=20, budget_month_nano=100_000_000_000)},
)


def test_toml_and_yaml_say_the_same() -> None:
    assert parse_key_file(YAML, "yaml") == PARSED == parse_key_file(TOML, "toml")


@pytest.mark.parametrize("kind", get_args(Kind))
def test_an_empty_file_has_no_keys(kind: Kind) -> None:
    assert parse_key_file("", kind) == KeyFile() == parse_key_file("# nothing\n", kind)


def test_a_key_of_our_shape_is_accepted_when_it_is_whole() -> None:
    text = key_text("acme", "a" * 12, "b" * 32)
    (digest,) = parse_key_file(f"keys: [{{key: {text}, tenant: acme}}]", "yaml").keys
    assert digest == hashlib.sha256(text.encode()).digest()
    with pytest.raises(KeyFileError, match="mistyped"):
        parse_key_file(f"keys: [{{key: {text[:-1]}!, tenant: acme}}]", "yaml")


def test_a_key_whose_expiry_is_past_is_taken_up() -> None:
    (key,) = parse_key_file(f"keys: [{{key: {TEXT}, tenant: acme, expires: 5}}]", "yaml").keys.values()
    assert key.expires_at == 5.0


def said(text: str, kind: Kind = "yaml") -> str:
    with pytest.raises(KeyFileError) as caught:
        parse_key_file(text, kind)
    assert "canary" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("x = " + "[" * 5000, "toml"),
        ("x = " + "9" * 100_000, "toml"),
        ("x: " + "9" * 100_000, "yaml"),
        ("x: 1" + ":59" * 500 + ".0", "yaml"),
        ("x: 2001-99-99", "yaml"),
        ("x: !!int ''", "yaml"),
        ("x: !!bool canary", "yaml"),
        ("x: !!timestamp canary", "yaml"),
    ],
)
def test_whatever_a_parser_cannot_take_is_a_broken_file(text: str, kind: Kind) -> None:
    assert said(text, kind) == f"It is not valid {kind.upper()} (position unknown)."


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ("colour: red", "'keys[1].colour'"),
        ("limits: {rpm: 1}", "'keys[1].limits.rpm'"),
        ("limits: {budget_day: .nan}", "'keys[1].limits.budget_day'"),
        ("limits: [1]", "'keys[1].limits'"),
        ("cache: {mode: maybe}", "'keys[1].cache.mode'"),
        ("cache: {ttl: 0}", "'keys[1].cache.ttl'"),
        ("cache: {ttl_s: 5}", "'keys[1].cache.ttl_s'"),
        ("cache: {share_within: team}", "'keys[1].cache.share_within'"),
        ("name: ''", "'keys[1].name'"),
        ("name: 5", "'keys[1].name'"),
        ("scopes: [root]", "'keys[1].scopes'"),
        ("models: ['']", "'keys[1].models[0]'"),
        ("expires: 30d", "'keys[1].expires'"),
        ("metadata: {team: 5}", "'keys[1].metadata.team'"),
        ("expires: 2030-01-31T12:00:00", "'keys[1].expires'"),
        ("id: '*'", "'keys[1].id'"),
        ("id: a b", "'keys[1].id'"),
        ("id: first", "'keys[1].id'"),
        (f"key_sha256: {'ab' * 32}", "'keys[1].key_sha256'"),
    ],
)
def test_a_mistake_in_a_key_names_its_place(fields: str, place: str) -> None:
    first = "{key: another-canary-01234, id: first, tenant: acme}"
    assert place in said(f"keys:\n- {first}\n- {{key: {TEXT}, tenant: acme, {fields}}}\n")


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("{tenant: acme}", "'keys[0].key'"),
        ("{key: canary-too-shrt, tenant: acme}", "'keys[0].key'"),
        ("{key: canary with some spaces, tenant: acme}", "'keys[0].key'"),
        (f"{{key: {'canary' * 100}, tenant: acme}}", "'keys[0].key'"),
        ("{key: canary-of-ünicode-letters, tenant: acme}", "'keys[0].key'"),
        ("{key_sha256: canary, tenant: acme}", "'keys[0].key_sha256'"),
        (f"{{key: {TEXT}}}", "'keys[0].tenant'"),
        (f"{{key: {TEXT}, tenant: a b}}", "'keys[0].tenant'"),
    ],
)
def test_a_key_that_nobody_could_present_is_refused(key: str, place: str) -> None:
    assert place in said(f"keys: [{key}]")


def test_the_same_key_twice_is_refused() -> None:
    assert "'keys[1].key'" in said(f"keys: [{{key: {TEXT}, tenant: a}}, {{key: {TEXT}, tenant: b}}]")


def test_the_same_id_in_another_tenant_is_another_key() -> None:
    text = f"keys: [{{key: {TEXT}, tenant: a, id: x}}, {{key: {TEXT}2, tenant: b, id: x}}]"
    assert len(parse_key_file(text, "yaml").keys) == 2


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("tenants: {acme: {rpm: 5}}", "'tenants.acme.rpm'"),
        ("tenants: {acme: {concurrency: 0}}", "'tenants.acme.concurrency'"),
        ("tenants: {acme: 5}", "'tenants.acme'"),
        ("tenants: {a b: {}}", "'tenants.a b'"),
        ("tenants: [acme]", "'tenants'"),
        ("key: []", "'key'"),
        ("[]", "The file is not accepted: expected an object, got a list."),
        ("canary", "The file is not accepted"),
    ],
)
def test_a_mistake_elsewhere_names_its_place(text: str, place: str) -> None:
    assert place in said(text)


@pytest.mark.parametrize(
    ("text", "kind", "position"),
    [
        ("keys:\n - key: 'canary\n", "yaml", "line 2, column 9"),
        ("keys: canary: x", "yaml", "line 1, column 13"),
        ("keys: \x01", "yaml", "position unknown"),
        ("keys = canary", "toml", "line 1, column 8"),
        ("keys = 'canary", "toml", "end of document"),
    ],
)
def test_a_broken_file_says_where_and_quotes_nothing(text: str, kind: Kind, position: str) -> None:
    message = said(text, kind)
    assert message.startswith(f"It is not valid {kind.upper()}")
    assert position in message


def test_a_key_file_can_be_compared_and_not_be_changed() -> None:
    assert parse_key_file(YAML, "yaml") != KeyFile()
    with pytest.raises(AttributeError):
        PARSED.keys = {}  # type: ignore[misc]
    assert msgspec.structs.replace(PARSED) == PARSED
