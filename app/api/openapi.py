"""The OpenAPI document of the running gateway: built from its routes and the structs that they answer.

Every handler carries its document (``operation.py``); errors, headers and protection are the same everywhere and are
added here. Version 3.0.3, see ``openapi_schemas.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from app.api.keys import KEY_SCHEMAS
from app.api.openapi_chat import CHAT_COMPLETIONS as CHAT_COMPLETIONS
from app.api.openapi_chat import COMPATIBILITY as COMPATIBILITY
from app.api.openapi_chat import chat_schemas
from app.api.openapi_models import MODEL_SCHEMAS
from app.api.openapi_schemas import REF, reply_schemas
from app.api.operation import COMMON_ERRORS, DocumentedOperation, Json, OperationDoc, Parameter
from app.api.sessions import SESSION_SCHEMAS
from app.observability.version import VERSION

#: Every error status, and when it is answered. 405 belongs to no operation: it is said of a wrong method.
ERRORS = {
    400: "The request is not valid: no JSON, a wrong type or value (`param` names it), a parameter that cannot be "
    "served (`unsupported_parameter`, `unsupported_value`), too long for the model (`context_length_exceeded`), or "
    "of a cost that cannot be bounded, under a budget (`cost_unbounded`).",
    401: "The API key is missing, wrong, expired or revoked (`invalid_api_key`).",
    403: "The key may not do this (`permission_denied`) or not use this model (`model_not_allowed`), or Anthropic does "
    "not permit it to the gateway's account.",
    404: "No such model (`model_not_found`), key (`key_not_found`), session (`session_not_found`) or URL "
    "(`unknown_url`).",
    405: "The URL does not accept this method (`method_not_allowed`); `allow` lists those that it does.",
    408: "The request body was not complete in time (`request_timeout`).",
    409: "Somebody else changed the object at the same time, or Anthropic reports a conflict (`conflict`). Of a "
    "session: another turn held it for too long (`conversation_locked`), it was changed or deleted meanwhile "
    "(`conversation_changed`), or there is one of that id (`session_exists`); the first with `retry-after`, the others "
    "with `x-should-retry: false`.",
    413: "The request body is over the limit of the gateway or of Anthropic (`request_too_large`).",
    422: "The `Idempotency-Key` was sent before with another request (`idempotency_key_reused`), or Anthropic could "
    "not process the request.",
    429: "A rate limit or the concurrency of the key, of its tenant or of Anthropic (`rate_limit_exceeded`, with "
    "`retry-after`), or a spent budget or credit (`insufficient_quota`, with `x-should-retry: false`).",
    500: "A fault of the gateway (`internal_error`) or of Anthropic.",
    501: "Anthropic does not implement what was asked for.",
    502: "Anthropic cannot be reached (`upstream_unreachable`), refuses the gateway's credential "
    "(`upstream_authentication_error`) or answers nonsense (`bad_upstream_response`).",
    503: "The gateway or Anthropic is at its limit (`overloaded`), the worker is stopping (`server_shutting_down`) or "
    "the state store is away (`state_unavailable`); with `retry-after`.",
    504: "Anthropic did not answer in time (`timeout`).",
}

_ERROR_SCHEMA: Json = {
    "type": "object",
    "description": "Every error, in OpenAI's shape.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "What was wrong and what would fix it."},
                "type": {
                    "type": "string",
                    "enum": [
                        "invalid_request_error",
                        "permission_error",
                        "rate_limit_error",
                        "insufficient_quota",
                        "server_error",
                    ],
                },
                "param": {
                    "type": "string",
                    "nullable": True,
                    "description": "The request path at fault, such as `messages[1].content[0]`.",
                },
                "code": {"type": "string", "nullable": True, "description": "The cause, for machines."},
            },
        }
    },
}

_HEADERS: dict[str, tuple[str, str]] = {
    "x-request-id": ("string", "The gateway's id of the request, or the client's own where it sent a sane one."),
    "request-id": ("string", "Anthropic's id of the call."),
    "retry-after": ("integer", "Seconds after which a retry may succeed."),
    "retry-after-ms": ("integer", "The same in milliseconds, for limits of this gateway."),
    "x-claude-wrapper-degraded": ("string", "`state`: served without the state store; limits are counted locally."),
    "x-should-retry": ("string", "`false`: a retry is of no use; OpenAI's clients honour it."),
    "allow": ("string", "Methods that the URL accepts."),
    "www-authenticate": ("string", "`Bearer`"),
    "x-claude-wrapper-ignored-params": ("string", "Request paths that had no effect, with commas between them."),
    "x-claude-wrapper-adjusted-params": ("string", "`path=value` of what was changed, with commas between them."),
    "x-claude-wrapper-session": ("string", "Id of the session."),
    "x-claude-wrapper-session-dropped": (
        "integer",
        "Messages that had to go, the oldest whole turns, to keep the session within its bounds.",
    ),
    "x-claude-wrapper-session-evicted": (
        "string",
        "Sessions that had to go, the longest idle ones, to keep their number within its bound: ids with commas "
        "between them; how many of another key.",
    ),
    "x-claude-wrapper-session-messages": ("integer", "Messages of the session before this turn; 0: it begins here."),
    "x-claude-wrapper-session-forked-from": ("string", "The session that this one is a copy of, as it was held."),
    "x-claude-wrapper-thinking": (
        "string",
        "`restored=N, lost=M`: of the answers with tool calls in the request, how many got the thinking back that Chat "
        "Completions cannot carry, and of how many it is lost.",
    ),
    "x-claude-wrapper-cache": (
        "string",
        "`HIT`: from the response cache; `JOINED`: from the call of an equal request; `MISS`: neither; `BYPASS`: the "
        "cache had no part in it, as always with an `Idempotency-Key`.",
    ),
    "age": ("integer", "Seconds since an answer of the response cache was made."),
    "idempotent-replayed": (
        "string",
        "`true`: the first answer to this `Idempotency-Key`, with what its reply told of session and thinking.",
    ),
    "x-ratelimit-limit-requests": (
        "integer",
        "Limit of requests a minute: the key's or its tenant's, whichever has less left, else Anthropic's.",
    ),
    "x-ratelimit-remaining-requests": ("integer", "Requests left."),
    "x-ratelimit-reset-requests": ("string", "Time until the requests are back, such as `1m6s`."),
    "x-ratelimit-limit-tokens": (
        "integer",
        "Limit of tokens a minute, input and output; whose as for requests.",
    ),
    "x-ratelimit-remaining-tokens": ("integer", "Tokens left."),
    "x-ratelimit-reset-tokens": ("string", "Time until the tokens are back."),
}

#: Names that ``OperationDoc.reply_headers`` may use.
_HEADER_GROUPS = {
    "ignored": ("x-claude-wrapper-ignored-params",),
    "adjusted": ("x-claude-wrapper-adjusted-params",),
    "session": ("x-claude-wrapper-session",),
    "session-changes": ("x-claude-wrapper-session-dropped", "x-claude-wrapper-session-evicted"),
    "turn": ("x-claude-wrapper-session-messages", "x-claude-wrapper-session-forked-from", "x-claude-wrapper-thinking"),
    "cache": ("x-claude-wrapper-cache", "age", "idempotent-replayed"),
    "upstream-request-id": ("request-id",),
    "rate-limits": tuple(name for name in _HEADERS if name.startswith("x-ratelimit-")),
}

_ERROR_HEADERS = {
    401: ("www-authenticate",),
    405: ("allow",),
    409: ("retry-after", "x-should-retry"),
    429: ("retry-after", "retry-after-ms", "x-should-retry"),
    502: ("x-should-retry",),
    503: ("retry-after", "x-should-retry"),
}

_REQUEST_ID = Parameter(
    name="x-request-id",
    place="header",
    description="Your own id of the request, 1 to 128 letters, digits or `._:-`; it comes back and stands in the log.",
    schema={"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
)

_DESCRIPTION = """\
Any OpenAI client talks to Claude through this gateway: give it the base URL `/v1` of this server.

