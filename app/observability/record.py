"""The notes of one request: what the log says about it once it is over. Never a prompt, never a secret."""

from __future__ import annotations

from msgspec import Struct

from app.domain.calls import Usage
from app.observability.trace_context import TraceContext


class RequestRecord(Struct):
    """Filled in by whoever knows, from the middleware to the corridor; kept in ``scope["state"]["record"]``.

    Args:
        request_id: the gateway's id of the request, sent as ``x-request-id``.
        method: HTTP method.
        path: path without the query string.
        status: status of the reply, 0 as long as there is none; 499 when the client left before there was one.
        model_asked: the model name of the client.
        model: the model that was called.
        stream: whether the client asked for a stream.
        attempts: calls made to Anthropic, retries included.
        usage: tokens, where the answer is known.
        adjusted: what of the request had another effect than asked for, as only the answer could tell.
        error_code: ``code`` or type of the error that the client was told.
        failed: the answer broke off after its first byte.
        client_left: the client closed its connection before the reply was complete.
        bytes_in: length of the request body as announced by its header.
        bytes_out: length of the reply body.
        tenant: of the caller, once it is known.
        key_id: of the caller's key, or what stands for it.
        nano: cost in nano-dollars.
        estimated: Anthropic did not tell all of the usage.
        degraded: it was served by this worker's own count, because the state store was away.
        key_guessed: the key was nobody's, and somebody may be trying many.
        client_credential: Anthropic was called with the client's own key.
        source: what kind of caller it is, one of ``app.domain.auth.Source``; empty while nobody knows.
        model_label: the model as metrics know it: one of the table, or ``other``; empty where no model is asked for.
        retries: of ``attempts``, those that repeated a call that had failed.
        verdict: of the admission: ``admitted``, ``admitted_alone`` (the state store was away), or why not.
        cache: what the response cache did: ``hit``, ``joined``, ``miss`` or ``bypass``; empty where nothing was asked.
        saved_nano: what an answer from the cache would have cost, in nano-dollars.
        trace: that it belongs to; ``None`` where nobody traces.
        began_at: when the request came in. This and the following are seconds of one monotonic clock, 0: not reached.
        read_at: its body was read.
        translated_at: it was decoded and translated.
        admitted_at: it was let in, or refused.
        sent_at: its first call left for Anthropic.
        answered_at: the headers of Anthropic's first reply were there.
        first_token_at: the first frame of a stream with a part of the answer was there.
        shown_tokens: of ``usage``, the output tokens that a stream has shown.
        ended_at: Anthropic's last reply was complete; 0 also where it broke off.
    """

    request_id: str
    method: str
    path: str
    status: int = 0
    model_asked: str = ""
    model: str = ""
    stream: bool = False
    attempts: int = 0
    usage: Usage | None = None
    adjusted: tuple[tuple[str, str], ...] = ()
    error_code: str = ""
    failed: bool = False
    client_left: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    tenant: str = ""
    key_id: str = ""
    nano: int = 0
    estimated: bool = False
    degraded: bool = False
    key_guessed: bool = False
    client_credential: bool = False
    source: str = ""
    model_label: str = ""
    retries: int = 0
    verdict: str = ""
    cache: str = ""
    saved_nano: int = 0
    trace: TraceContext | None = None
    began_at: float = 0.0
    read_at: float = 0.0
    translated_at: float = 0.0
    admitted_at: float = 0.0
    sent_at: float = 0.0
    answered_at: float = 0.0
    first_token_at: float = 0.0
    ended_at: float = 0.0
    shown_tokens: int = 0

    @property
    def is_error(self) -> bool:
        """Whether it failed on the gateway's side or Anthropic's: a 5xx, or an answer that broke off."""
        return self.failed or self.status >= 500
