from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.auth import Caller, tenant_tag
from app.domain.claims import ClaimNames, caller_of, check_times, looks_like_token, subject_id
from app.domain.limits import NANO_PER_USD, NO_LIMITS, Limits
from app.errors import Unauthenticated

NOW = 1_800_000_000.0
NAMES = ClaimNames()


def caller(**claims: object) -> Caller:
    return caller_of({"sub": "user-1", **claims}, NAMES)


# Times


@pytest.mark.parametrize("exp", [NOW + 1, int(NOW) + 1, NOW - 9.9, 10**400])
def test_a_token_before_its_end_is_good(exp: float) -> None:
    assert check_times({"exp": exp}, now=NOW, leeway_s=10) == exp


@pytest.mark.parametrize("exp", [NOW - 10, NOW - 1e6, 0, -1])
def test_a_token_after_its_end_and_the_leeway_has_expired(exp: float) -> None:
    with pytest.raises(Unauthenticated, match="has expired"):
        check_times({"exp": exp}, now=NOW, leeway_s=10)


@pytest.mark.parametrize("claims", [{}, {"exp": None}])
def test_a_token_without_an_end_is_refused(claims: dict[str, object]) -> None:
    with pytest.raises(Unauthenticated, match="never expires"):
        check_times(claims, now=NOW, leeway_s=10)


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1900000000", True, [1], {}, float("nan"), float("inf"), float("-inf")])
def test_a_time_that_is_no_number_is_refused(name: str, value: object) -> None:
    with pytest.raises(Unauthenticated, match=f"claim {name} has to be a number of seconds"):
        check_times({"exp": NOW + 60, name: value}, now=NOW, leeway_s=10)


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_token_of_the_future_is_not_yet_valid(name: str) -> None:
    with pytest.raises(Unauthenticated, match=rf"not yet valid \({name}\)"):
        check_times({"exp": NOW + 60, name: NOW + 11}, now=NOW, leeway_s=10)


@pytest.mark.parametrize("begins", [NOW + 10, NOW, NOW - 1e6, None])
def test_a_token_that_has_begun_is_good(begins: float | None) -> None:
    assert check_times({"exp": NOW + 60, "nbf": begins, "iat": begins}, now=NOW, leeway_s=10) == NOW + 60


# Who it is


def test_a_token_with_a_subject_alone_is_an_ordinary_caller_of_tenant_jwt() -> None:
    assert caller() == Caller(
        source="jwt",
        tenant="jwt",
        tag=tenant_tag("jwt"),
        key_id=subject_id("user-1"),
        subject="user-1",
        scopes=("inference", "sessions"),
        authenticated=True,
    )


def test_every_claim_counts_under_the_name_that_is_configured() -> None:
    found = caller_of(
        {"sub": "user-1", "org": "acme", "roles": ["admin"], "quota": {"concurrency": 3}, "tenant": "x", "scope": ""},
        ClaimNames(tenant="org", scope="roles", limits="quota"),
    )
    assert (found.tenant, found.tag) == ("acme", tenant_tag("acme"))
    assert (found.scopes, found.limits) == (("admin",), Limits(concurrency=3))


def test_the_id_of_a_subject_is_short_and_says_nothing_of_it() -> None:
    assert subject_id("user-1") == "jwt-y3bitze6tqc3efcy"
    assert subject_id("user-2") != subject_id("user-1")


@pytest.mark.parametrize("sub", ["a", "x" * 256, "auth0|507f1f77", "user@example.com", "Zoë Müller"])
def test_a_printable_subject_is_taken(sub: str) -> None:
    assert caller(sub=sub).subject == sub


@pytest.mark.parametrize("sub", ["", "x" * 257, "a\nb", "a\x00", "\ud800", 5, None, ["user-1"], True])
def test_any_other_subject_is_refused(sub: object) -> None:
    with pytest.raises(Unauthenticated, match="claim sub has to be 1 to 256 printable characters"):
        caller(sub=sub)


def test_a_token_without_a_subject_is_refused() -> None:
    with pytest.raises(Unauthenticated, match="claim sub"):
        caller_of({}, NAMES)


@pytest.mark.parametrize("tenant", ["", "a b", "../x", "ä", "x" * 65, "{x}", "acme\n", 5, None, ["acme"]])
def test_a_name_that_no_tenant_can_have_is_refused(tenant: object) -> None:
    with pytest.raises(Unauthenticated, match="claim tenant has to be 1 to 64 letters"):
        caller(tenant=tenant)


# What it may do


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        ("inference", ("inference",)),
        ("openid  profile admin inference", ("inference", "admin")),
        (["sessions", "email", 5, None], ("sessions",)),
        ("", ()),
        ([], ()),
        ("openid profile", ()),
        ("inference,sessions", ()),
        ("ADMIN", ()),
        (None, ()),
        (7, ()),
        ({"admin": True}, ()),
    ],
)
def test_scopes_are_words_of_ours_in_the_claim(claim: object, scopes: tuple[str, ...]) -> None:
    assert caller(scope=claim).scopes == scopes


def test_limits_are_those_of_the_claim_with_money_in_dollars() -> None:
    wire = {"requests_per_minute": 60, "budget_day": 2.5, "budget_month": 0, "concurrency": None}
    assert caller(limits=wire).limits == Limits(
        requests_per_minute=60, budget_day_nano=5 * NANO_PER_USD // 2, budget_month_nano=0
    )
    assert caller(limits={}).limits == NO_LIMITS


@pytest.mark.parametrize(
    "wire",
    [
        None,
        5,
        "60",
        [],
        {"rpm": 5},
        {"requests_per_minute": 0},
        {"requests_per_minute": -5},
        {"requests_per_minute": "60"},
        {"requests_per_minute": True},
        {"budget_day": float("nan")},
        {"budget_day": float("inf")},
        {"budget_day": -0.5},
    ],
)
def test_a_broken_limits_claim_refuses_the_token(wire: object) -> None:
    with pytest.raises(Unauthenticated, match="claim limits is not accepted"):
        caller(limits=wire)


# Shape


@pytest.mark.parametrize("presented", [b"eyJh.eyJz.c2ln", b"eyJh.eyJz.", b"ewo.e30.x", b"eyJh==.e30=.x_-"])
def test_three_parts_of_base64url_look_like_a_token(presented: bytes) -> None:
    assert looks_like_token(presented)


@pytest.mark.parametrize(
    "presented",
    [b"", b"eyJh", b"eyJh.eyJz", b"a.b.c", b"eyJh.b.c.d.e", b"eyJh.b.c\n", b"sk-cw-x_y_z", b"sk-ant-api03-x"],
)
def test_keys_and_anything_else_do_not(presented: bytes) -> None:
    assert not looks_like_token(presented)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "iat", "tenant", "scope", "limits"]), json_values))
def test_whatever_claims_say_they_are_a_caller_or_a_refusal(claims: dict[str, object]) -> None:
    with suppress(Unauthenticated):
        check_times(claims, now=NOW, leeway_s=10)
    with suppress(Unauthenticated):
        caller_of(claims, NAMES)
