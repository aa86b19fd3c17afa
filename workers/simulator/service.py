"""What each route answers: authentication, then a script's fault, then validation, then the answer.

Everything here is synchronous: a request goes in, a ``Reply`` comes out, and ``delivery.py`` decides when its bytes
leave.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from app.domain.models import ModelFacts
from workers.simulator import validation
from workers.simulator.answers.compose import Context, compose
from workers.simulator.cache import CacheUse, PromptCache
from workers.simulator.delivery import Part, Reply, plain_reply, stream_reply, with_faults
from workers.simulator.errors import ApiError
from workers.simulator.events import Event, error_event, events_of
from workers.simulator.journal import Entry, Journal
from workers.simulator.lean import lean_message, read_lean
from workers.simulator.models import load_models, min_cache_tokens, model_info
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
from workers.simulator.script import Script, ScriptBook
from workers.simulator.settings import SimulatorSettings
from workers.simulator.signatures import Signer, org_of
from workers.simulator.wire import BINDING_BETA, COUNT_DECODER, MESSAGES_DECODER, CountTokensRequest, MessagesRequest

KNOWN_VERSIONS: Final = frozenset({"2023-01-01", "2023-06-01", "2026-10-21"})

_JSON_HEADERS: Final = b"content-type: application/json\r\n"
_SSE_HEADERS: Final = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
_ORGANIZATION: Final = b"anthropic-organization-id: 00000000-0000-4000-8000-000000000000\r\n"


class Request(Struct):
    """One HTTP request; header names are lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def betas(self) -> frozenset[str]:
        """The names in ``anthropic-beta``."""
        text = self.headers.get("anthropic-beta")
        return frozenset(name.strip() for name in text.split(",")) if text else frozenset()

    def credential(self) -> str:
        """The API key, ``x-api-key`` before ``Authorization: Bearer``; empty where there is none."""
        key = self.headers.get("x-api-key", "").strip()
        if key:
            return key
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


