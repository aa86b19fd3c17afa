"""How a route is documented: an ``Operation`` class of Litestar's that carries what ``openapi.py`` writes.

The document is written beside the handler, as ``operation_class=operation(...)``, so that a route cannot be added
without it: building the OpenAPI document fails for a handler that has none, and a test builds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from litestar.openapi.spec import Operation
from msgspec import Struct

#: A JSON Schema of OpenAPI 3.0, or any other piece of the document.
Json = dict[str, Any]

#: What every route may answer, whatever it does.
COMMON_ERRORS = (500, 503)


class Parameter(Struct, frozen=True, kw_only=True):
    """A parameter of a route; ``place`` is ``path``, ``query`` or ``header``."""

    name: str
    place: str
    description: str
    schema: Json
    required: bool = False


class OperationDoc(Struct, frozen=True, kw_only=True):
    """The document of one route.

    Args:
        id: unique name of the operation; code generators make method names of it.
        tag: family of routes.
        summary: a few words.
        description: Markdown.
        replies: ``status -> (description, type)``; a type is a struct, or the name of a hand-written schema.
        errors: statuses of errors beyond ``COMMON_ERRORS``.
        parameters: path, query and header parameters.
        request: name of the schema of the request body.
        request_required: whether there has to be a body.
        examples: bodies of requests, by name.
        reply_headers: names of headers under ``components/headers``, on success.
        streams: the reply to ``stream: true``: name of the schema of one event.
        protected: the route needs the key of a protected gateway.
        media_type: of the reply, where it is not JSON.
    """

    id: str
    tag: str
    summary: str
    description: str = ""
    replies: Mapping[int, tuple[str, type | str | None]]
    errors: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    request: str = ""
    request_required: bool = True
    examples: Mapping[str, Json] = {}
    reply_headers: tuple[str, ...] = ()
    streams: str = ""
    protected: bool = True
    media_type: str = "application/json"


class DocumentedOperation(Operation):
    """An operation with its document."""

    doc: ClassVar[OperationDoc]


def operation(id_: str, **document: Any) -> type[DocumentedOperation]:
    """The ``operation_class`` of a handler.

    Args:
        id_: the operation's id.
        document: the other fields of ``OperationDoc``.
    """
    return type("DocumentedOperation", (DocumentedOperation,), {"doc": OperationDoc(id=id_, **document)})
