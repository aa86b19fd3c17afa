"""What ``start`` passes on to the gateway in the background."""

from __future__ import annotations

from app.cli.options import SETTINGS
from app.cli.start import _flags
from app.config import Config


def test_flags_are_passed_on_but_for_the_key() -> None:
    given = dict.fromkeys(SETTINGS) | {"health_monitoring": "true", "workers": "2", "api_key": "secret", "port": "1"}
    assert _flags(Config(port=9000), given) == ["--port", "9000", "--workers", "2", "--health-monitoring"]
