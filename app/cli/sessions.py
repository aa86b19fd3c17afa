"""``claude-wrapper sessions``: sessions are listed, shown, counted and deleted, directly in the state store."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import click
from msgspec import Struct

from app.cli.errors import MISUSED, CommandFailed
from app.cli.session_words import figures_in_words, session_in_words, sessions_in_a_table, whose_in_words
from app.cli.store_commands import Asked, StoreGroup, on_store, print_json, say_what
from app.config import Config, resolve
from app.domain.auth import tenant_tag
from app.domain.key_changes import checked_name
from app.domain.session_objects import session_object
from app.domain.sessions import SessionHistory, SessionName, session_id
from app.gateway.session_book import SHARED, session_figures
from app.schemas.sessions import SessionDeletion, SessionList, SessionsCleared
from app.state.connection import StateConnection
from app.state.session_index import (
    ListedSession,
    SessionStats,
    clear_sessions,
    list_sessions,
    session_stats,
    tenant_tags,
)
from app.state.sessions import delete_session, read_session
from app.translate.history import shown_messages

F = TypeVar("F", bound=Callable[..., Any])

_PAGE = 500

_VARIABLES = ("CLAUDE_WRAPPER_MAX_SESSIONS", "CLAUDE_WRAPPER_SESSION_TTL")


@click.group("sessions", cls=StoreGroup, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List, show, count and delete sessions, in the store that the gateway uses.

    That is CLAUDE_WRAPPER_REDIS_URL; without it the embedded server of the gateway on PORT (8000), running or not.
    """
    say_what(ctx, command)


class _Whose(Struct, frozen=True):
    """Whose sessions are meant: of a tenant, or all; of a key, or all."""

    tenant: str | None
    key_id: str | None

    async def tags(self, state: StateConnection) -> Sequence[str]:
        """Tags of the tenants that are meant."""
        if self.key_id not in (None, SHARED):
            checked_name(self.key_id or "", param="key_id")
        return (
            await tenant_tags(state) if self.tenant is None else [tenant_tag(checked_name(self.tenant, param="tenant"))]
        )

    def __str__(self) -> str:
        of_key = "" if self.key_id is None else f" of key {self.key_id}"
        return of_key + ("" if self.tenant is None else f" of tenant {self.tenant}")


class _Found(Struct, frozen=True):
    """A session, and the name of its tenant."""

    name: SessionName
    tenant: str


def _of_owner(function: F) -> F:
    """``--tenant`` and ``--key-id``."""
    with_key = click.option("--key-id", metavar="ID", help="sessions of this key only; '*': those that keys share")
    return click.option("--tenant", metavar="NAME", help="sessions of this tenant only")(with_key(function))


_id = click.argument("session", metavar="ID")


@command.command("list")
@_of_owner
@on_store
def list_(asked: Asked, tenant: str | None, key_id: str | None) -> None:
    """Show the live sessions of all tenants, those that were used last first."""
    whose = _Whose(tenant, key_id)

    async def read(state: StateConnection) -> list[ListedSession]:
        return [found async for found in _listed(state, whose)]

    found, store = asked.ask(read)
    found.sort(key=lambda session: -session.head.used_at)
    shown = tuple(session_object(one.name, one.head, expires_at=one.expires_at, tenant=one.tenant) for one in found)
    if asked.as_json:
        ids = [session.id for session in shown]
        print_json(
            SessionList(data=shown, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None, has_more=False)
        )
    elif shown:
        click.echo(f"{sessions_in_a_table(shown, now=time.time())}\n\n{len(shown)} in {store}.")
    else:
        click.echo(_none(whose, store))


@command.command()
@_id
@_of_owner
@on_store
def show(asked: Asked, session: str, tenant: str | None, key_id: str | None) -> None:
    """Show one session with its messages."""

    async def read(state: StateConnection) -> tuple[_Found, SessionHistory | None]:
        found = await _the_one(state, _Whose(tenant, key_id), session)
        return found, await read_session(state, found.name)

    (found, history), store = asked.ask(read)
    if history is None:
        raise _missing(session)
    shown = session_object(
        found.name,
        history.head,
        expires_at=history.head.used_at + _settings().session_ttl,
        tenant=found.tenant,
        messages=shown_messages(history),
    )
    if asked.as_json:
        print_json(shown)
    else:
        click.echo(session_in_words(shown, now=time.time(), store=store))


