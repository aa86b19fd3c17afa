"""``/admin/keys`` and ``/admin/audit``: API keys are made, changed and revoked, by callers with the scope ``admin``.

The scope is asked for first, before a body is read. The text of a key stands in the one reply that makes it, which says
that it may not be stored. What a request may say is decided in ``domain/key_changes.py``.
"""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec.structs import replace

from app.api.auth import require_scope
from app.api.body import read_body
from app.api.openapi_schemas import request_schemas
from app.api.operation import Json, Parameter, operation
from app.domain.auth import Caller
from app.domain.closed_wire import decoded, invalid
from app.domain.key_changes import IssuedKey, decoded_changes, grace_from_wire
from app.domain.key_objects import change_object, key_object
from app.errors import NotFound
from app.gateway.services import Services
from app.schemas.admin import KeyChangeList, KeyChanges, KeyList, KeyObject, KeyRotation, NewKey
from app.state import api_keys
from app.state.key_audit import ENTRY_ID, read_audit

AdminRequest = Request[None, None, State]

#: A key with every field at its bound has a quarter of this.
LARGEST_BODY_BYTES = 256 * 1024

#: Entries of a page.
Limit = Annotated[int, QueryParameter(ge=1, le=1000)]

#: Bodies of these routes, for ``components/schemas``.
KEY_SCHEMAS: dict[str, Json] = request_schemas([NewKey, KeyChanges, KeyRotation])

_LIMIT = Parameter(
    name="limit",
    place="query",
    description="Entries of a page; 100 without it.",
    schema={"type": "integer", "minimum": 1, "maximum": 1000},
)
_PAGING = (
    _LIMIT,
    Parameter(name="after", place="query", description="The page after this id.", schema={"type": "string"}),
    Parameter(name="tenant", place="query", description="Keys of this tenant only.", schema={"type": "string"}),
)
_AUDIT_PAGING = (
    _LIMIT,
    Parameter(name="before", place="query", description="Entries older than this id.", schema={"type": "string"}),
    Parameter(name="key_id", place="query", description="Changes of this key only.", schema={"type": "string"}),
)
_ID = (Parameter(name="key_id", place="path", description="Id of the key.", schema={"type": "string"}, required=True),)

_NOT_ADMIN = (401, 403)
_NO_STORE = {"cache-control": "no-store"}


