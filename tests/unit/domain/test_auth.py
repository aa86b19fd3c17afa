"""The text of a key, the tag of a tenant, and the list of models of a key."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.auth import (
    ALPHABET,
    ANONYMOUS,
    ID_CHARS,
    PREFIX,
    SECRET_CHARS,
    allows_model,
    key_text,
    read_key,
    tenant_tag,
)

IDS = st.text(ALPHABET, min_size=ID_CHARS, max_size=ID_CHARS)
SECRETS = st.text(ALPHABET, min_size=SECRET_CHARS, max_size=SECRET_CHARS)
TENANTS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
KEYS = st.builds(key_text, TENANTS, IDS, SECRETS)

KEY = key_text("acme", "k7Qm2ZpXv9Rt", "4fJc8LwYb1NsG6hTq0DkPe3VuXa5MiRz")


@given(TENANTS, IDS, SECRETS)
def test_a_key_tells_its_tenant_and_id_and_is_known_by_its_hash(tenant: str, key_id: str, secret: str) -> None:
    text = key_text(tenant, key_id, secret)
    found = read_key(text.encode())
    assert found is not None
    assert (found.tag, found.id) == (tenant_tag(tenant), key_id)
    assert found.secret_hash == hashlib.sha256(text.encode()).digest()


@given(KEYS, st.data())
def test_one_wrong_character_anywhere_is_noticed(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text) - 1))
    wrong = data.draw(st.characters(codec="ascii").filter(lambda character: character != text[at]))
    assert read_key((text[:at] + wrong + text[at + 1 :]).encode()) is None


@given(KEYS, st.data())
def test_two_neighbours_that_changed_places_are_noticed(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(len(PREFIX), len(text) - 2).filter(lambda at: text[at] != text[at + 1]))
    assert read_key((text[:at] + text[at + 1] + text[at] + text[at + 2 :]).encode()) is None


@pytest.mark.parametrize(
    "presented",
    [
        b"",
        b"sk-ant-api03-not-ours",
        b"sk-cw-",
        KEY.encode()[:-1],
        KEY.encode() + b"x",
        KEY.encode() + b"\n",
        b" " + KEY.encode(),
        KEY.upper().encode(),
        b"sk-cw-\xff\xfe",
    ],
)
def test_what_is_not_a_whole_key_is_none(presented: bytes) -> None:
    assert read_key(presented) is None


@given(st.binary(max_size=200))
def test_any_bytes_may_be_presented(presented: bytes) -> None:
    assert read_key(presented) is None
    assert read_key(PREFIX.encode() + presented) is None


def test_the_text_of_a_key_stays_as_it_is() -> None:
    # Keys that were issued by earlier releases must be good for ever.
    assert KEY == "sk-cw-iipirfobwtsmr6qx_k7Qm2ZpXv9Rt_4fJc8LwYb1NsG6hTq0DkPe3VuXa5MiRz4JTyvA"


@pytest.mark.parametrize(
    ("tenant", "tag"), [("acme", "iipirfobwtsmr6qx"), ("Acme", "rp4mhzf3stx2t7xp"), ("anonymous", "kb6yi7bnyzhulsey")]
)
def test_the_tag_of_a_tenant_stays_as_it_is(tenant: str, tag: str) -> None:
    assert tenant_tag(tenant) == tag


@given(TENANTS, TENANTS)
def test_each_tenant_has_a_tag_of_its_own_that_does_not_tell_its_name(one: str, other: str) -> None:
    assert (tenant_tag(one) == tenant_tag(other)) == (one == other)
    assert tenant_tag(one).isalnum()
    assert tenant_tag(one).islower()
    assert len(tenant_tag(one)) == 16


def test_everybody_is_one_tenant() -> None:
    assert ANONYMOUS.tag == tenant_tag("anonymous")
    assert not ANONYMOUS.authenticated
    assert "admin" not in ANONYMOUS.scopes


NAMES = ("claude-opus-5-5", "claude-opus-5-5-20260901", "opus", "gpt-4o")


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        ((), True),
        (("claude-opus-5-5",), True),
        (("opus",), True),
        (("gpt-4o",), True),
        (("claude-*",), True),
        (("*",), True),
        (("haiku", "gpt-*"), True),
        (("claude-opus-5",), False),
        (("claude-haiku-*",), False),
        (("*opus",), False),
        (("Opus",), False),
        (("",), False),
    ],
)
def test_a_model_is_allowed_by_any_of_its_names(patterns: tuple[str, ...], allowed: bool) -> None:
    assert allows_model(patterns, NAMES) is allowed


def test_names_may_come_from_anything_that_can_be_read_once() -> None:
    assert allows_model(("haiku", "opus"), iter(NAMES))
