from __future__ import annotations

from app.domain.upstream import UNWATCHED, UpstreamRequest


def test_a_request_shows_neither_credential_nor_prompt_nor_headers() -> None:
    request = UpstreamRequest(
        path="/v1/messages", body=b"the prompt", headers={"anthropic-beta": "b"}, credential="sk-ant-secret"
    )
    assert repr(request) == str(request) == "UpstreamRequest(POST /v1/messages, 10 bytes)"


def test_nobody_has_to_watch_a_call() -> None:
    watch = UpstreamRequest(path="/v1/messages", body=b"{}").watch
    watch.sending()
    watch.refused()
    assert watch is UNWATCHED
