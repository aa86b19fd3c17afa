"""Headers that are read, and reports that never break a header line."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.headers import MAX_REPORT_CHARS, encoded, flag, report_headers, whole_number
from app.domain.calls import Report
from app.errors import InvalidRequest


def scope(**headers: str) -> Any:
    return {"headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]}


@pytest.mark.parametrize(("value", "meaning"), [("1", True), ("TRUE", True), ("0", False), ("off", False)])
def test_a_flag_header_is_read(value: str, meaning: bool) -> None:
    assert flag(scope(x_strict=value), b"x-strict") is meaning


def test_an_absent_flag_is_neither_yes_nor_no() -> None:
    assert flag(scope(), b"x-strict") is None


def test_a_flag_that_says_something_else_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest) as caught:
        flag(scope(x_strict="maybe"), b"x-strict")
    assert caught.value.param == "header.x-strict"


def test_a_number_header_is_read() -> None:
    assert whole_number(scope(x_budget=" 4096 "), b"x-budget") == 4096


@pytest.mark.parametrize("value", ["-1", "4k", "", "1.5", "\xb2", "9" * 10])
def test_a_number_header_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        whole_number(scope(x_budget=value), b"x-budget")


def test_nothing_ignored_or_adjusted_makes_no_header() -> None:
    assert report_headers(Report()) == []


def test_ignored_and_adjusted_are_listed_as_the_spec_writes_them() -> None:
    report = Report(ignored=("temperature", "stop[1]"), adjusted=(("tool_choice", "auto"), ("temperature", "1")))
    assert report_headers(report, ("header.x-claude-max-turns",)) == [
        (b"x-claude-wrapper-ignored-params", b"temperature, stop[1], header.x-claude-max-turns"),
        (b"x-claude-wrapper-adjusted-params", b"tool_choice=auto, temperature=1"),
    ]


def test_a_long_list_is_cut_between_two_names() -> None:
    ((_, value),) = report_headers(Report(ignored=tuple(f"field_{i}" for i in range(2000))))
    assert len(value) <= MAX_REPORT_CHARS + 5
    assert value.endswith(b", ...")
    assert value.split(b", ")[-2].startswith(b"field_")


@given(st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=40))
def test_no_name_of_a_client_can_break_the_header(names: list[str]) -> None:
    ((_, value),) = report_headers(Report(ignored=tuple(names)))
    assert all(0x20 <= byte < 0x7F for byte in value)


def test_reply_headers_are_encoded_on_one_line() -> None:
    assert encoded({"request-id": "req_1\r\nx: y"}) == [(b"request-id", b"req_1%0D%0Ax: y")]


@pytest.mark.parametrize("names", [("a,b", "c"), ("100%2C", "é,"), (", ", ",")])
def test_a_list_can_be_taken_apart_whatever_its_names_are(names: tuple[str, ...]) -> None:
    ((_, listed),) = report_headers(Report(ignored=names))
    assert tuple(unquote(name) for name in listed.decode().split(", ")) == names
