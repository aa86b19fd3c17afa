from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from app.config import Config, SettingError
from app.upstream import check_upstream
from app.upstream.settings import LaneSettings


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


@pytest.mark.parametrize(("first", "used"), [("", "sk-b"), ("sk-a", "sk-a")])
def test_a_lane_of_its_own_has_the_first_key(first, used):
    config = Config(anthropic_api_key=first, anthropic_api_keys=("sk-b", "sk-c"))
    assert LaneSettings.of(config, {}).api_key == used


def test_a_mistake_can_be_found_without_opening_a_lane():
    check_upstream(Config(), {})
    with pytest.raises(SettingError, match=r"^HTTPS_PROXY: "):
        check_upstream(Config(), {"HTTPS_PROXY": "socks5://127.0.0.1"})


def test_the_sdk_is_imported_only_when_a_lane_is_opened():
    code = "import sys, app.upstream; assert not {'anthropic', 'aiohttp', 'httpx2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
