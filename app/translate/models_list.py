"""The bodies of ``/v1/models``: one form that the SDKs of OpenAI and Anthropic both read, and our own capabilities.

``capabilities`` inside a model object has Anthropic's shape and says what is served here: a feature of the model that
this gateway has no route for (batches, code execution, context management) is not supported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from app.domain.models import EFFORT_ORDER, ModelFacts
from app.errors import InvalidRequest

#: What a chat completions request may carry with every model.
_SUPPORTED: Final = (
    "messages",
    "model",
    "max_completion_tokens",
    "max_tokens",
    "stop",
    "n",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "response_format",
    "reasoning_effort",
    "web_search_options",
    "user",
    "safety_identifier",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
    "thinking",
    "include_reasoning",
    "cache_control",
    "betas",
    "output_config",
    "inference_geo",
    "prewarm",
)
_IGNORED: Final = (
    "seed",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "prediction",
    "logprobs",
    "top_logprobs",
    "verbosity",
    "store",
    "audio",
    "moderation",
)
_SAMPLING: Final = ("temperature", "top_p", "top_k")


def model_object(facts: ModelFacts) -> dict[str, Any]:
    """One model, as OpenAI's ``Model`` and Anthropic's ``ModelInfo`` at once."""
    shutdown = None if facts.shutdown_date is None else facts.shutdown_date.isoformat()
    return {
        "id": facts.id,
        "object": "model",
        "type": "model",
        "created": facts.created,
        "created_at": facts.created_at,
        "owned_by": "anthropic",
        "display_name": facts.display_name,
        "lifecycle": facts.lifecycle,
        "line": facts.line,
        "max_input_tokens": facts.context_tokens,
        "max_tokens": facts.max_output_tokens,
        "shutdown_date": shutdown,
        "retires_at": None if shutdown is None else f"{shutdown}T00:00:00Z",
        "capabilities": _anthropic_capabilities(facts),
    }


def models_list(
    models: Sequence[ModelFacts],
    *,
    limit: int | None = None,
    after_id: str | None = None,
    before_id: str | None = None,
) -> dict[str, Any]:
    """A page of models, as OpenAI's list and Anthropic's page at once.

    Args:
        models: all of them, newest first (``ModelTable.all``).
        limit: Anthropic's page size; without it the whole list, since OpenAI's clients do not page.
        after_id: the page after this id.
        before_id: the page before this id.

    Raises:
        InvalidRequest: the limit is not positive, no such id, or both ids.
    """
    if after_id is not None and before_id is not None:
        raise InvalidRequest(
            "Send either 'after_id' or 'before_id', not both.", param="before_id", code="invalid_value"
        )
    if limit is not None and limit < 1:
        raise InvalidRequest("Invalid 'limit': expected at least 1.", param="limit", code="invalid_value")
    rest = list(models)
    if after_id is not None:
        rest = rest[_index_of(after_id, rest, "after_id") + 1 :]
    if before_id is not None:
        rest = rest[: _index_of(before_id, rest, "before_id")]
    page = rest if limit is None else rest[-limit:] if before_id is not None else rest[:limit]
    return {
        "object": "list",
        "data": [model_object(facts) for facts in page],
        "has_more": len(page) < len(rest),
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }


def capabilities(facts: ModelFacts) -> dict[str, Any]:
    """What one model can do through this gateway, in plain words: our own route ``/v1/models/{id}/capabilities``."""
    sampling = facts.sampling
    return {
        "id": facts.id,
        "object": "model.capabilities",
        "known": facts.known,
        "display_name": facts.display_name,
        "line": facts.line,
        "lifecycle": facts.lifecycle,
        "shutdown_date": None if facts.shutdown_date is None else facts.shutdown_date.isoformat(),
        "endpoints": ["/v1/chat/completions"],
        "context_tokens": facts.context_tokens,
        "max_output_tokens": facts.max_output_tokens,
        "input": ["text", *(["image"] if facts.vision else []), *(["pdf"] if facts.pdf else [])],
        "output": ["text"],
        "streaming": True,
        "reasoning": {
            "thinking": list(facts.thinking),
            "default": facts.thinking_default,
            "efforts": list(facts.efforts),
            "default_effort": facts.default_effort,
            "bound_to_conversation": facts.bound_thinking,
            "bound_to_account": facts.account_bound_thinking,
        },
        "tools": {
            "function": True,
            "custom": True,
            "web_search": True,
            "parallel_calls": True,
            "forced_choice": facts.forced_tool_choice,
            "strict": facts.structured_outputs,
        },
        "structured_outputs": facts.structured_outputs,
        "prefill": facts.prefill,
        "mid_conversation_system": facts.mid_conversation_system,
        "parameters": {
            "supported": [*_SUPPORTED, *(_SAMPLING if sampling else ())],
            "ignored": [*_IGNORED, *(() if sampling else _SAMPLING)],
        },
    }


def _index_of(id_: str, models: Sequence[ModelFacts], param: str) -> int:
    for index, facts in enumerate(models):
        if facts.id == id_:
            return index
    raise InvalidRequest(f"Invalid '{param}': there is no such model in the list.", param=param, code="invalid_value")


def _anthropic_capabilities(facts: ModelFacts) -> dict[str, Any]:
    return {
        "batch": _support(yes=False),
        "citations": _support(yes=True),
        "code_execution": _support(yes=False),
        "context_management": _support(yes=False),
        "effort": {
            "supported": bool(facts.efforts),
            **{level: _support(yes=level in facts.efforts) for level in EFFORT_ORDER},
        },
        "image_input": _support(yes=facts.vision),
        "pdf_input": _support(yes=facts.pdf),
        "server_tools": {
            "supported": True,
            "web_search": _support(yes=True),
            "code_execution": _support(yes=False),
        },
        "structured_outputs": _support(yes=facts.structured_outputs),
        "thinking": {
            "supported": True,
            "types": {
                type_: _support(yes=type_ in facts.thinking)
                for type_ in ("adaptive", "between_tools", "disabled", "enabled")
            },
        },
    }


def _support(*, yes: bool) -> dict[str, bool]:
    return {"supported": yes}
