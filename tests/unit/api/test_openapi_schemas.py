"""JSON Schema of our structs in the words of OpenAPI 3.0."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from msgspec import UNSET, Struct, UnsetType

from app.api.openapi_schemas import describe, reply_schemas, request_schemas, to_openapi_30

NULL = {"type": "string", "nullable": True, "enum": [None]}


class Inner(Struct):
    """Something inside."""

    x: int


class Outer(Struct, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Something ``outside``,
    over two lines.

    Args:
        long_name: what it
            means.
        inner: unused here.
    """

    long_name: str
    kind: Literal["a", "b"] = "a"
    inner: Inner
    maybe: Inner | None = None
    text: str | None = None
    absent: int | UnsetType = UNSET


def test_every_struct_inside_is_described() -> None:
    assert set(reply_schemas([Outer])) == {"Outer", "Inner"}


def test_the_docstring_describes_the_struct_and_its_fields() -> None:
    outer = reply_schemas([Outer])["Outer"]
    assert outer["description"] == "Something `outside`, over two lines."
    assert outer["properties"]["longName"]["description"] == "What it means."


def test_what_is_always_sent_is_required_and_what_may_be_unset_is_not() -> None:
    assert reply_schemas([Outer])["Outer"]["required"] == ["longName", "kind", "inner", "maybe", "text"]


def test_a_request_needs_only_what_has_no_default() -> None:
    assert request_schemas([Outer])["OuterParam"]["required"] == ["longName", "inner"]


def test_a_request_may_have_other_fields() -> None:
    assert "additionalProperties" not in request_schemas([Outer])["OuterParam"]


def test_requests_point_to_requests() -> None:
    inner = request_schemas([Outer])["OuterParam"]["properties"]["inner"]
    assert inner == {"allOf": [{"$ref": "#/components/schemas/InnerParam"}], "description": "Unused here."}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}, {"type": "string", "nullable": True}),
        ({"type": "null"}, {"type": "string", "nullable": True, "enum": [None]}),
        ({"anyOf": [{"$ref": "#/x"}, {"type": "null"}]}, {"anyOf": [{"$ref": "#/x"}, NULL], "nullable": True}),
        (
            {"anyOf": [{"$ref": "#/x"}, {"type": "null"}], "description": "d"},
            {"anyOf": [{"$ref": "#/x"}, NULL], "nullable": True, "description": "d"},
        ),
        ({"enum": ["a"]}, {"type": "string", "enum": ["a"]}),
        (
            {"anyOf": [{"enum": ["a"]}, {"type": "null"}]},
            {"type": "string", "nullable": True, "enum": ["a", None]},
        ),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
            {"anyOf": [{"type": "string"}, {"type": "integer"}, NULL], "nullable": True},
        ),
        (
            {"type": "array", "items": {"type": "integer", "default": 1}},
            {"type": "array", "items": {"type": "integer"}},
        ),
        ({"anyOf": [{}, {"type": "null"}]}, {"nullable": True}),
    ],
)
def test_null_and_enumerations_are_said_in_the_words_of_3_0(schema: Any, expected: Any) -> None:
    assert to_openapi_30(schema) == expected


def test_describing_leaves_the_other_properties_as_they_are() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"$ref": "#/b"}, "c": {}}}
    described = describe(schema, {"a": "A.", "b": "B."})
    assert described["properties"] == {
        "a": {"type": "string", "description": "A."},
        "b": {"allOf": [{"$ref": "#/b"}], "description": "B."},
        "c": {},
    }
    assert schema["properties"]["a"] == {"type": "string"}
