"""The order in which a request is checked."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import UNSET

from app.domain.models import ModelFacts
from workers.simulator.errors import Invalid
from workers.simulator.validation.caching import check_breakpoints
from workers.simulator.validation.conversation import check_conversation
from workers.simulator.validation.media import check_media
from workers.simulator.validation.parameters import check_output_config, check_parameters
from workers.simulator.validation.thinking import check_thinking
from workers.simulator.validation.tool_results import check_tool_results
from workers.simulator.validation.tools import check_tools
from workers.simulator.wire import (
    BETA_FIELDS,
    BINDING_BETA,
    FAST_BETA,
    CountTokensRequest,
    MessagesRequest,
    ThinkingAdaptive,
)

_EXTRA = "Extra inputs are not permitted"


def check_request(
    request: CountTokensRequest, facts: ModelFacts, version: str, betas: Collection[str], body: bytes
) -> None:
    """Checks everything about a decoded request except its thinking blocks.

    Args:
        request: of either route.
        facts: of its model.
        version: ``anthropic-version``.
        betas: the names in ``anthropic-beta``.
        body: the bytes, to find out cheaply what is not in them.

    Raises:
        Invalid: what Anthropic would refuse.
    """
    _check_betas(request, betas)
    if isinstance(request, MessagesRequest):
        check_parameters(request, facts, version)
    check_output_config(request, facts)
    check_thinking(request, facts)
    if request.tools is not UNSET or request.tool_choice is not UNSET:
        check_tools(request, facts)
    check_conversation(request, facts, version)
    if b"tool_" in body:
        check_tool_results(request)
    if b'"source"' in body:
        check_media(request, facts)
    if b"cache_control" in body:
        check_breakpoints(request)


def check_length(tokens: int, facts: ModelFacts) -> None:
    """Refuses a prompt that is longer than the model's context.

    Raises:
        Invalid: with the numbers.
    """
    if tokens > facts.context_tokens:
        raise Invalid(f"prompt is too long: {tokens} tokens > {facts.context_tokens} maximum")


def _check_betas(request: CountTokensRequest, betas: Collection[str]) -> None:
    """Fields of beta features need the beta's header."""
    for field, beta in BETA_FIELDS.items():
        if getattr(request, field, UNSET) is not UNSET and not any(name.startswith(beta) for name in betas):
            raise Invalid(_EXTRA, field)
    if request.speed == "fast" and FAST_BETA not in betas:
        raise Invalid(_EXTRA, "speed")
    binding = getattr(request.thinking, "block_binding", None)
    if binding is not None and BINDING_BETA not in betas:
        kind = "adaptive" if isinstance(request.thinking, ThinkingAdaptive) else "enabled"
        raise Invalid(_EXTRA, f"thinking.{kind}.block_binding")
