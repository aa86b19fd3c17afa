"""Which answers are cached, for whom, for how long, and what a hit costs: two replicas on one Redis.

That a hit is the answer that was given the first time is in ``test_cached_answers.py``.
"""

from __future__ import annotations

import asyncio
import json
import random
import string
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, cast

import jwt
import pytest

from app.state.answers import LARGE_BYTES
from tests.support.chat_frames import frames
from tests.support.chat_wire import Reply, chat, post
from tests.support.fault_proxy import fault_proxy
from tests.support.redis import RedisServer, RedisServers, redis_servers, server, shared_server
from tests.support.replicas import ADMIN_KEY, Key
from tests.support.replicas_here import ReplicasHere, replicas_here
from tests.support.simulator import Simulator, running_simulator

__all__ = ["redis_servers", "server", "shared_server"]

#: Does not think unless asked to, so that a script alone decides what it says.
MODEL = "claude-haiku-4-5"

JWT_SECRET = "a secret of more than thirty-two bytes"
OWN_KEY = "sk-ant-canary-of-a-client-0123456789"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(journal=5000) as simulator:
        yield simulator


@pytest.fixture
async def replicas(shared_server: RedisServer, simulator: Simulator) -> AsyncIterator[ReplicasHere]:
    shared_server.ask("FLUSHALL")
    async with replicas_here(
        shared_server, simulator, count=2, jwt_secret=JWT_SECRET, byok=True, cache_max_entry_bytes=200_000
    ) as running:
        yield running


@pytest.fixture
async def key(replicas: ReplicasHere) -> Key:
    """Nobody else's, so that nothing is cached for it."""
    return await replicas.create_key("acme")


def says(text: str, **fields: Any) -> bytes:
    """A request."""
    return chat(text, **{"model": MODEL, **fields})


def max_age(seconds: int) -> dict[str, str]:
    """The header of a request that opts in."""
    return {"cache-control": f"max-age={seconds}"}


async def came(
    replicas: ReplicasHere, key: Key | str, body: bytes, headers: Mapping[str, str] | None = None, **where: Any
) -> str:
    """How an answer came (MISS, HIT, BYPASS), once everything that goes with it is done."""
    reply = await replicas.ask(body, key, headers, **where)
    await replicas.at_rest()
    assert reply.status == 200, reply.body
    return reply.headers["x-claude-wrapper-cache"]


async def ways(replicas: ReplicasHere, key: Key, body: bytes, headers: Mapping[str, str]) -> list[str]:
    """How three equal requests are answered, one after the other, on alternating replicas."""
    return [await came(replicas, key, body, headers) for _ in range(3)]


def entry_ttl_s(replicas: ReplicasHere) -> float:
    """The seconds that the only cached answer has left."""
    (name,) = replicas.keys("answer")
    return cast("int", replicas.server.ask("PTTL", name)) / 1000


# What a request and its key say


NEVER = ["BYPASS", "BYPASS", "BYPASS"]
ONCE = ["MISS", "HIT", "HIT"]
ALWAYS_NEW = ["MISS", "MISS", "MISS"]

#: Cache-Control of the request -> what becomes of three of them, by the mode of the key.
MATRIX: dict[str, dict[str, list[str]]] = {
    "": {"off": NEVER, "opt-in": NEVER, "on": ONCE},
    "max-age=60": {"off": NEVER, "opt-in": ONCE, "on": ONCE},
    "MAX-AGE = 60, x=y": {"off": NEVER, "opt-in": ONCE, "on": ONCE},
    "max-age=0": {"off": NEVER, "opt-in": NEVER, "on": ALWAYS_NEW},
    "no-cache": {"off": NEVER, "opt-in": NEVER, "on": ALWAYS_NEW},
    "max-age=60, no-cache": {"off": NEVER, "opt-in": ALWAYS_NEW, "on": ALWAYS_NEW},
    "no-store": {"off": NEVER, "opt-in": NEVER, "on": NEVER},
    "max-age=60, no-store": {"off": NEVER, "opt-in": NEVER, "on": NEVER},
    "public": {"off": NEVER, "opt-in": NEVER, "on": ONCE},
}
CELLS = [(control, mode, ways) for control, row in MATRIX.items() for mode, ways in row.items()]


