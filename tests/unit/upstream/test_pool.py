"""A conversation stays with one of several keys, on every replica and after every restart."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import pytest

from app.config import Config, SettingError
from app.domain.upstream import UpstreamReply, UpstreamRequest
from app.errors import UpstreamStatus
from app.upstream import check_upstream
from app.upstream.pool import CredentialPool, pool_keys
from app.upstream.retries import RetryingUpstream
from tests.support.fake_upstream import FakeReply, FakeUpstream

KEYS = ("sk-ant-first-0123", "sk-ant-second-4567", "sk-ant-third-89ab")
AFFINITIES = [f"conversation {number}" for number in range(3000)]

_OTHER_PROCESS = """
import asyncio, json, sys
from tests.unit.upstream.test_pool import keys_of
keys, affinities = json.load(sys.stdin)
json.dump(asyncio.run(keys_of(keys, affinities)), sys.stdout)
"""


class Recorder:
    """A lane that answers everything, and keeps with which credential it was to send."""

    def __init__(self) -> None:
        self.credentials: list[str] = []
        self.closed = False

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        self.credentials.append(request.credential)
        return FakeReply()

    async def close(self) -> None:
        self.closed = True


def call(affinity: str = "", credential: str = "") -> UpstreamRequest:
    return UpstreamRequest(path="/v1/messages", body=b"{}", affinity=affinity, credential=credential)


async def keys_of(keys: Sequence[str], affinities: Sequence[str]) -> list[str]:
    """The key of each call, by the affinities of the calls."""
    lane = Recorder()
    pool = CredentialPool(lane, keys)
    for affinity in affinities:
        await pool.send(call(affinity))
    return lane.credentials


async def test_calls_of_one_conversation_go_with_one_key() -> None:
    assert len(set(await keys_of(KEYS, ["a conversation"] * 50))) == 1


def test_another_process_chooses_the_same_keys_whatever_their_order() -> None:
    affinities = [*AFFINITIES[:200], "Grüße", "会話", "\x00"]
    other = subprocess.run(
        [sys.executable, "-c", _OTHER_PROCESS],
        input=json.dumps([KEYS[::-1], affinities]),
        env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(other.stdout) == asyncio.run(keys_of(KEYS, affinities))


async def test_another_release_chooses_the_same_keys() -> None:
    # Replicas of two releases serve one conversation while one replaces the other.
    chosen = [KEYS.index(key) for key in await keys_of(KEYS, AFFINITIES[:12])]
    assert chosen == [2, 2, 1, 0, 2, 0, 1, 1, 1, 0, 0, 0]


async def test_conversations_are_spread_evenly() -> None:
    shares = Counter(await keys_of(KEYS, AFFINITIES))
    # 1000 each are expected, with a standard deviation of 26.
    assert all(880 <= shares[key] <= 1120 for key in KEYS)


async def test_a_key_that_is_taken_away_moves_its_own_share_alone() -> None:
    before, after = await keys_of(KEYS, AFFINITIES), await keys_of(KEYS[:2], AFFINITIES)
    assert all(new == old for old, new in zip(before, after, strict=True) if old != KEYS[2])
    moved = Counter(new for old, new in zip(before, after, strict=True) if old == KEYS[2])
    assert min(moved[KEYS[0]], moved[KEYS[1]]) > 400  # and is spread over the others


async def test_calls_without_affinity_take_turns() -> None:
    assert await keys_of(KEYS, [""] * 6) == [*KEYS, *KEYS]


async def test_a_call_s_own_credential_wins() -> None:
    lane = Recorder()
    pool = CredentialPool(lane, KEYS)
    await pool.send(call("a conversation", credential="sk-ant-client"))
    await pool.send(call(credential="sk-ant-client"))
    assert lane.credentials == ["sk-ant-client"] * 2


async def test_the_request_itself_is_left_as_it_is() -> None:
    request = call("a conversation")
    await CredentialPool(Recorder(), KEYS).send(request)
    assert request.credential == ""


async def test_a_repeat_of_a_call_with_an_affinity_goes_with_the_same_key() -> None:
    lane = FakeUpstream(refusal(529), refusal(529), refusal(529))
    with pytest.raises(UpstreamStatus):
        await RetryingUpstream(CredentialPool(lane, KEYS), 2, sleep=at_once).send(call("a conversation"))
    assert len({request.credential for request in lane.requests}) == 1


async def test_closes_the_lane() -> None:
    lane = Recorder()
    await CredentialPool(lane, KEYS).close()
    assert lane.closed


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
async def test_no_error_shows_a_key_even_if_the_upstream_quotes_it(status: int) -> None:
    lane = FakeUpstream(*[refusal(status, quoting=" ".join(KEYS))] * 2)
    with pytest.raises(UpstreamStatus) as raised:
        await RetryingUpstream(CredentialPool(lane, KEYS), 1, sleep=at_once).send(call("a conversation"))
    shown = repr([raised.value, raised.value.message, raised.value.headers, lane.requests])
    assert not [key for key in KEYS if key in shown]


def test_equal_keys_count_once_and_the_first_is_the_one_of_old() -> None:
    config = Config(anthropic_api_key=KEYS[1], anthropic_api_keys=(KEYS[0], KEYS[1], f" {KEYS[0]} ", "", KEYS[2]))
    assert pool_keys(config) == (KEYS[1], KEYS[0], KEYS[2])


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        (Config(), ()),
        (Config(anthropic_api_key=KEYS[0]), KEYS[:1]),
        (Config(anthropic_api_keys=KEYS[:1]), KEYS[:1]),
        (Config(anthropic_api_key=KEYS[0], anthropic_api_keys=KEYS[:1]), KEYS[:1]),
    ],
    ids=["none", "only_the_first", "only_a_further_one", "the_same_twice"],
)
def test_either_setting_may_be_left_out(config: Config, keys: tuple[str, ...]) -> None:
    assert pool_keys(config) == keys


def test_text_that_is_no_key_is_refused_at_the_start_by_the_name_of_its_setting() -> None:
    with pytest.raises(SettingError) as raised:
        check_upstream(Config(anthropic_api_keys=("sk-good", "sk-canary\nbad")), {})
    assert str(raised.value).startswith("CLAUDE_WRAPPER_ANTHROPIC_API_KEYS: ")
    assert "canary" not in str(raised.value)


def refusal(status: int, *, quoting: str = "") -> FakeReply:
    """An error reply that quotes what it was sent."""
    body = {"type": "error", "error": {"type": "some_error", "message": f"wrong: {quoting}"}}
    reply = FakeReply(json.dumps(body).encode(), headers={"retry-after": "0"})
    reply.status = status
    return reply


async def at_once(_seconds: float) -> None:
    """Does not sleep."""
