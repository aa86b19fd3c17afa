"""Settings of the simulator are read like the gateway's."""

import pytest

from app.config import Config, SettingError, known_variables, resolve
from workers.simulator.settings import SimulatorSettings


def test_the_environment_is_read_under_the_simulators_name():
    settings, sources = resolve(SimulatorSettings, {"CLAUDE_WRAPPER_SIMULATOR_TTFT_MS": "20"}, {})
    assert settings.ttft_ms == 20
    assert sources["ttft_ms"].source == "CLAUDE_WRAPPER_SIMULATOR_TTFT_MS"


def test_a_flag_wins():
    settings, _ = resolve(SimulatorSettings, {"CLAUDE_WRAPPER_SIMULATOR_ERROR_RATE": "0.5"}, {"error_rate": "0.1"})
    assert settings.error_rate == 0.1


def test_a_share_above_one_is_refused():
    with pytest.raises(SettingError, match="CLAUDE_WRAPPER_SIMULATOR_ERROR_RATE"):
        resolve(SimulatorSettings, {"CLAUDE_WRAPPER_SIMULATOR_ERROR_RATE": "2"}, {})


def test_no_variable_is_also_the_gateways():
    assert not known_variables(SimulatorSettings) & known_variables(Config)
