"""``/v1/sessions``: conversations that the gateway keeps, for callers with the scope ``sessions``.

Everybody has the sessions of their own key, or of their tenant where that is how they are shared; nobody learns of
others'. The operator (scope ``admin``) names whose are meant. Sessions are state: without the store the answer is 503,
never an empty list. A turn of a session is a chat completion with its ``session_id``.
"""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import UNSET, Raw, Struct, UnsetType

from app.api.auth import require_scope
from app.api.body import read_body
from app.api.openapi_schemas import request_schemas
from app.api.operation import Json, Parameter, operation
from app.domain.auth import tenant_tag
from app.domain.closed_wire import decoded
from app.domain.key_changes import checked_name
from app.domain.session_objects import session_object
from app.domain.sessions import SessionHead, SessionName
from app.domain.sessions import session_id as checked_id
from app.errors import InvalidRequest, NotFound
from app.gateway.services import Services
from app.gateway.session_book import (
    SESSION_HEADER,
    SHARED,
    Written,
    append_messages,
    create_session,
    fork_session,
    session_figures,
    session_not_found,
    session_scope,
)
from app.schemas.sessions import (
    NewMessages,
    NewSession,
    SessionDeletion,
    SessionFigures,
    SessionFork,
    SessionList,
    SessionObject,
    SessionsCleared,
)
from app.state import api_keys, session_index, sessions
from app.state.session_index import SessionPage
from app.translate.chat_decoding import wrong_type
from app.translate.history import read_messages, shown_messages

SessionRequest = Request[None, None, State]

#: Sessions of a page.
Limit = Annotated[int, QueryParameter(ge=1, le=100)]

#: Bodies of these routes, for ``components/schemas``.
SESSION_SCHEMAS: dict[str, Json] = request_schemas([NewSession, NewMessages, SessionFork])


class Owner(Struct, frozen=True, kw_only=True):
    """Whose sessions are meant.

    Args:
        tenant: name of the tenant.
        tag: of the tenant.
        scope: within the tenant; ``None``: all of it, where many sessions are meant.
        is_told: the operator has named them.
    """

    tenant: str
    tag: str
    scope: str | None
    is_told: bool = False

    def name(self, text: str, param: str = "id") -> SessionName:
        """The session of an id.

        Raises:
            InvalidRequest: it is no id.
        """
        return SessionName(tag=self.tag, scope=self.scope or SHARED, id=checked_id(text, param))

    @property
    def shown_tenant(self) -> str | UnsetType:
        """The name of the tenant, for the operator; everybody else knows whose sessions they see."""
        return self.tenant if self.is_told else UNSET

    def shown(
        self, name: SessionName, head: SessionHead, services: Services, *, messages: list[Raw] | None = None
    ) -> SessionObject:
        """A session as this owner's replies show it."""
        expires_at = head.used_at + services.session_rules.ttl_s
        return session_object(name, head, expires_at=expires_at, tenant=self.shown_tenant, messages=messages)

    def page(self, page: SessionPage) -> SessionList:
        """A page; where all sessions of a tenant are listed, the key stands before the ids that are for `after`."""
        listed = [
            session_object(listed.name, listed.head, expires_at=listed.expires_at, tenant=self.shown_tenant)
            for listed in page.sessions
        ]
        ids = [listed.name.id if self.scope else f"{listed.name.scope} {listed.name.id}" for listed in page.sessions]
        return SessionList(
            data=tuple(listed),
            first_id=ids[0] if ids else None,
            last_id=ids[-1] if ids else None,
            has_more=page.has_more,
        )


async def whose(
    request: SessionRequest,
    services: NamedDependency[Services],
    tenant: FromQuery[str | None] = None,
    key_id: FromQuery[str | None] = None,
) -> Owner:
    """Whose sessions are meant: the caller's, or those that the operator names.

    Raises:
        Unauthenticated: nobody in particular names others.
        PermissionDenied: the key has not the scope for it.
        NotFound: there is no such key.
        InvalidRequest: a name has not the form of one, or whose shared sessions are meant is not said.
    """
    if tenant is None and key_id is None:
        caller = require_scope(request, "sessions")
        return Owner(tenant=caller.tenant, tag=caller.tag, scope=session_scope(services, caller))
    require_scope(request, "admin")
    scope = key_id if key_id in (None, SHARED) else checked_name(key_id, param="key_id")
    if tenant is None and scope == SHARED:
        raise InvalidRequest(
            "'*' means the sessions that keys of a tenant share: name the tenant, too.",
            param="tenant",
            code="missing_required_parameter",
        )
    if tenant is None:
        tenant = await _tenant_of(services, scope or "")
    tenant = checked_name(tenant, param="tenant")
    return Owner(tenant=tenant, tag=tenant_tag(tenant), scope=scope, is_told=True)


