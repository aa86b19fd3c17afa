from __future__ import annotations

import select
import socket

import pytest

from workers.listener import CannotListen, bind, bind_again


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("other_shares", [True, False])
def test_taken_port_is_said_also_when_it_could_be_shared(shared: bool, other_shares: bool) -> None:
    with bind("127.0.0.1", 0, shared=other_shares) as other:
        listening = bind_again(other) if other_shares else other
        listening.listen(1)
        port = listening.getsockname()[1]
        with listening, pytest.raises(CannotListen, match=f"Port {port} on 127.0.0.1 is taken") as failure:
            bind("127.0.0.1", port, shared=shared)
    assert failure.value.taken


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
