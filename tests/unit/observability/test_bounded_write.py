"""A write that finds no reader gives up, whatever it is written to, and makes nobody else give up."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from app.observability.bounded_write import PIPE_BUF, write_within


def fill(descriptor: int) -> None:
    os.set_blocking(descriptor, False)
    try:
        while True:
            os.write(descriptor, b"." * PIPE_BUF)
    except BlockingIOError:
        os.set_blocking(descriptor, True)


def test_a_file_takes_everything(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        assert write_within(file.fileno(), b"x" * 100_000, stall_s=0.0)
    assert path.read_bytes() == b"x" * 100_000


def test_a_full_socket_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fill(ours.fileno())
        assert not write_within(ours.fileno(), b"x\n", stall_s=0.01)


@pytest.mark.parametrize("is_reopened", [True, False])
def test_a_pipe_that_only_takes_a_part_is_given_up(is_reopened: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_reopened:
        monkeypatch.setattr(os, "open", _refused)
    reader, writer = os.pipe()
    try:
        assert not write_within(writer, b"x" * 1_000_000, stall_s=0.01)
        assert os.get_blocking(writer)
    finally:
        os.close(reader)
        os.close(writer)


def _refused(*_: object) -> int:
    raise PermissionError


def test_a_slow_reader_gets_everything() -> None:
    reader, writer = os.pipe()
    received: list[bytes] = []

    def read() -> None:
        while part := os.read(reader, 10_000):
            received.append(part)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        assert write_within(writer, b"x" * 1_000_000, stall_s=20.0)
    finally:
        os.close(writer)
        reading.join()
        os.close(reader)
    assert b"".join(received) == b"x" * 1_000_000


def test_another_process_is_faster_than_the_write(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    real, tries = os.write, []

    def write(descriptor: int, data: bytes) -> int:
        tries.append(len(data))
        if len(tries) == 1:
            raise BlockingIOError
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    try:
        assert write_within(writer, b"x\n", stall_s=20.0)
        assert len(tries) == 2
        tries.clear()
        assert not write_within(writer, b"x\n", stall_s=0.0)
    finally:
        os.close(reader)
        os.close(writer)


def test_nobody_reads_any_more() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(BrokenPipeError):
            write_within(writer, b"x\n", stall_s=20.0)
    finally:
        os.close(writer)
