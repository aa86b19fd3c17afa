from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import gateway_command
from tests.support.processes import child_process, eventually
from workers.listener import CannotListen, bind, bind_again, listen, release_claims


@pytest.fixture(autouse=True)
def _no_claims_left() -> Iterator[None]:
    yield
    release_claims()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("other_shares", [True, False])
def test_taken_port_is_said_also_when_it_could_be_shared(shared: bool, other_shares: bool) -> None:
    with bind("127.0.0.1", 0, shared=other_shares) as other:
        listening = bind_again(other) if other_shares else other
        listen(listening, 1)
        release_claims()
        port = listening.getsockname()[1]
        with listening, pytest.raises(CannotListen, match=f"Port {port} on 127.0.0.1 is taken") as failure:
            bind("127.0.0.1", port, shared=shared)
    assert failure.value.taken


@pytest.mark.parametrize("shared", [True, False])
def test_port_is_claimed_until_somebody_listens(shared: bool) -> None:
    with bind("127.0.0.1", 0, shared=shared) as first:
        port = first.getsockname()[1]
        with pytest.raises(CannotListen, match=f"Port {port} is taken: another gateway is starting there") as failure:
            bind("127.0.0.1", port, shared=shared)
    assert failure.value.taken


def test_program_that_was_quicker_is_said() -> None:
    with bind("127.0.0.1", 0, shared=False) as ours:
        port = ours.getsockname()[1]
        with socket.create_server(("127.0.0.1", port)), pytest.raises(CannotListen, match=f"Port {port} on 127.0.0.1"):
            listen(ours, 1)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_of_two_gateways_started_together_one_says_that_the_port_is_taken(tmp_path: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = gateway_command("serve", "--mock", "--port", port, "--workers", workers)
    data_dirs = [{"CLAUDE_WRAPPER_DATA_DIR": str(tmp_path / name)} for name in ("a", "b")]
    with (
        child_process(command, env=data_dirs[0], output=tmp_path / "a.log") as one,
        child_process(command, env=data_dirs[1], output=tmp_path / "b.log") as two,
    ):
        eventually(lambda: one.is_running() + two.is_running() == 1, within_s=20)
        loser, winner = sorted((one, two), key=lambda gateway: gateway.is_running())
        winner.wait_for("is ready", within_s=20)
        assert loser.wait(within_s=1) == 1
        assert loser.logs.startswith(f"claude-wrapper: Port {port} ")
        assert loser.logs.count("\n") == 1


def test_keeper_of_a_shared_port_gets_no_connections() -> None:
    with bind("127.0.0.1", 0, shared=True) as keeper, bind_again(keeper) as one, bind_again(keeper) as two:
        for worker in (one, two):
            worker.listen(64)
        clients = [socket.create_connection(keeper.getsockname(), timeout=2) for _ in range(40)]
        accepted = [worker.accept()[0] for worker in (one, two) for _ in iter(lambda w=worker: _waits(w), False)]
        for connection in [*clients, *accepted]:
            connection.close()
    assert len(accepted) == 40


def _waits(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


@pytest.mark.parametrize(
    ("host", "complaint"),
    [("no-such-host.invalid", "neither an address nor a name"), ("192.0.2.1", "is not an address of this machine")],
)
def test_host_that_cannot_be_listened_on_is_said(host: str, complaint: str) -> None:
    with pytest.raises(CannotListen, match=complaint) as failure:
        bind(host, 0, shared=False)
    assert not failure.value.taken


def test_loopback_of_version_6() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        with bind("::1", 0, shared=True) as keeper, bind_again(keeper) as one:
            assert one.getsockname()[:2] == keeper.getsockname()[:2]
    except CannotListen:
        pytest.skip("no IPv6 loopback here")
