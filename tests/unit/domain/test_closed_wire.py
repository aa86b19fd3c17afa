from __future__ import annotations

import pytest

from app.domain.closed_wire import converted, decoded, in_words, invalid
from app.errors import InvalidRequest
from app.schemas.admin import FileContent, KeyChanges, NewKey


def test_a_body_becomes_its_struct() -> None:
    assert decoded(b'{"tenant":"acme","models":["a"]}', NewKey) == NewKey(tenant="acme", models=("a",))


@pytest.mark.parametrize("body", [b"", b"{", b"tenant", b"\xff", b'{"name":"\xff"}', b'{"expires":' + b"[" * 100_000])
def test_a_body_that_is_no_json_says_so(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not valid JSON") as caught:
        decoded(body, KeyChanges)
    assert (caught.value.param, caught.value.code) == (None, "invalid_json")


@pytest.mark.parametrize(
    ("body", "param", "code", "message"),
    [
        (
            b'{"tenant":"a","colour":1}',
            "colour",
            "unknown_parameter",
            "There is no field 'colour'. "
            "Fields: name, scopes, models, limits, expires, outage, cache, metadata, tenant.",
        ),
        (
            b'{"tenant":"a","limits":{"rpm":1}}',
            "limits.rpm",
            "unknown_parameter",
            "There is no field 'limits.rpm'. Did you mean 'limits.requests_per_minute'? Fields: requests_per_minute, "
            "input_tokens_per_minute, output_tokens_per_minute, concurrency, budget_day, budget_month, budget_total.",
        ),
        (b"{}", "tenant", "missing_required_parameter", "Missing required field 'tenant'."),
        (
            b'{"tenant":5}',
            "tenant",
            "invalid_value",
            "Invalid value for 'tenant': expected a text, got a whole number.",
        ),
        (
            b'{"tenant":"a","models":["x",1]}',
            "models[1]",
            "invalid_value",
            "Invalid value for 'models[1]': expected a text, got a whole number.",
        ),
        (
            b'{"tenant":"a","metadata":5}',
            "metadata",
            "invalid_value",
            "Invalid value for 'metadata': expected an object or null, got a whole number.",
        ),
        (
            b'{"tenant":"a","limits":{"concurrency":0}}',
            "limits.concurrency",
            "invalid_value",
            "Invalid value for 'limits.concurrency': expected a whole number from 1 to 100000000.",
        ),
        (
            b"[]",
            None,
            "invalid_type",
            "The body of your request is not accepted: expected an object, got a list.",
        ),
    ],
)
def test_a_mistake_is_named_with_its_path(body: bytes, param: str | None, code: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decoded(body, NewKey)
    assert (caught.value.param, caught.value.code, caught.value.message) == (param, code, message)


def test_a_route_may_have_words_of_its_own_for_a_wrong_type() -> None:
    def wrong_type(path: str, wanted: str, got: str) -> InvalidRequest:
        return InvalidRequest(f"{wanted} {got}", param=path, code="mine")

    with pytest.raises(InvalidRequest, match="str int") as caught:
        decoded(b'{"tenant":5}', NewKey, wrong_type=wrong_type)
    assert (caught.value.param, caught.value.code) == ("tenant", "mine")
    with pytest.raises(InvalidRequest, match="from 1 to") as bound:
        decoded(b'{"tenant":"a","limits":{"concurrency":0}}', NewKey, wrong_type=wrong_type)
    assert bound.value.code == "invalid_value"
    with pytest.raises(InvalidRequest, match="expected an object"):
        decoded(b"[]", NewKey, wrong_type=wrong_type)


def test_the_path_begins_at_the_given_place() -> None:
    with pytest.raises(InvalidRequest) as caught:
        converted({"keys": [{"tenant": "a"}, {"tenant": None}]}, FileContent, place="file")
    assert caught.value.param == "file.keys[1].tenant"
    with pytest.raises(InvalidRequest) as caught:
        converted({"metadata": {1: "x"}}, KeyChanges)
    assert caught.value.param == "metadata"


def test_a_long_name_is_cut() -> None:
    with pytest.raises(InvalidRequest) as caught:
        decoded(b'{"' + b"x" * 1000 + b'":1}', KeyChanges)
    assert caught.value.param == "x" * 64


def test_a_value_that_is_not_accepted_is_named() -> None:
    error = invalid("name", "expected a name")
    assert (error.param, error.code, error.message) == (
        "name",
        "invalid_value",
        "Invalid value for 'name': expected a name.",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Expected `int` <= 31", "expected a whole number of at most 31"),
        ("Expected `float` >= 0.0", "expected a number of at least 0"),
        ("Expected `float | null` <= 1000000.0", "expected a number or null of at most 1000000"),
        ("Expected `bool`, got `str`", "expected true or false, got a text"),
    ],
)
def test_what_msgspec_expected_is_put_into_words(text: str, words: str) -> None:
    assert in_words(text) == words
    assert in_words("Expected `int` <= 31", (1, 31)) == "expected a whole number from 1 to 31"
