"""Who calls: every kind of key on protected and unprotected gateways, and addresses that guess."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.config import Config, SettingError
from app.domain.auth import ANONYMOUS, SCOPES, ApiKey, Caller, key_text, tenant_tag
from app.domain.key_file import KeyFile
from app.domain.limits import NO_LIMITS, Limits
from app.errors import RateLimited, StateUnavailable, Unauthenticated
from app.gateway.gate import LONGEST_KEY, Presented, trusted_proxies
from app.schemas.admin import KeyCache, NewKey
from app.state import api_keys, connect
from app.state.connection import StateConnection
from tests.support.services import NOW, StateAway, make_services
from tests.support.steered_state import SteeredState
from tests.support.tokens import SECRET, token

KEY = "gateway-key-for-tests"
ADMIN = "admin-key-for-tests"
FILE_KEY = "key-of-the-keys-file"
PROVIDER = "sk-of-the-provider"
CLIENTS_OWN = "sk-ant-api03-the-clients-own-key"
UNKNOWN = key_text("acme", "k7Qm2ZpXv9Rt", "4fJc8LwYb1NsG6hTq0DkPe3VuXa5MiRz")
LIMITS = Limits(requests_per_minute=7)


@pytest.fixture
async def state() -> AsyncIterator[StateConnection]:
    connection = connect("memory://")
    yield connection
    await connection.close()


class Setup:
    """A gate over a store, with what else a worker has."""

    def __init__(self, state: Any = None, **settings: Any) -> None:
        self.state = state
        self.services = make_services(config=Config(**settings), state=state or StateAway())
        self.gate = self.services.gate

    async def caller(self, *keys: str | bytes, group: str = "203.0.113.5") -> Caller:
        return await self.gate.caller(presented(*keys, group=group))

    async def verified(self, *keys: str) -> Caller:
        return await self.gate.verified(await self.caller(*keys))

    async def refused(self, *keys: str | bytes) -> str:
        """What the error of these keys says."""
        with pytest.raises(Unauthenticated) as caught:
            await self.gate.verified(await self.caller(*keys))
        return caught.value.message

    async def guess(self, times: int, group: str = "203.0.113.5") -> None:
        for _ in range(times):
            self.gate.wrong(presented("wrong", group=group))
        await self.gate.close()  # it waits for what is being counted

    def with_file(self, text: str = FILE_KEY, **facts: Any) -> None:
        digest = hashlib.sha256(text.encode())
        key = ApiKey(id="file-1", tenant="acme", name="a", secret_hash=digest.hexdigest(), limits=LIMITS, **facts)
        self.services.take_up_keys(KeyFile({digest.digest(): key}, {}))


def presented(*keys: str | bytes, group: str = "203.0.113.5") -> Presented:
    return Presented([key.encode() if isinstance(key, str) else key for key in keys], lambda: group)


async def stored(state: StateConnection, *, now: float = NOW, **fields: Any) -> tuple[ApiKey, str]:
    issued = await api_keys.create(state, NewKey(tenant="acme", **fields), actor="test", now=now)
    return issued.key, issued.text


# Without a key, or with one that nobody knows


async def test_without_protection_nobody_needs_a_key() -> None:
    setup = Setup()
    assert not setup.gate.protected
    assert await setup.caller() is ANONYMOUS
    assert await setup.caller("anything") is ANONYMOUS


async def test_a_missing_key_is_said_to_be_missing() -> None:
    message = await Setup(api_key=KEY).refused()
    assert message.startswith("You didn't provide an API key.")
    assert "Authorization: Bearer YOUR_KEY" in message
    assert "x-api-key" in message


@pytest.mark.parametrize("wrong", ["other", KEY + "x", KEY[:-1], KEY.upper(), "é", b"\xff", "", "x" * 100_000])
async def test_a_wrong_key_is_refused_and_never_repeated(wrong: str | bytes) -> None:
    message = await Setup(api_key=KEY).refused(wrong)
    assert message == "Incorrect API key provided. Send a key of this gateway, not one of Anthropic or OpenAI."


@pytest.mark.parametrize(
    ("settings", "protected"),
    [
        ({}, False),
        ({"api_key": KEY}, True),
        ({"admin_key": ADMIN}, True),
        ({"keys_file": "keys.toml"}, True),
        ({"jwt_secret": SECRET}, True),
        ({"api_key": KEY, "require_key": "no"}, False),
        ({"admin_key": ADMIN, "require_key": "no"}, False),
        ({"require_key": "yes"}, True),
        ({"byok": True}, False),
    ],
)
def test_protection_is_on_as_soon_as_there_is_something_to_protect_with(
    settings: dict[str, Any], protected: bool
) -> None:
    gate = Setup(**settings).gate
    assert gate.protected is protected
    assert gate.guards_operators is (protected or bool(settings.get("admin_key")))


# Keys that need no look-up


@pytest.mark.parametrize("keys", [(KEY,), (PROVIDER, KEY), (KEY, PROVIDER), (UNKNOWN, KEY)])
@pytest.mark.parametrize("require_key", ["auto", "no"])
async def test_the_static_key_is_known_in_either_place(keys: tuple[str, ...], require_key: str) -> None:
    caller = await Setup(api_key=KEY, require_key=require_key).caller(*keys)
    assert (caller.source, caller.tenant, caller.tag) == ("static", "default", tenant_tag("default"))
    assert (caller.authenticated, caller.verified, caller.scopes) == (True, True, SCOPES)


async def test_the_admin_key_may_administer_and_nothing_else() -> None:
    caller = await Setup(api_key=KEY, admin_key=ADMIN).caller(ADMIN)
    assert (caller.source, caller.authenticated, caller.scopes) == ("admin", True, ("admin",))


async def test_a_key_of_the_file_has_its_own_tenant_and_limits() -> None:
    setup = Setup()
    setup.with_file(scopes=("inference",), models=("opus",), outage="fail_closed")
    caller = await setup.caller(FILE_KEY)
    assert (caller.source, caller.tenant, caller.tag, caller.key_id) == ("file", "acme", tenant_tag("acme"), "file-1")
    assert (caller.scopes, caller.models, caller.limits) == (("inference",), ("opus",), LIMITS)
    assert (caller.outage, caller.authenticated, caller.verified) == ("fail_closed", True, True)


async def test_a_key_of_the_file_that_has_expired_is_refused() -> None:
    setup = Setup()
    setup.with_file(expires_at=NOW + 1)
    assert (await setup.caller(FILE_KEY)).source == "file"
    setup.with_file(expires_at=NOW)
    assert "has expired" in await setup.refused(FILE_KEY)


async def test_a_key_that_was_taken_out_of_the_file_is_good_no_more() -> None:
    setup = Setup(require_key="yes")
    setup.with_file()
    setup.with_file("another-key-of-the-file")
    assert (await setup.refused(FILE_KEY)).startswith("Incorrect API key")


async def test_a_key_of_our_shape_in_the_file_needs_no_store() -> None:
    setup = Setup(StateAway())
    setup.with_file(UNKNOWN)
    assert (await setup.verified(UNKNOWN)).source == "file"
    assert setup.state.asked == 0


async def test_what_is_too_long_is_no_key() -> None:
    setup = Setup(api_key="x" * (LONGEST_KEY + 1))
    assert (await setup.refused("x" * (LONGEST_KEY + 1))).startswith("Incorrect API key")


# A client's own Anthropic key


async def test_a_clients_own_key_goes_through_where_that_is_allowed() -> None:
    caller = await Setup(byok=True, require_key="yes").caller(CLIENTS_OWN)
    assert (caller.source, caller.tenant, caller.credential) == ("byok", "byok", CLIENTS_OWN)
    assert (caller.authenticated, caller.limits) == (True, NO_LIMITS)
    assert "admin" not in caller.scopes
    assert CLIENTS_OWN not in caller.key_id


async def test_each_clients_own_key_is_an_account_of_its_own() -> None:
    setup = Setup(byok=True)
    first, again, other = [await setup.caller(key) for key in (CLIENTS_OWN, CLIENTS_OWN, CLIENTS_OWN + "2")]
    assert first.key_id == again.key_id != other.key_id


@pytest.mark.parametrize("odd", ["sk-ant-", "sk-ant-short", "sk-ant-with space in it", "sk-ant-api03-\n0123456789"])
async def test_what_only_looks_like_a_key_of_anthropic_does_not_go_through(odd: str) -> None:
    assert (await Setup(byok=True).caller(odd)).credential == ""


async def test_by_default_a_clients_own_key_does_not_go_through() -> None:
    assert await Setup().caller(CLIENTS_OWN) is ANONYMOUS
    assert (await Setup(api_key=KEY).refused(CLIENTS_OWN)).startswith("Incorrect API key")


# Tokens


async def test_a_token_names_its_tenant() -> None:
    setup = Setup(jwt_secret=SECRET)
    bearer = token(tenant="acme").decode()
    first, known = await setup.caller(bearer), await setup.caller(PROVIDER, bearer)
    assert (first.source, first.tenant, first.subject) == ("jwt", "acme", "user-1")
    assert known == first


@pytest.mark.parametrize("require_key", ["auto", "no"])
async def test_a_wrong_token_is_refused_with_or_without_protection(require_key: str) -> None:
    setup = Setup(jwt_secret=SECRET, require_key=require_key)
    await setup.refused(token("another secret of more than thirty-two bytes").decode())


async def test_where_tokens_are_not_accepted_one_is_any_wrong_key() -> None:
    bearer = token().decode()
    assert await Setup().caller(bearer) is ANONYMOUS
    assert (await Setup(api_key=KEY).refused(bearer)).startswith("Incorrect API key")


# Stored keys


@pytest.mark.parametrize("require_key", ["yes", "no"])
async def test_a_key_of_our_shape_is_looked_up_with_or_without_protection(
    state: StateConnection, require_key: str
) -> None:
    setup = Setup(state, require_key=require_key)
    key, text = await stored(state)
    caller = await setup.caller(PROVIDER, text)
    assert (caller.source, caller.verified, caller.authenticated, caller.scopes) == ("stored", False, False, ())
    assert (caller.tag, caller.key_id) == (tenant_tag("acme"), key.id)
    assert caller.secret_hash == hashlib.sha256(text.encode()).digest()


async def test_a_stored_key_that_was_looked_up_is_a_caller_with_rights(state: StateConnection) -> None:
    key, text = await stored(state, models=("opus",), outage="fail_closed")
    caller = await Setup(state).verified(text)
    assert (caller.tenant, caller.key_id, caller.models) == ("acme", key.id, ("opus",))
    assert (caller.scopes, caller.outage, caller.limits) == (key.scopes, "fail_closed", key.limits)
    assert (caller.authenticated, caller.verified) == (True, True)


async def test_a_caller_who_is_known_is_not_looked_up() -> None:
    setup = Setup(StateAway())
    assert await setup.gate.verified(ANONYMOUS) is ANONYMOUS
    assert setup.state.asked == 0


async def test_a_key_that_does_not_exist_and_a_wrong_secret_are_told_the_same(state: StateConnection) -> None:
    setup = Setup(state)
    key, text = await stored(state)
    wrong = key_text("acme", key.id, "z" * 32)
    assert wrong != text
    assert await setup.refused(wrong) == await setup.refused(UNKNOWN)
    assert await setup.refused(UNKNOWN) == "Incorrect API key provided: this gateway does not know it."


async def test_a_revoked_key_is_told_so_and_a_guessed_one_is_not(state: StateConnection) -> None:
    setup = Setup(state)
    key, text = await stored(state)
    await api_keys.revoke(state, key.id, actor="test", now=NOW)
    assert "was revoked" in await setup.refused(text)
    assert "does not know it" in await setup.refused(key_text("acme", key.id, "z" * 32))


async def test_an_expired_key_is_told_so(state: StateConnection) -> None:
    _, text = await stored(state, now=NOW - 10, expires=NOW)
    assert "has expired" in await Setup(state).refused(text)


async def test_after_a_rotation_the_old_key_is_good_for_its_grace_only(state: StateConnection) -> None:
    key, old = await stored(state)
    issued = await api_keys.rotate(state, key.id, grace_s=1.0, actor="test", now=NOW)
    setup = Setup(state)
    assert (await setup.verified(old)).key_id == (await setup.verified(issued.text)).key_id == key.id
    await api_keys.rotate(state, key.id, grace_s=0.0, actor="test", now=NOW)
    assert "does not know it" in await setup.refused(old)


async def test_a_key_that_was_seen_lately_is_good_while_the_store_is_away(state: StateConnection) -> None:
    setup = Setup(state)
    _, text = await stored(state)
    before = await setup.verified(text)
    await state.close()
    assert await setup.verified(text) == before


async def test_a_key_that_was_not_seen_cannot_be_checked_while_the_store_is_away() -> None:
    with pytest.raises(StateUnavailable, match="cannot be checked now") as caught:
        await Setup(StateAway()).verified(UNKNOWN)
    assert caught.value.retry_after_s == 1


async def test_who_needs_no_look_up_is_known_as_it_is() -> None:
    setup = Setup(StateAway())
    assert setup.gate.recalled(ANONYMOUS) is ANONYMOUS
    assert setup.gate.remembers(ANONYMOUS)


async def test_a_key_that_was_looked_up_is_recalled_from_then_on(state: StateConnection) -> None:
    setup = Setup(steered := SteeredState(state))
    _, text = await stored(state, models=("opus",), cache=KeyCache(mode="on"))
    caller = await setup.caller(text)
    assert not setup.gate.remembers(caller)
    assert setup.gate.recalled(caller) is None
    looked_up = await setup.gate.verified(caller)
    assert setup.gate.remembers(caller)
    steered.steps.clear()
    assert setup.gate.recalled(caller) == looked_up
    assert steered.steps == []
    assert (looked_up.models, looked_up.cache.mode) == (("opus",), "on")


async def test_a_key_that_nobody_knows_is_not_remembered(state: StateConnection) -> None:
    setup = Setup(state)
    caller = await setup.caller(UNKNOWN)
    with pytest.raises(Unauthenticated):
        await setup.gate.verified(caller)
    assert setup.gate.recalled(caller) is None
    assert not setup.gate.remembers(caller)


async def test_the_secret_of_a_known_key_is_still_asked_for(state: StateConnection) -> None:
    setup = Setup(state)
    key, text = await stored(state)
    await setup.gate.verified(await setup.caller(text))
    wrong = await setup.caller(key_text("acme", key.id, "z" * 32))
    assert setup.gate.recalled(wrong) is None
    with pytest.raises(Unauthenticated):
        await setup.gate.verified(wrong)


# Guessing


async def test_an_address_that_guesses_is_slowed_and_others_are_not(state: StateConnection) -> None:
    setup = Setup(state, api_key=KEY, guesses_per_minute=3)
    await setup.guess(2)
    await setup.refused("wrong")
    await setup.guess(1)
    with pytest.raises(RateLimited) as caught:
        await setup.caller("wrong")
    error = caught.value
    assert error.message.startswith("Too many wrong API keys came from this address.")
    assert (error.limit, error.spent) == ("guesses_per_minute", False)
    assert error.retry_after_s is not None
    assert 0 < error.retry_after_s <= 60
    with pytest.raises(Unauthenticated):
        await setup.caller("wrong", group="198.51.100.9")


async def test_a_blocked_address_lets_the_keys_in_that_are_known(state: StateConnection) -> None:
    setup = Setup(state, api_key=KEY, admin_key=ADMIN, byok=True, jwt_secret=SECRET, guesses_per_minute=1)
    setup.with_file()
    _, text = await stored(state)
    bearer = token().decode()
    await setup.verified(text)
    await setup.caller(bearer)
    await setup.guess(2)
    another = token(sub="somebody").decode()  # its signature is good
    sources = [(await setup.caller(key)).source for key in (KEY, ADMIN, FILE_KEY, text, bearer, another)]
    assert sources == ["static", "admin", "file", "stored", "jwt", "jwt"]


async def test_a_key_that_was_changed_is_none_that_somebody_guesses(state: StateConnection) -> None:
    setup = Setup(state, guesses_per_minute=1)
    key, text = await stored(state)
    await setup.verified(text)
    await setup.guess(2)
    setup.services.memory.forget(tenant_tag(key.tenant), key.id)
    assert (await setup.caller(text)).key_id == key.id


@pytest.mark.parametrize("key", [UNKNOWN, token(sub="somebody").decode()[:-4] + "AAAA", "wrong", CLIENTS_OWN])
async def test_a_blocked_address_may_not_try_further_keys(state: StateConnection, key: str) -> None:
    setup = Setup(state, byok=True, jwt_secret=SECRET, guesses_per_minute=1)
    await setup.guess(2)
    with pytest.raises(RateLimited):
        await setup.caller(key)


async def test_keys_of_our_shape_are_not_guessed_on_an_unprotected_gateway_either(state: StateConnection) -> None:
    setup = Setup(state, guesses_per_minute=1)
    await setup.guess(2)
    with pytest.raises(RateLimited):
        await setup.caller(UNKNOWN)
    assert await setup.caller() is ANONYMOUS
    assert await setup.caller("anything") is ANONYMOUS


async def test_guessing_is_slowed_while_the_store_is_away() -> None:
    setup = Setup(StateAway(), api_key=KEY, guesses_per_minute=1)
    await setup.guess(2)
    with pytest.raises(RateLimited):
        await setup.caller("wrong")


# Whose address


def test_without_trusted_proxies_the_peer_counts() -> None:
    assert Setup().gate.group("203.0.113.5", [b"198.51.100.9"]) == "203.0.113.5"


def test_a_trusted_proxy_tells_whom_it_speaks_for() -> None:
    gate = Setup(trusted_proxies=("203.0.113.0/24",)).gate
    assert gate.group("203.0.113.5", [b"198.51.100.9"]) == "198.51.100.9"
    assert gate.group("192.0.2.1", [b"198.51.100.9"]) == "192.0.2.1"


def test_proxies_that_are_no_addresses_are_an_error_that_names_the_setting() -> None:
    with pytest.raises(SettingError, match="CLAUDE_WRAPPER_TRUSTED_PROXIES: "):
        trusted_proxies(Config(trusted_proxies=("nonsense",)))
