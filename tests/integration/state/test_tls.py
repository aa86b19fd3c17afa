"""``rediss://``: the server behind a TLS proxy, as the embedded server speaks no TLS."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.errors import StateUnavailable
from app.state import connect
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.redis import RedisServer

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for ``localhost``, with its key in the same file."""
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"],
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"),
        ],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    both = directory / "both.pem"
    both.write_text((directory / "key.pem").read_text() + (directory / "cert.pem").read_text())
    return both


@pytest.fixture
async def proxy(certificate: Path, shared_server: RedisServer) -> AsyncIterator[FaultProxy]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with fault_proxy(shared_server.socket_file, tls=context) as proxy:
        yield proxy


async def test_a_verified_server_is_used(proxy: FaultProxy, certificate: Path) -> None:
    state = connect(f"rediss://localhost:{proxy.port}?ssl_ca_certs={certificate}", timeout_s=5.0)
    large = b"x" * 1_000_000
    assert await state.call("ECHO", "small") == b"small"
    assert await state.call("ECHO", large) == large
    await state.close()


async def test_a_server_with_an_unknown_certificate_is_not_used(proxy: FaultProxy) -> None:
    state = connect(f"rediss://localhost:{proxy.port}", timeout_s=5.0)
    with pytest.raises(StateUnavailable):
        await state.call("PING")
    assert state.status.last_failure == "its TLS certificate cannot be verified"
    await state.close()


async def test_a_server_of_another_name_is_not_used(proxy: FaultProxy, certificate: Path) -> None:
    state = connect(f"rediss://127.0.0.1:{proxy.port}?ssl_ca_certs={certificate}", timeout_s=5.0)
    with pytest.raises(StateUnavailable):
        await state.call("PING")
    assert state.status.last_failure == "its TLS certificate cannot be verified"
    await state.close()


async def test_verification_can_be_switched_off(proxy: FaultProxy) -> None:
    state = connect(f"rediss://127.0.0.1:{proxy.port}?ssl_cert_reqs=none", timeout_s=5.0)
    assert await state.call("ECHO", "small") == b"small"
    await state.close()


async def test_a_server_without_tls_is_not_used(shared_server: RedisServer) -> None:
    async with fault_proxy(shared_server.socket_file) as plain:
        state = connect(f"rediss://localhost:{plain.port}", timeout_s=5.0)
        with pytest.raises(StateUnavailable):
            await state.call("PING")
        assert not state.status.connected
        await state.close()


async def test_a_ca_file_that_does_not_exist_is_said(proxy: FaultProxy) -> None:
    state = connect(f"rediss://localhost:{proxy.port}?ssl_ca_certs=/nowhere/ca.pem", timeout_s=5.0)
    with pytest.raises(StateUnavailable):
        await state.call("PING")
    assert state.status.last_failure == "its socket or a TLS file does not exist"
    await state.close()
