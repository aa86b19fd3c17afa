"""``claude-wrapper keys``: API keys are made, shown, changed and revoked, directly in the state store."""

from __future__ import annotations

import getpass
import os
import time
from typing import Any, TypeVar

import click
import msgspec
from msgspec import UNSET, Struct

from app.cli.errors import MISUSED, CommandFailed
from app.cli.key_options import grace_of, in_options, key_options, wire_of
from app.cli.key_words import key_in_words, keys_in_a_table
from app.cli.model_names import doubts
from app.cli.store_commands import Asked, StoreGroup, on_store, print_json, say_what
from app.config import Config, SettingError, resolve
from app.domain.auth import ApiKey
from app.domain.closed_wire import converted
from app.domain.key_changes import IssuedKey, grace_from_wire
from app.domain.key_objects import key_object
from app.errors import GatewayError
from app.schemas.admin import KeyChanges, KeyList, KeyRotation, NewKey
from app.state import api_keys
from app.state.connection import StateConnection

S = TypeVar("S", bound=Struct)

_PAGE = 1000


@click.group("keys", cls=StoreGroup, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Make, show, change and revoke API keys, in the store that the gateway uses.

    That is CLAUDE_WRAPPER_REDIS_URL; without it the embedded server of the gateway on PORT (8000), running or not.
    Changes count at once on every replica.
    """
    say_what(ctx, command)


_OPEN = (
    "A gateway that asks for no key lets everybody in all the same: set CLAUDE_WRAPPER_REQUIRE_KEY=yes "
    "(or an admin key)."
)


_id = click.argument("key_id", metavar="ID")


@command.command()
@click.option("--tenant", metavar="NAME", help="name of the tenant it belongs to; needed")
@key_options
@on_store
def create(asked: Asked, tenant: str | None, **given: Any) -> None:
    """Make a key; its text is shown this once."""
    if tenant is None:
        raise CommandFailed("--tenant: say whose key it is to be, such as --tenant acme.", status=MISUSED)
    now = time.time()
    wire = _accepted({"tenant": tenant, **wire_of(given)}, NewKey)
    issued, store = asked.ask(lambda state: api_keys.create(state, wire, actor=_actor(), now=now))
    _show_issued(issued, f"Key {issued.key.id} of tenant {tenant} was made in {store}.", asked, now)
    _doubt_models(wire)
    if not asked.as_json and _is_open():
        click.echo(f"\n{_OPEN}")


@command.command("list")
@click.option("--tenant", metavar="NAME", help="keys of this tenant only")
@on_store
def list_(asked: Asked, tenant: str | None) -> None:
    """Show all keys."""
    now = time.time()

    async def read(state: StateConnection) -> list[ApiKey]:
        found: list[ApiKey] = []
        page = await api_keys.list_keys(state, limit=_PAGE, tenant=tenant)
        found += page.keys
        while page.has_more and page.last_id is not None:
            page = await api_keys.list_keys(state, after=page.last_id, limit=_PAGE, tenant=tenant)
            found += page.keys
        return found

    keys, store = asked.ask(read)
    if asked.as_json:
        data = tuple(key_object(key, now=now) for key in keys)
        print_json(KeyList(data=data, has_more=False, last_id=keys[-1].id if keys else None))
    elif keys:
        click.echo(f"{keys_in_a_table(keys, now=now)}\n\n{len(keys)} in {store}.")
    else:
        click.echo(f"There are no keys in {store}." if tenant is None else f"Tenant {tenant} has no keys in {store}.")


@command.command()
@_id
@on_store
def show(asked: Asked, key_id: str) -> None:
    """Show one key."""
    key, store = asked.ask(lambda state: api_keys.find(state, key_id))
    if key is None:
        raise CommandFailed(f"There is no key {key_id!r} in {store}. 'claude-wrapper keys list' shows those there are.")
    if asked.as_json:
        print_json(key_object(key, now=time.time()))
    else:
        click.echo(key_in_words(key, now=time.time(), store=store))


@command.command()
@_id
@key_options
@on_store
def update(asked: Asked, key_id: str, **given: Any) -> None:
    """Change a key.

    What is not named stays, each limit and each note too. 'none' clears a limit, the expiry, the policy, a rule of the
    cache, the models or the notes: what the deployment has set counts then.
    """
    now = time.time()
    wire = _accepted(wire_of(given), KeyChanges)
    if wire == KeyChanges():
        raise CommandFailed("Say what is to change, such as --rpm 60 or --budget-day none.", status=MISUSED)
    key, store = asked.ask(lambda state: api_keys.update(state, key_id, wire, actor=_actor(), now=now))
    if asked.as_json:
        print_json(key_object(key, now=now))
    else:
        click.echo(f"Key {key.id} was changed in {store}.\n{key_in_words(key, now=now)}")
    _doubt_models(wire)


@command.command()
@_id
@click.option(
    "--grace", metavar="TIME", help="the old text stays good this long: 90s, 30m, 12h, 7d or seconds, up to 30d; 0"
)
@on_store
def rotate(asked: Asked, key_id: str, grace: str | None) -> None:
    """Give a key a new text, which is shown this once."""
    now = time.time()
    grace_s = _grace_s(grace)
    issued, store = asked.ask(lambda state: api_keys.rotate(state, key_id, grace_s=grace_s, actor=_actor(), now=now))
    _show_issued(issued, f"Key {issued.key.id} has a new text in {store}.", asked, now)


@command.command()
@_id
@on_store
def revoke(asked: Asked, key_id: str) -> None:
    """Revoke a key for good.

    Says whether that is on the disk of the store, so that a restart keeps it.
    """
    now = time.time()
    done, store = asked.ask(lambda state: api_keys.revoke(state, key_id, actor=_actor(), now=now))
    if asked.as_json:
        shown = key_object(done.key, now=now)
        print_json(msgspec.structs.replace(shown, durable=done.durable, durability=done.durability))
    else:
        click.echo(f"Key {done.key.id} of tenant {done.key.tenant} is revoked in {store}. {done.durability}")


def _accepted(wire: dict[str, Any], type_: type[S]) -> S:
    try:
        return converted(wire, type_)
    except GatewayError as exc:
        raise in_options(exc) from None


def _grace_s(grace: str | None) -> float:
    wire = _accepted(grace_of(grace), KeyRotation)
    try:
        return grace_from_wire(wire)
    except GatewayError as exc:
        raise in_options(exc) from None


def _actor() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user without a name; KeyError before Python 3.13
        return f"cli:uid {os.getuid()}"


def _doubt_models(wire: KeyChanges) -> None:
    for doubt in doubts(() if wire.models is UNSET else wire.models, os.environ):
        click.echo(f"claude-wrapper: --models: {doubt}", err=True)


def _is_open() -> bool:
    """Whether a gateway with the settings of this environment would ask for no key."""
    try:
        config, _ = resolve(Config, os.environ, {})
    except SettingError:  # which the gateway says, and does not start
        return False
    return not config.is_protected


def _show_issued(issued: IssuedKey, what: str, asked: Asked, now: float) -> None:
    if asked.as_json:
        print_json(msgspec.structs.replace(key_object(issued.key, now=now), key=issued.text))
        return
    click.echo(f"{what} This is the key, shown only once:\n\n{issued.text}\n")
    click.echo(key_in_words(issued.key, now=now))
