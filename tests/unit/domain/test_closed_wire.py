from __future__ import annotations

import pytest

from app.domain.closed_wire import converted, decoded, invalid
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
        (b'{"tenant":"a","colour":1}', "colour", "unknown_parameter", "There is no field 'colour'."),
        (b'{"tenant":"a","limits":{"rpm":1}}', "limits.rpm", "unknown_parameter", "There is no field 'limits.rpm'."),
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
            b'{"tenant":"a","metadata":{"secret":1}}',
            "metadata",
            "invalid_value",
            "Invalid value for 'metadata': expected a text, got a whole number.",
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
