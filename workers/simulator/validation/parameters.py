"""Everything beside messages, tools and thinking: sizes, sampling, stops, effort and the form of the answer."""

from __future__ import annotations

import re
from typing import Final

from msgspec import UNSET

from app.domain.models import ModelFacts
from workers.simulator.errors import Invalid
from workers.simulator.validation.json_schema import check_supported
from workers.simulator.wire import (
    CountTokensRequest,
    DocumentBlock,
    MessagesRequest,
    ThinkingAdaptive,
    ThinkingEnabled,
    blocks_of,
)

#: From this version on sampling parameters are no fields of a request any more.
NO_SAMPLING_VERSION: Final = "2026-10-21"

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[a-zA-Z]{2,}")


def check_parameters(request: MessagesRequest, facts: ModelFacts, version: str) -> None:
    """Checks the scalar fields of a Messages request.

    Raises:
        Invalid: names the field.
    """
    limit = facts.max_output_tokens
    if request.max_tokens < 0:
        raise Invalid("Input should be greater than or equal to 0", "max_tokens")
    if request.max_tokens > limit:
        message = (
            f"{request.max_tokens} > {limit}, which is the maximum allowed number of output tokens for {request.model}"
        )
        raise Invalid(message, "max_tokens")
    _check_sampling(request, facts, version)
    for stop in request.stop_sequences or ():
        if not stop.strip():
            raise Invalid("each stop sequence must contain non-whitespace", "stop_sequences")
    if request.metadata is not UNSET and request.metadata.user_id is not None:
        _check_user_id(request.metadata.user_id)


def _check_user_id(user_id: str) -> None:
    if len(user_id) > 256:
        raise Invalid("String should have at most 256 characters", "metadata.user_id")
    if _EMAIL.search(user_id):
        raise Invalid("user_id appears to contain an email address", "metadata.user_id")


def _check_sampling(request: MessagesRequest, facts: ModelFacts, version: str) -> None:
    """``temperature``, ``top_p``, ``top_k``: none since 2026-10-21, before that by model."""
    given = {
        name: value for name in ("temperature", "top_p", "top_k") if (value := getattr(request, name)) is not UNSET
    }
    if not given:
        return
    if version >= NO_SAMPLING_VERSION:
        raise Invalid("Extra inputs are not permitted", next(iter(given)))
    for name in ("temperature", "top_p"):
        if name in given and not 0 <= given[name] <= 1:
            raise Invalid("range: 0..1", name)
    if given.get("top_k", 0) < 0:
        raise Invalid("Input should be greater than or equal to 0", "top_k")
    if not facts.sampling:
        for name, value in given.items():
            if value != (0 if name == "top_k" else 1):
                raise Invalid(f"`{name}` may only be set to its default value for this model.")
        return
    if "temperature" in given and "top_p" in given:
        raise Invalid("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    if isinstance(request.thinking, (ThinkingEnabled, ThinkingAdaptive)):
        if given.get("temperature", 1) != 1:
            raise Invalid("`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.")
        if "top_k" in given:
            raise Invalid("`top_k` must be unset when thinking is enabled or in adaptive mode.")
        if given.get("top_p", 1) < 0.95:
            raise Invalid(
                "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled or in adaptive mode."
            )


def check_output_config(request: CountTokensRequest, facts: ModelFacts) -> None:
    """Checks effort and structured output against the model.

    Raises:
        Invalid: the model does not have it, or it does not go with the rest of the request.
    """
    config = request.output_config
    if config.effort is not None:
        if not facts.efforts:
            raise Invalid("This model does not support the effort parameter.")
        if config.effort not in facts.efforts:
            levels = ", ".join(facts.efforts)
            raise Invalid(
                f"This model does not support effort level '{config.effort}'. Supported levels: {levels}.",
                "output_config.effort",
            )
    if config.format is None:
        return
    if not facts.structured_outputs:
        raise Invalid("This model does not support structured outputs.", "output_config.format")
    check_supported(config.format.schema, "output_config.format.schema")
    for message in request.messages:
        for block in blocks_of(message.content):
            if isinstance(block, DocumentBlock) and block.citations is not None and block.citations.enabled:
                raise Invalid("Citations cannot be used together with structured outputs.", "output_config.format")
    if request.messages and request.messages[-1].role == "assistant":
        raise Invalid("Prefill cannot be used together with structured outputs.", "output_config.format")
