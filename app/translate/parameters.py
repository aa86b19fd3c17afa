"""Scalar parameters of a chat request (``spec/chat-completions.md`` section 1).

Limits, sampling, stop sequences, tiers, the end user, and the parameters that Claude has no counterpart for.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final, Literal

from msgspec import UNSET, Struct, UnsetType

from app.domain.models import ModelFacts
from app.errors import InvalidRequest
from app.schemas import openai_chat as openai
from app.translate.notes import Notes
from app.translate.raw import is_given
from app.translate.settings import TranslationSettings

#: The beta of Anthropic's fast mode.
FAST_BETA: Final = "fast-mode-2026-02-01"

#: How many answers one request may ask for.
MAX_ANSWERS: Final = 8

MAX_STOPS: Final = 4

_BETA_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")


def max_tokens(request: openai.ChatRequest, facts: ModelFacts, settings: TranslationSettings, notes: Notes) -> int:
    """The bound on the answer; Anthropic wants one always.

    Raises:
        InvalidRequest: it is below 1.
    """
    if request.prewarm:
        for name in ("max_completion_tokens", "max_tokens"):
            if getattr(request, name):
                notes.ignore(name, "prewarm asks for no answer")
        return 0
    path, wanted = "max_completion_tokens", request.max_completion_tokens
    if wanted is None:
        path, wanted = "max_tokens", request.max_tokens
    elif request.max_tokens not in (None, wanted):
        notes.ignore("max_tokens", "max_completion_tokens wins over it")
    if wanted is None:
        default = settings.default_max_tokens_stream if request.stream else settings.default_max_tokens
        return min(default, facts.max_output_tokens)
    if wanted < 1:
        raise InvalidRequest(f"Invalid '{path}': expected at least 1.", param=path, code="invalid_value")
    if wanted > facts.max_output_tokens:
        notes.adjust(path, str(facts.max_output_tokens), f"the most that {facts.id} answers")
        return facts.max_output_tokens
    return wanted


def has_max_tokens(request: openai.ChatRequest) -> bool:
    """Whether the client bounds the answer itself."""
    return request.prewarm or request.max_completion_tokens is not None or request.max_tokens is not None


class Sampling(Struct, frozen=True):
    """Sampling parameters; if any is set, the request has to go to the older API version."""

    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET

    @property
    def is_set(self) -> bool:
        """Whether any parameter is sent."""
        return not (self.temperature is self.top_p is self.top_k is UNSET)


_NO_SAMPLING: Final = Sampling()


def sampling(request: openai.ChatRequest, facts: ModelFacts, notes: Notes, *, thinks: bool) -> Sampling:
    """Temperature, ``top_p`` and ``top_k``, where the model takes them and does not think.

    Raises:
        InvalidRequest: a value is out of its range.
    """
    if request.temperature is request.top_p is request.top_k is None:
        return _NO_SAMPLING
    _check_range("temperature", request.temperature, 0, 2)
    _check_range("top_p", request.top_p, 0, 1)
    _check_range("top_k", request.top_k, 1, 2**31)
    if not facts.sampling or thinks:
        reason = "sampling does not go with thinking" if facts.sampling else f"{facts.id} takes no sampling parameters"
        for name, no_op in (("temperature", 1), ("top_p", 1), ("top_k", None)):
            if getattr(request, name) not in (None, no_op):
                notes.ignore(name, reason)
        return _NO_SAMPLING
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    if request.temperature is not None:
        temperature = min(request.temperature, 1)
        if request.temperature > 1:
            notes.adjust("temperature", "1", "Claude's highest temperature")
        if request.top_p not in (None, 1):
            notes.ignore("top_p", "Claude takes either temperature or top_p")
    elif request.top_p is not None:
        top_p = request.top_p
    return Sampling(temperature, top_p, UNSET if request.top_k is None else request.top_k)


def _check_range(name: str, value: float | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise InvalidRequest(
            f"Invalid '{name}': expected a value from {least} to {most}.", param=name, code="invalid_value"
        )


def stop_sequences(stop: str | list[str] | None, notes: Notes) -> list[str] | UnsetType:
    """Stop sequences; blank ones are left out, since Anthropic refuses them.

    Raises:
        InvalidRequest: there are more than four.
    """
    if stop is None:
        return UNSET
    stops = [stop] if isinstance(stop, str) else stop
    if len(stops) > MAX_STOPS:
        raise InvalidRequest(
            f"Invalid 'stop': at most {MAX_STOPS} sequences, but got {len(stops)}.", param="stop", code="invalid_value"
        )
    for index, text in enumerate(stops):
        if not text.strip():
            path = "stop" if isinstance(stop, str) else f"stop[{index}]"
            notes.ignore(path, "Claude takes no blank stop sequence")
    return [text for text in stops if text.strip()] or UNSET


def answer_count(n: int | None) -> int:
    """How many answers are wanted.

    Raises:
        InvalidRequest: not 1 to 8.
    """
    if n is None:
        return 1
    if not 1 <= n <= MAX_ANSWERS:
        raise InvalidRequest(
            f"Invalid 'n': this gateway gives 1 to {MAX_ANSWERS} answers.", param="n", code="unsupported_value"
        )
    return n


class Tier(Struct, frozen=True):
    """Anthropic's words for the processing tier."""

    service_tier: Literal["auto", "standard_only"] | UnsetType = UNSET
    speed: Literal["fast"] | UnsetType = UNSET
    betas: tuple[str, ...] = ()


