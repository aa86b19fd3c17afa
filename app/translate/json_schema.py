"""JSON schemas as Anthropic's strict tools and structured outputs take them.

Our own pure version of ``anthropic.transform_schema`` (importing the SDK costs two seconds), tested equal to it:
keywords that Anthropic does not know move into the description, where the model may still follow them; ``oneOf``
becomes ``anyOf``; objects get ``additionalProperties: false``. It goes beyond the SDK in one point: a list of types
such as ``["string", "null"]``, which OpenAI's strict mode asks for and the SDK cannot handle, becomes ``anyOf``.
Source: anthropic 2.12 ``lib/_parse/_transform.py``; limits: Anthropic's page on structured outputs, 2026-11.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import msgspec
from msgspec import Struct

#: String formats that Anthropic enforces.
_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_TYPES: Final = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})

#: A schema longer than this is transformed anew each time, so that the cache stays small.
_CACHED_BYTES: Final = 16_384


class TransformedSchema(Struct, frozen=True):
    """A schema ready to be sent.

    Args:
        json: the schema.
        optional_count: how many properties are not required; Anthropic allows 24 in all strict schemas of a request.
        union_count: how many nodes are an ``anyOf``; Anthropic allows 16.
    """

    json: bytes
    optional_count: int
    union_count: int


#: Keywords that speak of one type only (JSON Schema 2020-12, validation and applicator vocabularies).
_KEYWORDS: Final = {
    "object": (
        "properties",
        "required",
        "additionalProperties",
        "patternProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
        "dependentRequired",
        "dependentSchemas",
        "unevaluatedProperties",
    ),
    "array": (
        "items",
        "prefixItems",
        "contains",
        "minContains",
        "maxContains",
        "minItems",
        "maxItems",
        "uniqueItems",
        "unevaluatedItems",
    ),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_FAMILY: Final = {"integer": "number"}


def transform(schema: bytes) -> TransformedSchema:
    """Transforms a schema given as JSON.

    Raises:
        ValueError: it has no form that Anthropic takes.
    """
    return _transform_cached(schema) if len(schema) <= _CACHED_BYTES else _transform_json(schema)


def _transform_json(schema: bytes) -> TransformedSchema:
    try:
        tree = transform_schema(msgspec.json.decode(schema))
        return TransformedSchema(msgspec.json.encode(tree), *_count(tree))
    except RecursionError:
        raise ValueError("the schema is nested too deeply") from None


_transform_cached = functools.lru_cache(maxsize=256)(_transform_json)


def transform_schema(schema: Any) -> dict[str, Any]:
    """Transforms a schema given as Python objects; the argument is left alone.

    Raises:
        ValueError: a node says nothing about its type, or is no schema.
    """
    if not isinstance(schema, dict):
        raise ValueError("a schema must be an object")  # noqa: TRY004 - the one error of an unusable schema
    rest = dict(schema)
    strict: dict[str, Any] = {}

    definitions = rest.pop("$defs", None)
    if definitions is not None:
        strict["$defs"] = {name: transform_schema(node) for name, node in _object(definitions, "$defs").items()}
    reference = rest.pop("$ref", None)
    if reference is not None:
        return strict | {"$ref": reference}

    type_ = rest.pop("type", None)
    variants = {key: rest.pop(key, None) for key in ("anyOf", "oneOf", "allOf")}
    _move_literals(rest, strict)
    if strict.keys() & {"enum", "const"}:
        type_ = None
    elif isinstance(type_, list) and not any(isinstance(value, list) for value in variants.values()):
        return _split_types(type_, rest, strict)

    for key, target in (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")):
        if isinstance(variants[key], list):
            strict[target] = [transform_schema(node) for node in variants[key]]
            break
    else:
        if not strict.keys() & {"enum", "const"}:
            if type_ is None:
                raise ValueError("a schema needs a type, anyOf, oneOf, allOf, a const or an enum of plain values")
            strict["type"] = type_
    if type_ is not None and (not isinstance(type_, str) or type_ not in _TYPES):
        raise ValueError("a schema has a type that does not exist")

    for key in ("description", "title"):
        value = rest.pop(key, None)
        if value is not None:
            strict[key] = value
    if type_ == "object":
        _move_object(rest, strict)
    elif type_ == "string":
        _move_string(rest, strict)
    elif type_ == "array":
        _move_array(rest, strict)
    _describe(rest, strict)
    return strict


def _move_literals(rest: dict[str, Any], strict: dict[str, Any]) -> None:
    enum = rest.get("enum")
    if isinstance(enum, list) and enum and all(_is_plain(value) for value in enum):
        strict["enum"] = rest.pop("enum")
    if "const" in rest and _is_plain(rest["const"]):
        strict["const"] = rest.pop("const")


def _split_types(types: list[Any], rest: dict[str, Any], strict: dict[str, Any]) -> dict[str, Any]:
    """``"type": ["string", "null"]``: one variant per type; ``null`` has no other keywords."""
    names = [type_ for type_ in types if isinstance(type_, str)]
    if not types or len(set(names)) < len(types):
        raise ValueError("a list of types is not empty and names each type once")
    shared = {key: rest.pop(key) for key in ("description", "title") if rest.get(key) is not None}
    nodes = [{**_keywords_for(name, rest), "type": name} for name in names]
    return strict | {"anyOf": [transform_schema(node) for node in nodes]} | shared


def _keywords_for(type_: str, rest: dict[str, Any]) -> dict[str, Any]:
    """The keywords that say something about values of a type: the others do not apply to them.

    This also keeps the work in bounds: a subtree goes into one variant only.
    """
    if type_ == "null":
        return {}
    foreign = {key for name, keys in _KEYWORDS.items() if name != _FAMILY.get(type_, type_) for key in keys}
    return {key: value for key, value in rest.items() if key not in foreign}


def _move_object(rest: dict[str, Any], strict: dict[str, Any]) -> None:
    properties = _object(rest.pop("properties", {}), "properties")
    strict["properties"] = {name: transform_schema(node) for name, node in properties.items()}
    rest.pop("additionalProperties", None)
    strict["additionalProperties"] = False
    required = rest.pop("required", None)
    if required is not None:
        strict["required"] = required


def _move_string(rest: dict[str, Any], strict: dict[str, Any]) -> None:
    format_ = rest.pop("format", None)
    if isinstance(format_, list | dict) and format_:
        raise ValueError("format must be a name")
    if format_:
        target = strict if format_ in _FORMATS else rest
        target["format"] = format_


def _move_array(rest: dict[str, Any], strict: dict[str, Any]) -> None:
    items = rest.pop("items", None)
    if items is not None:
        strict["items"] = transform_schema(items)
    least = rest.pop("minItems", None)
    if least is not None:
        target = strict if least in (0, 1) else rest
        target["minItems"] = least


def _describe(rest: dict[str, Any], strict: dict[str, Any]) -> None:
    """What is left is not supported: say it in words, so that the model may follow it."""
    if not rest:
        return
    words = "{" + ", ".join(f"{key}: {value}" for key, value in rest.items()) + "}"
    description = strict.get("description")
    if description is None:
        strict["description"] = words
    elif isinstance(description, str):
        strict["description"] = f"{description}\n\n{words}"
    else:
        raise ValueError("a schema has a description that is not text")


def _object(value: Any, keyword: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{keyword} must be an object")  # noqa: TRY004
    return value


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _count(node: Any) -> tuple[int, int]:
    """Optional properties and unions in a transformed schema."""
    optional = unions = 0
    stack = [node]
    while stack:
        here = stack.pop()
        if "anyOf" in here:
            unions += 1
            stack.extend(here["anyOf"])
        stack.extend(here.get("allOf", ()))
        stack.extend(here.get("$defs", {}).values())
        if "items" in here:
            stack.append(here["items"])
        if "properties" in here:
            required = here.get("required")
            names = set(required) if isinstance(required, list) and all(isinstance(n, str) for n in required) else ()
            optional += sum(1 for name in here["properties"] if name not in names)
            stack.extend(here["properties"].values())
    return optional, unions
