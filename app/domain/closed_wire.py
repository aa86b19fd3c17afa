"""Wires that are closed: an unknown field is an error, and every error names the path at fault; pure.

For the admin routes, the keys file and claims of a JWT. What msgspec says of a mistake is put into words; it quotes
names and never a value, which may be a key.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from app.domain.wire_fields import bounds_at, fields_at, nearest_field
from app.errors import InvalidRequest

T = TypeVar("T", bound=Struct)
#: An error of a path, the types that msgspec expected there, and the type that it found.
WrongType = Callable[[str, str, str], InvalidRequest]

_FIELD: Final = re.compile(r"Object (?P<problem>contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_UNEXPECTED: Final = re.compile(r"Expected `(.+)`, got `(.+)`")
_KIND: Final = re.compile(r"`([^`]+)`")
_BOUND: Final = re.compile(r" (>=|<=) (-?[0-9.e+]+)")
_KINDS: Final = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def decoded(body: bytes, type_: type[T], *, wrong_type: WrongType | None = None) -> T:
    """The body of a request.

    Args:
        body: as it came.
        type_: a closed struct.
        wrong_type: makes the error of a field of another type, of its path, what was expected and what it is; without
            it that is an invalid value.

    Raises:
        InvalidRequest: it is no JSON, a field is unknown, missing or of another type.
    """
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as exc:
        raise _refused(exc, type_, "", wrong_type) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("The body of your request is not valid JSON.", code="invalid_json") from None


def converted(wire: object, type_: type[T], *, place: str = "") -> T:
    """The same from values that are decoded already.

    Args:
        wire: mappings, lists, texts, numbers; or a ``type_``.
        type_: a struct of ``schemas/admin.py``.
        place: path of ``wire``.

    Raises:
        InvalidRequest: a field is unknown, missing or of another type.
    """
    try:
        return msgspec.convert(wire, type_)
    except msgspec.ValidationError as exc:
        raise _refused(exc, type_, place) from None


def invalid(param: str, expected: str) -> InvalidRequest:
    """The error of a value that is not accepted; ``expected`` says what would be."""
    return InvalidRequest(f"Invalid value for '{param}': {expected}.", param=param, code="invalid_value")


def in_words(text: str, bounds: tuple[float, float] | None = None) -> str:
    """What msgspec expected, in words, as the settings say it: ``expected a whole number from 1 to 512``.

    Args:
        text: the error of msgspec, without its path.
        bounds: the least and the greatest value, where both are known.
    """
    words = _KIND.sub(_kinds_in_words, text[:1].lower() + text[1:])
    if bounds is not None:
        return _BOUND.sub(" from {:.15g} to {:.15g}".format(*bounds), words)
    return _BOUND.sub(lambda bound: f" of at {'least' if bound[1] == '>=' else 'most'} {float(bound[2]):.15g}", words)


def _refused(
    exc: msgspec.ValidationError, type_: Any, place: str, wrong_type: WrongType | None = None
) -> InvalidRequest:
    """What msgspec says, in words; it quotes names and no values."""
    what, _, at = str(exc).partition(" - at ")
    inner = at.removeprefix("`key` in ").strip("`").removeprefix("$").removeprefix(".").removesuffix("[...]")
    path = ".".join(part for part in (place, inner) if part)
    field = _FIELD.fullmatch(what)
    if field is not None:
        name = field["name"][:64]
        param = f"{path}.{name}" if path else name
        if field["problem"] == "missing required":
            return InvalidRequest(f"Missing required field '{param}'.", param=param, code="missing_required_parameter")
        near = nearest_field(type_, inner, name)
        meant = f" Did you mean '{param.removesuffix(name)}{near}'?" if near else ""
        fields = ", ".join(fields_at(type_, inner))
        return InvalidRequest(
            f"There is no field '{param}'.{meant} Fields: {fields}.", param=param, code="unknown_parameter"
        )
    words = in_words(what, bounds_at(type_, inner))
    if not path:
        return InvalidRequest(f"The body of your request is not accepted: {words}.", code="invalid_type")
    if wrong_type is not None and (unexpected := _UNEXPECTED.fullmatch(what)):
        return wrong_type(path, unexpected[1], unexpected[2])
    return invalid(path, words)


def _kinds_in_words(kinds: re.Match[str]) -> str:
    return " or ".join(_KINDS.get(kind, kind) for kind in kinds[1].split(" | "))