Every reply has `x-request-id`. Every error is JSON in OpenAI's shape; statuses and codes are listed at each route. A
URL that does not exist is 404 `unknown_url`, a wrong method 405 `method_not_allowed`. `HEAD` is answered wherever `GET`
is.
"""

_SECURITY: list[Json] = [{"bearer": []}, {"apiKey": []}]

_TAGS = (
    ("chat", "OpenAI's chat completions."),
    ("sessions", "Conversations that the gateway keeps."),
    ("models", "The models, readable by OpenAI's and Anthropic's clients."),
    ("auth", "Whether a key is needed."),
    ("usage", "Limits, what is left of them, and spend."),
    ("admin", "API keys and their audit."),
    ("operations", "Health, documentation."),
)
_TAG_ORDER = [name for name, _ in _TAGS]


def build_document(app: Litestar, *, protected: bool) -> bytes:
    """The document as JSON.

    Args:
        app: the app whose routes are documented.
        protected: the gateway asks for a key.

    Raises:
        TypeError: a handler has no document.
    """
    operations = sorted(_operations(app), key=lambda entry: (_TAG_ORDER.index(entry[2].tag), entry[0]))
    paths: dict[str, Json] = {}
    for path, method, doc in operations:
        paths.setdefault(path, {})[method] = _operation(doc, path, protected=protected)
    document = {
        "openapi": "3.0.3",
        "info": {
            "title": "Claude Wrapper",
            "version": VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS],
        "security": _SECURITY if protected else [],
        "paths": paths,
        "components": {
            "schemas": _schemas([doc for _, _, doc in operations]),
            "headers": {
                name: {"description": description, "schema": {"type": type_}}
                for name, (type_, description) in _HEADERS.items()
            },
            "responses": {f"Error{status}": _error(status) for status in ERRORS},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "As OpenAI's clients send it."},
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-api-key",
                    "description": "As Anthropic's clients send it.",
                },
            },
        },
    }
    return msgspec.json.encode(document)


def _operations(app: Litestar) -> Iterator[tuple[str, str, OperationDoc]]:
    """Path, method and document of every route; the ``OPTIONS`` that Litestar adds are left out."""
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for method, (handler, _) in route.route_handler_map.items():
            if method != "OPTIONS":
                yield route.path_format, method.lower(), document_of(handler)


def document_of(handler: HTTPRouteHandler) -> OperationDoc:
    """The document of a handler.

    Raises:
        TypeError: it has none.
    """
    if not issubclass(handler.operation_class, DocumentedOperation):
        raise TypeError(f"{handler} is not documented: give it operation_class=operation(...)")
    return handler.operation_class.doc


def _schemas(docs: list[OperationDoc]) -> dict[str, Json]:
    structs = {type_ for doc in docs for _, type_ in doc.replies.values() if isinstance(type_, type)}
    ordered = sorted(structs, key=lambda struct: struct.__name__)
    asked = {**chat_schemas(), **MODEL_SCHEMAS, **KEY_SCHEMAS, **SESSION_SCHEMAS}
    return {**reply_schemas(ordered), **asked, "Error": _ERROR_SCHEMA}


def _operation(doc: OperationDoc, path: str, *, protected: bool) -> Json:
    of_keys = (401, 429) if protected and doc.protected else ()  # the latter slows whoever tries many
    errors = {*doc.errors, *COMMON_ERRORS, *of_keys} - doc.replies.keys()
    operation: Json = {
        "operationId": _operation_id(doc, path),
        "tags": [doc.tag],
        "summary": doc.summary,
        "parameters": [
            {
                "name": parameter.name,
                "in": parameter.place,
                "description": parameter.description,
                "required": parameter.required,
                "schema": parameter.schema,
            }
            for parameter in (*doc.parameters, _REQUEST_ID)
            if parameter.place != "path" or f"{{{parameter.name}}}" in path
        ],
        "responses": {
            **{str(status): _reply(doc, *reply) for status, reply in doc.replies.items()},
            **{str(status): {"$ref": f"#/components/responses/Error{status}"} for status in sorted(errors)},
        },
    }
    if doc.description:
        operation["description"] = doc.description
    if doc.request:
        operation["requestBody"] = {
            "required": doc.request_required,
            "content": {
                "application/json": {
                    "schema": {"$ref": REF + doc.request},
                    "examples": {name: {"value": value} for name, value in doc.examples.items()},
                }
            },
        }
    if protected and not doc.protected:
        operation["security"] = []
    elif doc.tag == "admin":
        operation["security"] = _SECURITY  # on a gateway without protection, too
    return operation


def _operation_id(doc: OperationDoc, path: str) -> str:
    """Unique also where one handler serves two paths: the one for names with a vendor says so."""
    if "{vendor}" in path:
        return f"{doc.id}OfVendor"
    return f"{doc.id}Alias" if path == "/swagger.json" else doc.id


def _reply(doc: OperationDoc, description: str, type_: type | str | None) -> Json:
    names = ["x-request-id", *(name for group in doc.reply_headers for name in _HEADER_GROUPS[group])]
    reply: Json = {"description": description, "headers": _headers(names)}
    if type_ is not None:
        name = type_ if isinstance(type_, str) else type_.__name__
        reply["content"] = {doc.media_type: {"schema": {"$ref": REF + name}}}
        if doc.streams:
            reply["content"]["text/event-stream"] = {"schema": {"$ref": REF + doc.streams}}
    elif doc.media_type != "application/json":
        reply["content"] = {doc.media_type: {"schema": {"type": "string"}}}
    return reply


def _error(status: int) -> Json:
    return {
        "description": ERRORS[status],
        "headers": _headers(["x-request-id", *_ERROR_HEADERS.get(status, ())]),
        "content": {"application/json": {"schema": {"$ref": f"{REF}Error"}}},
    }


def _headers(names: list[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
