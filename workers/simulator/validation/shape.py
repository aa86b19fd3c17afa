"""Fields that are missing, unknown or of the wrong type: msgspec's finding in Anthropic's words and with its paths.

Anthropic's paths name the member of a union by its tag (``messages.1.content.0.text.text: Field required``,
``tools.0.custom.foo: Extra inputs are not permitted``), msgspec's do not; so the types are walked along the path.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from typing import Any, Final, Literal, Union

import msgspec
from msgspec import Struct

from workers.simulator.errors import ApiError, Invalid
from workers.simulator.wire import Tool

_AT: Final = re.compile(r" - at `\$(.*)`$")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|(\[\.\.\.\])")
_FIELD: Final = re.compile(r"`([^`]*)`")

_EXPECTED: Final = {
    "str": "Input should be a valid string",
    "int": "Input should be a valid integer",
    "float": "Input should be a valid number",
    "bool": "Input should be a valid boolean",
    "array": "Input should be a valid list",
    "object": "Input should be a valid dictionary",
}


def shape_error(problem: Exception | None, body: bytes, request_type: type[Struct]) -> ApiError:
    """The 400 for a body that could not be decoded.

    Args:
        problem: what msgspec raised.
        body: the request body.
        request_type: the struct it should have been.
    """
    if not isinstance(problem, msgspec.ValidationError):
        return Invalid("The request body is not valid JSON.")
    text = str(problem)
    found = _AT.search(text)
    steps = list(_steps(found.group(1))) if found else []
    complaint = text[: found.start()] if found else text
    value = msgspec.json.decode(body)
    path, kind, parent = _walk(request_type, value, steps)
    return Invalid(*_worded(complaint, path, kind, parent))


def _steps(path: str) -> Iterator[str | int | None]:
    """The steps of msgspec's path: field names, indices, None for the key of a free-form object."""
    for name, index, anything in _STEP.findall(path):
        yield None if anything else int(index) if index else name


def _walk(kind: Any, value: Any, steps: list[str | int | None]) -> tuple[list[str], Any, Any]:
    """Anthropic's path along the steps, the type that is expected there, and that of the object around it."""
    path: list[str] = []
    parent: Any = kind
    for step in steps:
        kind, tag = _member(kind, value)
        path += tag
        if step is None:
            break
        path.append(str(step))
        parent = kind
        if isinstance(step, int):
            kind = (typing.get_args(kind) or (Any,))[0]
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            kind = typing.get_type_hints(kind).get(step, Any) if isinstance(kind, type) else Any
            value = value.get(step) if isinstance(value, dict) else None
    kind, tag = _member(kind, value)
    return path + tag, kind, parent


def _member(kind: Any, value: Any) -> tuple[Any, list[str]]:
    """The member of a union that a value means, and its tag where the path shows one."""
    options = list(typing.get_args(kind)) if typing.get_origin(kind) in (Union, types.UnionType) else [kind]
    structs = [option for option in options if isinstance(option, type) and issubclass(option, Struct)]
    if isinstance(value, list):
        lists = [option for option in options if typing.get_origin(option) is list]
        return (lists[0] if lists else kind), []
    if isinstance(value, dict) and structs:
        if structs == [Tool]:
            return Tool, [value.get("type") or "custom"] if isinstance(value.get("type") or "custom", str) else []
        for struct in structs:
            if struct.__struct_config__.tag is not None and struct.__struct_config__.tag == value.get("type"):
                return struct, [str(struct.__struct_config__.tag)]
        return (structs[0] if len(structs) == 1 and structs[0].__struct_config__.tag is None else kind), []
    simple = [option for option in options if option is not type(None) and option not in structs]
    return (simple[0] if len(simple) == 1 else kind), []


def _worded(complaint: str, path: list[str], kind: Any, parent: Any) -> tuple[str, str]:
    """Message and path of a complaint of msgspec's."""
    where = ".".join(path)
    named = _FIELD.search(complaint)
    name = named.group(1) if named else ""
    if complaint.startswith("Object missing required field"):
        return "Field required", f"{where}.{name}" if where else name
    if complaint.startswith("Object contains unknown field"):
        return "Extra inputs are not permitted", f"{where}.{name}" if where else name
    if complaint.startswith("Invalid value") and path and path[-1] == "type":
        return _bad_tag(complaint, parent), ".".join(path[:-1])
    if complaint.startswith("Invalid enum value"):
        return f"Input should be {_choices(kind)}", where
    if complaint.startswith("Expected"):
        return _EXPECTED.get(name.split(" | ")[0], complaint), where
    return complaint, where


def _bad_tag(complaint: str, union: Any) -> str:
    """A ``type`` that no member of the union has."""
    value = complaint.removeprefix("Invalid value ")
    tags = [option.__struct_config__.tag for option in typing.get_args(union) if hasattr(option, "__struct_config__")]
    # A union may be nested in an optional one, or be the items of a list.
    if not tags:
        tags = [
            inner.__struct_config__.tag
            for option in typing.get_args(union)
            for inner in typing.get_args(option)
            if hasattr(inner, "__struct_config__")
        ]
    expected = ", ".join(repr(tag) for tag in sorted(tags))
    return f"Input tag {value} found using 'type' does not match any of the expected tags: {expected}"


def _choices(kind: Any) -> str:
    """The values of a Literal, as pydantic lists them."""
    options = [kind, *typing.get_args(kind)]
    literal = next((option for option in options if typing.get_origin(option) is Literal), None)
    values = [repr(value) for value in typing.get_args(literal)] if literal is not None else []
    if len(values) < 2:
        return values[0] if values else "a permitted value"
    return f"{', '.join(values[:-1])} or {values[-1]}"
