"""How workers end: SIGTERM with open streams, Ctrl-C, a killed master, a blocked loop, a reload."""

from __future__ import annotations

import resource
import signal
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.support.plain_gateway import plain_gateway
from tests.support.processes import eventually, is_alive
from tests.support.raw_http import RawConnection, get


def open_stream(port: int, path: str = "/stream") -> RawConnection:
    connection = RawConnection(port)
    connection.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    connection.read_until(b"tick\n")
    return connection


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_stream_longer_than_the_limit_at_sigterm_ends_with_an_error_in_band(tmp_path: Path) -> None:
    with plain_gateway(tmp_path / "output", graceful_timeout_s=3) as gateway, open_stream(gateway.port) as stream:
        gateway.process.send(signal.SIGTERM)
        rest = stream.read_to_end()
        status = gateway.process.wait(within_s=30)
    assert rest.endswith(b"server_shutting_down\n\r\n0\r\n\r\n")
    assert status == 0
    assert "lifespan over" in gateway.process.logs
    assert "SIGKILL" not in gateway.process.logs


def test_request_that_ignores_its_end_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    with plain_gateway(tmp_path / "output", graceful_timeout_s=3) as gateway, open_stream(gateway.port, "/deaf"):
        gateway.process.send(signal.SIGTERM)
        status = gateway.process.wait(within_s=30)
    assert status == 0
    assert "lifespan over" in gateway.process.logs


def test_request_in_flight_at_sigterm_is_finished(tmp_path: Path) -> None:
    with plain_gateway(tmp_path / "output") as gateway, RawConnection(gateway.port) as connection:
        connection.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab")
        get(gateway.port, "/")  # the first request has been taken up, too
        gateway.process.send(signal.SIGTERM)
        gateway.process.wait_for("stopping", within_s=30)
        eventually(lambda: port_is_free(gateway.port), within_s=30)
        connection.send(b"cd")
        status, headers, body = connection.read_reply()
        assert gateway.process.wait(within_s=30) == 0
    assert status == 200
    assert b'"body": "abcd"' in body
    assert headers["connection"] == "close"


def test_idle_gateway_stops_at_once(tmp_path: Path) -> None:
    with plain_gateway(tmp_path / "output", workers=2) as gateway:
        gateway.process.send(signal.SIGTERM)
        assert gateway.process.wait(within_s=30) == 0


def test_ctrl_c_lets_streams_finish_and_a_second_one_does_not(tmp_path: Path) -> None:
    with plain_gateway(tmp_path / "output") as gateway, open_stream(gateway.port) as stream:
        gateway.process.interrupt()
        gateway.process.wait_for("stopping", within_s=30)
        stream.read_until(b"tick\n" * 1)
        eventually(lambda: port_is_free(gateway.port), within_s=30)
        stream.read_until(b"tick\n")
        assert gateway.process.is_running()
        gateway.process.interrupt()
        assert stream.read_to_end().endswith(b"server_shutting_down\n\r\n0\r\n\r\n")
        assert gateway.process.wait(within_s=30) == 0


def test_worker_goes_on_accepting_for_the_drain_delay(tmp_path: Path) -> None:
    with plain_gateway(tmp_path / "output", drain_delay_s=3) as gateway:
        gateway.process.send(signal.SIGTERM)
        started = time.monotonic()
        gateway.process.wait_for("stopping", within_s=30)
        eventually(lambda: bool(get(gateway.port, "/")["draining"]), within_s=30)
        assert gateway.process.wait(within_s=30) == 0
    assert time.monotonic() - started > 2.9


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_leave_when_the_master_was_killed_and_the_port_is_free(tmp_path: Path, workers: int) -> None:
    with plain_gateway(tmp_path / "output", workers=workers) as gateway:
        family = gateway.process.children()
        gateway.process.send(signal.SIGKILL)
        eventually(lambda: not any(is_alive(child) for child in family), within_s=30)
        assert port_is_free(gateway.port)
    assert len(family) == workers


