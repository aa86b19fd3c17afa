"""``POST /v1/messages`` and ``count_tokens``: a script's fault, then validation, then the answer and its usage."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from app.domain.models import ModelFacts
from workers.simulator import validation
from workers.simulator.answers.compose import Context, compose
from workers.simulator.cache import CacheUse, PromptCache
from workers.simulator.errors import ApiError
from workers.simulator.events import Event, error_event, events_of
from workers.simulator.exchange import JSON_HEADERS, Request, error_reply, json_reply, nonsense
from workers.simulator.journal import Entry
from workers.simulator.lean import lean_message, read_lean
from workers.simulator.models import min_cache_tokens
from workers.simulator.prompt import Piece, pieces_of, total_tokens
from workers.simulator.rate_limits import RateLimits
from workers.simulator.reply import (
    Answer,
    CacheCreation,
    MessageOut,
    OutputTokensDetails,
    ServerToolUsage,
    Usage,
    encode,
)
from workers.simulator.schedule import Ending, Reply, bill_of, broken_bill, plain_reply, stream_reply, with_faults
from workers.simulator.script import Script, ScriptBook
from workers.simulator.settings import SimulatorSettings
from workers.simulator.signatures import Signer, org_of
from workers.simulator.wire import BINDING_BETA, COUNT_DECODER, MESSAGES_DECODER, CountTokensRequest, MessagesRequest

_SSE_HEADERS: Final = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
_ORGANIZATION: Final = b"anthropic-organization-id: 00000000-0000-4000-8000-000000000000\r\n"


class Messages:
    """The two routes and what they remember: prompt cache, rate limits, the state of chance."""

    def __init__(self, settings: SimulatorSettings, models: Mapping[str, ModelFacts], scripts: ScriptBook) -> None:
        self.settings = settings
        self.models = models
        self.scripts = scripts
        self._cache = PromptCache()
        self._limits = RateLimits(settings)
        self._signer = Signer(settings.signing_key)
        self._chance = random.Random(settings.seed)  # noqa: S311 - deterministic on purpose

    def reset(self) -> None:
        """Forgets everything."""
        self._cache.clear()
        self._limits.clear()
        self._chance.seed(self.settings.seed)

    def find_model(self, name: str) -> ModelFacts:
        """The facts of a model id.

        Raises:
            ApiError: 404.
        """
        facts = self.models.get(name)
        if facts is None:
            raise ApiError(404, f"model: {name}")
        return facts

    def create(self, request: Request, request_id: str, credential: str, entry: Entry | None = None) -> Reply:
        """Answers ``POST /v1/messages``, and notes in its journal entry the thinking that the model does not see.

        Raises:
            ApiError: the request is refused.
        """
        asked = [(name[12:], value) for name, value in request.headers.items() if name.startswith("x-simulator-")]
        validate = self.settings.validate
        if not validate and (short := self._lean(request, asked, request_id)) is not None:
            return short
        message_request: MessagesRequest | None = None
        problem: Exception | None = None
        try:
            message_request = MESSAGES_DECODER.decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            problem = error
        script = self.scripts.choose(asked, message_request, request.body)
        fault = self._fault(script, message_request, request_id)
        if fault is not None:
            return fault
        if message_request is None:
            if validate:
                raise validation.shape_error(problem, request.body, MessagesRequest)
            message_request = read_lean(request.body).as_messages_request()
        if self.settings.error_rate and self._chance.random() < self.settings.error_rate:
            script = self._random_fault(script)
            fault = self._fault(script, message_request, request_id)
            if fault is not None:
                return fault
        now_s, unix_s = time.monotonic(), time.time()
        self._limits.admit(credential, now_s, unix_s)
        message, dropped = self._message(message_request, request, credential, script, now_s)
        if entry is not None:
            entry.dropped = dropped
        usage = message.usage
        self._limits.used(
            credential, usage.input_tokens + usage.cache_creation_input_tokens, usage.output_tokens, now_s
        )
        shown = self._limits.header_lines(credential, now_s, unix_s)
        common = b"request-id: %b\r\n%b%b" % (request_id.encode(), _ORGANIZATION, shown)
        if message_request.stream:
            return self._stream(message, common, script, request_id, unix_s)
        return self._plain(message, common, script)

    def count_tokens(self, request: Request, request_id: str, credential: str) -> Reply:
        """Answers ``POST /v1/messages/count_tokens``.

        Raises:
            ApiError: the request is refused.
        """
        try:
            count_request = COUNT_DECODER.decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise validation.shape_error(error, request.body, CountTokensRequest) from error
        pieces = pieces_of(count_request)
        if self.settings.validate:
            facts = self.find_model(count_request.model)
            betas = request.betas()
            validation.check_request(count_request, facts, request.headers["anthropic-version"], betas, request.body)
            dropped, _ = validation.check_thinking_blocks(
                count_request, pieces, facts, self.models, self._signer, org_of(credential), betas
            )
            gone = {drop.path for drop in dropped}
            pieces = [piece for piece in pieces if piece.path not in gone]
        return json_reply({"input_tokens": total_tokens(pieces)}, request_id)

    def _message(
        self, message_request: MessagesRequest, request: Request, credential: str, script: Script, now_s: float
    ) -> tuple[MessageOut, list[dict[str, Any]]]:
        """The answer, and the thinking that was dropped from the request."""
        betas = request.betas()
        dropped: list[validation.Dropped] = []
        previous = validation.NO_BLOCK
        org = org_of(credential)
        if self.settings.validate:
            facts = self.find_model(message_request.model)
            version = request.headers["anthropic-version"]
            validation.check_request(message_request, facts, version, betas, request.body)
            pieces = pieces_of(message_request)
            dropped, previous = validation.check_thinking_blocks(
                message_request, pieces, facts, self.models, self._signer, org, betas
            )
        else:
            facts = self.models.get(message_request.model) or next(iter(self.models.values()))
            pieces = pieces_of(message_request)
        gone = {drop.path for drop in dropped}
        pieces = [piece for piece in pieces if piece.path not in gone] if gone else pieces
        if self.settings.validate:
            validation.check_length(total_tokens(pieces), facts)
        digest = hashlib.blake2b(
            encode(msgspec.structs.replace(message_request, stream=False)), digest_size=16
        ).digest()
        answer = compose(
            message_request,
            Context(
                model=message_request.model,
                facts=facts,
                script=script,
                digest=digest,
                signer=self._signer,
                org=org,
                pieces=pieces,
                previous=previous,
            ),
        )
        cache = self._cache.use(
            message_request,
            pieces,
            scope=org + facts.id.encode(),
            min_tokens=min_cache_tokens(facts),
            now_s=now_s,
        )
        shown = [drop.shown() for drop in dropped]
        message = MessageOut(
            id=f"msg_sim{digest.hex()[:22]}",
            role="assistant",
            model=message_request.model,
            content=answer.blocks,
            stop_reason=answer.stop_reason,
            stop_sequence=answer.stop_sequence,
            stop_details=answer.stop_details,
            usage=_usage(message_request, pieces, cache, answer, script.service_tier),
            input_transformations=shown if BINDING_BETA in betas and facts.thinking else None,
        )
        return message, shown

    def _plain(self, message: MessageOut, common: bytes, script: Script) -> Reply:
        body = encode(message)
        kind = JSON_HEADERS
        bill = None if script.nonsense else bill_of(message, script, streamed=False)
        if script.nonsense:
            body, kind = nonsense(script.nonsense, body)
        if script.content_type:
            kind = f"content-type: {script.content_type}\r\n".encode()
        return plain_reply(kind + common, body, script, message.usage.output_tokens, bill)

    def _stream(self, message: MessageOut, common: bytes, script: Script, request_id: str, unix_s: float) -> Reply:
        kind = _SSE_HEADERS
        bill = None if script.nonsense else bill_of(message, script, streamed=True)
        if script.nonsense:
            body, kind = nonsense(script.nonsense, encode(message))
            events = [Event(body, -1)] if body else []
        else:
            events = events_of(message, script.delta_tokens)
        if script.content_type:
            kind = f"content-type: {script.content_type}\r\n".encode()
        if 0 <= script.error_after_events < len(events):
            at = script.error_after_events
            made = events[at - 1].made if at else 0
            events = [*events[:at], Event(error_event(script.error().body(request_id)), events[at].token, made)]
            bill = broken_bill(bill, started=at > 0)
        if script.tokens_per_second or script.ttft_ms:
            common += (
                f"x-simulator-started-at: {unix_s:.6f}\r\nx-simulator-ttft-ms: {script.ttft_ms:g}\r\n"
                f"x-simulator-tokens-per-second: {script.tokens_per_second:g}\r\n"
                f"x-simulator-delta-tokens: {script.delta_tokens}\r\n"
            ).encode()
        seed = self._chance.getrandbits(32) if script.jitter_ms else 0
        return stream_reply(kind + common, events, script, seed, bill)

    def _lean(self, request: Request, asked: list[tuple[str, str]], request_id: str) -> Reply | None:
        """The short way, with validation off; None for a request that needs the long one."""
        if asked or self.settings.error_rate or self.scripts.admin_scripts() or b"[[sim:" in request.body:
            return None
        lean = read_lean(request.body)
        if not lean.wants_text_only:
            return None
        script = self.scripts.default
        message = lean_message(lean, request.body, script.output_tokens)
        common = b"request-id: %b\r\n%b" % (request_id.encode(), _ORGANIZATION)
        if lean.stream:
            return self._stream(message, common, script, request_id, time.time())
        return self._plain(message, common, script)

    def _fault(self, script: Script, request: CountTokensRequest | None, request_id: str) -> Reply | None:
        """The reply of a script that leaves no room for an answer."""
        due_s = max(script.ttft_ms, script.header_delay_ms) / 1000
        if script.silent:
            return Reply(status=200, headers=b"", parts=(), drop=True, ending="hang")
        if script.drop:
            ending: Ending = "reset" if script.reset else "close"
            return Reply(status=200, headers=b"", parts=(), drop=True, ending=ending, header_due_s=due_s)
        streamed = isinstance(request, MessagesRequest) and request.stream
        if script.status >= 400 and not (streamed and script.error_after_events >= 0):
            return with_faults(error_reply(script.error(), request_id, due_s), script)
        if script.error_after_events >= 0 and not streamed:
            return with_faults(error_reply(script.error(), request_id, due_s), script)
        return None

    def _random_fault(self, script: Script) -> Script:
        kind = self._chance.choice(self.settings.error_kinds or ("529",))
        match kind:
            case "event":
                return msgspec.structs.replace(script, error_after_events=self._chance.randrange(2, 8))
            case "cut":
                return msgspec.structs.replace(script, cut_at_byte=self._chance.randrange(200))
            case "drop":
                return msgspec.structs.replace(script, drop=True)
        status = int(kind) if kind.isdigit() else 500
        return msgspec.structs.replace(script, status=status)


def _usage(request: MessagesRequest, pieces: list[Piece], cache: CacheUse, answer: Answer, service_tier: str) -> Usage:
    written = cache.written_5m + cache.written_1h
    return Usage(
        input_tokens=total_tokens(pieces) - cache.read - written,
        cache_creation_input_tokens=written,
        cache_read_input_tokens=cache.read,
        cache_creation=CacheCreation(
            ephemeral_5m_input_tokens=cache.written_5m, ephemeral_1h_input_tokens=cache.written_1h
        ),
        output_tokens=answer.output_tokens,
        output_tokens_details=OutputTokensDetails(thinking_tokens=answer.thinking_tokens),
        server_tool_use=ServerToolUsage(web_search_requests=answer.web_searches) if answer.web_searches else None,
        service_tier=service_tier,
        speed=request.speed or "standard",
    )