async def _tenant_of(services: Services, key_id: str) -> str:
    key = await api_keys.find(services.state, key_id)
    if key is None:
        raise NotFound(
            f"There is no stored key {key_id!r}. Sessions of anybody else, such as a key of the keys file or the "
            "subject of a token, are found by tenant and key_id together.",
            param="key_id",
            code="key_not_found",
        )
    return key.tenant


def _parameter(name: str, description: str, place: str = "query", **schema: object) -> Parameter:
    return Parameter(
        name=name, place=place, description=description, schema={"type": "string", **schema}, required=place == "path"
    )


_OWNER = (
    _parameter("tenant", "Sessions of this tenant; needs the scope `admin`."),
    _parameter(
        "key_id",
        "Sessions of this key; needs the scope `admin`. Of a key that is not stored, such as one of the keys file or "
        "the subject of tokens, together with `tenant`; `*` with `tenant`: the sessions that its keys share.",
    ),
)
_PAGING = (
    Parameter(
        name="limit",
        place="query",
        description="Sessions of a page; 20 without it.",
        schema={"type": "integer", "minimum": 1, "maximum": 100},
    ),
    _parameter("after", "The page after this id: `last_id` of the page before."),
)
_ID = (_parameter("session_id", "Id of the session.", "path"),)

_DEPENDENCIES = {"owner": Provide(whose)}
_NO_STORE = {"cache-control": "no-store"}
_NOT_YOURS = (401, 403)
_TO_READ = (400, *_NOT_YOURS, 404)
_TO_WRITE = (*_TO_READ, 408, 409, 413)


