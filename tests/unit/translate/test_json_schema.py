import copy
from typing import Any

import anthropic
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.translate.json_schema import transform, transform_schema

PLAIN = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["a", "b", ""])
ANY_JSON = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)
TYPES = st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null"])


def schemas() -> st.SearchStrategy[Any]:
    def node(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        names = st.sampled_from(["a", "b", "c"])
        return st.fixed_dictionaries(
            {},
            optional={
                "type": TYPES,
                "properties": st.dictionaries(names, inner, max_size=3),
                "required": st.lists(names, max_size=3),
                "additionalProperties": st.booleans() | inner,
                "items": inner,
                "minItems": st.integers(0, 3),
                "maxItems": st.integers(0, 3),
                "anyOf": st.lists(inner, max_size=3),
                "oneOf": st.lists(inner, max_size=2),
                "allOf": st.lists(inner, max_size=2),
                "enum": st.lists(ANY_JSON, max_size=3),
                "const": ANY_JSON,
                "description": st.none() | st.text(max_size=5),
                "title": st.none() | st.text(max_size=5),
                "format": st.sampled_from(["email", "uuid", "phone", ""]),
                "pattern": st.text(max_size=3),
                "default": ANY_JSON,
                "$ref": st.just("#/$defs/a"),
                "$defs": st.dictionaries(names, inner, max_size=2),
            },
        )

    return st.recursive(st.fixed_dictionaries({"type": TYPES}), node, max_leaves=6)


def result_of(function: Any, schema: Any) -> Any:
    """The transformed schema, or None where it is refused, by whatever error."""
    try:
        return function(copy.deepcopy(schema))
    except (ValueError, TypeError, AttributeError, AssertionError):
        return None


@given(schemas())
def test_schemas_come_out_as_from_the_sdk(schema: Any) -> None:
    assert result_of(transform_schema, schema) == result_of(anthropic.transform_schema, schema)


@given(ANY_JSON | schemas().map(lambda schema: {"type": "array", "items": schema, "contains": [schema]}))
def test_nonsense_is_refused_where_the_sdk_refuses_it(schema: Any) -> None:
    assert result_of(transform_schema, schema) == result_of(anthropic.transform_schema, schema)


@given(schemas())
def test_the_argument_is_left_alone(schema: Any) -> None:
    before = copy.deepcopy(schema)
    result_of(transform_schema, schema)
    assert schema == before


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": ["email"]},
        {"type": "string", "format": {"a": 1}},
        {"type": "string", "format": 5},
        {"type": "string", "description": 5, "pattern": "x"},
        {"type": "string", "description": 5},
        {"type": "object", "properties": []},
        {"type": "object", "required": "a"},
        {"$defs": 5, "type": "string"},
        {"type": "array", "items": True},
        {"type": "array", "minItems": 1, "maxItems": 2},
        {"type": "array", "minItems": 0},
        {"type": "any"},
        {"type": {}},
        {"anyOf": [True]},
        {"type": "object", "anyOf": [{"type": "string"}], "properties": {"a": {"type": "null"}}},
        {"type": ["string", "null"], "anyOf": [{"type": "string"}]},
        {"type": ["string", "null"], "enum": ["a", None]},
        {"enum": [], "type": "string"},
        {"const": 1, "enum": [1], "type": "integer"},
        {"const": [1], "type": "array"},
        {"type": "array", "items": {"type": "string"}},
        {"anyOf": [{"type": "string"}]},
        {"oneOf": [{"type": "string"}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}, "description": "x"},
        {},
        5,
    ],
)
def test_odd_schemas_come_out_as_from_the_sdk(schema: Any) -> None:
    assert result_of(transform_schema, schema) == result_of(anthropic.transform_schema, schema)


def test_the_words_about_unsupported_keywords_keep_their_order() -> None:
    schema = {"type": "string", "format": "phone", "pattern": "x", "description": "Number"}
    assert transform_schema(schema) == anthropic.transform_schema(schema)
    assert transform_schema(schema)["description"] == "Number\n\n{pattern: x, format: phone}"


def test_a_list_of_types_becomes_any_of() -> None:
    schema = {"type": ["string", "null"], "description": "City", "minLength": 2}
    assert transform_schema(schema) == {
        "anyOf": [{"type": "string", "description": "{minLength: 2}"}, {"type": "null"}],
        "description": "City",
    }


def test_a_list_of_types_keeps_what_belongs_to_each() -> None:
    schema = {"type": ["object", "null"], "properties": {"a": {"type": "string"}}, "required": ["a"]}
    assert transform_schema(schema)["anyOf"][0]["properties"] == {"a": {"type": "string"}}


def test_an_empty_list_of_types_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        transform_schema({"type": []})


def test_optional_properties_and_unions_are_counted() -> None:
    schema = {
        "$defs": {"d": {"type": "object", "properties": {"x": {"type": "string"}}}},
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"]},
            "b": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
            "d": {"const": 1},
            "c": {"allOf": [{"type": "object", "properties": {"y": {"type": "string"}}, "required": "y"}]},
        },
        "required": ["a"],
    }
    transformed = transform(msgspec.json.encode(schema))
    assert (transformed.optional_count, transformed.union_count) == (5, 2)


def test_a_long_schema_is_transformed_too() -> None:
    schema = {"type": "string", "description": "x" * 20_000}
    assert msgspec.json.decode(transform(msgspec.json.encode(schema)).json) == schema


def test_a_schema_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ValueError, match="deeply"):
        transform(b'{"type":"array","items":' * 900 + b'{"type":"null"}' + b"}" * 900)


def test_a_list_that_names_a_type_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="once"):
        transform_schema({"type": ["object", "object"]})


def test_each_type_of_a_list_keeps_the_keywords_that_speak_of_it() -> None:
    schema = {"type": ["object", "integer", "null"], "properties": {"a": {"type": "string"}}, "minimum": 3}
    whole, number, nothing = transform_schema(schema)["anyOf"]
    assert whole["properties"] == {"a": {"type": "string"}}
    assert "minimum" not in str(whole)
    assert number == {"type": "integer", "description": "{minimum: 3}"}
    assert nothing == {"type": "null"}


def test_nested_lists_of_types_do_not_multiply() -> None:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(60):
        schema = {"type": ["object", "array", "string"], "properties": {"a": schema}}
    assert len(msgspec.json.encode(transform_schema(schema))) < 20_000
