"""Who uses the response cache: rules laid over each other, what requests say by Cache-Control, and the plan of both."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.caching import (
    MAX_CACHE_TTL_S,
    NO_CACHE_CONTROL,
    NO_CACHE_RULE,
    CacheControl,
    CacheMode,
    CachePlan,
    CacheRule,
    plan_cache,
    read_cache_control,
)
from app.errors import InvalidRequest

DEFAULTS = CacheRule(mode="opt-in", ttl_s=300, share_within="key")


# Rules


def test_a_rule_that_says_nothing_is_the_deployments() -> None:
    assert NO_CACHE_RULE.over(DEFAULTS) == DEFAULTS


@pytest.mark.parametrize("own", [CacheRule(mode="off"), CacheRule(ttl_s=9), CacheRule(share_within="tenant")])
def test_what_a_rule_says_counts_and_the_rest_is_the_deployments(own: CacheRule) -> None:
    said = {name: value for name in own.__struct_fields__ if (value := getattr(own, name)) is not None}
    assert own.over(DEFAULTS) == msgspec.structs.replace(DEFAULTS, **said)


@pytest.mark.parametrize("mode", ["opt-in", "on"])
def test_no_rule_switches_on_what_the_deployment_has_switched_off(mode: CacheMode) -> None:
    rule = CacheRule(mode=mode, ttl_s=60, share_within="tenant").over(CacheRule(mode="off", ttl_s=300))
    assert rule == CacheRule(mode="off", ttl_s=60, share_within="tenant")
    assert plan_cache(rule, CacheControl(max_age_s=60)) is None


@pytest.mark.parametrize(
    "wire", [b'{"ttl_s": 0}', b'{"ttl_s": 1801}', b'{"mode": "maybe"}', b'{"share_within": "all"}']
)
def test_a_rule_that_no_release_writes_is_refused(wire: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(wire, type=CacheRule)


# Cache-Control


@pytest.mark.parametrize("header", [None, "", " ", ",", ", ,", "private", "max-stale=5, min-fresh=9, no-transform"])
def test_what_asks_for_nothing_of_ours_is_as_no_header(header: str | None) -> None:
    assert read_cache_control(header) == NO_CACHE_CONTROL


@pytest.mark.parametrize(
    ("header", "control"),
    [
        ("no-cache", CacheControl(no_cache=True)),
        ("No-Store", CacheControl(no_store=True)),
        ("max-age=0", CacheControl(max_age_s=0)),
        ("MAX-AGE=60", CacheControl(max_age_s=60)),
        ('max-age="60"', CacheControl(max_age_s=60)),
        ("max-age=007", CacheControl(max_age_s=7)),
        (" no-cache ,\tmax-age=5,, no-store", CacheControl(no_cache=True, no_store=True, max_age_s=5)),
        ("no-cache,no-cache", CacheControl(no_cache=True)),
        ("max-age=60, max-age=5, max-age=99", CacheControl(max_age_s=5)),
        ('no-cache="x", no-store=1', CacheControl(no_cache=True, no_store=True)),
        ("max-age=9999999999", CacheControl(max_age_s=2**31)),
        ("max-age=" + "9" * 5000, CacheControl(max_age_s=2**31)),
        ("max-age=" + "0" * 5000 + "5", CacheControl(max_age_s=5)),
    ],
)
def test_directives_are_read_in_any_case_and_order(header: str, control: CacheControl) -> None:
    assert read_cache_control(header) == control


@pytest.mark.parametrize(
    "header",
    [
        'ext="no-store, max-age=x", max-age=5',
        'ext="a\\", no-store", max-age=5',
        "no-storage, x-max-age=x, max-age=5",
        'max-age=5, ext="no-store',
        'max-age=5, ext="no-store\\',
    ],
)
def test_what_stands_in_quotes_or_looks_alike_is_no_directive(header: str) -> None:
    assert read_cache_control(header) == CacheControl(max_age_s=5)


@pytest.mark.parametrize(
    "header",
    [
        "max-age",
        "max-age=",
        "max-age=-1",
        "max-age=+1",
        "max-age=1.5",
        "max-age=1s",
        "max-age=\u0665",
        "max-age=5 5",
        'max-age="5',
        'max-age=""',
        "max-age=5, max-age=x",
        "no-store, max-age=x",
    ],
)
def test_a_broken_max_age_is_refused(header: str) -> None:
    with pytest.raises(InvalidRequest, match=r"a whole number of seconds, such as max-age=300\.$") as caught:
        read_cache_control(header)
    assert (caught.value.param, caught.value.code) == ("header.cache-control", "invalid_value")


@pytest.mark.parametrize("header", ["only-if-cached", "max-age=5, Only-If-Cached"])
def test_an_answer_only_if_it_is_cached_cannot_be_asked_for(header: str) -> None:
    with pytest.raises(InvalidRequest, match="only-if-cached is not supported") as caught:
        read_cache_control(header)
    assert (caught.value.param, caught.value.code) == ("header.cache-control", "unsupported_value")


@given(st.text(st.sampled_from('max-age=0123,"\\ no-cachestore\t'), max_size=60))
def test_no_header_breaks_its_reader(header: str) -> None:
    try:
        control = read_cache_control(header)
    except InvalidRequest:
        return
    assert control.max_age_s is None or 0 <= control.max_age_s <= 2**31


@pytest.mark.parametrize("header", ['ext="' + '\\"' * 30_000, "max-age=" + "0" * 60_000 + "x", '"' * 60_001])
@pytest.mark.timeout(20)
def test_a_header_as_long_as_any_is_read_at_once(header: str) -> None:
    with contextlib.suppress(InvalidRequest):
        read_cache_control(header)


# Plans


def plan(mode: CacheMode, header: str | None = None) -> CachePlan | None:
    rule = msgspec.structs.replace(DEFAULTS, mode=mode)
    return plan_cache(rule, read_cache_control(header))


@pytest.mark.parametrize("header", [None, "no-cache", "max-age=0", "max-age=60", "no-store"])
def test_where_the_cache_is_off_nothing_opts_in(header: str | None) -> None:
    assert plan("off", header) is None


@pytest.mark.parametrize("mode", ["opt-in", "on"])
@pytest.mark.parametrize("header", ["no-store", "no-store, max-age=60", "no-store, no-cache"])
def test_what_may_not_be_stored_has_nothing_to_do_with_the_cache(mode: CacheMode, header: str) -> None:
    assert plan(mode, header) is None


@pytest.mark.parametrize("header", [None, "no-cache", "max-age=0", "no-cache, max-age=0", "private"])
def test_only_a_max_age_of_some_seconds_opts_in(header: str | None) -> None:
    assert plan("opt-in", header) is None


@pytest.mark.parametrize("mode", ["opt-in", "on"])
def test_a_max_age_bounds_what_is_read_and_how_long_it_is_kept(mode: CacheMode) -> None:
    assert plan(mode, "max-age=60") == CachePlan(reads=True, stores=True, max_age_s=60, ttl_s=60)
    assert plan(mode, "max-age=86400") == CachePlan(reads=True, stores=True, max_age_s=86400, ttl_s=MAX_CACHE_TTL_S)


@pytest.mark.parametrize("mode", ["opt-in", "on"])
def test_a_fresh_answer_with_a_max_age_is_kept_for_it(mode: CacheMode) -> None:
    assert plan(mode, "no-cache, max-age=60") == CachePlan(reads=False, stores=True, max_age_s=None, ttl_s=60)


def test_where_the_cache_is_on_it_counts_for_every_request() -> None:
    assert plan("on") == CachePlan(reads=True, stores=True, max_age_s=None, ttl_s=300)


@pytest.mark.parametrize("header", ["no-cache", "max-age=0", "no-cache, max-age=0"])
def test_a_fresh_answer_takes_the_place_of_the_one_before(header: str) -> None:
    assert plan("on", header) == CachePlan(reads=False, stores=True, max_age_s=None, ttl_s=300)


@pytest.mark.parametrize("rule", [NO_CACHE_RULE, CacheRule(mode="on"), CacheRule(ttl_s=5)])
def test_a_rule_that_was_not_laid_over_the_settings_is_a_mistake_of_ours(rule: CacheRule) -> None:
    with pytest.raises(ValueError, match="over the deployment's settings"):
        plan_cache(rule, NO_CACHE_CONTROL)
