"""Of all who claim the same on a host one has it."""

from __future__ import annotations

import os
import secrets
import socket

import pytest

from app.gateway.host_claim import HostClaim


def test_one_has_it_until_it_gives_it_back() -> None:
    purpose = secrets.token_hex(8)
    first, second, other = HostClaim(purpose), HostClaim(purpose), HostClaim(f"{purpose}, another")
    assert first.take()
    assert first.take()
    assert not second.take()
    assert other.take()
    second.give_back()
    assert not second.take()
    first.give_back()
    assert second.take()
    second.give_back()
    other.give_back()


def test_it_ends_with_its_process() -> None:
    claim = HostClaim(secrets.token_hex(8))
    pid = os.fork()
    if pid == 0:
        os._exit(0 if claim.take() else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert claim.take()
    claim.give_back()


def test_where_there_is_no_such_socket_everybody_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(socket.socket):
        def bind(self, _: object) -> None:
            raise FileNotFoundError(2, "no such file")

    monkeypatch.setattr(socket, "socket", Elsewhere)
    purpose = secrets.token_hex(8)
    assert HostClaim(purpose).take()
    assert HostClaim(purpose).take()
