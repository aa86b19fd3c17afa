"""``claude-wrapper keys`` as a user calls it, on a real server and on the embedded one."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli.instance import Instance, InstanceFacts
from tests.support.gateway import gateway_command
from tests.support.processes import clean_environment
from tests.support.redis import RedisServer, RedisServers, redis_servers, server
from workers import embedded_state

__all__ = ["redis_servers", "server"]


class Keys:
    """The command, on one store."""

    def __init__(self, **env: str) -> None:
        self._env = clean_environment({**env, "LOGNAME": "ann"})

    def ran(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            gateway_command("keys", *args),
            env=self._env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def said(self, *args: str, warned: str = "") -> str:
        ran = self.ran(*args)
        assert (ran.returncode, ran.stderr) == (0, warned)
        return ran.stdout

    def json(self, *args: str, warned: str = "") -> dict[str, Any]:
        said = self.said(*args, "--json", warned=warned)
        assert said.count("\n") == 1
        answered: dict[str, Any] = json.loads(said)
        return answered

    def refused(self, *args: str) -> tuple[int, str]:
        ran = self.ran(*args)
        assert ran.stdout == ""
        assert ran.stderr.count("\n") == 1
        return ran.returncode, ran.stderr.removeprefix("claude-wrapper: ")


@pytest.fixture
def keys(server: RedisServer) -> Keys:
    return Keys(CLAUDE_WRAPPER_REDIS_URL=server.url)


def test_a_key_lives_from_create_to_revoke(keys: Keys) -> None:
    made = keys.json(
        *("create", "--tenant", "acme", "--name", "Nightly batch", "--models", "claude-haiku-*,claude-opus-5"),
        *("--scopes", "inference", "--scopes", "admin", "--rpm", "60", "--input-tpm", "1000", "--output-tpm", "2000"),
        *("--concurrency", "5", "--budget-day", "2.5", "--budget-month", "50", "--budget-total", "100"),
        *(
            "--expires",
            "30d",
            "--outage",
            "fail_closed",
            "--cache",
            "on",
            "--cache-ttl",
            "600",
            "--metadata",
            "team=search",
            "--metadata",
            "a=b=c",
        ),
    )
    text = made.pop("key")
    assert re.fullmatch(r"sk-cw-[a-z2-7]{16}_" + made["id"] + r"_[0-9A-Za-z]{38}", text)
    assert made["limits"] == {
        "requests_per_minute": 60,
        "input_tokens_per_minute": 1000,
        "output_tokens_per_minute": 2000,
        "concurrency": 5,
        "budget_day": 2.5,
        "budget_month": 50.0,
        "budget_total": 100.0,
    }
    assert (made["models"], made["scopes"]) == (["claude-haiku-*", "claude-opus-5"], ["inference", "admin"])
    assert (made["outage"], made["metadata"]) == ("fail_closed", {"team": "search", "a": "b=c"})
    assert made["cache"] == {"mode": "on", "ttl": 600, "share_within": None}
    assert keys.json("show", made["id"]) == made
    changed = keys.json(
        *("update", made["id"], "--rpm", "none", "--budget-day", "3", "--models", "none", "--expires", "none"),
        *("--outage", "none", "--cache-ttl", "none", "--share-within", "tenant", "--metadata", "none"),
    )
    assert (changed["limits"]["requests_per_minute"], changed["limits"]["budget_day"]) == (None, 3.0)
    assert (changed["models"], changed["expires_at"], changed["outage"], changed["metadata"]) == ([], None, None, {})
    assert (changed["limits"]["concurrency"], changed["version"]) == (5, 2)
    assert changed["cache"] == {"mode": "on", "ttl": None, "share_within": "tenant"}
    rotated = keys.json("rotate", made["id"], "--grace", "12h")
    assert rotated["key"] != text
    assert rotated["old_key_until"] is not None
    revoked = keys.json("revoke", made["id"])
    assert (revoked["status"], revoked["durable"]) == ("revoked", False)
    assert "no append-only file" in revoked["durability"]


def test_people_get_the_text_of_a_key_on_a_line_of_its_own(keys: Keys) -> None:
    said = keys.said("create", "--tenant", "acme", "--name", "batch", "--rpm", "60", "--budget-day", "2.5")
    first, _, text, *_ = said.split("\n")
    assert "shown only once" in first
    assert text.startswith("sk-cw-")
    assert "  limits         60 req/min, $2.5/day\n" in said
    key_id = text.split("_")[1]
    assert "sk-cw-" not in keys.said("show", key_id)
    rotated = keys.said("rotate", key_id).split("\n")
    assert rotated[2].startswith("sk-cw-")
    assert rotated[2] != text
    assert keys.said("update", key_id, "--name", "other").startswith(f"Key {key_id} was changed in unix://")
    assert " of tenant acme is revoked in unix:///" in (revoked := keys.said("revoke", key_id))
    assert "The server keeps no " in revoked


def test_every_answer_to_people_names_the_store_without_its_password(keys: Keys, server: RedisServer) -> None:
    server.ask("CONFIG", "SET", "requirepass", "very-secret")
    try:
        url = server.url.replace("unix://", "unix://:very-secret@")
        key_id = keys.json("create", "--tenant", "acme", "--redis-url", url)["id"]
        for args in (("create", "--tenant", "b"), ("list",), ("show", key_id), ("rotate", key_id), ("revoke", key_id)):
            said = keys.said(*args, "--redis-url", url)
            assert f"{server.url}" in said
            assert "very-secret" not in said
        assert server.url in keys.refused("show", "0123456789ab", "--redis-url", url)[1]
    finally:
        server.ask("AUTH", "very-secret")
        server.ask("CONFIG", "SET", "requirepass", "")


def test_a_key_for_a_gateway_that_is_open_comes_with_a_word_about_that(keys: Keys, server: RedisServer) -> None:
    word = "lets everybody in all the same: set CLAUDE_WRAPPER_REQUIRE_KEY=yes"
    assert word in keys.said("create", "--tenant", "acme")
    protected = Keys(CLAUDE_WRAPPER_REDIS_URL=server.url, CLAUDE_WRAPPER_REQUIRE_KEY="yes")
    assert word not in protected.said("create", "--tenant", "acme")


def test_a_model_that_nobody_knows_is_doubted_and_accepted(keys: Keys) -> None:
    doubt = "claude-wrapper: --models: no known model is called 'haikuu'. Did you mean 'haiku'?\n"
    made = keys.json("create", "--tenant", "acme", "--models", "haikuu,opus", warned=doubt)
    assert made["models"] == ["haikuu", "opus"]
    assert keys.json("update", made["id"], "--models", "haikuu", warned=doubt)["models"] == ["haikuu"]


def test_a_user_of_redis_that_may_not_is_told_what_it_needs(server: RedisServer) -> None:
    server.ask("ACL", "SETUSER", "ann", "on", ">pass", "~other:*", "+@all")
    status, said = Keys(CLAUDE_WRAPPER_REDIS_URL=server.url.replace("unix://", "unix://ann:pass@")).refused("list")
    assert status == 1
    assert "needs the keys ~cw:*, the channels &cw:*" in said


def test_the_list_is_a_table(keys: Keys) -> None:
    assert keys.said("list").startswith("There are no keys in unix://")
    key_id = keys.json("create", "--tenant", "acme", "--name", "n" * 40, "--concurrency", "5")["id"]
    other_id = keys.json("create", "--tenant", "other")["id"]
    head, *rows, _, last = keys.said("list").splitlines()
    assert last.startswith("2 in unix://")
    assert head.split() == ["ID", "TENANT", "NAME", "STATUS", "LIMITS", "CREATED"]
    assert sorted(row.split()[0] for row in rows) == sorted([key_id, other_id])
    assert len({row.index("active") for row in [*rows]} | {head.index("STATUS")}) == 1
    assert any(" " + "n" * 29 + "...  active  5 at once" in row for row in rows)
    assert keys.said("list", "--tenant", "nobody").startswith("Tenant nobody has no keys in unix://")
    listed = keys.json("list", "--tenant", "acme")
    assert ([key["id"] for key in listed["data"]], listed["has_more"]) == ([key_id], False)


def test_the_audit_names_the_user(keys: Keys, server: RedisServer) -> None:
    keys.json("create", "--tenant", "acme")
    assert b"cli:ann" in str(server.ask("XRANGE", "cw:{_}:audit:v1", "-", "+")).encode()


def test_a_server_that_writes_to_its_disk_makes_a_revocation_durable(redis_servers: RedisServers) -> None:
    keys = Keys(CLAUDE_WRAPPER_REDIS_URL=redis_servers("--appendonly", "yes", "--appendfsync", "always").url)
    key_id = keys.json("create", "--tenant", "acme")["id"]
    assert keys.json("revoke", key_id)["durable"] is True


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ((), "Say what is to be done: create, list, show, update, rotate, revoke."),
        (("lst",), "No such command 'lst'."),
        (("create",), "--tenant: say whose key it is to be"),
        (("create", "--tenant", "a b"), "Invalid value for --tenant: expected 1 to 64 letters"),
        (("create", "--tenant", "a", "--rpm", "many"), "Invalid value for --rpm: expected a whole number or none"),
        (("create", "--tenant", "a", "--rpm", "0"), "Invalid value for --rpm: expected a whole number from 1 to"),
        (("create", "--tenant", "a", "--budget-day", "-1"), "Invalid value for --budget-day: expected a number from"),
        (("create", "--tenant", "a", "--budget-day", "nan"), "Invalid value for --budget-day: "),
        (("create", "--tenant", "a", "--input-tpm", "1.5"), "Invalid value for --input-tpm: "),
        (("create", "--tenant", "a", "--scopes", "root"), "Invalid value for --scopes: expected at least one of"),
        (("create", "--tenant", "a", "--models", "ok,no good"), "Invalid value for --models: "),
        (("create", "--tenant", "a", "--expires", "soon"), "Invalid value for --expires: expected a time such as"),
        (("create", "--tenant", "a", "--expires", "2001-01-01T00:00:00Z"), "--expires: expected a time that lies in"),
        (("create", "--tenant", "a", "--outage", "panic"), "Invalid value for --outage: expected one of fail_open"),
        (("create", "--tenant", "a", "--metadata", "x"), "--metadata: 'x' is no K=V pair."),
        (("create", "--tenant", "a", "--colour", "red"), "No such option"),
        (("rotate", "0123456789ab", "--grace", "31d"), "Invalid value for --grace: expected a duration such as"),
        (("rotate", "0123456789ab", "--grace", "foo"), "such as 90s, 30m, 1h or 7d, up to 30d, or a number of seconds"),
        (("update", "0123456789ab", "--metadata", "a=b", "--metadata", "a=c"), "--metadata: 'a' is given twice"),
        (("create", "--tenant", "a", "--budget-day", "1e-10"), "expected 0, or at least a nano-dollar"),
        (("update", "0123456789ab"), "Say what is to change"),
        (("show",), "Missing argument 'ID'. 'claude-wrapper keys show --help' shows what there is."),
        (("list", "8000", "--port", "8001"), "Two ports were given"),
        (("show", "0123456789ab", "8000", "--port", "8001"), "Two ports were given"),
        (("list", "--redis-url", "http://localhost"), "--redis-url: the given URL is not accepted"),
        (("list", "--redis-url", "auto", "--port", "0"), "say which port"),
        (("list", "--redis-url", "memory://"), "/admin/keys"),
    ],
)
def test_a_mistake_is_answered_in_one_line(keys: Keys, args: tuple[str, ...], complaint: str) -> None:
    status, said = keys.refused(*args)
    assert status == 2
    assert complaint in said


def test_an_unknown_or_revoked_key_is_said_with_status_1(keys: Keys) -> None:
    for args in (("show",), ("update", "--rpm", "5"), ("rotate",), ("revoke",)):
        assert keys.refused(*args, "0123456789ab")[0] == 1
    key_id = keys.json("create", "--tenant", "acme")["id"]
    keys.json("revoke", key_id)
    status, said = keys.refused("rotate", key_id)
    assert status == 1
    assert "is revoked" in said


def test_a_store_that_is_away_is_said_soon_and_without_its_password(server: RedisServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    started = time.monotonic()
    status, said = Keys(CLAUDE_WRAPPER_REDIS_URL=f"redis://u:very-secret@127.0.0.1:{port}").refused("list")
    assert time.monotonic() - started < 10  # about one second, on a machine that has the time
    assert status == 1
    assert f"The state store at redis://127.0.0.1:{port} is not available: the connection is refused." in said
    assert "very-secret" not in said
    server.freeze()
    status, said = Keys().refused("list", "--redis-url", server.url)
    server.thaw()
    assert status == 1
    assert "is not available" in said


# The embedded server


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Short, for the path of a unix socket."""
    with tempfile.TemporaryDirectory(prefix="cw-", dir="/tmp") as directory:
        yield Path(directory)


