from __future__ import annotations

import subprocess
import sys

import pytest

from app.cli.settings import check_settings, load_settings, port_of
from app.config import Config, SettingError
from tests.support.processes import PROJECT


def test_production_means_every_core_all_addresses_and_json() -> None:
    config, sources = load_settings({}, {"production": "true"}, cores=lambda: 6)
    assert (config.workers, config.host, config.log_format) == (6, "0.0.0.0", "json")
    assert sources["workers"].source == sources["host"].source == "production"


def test_what_was_said_beats_what_production_implies() -> None:
    environ = {"CLAUDE_WRAPPER_HOST": "10.0.0.1", "CLAUDE_WRAPPER_LOG_FORMAT": "text"}
    config, sources = load_settings(environ, {"production": "true", "workers": "2"}, cores=lambda: 6)
    assert (config.workers, config.host, config.log_format) == (2, "10.0.0.1", "text")
    assert (sources["workers"].source, sources["host"].source) == ("flag", "CLAUDE_WRAPPER_HOST")


def test_without_production_one_worker_on_this_machine_with_readable_logs() -> None:
    config, _ = load_settings({}, {}, cores=lambda: 6)
    assert (config.workers, config.host, config.log_format) == (1, "127.0.0.1", "text")


def test_log_format_auto_may_be_said_and_follows_production() -> None:
    config, _ = load_settings({"CLAUDE_WRAPPER_LOG_FORMAT": "auto"}, {"production": "true"}, cores=lambda: 1)
    assert config.log_format == "json"


def test_variable_that_is_no_setting_is_refused() -> None:
    with pytest.raises(SettingError, match="Did you mean CLAUDE_WRAPPER_WORKERS"):
        load_settings({"CLAUDE_WRAPPER_WORKRES": "2"}, {})


def test_variables_of_the_simulator_are_known() -> None:
    load_settings({"CLAUDE_WRAPPER_SIMULATOR_TTFT_MS": "5"}, {})


def test_wrong_setting_of_the_simulator_is_refused_with_mock_only() -> None:
    environ = {"CLAUDE_WRAPPER_SIMULATOR_TTFT_MS": "x"}
    load_settings(environ, {})
    with pytest.raises(SettingError, match=r"^CLAUDE_WRAPPER_SIMULATOR_TTFT_MS: "):
        load_settings(environ, {"mock": "true"})


@pytest.mark.parametrize(
    ("setting", "value", "variable"),
    [
        ("redis_url", "foo", "CLAUDE_WRAPPER_REDIS_URL"),
        ("redis_url", "redis+cluster://localhost", "CLAUDE_WRAPPER_REDIS_URL"),
        ("models_file", "/no/such/file.toml", "CLAUDE_WRAPPER_MODELS_FILE"),
        ("anthropic_base_url", "api.anthropic.com", "ANTHROPIC_BASE_URL"),
        ("upstream_proxy", "socks5://localhost:1080", "CLAUDE_WRAPPER_UPSTREAM_PROXY"),
        ("upstream_ca_bundle", "/no/such/file.pem", "CLAUDE_WRAPPER_UPSTREAM_CA_BUNDLE"),
    ],
)
def test_setting_that_no_worker_could_use_is_refused(setting: str, value: str, variable: str) -> None:
    with pytest.raises(SettingError, match=f"^{variable}: "):
        check_settings(Config(**{setting: value}), {})


@pytest.mark.parametrize("redis_url", ["auto", "memory://", "redis://localhost", "unix:///run/redis.sock"])
def test_settings_that_can_be_used_pass(redis_url: str) -> None:
    check_settings(Config(redis_url=redis_url, model_preset="openai", model_aliases=(("mine", "opus"),)), {})


@pytest.mark.parametrize(
    ("aliases", "says"),
    [
        ((("fast", "haikuu"),), "'fast' leads to 'haikuu', which is no model. Names that work: haiku."),
        ((("fast", "haiku@banana"),), "'fast' leads to 'haiku@banana', which is no model."),
        ((("gpt-*", "zzz"),), "Names that work: fable, mythos, opus, sonnet, haiku."),
        ((("a", "b"), ("b", "a")), "'a' leads to 'b', which is no model."),
    ],
)
def test_alias_that_leads_nowhere_is_refused_with_the_names_that_are_near(
    aliases: tuple[tuple[str, str], ...], says: str
) -> None:
    with pytest.raises(SettingError, match=r"^CLAUDE_WRAPPER_MODEL_ALIASES: ") as caught:
        check_settings(Config(model_aliases=aliases), {})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_alias_may_lead_to_an_effort_a_retired_id_another_alias_and_to_what_the_preset_names() -> None:
    aliases = (("a", "opus@low"), ("b", "claude-3-opus-20240229"), ("c", "a"), ("d", "gpt-4o"))
    check_settings(Config(model_preset="openai", model_aliases=aliases), {})


def test_with_mock_the_way_to_anthropic_does_not_matter() -> None:
    check_settings(Config(mock=True, upstream_proxy="socks5://localhost:1080"), {})


def test_the_check_imports_neither_the_application_nor_the_sdk() -> None:
    code = (
        "import sys; from app.cli.settings import check_settings; from app.config import Config; "
        "check_settings(Config(redis_url='redis://localhost'), {}); "
        "print(*{'litestar', 'anthropic', 'aiohttp', 'httpx', 'hiredis', 'redis'} & sys.modules.keys())"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ran.stdout == "\n"


def test_port_of_a_command_that_only_looks_does_not_need_the_other_settings_to_be_right() -> None:
    assert port_of({"CLAUDE_WRAPPER_WORKERS": "none", "PORT": "9000"}, None) == 9000
    assert port_of({"PORT": "9000"}, "9001") == 9001
    assert port_of({}, None) == 8000


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"admin_key": "a" * 15}, "CLAUDE_WRAPPER_ADMIN_KEY: it is too short"),
        ({"admin_key": "a" * 20, "api_key": "a" * 20}, "CLAUDE_WRAPPER_ADMIN_KEY: it must not be the key of clients"),
        ({"admin_key": "a" * 8193}, "CLAUDE_WRAPPER_ADMIN_KEY: it is too long"),
        ({"api_key": "a" * 8193}, "CLAUDE_WRAPPER_API_KEY: it is too long"),
    ],
)
def test_a_key_that_would_be_none_is_refused(fields: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        check_settings(Config(mock=True, **fields), {})
