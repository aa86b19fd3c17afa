"""Request headers about what the gateway keeps."""

from __future__ import annotations

from typing import Any

import pytest

from app.api.wants import read_wants
from app.domain.caching import CacheControl
from app.errors import InvalidRequest
from app.gateway.wants import NOTHING_WANTED, Wants


def wants_of(*headers: tuple[str, str]) -> Wants:
    scope: Any = {"headers": [(name.encode(), value.encode("latin-1")) for name, value in headers]}
    return read_wants(scope)


def refused(*headers: tuple[str, str]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        wants_of(*headers)
    return caught.value


def test_other_headers_want_nothing() -> None:
    assert wants_of(("content-type", "application/json"), ("x-claude-wrapper-strict", "true")) is NOTHING_WANTED


def test_every_header_has_its_place() -> None:
    assert wants_of(
        ("x-session-id", "trip"),
        ("x-claude-wrapper-session-wait", "2.5"),
        ("x-claude-wrapper-session-conflict", "fork"),
        ("idempotency-key", "order 66"),
        ("cache-control", "max-age=60, no-cache"),
    ) == Wants(
        session="trip",
        wait_s=2.5,
        forks=True,
        idempotency_key="order 66",
        cache=CacheControl(no_cache=True, max_age_s=60),
    )


def test_an_empty_cache_control_wants_nothing() -> None:
    assert wants_of(("cache-control", " ")).is_none


@pytest.mark.parametrize("name", ["x-session-id", "idempotency-key"])
def test_a_name_that_is_empty_is_none(name: str) -> None:
    error = refused((name, " "))
    assert (error.param, error.code, " 1 to " in error.message) == (f"header.{name}", "invalid_value", True)


def test_two_lines_of_cache_control_are_one() -> None:
    assert wants_of(("cache-control", "max-age=60"), ("cache-control", "no-cache")).cache == CacheControl(
        no_cache=True, max_age_s=60
    )


@pytest.mark.parametrize(
    "name",
    ["x-session-id", "idempotency-key", "x-claude-wrapper-session-wait", "x-claude-wrapper-session-conflict"],
)
def test_two_other_lines_must_say_the_same(name: str) -> None:
    error = refused((name, "1"), (name, "2"))
    assert (error.param, error.code, "came twice" in error.message) == (f"header.{name}", "invalid_value", True)


def test_a_line_that_came_twice_counts_once() -> None:
    assert wants_of(("idempotency-key", "a"), ("idempotency-key", "a ")).idempotency_key == "a"


@pytest.mark.parametrize("text", ["a b", "a" * 129, "*", "../x", "{x}", "caf\xe9", "stats", "clear"])
def test_a_session_is_named_as_sessions_are(text: str) -> None:
    error = refused(("x-session-id", text))
    assert error.param == "header.x-session-id"


@pytest.mark.parametrize(
    ("text", "wait_s"), [("0", 0.0), ("5", 5.0), ("0.5", 0.5), ("86400", 86400.0), ("86399.999", 86399.999)]
)
def test_a_wait_is_a_number_of_seconds(text: str, wait_s: float) -> None:
    assert wants_of(("x-claude-wrapper-session-wait", text)).wait_s == wait_s


@pytest.mark.parametrize(
    "text", ["", "-1", "1e3", "inf", "nan", "five", "86401", "86400.001", "99999999", "1.2345", "٣"]
)
def test_another_wait_is_refused(text: str) -> None:
    scope: Any = {"headers": [(b"x-claude-wrapper-session-wait", text.encode())]}
    with pytest.raises(InvalidRequest, match="seconds from 0 to 86400") as caught:
        read_wants(scope)
    assert caught.value.param == "header.x-claude-wrapper-session-wait"


@pytest.mark.parametrize(("text", "forks"), [("fork", True), ("FORK", True), ("error", False), ("Error", False)])
def test_a_conflict_ends_in_an_error_or_in_a_fork(text: str, forks: bool) -> None:
    assert wants_of(("x-claude-wrapper-session-conflict", text)).forks is forks


def test_another_word_for_conflicts_is_refused() -> None:
    assert "'error'" in refused(("x-claude-wrapper-session-conflict", "wait")).message


@pytest.mark.parametrize("text", ["a", "a b", "~" * 255, '"quoted"'])
def test_an_idempotency_key_is_printable(text: str) -> None:
    assert wants_of(("idempotency-key", text)).idempotency_key == text


@pytest.mark.parametrize("text", ["a" * 256, "a\tb", "a\x7fb", "caf\xe9", "a\x00"])
def test_another_idempotency_key_is_refused_and_not_shown(text: str) -> None:
    error = refused(("idempotency-key", text))
    assert (error.param, text in error.message) == ("header.idempotency-key", False)


def test_an_age_that_is_no_number_is_refused() -> None:
    assert refused(("cache-control", "max-age=soon")).param == "header.cache-control"
