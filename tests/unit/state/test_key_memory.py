from __future__ import annotations

import hashlib

import pytest

from app.domain.auth import ApiKey
from app.state.key_memory import MEMORY_S, KeyMemory
from app.state.keys import REVOKED_TTL_S

TAG = "tag"
SECRET = hashlib.sha256(b"the key").digest()
BEFORE = hashlib.sha256(b"the key before it was rotated").digest()
OTHER = hashlib.sha256(b"another key").digest()
KEY = ApiKey(id="id", tenant="acme", name="test", secret_hash=SECRET.hex(), version=3)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> KeyMemory:
    return KeyMemory(now=clock, most_keys=3)


def learn(memory: KeyMemory, clock: Clock, key: ApiKey = KEY) -> None:
    """A whole question and answer."""
    asked_at, clock.now = clock.now, clock.now + 0.001
    memory.remember(TAG, key, asked_at=asked_at)


def test_a_key_that_was_seen_is_recalled(memory: KeyMemory, clock: Clock):
    learn(memory, clock)
    assert memory.recall(TAG, "id", SECRET) is KEY


def test_a_key_that_was_never_seen_is_not_known(memory: KeyMemory):
    assert memory.recall(TAG, "id", SECRET) is None


def test_a_key_of_another_tenant_is_another_key(memory: KeyMemory, clock: Clock):
    learn(memory, clock)
    assert memory.recall("other", "id", SECRET) is None


@pytest.mark.parametrize("secret_hash", [OTHER, b"", SECRET[:-1]])
def test_another_secret_is_refused(memory: KeyMemory, clock: Clock, secret_hash: bytes):
    learn(memory, clock)
    assert memory.recall(TAG, "id", secret_hash) is None


def test_a_key_is_believed_for_ten_minutes(memory: KeyMemory, clock: Clock):
    learn(memory, clock)
    clock.now += MEMORY_S - 1
    assert memory.recall(TAG, "id", SECRET) is KEY
    clock.now += 1
    assert memory.recall(TAG, "id", SECRET) is None


def test_use_without_the_store_does_not_prolong_it(memory: KeyMemory, clock: Clock):
    learn(memory, clock)
    for _ in range(11):
        clock.now += MEMORY_S / 10
        memory.recall(TAG, "id", SECRET)
    assert memory.recall(TAG, "id", SECRET) is None


def test_every_confirmation_prolongs_it(memory: KeyMemory, clock: Clock):
    learn(memory, clock)
    clock.now += MEMORY_S - 1
    learn(memory, clock)
    clock.now += MEMORY_S - 1
    assert memory.recall(TAG, "id", SECRET) is KEY


def test_a_change_outlives_what_any_worker_believes():
    assert REVOKED_TTL_S > MEMORY_S


def test_a_key_that_runs_out_is_refused_from_then_on(memory: KeyMemory, clock: Clock):
    learn(memory, clock, ApiKey(id="id", tenant="acme", name="", secret_hash=SECRET.hex(), expires_at=clock.now + 10))
    assert memory.recall(TAG, "id", SECRET) is not None
    clock.now += 10
    assert memory.recall(TAG, "id", SECRET) is None


def test_a_revoked_key_is_refused(memory: KeyMemory, clock: Clock):
    learn(memory, clock, ApiKey(id="id", tenant="acme", name="", secret_hash=SECRET.hex(), revoked_at=clock.now))
    assert memory.recall(TAG, "id", SECRET) is None


def test_the_secret_before_a_rotation_is_good_for_its_time(memory: KeyMemory, clock: Clock):
    rotated = ApiKey(
        id="id",
        tenant="acme",
        name="",
        secret_hash=SECRET.hex(),
        previous_hash=BEFORE.hex(),
        previous_until=clock.now + 10,
    )
    learn(memory, clock, rotated)
    assert memory.recall(TAG, "id", BEFORE) is rotated
    assert memory.recall(TAG, "id", OTHER) is None
    clock.now += 10
    assert memory.recall(TAG, "id", BEFORE) is None
    assert memory.recall(TAG, "id", SECRET) is rotated


def test_a_forgotten_key_is_not_known(memory: KeyMemory, clock: Clock):
    learn(memory, clock)
    memory.forget(TAG, "id")
    assert memory.recall(TAG, "id", SECRET) is None


def test_a_forgotten_key_can_be_learned_again(memory: KeyMemory, clock: Clock):
    memory.forget(TAG, "id")
    clock.now += 0.001
    learn(memory, clock)
    assert memory.recall(TAG, "id", SECRET) is KEY


def test_an_answer_under_way_while_the_key_was_changed_is_not_believed(memory: KeyMemory, clock: Clock):
    asked_at = clock.now
    clock.now += 0.001
    memory.forget(TAG, "id")
    clock.now += 0.001
    memory.remember(TAG, KEY, asked_at=asked_at)
    assert memory.recall(TAG, "id", SECRET) is None


def test_the_key_confirmed_longest_ago_goes(memory: KeyMemory, clock: Clock):
    for key_id in ("a", "b", "c", "a", "d"):
        learn(memory, clock, ApiKey(id=key_id, tenant="acme", name="", secret_hash=SECRET.hex()))
    assert [memory.recall(TAG, key_id, SECRET) is not None for key_id in "abcd"] == [True, False, True, True]
