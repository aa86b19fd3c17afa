"""Errors as replies of the OpenAI dialect: status, headers, body, or a frame inside a stream.

``error_meaning.py`` says what an error means to a client, in OpenAI's terms; here it gets its form. Another dialect is
another form of the same meaning. Tables: spec/errors-and-headers.md.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from app.errors import GatewayError
from app.schemas.sse import frame
from app.translate.error_meaning import Meaning, meaning_of

_encode = msgspec.json.encode


class ErrorReply(Struct, frozen=True):
    """An error as a whole HTTP reply; header names in lower case, ``content-type`` not among them."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Error(Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str | None


class _Body(Struct, frozen=True):
    error: _Error


def openai_error(error: GatewayError, *, request_id: str = "", client_credential: bool = False) -> ErrorReply:
    """The reply that tells an OpenAI client of ``error``.

    Args:
        error: any error of the tree.
        request_id: the gateway's id of the request, quoted where nothing else may be told.
        client_credential: the upstream was called with the client's own key: a wrong key is the client's matter.
    """
    meaning = meaning_of(error, request_id=request_id, client_credential=client_credential)
    return ErrorReply(meaning.status, dict(meaning.headers), _body(meaning))


def openai_error_frame(error: GatewayError, *, request_id: str = "", client_credential: bool = False) -> bytes:
    """The last frame of a stream that failed after its first byte: the same body, in band."""
    return frame(_body(meaning_of(error, request_id=request_id, client_credential=client_credential)))


def openai_code(error: GatewayError) -> str | None:
    """The ``code`` that an OpenAI client is told; ``None`` where it is told none."""
    return meaning_of(error).code


def _body(meaning: Meaning) -> bytes:
    return _encode(_Body(_Error(meaning.message, meaning.type, meaning.param, meaning.code)))
