from __future__ import annotations

from typing import Any

import pytest

from app.cli.errors import FAILED, MISUSED, CommandFailed
from app.cli.key_options import CACHE, LIMITS, grace_of, in_options, wire_of
from app.errors import GatewayError, InvalidRequest, NotFound, StateUnavailable

_NOTHING: dict[str, Any] = {
    **dict.fromkeys((*LIMITS, *CACHE, "name", "expires", "outage")),
    **dict.fromkeys(("models", "scopes", "metadata"), ()),
}


def wire(**given: Any) -> dict[str, Any]:
    return wire_of(_NOTHING | given)


def test_what_was_not_given_is_not_asked_for() -> None:
    assert wire() == {}


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"name": "none"}, {"name": "none"}),
        ({"models": ("a, b", "c")}, {"models": ["a", "b", "c"]}),
        ({"models": ("none",)}, {"models": []}),
        ({"scopes": ("admin",)}, {"scopes": ["admin"]}),
        ({"rpm": "60", "budget_day": "2.5"}, {"limits": {"requests_per_minute": 60, "budget_day": 2.5}}),
        ({"rpm": "none"}, {"limits": {"requests_per_minute": None}}),
        ({"rpm": "many"}, {"limits": {"requests_per_minute": "many"}}),
        ({"expires": "1d"}, {"expires": "1d"}),
        ({"expires": "1896091200"}, {"expires": 1_896_091_200}),
        ({"expires": "2030-01-31T12:00:00Z"}, {"expires": "2030-01-31T12:00:00Z"}),
        ({"expires": "none"}, {"expires": None}),
        ({"outage": "fail_open"}, {"outage": "fail_open"}),
        ({"outage": "none"}, {"outage": None}),
        ({"cache": "on"}, {"cache": {"mode": "on"}}),
        ({"cache_ttl": "600", "share_within": "tenant"}, {"cache": {"ttl": 600, "share_within": "tenant"}}),
        (
            {"cache": "none", "cache_ttl": "none", "share_within": "none"},
            {"cache": {"mode": None, "ttl": None, "share_within": None}},
        ),
        ({"cache_ttl": "5m"}, {"cache": {"ttl": "5m"}}),
        ({"metadata": ("a=b=c", "d=")}, {"metadata": {"a": "b=c", "d": None}}),
        ({"metadata": ("none",)}, {"metadata": None}),
    ],
)
def test_an_option_asks_for_a_field(given: dict[str, Any], asked: dict[str, Any]) -> None:
    assert wire(**given) == asked


def test_a_note_without_a_value_is_refused() -> None:
    with pytest.raises(CommandFailed, match="--metadata: 'a' is no K=V pair"):
        wire(metadata=("a",))


def test_a_note_that_is_named_twice_is_refused() -> None:
    with pytest.raises(CommandFailed, match="--metadata: 'a' is given twice"):
        wire(metadata=("a=b", "a=c"))


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (None, {}),
        ("90", {"grace_s": 90}),
        ("1.5", {"grace_s": 1.5}),
        ("12h", {"grace": "12h"}),
        ("x", {"grace": "x"}),
    ],
)
def test_a_grace_is_seconds_or_a_duration(text: str | None, asked: dict[str, Any]) -> None:
    assert grace_of(text) == asked


@pytest.mark.parametrize(
    ("error", "message", "status"),
    [
        (InvalidRequest("Not 'limits.budget_day'.", param="limits.budget_day"), "Not --budget-day.", MISUSED),
        (InvalidRequest("Not 'models[3]' or null.", param="models[3]"), "Not --models or none.", MISUSED),
        (InvalidRequest("Not 'grace_s'.", param="grace_s"), "Not --grace.", MISUSED),
        (InvalidRequest("Not 'cache.mode', or null.", param="cache.mode"), "Not --cache, or none.", MISUSED),
        (InvalidRequest("Not 'cache.ttl'.", param="cache.ttl"), "Not --cache-ttl.", MISUSED),
        (InvalidRequest("Not 'cache.share_within'.", param="cache.share_within"), "Not --share-within.", MISUSED),
        (InvalidRequest("Not 'metadata.a'.", param="metadata.a"), "Not --metadata.", MISUSED),
        (InvalidRequest("One of x, or null.", param="outage"), "One of x, or none.", MISUSED),
        (InvalidRequest("No."), "No.", MISUSED),
        (InvalidRequest("Again.", code="conflict"), "Again.", FAILED),
        (InvalidRequest("Revoked.", code="key_revoked", param="id"), "Revoked.", FAILED),
        (NotFound("Not there."), "Not there.", FAILED),
        (StateUnavailable("Away."), "Away.", FAILED),
    ],
)
def test_an_error_is_told_by_the_name_of_its_option(error: GatewayError, message: str, status: int) -> None:
    failed = in_options(error)
    assert (failed.message, failed.status) == (message, status)
