"""1,000 requests with mixed outcomes over three replicas: the books are the upstream's invoice.

Exactly, for calls that were answered; within 10 % and marked as estimated, for calls that their client left or that
broke. Each kind of outcome has an API key of its own, all keys are one tenant's.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Struct

from tests.support.bills import Bill, bill_of, cost_of
from tests.support.books import Spend, Use
from tests.support.redis import RedisServer, shared_server
from tests.support.replicas import Client, Key, Replicas, running_replicas

__all__ = ["shared_server"]

#: One pace for everything, as a plain answer that was left is estimated by the pace of those that were not.
TTFT_MS = 60
TOKENS_PER_SECOND = 300
#: Of answers; two seconds for the longest.
LENGTHS = range(40, 600)
THINKING_LENGTHS = range(20, 200)
#: An answer of the kind that is given up for its silence takes longer than this.
FIRST_BYTE_TIMEOUT_S = 4.0
IDLE_TIMEOUT_S = 1.5

#: Without thinking, and with thinking that is hidden unless it is asked for.
PLAIN_MODEL, THINKING_MODEL = MODELS = "claude-haiku-4-5", "claude-sonnet-5-5"

#: Answered whole, or refused; left by the client; broken by the upstream. The words of the prompts and of the keys.
WHOLE, LEFT_PLAIN, LEFT_STREAM, BROKEN = KINDS = "kept whole", "left plain", "left streaming", "broken off"

COUNTS = {WHOLE: 450, LEFT_PLAIN: 200, LEFT_STREAM: 200, BROKEN: 150}
#: A load balancer's worth of them at the same time.
AT_ONCE = 60

#: Of what was used, where the upstream did not tell it.
TOLERANCE = 0.10
PROMPT = ("input", "cache_write", "cache_read")
CLASSES = (*PROMPT, "output", "cost")

#: So that every part of the books has something to do.
HIGH_LIMITS = {
    "requests_per_minute": 1_000_000,
    "input_tokens_per_minute": 10_000_000,
    "output_tokens_per_minute": 100_000_000,
    "concurrency": 1000,
    "budget_total": 1000,
}

#: Of prompts.
WORDS = ("the", "one", "of", "is", "what", "why", "how", "long", "good", "little", "answer", "book", "river", "morning")

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string"},
                "details": {"type": "array", "items": {"type": "string"}, "minItems": 5, "maxItems": 20},
            },
            "required": ["place", "details"],
        },
    },
}


class Case(Struct, frozen=True, kw_only=True):
    """One request: of what kind it is, what it asks, and when its client leaves."""

    kind: str
    prompt: str
    fields: dict[str, Any]
    leaves_after_s: float | None = None


@pytest.fixture(scope="module")
def replicas(shared_server: RedisServer) -> Iterator[Replicas]:
    env = {
        "CLAUDE_WRAPPER_UPSTREAM_FIRST_BYTE_TIMEOUT_S": str(FIRST_BYTE_TIMEOUT_S),
        "CLAUDE_WRAPPER_UPSTREAM_IDLE_TIMEOUT_S": str(IDLE_TIMEOUT_S),
    }
    with running_replicas(shared_server, env=env, ttft_ms=TTFT_MS, tokens_per_second=TOKENS_PER_SECOND) as running:
        yield running


class Cases:
    """Makes requests by chance.

    Args:
        chance: where it comes from.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._number = 0

    def make(self) -> list[Case]:
        """All of them, mixed."""
        makers = {
            WHOLE: self._whole,
            LEFT_PLAIN: lambda: self._left(LEFT_PLAIN, stream=False),
            LEFT_STREAM: lambda: self._left(LEFT_STREAM, stream=True),
            BROKEN: self._broken,
        }
        cases = [makers[kind]() for kind, count in COUNTS.items() for _ in range(count)]
        self._chance.shuffle(cases)
        return cases

    def warming_up(self) -> Case:
        """A plain answer, from which a worker learns the pace of a model."""
        return self._case(WHOLE, {"model": self._chance.choice(MODELS)})

    def _whole(self) -> Case:
        chance = self._chance
        fields: dict[str, Any] = {"model": chance.choice(MODELS), "stream": chance.random() < 0.5}
        script = ""
        match chance.randrange(10):
            case 0 | 1:
                fields |= self._tools()
            case 2:
                fields |= {"model": THINKING_MODEL, "include_reasoning": True}
            case 3:
                fields |= {"n": 2}
            case 4:
                fields |= {"stream": False, "max_tokens": 30_000}  # a stream upstream
            case 5:
                fields |= {"model": THINKING_MODEL, "messages": self._conversation()}
            case 6:
                script = chance.choice(("status=529", "status=529 times=1", "status=400", "drop times=1"))
        return self._case(WHOLE, fields, script)

    def _left(self, kind: str, *, stream: bool) -> Case:
        chance = self._chance
        tokens = chance.choice(LENGTHS)
        fields: dict[str, Any] = {"model": chance.choice(MODELS), "stream": stream}
        match chance.randrange(6):
            case 0:
                fields |= self._tools()
            case 1:
                fields |= {"model": THINKING_MODEL, "include_reasoning": True}
            case 2:
                fields |= {"n": 2}
            case 3:
                fields |= {"model": THINKING_MODEL, "messages": self._conversation()}
            case 4 if not stream:
                fields |= {"max_tokens": 30_000}
        leaves_after_s = chance.uniform(0.05, TTFT_MS / 1000 + tokens / TOKENS_PER_SECOND)
        return self._case(kind, fields, tokens=tokens, leaves_after_s=leaves_after_s)

    def _broken(self) -> Case:
        chance = self._chance
        tokens = chance.choice(LENGTHS)
        fields: dict[str, Any] = {"model": chance.choice(MODELS), "stream": True}
        match chance.randrange(5):
            case 0:
                script = f"error_after_events={chance.randrange(3, 80)}"
            case 1:
                script = f"cut_at_byte={chance.randrange(600, 9000)} reset={chance.choice(('true', 'false'))}"
            case 2:
                script = f"silent_after_events={chance.randrange(3, 80)}"
            case 3:
                fields["stream"] = False
                script = f"cut_at_byte={chance.randrange(100, 500)}"
            case _:
                fields["stream"] = False
                script, tokens = "", round(FIRST_BYTE_TIMEOUT_S * 1.3 * TOKENS_PER_SECOND)
        return self._case(BROKEN, fields, script, tokens=tokens)

    def _case(
        self,
        kind: str,
        fields: dict[str, Any],
        script: str = "",
        *,
        tokens: int = 0,
        leaves_after_s: float | None = None,
    ) -> Case:
        self._number += 1
        tokens = tokens or self._chance.choice(LENGTHS)
        thinking = f"thinking_tokens={self._chance.choice(THINKING_LENGTHS)}"
        question = " ".join(self._chance.choices(WORDS, k=self._chance.randrange(20, 400)))
        prompt = f"{kind}, number {self._number} [[sim: output_tokens={tokens} {thinking} {script}]] {question}?"
        return Case(kind=kind, prompt=prompt, fields=fields, leaves_after_s=leaves_after_s)

    @staticmethod
    def _tools() -> dict[str, Any]:
        return {"tools": [WEATHER], "tool_choice": "auto", "model": PLAIN_MODEL}

    @staticmethod
    def _conversation() -> list[dict[str, Any]]:
        """Its beginning goes into the prompt cache."""
        system = {"type": "text", "text": "Answer as a librarian would. " * 100, "cache_control": {"type": "ephemeral"}}
        return [
            {"role": "system", "content": [system]},
            {"role": "user", "content": "Good morning."},
            {"role": "assistant", "content": "Good morning, what are you looking for?"},
        ]


