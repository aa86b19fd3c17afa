from __future__ import annotations

import pytest
from gunicorn.config import Config as GunicornConfig

from app.config import Config
from workers.gunicorn_conf import gunicorn_settings


def test_gunicorn_accepts_every_setting() -> None:
    accepted = GunicornConfig()
    for name, value in gunicorn_settings(Config()).items():
        accepted.set(name, value)
    assert accepted.worker_class_str == "workers.uvicorn_worker.GatewayWorker"
    assert accepted.address == [("127.0.0.1", 8000)]


def test_gunicorn_kills_only_after_the_drain_delay_and_the_limit() -> None:
    assert gunicorn_settings(Config(drain_delay_s=10.5, graceful_timeout_s=300))["graceful_timeout"] == 311


def test_no_control_socket_no_preload_no_end_after_so_many_requests() -> None:
    settings = gunicorn_settings(Config())
    assert (settings["control_socket_disable"], settings["preload_app"], settings["max_requests"]) == (True, False, 0)


@pytest.mark.parametrize(("host", "bind"), [("0.0.0.0", "0.0.0.0:8000"), ("::1", "[::1]:8000")])
def test_address_is_written_as_gunicorn_reads_it(host: str, bind: str) -> None:
    assert gunicorn_settings(Config(host=host))["bind"] == bind
