from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from app.config import Config, SettingError
from app.upstream.settings import LaneSettings, credential


def test_every_setting_of_the_gateway_about_the_lane_is_taken_over():
    config = Config(
        anthropic_base_url="http://a",
        anthropic_api_key="k",
        anthropic_auth_token="t",
        upstream_connect_timeout_s=1,
        upstream_first_byte_timeout_s=2,
        upstream_idle_timeout_s=3,
        upstream_max_connections=4,
        upstream_pool_wait_s=5,
        upstream_keepalive_s=6,
        upstream_max_reply_bytes=7,
        upstream_proxy="p",
        upstream_ca_bundle="c",
    )
    assert msgspec.structs.astuple(LaneSettings.of(config, {"A": "b"})) == (
        *("http://a", "k", "t", 1, 2, 3, 4, 5, 6, 7, "p", "c"),
        {"A": "b"},
    )


def test_a_lane_of_default_settings_is_the_gateways_default():
    assert LaneSettings.of(Config(), {}) == LaneSettings(base_url="https://api.anthropic.com")


@pytest.mark.parametrize(("text", "value"), [("", ""), ("  ", ""), (" sk-ant-1\n", "sk-ant-1")])
def test_space_around_a_credential_is_a_slip_of_copying(text, value):
    assert credential("ANTHROPIC_API_KEY", text) == value


@pytest.mark.parametrize("text", ["sk ant", "sk\nant", "sk\x00", "schl\u00fcssel"])
def test_what_cannot_be_a_credential_is_refused_without_showing_it(text):
    with pytest.raises(SettingError) as raised:
        credential("ANTHROPIC_API_KEY", text)
    assert str(raised.value).startswith("ANTHROPIC_API_KEY: ")
    assert text not in str(raised.value)


def test_the_sdk_is_imported_only_when_a_lane_is_opened():
    code = "import sys, app.upstream; assert not {'anthropic', 'aiohttp', 'httpx2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