@command.command()
@_of_owner
@on_store
def stats(asked: Asked, tenant: str | None, key_id: str | None) -> None:
    """Say how many sessions there are."""
    counted, store = asked.ask(lambda state: _counted(state, _Whose(tenant, key_id)))
    settings = _settings()
    figures = session_figures(counted, max_sessions=settings.max_sessions, ttl_s=settings.session_ttl)
    if asked.as_json:
        print_json(figures)
    else:
        click.echo(figures_in_words(figures, store=store))


@command.command()
@_id
@_of_owner
@on_store
def delete(asked: Asked, session: str, tenant: str | None, key_id: str | None) -> None:
    """Delete one session; a turn of it that runs then fails."""

    async def work(state: StateConnection) -> tuple[_Found, bool]:
        found = await _the_one(state, _Whose(tenant, key_id), session)
        return found, await delete_session(state, found.name)

    (found, was_there), store = asked.ask(work)
    if not was_there:
        raise _missing(session)
    if asked.as_json:
        print_json(SessionDeletion(id=found.name.id))
    else:
        words = whose_in_words(found.name, found.tenant)
        click.echo(f"{words[:1].upper()}{words[1:]} is deleted in {store}.")


@command.command()
@click.option("-y", "--yes", is_flag=True, help="do not ask")
@_of_owner
@on_store
def clear(asked: Asked, yes: bool, tenant: str | None, key_id: str | None) -> None:
    """Delete all sessions, or all of a tenant or key; turns of them that run then fail."""
    whose = _Whose(tenant, key_id)
    counted, store = asked.ask(lambda state: _counted(state, whose))
    if counted.active and not yes:
        click.confirm(f"Delete all {counted.active} live sessions{whose} in {store}?", abort=True, err=True)

    async def work(state: StateConnection) -> int:
        return sum([await clear_sessions(state, tag, scope=whose.key_id) for tag in await whose.tags(state)])

    deleted = asked.ask(work)[0] if counted.active else 0
    if asked.as_json:
        print_json(SessionsCleared(deleted=deleted))
    elif counted.active:
        click.echo(f"{deleted} sessions{whose} are deleted in {store}.")
    else:
        click.echo(_none(whose, store))


async def _listed(state: StateConnection, whose: _Whose) -> AsyncIterator[ListedSession]:
    """Every live session that is meant, once."""
    for tag in await whose.tags(state):
        seen: set[SessionName] = set()
        after: str | None = None
        while True:
            page = await list_sessions(state, tag, scope=whose.key_id, after=after, limit=_PAGE)
            for session in page.sessions:
                if session.name not in seen:
                    yield session
            seen |= {session.name for session in page.sessions}
            if not page.has_more:
                break
            last = page.sessions[-1].name
            after = last.id if whose.key_id is not None else f"{last.scope} {last.id}"


async def _the_one(state: StateConnection, whose: _Whose, text: str) -> _Found:
    """The session of an id.

    Raises:
        CommandFailed: there is none, or there are several.
        InvalidRequest: this is no id.
    """
    wanted = session_id(text, "id")
    if whose.tenant is not None and whose.key_id is not None:  # also one that is in no list
        (tag,) = await whose.tags(state)
        return _Found(SessionName(tag, whose.key_id, wanted), whose.tenant)
    found = [_Found(one.name, one.tenant) async for one in _listed(state, whose) if one.name.id == wanted]
    if not found:
        raise _missing(text)
    if len(found) > 1:
        several = "; ".join(whose_in_words(one.name, one.tenant) for one in found)
        raise CommandFailed(
            f"There are {len(found)} sessions {text!r}: {several}. Say which, by --tenant and --key-id.", status=MISUSED
        )
    return found[0]


async def _counted(state: StateConnection, whose: _Whose) -> SessionStats:
    counted = [await session_stats(state, tag, scope=whose.key_id) for tag in await whose.tags(state)]
    active = sum(one.active for one in counted)
    return SessionStats(
        total=sum(one.total for one in counted),
        active=active,
        expired=sum(one.expired for one in counted),
        average_messages=sum(one.average_messages * one.active for one in counted) / active if active else 0.0,
        oldest_age_s=max((one.oldest_age_s for one in counted), default=0.0),
    )


def _none(whose: _Whose, store: object) -> str:
    return f"There are no live sessions{whose} in {store}."


def _missing(text: str) -> CommandFailed:
    return CommandFailed(f"There is no session {text!r}. 'claude-wrapper sessions list' shows those there are.")


def _settings() -> Config:
    """The settings of sessions, as a gateway in this environment would have them; no others have to be right."""
    known = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    return resolve(Config, known, {})[0]