@pytest.mark.parametrize(("control", "mode", "expected"), CELLS)
async def test_cache_control_and_the_mode_of_the_key_decide(
    replicas: ReplicasHere, control: str, mode: str, expected: list[str]
) -> None:
    key = await replicas.create_key("acme", cache={"mode": mode})
    headers = {"cache-control": control} if control else {}
    assert await ways(replicas, key, says("one of the matrix"), headers) == expected
    assert bool(replicas.keys("answer")) == (expected != NEVER)
    assert replicas.keys("flight") == []


@pytest.mark.parametrize("control", ["no-cache", "max-age=60, no-cache"])
async def test_what_is_made_anew_is_what_the_next_one_gets(replicas: ReplicasHere, control: str) -> None:
    key = await replicas.create_key("acme", cache={"mode": "on"})
    body = says("made anew")
    ids = []
    for headers, way in (({**max_age(60)}, "MISS"), ({"cache-control": control}, "MISS"), (max_age(60), "HIT")):
        reply = await replicas.ask(body, key, headers)
        await replicas.at_rest()
        assert reply.headers["x-claude-wrapper-cache"] == way
        ids.append(reply.headers["request-id"])
    assert ids[2] == ids[1] != ids[0]


@pytest.mark.parametrize(
    ("rule", "control", "most_s"),
    [
        ({"mode": "on"}, "", 300),
        ({"mode": "on", "ttl": 40}, "", 40),
        ({"mode": "on", "ttl": 40}, "no-cache", 40),
        ({"mode": "on", "ttl": 40}, "max-age=900", 900),
        ({"ttl": 40}, "max-age=20", 20),
        ({}, "max-age=1000000", 1800),
        ({}, "max-age=1", 1),
    ],
)
async def test_an_answer_is_kept_for_its_time_less_a_tenth_at_most(
    replicas: ReplicasHere, rule: dict[str, Any], control: str, most_s: int
) -> None:
    key = await replicas.create_key("acme", cache=rule)
    began = time.monotonic()
    assert await came(replicas, key, says("kept"), {"cache-control": control} if control else {}, replica=0) == "MISS"
    left_s = entry_ttl_s(replicas)
    assert 0.9 * most_s - 1 - (time.monotonic() - began) <= left_s <= most_s


async def test_equal_times_do_not_end_at_once(replicas: ReplicasHere, key: Key) -> None:
    """40 answers for 1000 s each: all between 900 and 1000 s, and spread."""
    await asyncio.gather(*(replicas.ask(says(f"spread {n}"), key, max_age(1000)) for n in range(40)))
    await replicas.at_rest()
    left_s = [cast("int", replicas.server.ask("TTL", name)) for name in replicas.keys("answer")]
    assert len(left_s) == 40
    assert min(left_s) >= 890
    assert max(left_s) <= 1000
    assert max(left_s) - min(left_s) > 20


async def test_no_answer_older_than_asked_for_is_given(replicas: ReplicasHere, key: Key) -> None:
    body = says("how old")
    assert await came(replicas, key, body, max_age(600)) == "MISS"
    made_older(replicas, 50)
    reply = await replicas.ask(body, key, max_age(60))
    assert (reply.headers["x-claude-wrapper-cache"], reply.headers["age"] in ("50", "51", "52")) == ("HIT", True)
    assert await came(replicas, key, body, max_age(40)) == "MISS"
    reply = await replicas.ask(body, key, max_age(40))
    assert (reply.headers["x-claude-wrapper-cache"], int(reply.headers["age"]) < 10) == ("HIT", True)


def made_older(replicas: ReplicasHere, seconds: int) -> None:
    """The only cached answer was stored so much earlier; see ``flight.lua`` for its layout."""
    (name,) = replicas.keys("answer")
    stored, _, rest = cast("bytes", replicas.server.ask("GET", name)).partition(b" ")
    earlier = str(int(stored) - seconds * 1_000_000).encode()
    replicas.server.ask("SET", name, earlier + b" " + rest, "KEEPTTL")


