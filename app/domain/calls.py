"""What a client's request has become: the call to make, how to answer it, and what has to be reported.

Made by ``app/translate`` from any dialect, carried out by ``app/gateway``.
"""

from __future__ import annotations

from msgspec import Struct

from app.domain.models import Price
from app.domain.prompt_size import PromptSize


class Usage(Struct, kw_only=True, frozen=True):
    """Tokens of one answer or, added up, of several; Anthropic's classes.

    ``input_tokens`` excludes what was read from or written to the prompt cache; ``cache_write_1h_tokens`` is the part
    of ``cache_creation_input_tokens`` that is kept for an hour, ``thinking_tokens`` a part of ``output_tokens``.
    ``service_tier``, ``speed`` and ``inference_geo`` are Anthropic's words, empty when it said nothing.
    """

    input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0
    thinking_tokens: int = 0
    web_search_requests: int = 0
    service_tier: str = ""
    speed: str = ""
    inference_geo: str = ""

    @property
    def prompt_tokens(self) -> int:
        """The whole prompt, whatever the prompt cache did with it."""
        return self.input_tokens + self.cache_creation_input_tokens + self.cache_read_input_tokens

    def __add__(self, other: Usage) -> Usage:
        """The sum of two answers; tier, speed and region of the first that has one."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            cache_creation_input_tokens=self.cache_creation_input_tokens + other.cache_creation_input_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            cache_read_input_tokens=self.cache_read_input_tokens + other.cache_read_input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            thinking_tokens=self.thinking_tokens + other.thinking_tokens,
            web_search_requests=self.web_search_requests + other.web_search_requests,
            service_tier=self.service_tier or other.service_tier,
            speed=self.speed or other.speed,
            inference_geo=self.inference_geo or other.inference_geo,
        )


class Report(Struct, frozen=True):
    """What of the client's request had no effect, and what was changed.

    Args:
        ignored: request paths, such as ``messages[0].name``.
        adjusted: ``(path, what became of it)``, such as ``("temperature", "1")``.
    """

    ignored: tuple[str, ...] = ()
    adjusted: tuple[tuple[str, str], ...] = ()


class ReplyPlan(Struct, frozen=True, kw_only=True):
    """How the client wants Claude's answer.

    Args:
        include_reasoning: show ``reasoning_content`` and ``thinking_blocks``.
        reasoning_details: show OpenRouter's ``reasoning`` and ``reasoning_details`` too.
        include_usage: a stream ends with a usage chunk, and every chunk before it has ``"usage": null``.
        custom_tools: names of tools declared as ``type: custom``.
        function_call: the legacy form (``functions``) was used: answer ``function_call``.
        structured_tool: the client forced this tool and the model refuses forced tools, so the JSON answer is returned
            as one call of it (``forced_tool_fallback=structured_output``).
        expects_tool_call: a tool was forced and the model could only be told so: report when no call came.
        server_tools: Anthropic runs tools itself: ``pause_turn`` is continued inside the gateway.
    """

    include_reasoning: bool = False
    reasoning_details: bool = False
    include_usage: bool = False
    custom_tools: frozenset[str] = frozenset()
    function_call: bool = False
    structured_tool: str = ""
    expects_tool_call: bool = False
    server_tools: bool = False


class MessagesCall(Struct, frozen=True, kw_only=True):
    """A translated request, ready to be sent.

    Args:
        model: the model id sent upstream.
        is_known: the model table has it.
        body: the Messages request as JSON; deterministic in the client's request.
        anthropic_version: value of the header.
        betas: values of ``anthropic-beta``, in order.
        stream: the client asked for a stream.
        upstream_stream: the upstream call runs as a stream (also for a plain client above 21,333 ``max_tokens``).
        n: how many answers the client wants, each a call of its own.
        plan: how to answer.
        report: what was ignored or adjusted.
        affinity: calls with the same text should use the same upstream credential: they may share a cached prompt, and
            some thinking is bound to its account. It may be the client's own words; never for a log.
        metadata: the client's ``metadata``, for the gateway's log only.
        size: of the prompt, before Anthropic has counted it.
        max_tokens: bound on each answer, as in ``body``.
        max_tokens_given: the client said how long an answer may be; otherwise ``max_tokens`` is a default and says
            nothing about what to expect.
        least_tokens: the smallest ``max_tokens`` that this call can be sent with.
        price: of the model; None where it is not known.
        inference_geo: where the client wants inference to run, in Anthropic's words; empty leaves it to the account.
        fast: fast mode was asked for.
        unbounded: why no upper bound of its cost is known, in words for the client; empty where there is one.
        keeps_answers: answers with tool calls are worth keeping: the call has tools, and Claude may think.
        restored: earlier answers with tool calls that are sent as Claude gave them, from what was kept.
        lost: earlier answers with tool calls of which nothing was kept, and without thinking of the client's own,
            though this call thinks.
    """

    model: str
    body: bytes
    anthropic_version: str
    is_known: bool = True
    betas: tuple[str, ...] = ()
    stream: bool = False
    upstream_stream: bool = False
    n: int = 1
    plan: ReplyPlan = ReplyPlan()
    report: Report = Report()
    affinity: str = ""
    metadata: dict[str, str] = {}
    size: PromptSize = PromptSize()
    max_tokens: int
    max_tokens_given: bool = False
    least_tokens: int = 1
    price: Price | None = None
    inference_geo: str = ""
    fast: bool = False
    unbounded: str = ""
    keeps_answers: bool = False
    restored: int = 0
    lost: int = 0
