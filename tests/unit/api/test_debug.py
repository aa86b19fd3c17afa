"""``/admin/debug``: for an admin only, bounded, with files that can be found again."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from app.api.middleware import GatewayApp
from app.api.routes import create_litestar
from app.config import Config
from app.gateway.services import Services
from app.observability.profiling import DebugFile, Profiling
from app.schemas.admin import NewKey
from app.state import api_keys
from tests.support.asgi import Reply, call
from tests.support.chat_wire import until
from tests.support.services import NOW, make_services

ADMIN_KEY = "admin-key-for-tests"


def protected(data_dir: Path) -> Services:
    return make_services(config=Config(admin_key=ADMIN_KEY, data_dir=str(data_dir)))


def gateway(data_dir: Path) -> GatewayApp:
    services = protected(data_dir)
    return GatewayApp(create_litestar(services), services)


def is_empty(directory: Path) -> bool:
    return not list(directory.iterdir())


async def ask(app: GatewayApp, method: str, path: str, *, key: str = ADMIN_KEY, query: str = "") -> Reply:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return await call(app, method, path, query=query, headers=headers)


@pytest.mark.parametrize(("kind", "files"), [("profile", 2), ("memory", 1)])
async def test_what_was_found_is_told_and_listed(tmp_path: Path, kind: str, files: int) -> None:
    app = gateway(tmp_path)
    reply = await ask(app, "POST", f"/admin/debug/{kind}", query="seconds=0.05")
    report = reply.json()
    assert (reply.status, len(report["files"]), report["seconds"]) == (200, files, 0.05)
    assert report["beginning"]
    listed = (await ask(app, "GET", "/admin/debug")).json()["data"]
    assert sorted(file["path"] for file in listed) == sorted(file["path"] for file in report["files"])
    assert all(Path(file["path"]).is_relative_to(tmp_path) for file in listed)


async def test_files_are_listed_without_the_event_loop_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def files(_: Profiling) -> list[DebugFile]:
        threads.append(threading.get_ident())
        return []

    monkeypatch.setattr(Profiling, "files", files)
    assert (await ask(gateway(tmp_path), "GET", "/admin/debug")).json() == {"data": []}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/profile"), ("POST", "/memory")])
async def test_only_an_admin_may(tmp_path: Path, method: str, path: str) -> None:
    services = protected(tmp_path)
    client = await api_keys.create(services.state, NewKey(tenant="acme"), actor="test", now=NOW)
    app = GatewayApp(create_litestar(services), services)
    assert (await ask(app, method, f"/admin/debug{path}", key="")).status == 401
    assert (await ask(app, method, f"/admin/debug{path}", key=client.text)).status == 403
    assert is_empty(tmp_path)


async def test_nobody_may_on_a_gateway_without_keys(tmp_path: Path) -> None:
    services = make_services(config=Config(data_dir=str(tmp_path)))
    app = GatewayApp(create_litestar(services), services)
    assert (await ask(app, "POST", "/admin/debug/profile", key="")).status == 401


@pytest.mark.parametrize("seconds", ["0", "-1", "61", "many", "nan"])
async def test_how_long_is_bounded(tmp_path: Path, seconds: str) -> None:
    reply = await ask(gateway(tmp_path), "POST", "/admin/debug/profile", query=f"seconds={seconds}")
    assert (reply.status, reply.error["param"]) == (400, "seconds")


async def test_one_thing_at_a_time(tmp_path: Path) -> None:
    app = gateway(tmp_path)
    first = asyncio.create_task(ask(app, "POST", "/admin/debug/profile", query="seconds=0.5"))
    await until(lambda: not is_empty(tmp_path))
    second = await ask(app, "POST", "/admin/debug/memory", query="seconds=0.05")
    assert (second.status, second.error["code"]) == (409, "already_running")
    assert (await first).status == 200


async def test_where_nothing_can_be_written_the_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    reply = await ask(gateway(tmp_path / "file"), "POST", "/admin/debug/profile")
    assert (reply.status, reply.error["code"]) == (400, "data_dir_not_writable")
    assert "CLAUDE_WRAPPER_DATA_DIR" in reply.error["message"]
