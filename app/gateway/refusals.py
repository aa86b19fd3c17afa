"""What the store refuses to tell: one part of a picture is missing then, and the others are shown all the same."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import TypeVar

from app.errors import StateError, StateUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")


class Refusals:
    """Remembers what was refused, to say it once.

    Args:
        whole: the picture, in the words of the log: ``Alerts are evaluated``.
    """

    def __init__(self, whole: str) -> None:
        self._whole = whole
        self._refused: set[str] = set()

    async def had(self, part: str, asked: Awaitable[T]) -> T | None:
        """What was asked for; ``None`` where the store refuses it, such as of a key that is something else.

        Args:
            part: what it is, for the log.
            asked: the question.

        Raises:
            StateUnavailable: the store is away.
        """
        try:
            had = await asked
        except StateUnavailable:
            raise
        except StateError as exc:
            if part not in self._refused:
                log.warning("%s without %s: %s", self._whole, part, exc.message)
            self._refused.add(part)
            return None
        self._refused.discard(part)
        return had