class KeysController(Controller):
    """The routes of keys."""

    path = "/admin/keys"

    @post(
        "/",
        operation_class=operation(
            "createKey",
            tag="admin",
            summary="Make a key",
            description="The reply holds the text of the key, `key`. It is shown this once and kept nowhere.",
            request="NewKeyParam",
            examples={
                "limited": {"tenant": "acme", "name": "batch", "limits": {"requests_per_minute": 60, "budget_day": 5}},
                "cached": {"tenant": "acme", "name": "faq", "cache": {"mode": "on", "ttl": 600}},
            },
            replies={201: ("The key, with its text.", KeyObject)},
            errors=(400, *_NOT_ADMIN, 408, 413),
        ),
    )
    async def create_key(self, request: AdminRequest, services: NamedDependency[Services]) -> Response[KeyObject]:
        """Makes a key."""
        caller = require_scope(request, "admin")
        wire = decoded(await _body(request, services), NewKey)
        issued = await api_keys.create(services.state, wire, actor=_actor(caller), now=services.now())
        return _issued(issued, services, status=201)

    @get(
        "/",
        operation_class=operation(
            "listKeys",
            tag="admin",
            summary="All keys, in pages",
            description="Ordered by id. Keys of the keys file are not among them.",
            parameters=_PAGING,
            replies={200: ("A page of keys.", KeyList)},
            errors=(400, *_NOT_ADMIN),
        ),
    )
    async def list_keys(
        self,
        request: AdminRequest,
        services: NamedDependency[Services],
        limit: Limit = 100,
        after: FromQuery[str] = "",
        tenant: FromQuery[str | None] = None,
    ) -> KeyList:
        """A page of keys."""
        require_scope(request, "admin")
        page = await api_keys.list_keys(services.state, after=after, limit=limit, tenant=tenant)
        now = services.now()
        data = tuple(key_object(key, now=now) for key in page.keys)
        return KeyList(data=data, has_more=page.has_more, last_id=page.last_id)

    @get(
        "/{key_id:str}",
        operation_class=operation(
            "getKey",
            tag="admin",
            summary="One key",
            parameters=_ID,
            replies={200: ("The key.", KeyObject)},
            errors=(*_NOT_ADMIN, 404),
        ),
    )
    async def get_key(
        self, request: AdminRequest, services: NamedDependency[Services], key_id: FromPath[str]
    ) -> KeyObject:
        """The key of an id."""
        require_scope(request, "admin")
        key = await api_keys.find(services.state, key_id)
        if key is None:
            raise NotFound(f"There is no key {key_id[:64]!r}.", param="id", code="key_not_found")
        return key_object(key, now=services.now())

    @patch(
        "/{key_id:str}",
        operation_class=operation(
            "updateKey",
            tag="admin",
            summary="Change a key",
            description="What is absent stays, also of `limits`, `cache` and `metadata`; null clears. It counts from "
            "the next request on, on every replica.",
            parameters=_ID,
            request="KeyChangesParam",
            examples={"raise one limit, clear another": {"limits": {"concurrency": 20, "budget_day": None}}},
            replies={200: ("The key as it is now.", KeyObject)},
            errors=(400, *_NOT_ADMIN, 404, 408, 409, 413),
        ),
    )
    async def update_key(
        self, request: AdminRequest, services: NamedDependency[Services], key_id: FromPath[str]
    ) -> KeyObject:
        """Changes a key."""
        caller = require_scope(request, "admin")
        wire = decoded_changes(await _body(request, services))
        key = await api_keys.update(services.state, key_id, wire, actor=_actor(caller), now=services.now())
        return key_object(key, now=services.now())

    @post(
        "/{key_id:str}/rotate",
        status_code=200,
        operation_class=operation(
            "rotateKey",
            tag="admin",
            summary="Give a key a new text",
            description="The old text stays good for `grace_s` seconds, or for the duration `grace`; not at all "
            "without a body.",
            parameters=_ID,
            request="KeyRotationParam",
            request_required=False,
            examples={"a day to move": {"grace": "1d"}},
            replies={200: ("The key, with its new text.", KeyObject)},
            errors=(400, *_NOT_ADMIN, 404, 408, 409, 413),
        ),
    )
    async def rotate_key(
        self, request: AdminRequest, services: NamedDependency[Services], key_id: FromPath[str]
    ) -> Response[KeyObject]:
        """Gives a key a new text."""
        caller = require_scope(request, "admin")
        grace_s = grace_from_wire(decoded(await _body(request, services) or b"{}", KeyRotation))
        issued = await api_keys.rotate(
            services.state, key_id, grace_s=grace_s, actor=_actor(caller), now=services.now()
        )
        return _issued(issued, services, status=200)

    @post(
        "/{key_id:str}/revoke",
        status_code=200,
        operation_class=operation(
            "revokeKey",
            tag="admin",
            summary="Revoke a key",
            description="For good, on every replica at once; may be repeated. `durable` says whether a restart of the "
            "store keeps it.",
            parameters=_ID,
            replies={200: ("The revoked key.", KeyObject)},
            errors=(*_NOT_ADMIN, 404, 409),
        ),
    )
    async def revoke_key(
        self, request: AdminRequest, services: NamedDependency[Services], key_id: FromPath[str]
    ) -> KeyObject:
        """Revokes a key."""
        return await _revoked(request, services, key_id)

    @delete(
        "/{key_id:str}",
        status_code=200,
        operation_class=operation(
            "deleteKey",
            tag="admin",
            summary="Revoke a key",
            description="The same as `POST /admin/keys/{key_id}/revoke`: the record of the key stays.",
            parameters=_ID,
            replies={200: ("The revoked key.", KeyObject)},
            errors=(*_NOT_ADMIN, 404, 409),
        ),
    )
    async def delete_key(
        self, request: AdminRequest, services: NamedDependency[Services], key_id: FromPath[str]
    ) -> KeyObject:
        """Revokes a key."""
        return await _revoked(request, services, key_id)


@get(
    "/admin/audit",
    operation_class=operation(
        "listKeyChanges",
        tag="admin",
        summary="Who changed which key, and when",
        description="The newest first; some 10,000 are kept.",
        parameters=_AUDIT_PAGING,
        replies={200: ("The changes.", KeyChangeList)},
        errors=(400, *_NOT_ADMIN),
    ),
)
async def audit(
    request: AdminRequest,
    services: NamedDependency[Services],
    limit: Limit = 100,
    before: FromQuery[str | None] = None,
    key_id: FromQuery[str | None] = None,
) -> KeyChangeList:
    """A page of the changes of keys."""
    require_scope(request, "admin")
    if before is not None and not ENTRY_ID.fullmatch(before):
        raise invalid("before", "expected the id of an entry of the audit, such as last_id of the page before")
    page = await read_audit(services.state, limit, before=before, key_id=key_id)
    data = tuple(change_object(entry_id, change) for entry_id, change in page.entries)
    return KeyChangeList(data=data, has_more=page.has_more, last_id=page.last_id)


async def _revoked(request: AdminRequest, services: Services, key_id: str) -> KeyObject:
    caller = require_scope(request, "admin")
    done = await api_keys.revoke(services.state, key_id, actor=_actor(caller), now=services.now())
    return replace(key_object(done.key, now=services.now()), durable=done.durable, durability=done.durability)


def _issued(issued: IssuedKey, services: Services, *, status: int) -> Response[KeyObject]:
    content = replace(key_object(issued.key, now=services.now()), key=issued.text)
    return Response(content, status_code=status, headers=_NO_STORE)


async def _body(request: AdminRequest, services: Services) -> bytes:
    config = services.config
    return await read_body(
        request.scope,
        request.receive,
        max_bytes=min(LARGEST_BODY_BYTES, config.max_body_bytes),
        pause_s=config.body_timeout_s,
    )


def _actor(caller: Caller) -> str:
    return f"{caller.source}:{caller.key_id}"