def test_without_a_url_the_embedded_server_of_the_port_is_started_and_ended(data_dir: Path) -> None:
    keys = Keys(CLAUDE_WRAPPER_DATA_DIR=str(data_dir))
    new = "claude-wrapper: No gateway has run on port {} yet; a state of its own begins in {}.\n"
    first = new.format(9000, data_dir / "9000")
    key_id = keys.json("create", "--tenant", "acme", "--port", "9000", warned=first)["id"]
    assert (data_dir / "9000").stat().st_mode & 0o777 == 0o700
    assert not embedded_state.socket_path(data_dir / "9000").exists()
    assert [key["id"] for key in keys.json("list", "9000")["data"]] == [key_id]
    assert [key["id"] for key in keys.json("--port", "9000", "list")["data"]] == [key_id]
    assert keys.json("list", warned=new.format(8000, data_dir / "8000"))["data"] == []
    assert f"in the embedded state server of port 9000 ({data_dir / '9000'})" in keys.said("list", "9000")
    assert keys.json("show", key_id, "9000")["id"] == keys.json("9000", "show", key_id)["id"] == key_id
    assert keys.json("revoke", key_id, "-p", "9000")["durable"] is True


@pytest.fixture
def running(data_dir: Path) -> Iterator[Instance]:
    """A gateway that runs on port 9000, as far as others can see."""
    instance = Instance(data_dir, 9000)
    instance.claim()
    yield instance
    instance.release()