async def test_an_answer_that_cannot_be_read_is_made_anew(replicas: ReplicasHere, key: Key) -> None:
    body = says("damaged")
    assert await came(replicas, key, body, max_age(600)) == "MISS"
    (name,) = replicas.keys("answer")
    whole = cast("bytes", replicas.server.ask("GET", name))
    for damaged in (whole[:-7], whole[:40], b"", b"nonsense", whole.partition(b"\n")[0] + b"\n\x01nonsense"):
        replicas.server.ask("SET", name, damaged, "EX", "600")
        assert await came(replicas, key, body, max_age(600)) == "MISS"
        assert await came(replicas, key, body, max_age(600)) == "HIT"


@pytest.mark.parametrize("control", ["max-age", "max-age=-1", "max-age=soon", "only-if-cached", "max-age=1, max-age=x"])
async def test_what_makes_no_sense_is_refused(replicas: ReplicasHere, key: Key, control: str) -> None:
    reply = await replicas.ask(says("senseless"), key, {"cache-control": control})
    assert (reply.status, reply.error["param"]) == (400, "header.cache-control")


# Scopes


def token(subject: str, tenant: str = "tokens") -> str:
    """A bearer of its own subject."""
    return jwt.encode({"sub": subject, "tenant": tenant, "exp": int(time.time()) + 300}, JWT_SECRET, "HS256")


async def test_no_two_scopes_share(replicas: ReplicasHere) -> None:
    """Keys of one tenant, tenants, subjects of tokens: each asks the same on both replicas."""
    callers: list[Key | str] = [await replicas.create_key(tenant) for tenant in ("one", "one", "other")]
    callers += [token("ann"), token("bob"), token("ann", "others")]
    for caller in callers:
        assert [await came(replicas, caller, says("the same"), max_age(60)) for _ in range(2)] == ["MISS", "HIT"]
    assert len(await replicas.upstream("the same")) == len(callers)
    assert len(replicas.keys("answer")) == len(callers)


async def test_keys_that_say_so_share_within_their_tenant_and_not_beyond(replicas: ReplicasHere) -> None:
    shares = {"share_within": "tenant"}
    one, same, other = [await replicas.create_key(tenant, cache=shares) for tenant in ("one", "one", "other")]
    alone = await replicas.create_key("one")
    asked = [await came(replicas, key, says("shared"), max_age(60)) for key in (one, same, other, alone, same)]
    assert asked == ["MISS", "HIT", "MISS", "MISS", "HIT"]


async def test_the_name_of_a_key_is_no_way_into_what_a_tenant_shares(replicas: ReplicasHere) -> None:
    """A subject may be called anything, also what stands for the whole tenant."""
    for caller in (token("*"), token("ann *"), token("ann")):
        assert await came(replicas, caller, says("named"), max_age(60)) == "MISS"


async def test_whoever_pays_anthropic_itself_never_shares(replicas: ReplicasHere) -> None:
    assert [await came(replicas, OWN_KEY, says("my own"), max_age(60)) for _ in range(2)] == ["BYPASS", "BYPASS"]
    assert replicas.keys("answer") == []


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_what_a_key_says_counts_from_its_first_request_on(
    shared_server: RedisServer, simulator: Simulator, stream: bool
) -> None:
    """A worker that has never seen the key must not go by the deployment's settings."""
    settings: dict[str, Any] = {"count": 2, "cache": "on", "share_within": "tenant"}
    async with replicas_here(shared_server, simulator, **settings) as replicas:
        shared_server.ask("FLUSHALL")
        never = await replicas.create_key("acme", cache={"mode": "off"})
        alone, other = [await replicas.create_key("acme", cache={"share_within": "key"}) for _ in range(2)]
        body = says("first of all", stream=stream)
        assert [await came(replicas, never, body, replica=replica) for replica in (0, 1)] == ["BYPASS", "BYPASS"]
        assert replicas.keys("answer") == []
        assert [await came(replicas, alone, body, replica=replica) for replica in (0, 1)] == ["MISS", "HIT"]
        assert [await came(replicas, other, body, replica=replica) for replica in (0, 1)] == ["MISS", "HIT"]


