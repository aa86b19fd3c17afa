from __future__ import annotations

from pathlib import Path

from app.cli.checks.finding import Outcome
from app.cli.checks.identity import check_key_file, check_tokens
from app.config import Config

NOW = 1_800_000_000.0

_FILE = """
[[keys]]
key = "canary-of-the-keys-file"
tenant = "acme"
expires = 2020-01-01

[[keys]]
key = "canary-of-the-keys-file-2"
tenant = "acme"

[tenants.acme]
concurrency = 2
"""


def test_a_keys_file_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(_FILE)
    finding = check_key_file(Config(keys_file=str(path)), now=NOW)
    assert (finding.outcome, finding.detail) == (Outcome.OK, "2 keys (1 expired), limits of 1 tenant")


def test_what_is_wrong_with_a_keys_file_is_said_without_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(_FILE.replace("concurrency", "parallel"))
    finding = check_key_file(Config(keys_file=str(path)), now=NOW)
    assert finding.outcome is Outcome.FAIL
    assert "tenants.acme.parallel" in finding.detail
    assert "canary" not in finding.detail


def test_without_a_keys_file_and_tokens_there_is_nothing_to_check() -> None:
    assert check_key_file(Config(), now=NOW).outcome is Outcome.SKIP
    assert check_tokens(Config()).outcome is Outcome.SKIP


def test_a_secret_is_a_key_to_check_tokens_with() -> None:
    finding = check_tokens(Config(jwt_secret="canary-" + "x" * 40))
    assert (finding.outcome, finding.detail) == (Outcome.OK, "a key for HS256")


def test_a_public_key_that_is_none_fails(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("no key")
    finding = check_tokens(Config(jwt_public_key=str(path)))
    assert finding.outcome is Outcome.FAIL
    assert "CLAUDE_WRAPPER_JWT_PUBLIC_KEY" in finding.detail
