"""JSON Schemas of OpenAPI 3.0 from our structs, with the descriptions of their docstrings.

msgspec writes JSON Schema 2020-12. OpenAPI 3.0 is what the bundled documentation page and most gateways and code
generators read; it says null by ``nullable`` and has no ``const`` and no ``null`` type.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.api.operation import Json

REF = "#/components/schemas/"

#: Null alone.
_NULL: Json = {"type": "string", "nullable": True, "enum": [None]}

#: ``name: text`` of an ``Args:`` section, with its continuation lines.
_ARGUMENT = re.compile(r"^(\w+): (.*(?:\n {4,}.*)*)", re.MULTILINE)


def reply_schemas(types: Sequence[type]) -> dict[str, Json]:
    """The schemas of structs that the gateway sends, and of everything inside them, by name.

    A field with a default is always sent, so it is required; only what may be ``UNSET`` is not.
    """
    return {name: _always_sent(schema) for name, schema in _components(types, suffix="").items()}


def request_schemas(types: Sequence[type]) -> dict[str, Json]:
    """The schemas of structs that clients send, and of everything inside them, by name and ``Param``.

    Unknown fields are reported and not refused, so no object is closed.
    """
    return {name: _struct(_with_nulls(schema)) for name, schema in _components(types, suffix="Param").items()}


def _with_nulls(schema: Json) -> Json:
    """Says of fields of any type that they may be null, which their empty schemas leave open."""
    properties = {name: value or {"nullable": True} for name, value in schema.get("properties", {}).items()}
    return {**schema, "properties": properties} if properties else schema


def _components(types: Sequence[type], *, suffix: str) -> dict[str, Json]:
    _, components = msgspec.json.schema_components(types, ref_template=f"{REF}{{name}}{suffix}")
    return {f"{name}{suffix}": schema for name, schema in components.items()}


def _always_sent(schema: Json) -> Json:
    properties = schema.get("properties", {})
    sent = [name for name, value in properties.items() if name in schema["required"] or "default" in value]
    return _struct({**schema, "required": sent})


def describe(schema: Json, descriptions: Mapping[str, str]) -> Json:
    """A schema whose properties have descriptions.

    Args:
        schema: of an object.
        descriptions: by name of the property.
    """
    properties = {
        name: {**_extendable(value), "description": descriptions[name]} if name in descriptions else value
        for name, value in schema["properties"].items()
    }
    return {**schema, "properties": properties}


def _struct(schema: Json) -> Json:
    converted: Json = to_openapi_30(schema)
    converted.pop("title", None)
    if not converted.get("required"):
        converted.pop("required", None)
    text, arguments = _docstring(converted.get("description", ""))
    if text:
        converted["description"] = text
    if "properties" in converted:
        names = {_camel(name): text for name, text in arguments.items()} | arguments
        converted = describe(converted, {name: names[name] for name in converted["properties"] if name in names})
    return converted


def to_openapi_30(schema: Any) -> Any:
    """A schema of JSON Schema 2020-12, as msgspec writes it, in the words of OpenAPI 3.0.

    Objects that are closed become open, and defaults are left out: they are our own, not the client's.

    Args:
        schema: a schema or a part of one.
    """
    if isinstance(schema, list):
        return [to_openapi_30(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    converted = {key: to_openapi_30(value) for key, value in schema.items()}
    converted.pop("default", None)
    if converted.get("additionalProperties") is False:
        del converted["additionalProperties"]
    if converted.get("type") == "null":
        return _NULL
    if "enum" in converted:  # msgspec leaves the type out; all our enumerations are of strings
        converted = {"type": "string", **converted}
    return _without_null(converted) if "anyOf" in converted else converted


def _without_null(schema: Json) -> Json:
    """``anyOf`` some schemas and null: ``nullable`` beside a ``type``, a null among the schemas where there is none.

    By the letter of 3.0.3 ``nullable`` counts only beside a ``type``; many generators look for nothing else, so it is
    said in any case.
    """
    members = schema.pop("anyOf")
    rest = [member for member in members if member != _NULL]
    if len(rest) == len(members):
        return {"anyOf": rest, **schema}
    if len(rest) == 1 and "type" in rest[0]:
        only = {**rest[0], "nullable": True}
        if "enum" in only:
            only["enum"] = [*only["enum"], None]
        return {**only, **schema}
    if rest == [{}]:
        return {"nullable": True, **schema}
    return {"anyOf": [*rest, _NULL], "nullable": True, **schema}


def _extendable(schema: Json) -> Json:
    """Nothing may stand beside ``$ref`` in OpenAPI 3.0."""
    return {"allOf": [schema]} if "$ref" in schema else schema


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of its class, and of each argument."""
    text = inspect.cleandoc(text).replace("``", "`")
    about, _, arguments = text.partition("\nArgs:\n")
    lines = "\n".join(line.removeprefix("    ") for line in arguments.splitlines())
    return _joined(about), {name: _joined(said) for name, said in _ARGUMENT.findall(lines)}


def _joined(text: str) -> str:
    """One line, as a sentence begins."""
    line = re.sub(r"\s*\n\s*", " ", text).strip()
    return line[:1].upper() + line[1:]


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)
