"""Key names: their slot on a cluster, their version."""

from __future__ import annotations

import re

from app.state import keys

_NAMES = [keys.WORKERS, keys.SECRET, keys.PROBE, keys.worker("host:1:a")]


def test_what_belongs_to_no_tenant_shares_one_slot() -> None:
    assert {re.search(r"\{(.*?)\}", name)[1] for name in _NAMES} == {"_"}  # type: ignore[index]


def test_every_name_is_ours_and_versioned() -> None:
    assert all(re.fullmatch(r"cw:\{_\}:[a-z]+:v\d+(:.+)?", name) for name in _NAMES)


def test_names_differ() -> None:
    assert len(set(_NAMES)) == len(_NAMES)


def test_a_worker_outlives_two_missed_publications() -> None:
    from app.state.figures import PUBLISH_INTERVAL_S

    assert keys.WORKER_TTL_S > 2 * PUBLISH_INTERVAL_S