class Simulator:
    """The API's state (prompt cache, scripts, rate limits, journal) and its routes."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.journal = Journal(settings.journal, settings.journal_body_bytes)
        self.scripts = ScriptBook(settings)
        self.models: Mapping[str, ModelFacts] = load_models()
        self._cache = PromptCache()
        self._limits = RateLimits(settings)
        self._signer = Signer(settings.signing_key)
        self._chance = random.Random(settings.seed)  # noqa: S311 - deterministic on purpose
        self._requests = 0

    def answer(self, request: Request, entry: Entry | None) -> Reply:
        """The reply to a request. Never raises; what is wrong with the request is the reply."""
        self._requests += 1
        request_id = f"req_sim{self._requests:020x}"
        try:
            reply = self._route(request, request_id)
        except ApiError as error:
            reply = _error_reply(error, request_id)
        if entry is not None:
            entry.status = 0 if reply.drop else reply.status
        return reply

    def _route(self, request: Request, request_id: str) -> Reply:
        match request.method, request.path:
            case "POST", "/v1/messages":
                return self._messages(request, request_id)
            case "POST", "/v1/messages/count_tokens":
                return self._count_tokens(request, request_id)
            case "GET", "/v1/models":
                self._authenticate(request)
                return _json_reply(self._model_page(parse_qs(request.query)), request_id)
            case "GET", path if path.startswith("/v1/models/"):
                self._authenticate(request)
                name = path.removeprefix("/v1/models/")
                return _json_reply(model_info(name, self._model(name)), request_id)
            case "GET", "/":
                return _json_reply({"simulator": "claude-wrapper"}, request_id)
            case "HEAD", "/":
                return msgspec.structs.replace(_json_reply({"simulator": "claude-wrapper"}, request_id), parts=())
            case _, path if path.startswith("/_simulator/"):
                return self._admin(request, request_id)
        if request.path in ("/v1/messages", "/v1/messages/count_tokens", "/v1/models"):
            raise ApiError(405, "Method Not Allowed")
        raise ApiError(404, "Not found")

    # Messages

    def _messages(self, request: Request, request_id: str) -> Reply:
        credential = self._authenticate(request)
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
        message = self._message(message_request, request, credential, script, now_s)
        usage = message.usage
        self._limits.used(
            credential, usage.input_tokens + usage.cache_creation_input_tokens, usage.output_tokens, now_s
        )
        shown = self._limits.header_lines(credential, now_s, unix_s)
        common = b"request-id: %b\r\n%b%b" % (request_id.encode(), _ORGANIZATION, shown)
        if message_request.stream:
            return self._stream(message, common, script, request_id, unix_s)
        return self._plain(message, common, script)

    def _message(
        self, message_request: MessagesRequest, request: Request, credential: str, script: Script, now_s: float
    ) -> MessageOut:
        betas = request.betas()
        dropped: list[validation.Dropped] = []
        previous = validation.NO_BLOCK
        org = org_of(credential)
        if self.settings.validate:
            facts = self._model(message_request.model)
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
        return MessageOut(
            id=f"msg_sim{digest.hex()[:22]}",
            role="assistant",
            model=message_request.model,
            content=answer.blocks,
            stop_reason=answer.stop_reason,
            stop_sequence=answer.stop_sequence,
            stop_details=answer.stop_details,
            usage=_usage(message_request, pieces, cache, answer, script.service_tier),
            input_transformations=[drop.shown() for drop in dropped]
            if BINDING_BETA in betas and facts.thinking
            else None,
        )

    def _plain(self, message: MessageOut, common: bytes, script: Script) -> Reply:
        body = encode(message)
        kind = _JSON_HEADERS
        if script.nonsense:
            body, kind = _nonsense(script.nonsense, body)
        if script.content_type:
            kind = f"content-type: {script.content_type}\r\n".encode()
        return plain_reply(200, kind + common, body, script, message.usage.output_tokens)

    def _stream(self, message: MessageOut, common: bytes, script: Script, request_id: str, unix_s: float) -> Reply:
        kind = _SSE_HEADERS
        if script.nonsense:
            body, kind = _nonsense(script.nonsense, encode(message))
            events = [Event(body, -1)] if body else []
        else:
            events = events_of(message, script.delta_tokens)
        if script.content_type:
            kind = f"content-type: {script.content_type}\r\n".encode()
        if 0 <= script.error_after_events < len(events):
            at = script.error_after_events
            events = [*events[:at], Event(error_event(script.error().body(request_id)), events[at].token)]
        if script.tokens_per_second or script.ttft_ms:
            common += (
                f"x-simulator-started-at: {unix_s:.6f}\r\nx-simulator-ttft-ms: {script.ttft_ms:g}\r\n"
                f"x-simulator-tokens-per-second: {script.tokens_per_second:g}\r\n"
                f"x-simulator-delta-tokens: {script.delta_tokens}\r\n"
            ).encode()
        return stream_reply(kind + common, events, script, self._chance.getrandbits(32) if script.jitter_ms else 0)

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

    # Faults

    def _fault(self, script: Script, request: CountTokensRequest | None, request_id: str) -> Reply | None:
        """The reply of a script that leaves no room for an answer."""
        due_s = max(script.ttft_ms, script.header_delay_ms) / 1000
        if script.silent:
            return Reply(status=200, headers=b"", parts=(), drop=True, ending="hang")
        if script.drop:
            ending: Any = "reset" if script.reset else "close"
            return Reply(status=200, headers=b"", parts=(), drop=True, ending=ending, header_due_s=due_s)
        streamed = isinstance(request, MessagesRequest) and request.stream
        if script.status >= 400 and not (streamed and script.error_after_events >= 0):
            return with_faults(_error_reply(script.error(), request_id, due_s), script)
        if script.error_after_events >= 0 and not streamed:
            return with_faults(_error_reply(script.error(), request_id, due_s), script)
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
        return msgspec.structs.replace(script, status=status, retry_after="1" if status == 429 else script.retry_after)

    # The other routes

    def _count_tokens(self, request: Request, request_id: str) -> Reply:
        credential = self._authenticate(request)
        try:
            count_request = COUNT_DECODER.decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise validation.shape_error(error, request.body, CountTokensRequest) from error
        pieces = pieces_of(count_request)
        if self.settings.validate:
            facts = self._model(count_request.model)
            betas = request.betas()
            validation.check_request(count_request, facts, request.headers["anthropic-version"], betas, request.body)
            dropped, _ = validation.check_thinking_blocks(
                count_request, pieces, facts, self.models, self._signer, org_of(credential), betas
            )
            gone = {drop.path for drop in dropped}
            pieces = [piece for piece in pieces if piece.path not in gone]
        return _json_reply({"input_tokens": total_tokens(pieces)}, request_id)

    def _model(self, name: str) -> ModelFacts:
        facts = self.models.get(name)
        if facts is None:
            raise ApiError(404, f"model: {name}")
        return facts

    def _model_page(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        names = list(self.models)
        wanted = query.get("lifecycle") or query.get("lifecycle[]")
        if wanted:
            names = [name for name in names if self.models[name].lifecycle in wanted]
        if "after_id" in query and query["after_id"][0] in names:
            names = names[names.index(query["after_id"][0]) + 1 :]
        elif "before_id" in query and query["before_id"][0] in names:
            names = names[: names.index(query["before_id"][0])]
        limit_text = query.get("limit", ["20"])[0]
        if not limit_text.isdigit() or not 1 <= int(limit_text) <= 1000:
            raise ApiError(400, "limit: Input should be between 1 and 1000")
        shown = names[: int(limit_text)]
        return {
            "data": [model_info(name, self.models[name]) for name in shown],
            "has_more": len(names) > len(shown),
            "first_id": shown[0] if shown else None,
            "last_id": shown[-1] if shown else None,
        }

    def _authenticate(self, request: Request) -> str:
        """The credential of a request with an acceptable key and version.

        Raises:
            ApiError: 401 or 400.
        """
        headers = request.headers
        credential = request.credential()
        if not credential:
            raise ApiError(401, "x-api-key header is required")
        keys = self.settings.keys
        if (credential not in keys) if keys else credential.startswith("invalid"):
            raise ApiError(401, "invalid x-api-key" if "x-api-key" in headers else "Invalid bearer token")
        version = headers.get("anthropic-version")
        if self.settings.validate and version not in KNOWN_VERSIONS:
            problem = "header is required" if version is None else f'"{version}" is not a valid version'
            raise ApiError(400, f"anthropic-version: {problem}")
        return credential

    def _admin(self, request: Request, request_id: str) -> Reply:
        match request.method, request.path.removeprefix("/_simulator/"):
            case "GET", "health":
                return _json_reply({"status": "ok", "requests": self._requests}, request_id)
            case "GET", "journal":
                return _json_reply(self.journal.entries(), request_id)
            case "GET", "script":
                return _json_reply(
                    [{**admin.fields, "used": admin.used} for admin in self.scripts.admin_scripts()], request_id
                )
            case "POST", "script":
                try:
                    scripts = msgspec.json.decode(request.body, type=list[dict[str, Any]] | dict[str, Any])
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise ApiError(400, f"The script is not a JSON object or a list of them: {error}") from error
                for script in scripts if isinstance(scripts, list) else [scripts]:
                    self.scripts.add(script)
                return _json_reply({"scripts": len(self.scripts.admin_scripts())}, request_id)
            case "POST", "reset":
                self.scripts.reset()
                self.journal.clear()
                self._cache.clear()
                self._limits.clear()
                self._chance.seed(self.settings.seed)
                return _json_reply({"status": "ok"}, request_id)
        raise ApiError(404, "Not found")


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


def _json_reply(value: Any, request_id: str) -> Reply:
    body = encode(value)
    headers = b"content-type: application/json\r\nrequest-id: %b\r\n" % request_id.encode()
    return Reply(status=200, headers=headers, parts=(Part(0.0, body),), full_bytes=len(body))


def _error_reply(error: ApiError, request_id: str, due_s: float = 0.0) -> Reply:
    body = error.body(request_id)
    lines = "".join(f"{name}: {value}\r\n" for name, value in error.headers.items())
    headers = b"content-type: application/json\r\nrequest-id: %b\r\n%b" % (request_id.encode(), lines.encode())
    return Reply(
        status=error.status, headers=headers, parts=(Part(due_s, body),), full_bytes=len(body), header_due_s=due_s
    )


def error_reply(error: ApiError) -> Reply:
    """A reply to what is not even a request."""
    return _error_reply(error, "req_sim00000000000000000000")


def _nonsense(kind: str, body: bytes) -> tuple[bytes, bytes]:
    """A body that is not the protocol, and its content type."""
    match kind:
        case "html":
            return b"<!doctype html><html><body><h1>It works!</h1></body></html>", b"content-type: text/html\r\n"
        case "text":
            return b"upstream connect error or disconnect/reset before headers", b"content-type: text/plain\r\n"
        case "truncated":
            return body[: len(body) // 2], _JSON_HEADERS
        case "empty":
            return b"", _JSON_HEADERS
        case "list":
            return b"[1,2,3]", _JSON_HEADERS
    return b'{"hello":"world"}', _JSON_HEADERS