def tier(request: openai.ChatRequest, settings: TranslationSettings, notes: Notes) -> Tier:
    """OpenAI's ``service_tier`` in Anthropic's words."""
    wanted = request.service_tier
    if wanted in ("auto", "priority"):
        return Tier(service_tier="auto")
    if wanted == "default":
        return Tier(service_tier="standard_only")
    if wanted == "fast" and settings.fast_mode:
        return Tier(speed="fast", betas=(FAST_BETA,))
    if wanted is not None:
        reason = "fast mode is not switched on here" if wanted == "fast" else "Anthropic has no such tier"
        notes.ignore("service_tier", reason)
    return Tier()


def pseudonym(request: openai.ChatRequest, salt: bytes, notes: Notes) -> str:
    """The end user as Anthropic may know him: HMAC-SHA256, hex; empty when the client named nobody."""
    name = ""
    for path, given in (
        ("safety_identifier", request.safety_identifier),
        ("user", request.user),
        ("metadata.user_id", (request.metadata or {}).get("user_id")),
    ):
        if given and name not in ("", given):
            notes.ignore(path, "Anthropic is told of one user, by the first of the names that there are")
        name = name or given or ""
    return hmac.new(salt, name.encode(), hashlib.sha256).hexdigest() if name else ""


def betas(request: openai.ChatRequest, settings: TranslationSettings, notes: Notes) -> tuple[str, ...]:
    """The betas a request asks for, as far as the operator allows them.

    Raises:
        InvalidRequest: one is not a name.
    """
    allowed = []
    for index, name in enumerate(request.betas or ()):
        if not _BETA_NAME.fullmatch(name):
            raise InvalidRequest("This is not the name of a beta.", param=f"betas[{index}]", code="invalid_value")
        if "*" in settings.allowed_betas or name in settings.allowed_betas:
            allowed.append(name)
        else:
            notes.ignore(f"betas[{index}]", "the operator does not allow this beta")
    return tuple(allowed)


def without_counterpart(request: openai.ChatRequest, notes: Notes) -> None:
    """Reports the parameters that Claude has nothing for, unless their value says nothing either.

    Raises:
        InvalidRequest: it would mislead to go on without the parameter.
    """
    r = request
    if r.logit_bias or r.presence_penalty or r.frequency_penalty or r.logprobs or r.top_logprobs or r.store:
        for name, reason in _NO_COUNTERPART:
            if getattr(request, name):
                notes.ignore(name, reason)
    if request.seed is not None:
        notes.ignore("seed", "Claude does not sample deterministically")
    if is_given(request.prediction):
        notes.ignore("prediction", "Claude has no predicted outputs")
    if request.verbosity not in (None, "medium"):
        notes.ignore("verbosity", "Claude has no such control; say it in the prompt")
    if request.stream_options is not None and request.stream_options.include_usage and not request.stream:
        notes.ignore("stream_options", "the answer is not streamed")
    _audio(request, notes)
    _moderation(request.moderation, notes)


_NO_COUNTERPART: Final = (
    ("logit_bias", "Claude has no access to logits"),
    ("presence_penalty", "Claude has no penalties"),
    ("frequency_penalty", "Claude has no penalties"),
    ("logprobs", "Claude gives no log probabilities"),
    ("top_logprobs", "Claude gives no log probabilities"),
    ("store", "answers are not stored"),
)


def _audio(request: openai.ChatRequest, notes: Notes) -> None:
    if request.modalities is not None and "audio" in request.modalities:
        raise InvalidRequest("Claude answers in text only.", param="modalities", code="unsupported_value")
    if is_given(request.audio):
        notes.ignore("audio", "Claude answers in text only")


def _moderation(moderation: openai.Moderation | None, notes: Notes) -> None:
    """Scores may be missing; a block that silently does not happen may not."""
    if moderation is None:
        return
    policy = moderation.policy or openai.ModerationPolicy()
    for name, mode in (("input", policy.input), ("output", policy.output)):
        if mode is not None and mode.mode == "block":
            raise InvalidRequest(
                "This gateway does not moderate, so it cannot block what moderation would.",
                param=f"moderation.policy.{name}.mode",
                code="unsupported_value",
            )
    notes.ignore("moderation", "this gateway does not moderate")