def tell(instance: Instance, state: str) -> None:
    instance.tell(
        InstanceFacts(
            pid=1, version="1", url="http://x", workers=1, started_at=0, stop_limit_s=1, mode="mock", state=state
        )
    )


def test_the_embedded_server_of_a_running_gateway_is_used(data_dir: Path, running: Instance) -> None:
    keys = Keys(CLAUDE_WRAPPER_DATA_DIR=str(data_dir), CLAUDE_WRAPPER_PORT="9000")
    state = embedded_state.start(running.directory)
    try:
        key_id = keys.json("create", "--tenant", "acme")["id"]
        assert [key["id"] for key in keys.json("list")["data"]] == [key_id]
        assert state.poll() is None
    finally:
        state.stop()


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ("in memory; lost when it stops", "/admin/keys"),
        ("redis://elsewhere:6379", "keeps its state in redis://elsewhere:6379. Set CLAUDE_WRAPPER_REDIS_URL"),
        (None, "keeps its state elsewhere, or is still starting."),
    ],
)
def test_a_running_gateway_with_another_store_is_not_worked_around(
    data_dir: Path, running: Instance, state: str | None, complaint: str
) -> None:
    if state is not None:
        tell(running, state)
    status, said = Keys(CLAUDE_WRAPPER_DATA_DIR=str(data_dir)).refused("create", "--tenant", "acme", "9000")
    assert status == 2
    assert complaint in said


def test_inside_kubernetes_a_store_has_to_be_named(data_dir: Path) -> None:
    keys = Keys(CLAUDE_WRAPPER_DATA_DIR=str(data_dir), KUBERNETES_SERVICE_HOST="10.0.0.1")
    status, said = keys.refused("list")
    assert status == 2
    assert "CLAUDE_WRAPPER_REDIS_URL" in said
