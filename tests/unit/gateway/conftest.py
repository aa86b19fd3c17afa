"""What several tests of the gateway room share."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture
def info_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Records are seen from ``INFO`` on."""
    caplog.set_level(logging.INFO)
