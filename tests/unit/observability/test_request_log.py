"""Which requests get a line, what is masked in it, and what is kept for ``GET /logs``."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import pytest

from app.config import Config, SettingError
from app.observability.body_excerpts import BodyExcerpts
from app.observability.catalog import SLOW
from app.observability.request_log import (
    LONGEST_TEXT,
    MOST_KEPT,
    REFUSALS_TOLD_EVERY_S,
    RequestLogSettings,
)
from tests.support.request_logs import NOW, LogHere, chat_request, request

SECRET = "plain-looking-key"


def slow_request(**notes: Any) -> Any:
    """Its admission took two seconds."""
    return chat_request(admitted_at=102.0, sent_at=102.1, answered_at=102.2, ended_at=102.3, **notes)


# Which requests


def test_every_request_gets_a_line_unless_a_sample_is_asked_for() -> None:
    here = LogHere()
    here.note(chat_request())
    here.note(request(status=404))
    assert [line["status"] for line in here.lines] == [200, 404]


@pytest.mark.parametrize(("dice", "count"), [(0.1, 1), (0.25, 0), (0.9, 0)])
def test_of_successes_the_sample_gets_a_line(dice: float, count: int) -> None:
    here = LogHere(sample=0.25, dice=lambda: dice)
    here.note(chat_request())
    assert len(here.lines) == count


@pytest.mark.parametrize("status", [401, 429])
def test_refusals_that_come_in_floods_are_sampled_too(status: int) -> None:
    here = LogHere(sample=0.0)
    here.note(request(status=status))
    assert here.lines == []


@pytest.mark.parametrize("status", [400, 404, 409, 500, 503])
def test_what_went_wrong_gets_a_line_whatever_the_sample(status: int) -> None:
    here = LogHere(sample=0.0)
    here.note(request(status=status))
    assert [line["level"] for line in here.lines] == ["WARNING" if status >= 500 else "INFO"]


def test_a_stream_that_broke_off_gets_a_line() -> None:
    here = LogHere(sample=0.0)
    here.note(chat_request(stream=True, failed=True))
    assert here.lines[0]["level"] == "WARNING"


def test_verbose_leaves_nothing_out() -> None:
    here = LogHere(sample=0.0, tells_all=True)
    here.note(chat_request())
    here.note(request("/health/live"))
    assert len(here.lines) == 2


def test_probes_and_scrapes_get_no_line_unless_they_fail() -> None:
    here = LogHere()
    here.note(request("/health/live"))
    here.note(request("/metrics"))
    here.note(request("/health/ready", status=503))
    assert [line["path"] for line in here.lines] == ["/health/ready"]


def test_of_refusals_for_want_of_the_store_one_in_a_while_is_told() -> None:
    now = [NOW]
    here = LogHere(now=lambda: now[0])
    refused = request(status=503, error_code="state_unavailable")
    for _ in range(3):
        here.note(refused)
    now[0] += REFUSALS_TOLD_EVERY_S
    here.note(refused)
    assert len(here.lines) == 2


def test_verbose_tells_every_refusal() -> None:
    here = LogHere(tells_all=True)
    for _ in range(3):
        here.note(request(status=503, error_code="state_unavailable"))
    assert len(here.lines) == 3


# What is slow


def test_a_slow_step_of_the_gateway_is_named_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    here = LogHere(sample=0.0)
    here.note(slow_request(), response_s=2.3, duration_s=2.3)
    assert (here.lines[0]["slow"], here.lines[0]["level"]) == (["admit"], "INFO")
    assert here.lines[0]["admit_ms"] == 1997.0
    assert here.metrics.counters[SLOW.name] == {("admit",): 1}
    (warning,) = caplog.records
    assert (warning.levelname, warning.getMessage()) == ("WARNING", "A request was slow to admit.")
    assert warning.__dict__["step_ms"] == 1997.0


def test_slow_steps_are_told_once_a_second_and_counted_always(caplog: pytest.LogCaptureFixture) -> None:
    now = [NOW]
    here = LogHere(now=lambda: now[0])
    for _ in range(5):
        here.note(slow_request(), response_s=2.3, duration_s=2.3)
    now[0] += 1.0
    here.note(slow_request(), response_s=2.3, duration_s=2.3)
    assert len(caplog.records) == 2
    assert here.metrics.counters[SLOW.name] == {("admit",): 6}


def test_a_model_that_takes_its_time_is_not_slow(caplog: pytest.LogCaptureFixture) -> None:
    here = LogHere(sample=0.0)
    here.note(chat_request(answered_at=105.0, ended_at=130.0), response_s=30.001, duration_s=30.001)
    assert here.lines == []
    assert not caplog.records


def test_with_debug_the_steps_of_every_request_are_told() -> None:
    here = LogHere(tells_steps=True)
    here.note(chat_request(), response_s=0.812)
    told = here.lines[0]
    steps = {name: told[f"{name}_ms"] for name in ("read", "translate", "admit", "prepare", "upstream", "finish")}
    assert steps == {"read": 1, "translate": 2, "admit": 3, "prepare": 4, "upstream": 800, "finish": 2}
    assert "slow" not in told


# What is said


def test_the_time_is_told_in_milliseconds() -> None:
    now = [NOW + 0.0625]
    here = LogHere(now=lambda: now[0])
    here.note(request())
    now[0] += 59.5
    here.note(request())
    assert [line["timestamp"] for line in here.lines] == ["2026-09-21T14:13:20.062Z", "2026-09-21T14:14:19.562Z"]


@pytest.mark.parametrize("format_", ["json", "text"])
def test_secrets_are_masked_wherever_a_client_puts_them(format_: str) -> None:
    here = LogHere(format=format_, secrets=(SECRET,))
    for secret in (SECRET, "sk-ant-api03-abcdefgh", "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl"):
        record = chat_request(path=f"/v1/{secret}", model_asked=secret, model=secret, error_code=secret)
        record.request_id = f"id-{secret}"
        here.note(record)
        assert secret not in here.text
        assert all(secret not in kept.decode() for kept in here.log.latest())
    assert here.text.count("***") >= 12


def test_an_id_of_ours_is_taken_as_it_is() -> None:
    here = LogHere()
    here.note(request())
    assert here.lines[0]["request_id"] == "cw-019ab3f2c1d5-e0f3a21c-1f"


def test_a_path_with_line_ends_stays_on_its_line() -> None:
    here = LogHere(format="text")
    here.note(request("/v1/x\n2026-01-01 ERROR forged"))
    assert len(here.text.splitlines()) == 1
    assert "/v1/x\\n2026-01-01 ERROR forged" in here.text


def test_what_is_very_long_is_cut() -> None:
    here = LogHere()
    here.note(chat_request(path="/" + "a" * 5000, model_asked="m" * 5000))
    assert len(here.lines[0]["path"]) == len(here.lines[0]["model_asked"]) == LONGEST_TEXT


def test_a_secret_that_goes_on_behind_what_is_shown_is_masked() -> None:
    secret = "0123456789abcdef" * 4
    here = LogHere(secrets=(secret,))
    here.note(request("/" + "a" * (LONGEST_TEXT - 62) + "/" + secret))
    assert secret[:8] not in here.text
    assert len(here.lines[0]["path"]) <= LONGEST_TEXT


def test_texts_that_were_looked_at_do_not_fill_the_memory() -> None:
    here = LogHere()
    for number in range(3000):
        here.note(request(f"/v1/sessions/{number}"))
    assert here.lines[2999]["path"] == "/v1/sessions/2999"
    assert len(here.log._known) <= 1024
    here.note(request("/" + "x" * 60_000))
    assert max(map(len, here.log._known)) <= LONGEST_TEXT


def test_text_has_colours_where_they_are_asked_for() -> None:
    here = LogHere(format="text", is_coloured=True)
    here.note(request())
    assert "\x1b[32m200" in here.text


# What is kept


def test_what_was_logged_is_kept_and_handed_over_once() -> None:
    here = LogHere(format="text")
    here.note(chat_request())
    (kept,) = here.log.take_recent()
    told = json.loads(kept)
    assert (told["model"], told["host"], told["pid"]) == ("claude-opus-5-5", "here", os.getpid())
    assert here.log.take_recent() == []
    assert here.log.latest() == [kept]


def test_what_is_handed_over_is_bounded_and_the_bad_goes_first() -> None:
    here = LogHere()
    here.note(request(status=500))
    here.note(slow_request(), response_s=2.3, duration_s=2.3)
    for number in range(MOST_KEPT):
        here.note(chat_request(bytes_out=number))
    taken = [json.loads(kept) for kept in here.log.take_recent()]
    assert len(taken) == MOST_KEPT
    assert [taken[0]["status"], taken[1]["slow"]] == [500, ["admit"]]
    assert [line["bytes_out"] for line in taken[2:]] == list(range(2, MOST_KEPT))
    assert len(here.log.latest()) == MOST_KEPT


def test_of_too_much_that_is_bad_the_newest_is_handed_over() -> None:
    here = LogHere()
    here.note(chat_request())
    for number in range(MOST_KEPT + 5):
        here.note(request(status=500, bytes_out=number))
    taken = [json.loads(kept) for kept in here.log.take_recent()]
    assert [line["bytes_out"] for line in taken] == list(range(5, MOST_KEPT + 5))


def test_what_operators_look_at_is_not_kept() -> None:
    here = LogHere(tells_all=True)
    here.note(request("/logs"))
    here.note(request("/health/ready", status=503))
    assert [json.loads(kept)["path"] for kept in here.log.take_recent()] == ["/health/ready"]


# Bodies


async def body_excerpts() -> BodyExcerpts:
    """Of a request with a prompt and a key, and its reply."""

    async def receive() -> Any:
        return {"type": "http.request", "body": f'{{"prompt": "hello", "key": "{SECRET}"}}'.encode()}

    async def send(message: Any) -> None:
        pass

    bodies = BodyExcerpts()
    await bodies.hearing(receive)()
    await bodies.telling(send)({"type": "http.response.start", "status": 200})
    await bodies.telling(send)({"type": "http.response.body", "body": b"x" * 10_000})
    return bodies


async def test_bodies_are_told_redacted_and_cut_at_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "app.observability.request_log")
    here = LogHere(bodies=True, secrets=(SECRET,))
    here.log.note_bodies(request(), await body_excerpts())
    (told,) = caplog.records
    assert told.levelname == "DEBUG"
    assert told.__dict__["request_body"] == '{"prompt": "hello", "key": "***"}'
    assert told.__dict__["reply_body"] == "x" * 2048


async def test_a_secret_that_is_cut_where_the_excerpt_ends_is_masked() -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": b"x" * 2030 + b" sk-ant-api03-" + b"s" * 100}

    bodies = BodyExcerpts()
    await bodies.hearing(receive)()
    here = LogHere()
    shown = bodies.request_text(here.log._redact)
    assert "ant" not in shown[2030:]


def test_that_prompts_are_logged_is_told_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    for bodies in (True, False):
        here = LogHere(bodies=bodies)
        assert here.log.wants_bodies is bodies
        here.log.start()
        here.log.close()
    assert caplog.messages == ["Prompts are written into this log: CLAUDE_WRAPPER_LOG_BODIES is on."]


# Settings


def test_settings_of_a_gateway() -> None:
    config = Config(log_format="json", log_sample=0.5, slow_s=2.0, verbose=True, debug=True, log_bodies=True)
    assert RequestLogSettings.of(config) == RequestLogSettings(
        format="json", sample=0.5, slow_s=2.0, tells_all=True, tells_steps=True, bodies=True
    )
    assert RequestLogSettings.of(Config(), is_coloured=True) == RequestLogSettings(is_coloured=True)


def test_bodies_without_debug_are_refused() -> None:
    with pytest.raises(SettingError, match=r"CLAUDE_WRAPPER_LOG_BODIES .* --debug"):
        RequestLogSettings.of(Config(log_bodies=True))
