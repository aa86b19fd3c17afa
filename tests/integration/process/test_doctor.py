"""``doctor`` against upstreams that are well, or ill in one way."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import gateway_command
from tests.support.processes import clean_environment
from tests.support.redis import RedisServers, redis_servers
from tests.support.tokens import jwk, jwks, rsa_key

__all__ = ["redis_servers"]

Answer = Callable[[bytes], bytes]


@contextmanager
def server(answer: Answer) -> Iterator[tuple[int, list[bytes]]]:
    """Answers each request head on a connection by a function; yields its port and what it was sent."""
    seen: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    while True:
                        head = b""
                        while b"\r\n\r\n" not in head and not head.startswith(b"\x16"):
                            chunk = connection.recv(65536)
                            if not chunk:
                                raise OSError
                            head += chunk
                        seen.append(head)
                        connection.sendall(answer(head))
                except OSError:
                    continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1], seen
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def status_only(status: int) -> Answer:
    return lambda _: f"HTTP/1.1 {status} Something\r\ncontent-length: 2\r\n\r\n{{}}".encode()


def doctor(tmp_path: Path, *args: str, **env: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Exit status, findings by name, and everything it said."""
    ran = subprocess.run(
        gateway_command("doctor", "--json", "--port", "0", *args),
        env=clean_environment({"CLAUDE_WRAPPER_DATA_DIR": str(tmp_path)} | env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stderr == ""
    return ran.returncode, {finding["name"]: finding for finding in json.loads(ran.stdout)}, ran.stdout


def test_good_upstream_passes_with_a_time_for_every_step(tmp_path: Path) -> None:
    with server(status_only(200)) as (port, seen):
        status, findings, said = doctor(
            tmp_path, ANTHROPIC_BASE_URL=f"http://127.0.0.1:{port}/base", ANTHROPIC_API_KEY="sk-very-secret"
        )
    assert status == 0, said
    for step in ("upstream dns", "upstream tcp", "upstream answer"):
        assert findings[step]["outcome"] == "ok"
        assert findings[step]["detail"].endswith(" ms")
    (request,) = seen
    assert request.startswith(b"GET /base/v1/models?limit=1 HTTP/1.1\r\n")
    assert b"\r\nx-api-key: sk-very-secret\r\n" in request
    assert "very-secret" not in said


@pytest.mark.parametrize(
    ("upstream_status", "outcome", "advice"),
    [
        (401, "fail", "ANTHROPIC_API_KEY"),
        (403, "fail", "ANTHROPIC_API_KEY"),
        (404, "ok", ""),
        (429, "ok", ""),
        (500, "fail", "Anthropic has trouble"),
        (302, "fail", "ANTHROPIC_BASE_URL"),
    ],
)
def test_answer_of_the_upstream_is_judged(tmp_path: Path, upstream_status: int, outcome: str, advice: str) -> None:
    with server(status_only(upstream_status)) as (port, _):
        status, findings, _ = doctor(
            tmp_path, ANTHROPIC_BASE_URL=f"http://127.0.0.1:{port}", ANTHROPIC_API_KEY="sk-very-secret"
        )
    assert findings["upstream answer"]["outcome"] == outcome
    assert advice in findings["upstream answer"]["advice"]
    assert status == (1 if outcome == "fail" else 0)


def test_each_of_several_keys_is_tried_and_the_refused_one_is_named_by_its_place(tmp_path: Path) -> None:
    def answer(head: bytes) -> bytes:
        return status_only(401 if b"x-api-key: sk-revoked-canary\r\n" in head else 200)(head)

    with server(answer) as (port, seen):
        status, findings, said = doctor(
            tmp_path,
            ANTHROPIC_BASE_URL=f"http://127.0.0.1:{port}",
            ANTHROPIC_API_KEY="sk-good-canary",
            CLAUDE_WRAPPER_ANTHROPIC_API_KEYS="sk-good-canary,sk-revoked-canary,sk-too-canary",
        )
    assert (status, len(seen)) == (1, 3)
    assert findings["credential"]["detail"] == "3 API keys are set"
    outcomes = [findings[f"upstream answer{number}"]["outcome"] for number in ("", " 2", " 3")]
    assert outcomes == ["ok", "fail", "ok"]
    assert "key 2 of CLAUDE_WRAPPER_ANTHROPIC_API_KEYS" in findings["upstream answer 2"]["advice"]
    assert "canary" not in said


def test_a_key_of_the_list_is_credential_enough(tmp_path: Path) -> None:
    with server(status_only(401)) as (port, seen):
        _, findings, _ = doctor(
            tmp_path,
            ANTHROPIC_BASE_URL=f"http://127.0.0.1:{port}",
            CLAUDE_WRAPPER_ANTHROPIC_API_KEYS="sk-only",
        )
    assert b"\r\nx-api-key: sk-only\r\n" in seen[0]
    assert findings["credential"]["outcome"] == "ok"
    assert "key 1 of CLAUDE_WRAPPER_ANTHROPIC_API_KEYS" in findings["upstream answer"]["advice"]


def test_missing_credential_fails_and_says_how_to_work_without_one(tmp_path: Path) -> None:
    with server(status_only(401)) as (port, _):
        status, findings, _ = doctor(tmp_path, ANTHROPIC_BASE_URL=f"http://127.0.0.1:{port}")
    assert status == 1
    assert "--mock" in findings["credential"]["advice"]
    assert findings["upstream answer"]["outcome"] == "skip"


def test_proxy_is_used_and_its_password_is_not_shown(tmp_path: Path) -> None:
    def answer(head: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\n\r\n" if head.startswith(b"CONNECT") else status_only(200)(head)

    with server(answer) as (port, seen):
        status, findings, said = doctor(
            tmp_path,
            ANTHROPIC_BASE_URL="http://upstream.internal",
            ANTHROPIC_API_KEY="k",
            CLAUDE_WRAPPER_UPSTREAM_PROXY=f"http://user:very-secret@127.0.0.1:{port}",
        )
    assert status == 0, said
    assert seen[0].startswith(b"CONNECT upstream.internal:80 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjp2ZXJ5LXNlY3JldA==\r\n" in seen[0]
    assert "(proxy)" in findings["upstream tcp"]["detail"]
    assert "very-secret" not in said


@pytest.mark.parametrize(
    ("base_url", "step", "word"),
    [
        ("http://no-such-host.invalid", "upstream dns", "cannot be resolved"),
        ("http://127.0.0.1:1", "upstream tcp", "no connection to 127.0.0.1:1"),
        ("ftp://x", "settings", "ANTHROPIC_BASE_URL"),
    ],
)
def test_upstream_that_cannot_be_reached_fails_at_its_step(tmp_path: Path, base_url: str, step: str, word: str) -> None:
    status, findings, _ = doctor(tmp_path, ANTHROPIC_BASE_URL=base_url, ANTHROPIC_API_KEY="k")
    assert status == 1
    assert findings[step]["outcome"] == "fail"
    assert word in findings[step]["detail"]
    assert findings[step]["advice"]


def test_server_without_tls_fails_at_that_step(tmp_path: Path) -> None:
    with server(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, _):
        status, findings, _ = doctor(tmp_path, ANTHROPIC_BASE_URL=f"https://localhost:{port}", ANTHROPIC_API_KEY="k")
    assert status == 1
    assert findings["upstream tcp"]["outcome"] == "ok"
    assert findings["upstream tls"]["outcome"] == "fail"


@pytest.mark.parametrize(
    ("variable", "value"), [("CLAUDE_WRAPPER_WORKERS", "many"), ("CLAUDE_WRAPPER_MODEL_ALIASES", "fast=haikuu")]
)
def test_wrong_setting_is_a_finding(tmp_path: Path, variable: str, value: str) -> None:
    status, findings, _ = doctor(tmp_path, **{variable: value})
    assert status == 1
    assert variable in findings["settings"]["detail"]


def test_mock_needs_nothing_of_anthropic(tmp_path: Path) -> None:
    status, findings, said = doctor(tmp_path, "--mock")
    assert status == 0, said
    assert (findings["credential"]["outcome"], findings["upstream"]["outcome"]) == ("skip", "skip")


def document(body: bytes) -> Answer:
    return lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        (document(jwks(jwk(rsa_key(), "one"))), "ok", "1 usable key in the JWKS at 127.0.0.1:"),
        (document(jwks()), "fail", "holds no key that tokens could be checked with"),
        (document(b"[]"), "fail", "the JWKS at 127.0.0.1:"),
        (status_only(503), "fail", "answered with status 503"),
    ],
)
def test_keys_of_a_jwks_are_fetched_and_counted(tmp_path: Path, answer: Answer, outcome: str, words: str) -> None:
    with server(answer) as (port, _):
        status, findings, said = doctor(
            tmp_path, "--mock", CLAUDE_WRAPPER_JWT_JWKS_URL=f"http://127.0.0.1:{port}/jwks?secret=canary"
        )
    assert (findings["tokens"]["outcome"], status) == (outcome, 1 if outcome == "fail" else 0)
    assert words in findings["tokens"]["detail"]
    assert "canary" not in said


def test_a_jwks_that_is_away_is_not_called_well(tmp_path: Path) -> None:
    status, findings, _ = doctor(tmp_path, "--mock", CLAUDE_WRAPPER_JWT_JWKS_URL="http://127.0.0.1:1/jwks")
    assert (findings["tokens"]["outcome"], status) == ("fail", 1)
    assert "CLAUDE_WRAPPER_JWT_JWKS_URL" in findings["tokens"]["advice"]


def test_a_webhook_is_reached_and_not_called_and_missed_where_nobody_evaluates_alerts(
    tmp_path: Path, redis_servers: RedisServers
) -> None:
    with server(status_only(200)) as (port, seen):
        status, findings, said = doctor(
            tmp_path,
            "--mock",
            CLAUDE_WRAPPER_REDIS_URL=redis_servers().url,
            CLAUDE_WRAPPER_ALERT_WEBHOOK_URL=f"http://127.0.0.1:{port}/canary",
        )
    assert (status, seen) == (0, []), said
    assert (findings["webhook"]["outcome"], findings["monitoring"]["outcome"]) == ("ok", "warn")
    assert "canary" not in said


def test_a_warning_is_counted_and_no_failure(tmp_path: Path, redis_servers: RedisServers) -> None:
    url = redis_servers("--maxmemory", "100mb", "--maxmemory-policy", "noeviction").url
    ran = subprocess.run(
        gateway_command("doctor", "--mock", "--port", "0"),
        env=clean_environment({"CLAUDE_WRAPPER_DATA_DIR": str(tmp_path), "CLAUDE_WRAPPER_REDIS_URL": url}),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    assert "warn  redis memory" in ran.stdout
    last = ran.stdout.splitlines()[-1]
    assert last.startswith("Nothing is wrong. ")
    assert "warning" in last


def test_taken_port_fails(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        _, findings, _ = doctor(tmp_path, "--mock", CLAUDE_WRAPPER_PORT="", PORT=str(port))
        assert findings["port"]["outcome"] == "ok"  # the flag wins
        ran = subprocess.run(
            gateway_command("doctor", "--mock", str(port)),
            env=clean_environment({"CLAUDE_WRAPPER_DATA_DIR": str(tmp_path)}),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert ran.returncode == 1
    assert f"FAIL  port                Port {port} on 127.0.0.1 is taken." in ran.stdout
    assert f"-> Take another one: --port {port + 1}" in ran.stdout
    assert ran.stdout.endswith("checks failed.\n")
