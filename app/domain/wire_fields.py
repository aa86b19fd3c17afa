"""What the struct of a wire accepts at a path: its fields, the one nearest to a name, bounds of a number; pure.

Looked at only when something was refused, to say what would be accepted.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import inspect

#: A step of a path as msgspec writes it: a name, or an index.
_STEP: Final = re.compile(r"\[[^\]]*\]|[^.\[\]]+")


def fields_at(type_: Any, path: str) -> tuple[str, ...]:
    """Names of the fields that are accepted at a path; none where it leads to no struct.

    Args:
        type_: the struct at the root.
        path: such as ``keys[0].limits``; empty for the root.
    """
    return tuple(field.encode_name for struct in _structs(_type_at(type_, path)) for field in struct.fields)


def nearest_field(type_: Any, path: str, name: str) -> str:
    """What somebody meant who wrote ``name`` at a path, as a path from there; empty where nothing is near.

    Abbreviations count, and fields of the objects inside: ``rpm`` is ``limits.requests_per_minute``.
    """
    own = fields_at(type_, path)
    inside = [f"{field}.{inner}" for field in own for inner in fields_at(type_, f"{path}.{field}" if path else field)]
    for candidates in (own, inside):
        by_name = {candidate.rpartition(".")[2]: candidate for candidate in candidates}
        short = next((field for field in by_name if name in _abbreviations(field)), None)
        near = [short] if short else difflib.get_close_matches(name, by_name, n=1, cutoff=0.7)
        if near:
            return by_name[near[0]]
    return ""


def bounds_at(type_: Any, path: str) -> tuple[float, float] | None:
    """The least and the greatest number that is accepted at a path; ``None`` where not both are set."""
    for member in _members(_type_at(type_, path)):
        if isinstance(member, (inspect.IntType, inspect.FloatType)) and member.ge is not None and member.le is not None:
            return member.ge, member.le
    return None


def _type_at(type_: Any, path: str) -> inspect.Type:
    found = inspect.type_info(type_)
    for step in _STEP.findall(path):
        found = next(_inside(found, step), inspect.AnyType())
    return found


def _inside(type_: inspect.Type, step: str) -> Iterator[inspect.Type]:
    for member in _members(type_):
        match member:
            case inspect.StructType(fields=fields):
                yield from (field.type for field in fields if field.encode_name == step)
            case inspect.VarTupleType(item_type=item) if step.startswith("["):
                yield item
            case _:
                pass


def _members(type_: inspect.Type) -> Sequence[inspect.Type]:
    return type_.types if isinstance(type_, inspect.UnionType) else (type_,)


def _structs(type_: inspect.Type) -> Iterator[inspect.StructType]:
    return (member for member in _members(type_) if isinstance(member, inspect.StructType))


def _abbreviations(field: str) -> set[str]:
    """``rpm`` of ``requests_per_minute``; of longer names also those that begin with whole words: ``input_tpm``."""
    words = field.split("_")
    return {"_".join([*words[:whole], "".join(word[0] for word in words[whole:])]) for whole in range(len(words) - 1)}