async def ask(replicas: Replicas, client: Client, key: Key, case: Case) -> int | None:
    """Sends a request; its status, or ``None`` where its client left or the answer broke."""
    fields = dict(case.fields)
    if "messages" in fields:
        fields["messages"] = [*fields["messages"], {"role": "user", "content": case.prompt}]
    try:
        async with asyncio.timeout(case.leaves_after_s):
            return (await client.chat(replicas.port(), key, case.prompt, **fields)).status
    except (TimeoutError, OSError):
        return None


async def ask_all(replicas: Replicas, keys: dict[str, Key], cases: list[Case]) -> dict[str, Counter[int | None]]:
    """Sends all requests, ``AT_ONCE`` at a time; the statuses by kind."""
    waiting = iter(cases)
    statuses: dict[str, Counter[int | None]] = {kind: Counter() for kind in KINDS}

    async def one_after_the_other(client: Client) -> None:
        for case in waiting:
            statuses[case.kind][await ask(replicas, client, keys[case.kind], case)] += 1

    async with replicas.client() as client:
        await asyncio.gather(*(one_after_the_other(client) for _ in range(AT_ONCE)))
    return statuses


def check_within_tolerance(used: Use, bill: Bill) -> None:
    """Prompts, answers and money are within a tenth, for each model."""
    assert set(used) == set(bill)
    for model, counts in bill.items():
        for classes in (PROMPT, ("output",), ("cost",)):
            on_the_books, billed = (sum(of[class_] for class_ in classes) for of in (used[model], counts))
            assert on_the_books == pytest.approx(billed, rel=TOLERANCE), (model, classes)


