"""Nothing that looks like a secret, and no value of a foreign exception, reaches the log."""

import pytest

from app.errors import InvalidRequest
from app.observability.redact import describe, redactor

CANARY = "CANARY-7f3a9c"


@pytest.mark.parametrize(
    "line",
    [
        f"key sk-ant-api03-{CANARY}-xyz",
        f"Authorization: Bearer {CANARY}",
        f"authorization=bearer {CANARY}",
        f"Proxy-Authorization: Basic {CANARY}",
        f"x-api-key: {CANARY}",
        f'{{"x-api-key": "{CANARY}"}}',
        f'{{\\"api_key\\": \\"{CANARY}\\"}}',
        f"{{'api_key': '{CANARY}'}}",
        f"ANTHROPIC_API_KEY={CANARY}",
        f"ANTHROPIC_AUTH_TOKEN={CANARY}",
        f"connecting to redis://user:{CANARY}@redis.example:6379/0",
        f"connecting to rediss://:{CANARY}@redis.example",
        f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.c2lnbmF0dXJl",
        f"Cookie: {CANARY}",
        f"password={CANARY}&user=x",
    ],
)
def test_what_looks_like_a_secret_is_masked(line: str) -> None:
    assert CANARY not in redactor()(line)


def test_configured_secrets_are_masked_wherever_they_stand() -> None:
    assert CANARY not in redactor([CANARY, CANARY + "-longer"])(f"some text {CANARY}-longer and {CANARY}.")


def test_a_very_short_setting_does_not_make_the_log_unreadable() -> None:
    assert redactor(["a"])("a request failed") == "a request failed"


@pytest.mark.parametrize(
    "line",
    [
        "request  request_id=cw-1 error_code=invalid_api_key status=401",
        "GET https://api.anthropic.com/v1/models 200",
        "listening on http://127.0.0.1:8000",
        '{"max_tokens":16000,"input_tokens":12}',
    ],
)
def test_ordinary_lines_stay_as_they_are(line: str) -> None:
    assert redactor([CANARY])(line) == line


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_foreign_exception_is_described_without_its_text() -> None:
    text = describe(raised(ValueError(f"invalid literal: {CANARY}")))
    assert CANARY not in text
    assert text.endswith("ValueError")
    assert "test_redact.py" in text
    assert " in raised" in text


def test_our_own_error_keeps_its_message() -> None:
    text = describe(raised(InvalidRequest("messages: at least one is needed.")))
    assert text.endswith("app.errors.InvalidRequest: messages: at least one is needed.")


def test_causes_and_members_of_groups_are_described_without_their_text() -> None:
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as cause:
            raise ExceptionGroup(CANARY, [TypeError(CANARY), raised(OSError(CANARY))]) from cause
    except ExceptionGroup as error:
        text = describe(error)
    assert CANARY not in text
    assert [kind for kind in ("KeyError", "ExceptionGroup", "TypeError", "OSError") if kind in text] == [
        "KeyError",
        "ExceptionGroup",
        "TypeError",
        "OSError",
    ]


def test_an_exception_that_is_its_own_context_ends() -> None:
    first, second = ValueError(), TypeError()
    first.__context__, second.__context__ = second, first
    assert describe(first).count("ValueError") == 1
