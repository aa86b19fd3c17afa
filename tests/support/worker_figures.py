"""Figures of workers, published as the workers do."""

from __future__ import annotations

from app.state.connection import StateConnection
from app.state.figures import WorkerFigures, publish_command


async def publish(state: StateConnection, *workers: WorkerFigures) -> None:
    """What each of these workers says about itself is in the store."""
    replies = await state.pipeline([publish_command(worker) for worker in workers])
    assert not [reply for reply in replies if isinstance(reply, Exception)]
