from __future__ import annotations

import pytest

from workers.uvicorn_server import CLEAN_UP_S, GracePeriods


@pytest.mark.parametrize("limit_s", [1.0, 4.0, 10.0, 300.0])
def test_worker_is_gone_before_it_is_killed(limit_s: float) -> None:
    periods = GracePeriods.within(limit_s, drain_delay_s=7.0)
    assert periods.drain_delay_s == 7.0
    assert periods.finish_s + periods.clean_up_s + periods.close_s < limit_s


def test_requests_have_all_but_five_seconds_to_finish() -> None:
    assert GracePeriods.within(300.0, drain_delay_s=0.0).finish_s == 300.0 - CLEAN_UP_S


def test_short_limit_leaves_half_of_it_to_finish() -> None:
    assert GracePeriods.within(2.0, drain_delay_s=0.0).finish_s == 1.0
