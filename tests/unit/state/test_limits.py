"""What the limiter asks of its scripts, and what it makes of their answers; the store is a list of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.auth import ApiKey, Caller
from app.domain.limits import LIMIT_FIELDS, Demand, Gauge, Hold, Refusal, Use
from app.errors import StateError
from app.state import keys, limits
from app.state.limits import ADMIT, RENEW, SETTLE, Account, Verdict
from app.state.scripts import Script

CALLER = Caller(tag="tag", key_id="key1", secret_hash=b"h" * 32, verified=False)
KEY = ApiKey(id="key1", tenant="acme", name="", secret_hash="00" * 32)
#: What admit.lua says of an admitted request without limits, from the fifth word on.
FREE = (0, b"", -1, -1, -1, -1, -1, -1, 100, -1, -1, 10, 50, 0)


class ScriptedState:
    """Answers every script with the same words, and remembers what it was asked."""

    def __init__(self, *reply: Any) -> None:
        self.reply = list(reply)
        self.script: Script | None = None
        self.keys: tuple[str, ...] = ()
        self.args: tuple[Any, ...] = ()

    async def run_script(
        self, script: Script, names: Sequence[str], args: Sequence[Any], *, large: bool = False
    ) -> Any:
        self.script, self.keys, self.args = script, tuple(names), tuple(args)
        return self.reply


async def admitted_by(state: ScriptedState, **fields: Any) -> Verdict:
    asked: dict[str, Any] = {
        "scope": "inference",
        "known_version": 0,
        "defaults": "1 - - - - - -",
        "tenant": "- 2 - - - - -",
        "usual_output": 1000,
        **fields,
    }
    demand = asked.pop("demand", Demand(model="opus"))
    return await limits.admit(state, "r1", CALLER, demand, **asked)  # type: ignore[arg-type]


async def verdict(what: bytes, *words: Any) -> Verdict:
    return await admitted_by(ScriptedState(b"r1", what, *words))


# Answers


async def test_a_request_without_limits_is_admitted() -> None:
    assert await verdict(b"admitted", b"", -1, *FREE) == Verdict(
        admitted=True, max_tokens=100, hold=Hold(input_tokens=10, output_tokens=50)
    )


async def test_every_number_has_its_place() -> None:
    numbers = (7, msgspec.json.encode(KEY), 60, 59, 1_000_000, 900, 850, 2_500_001, 77, 10**15, 0, 1, 2, 3)
    assert await verdict(b"admitted", b"", -1, *numbers) == Verdict(
        admitted=True,
        key=KEY,
        requests=Gauge(limit=60, left=59, full_in_s=1.0),
        tokens=Gauge(limit=900, left=850, full_in_s=2.500001),
        max_tokens=77,
        budget_left=(10**15, 0),
        hold=Hold(input_tokens=1, output_tokens=2, nano=3),
    )


@pytest.mark.parametrize("fault", ["unknown_key", "revoked", "expired", "scope", "model"])
async def test_a_fault_of_the_key_is_all_that_is_told(fault: str) -> None:
    assert await verdict(fault.encode()) == Verdict(key_fault=fault)  # type: ignore[arg-type]


@pytest.mark.parametrize("whose", ["key", "tenant"])
@pytest.mark.parametrize(
    ("word", "limit", "spent"),
    [
        ("requests", "requests_per_minute", False),
        ("input", "input_tokens_per_minute", False),
        ("output", "output_tokens_per_minute", False),
        ("concurrency", "concurrency", False),
        ("budget_day", "budget_day_nano", True),
        ("budget_month", "budget_month_nano", True),
        ("budget_total", "budget_total_nano", True),
        ("budget_reserved", "budget_reserved", False),
    ],
)
async def test_a_refusal_says_whose_limit_it_is_and_when_it_frees_up(
    whose: str, word: str, limit: str, spent: bool
) -> None:
    told = await verdict(b"limited", f"{whose}.{word}".encode(), 1_500_000, *FREE)
    assert not told.admitted
    assert told.refusal == Refusal(whose=whose, limit=limit, retry_after_s=1.5, spent=spent)  # type: ignore[arg-type]
    assert limit in (*LIMIT_FIELDS, "budget_reserved")


async def test_a_limit_that_never_frees_up_has_no_time() -> None:
    told = await verdict(b"limited", b"key.budget_total", -1, *FREE)
    assert told.refusal is not None
    assert told.refusal.retry_after_s is None


async def test_a_cost_that_cannot_be_bounded_is_no_refusal_of_a_limit() -> None:
    told = await verdict(b"unbounded", b"key.requests", 5, *FREE)
    assert (told.admitted, told.unbounded, told.refusal) == (False, True, None)


async def test_a_request_that_was_settled_before_is_an_error() -> None:
    with pytest.raises(StateError, match="settled before it was admitted"):
        await verdict(b"settled")


@pytest.mark.parametrize(
    "words",
    [
        (),
        (b"perhaps",),
        (None,),
        (b"admitted",),
        (b"admitted", b"", -1, *FREE[:-1]),
        (b"admitted", b"", -1, *FREE[:2], b"many", *FREE[3:]),
        (b"limited", b"key.sleep", 5, *FREE),
        (b"limited", None, 5, *FREE),
        (b"limited", b"\xff.requests", 5, *FREE),
        (b"settled", b"more"),
    ],
)
async def test_an_answer_that_cannot_be_read_is_an_error_of_the_store(words: tuple[Any, ...]) -> None:
    with pytest.raises(StateError, match="cannot be read"):
        await admitted_by(ScriptedState(b"r1", *words))


async def test_a_record_that_cannot_be_read_is_an_error_of_the_store() -> None:
    with pytest.raises(StateError, match="cannot be read"):
        await verdict(b"admitted", b"", -1, 7, b"{}", *FREE[2:])


_words = st.none() | st.integers() | st.binary(max_size=12) | st.lists(st.integers(), max_size=2)
_verdicts = st.sampled_from([b"admitted", b"limited", b"unbounded", b"revoked", b"settled"])


@given(st.lists(_words, max_size=18), st.none() | _verdicts)
def test_no_answer_breaks_the_caller(words: list[Any], what: bytes | None) -> None:
    reply = [b"r1", *words] if what is None else [b"r1", what, *words]
    admission = admitted_by(ScriptedState(*reply))
    try:
        admission.send(None)
    except StopIteration as end:
        told = end.value
    except StateError:
        return
    assert isinstance(told, Verdict)


@pytest.mark.parametrize(
    ("words", "goes_on"), [((b"renewed",), True), ((b"restored",), True), ((b"settled",), False), ((), True)]
)
async def test_a_renewal_goes_on_until_the_request_is_settled(words: tuple[bytes, ...], goes_on: bool) -> None:
    state: Any = ScriptedState(b"r1", *words)
    renewing = limits.renew(state, "r1", Account("tag", "key1"), "opus", hold=Hold(nano=9), use=Use(), max_tokens=5)
    assert await renewing is goes_on


# Questions


async def test_an_admission_asks_in_the_order_of_its_script() -> None:
    state = ScriptedState(b"r1", b"revoked")
    demand = Demand(
        model="claude opus",
        model_names=("claude-opus-5", "opus"),
        input_tokens=10,
        input_nano=11,
        output_tokens=12,
        worst_input_nano=13,
        output_nano_per_token=14,
        answers=2,
        max_tokens=15,
        least_tokens=16,
        history_nano_per_token=17,
        history_expected_nano=18,
    )
    await admitted_by(state, demand=demand, known_version=7)
    assert state.script is ADMIT
    assert state.keys == (
        "cw:{tag}:lease:v1:r1",
        "cw:{tag}:rates:v1:key1",
        "cw:{tag}:rates:v1:*",
        "cw:{tag}:spend:v1:key1",
        "cw:{tag}:spend:v1:*",
        "cw:{tag}:live:v1:key1",
        "cw:{tag}:live:v1:*",
        "cw:{tag}:usage:v1:key1:",
        "cw:{tag}:mean:v1:claude_opus",
        "cw:{tag}:key:v1:key1",
    )
    ttls = (keys.STATE_TTL_S, keys.SPEND_TTL_S, keys.USAGE_TTL_S)
    named = (b"r1", "key1", b"h" * 32, 7, "inference", "claude-opus-5\nopus", "1 - - - - - -", "- 2 - - - - -")
    assert state.args == (*named, 10, 12, 1000, "claude_opus", 13, 14, 15, 16, *ttls, 12_000_000, 11, 2, 17, 18)


async def test_what_is_open_or_unbounded_is_a_dash() -> None:
    state = ScriptedState(b"r1", b"revoked")
    await admitted_by(state, demand=Demand(model="opus", output_tokens=None, worst_input_nano=None))
    assert (state.args[9], state.args[12]) == ("-", "-")


async def test_a_settlement_asks_in_the_order_of_its_script() -> None:
    state: Any = ScriptedState(b"r1", b"settled")
    use = Use(
        input_tokens=1,
        cache_write_tokens=2,
        cache_read_tokens=3,
        output_tokens=4,
        nano=5,
        estimated=True,
        complete=False,
        requests=6,
        cache_hits=7,
    )
    await limits.settle(state, "r1", Account("tag", "key1"), "opus", use, admitted=True, again=False)
    assert state.script is SETTLE
    assert len(state.keys) == 9
    ttls = (keys.SETTLED_TTL_S, keys.STATE_TTL_S, keys.SPEND_TTL_S, keys.USAGE_TTL_S)
    assert state.args == (b"r1", "key1", "opus", 1, 0, 1, 2, 3, 4, 5, 1, 0, 6, 7, *ttls)


async def test_a_renewal_asks_in_the_order_of_its_script() -> None:
    state: Any = ScriptedState(b"r1", b"renewed")
    use = Use(input_tokens=1, cache_write_tokens=2, cache_read_tokens=3, output_tokens=4, nano=5)
    hold = Hold(input_tokens=7, output_tokens=8, nano=9)
    await limits.renew(state, "r1", Account("tag", "key1"), "opus", hold=hold, use=use, max_tokens=10)
    assert state.script is RENEW
    ttls = (keys.STATE_TTL_S, keys.SPEND_TTL_S, keys.USAGE_TTL_S)
    assert state.args == (b"r1", "key1", "opus", 7, 8, 9, 3, 4, 5, 10, *ttls, 12_000_000)


@pytest.mark.parametrize(("model", "word"), [("opus", "opus"), ("my  opus\n5", "my_opus_5"), ("", "_"), (" \t", "_")])
async def test_a_model_is_one_word_whatever_an_operator_calls_it(model: str, word: str) -> None:
    state = ScriptedState(b"r1", b"revoked")
    await admitted_by(state, demand=Demand(model=model))
    assert state.args[11] == word


@pytest.mark.parametrize("script", [ADMIT, RENEW, SETTLE], ids=lambda script: script.name)
def test_every_script_echoes_the_id_of_its_call(script: Script) -> None:
    assert script.echoes