def test_orphaned_worker_stops_accepting_and_finishes_its_streams(tmp_path: Path) -> None:
    with plain_gateway(tmp_path / "output", graceful_timeout_s=3) as gateway, open_stream(gateway.port) as stream:
        (worker,) = gateway.process.children()
        gateway.process.send(signal.SIGKILL)
        eventually(lambda: port_is_free(gateway.port), within_s=30)
        assert is_alive(worker)
        assert stream.read_to_end().endswith(b"server_shutting_down\n\r\n0\r\n\r\n")
        eventually(lambda: not is_alive(worker), within_s=30)


def test_reload_replaces_all_workers_and_fails_no_request(tmp_path: Path) -> None:
    with plain_gateway(tmp_path / "output", workers=2) as gateway:
        old = {child.pid for child in gateway.process.children()}
        answered_by: list[int] = []
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                answered_by.append(get(gateway.port, "/")["pid"])

        asker = threading.Thread(target=ask)
        asker.start()
        try:
            gateway.process.send(signal.SIGHUP)
            eventually(lambda: not old & {child.pid for child in gateway.process.children()}, within_s=30)
            before = len(answered_by)
            eventually(lambda: len(answered_by) > before + 10, within_s=30)
        finally:
            over.set()
            asker.join()
        assert len(gateway.process.children()) == 2
    assert not old & set(answered_by[before + 2 :])


def test_stream_survives_a_reload(tmp_path: Path) -> None:
    with plain_gateway(tmp_path / "output") as gateway, open_stream(gateway.port) as stream:
        (old,) = gateway.process.children()
        gateway.process.send(signal.SIGHUP)
        eventually(lambda: get(gateway.port, "/")["pid"] != old.pid, within_s=30)
        stream.read_until(b"tick\n")
        assert is_alive(old)
        stream.__exit__()
        eventually(lambda: not is_alive(old), within_s=30)


def test_reload_keeps_the_old_workers_when_the_new_ones_cannot_start(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    with plain_gateway(tmp_path / "output", env={"BROKEN": str(broken)}) as gateway:
        (old,) = gateway.process.children()
        broken.touch()
        gateway.process.send(signal.SIGHUP)
        gateway.process.wait_for("the ones that run go on", within_s=30)
        assert get(gateway.port, "/")["pid"] == old.pid


def test_gateway_whose_application_cannot_start_ends(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    with (
        pytest.raises(AssertionError, match="it ended with 3"),
        plain_gateway(tmp_path / "output", env={"BROKEN": str(broken)}),
    ):
        pass


def test_killed_worker_is_replaced(tmp_path: Path) -> None:
    with plain_gateway(tmp_path / "output") as gateway:
        (old,) = gateway.process.children()
        old.kill()
        eventually(lambda: [c.pid for c in gateway.process.children()] not in ([old.pid], []), within_s=30)
        assert get(gateway.port, "/")["pid"] != old.pid


def test_worker_that_blocks_its_loop_is_killed_and_says_where(tmp_path: Path) -> None:
    with plain_gateway(tmp_path / "output", env={"HUNG_AFTER_S": "2"}) as gateway, RawConnection(gateway.port) as asker:
        (old,) = gateway.process.children()
        asker.send(b"GET /block?60 HTTP/1.1\r\nhost: a\r\n\r\n")
        eventually(lambda: not is_alive(old), within_s=30)
        eventually(lambda: get(gateway.port, "/")["pid"] != old.pid, within_s=30)
    assert "in __call__" in gateway.process.logs


def test_connections_are_spread_over_the_workers(tmp_path: Path) -> None:
    with plain_gateway(tmp_path / "output", workers=2) as gateway:
        answered_by = [get(gateway.port, "/")["pid"] for _ in range(200)]
    shares = sorted(answered_by.count(pid) for pid in set(answered_by))
    assert len(shares) == 2
    assert shares[0] > 50


def test_workers_are_not_among_themselves_after_a_clean_stop(tmp_path: Path) -> None:
    with plain_gateway(tmp_path / "output", workers=2) as gateway:
        family = [psutil.Process(gateway.process.pid), *gateway.process.children()]
        gateway.process.send(signal.SIGTERM)
        gateway.process.wait(within_s=30)
        assert not any(is_alive(process) for process in family)


def test_workers_may_open_as_many_files_as_the_hard_limit_allows(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with plain_gateway(tmp_path / "output") as gateway:
            (worker,) = gateway.process.children()
            assert worker.rlimit(psutil.RLIMIT_NOFILE)[0] > 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
