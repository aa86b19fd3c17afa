"""Sampled values satisfy their schema, as the jsonschema package sees it."""

import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.simulator_calls import body, message, text_of
from workers.simulator.answers.json_values import Sampler, Unsatisfiable
from workers.simulator.service import Simulator
from workers.simulator.settings import SimulatorSettings

TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name", "children"],
        }
    },
    "$ref": "#/$defs/node",
}
SCHEMAS = {
    "empty": {},
    "constant": {"const": {"a": [1]}},
    "enumeration": {"enum": ["a", 3, None]},
    "nested object": {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "required without a schema": {"type": "object", "required": ["a"]},
    "least properties": {"type": "object", "minProperties": 3, "additionalProperties": {"type": "integer"}},
    "bounds": {"type": "integer", "minimum": 7, "maximum": 9},
    "exclusive bounds": {"type": "integer", "exclusiveMinimum": 7, "exclusiveMaximum": 9},
    "exclusive bounds of numbers": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.1},
    "only an upper bound": {"type": "number", "maximum": -5},
    "multiple": {"type": "integer", "multipleOf": 5, "minimum": 12},
    "multiple of a fraction": {"type": "number", "multipleOf": 0.5, "minimum": 1.2},
    "string length": {"type": "string", "minLength": 30, "maxLength": 32},
    "short string": {"type": "string", "maxLength": 2},
    "date": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-\\d{3}(-(red|blue))?$"},
    "negated class": {"type": "string", "pattern": "^[^a-z0-9]+$"},
    "array": {"type": "array", "items": {"type": "boolean"}, "minItems": 4, "maxItems": 5},
    "unique strings": {"type": "array", "items": {"type": "string"}, "minItems": 4, "uniqueItems": True},
    "unique choices": {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "uniqueItems": True},
    "tuple": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False, "minItems": 2},
    "list of types": {"type": ["null", "string"]},
    "any of": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    "one of with shared parts": {
        "type": "object",
        "properties": {"kind": {"type": "string"}},
        "required": ["kind"],
        "oneOf": [
            {"properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}, "required": ["x"]},
            {"properties": {"kind": {"const": "b"}, "y": {"type": "string"}}, "required": ["y"]},
        ],
    },
    "all of": {"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"type": "integer"}}}]},
    "reference": {"$defs": {"s": {"type": "string", "minLength": 3}}, "type": "array", "items": {"$ref": "#/$defs/s"}},
    "recursion": TREE,
    "recursion by choice": {
        "$defs": {
            "n": {
                "anyOf": [
                    {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}, "required": ["next"]},
                    {"type": "null"},
                ]
            }
        },
        "$ref": "#/$defs/n",
    },
    "recursion to the root": {
        "type": "object",
        "properties": {"left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["left"],
    },
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize("seed", range(6))
def test_a_value_satisfies_its_schema(schema, seed):
    jsonschema.Draft202012Validator(schema).validate(Sampler(schema, seed).value())


def scalars():
    return st.sampled_from(
        [
            {"type": "string"},
            {"type": "string", "format": "email"},
            {"type": "integer", "minimum": -3, "maximum": 3},
            {"type": "number"},
            {"type": "boolean"},
            {"type": "null"},
            {"enum": ["a", "b"]},
            {"const": 5},
        ]
    )


def nested(children):
    names = st.sampled_from(["a", "b", "c", "d"])
    return st.one_of(
        st.builds(
            lambda items, least: {"type": "array", "items": items, "minItems": least}, children, st.integers(0, 3)
        ),
        st.builds(
            lambda properties: {
                "type": "object",
                "properties": properties,
                "required": sorted(properties)[::2],
                "additionalProperties": False,
            },
            st.dictionaries(names, children, max_size=4),
        ),
        st.builds(lambda branches: {"anyOf": branches}, st.lists(children, min_size=1, max_size=3)),
    )


@given(schema=st.recursive(scalars(), nested, max_leaves=12), seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_a_value_satisfies_any_schema(schema, seed):
    jsonschema.Draft202012Validator(schema).validate(Sampler(schema, seed).value())


def test_the_same_seed_gives_the_same_value():
    assert Sampler(TREE, 5).value() == Sampler(TREE, 5).value()


@pytest.mark.parametrize("schema", [{"type": "integer", "minimum": 2, "maximum": 1, "multipleOf": 1}, {"$ref": "#"}])
def test_what_cannot_be_satisfied_is_said(schema):
    with pytest.raises(Unsatisfiable):
        Sampler(schema, 1).value()


def test_structured_output_is_json_of_the_schema():
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "steps": {"type": "array", "items": {"type": "string"}}},
        "required": ["name", "steps"],
        "additionalProperties": False,
    }
    payload = body("List them.", output_config={"format": {"type": "json_schema", "schema": schema}})
    text = text_of(message(Simulator(SimulatorSettings()), payload))
    jsonschema.validate(json.loads(text), schema)
