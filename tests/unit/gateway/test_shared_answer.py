"""Which answer a request shares with others."""

from __future__ import annotations

from msgspec.structs import replace

from app.domain.auth import Caller
from app.domain.caching import CacheControl
from app.gateway.shared_answer import Shared, shared_answer
from app.gateway.wants import NOTHING_WANTED, Wants
from tests.support.corridor import ANN, CACHED, Corridor, caller


def shared(corridor: Corridor, wants: Wants = NOTHING_WANTED, *, who: Caller = ANN, said: str = "Hi") -> Shared | None:
    return shared_answer(corridor.services, corridor.read(said, wants=wants), who)


def slot_of(found: Shared | None) -> object:
    assert found is not None
    return found.slot


def test_a_request_that_asks_for_nothing_has_its_answer_for_itself() -> None:
    assert shared(Corridor()) is None


def test_equal_requests_of_one_key_have_one_slot_and_others_their_own() -> None:
    corridor = Corridor()
    own = slot_of(shared(corridor, CACHED))
    assert slot_of(shared(corridor, CACHED)) == own
    assert slot_of(shared(corridor, CACHED, said="Ho")) != own
    assert slot_of(shared(corridor, CACHED, who=caller("bob"))) != own


def test_keys_of_a_tenant_that_shares_have_one_slot() -> None:
    corridor = Corridor(share_within="tenant")
    assert slot_of(shared(corridor, CACHED)) == slot_of(shared(corridor, CACHED, who=caller("bob")))


def test_an_answer_is_not_kept_for_longer_than_a_session() -> None:
    found = shared(Corridor(session_ttl=20), Wants(cache=CacheControl(max_age_s=300)))
    assert found is not None
    assert (found.max_age_s, found.ttl_s) == (300, 20)


def test_a_session_and_a_clients_own_key_have_nothing_to_do_with_the_cache() -> None:
    corridor = Corridor()
    assert shared(corridor, replace(CACHED, session="trip")) is None
    assert shared(corridor, CACHED, who=replace(ANN, credential="sk-ant-own")) is None


def test_an_idempotency_key_comes_before_the_cache_and_is_the_callers_own() -> None:
    corridor = Corridor()
    wants = replace(CACHED, idempotency_key="order 66")
    found = shared(corridor, wants)
    assert found is not None
    assert (found.slot.kind, found.max_age_s, found.ttl_s) == ("once", None, corridor.services.config.idempotency_ttl)
    assert found.fingerprint
    assert slot_of(shared(corridor, wants, said="Ho")) == found.slot
    assert slot_of(shared(corridor, wants, who=caller("bob"))) != found.slot