class SessionsController(Controller):
    """The routes of sessions."""

    path = "/v1/sessions"
    dependencies = _DEPENDENCIES
    response_headers = _NO_STORE

    @get(
        "/",
        operation_class=operation(
            "listSessions",
            tag="sessions",
            summary="Your live sessions, in pages",
            description="The one that was used last comes first.",
            parameters=(*_PAGING, *_OWNER),
            replies={200: ("A page of sessions.", SessionList)},
            errors=_TO_READ,
        ),
    )
    async def list_sessions(
        self,
        services: NamedDependency[Services],
        owner: NamedDependency[Owner],
        limit: Limit = 20,
        after: FromQuery[str | None] = None,
    ) -> SessionList:
        """A page of sessions."""
        if after is not None and owner.scope is not None:
            after = checked_id(after, "after")
        page = await session_index.list_sessions(services.state, owner.tag, scope=owner.scope, after=after, limit=limit)
        return owner.page(page)

    @post(
        "/",
        operation_class=operation(
            "createSession",
            tag="sessions",
            summary="Begin a session",
            description="With messages of yours, or empty. A chat completion with a new `session_id` begins one, too.",
            parameters=_OWNER,
            request="NewSessionParam",
            request_required=False,
            examples={
                "with an id and instructions": {
                    "id": "trip-to-rome",
                    "messages": [{"role": "system", "content": "You plan trips."}],
                }
            },
            replies={201: ("The session.", SessionObject)},
            errors=_TO_WRITE,
            reply_headers=("session", "session-changes"),
        ),
    )
    async def create_session(
        self, request: SessionRequest, services: NamedDependency[Services], owner: NamedDependency[Owner]
    ) -> Response[SessionObject]:
        """Begins a session."""
        wire = decoded(await _body(request, services) or b"{}", NewSession, wrong_type=wrong_type)
        name = owner.name(services.new_session_id() if wire.id is None else wire.id)
        messages = [] if wire.messages is UNSET else read_messages(wire.messages)
        return _written(await create_session(services, name, owner.tenant, messages), owner, services, status=201)

    @get(
        "/stats",
        operation_class=operation(
            "getSessionStats",
            tag="sessions",
            summary="How many sessions you have",
            parameters=_OWNER,
            replies={200: ("The figures.", SessionFigures)},
            errors=_TO_READ,
        ),
    )
    async def stats(self, services: NamedDependency[Services], owner: NamedDependency[Owner]) -> SessionFigures:
        """How many sessions there are."""
        found = await session_index.session_stats(services.state, owner.tag, scope=owner.scope)
        rules = services.session_rules
        return session_figures(found, max_sessions=rules.max_sessions, ttl_s=rules.ttl_s)

    @post(
        "/clear",
        status_code=200,
        operation_class=operation(
            "clearSessions",
            tag="sessions",
            summary="Delete all your sessions",
            description="A turn that runs meanwhile ends with 409 `conversation_changed`. A session whose first turn "
            "runs is none yet, and will be there.",
            parameters=_OWNER,
            replies={200: ("How many there were.", SessionsCleared)},
            errors=_TO_READ,
        ),
    )
    async def clear(self, services: NamedDependency[Services], owner: NamedDependency[Owner]) -> SessionsCleared:
        """Deletes all sessions."""
        return SessionsCleared(deleted=await session_index.clear_sessions(services.state, owner.tag, scope=owner.scope))

    @get(
        "/{session_id:str}",
        operation_class=operation(
            "getSession",
            tag="sessions",
            summary="One session, with its messages",
            description="As it was last committed, also while a turn runs. Looking does not prolong its life.",
            parameters=(*_ID, *_OWNER),
            replies={200: ("The session.", SessionObject)},
            errors=_TO_READ,
            reply_headers=("session",),
        ),
    )
    async def get_session(
        self, services: NamedDependency[Services], owner: NamedDependency[Owner], session_id: FromPath[str]
    ) -> Response[SessionObject]:
        """A session with its messages."""
        name = owner.name(session_id)
        history = await sessions.read_session(services.state, name)
        if history is None:
            raise session_not_found(name.id)
        shown = owner.shown(name, history.head, services, messages=shown_messages(history))
        return Response(shown, headers={SESSION_HEADER: name.id})

    @delete(
        "/{session_id:str}",
        status_code=200,
        operation_class=operation(
            "deleteSession",
            tag="sessions",
            summary="Delete a session",
            description="A turn that runs meanwhile ends with 409 `conversation_changed`, the first one of a session, "
            "too: there is no session yet then, so this is answered by 404, and there will be none.",
            parameters=(*_ID, *_OWNER),
            replies={200: ("It is gone.", SessionDeletion)},
            errors=_TO_READ,
        ),
    )
    async def delete_session(
        self, services: NamedDependency[Services], owner: NamedDependency[Owner], session_id: FromPath[str]
    ) -> SessionDeletion:
        """Deletes a session."""
        name = owner.name(session_id)
        if not await sessions.delete_session(services.state, name):
            raise session_not_found(name.id)
        return SessionDeletion(id=name.id)

    @post(
        "/{session_id:str}/messages",
        status_code=200,
        operation_class=operation(
            "appendMessages",
            tag="sessions",
            summary="Add messages to a session",
            description="All of them or none, after what a running turn adds. Claude is not called. What no turn could "
            "go on from is refused, such as the result of a tool without its call; results of the last calls may "
            "still come.",
            parameters=(*_ID, *_OWNER),
            request="NewMessagesParam",
            examples={"a note": {"messages": [{"role": "user", "content": "Vegetarian, please."}]}},
            replies={200: ("The session as it is now.", SessionObject)},
            errors=_TO_WRITE,
            reply_headers=("session", "session-changes"),
        ),
    )
    async def append_messages(
        self,
        request: SessionRequest,
        services: NamedDependency[Services],
        owner: NamedDependency[Owner],
        session_id: FromPath[str],
    ) -> Response[SessionObject]:
        """Adds messages to a session."""
        name = owner.name(session_id)
        messages = read_messages(decoded(await _body(request, services), NewMessages).messages)
        return _written(await append_messages(services, name, owner.tenant, messages), owner, services, status=200)

    @post(
        "/{session_id:str}/fork",
        operation_class=operation(
            "forkSession",
            tag="sessions",
            summary="Copy a session",
            description="As it was last committed, also while a turn runs; the original stays as it is.",
            parameters=(*_ID, *_OWNER),
            request="SessionForkParam",
            request_required=False,
            examples={"with an id": {"id": "trip-to-rome-by-train"}},
            replies={201: ("The copy.", SessionObject)},
            errors=_TO_WRITE,
            reply_headers=("session", "session-changes"),
        ),
    )
    async def fork_session(
        self,
        request: SessionRequest,
        services: NamedDependency[Services],
        owner: NamedDependency[Owner],
        session_id: FromPath[str],
    ) -> Response[SessionObject]:
        """Copies a session."""
        source = owner.name(session_id)
        wire = decoded(await _body(request, services) or b"{}", SessionFork, wrong_type=wrong_type)
        target = owner.name(services.new_session_id() if wire.id is None else wire.id)
        return _written(await fork_session(services, source, target, owner.tenant), owner, services, status=201)


def _written(written: Written, owner: Owner, services: Services, *, status: int) -> Response[SessionObject]:
    return Response(owner.shown(written.name, written.head, services), status_code=status, headers=written.headers)


async def _body(request: SessionRequest, services: Services) -> bytes:
    config = services.config
    return await read_body(
        request.scope, request.receive, max_bytes=config.max_body_bytes, pause_s=config.body_timeout_s
    )
