"""Settings: where a value comes from, what is accepted, and how a wrong one is told."""

from __future__ import annotations

from typing import Any

import pytest

from app.config import (
    Config,
    SettingError,
    accepts,
    env_names,
    known_variables,
    refuse_unknown,
    resolve,
    settings_of,
)


def config(flags: dict[str, Any] | None = None, **environ: str) -> Config:
    return resolve(Config, environ, flags or {})[0]


def test_without_flags_and_environment_the_defaults_hold() -> None:
    resolved, sources = resolve(Config, {}, {})
    assert resolved == Config()
    assert {value.source for value in sources.values()} == {"default"}


def test_a_flag_beats_the_environment_which_beats_the_default() -> None:
    environ = {"CLAUDE_WRAPPER_PORT": "9001", "CLAUDE_WRAPPER_WORKERS": "3"}
    resolved, sources = resolve(Config, environ, {"port": 9002, "workers": None})
    assert (resolved.port, resolved.workers) == (9002, 3)
    assert (sources["port"].source, sources["workers"].source) == ("flag", "CLAUDE_WRAPPER_WORKERS")


def test_port_is_honoured_behind_our_own_name() -> None:
    assert config(PORT="9000").port == 9000
    assert config(PORT="9000", CLAUDE_WRAPPER_PORT="9001").port == 9001


def test_the_port_that_kubernetes_sets_for_a_service_is_not_ours() -> None:
    assert config(CLAUDE_WRAPPER_PORT="tcp://10.0.0.1:8000").port == 8000


def test_an_empty_variable_counts_as_unset() -> None:
    assert config(CLAUDE_WRAPPER_WORKERS="").workers == 1


@pytest.mark.parametrize(
    ("text", "size"),
    [("2048", 2048), ("64KiB", 65536), ("1.5 MB", 1_500_000), ("32mib", 32 * 1024**2), ("2gb", 2 * 10**9)],
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert config(CLAUDE_WRAPPER_MAX_BODY_BYTES=text).max_body_bytes == size


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("ON", True), ("1", True), ("off", False), ("0", False)])
def test_booleans_have_their_usual_words(text: str, value: bool) -> None:
    assert config(CLAUDE_WRAPPER_STRICT=text).strict is value


def test_lists_and_pairs_are_read() -> None:
    read = config(
        CLAUDE_WRAPPER_CORS_ORIGINS="https://a.example, https://b.example,", CLAUDE_WRAPPER_MODEL_ALIASES="x=y, z=w"
    )
    assert read.cors_origins == ("https://a.example", "https://b.example")
    assert read.model_aliases == (("x", "y"), ("z", "w"))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("CLAUDE_WRAPPER_WORKERS", "0", "a whole number from 1 to 512"),
        ("CLAUDE_WRAPPER_WORKERS", "two", "a whole number from 1 to 512"),
        ("CLAUDE_WRAPPER_BACKLOG", "0", "a whole number from 1 to 65535"),
        ("CLAUDE_WRAPPER_BACKLOG", "99999999999", "a whole number from 1 to 65535"),
        ("CLAUDE_WRAPPER_MAX_CONCURRENT_REQUESTS", "0", "a whole number of at least 1"),
        ("PORT", "http", "a whole number from 0 to 65535"),
        ("CLAUDE_WRAPPER_REDIS_TIMEOUT_S", "0", "a number of seconds above 0 and up to 86400"),
        ("CLAUDE_WRAPPER_DRAIN_DELAY_S", "-1", "a number of seconds from 0 to 86400"),
        ("CLAUDE_WRAPPER_MONITOR_INTERVAL_S", "0.001", "a number of seconds from 0.2 to 86400"),
        ("CLAUDE_WRAPPER_MAX_BODY_BYTES", "12 parsecs", "a size such as"),
        ("CLAUDE_WRAPPER_MAX_BODY_BYTES", "1", "a size in bytes such as 65536, 64KiB or 32MiB from 1024"),
        ("CLAUDE_WRAPPER_MAX_BODY_BYTES", "1025GiB", "to 1099511627776"),
        ("CLAUDE_WRAPPER_MAX_BODY_BYTES", "9" * 400, "to 1099511627776"),
        ("CLAUDE_WRAPPER_CORS_ORIGINS", "foo", "origins such as https://chat.example.com"),
        ("CLAUDE_WRAPPER_CORS_ORIGINS", "https://a.example,https://b.example/path", "origins such as"),
        ("CLAUDE_WRAPPER_LOG_FORMAT", "yaml", "one of auto, text, json"),
        ("CLAUDE_WRAPPER_STRICT", "perhaps", "true or false"),
        ("CLAUDE_WRAPPER_MODEL_ALIASES", "a=b,c", "name=value pairs"),
    ],
)
def test_a_wrong_value_names_the_variable_and_what_it_takes(name: str, text: str, says: str) -> None:
    with pytest.raises(SettingError) as caught:
        config(**{name: text})
    assert str(caught.value).startswith(name)
    assert says in str(caught.value)


@pytest.mark.parametrize("origin", ["*", "https://a.example", "http://localhost:3000", "https://*.example", "app://x"])
def test_origins_of_browsers_are_accepted(origin: str) -> None:
    assert config(CLAUDE_WRAPPER_CORS_ORIGINS=origin).cors_origins == (origin,)


def test_a_wrong_flag_is_named_as_a_flag() -> None:
    with pytest.raises(SettingError, match=r"^--workers: 'many' is not accepted"):
        config({"workers": "many"})


def test_what_a_setting_takes_can_be_said_for_every_setting() -> None:
    for help_, type_, _ in settings_of(Config).values():
        assert accepts(help_, type_)


def test_every_setting_has_one_name_of_its_own_and_one_line_of_help() -> None:
    names = [name for field, (help_, _, _) in settings_of(Config).items() for name in env_names(field, help_)]
    assert len(names) == len(set(names))
    for help_, _, _ in settings_of(Config).values():
        assert help_.text
        assert "\n" not in help_.text


def test_a_variable_that_is_no_setting_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(SettingError, match="Did you mean CLAUDE_WRAPPER_WORKERS"):
        refuse_unknown({"CLAUDE_WRAPPER_WORKRES": "2"}, known_variables(Config))


def test_what_is_ours_or_not_of_our_prefix_is_let_through() -> None:
    environ = {
        "CLAUDE_WRAPPER_WORKERS": "2",
        "PATH": "/bin",
        "CLAUDE_WRAPPER_SERVICE_HOST": "10.0.0.1",
        "CLAUDE_WRAPPER_PORT_8000_TCP_ADDR": "10.0.0.1",
    }
    refuse_unknown(environ, known_variables(Config))


def test_secrets_never_stand_in_a_message() -> None:
    for field, (help_, _, _) in settings_of(Config).items():
        if help_.secret:
            with pytest.raises(SettingError) as caught:
                resolve(Config, {}, {field: [["sk-canary"]]})  # neither a text nor a list of them
            assert "sk-canary" not in str(caught.value)
