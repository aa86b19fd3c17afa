"""The port, and one request through the gateway that listens on it."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from app.cli.announce import base_url
from app.cli.checks.finding import Finding, in_ms
from app.cli.instance import Instance
from app.cli.local_http import ask
from app.config import Config
from workers.listener import CannotListen, bind

_REQUEST_TIMEOUT_S = 60.0

#: The smallest question there is.
_QUESTION = {"messages": [{"role": "user", "content": "Answer with one word: ready"}], "max_completion_tokens": 64}


def check_port(config: Config, instance: Instance) -> Finding:
    """Whether the gateway listens on its port, or could."""
    pid = instance.running_pid()
    if pid is not None:
        return Finding.ok("port", f"{config.port}: a gateway runs there (pid {pid})")
    try:
        bind(config.host, config.port, shared=False).close()
    except CannotListen as exc:
        advice = f"Take another one: --port {config.port + 1}" if exc.taken else "Take another --host or --port."
        return Finding.fail("port", exc.message, advice)
    return Finding.ok("port", f"{config.port} on {config.host} is free")


def check_gateway(config: Config, instance: Instance) -> Finding:
    """One chat completion through the running gateway, by the cheapest model it serves."""
    facts = instance.facts() if instance.running_pid() is not None else None
    if facts is None:
        return Finding.skip("gateway", f"none runs on port {config.port}")
    url = facts.url or base_url(config)
    headers = {"content-type": "application/json"}
    if config.api_key:
        headers["authorization"] = f"Bearer {config.api_key}"
    try:
        model = _cheapest(ask(url, "/v1/models", timeout_s=_REQUEST_TIMEOUT_S, headers=headers))
        body = msgspec.json.encode(_QUESTION | {"model": model or "haiku"})
        started = time.perf_counter()
        status, reply = ask(
            url, "/v1/chat/completions", method="POST", body=body, headers=headers, timeout_s=_REQUEST_TIMEOUT_S
        )
    except OSError as exc:
        return Finding.fail("gateway", f"no answer: {exc}", f"See its log: {instance.log_path}")
    if status == 401 and not config.api_key:
        return Finding.skip("gateway", "it is protected: set CLAUDE_WRAPPER_API_KEY to check it")
    took = in_ms(time.perf_counter() - started)
    if status == 200:
        return Finding.ok("gateway", f"{model} answered in {took}")
    return Finding.fail(
        "gateway", f"{status}: {_message(reply)}", "The message says what failed; the checks above, why."
    )


def _cheapest(reply: tuple[int, Any]) -> str | None:
    status, body = reply
    if status != 200 or not isinstance(body, dict):
        return None
    ids = [model["id"] for model in body.get("data", []) if isinstance(model, dict) and "id" in model]
    return next((name for name in ids if "haiku" in name), ids[0] if ids else None)


def _message(reply: Any) -> str:
    try:
        return str(reply["error"]["message"])
    except (KeyError, TypeError):
        return "an answer that is no error of the gateway"
