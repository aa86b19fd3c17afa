"""What each error reply means, and that it says nothing it should not."""

from __future__ import annotations

import pytest

from app.errors import StateError, StateUnavailable
from app.state.error_replies import (
    NotPrimary,
    StoreUnfit,
    UnknownScript,
    WritesRefused,
    WrongType,
    error_from_reply,
    ran_nothing,
    unavailable,
)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("NOSCRIPT No matching script. Please use EVAL.", UnknownScript),
        ("READONLY You can't write against a read only replica.", NotPrimary),
        ("LOADING Redis is loading the dataset in memory", StoreUnfit),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", StoreUnfit),
        ("BUSY Redis is busy running a script.", StoreUnfit),
        ("CLUSTERDOWN The cluster is down", StoreUnfit),
        ("NOAUTH Authentication required.", StoreUnfit),
        ("WRONGPASS invalid username-password pair or user is disabled.", StoreUnfit),
        ("ERR max number of clients reached", StoreUnfit),
        ("ERR AUTH <password> called without any password configured for the default user.", StoreUnfit),
        ("ERR DB index is out of range", StoreUnfit),
        ("OOM command not allowed when used memory > 'maxmemory'.", WritesRefused),
        (
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist on disk.",
            WritesRefused,
        ),
        ("NOREPLICAS Not enough good replicas to write.", WritesRefused),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", WrongType),
        ("NOPERM this user has no permissions to run the 'get' command", StateError),
        ("ERR syntax error", StateError),
        ("", StateError),
    ],
)
def test_kind_of_an_error_reply(reply: str, kind: type[StateError]) -> None:
    assert type(error_from_reply(reply)) is kind


@pytest.mark.parametrize("code", ["READONLY", "LOADING", "OOM", "MISCONF"])
def test_a_store_that_cannot_be_used_says_when_to_try_again(code: str) -> None:
    error = error_from_reply(f"{code} whatever")
    assert isinstance(error, StateUnavailable)
    assert error.retry_after_s == 1.0


@pytest.mark.parametrize(
    "reply", ["READONLY x", "LOADING x", "BUSY x", "NOAUTH x", "OOM x", "MISCONF x", "NOREPLICAS x"]
)
def test_a_refusal_of_the_store_says_that_the_command_did_not_run(reply: str) -> None:
    assert ran_nothing(error_from_reply(reply))


def test_no_answer_and_an_error_of_a_script_do_not_say_that_it_did_not_run() -> None:
    assert not ran_nothing(unavailable("no answer within 250 ms"))
    assert not ran_nothing(error_from_reply("ERR user_script:3: attempt to compare nil"))


@pytest.mark.parametrize(
    "reply",
    [
        "ERR unknown command 'canary', with args beginning with: 'canary'",
        "WRONGPASS canary",
        "NOPERM User canary has no permissions",
        "canary",
        "ERR user_script:3: canary",
    ],
)
def test_the_rest_of_a_reply_is_not_repeated(reply: str) -> None:
    assert "canary" not in error_from_reply(reply).message


def test_the_code_is_kept() -> None:
    assert "(WRONGTYPE)" in error_from_reply("WRONGTYPE Operation against a key").message


def test_the_line_of_a_failed_script_is_kept() -> None:
    error = error_from_reply("ERR user_script:12: Wrong number of args script: f_abc, on @user_script:12.")
    assert "user_script:12" in error.message