async def test_a_key_whose_cache_is_switched_on_hits_as_soon_as_it_is_known(replicas: ReplicasHere, key: Key) -> None:
    body = says("switched on")
    assert await ways(replicas, key, body, {}) == NEVER
    await replicas.get(f"/admin/keys/{key.id}", ADMIN_KEY, method="PATCH", body={"cache": {"mode": "on"}})
    seen = []
    async with asyncio.timeout(10):
        while seen[-1:] != ["HIT"]:
            seen.append(await came(replicas, key, body, replica=len(seen) % 2))
    assert seen[seen.index("MISS") :] == ["MISS", "HIT"]


async def test_a_change_of_a_keys_rule_counts_on_every_replica(replicas: ReplicasHere, key: Key) -> None:
    body = says("changed")
    assert await ways(replicas, key, body, max_age(60)) == ONCE
    await replicas.get(f"/admin/keys/{key.id}", ADMIN_KEY, method="PATCH", body={"cache": {"mode": "off"}})
    async with asyncio.timeout(10):
        while await came(replicas, key, body, max_age(60), replica=1) != "BYPASS":  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    assert await came(replicas, key, body, max_age(60), replica=0) == "BYPASS"


# What is not kept


#: How the answer fails to be as good for whoever asks next; the script of the simulator, or fields of the request.
NOT_KEPT: dict[str, dict[str, Any]] = {
    "cut off by max_tokens": {"fields": {"max_tokens": 5}},
    "refused": {"said": "[[sim: stop_reason=refusal]]"},
    "an unknown end": {"said": "[[sim: stop_reason=something_new]]"},
    "the context is full": {"said": "[[sim: stop_reason=model_context_window_exceeded]]"},
    "an error at once": {"said": "[[sim: status=500]]"},
    "overloaded": {"said": "[[sim: status=529]]"},
    "an error in the stream": {"said": "[[sim: error_after_events=5]]"},
    "cut in the stream": {"said": "[[sim: cut_at_byte=450]]"},
    "cut in its first event": {"said": "[[sim: cut_at_byte=100]]"},
    "a reset": {"said": "[[sim: cut_at_byte=450 reset=true]]"},
    "dropped": {"said": "[[sim: drop]]"},
    "no message": {"said": "[[sim: nonsense=object]]"},
    "half a message": {"said": "[[sim: nonsense=truncated]]"},
    "a page": {"said": "[[sim: nonsense=html]]"},
    "a pause without end": {
        "said": "Search the web. [[sim: pause=99]]",
        "fields": {"web_search_options": {}, "model": "claude-sonnet-5-5"},
    },
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("what", NOT_KEPT)
async def test_what_is_no_good_for_others_is_not_kept(
    replicas: ReplicasHere, key: Key, what: str, stream: bool
) -> None:
    case = NOT_KEPT[what]
    body = says(f"{what} {stream} {case.get('said', '')}", stream=stream, **case.get("fields", {}))
    first, again = [await replicas.ask(body, key, max_age(60), replica=replica) for replica in (0, 1)]
    await replicas.at_rest()
    assert replicas.keys("answer") == []
    assert replicas.keys("flight") == []
    assert first.status == again.status
    assert again.headers.get("x-claude-wrapper-cache", "MISS") == "MISS"
    assert len(await replicas.upstream(f"{what} {stream} ")) >= 2


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_one_choice_of_two_is_not_kept(replicas: ReplicasHere, key: Key, stream: bool) -> None:
    body = says(f"half {stream} [[sim: status=529 times=1]]", stream=stream, n=2)
    assert (await replicas.ask(body, key, max_age(60))).status == 503
    await replicas.at_rest()
    assert (replicas.keys("answer"), replicas.keys("flight")) == ([], [])
    assert await ways(replicas, key, body, max_age(60)) == ONCE


async def test_a_client_that_leaves_leaves_nothing(replicas: ReplicasHere, key: Key) -> None:
    body = says("leaves [[sim: tokens_per_second=20 output_tokens=400]]", stream=True)
    wire = await replicas.gateways[0].wire()
    wire.send(post(body, headers=f"authorization: Bearer {key.text}\r\ncache-control: max-age=60\r\n"))
    _, _ = await wire.head()
    await wire.until(b'"content":"You')
    wire.reset()
    await replicas.at_rest()
    assert (replicas.keys("answer"), replicas.keys("flight")) == ([], [])
    entries = await replicas.upstream("leaves ")
    assert [entry["outcome"] for entry in entries] == ["cancelled"]


async def test_an_answer_that_a_budget_has_cut_short_is_not_kept(replicas: ReplicasHere) -> None:
    """What is left of the budget shortens the answer; the next one may afford a whole one."""
    key = await replicas.create_key("acme", budget_total=0.01)
    reply = await replicas.ask(says("poor [[sim: output_tokens=3000]]", max_tokens=4000), key, max_age(60))
    await replicas.at_rest()
    assert json.loads(reply.body)["choices"][0]["finish_reason"] == "length"
    assert replicas.keys("answer") == []


async def test_a_session_goes_on_and_repeats_nothing(replicas: ReplicasHere, key: Key) -> None:
    headers = {**max_age(60), "x-session-id": "talk"}
    assert await ways(replicas, key, says("in a session"), headers) == NEVER
    assert replicas.keys("answer") == []


# What a hit costs


async def test_a_hit_costs_nothing_and_is_counted(replicas: ReplicasHere) -> None:
    """50 hits: spend, tokens and slots stay as the miss left them; the usage shows them as cached."""
    limits = {"requests_per_minute": 1000, "output_tokens_per_minute": 100_000, "budget_total": 100, "concurrency": 60}
    key = await replicas.create_key("acme", **limits)
    body = says("free")
    assert await came(replicas, key, body, max_age(60)) == "MISS"
    spent = replicas.books.spend(key.tag, key.id)
    miss = (await replicas.get("/v1/usage", key))["days"][0]
    hits = await asyncio.gather(*(replicas.ask(body, key, max_age(60)) for _ in range(50)))
    await replicas.at_rest()
    assert {hit.headers["x-claude-wrapper-cache"] for hit in hits} == {"HIT"}
    assert replicas.books.spend(key.tag, key.id) == spent
    assert spent.total > 0
    assert replicas.books.live(key.tag, key.id) == replicas.books.live(key.tag) == 0
    told = (await replicas.get("/v1/usage", key))["days"][0]
    assert (told["requests"], told["cached_requests"]) == (1, 50)
    assert (told["cost"], told["output_tokens"]) == (miss["cost"], miss["output_tokens"])


async def test_hits_use_up_no_rate(replicas: ReplicasHere) -> None:
    """With 3 requests a minute, one of them used by the miss, 20 hits one after the other."""
    key = await replicas.create_key("acme", requests_per_minute=3)
    body = says("nearly out of rate")
    assert await came(replicas, key, body, max_age(60)) == "MISS"
    assert [await came(replicas, key, body, max_age(60)) for _ in range(20)] == ["HIT"] * 20


async def test_hits_are_given_when_the_budget_is_nearly_spent(replicas: ReplicasHere) -> None:
    """What is left covers one more answer: 10 hits one after the other leave it untouched, and it is still made."""
    key = await replicas.create_key("acme", budget_total=0.0125)
    body = says("nearly out of money [[sim: output_tokens=990]]", max_tokens=1000)
    assert await came(replicas, key, body, max_age(60)) == "MISS"
    spent = replicas.books.spend(key.tag, key.id)
    assert [await came(replicas, key, body, max_age(60)) for _ in range(10)] == ["HIT"] * 10
    assert replicas.books.spend(key.tag, key.id) == spent
    assert await came(replicas, key, says("another [[sim: output_tokens=990]]", max_tokens=1000)) == "BYPASS"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_hit_waits_for_one_round_trip(server: RedisServer, simulator: Simulator, stream: bool) -> None:
    """Every reply of Redis is 0.4 s late, there and back; a hit takes one such time, a miss likewise."""
    async with fault_proxy(server.socket_file) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with replicas_here(server, simulator, count=1, redis_url=url) as replicas:
            key = await replicas.create_key("acme")
            body = says(f"one trip {stream}", stream=stream)
            assert await came(replicas, key, body, max_age(60)) == "MISS"
            proxy.delay_s = 0.2
            took_s = []
            for _ in range(3):
                began = time.monotonic()
                reply = await replicas.ask(body, key, max_age(60))
                took_s.append(time.monotonic() - began)
                assert reply.headers["x-claude-wrapper-cache"] == "HIT"
            proxy.delay_s = 0.0
            await replicas.at_rest()
    assert 0.4 <= min(took_s) < 0.75


# Size and memory


def incompressible(characters: int) -> str:
    """The same each time, and a different one for each length."""
    return "".join(random.Random(characters).choices(string.ascii_letters + string.digits + "äöüß東京", k=characters))


async def answered_with(replicas: ReplicasHere, text: str, topic: str) -> None:
    """The simulator answers a request about a topic with a text, from now on."""
    await replicas.script(match=topic, text=text, delta_tokens=200)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_large_answer_is_cached_whole(replicas: ReplicasHere, key: Key, stream: bool) -> None:
    """More than 64 KB as it is kept: read by itself, over the connection for large values."""
    topic, text = f"large-{stream}", incompressible(130_000)
    await answered_with(replicas, text, topic)
    body = says(topic, stream=stream, max_tokens=60_000)
    assert await came(replicas, key, body, max_age(60)) == "MISS"
    (name,) = replicas.keys("answer")
    assert cast("int", replicas.server.ask("STRLEN", name)) > LARGE_BYTES
    assert said(await replicas.ask(body, key, max_age(60))) == ("HIT", text)
    other = says(topic, stream=not stream, max_tokens=60_000)
    assert said(await replicas.ask(other, key, max_age(60))) == ("HIT", text)
    assert len(await replicas.upstream(topic)) == 1


def said(reply: Reply) -> tuple[str, str]:
    """How an answer came, and its text."""
    way = reply.headers["x-claude-wrapper-cache"]
    if reply.headers["content-type"] == "application/json":
        return way, json.loads(reply.body)["choices"][0]["message"]["content"]
    chosen = [frame["choices"][0] for frame in frames(reply.body) if isinstance(frame, dict) and frame["choices"]]
    return way, "".join(choice["delta"].get("content") or "" for choice in chosen)


async def test_what_is_larger_than_an_entry_may_be_is_given_and_not_kept(replicas: ReplicasHere, key: Key) -> None:
    """200,000 bytes as received; compressed it would be small."""
    for topic, characters, expected in (("just-fits", 150_000, ONCE), ("too-large", 220_000, ALWAYS_NEW)):
        await answered_with(replicas, "a" * characters, topic)
        assert await ways(replicas, key, says(topic, max_tokens=60_000, stream=False), max_age(60)) == expected


async def test_a_store_that_is_nearly_full_keeps_nothing_more_and_loses_nothing(
    redis_servers: RedisServers, simulator: Simulator
) -> None:
    """Above 80 % of its memory; what was cached before is still given."""
    full = redis_servers("--maxmemory", "24mb", "--maxmemory-policy", "volatile-ttl")
    async with replicas_here(full, simulator, count=2) as replicas:
        key = await replicas.create_key("acme", budget_total=100, requests_per_minute=10_000)
        assert await came(replicas, key, says("before"), max_age(600)) == "MISS"
        fill(full, share=0.82)
        await asyncio.sleep(1.1)  # a reading of the memory counts for a second
        names = replicas.keys("*")
        for number in range(3):
            assert await ways(replicas, key, says(f"full {number}"), max_age(600)) == ALWAYS_NEW
        assert await came(replicas, key, says("before"), max_age(600)) == "HIT"
        assert len(replicas.keys("answer")) == 1
        assert set(names) <= set(replicas.keys("*"))
        assert replicas.books.spend(key.tag, key.id).total > 0
        full.ask("DEL", *(f"filler:{n}" for n in range(200)))
        await asyncio.sleep(1.1)
        assert await ways(replicas, key, says("room again"), max_age(600)) == ONCE


def fill(full: RedisServer, *, share: float) -> None:
    """Puts values there that live long, up to a share of its memory."""
    for number in range(200):
        info = cast("bytes", full.ask("INFO", "memory")).decode()
        figures = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        if int(figures["used_memory"]) > share * int(figures["maxmemory"]):
            return
        full.ask("SET", f"filler:{number}", b"x" * 200_000, "EX", "100000")
    raise AssertionError("the store does not fill up")
