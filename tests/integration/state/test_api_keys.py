"""API keys on both stores: versions, rotation, revocation and its durability, paging, audit, writers that collide."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import msgspec
import pytest

from app.domain.auth import ApiKey, read_key, tenant_tag
from app.domain.caching import NO_CACHE_RULE, CacheRule
from app.domain.key_changes import IssuedKey, KeyChange
from app.domain.limits import Limits
from app.errors import Conflict, InvalidRequest, NotFound, StateError
from app.schemas.admin import KeyCache, KeyChanges, KeyLimits, NewKey
from app.state import connect, keys
from app.state.api_keys import (
    ATTEMPTS,
    WRITE_KEY,
    create,
    decode_doc,
    find,
    hot_fields,
    list_keys,
    look_up,
    revoke,
    rotate,
    update,
)
from app.state.connection import StateConnection
from app.state.key_audit import audit_commands, read_audit
from tests.support.redis import RedisServer, RedisServers

NOW = 1_800_000_000.0


async def made(state: StateConnection, tenant: str = "acme", **fields: Any) -> IssuedKey:
    return await create(state, NewKey(tenant=tenant, **fields), actor="test:1", now=NOW)


async def record(state: StateConnection, key: ApiKey) -> dict[bytes, bytes]:
    flat = await state.call("HGETALL", keys.api_key(tenant_tag(key.tenant), key.id))
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def test_a_created_key_is_found_by_its_text_and_by_its_id(state: StateConnection) -> None:
    issued = await made(state, name="batch")
    said = read_key(issued.text.encode())
    assert said is not None
    found = await look_up(state, said.tag, said.id)
    assert found == issued.key == await find(state, said.id)
    assert found.secret_hash == said.secret_hash.hex()
    assert (found.tenant, found.name, found.version, found.created_at) == ("acme", "batch", 1, NOW)


async def test_the_record_holds_what_the_limiter_reads_and_no_secret(state: StateConnection) -> None:
    issued = await made(
        state,
        models=("claude-haiku-*", "claude-opus-5"),
        scopes=("admin", "inference"),
        limits=KeyLimits(requests_per_minute=60, budget_day=0.1),
        expires=NOW + 0.5,
    )
    stored = await record(state, issued.key)
    assert stored.pop(b"doc") == msgspec.json.encode(issued.key)
    assert stored == {
        b"hash": hashlib.sha256(issued.text.encode()).digest(),
        b"prev": b"",
        b"prev_until_us": b"0",
        b"expires_us": b"1800000000500000",
        b"revoked": b"0",
        b"version": b"1",
        b"scopes": b"inference admin",
        b"models": b"claude-haiku-*\nclaude-opus-5",
        b"limits": b"60 - - - 100000000 - -",
    }
    everything = [await state.call("HGETALL", keys.KEY_INDEX), await state.call("XRANGE", keys.AUDIT, "-", "+"), stored]
    assert issued.text not in repr(everything)


async def test_only_keys_and_their_index_live_for_ever(state: StateConnection) -> None:
    issued = await made(state)
    await rotate(state, issued.key.id, grace_s=60, actor="test:1", now=NOW)
    ttls = {name: await state.call("TTL", name) for name in await state.call("KEYS", "*")}
    permanent = {name for name, ttl in ttls.items() if ttl == -1}
    assert permanent == {
        keys.api_key(tenant_tag("acme"), issued.key.id).encode(),
        keys.KEY_INDEX.encode(),
    }
    assert {keys.REVOKED.encode(), keys.AUDIT.encode()} <= set(ttls)


async def test_unknown_keys_are_absent_and_cannot_be_changed(state: StateConnection) -> None:
    assert await look_up(state, tenant_tag("acme"), "0123456789ab") is None
    assert await find(state, "0123456789ab") is None
    assert await find(state, "no such shape\r\n") is None
    with pytest.raises(NotFound, match="0123456789ab"):
        await update(state, "0123456789ab", KeyChanges(name="x"), actor="a", now=NOW)
    with pytest.raises(NotFound):
        await revoke(state, "../../..", actor="a", now=NOW)


async def test_an_update_changes_what_it_names_and_counts_the_version(state: StateConnection) -> None:
    issued = await made(state, name="batch", limits=KeyLimits(requests_per_minute=60, concurrency=2))
    changes = KeyChanges(limits=KeyLimits(concurrency=None, budget_total=2.5))
    changed = await update(state, issued.key.id, changes, actor="a", now=NOW)
    assert changed.limits == Limits(requests_per_minute=60, budget_total_nano=2_500_000_000)
    assert (changed.version, changed.name, changed.secret_hash) == (2, "batch", issued.key.secret_hash)
    assert await find(state, changed.id) == changed
    assert (await record(state, changed))[b"limits"] == b"60 - - - - - 2500000000"


async def test_a_rule_of_the_cache_is_kept_and_its_change_is_in_the_audit(state: StateConnection) -> None:
    issued = await made(state, cache=KeyCache(mode="on", ttl=600))
    changed = await update(state, issued.key.id, KeyChanges(cache=KeyCache(ttl=None)), actor="a", now=NOW)
    assert (await find(state, issued.key.id)) == changed
    assert changed.cache == CacheRule(mode="on")
    told, first = [change.changes for _, change in (await read_audit(state, 10)).entries]
    assert told == {"cache.ttl": {"from": 600, "to": None}}
    assert first["cache.mode"] == {"from": None, "to": "on"}


def test_a_record_without_a_rule_of_the_cache_or_with_more_than_is_known_can_be_read() -> None:
    """Of the release before this one, and as that one reads ours: what it does not know it passes over."""
    before = b'{"id": "i", "tenant": "t", "name": "n", "secret_hash": "00"}'
    assert decode_doc(before) == ApiKey(id="i", tenant="t", name="n", secret_hash="00", cache=NO_CACHE_RULE)
    later = before.replace(b"{", b'{"later": {"mode": "on"}, ')
    assert decode_doc(later) == decode_doc(before)


async def test_an_update_that_changes_nothing_writes_no_key_and_is_told(state: StateConnection) -> None:
    issued = await made(state, name="batch")
    assert (await update(state, issued.key.id, KeyChanges(name="batch"), actor="a", now=NOW)).version == 1
    # Its own audit may have been lost with the reply to a first attempt that was made.
    assert [change.action for _, change in (await read_audit(state, 10)).entries] == ["update", "create"]


async def test_a_refused_update_changes_nothing(state: StateConnection) -> None:
    issued = await made(state)
    with pytest.raises(InvalidRequest):
        await update(state, issued.key.id, KeyChanges(name="x", scopes=("root",)), actor="a", now=NOW)
    assert await find(state, issued.key.id) == issued.key


async def test_rotation_without_grace_leaves_only_the_new_text(state: StateConnection) -> None:
    issued = await made(state)
    rotated = await rotate(state, issued.key.id, grace_s=0, actor="a", now=NOW)
    assert rotated.text != issued.text
    stored = await record(state, rotated.key)
    assert stored[b"hash"] == hashlib.sha256(rotated.text.encode()).digest()
    assert (stored[b"prev"], stored[b"prev_until_us"], stored[b"version"]) == (b"", b"0", b"2")


async def test_rotation_with_grace_keeps_the_old_text_for_that_long(state: StateConnection) -> None:
    issued = await made(state)
    rotated = await rotate(state, issued.key.id, grace_s=90, actor="a", now=NOW)
    stored = await record(state, rotated.key)
    assert stored[b"prev"] == hashlib.sha256(issued.text.encode()).digest()
    assert stored[b"prev_until_us"] == b"1800000090000000"
    assert read_key(rotated.text.encode()).id == issued.key.id  # type: ignore[union-attr]
    again = await rotate(state, issued.key.id, grace_s=0, actor="a", now=NOW)
    assert (await record(state, again.key))[b"prev"] == b""


async def test_a_revoked_key_stays_revoked(state: StateConnection) -> None:
    issued = await made(state)
    revocation = await revoke(state, issued.key.id, actor="a", now=NOW)
    assert revocation.key.revoked_at == NOW
    assert (await record(state, issued.key))[b"revoked"] == b"1"
    for change in (
        update(state, issued.key.id, KeyChanges(name="x"), actor="a", now=NOW),
        rotate(state, issued.key.id, grace_s=0, actor="a", now=NOW),
    ):
        with pytest.raises(InvalidRequest, match="revoked"):
            await change
    again = await revoke(state, issued.key.id, actor="a", now=NOW + 9)
    assert (again.key.revoked_at, again.key.version) == (NOW, 2)
    assert [change.action for _, change in (await read_audit(state, 10)).entries] == ["revoke", "revoke", "create"]


async def test_every_change_stands_in_the_list_of_recent_ones_until_it_is_old(state: StateConnection) -> None:
    first, second = await made(state), await made(state, "other")
    await update(state, first.key.id, KeyChanges(name="x"), actor="a", now=NOW)
    await revoke(state, second.key.id, actor="a", now=NOW + 1)
    names = [f"{tenant_tag(issued.key.tenant)} {issued.key.id}".encode() for issued in (first, second)]
    assert await state.call("ZRANGE", keys.REVOKED, 0, -1, "WITHSCORES") == [
        *(names[0], b"1800000000000000"),
        *(names[1], b"1800000001000000"),
    ]
    await revoke(state, second.key.id, actor="a", now=NOW + keys.REVOKED_TTL_S)
    assert await state.call("ZRANGE", keys.REVOKED, 0, -1) == [names[1]]


async def test_a_store_in_memory_says_that_nothing_is_durable() -> None:
    state = connect("memory://")
    issued = await made(state)
    revocation = await revoke(state, issued.key.id, actor="a", now=NOW)
    assert not revocation.durable
    assert "in memory" in revocation.durability
    await state.close()


# Listing


async def test_pages_hold_every_key_once_in_order(state: StateConnection) -> None:
    made_ids = sorted([(await made(state)).key.id for _ in range(7)])
    listed: list[str] = []
    after, pages = "", 0
    while True:
        page = await list_keys(state, after=after, limit=3)
        pages += 1
        listed += [key.id for key in page.keys]
        if not page.has_more:
            break
        assert page.last_id is not None
        after = page.last_id
    assert (listed, pages) == (made_ids, 3)


async def test_a_list_without_keys_is_empty(state: StateConnection) -> None:
    page = await list_keys(state)
    assert (page.keys, page.has_more, page.last_id) == ((), False, None)


async def test_a_list_can_be_of_one_tenant(state: StateConnection) -> None:
    mine = await made(state, "acme")
    await made(state, "other")
    assert [key.id for key in (await list_keys(state, tenant="acme")).keys] == [mine.key.id]
    assert (await list_keys(state, tenant="nobody")).keys == ()


async def test_an_index_entry_without_a_record_is_skipped(state: StateConnection) -> None:
    issued = await made(state)
    await state.call("HSET", keys.KEY_INDEX, "0" * 12, "acme")
    page = await list_keys(state, limit=1)
    assert (page.keys, page.has_more, page.last_id) == ((), True, "0" * 12)
    assert [key.id for key in (await list_keys(state, after="0" * 12)).keys] == [issued.key.id]
    assert await find(state, "0" * 12) is None


@pytest.mark.parametrize("damaged", [b"", b"not json", b'{"id":"x"}', b"\xff\xfe"])
async def test_an_unreadable_record_is_an_error_alone_and_left_out_of_lists(
    state: StateConnection, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = await made(state), await made(state)
    await state.call("HSET", keys.api_key(tenant_tag("acme"), bad.key.id), "doc", damaged)
    with pytest.raises(StateError, match="cannot be read"):
        await find(state, bad.key.id)
    with pytest.raises(StateError):
        decode_doc(damaged)
    assert [key.id for key in (await list_keys(state)).keys] == [good.key.id]
    assert bad.key.id in caplog.text


async def test_a_record_of_a_newer_release_is_read_for_what_we_know(state: StateConnection) -> None:
    issued = await made(state)
    newer = msgspec.json.encode({**msgspec.to_builtins(issued.key), "unheard_of": True})
    assert decode_doc(newer) == issued.key


# Audit


async def test_the_audit_says_who_did_what_when_and_never_a_hash(state: StateConnection) -> None:
    issued = await made(state, name="batch", limits=KeyLimits(budget_day=5.0))
    await update(
        state, issued.key.id, KeyChanges(name="b", limits=KeyLimits(budget_day=1)), actor="cli:ann", now=NOW + 1
    )
    rotated = await rotate(state, issued.key.id, grace_s=60, actor="admin:admin", now=NOW + 2.5)
    await revoke(state, issued.key.id, actor="cli:bob", now=NOW + 3)
    entries = [change for _, change in (await read_audit(state, 10)).entries]
    assert [(entry.action, entry.actor, entry.at) for entry in entries] == [
        ("revoke", "cli:bob", NOW + 3),
        ("rotate", "admin:admin", NOW + 2.5),
        ("update", "cli:ann", NOW + 1),
        ("create", "test:1", NOW),
    ]
    assert {(entry.key_id, entry.tenant) for entry in entries} == {(issued.key.id, "acme")}
    assert entries[2].changes == {"name": {"from": "batch", "to": "b"}, "limits.budget_day": {"from": 5.0, "to": 1.0}}
    assert list(entries[1].changes) == ["old_key_until"]
    assert list(entries[0].changes) == ["revoked_at", "old_key_until"]
    for secret in (issued.text, rotated.text, issued.key.secret_hash, rotated.key.secret_hash):
        assert secret not in repr(entries)
    assert [entry.action for _, entry in (await read_audit(state, 1)).entries] == ["revoke"]


async def test_the_audit_of_one_key_is_found_among_many_others(state: StateConnection) -> None:
    of_key = [(await made(state)).key.id for _ in range(3)][1]
    other = KeyChange(at=NOW, actor="test:1", action="update", key_id="other", tenant="acme", changes={})
    for _ in range(2):
        await state.pipeline([audit_commands(other)[0]] * 600, large=True)
    await revoke(state, of_key, actor="test:1", now=NOW)
    page = await read_audit(state, 1, key_id=of_key)
    assert ([change.action for _, change in page.entries], page.has_more) == (["revoke"], True)
    page = await read_audit(state, 1, before=page.last_id, key_id=of_key)
    assert ([change.action for _, change in page.entries], page.has_more) == (["create"], False)
    assert (await read_audit(state, 1, key_id="nobody")).last_id is None


async def test_an_unreadable_entry_of_the_audit_is_left_out(state: StateConnection) -> None:
    await made(state)
    await state.call("XADD", keys.AUDIT, "*", "at", "never")
    await state.call("XADD", keys.AUDIT, "*", "at", "1", "changes", "{")
    assert [entry.action for _, entry in (await read_audit(state, 10)).entries] == ["create"]


# Versions


async def test_a_write_against_another_version_writes_nothing(state: StateConnection) -> None:
    name = keys.api_key(tenant_tag("acme"), "0123456789ab")
    assert await state.run_script(WRITE_KEY, (name,), (1, "version", 2)) == 0
    assert await state.call("EXISTS", name) == 0
    assert await state.run_script(WRITE_KEY, (name,), (0, "version", 1, "doc", b"\x00\xff")) == 1
    assert await state.run_script(WRITE_KEY, (name,), (0, "version", 1, "doc", b"other")) == 0
    assert await state.call("HGET", name, "doc") == b"\x00\xff"
    assert await state.run_script(WRITE_KEY, (name,), (1, "version", 2, "doc", b"third")) == 1


class Interfering:
    """A connection on whose every write of a key another writer is faster, ``times`` times."""

    def __init__(self, state: StateConnection, key: ApiKey, times: int) -> None:
        self._state, self._key, self._left = state, key, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    async def run_script(self, *args: Any, **kwargs: Any) -> Any:
        if self._left:
            self._left -= 1
            now_there = await find(self._state, self._key.id)
            assert now_there is not None
            changes = KeyChanges(metadata={"turn": str(now_there.version)})
            await update(self._state, self._key.id, changes, actor="other", now=NOW)
        return await self._state.run_script(*args, **kwargs)


async def test_a_change_that_collides_is_made_on_what_the_other_one_left(state: StateConnection) -> None:
    issued = await made(state)
    changed = await update(
        Interfering(state, issued.key, ATTEMPTS - 1), issued.key.id, KeyChanges(name="mine"), actor="a", now=NOW
    )
    assert (changed.name, changed.version, changed.metadata) == ("mine", ATTEMPTS + 1, {"turn": str(ATTEMPTS - 1)})
    assert await find(state, changed.id) == changed


async def test_a_change_that_collides_for_ever_is_a_conflict(state: StateConnection) -> None:
    issued = await made(state)
    with pytest.raises(Conflict) as caught:
        await update(
            Interfering(state, issued.key, ATTEMPTS), issued.key.id, KeyChanges(name="mine"), actor="a", now=NOW
        )
    assert caught.value.code == "conflict"


async def test_an_id_that_was_drawn_twice_does_not_take_over_the_other_key(
    state: StateConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await made(state)
    monkeypatch.setattr("app.state.api_keys._random", lambda chars: first.key.id if chars == 12 else "s" * chars)
    with pytest.raises(Conflict):
        await made(state, "other")
    assert await find(state, first.key.id) == first.key


async def test_two_writers_on_two_connections_lose_no_change(server: RedisServer) -> None:
    replicas = [connect(server.url, timeout_s=5.0) for _ in range(2)]
    issued = await made(replicas[0])
    await asyncio.gather(
        update(replicas[0], issued.key.id, KeyChanges(name="left"), actor="a", now=NOW),
        update(replicas[1], issued.key.id, KeyChanges(models=("right",)), actor="b", now=NOW),
        revoke(replicas[1], issued.key.id, actor="c", now=NOW),
        return_exceptions=True,  # what comes after the revocation is refused
    )
    key = await find(replicas[0], issued.key.id)
    assert key is not None
    changes = [change for _, change in (await read_audit(replicas[0], 10)).entries]
    assert key.revoked_at == NOW
    assert key.version == len(changes)
    assert key.name == ("left" if any("name" in change.changes for change in changes[:-1]) else issued.key.name)
    assert key.models == (("right",) if any("models" in change.changes for change in changes[:-1]) else ())
    await asyncio.gather(*(replica.close() for replica in replicas))


# Durability, which only a real server has


async def revoked_on(server: RedisServer) -> tuple[bool, str]:
    state = connect(server.url, timeout_s=5.0)
    issued = await made(state)
    revocation = await revoke(state, issued.key.id, actor="a", now=NOW)
    assert revocation.key.revoked_at == NOW
    await state.close()
    return revocation.durable, revocation.durability


async def test_a_server_that_syncs_every_second_makes_a_revocation_durable(redis_servers: RedisServers) -> None:
    server = redis_servers("--appendonly", "yes", "--appendfsync", "always")
    durable, words = await revoked_on(server)
    assert durable or "too old" in words
    slower = redis_servers("--appendonly", "yes", "--appendfsync", "everysec")
    durable, words = await revoked_on(slower)
    assert durable or "too old" in words or "not written it to its disk yet" in words  # a disk under load


async def test_a_durable_revocation_is_there_after_kill_and_restart(redis_servers: RedisServers) -> None:
    server = redis_servers("--appendonly", "yes", "--appendfsync", "always")
    state = connect(server.url, timeout_s=5.0)
    issued = await made(state)
    assert (await revoke(state, issued.key.id, actor="a", now=NOW)).durable
    await state.close()
    server.kill()
    server.start()
    state = connect(server.url, timeout_s=5.0)
    found = await find(state, issued.key.id)
    assert found is not None
    assert found.revoked_at == NOW
    await state.close()


async def test_a_server_without_an_append_only_file_is_not_durable_and_says_so(server: RedisServer) -> None:
    assert await revoked_on(server) == (
        False,
        "The server keeps no append-only file: a restart may bring the key back.",
    )


async def test_a_server_that_leaves_the_disk_to_the_system_is_not_durable(redis_servers: RedisServers) -> None:
    durable, words = await revoked_on(redis_servers("--appendonly", "yes", "--appendfsync", "no"))
    assert not durable
    assert "may bring the key back" in words or "too old" in words


async def test_a_server_that_says_nothing_of_its_disk_revokes_all_the_same(redis_servers: RedisServers) -> None:
    server = redis_servers("--rename-command", "WAITAOF", "", "--rename-command", "INFO", "")
    assert await revoked_on(server) == (False, "The server does not say whether it keeps an append-only file.")


def test_hot_fields_of_a_blank_key_are_all_there() -> None:
    fields = hot_fields(ApiKey(id="i", tenant="t", name="n", secret_hash="00" * 32))
    assert fields["limits"] == "- - - - - - -"
    assert (fields["models"], fields["revoked"], fields["expires_us"], fields["prev"]) == ("", 0, 0, b"")
