"""Whether the API is protected: asked once, in a terminal only."""

from __future__ import annotations

import secrets
import sys

import click

from app.config import Config


def may_ask(config: Config, *, no_interactive: bool) -> bool:
    """Whether there is somebody to ask, and something to ask about."""
    settled = config.is_protected or config.require_key != "auto" or config.production or no_interactive
    return not settled and sys.stdin.isatty() and sys.stdout.isatty()


def ask_for_key() -> str:
    """Asks whether to protect the API.

    Returns:
        A new key, or nothing when the API stays open.
    """
    if not click.confirm("Protect the API with a key?", default=False):
        return ""
    return new_key()


def new_key() -> str:
    """A static key: 256 random bits."""
    return "sk-cw-" + secrets.token_urlsafe(32)
