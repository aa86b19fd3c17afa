"""From the bytes of a chat request to its typed form, with an error that names the path and what would be accepted.

The fast path is one typed decode that forbids unknown fields. When it meets one, the body is decoded untyped, unknown
fields are cut out and their paths kept (to be reported, never dropped silently), and the rest is decoded again. Of a
key given twice in one object the last one counts, as with every JSON parser in use.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Final

import msgspec
from msgspec import Struct, inspect

from app.errors import InvalidRequest
from app.schemas.openai_chat import ChatRequest


class DecodedChat(Struct, frozen=True):
    """A chat request, and the paths of fields that no one knows."""

    request: ChatRequest
    unknown: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The model as the client named it."""
        return self.request.model


_REQUEST: Final = msgspec.json.Decoder(ChatRequest)
_ANYTHING: Final = msgspec.json.Decoder()

_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.+)`")
_UNEXPECTED: Final = re.compile(r"Expected `(.+)`, got `(.+)`")
_BAD_VALUE: Final = re.compile(r"Invalid (?:enum )?value (?P<value>.+)", re.DOTALL)
_STEPS: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_KINDS: Final = {
    "str": "a string",
    "int": "an integer",
    "float": "a decimal number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


def decode_chat_request(body: bytes) -> DecodedChat:
    """Decodes the body of ``POST /v1/chat/completions``.

    Raises:
        InvalidRequest: broken JSON, bytes that are not UTF-8, or a field of the wrong type; ``param`` is its path.
    """
    try:
        if not body.isascii():
            body.decode()  # NOTE: msgspec does not look into the strings of what it keeps as Raw.
        try:
            return DecodedChat(_REQUEST.decode(body))
        except msgspec.ValidationError as error:
            if not str(error).startswith("Object contains unknown field"):
                raise
        return _decode_with_unknown_fields(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), body) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"We could not parse the JSON body of your request: {error}.") from None
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body of your request is not UTF-8 (byte {error.start}).") from None
    except RecursionError:
        raise InvalidRequest("The JSON body of your request is nested too deeply.") from None


def _decode_with_unknown_fields(body: bytes) -> DecodedChat:
    tree = _ANYTHING.decode(body)
    unknown: list[str] = []
    _cut_unknown(tree, _request_type(), "", unknown)
    return DecodedChat(_REQUEST.decode(msgspec.json.encode(tree)), tuple(unknown))


def _cut_unknown(value: Any, type_: inspect.Type, path: str, unknown: list[str]) -> None:
    """Removes the fields of ``value`` that its type does not have; paths of those not null go to ``unknown``."""
    if isinstance(value, list):
        item = next((t.item_type for t in _alternatives(type_) if isinstance(t, inspect.ListType)), None)
        if item is not None:
            for index, element in enumerate(value):
                _cut_unknown(element, item, f"{path}[{index}]", unknown)
    elif isinstance(value, dict):
        struct = _struct_of(value, type_)
        if struct is None:
            return
        fields = {field.encode_name: field.type for field in struct.fields}
        for name in list(value):
            here = f"{path}.{name}" if path else name
            if name in fields:
                _cut_unknown(value[name], fields[name], here, unknown)
            elif name != struct.tag_field and value.pop(name) is not None:
                unknown.append(here)


def _struct_of(value: dict[str, Any], type_: inspect.Type) -> inspect.StructType | None:
    """The struct that an object is meant to be, by its tag; None for a free-form object or an unknown tag."""
    structs = [t for t in _alternatives(type_) if isinstance(t, inspect.StructType)]
    for struct in structs:
        if struct.tag_field is None or value.get(struct.tag_field) == struct.tag:
            return struct
    return None


def _alternatives(type_: inspect.Type) -> tuple[inspect.Type, ...]:
    return type_.types if isinstance(type_, inspect.UnionType) else (type_,)


@functools.cache
def _request_type() -> inspect.Type:
    return inspect.type_info(ChatRequest)


def _invalid(text: str, body: bytes) -> InvalidRequest:
    """What msgspec says about a wrong field, in OpenAI's words: message, ``param`` and ``code``."""
    match = _AT.match(text)
    what, raw_path = (match["what"], match["path"] or "") if match else (text, "")
    path = raw_path.removeprefix(".").replace("[...]", "")
    if missing := _MISSING.fullmatch(what):
        param = f"{path}.{missing[1]}" if path else missing[1]
        return InvalidRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    if not path and what.startswith("Expected `object`"):
        return InvalidRequest("The body of your request must be a JSON object.", code="invalid_type")
    if unexpected := _UNEXPECTED.fullmatch(what):
        return wrong_type(path, unexpected[1], unexpected[2])
    accepted = _accepted_values(raw_path, body)
    hint = f" Supported values are: {', '.join(repr(value) for value in accepted)}." if accepted else ""
    if bad := _BAD_VALUE.fullmatch(what):
        shown = bad["value"] if len(bad["value"]) <= 64 else bad["value"][:64] + "...'"
        return InvalidRequest(f"Invalid value: {shown} for '{path}'.{hint}", param=path, code="invalid_value")
    return InvalidRequest(f"Invalid value for '{path}': {what}.{hint}", param=path or None, code="invalid_value")


def wrong_type(path: str, wanted: str, got: str) -> InvalidRequest:
    """The error for a field of the wrong type.

    Args:
        path: of the field.
        wanted: the types that it takes as msgspec names them, with ``|`` between them.
        got: the type that it has, likewise.
    """
    in_words = " or ".join(_KINDS.get(kind, kind) for kind in wanted.split(" | ") if kind != "null")
    return InvalidRequest(
        f"Invalid type for '{path}': expected {in_words}, but got {_KINDS.get(got, got)} instead.",
        param=path,
        code="invalid_type",
    )


def _accepted_values(raw_path: str, body: bytes) -> list[str]:
    """The words that a path such as ``.messages[0].role`` accepts, from the types; empty where it takes no words."""
    value = _tree(body)
    here: list[inspect.Type] = [_request_type()]
    for name, index in _STEPS.findall(raw_path):
        flat = [option for type_ in here for option in _alternatives(type_)]
        if index:
            here = [t.item_type for t in flat if isinstance(t, inspect.ListType)]
            value = value[int(index)] if isinstance(value, list) and index.isdecimal() else None
            continue
        structs = [t for t in flat if isinstance(t, inspect.StructType)]
        tags = [str(struct.tag) for struct in structs if struct.tag_field == name]
        if tags:
            return list(dict.fromkeys(tags))
        if isinstance(value, dict):  # of several structs the one that the value says it is
            meant = [struct for struct in structs if struct.tag_field and value.get(struct.tag_field) == struct.tag]
            structs = meant or structs
            value = value.get(name)
        here = [field.type for struct in structs for field in struct.fields if field.encode_name == name]
    flat = [option for type_ in here for option in _alternatives(type_)]
    return [str(value) for option in flat if isinstance(option, inspect.LiteralType) for value in option.values]


def _tree(body: bytes) -> Any:
    """The body untyped; None when it cannot be read behind the place where a typed decode stopped."""
    try:
        return _ANYTHING.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
