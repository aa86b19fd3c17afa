from __future__ import annotations

import pytest

from app.cli.settings import load_settings, port_of
from app.config import SettingError


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


def test_port_of_a_command_that_only_looks_does_not_need_the_other_settings_to_be_right() -> None:
    assert port_of({"CLAUDE_WRAPPER_WORKERS": "none", "PORT": "9000"}, None) == 9000
    assert port_of({"PORT": "9000"}, "9001") == 9001
    assert port_of({}, None) == 8000