async def test_the_books_of_1000_mixed_outcomes_are_the_invoice(replicas: Replicas) -> None:
    cases = Cases(random.Random(3))
    warming_up, mixed = [cases.warming_up() for _ in range(60)], cases.make()
    keys = {kind: replicas.create_key("mixed", **HIGH_LIMITS) for kind in KINDS}
    await ask_all(replicas, keys, warming_up)
    statuses = await ask_all(replicas, keys, mixed)
    await replicas.settled(*keys.values(), within_s=15)
    replicas.simulator.settled_invoice()

    journal = replicas.simulator.journal()
    used = {kind: replicas.books.usage(key.tag, key.id) for kind, key in keys.items()}
    bills = {kind: bill_of(journal, kind) for kind in KINDS}
    # Every kind happened.
    assert set(statuses[WHOLE]) == {200, 400, 503}
    assert statuses[LEFT_PLAIN][None] > 150
    assert statuses[LEFT_STREAM][None] > 150
    assert {200, 502, 504} <= set(statuses[BROKEN])
    # What was answered is on the books exactly.
    asked = Counter(case.fields["model"] for case in (*warming_up, *mixed) if case.kind == WHOLE)
    for model, counts in bills[WHOLE].items():
        assert {name: used[WHOLE][model][name] for name in CLASSES} == {name: counts[name] for name in CLASSES}
        assert used[WHOLE][model]["requests"] == asked[model]
        assert used[WHOLE][model]["estimated"] == 0
        assert counts["cost"] > 0
    # What was not is there within a tenth, and marked.
    for kind in (LEFT_PLAIN, LEFT_STREAM, BROKEN):
        check_within_tolerance(used[kind], bills[kind])
        told = cost_of(used[kind]) - sum(counts["estimated"] for counts in used[kind].values())
        assert 0 <= told <= cost_of(bill_of(journal, kind, outcome="completed"))
    # Spend is the sum of it all.
    for kind, key in keys.items():
        assert replicas.books.spend(key.tag, key.id) == Spend(total=cost_of(used[kind]), reserved=0)
        assert replicas.books.live(key.tag, key.id) == 0
    tag = keys[WHOLE].tag
    assert replicas.books.spend(tag) == Spend(total=sum(map(cost_of, used.values())), reserved=0)
    assert set(replicas.books.leases(tag)) == {"S"}
