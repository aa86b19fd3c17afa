"""What a request asks of the limits, and what its calls have used: so far while it runs, and in the end.

Exact where Anthropic has told it, estimated and marked where it has not (the client left, the connection broke).
Prices and estimates themselves are in ``app/domain``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from app.domain.calls import MessagesCall, Report, Usage
from app.domain.learned_prompts import LearnedPrompts
from app.domain.limits import Demand, Use
from app.domain.output_meter import LearnedRatios, MessageUsage, OutputMeter
from app.domain.pace import LearnedPace
from app.domain.pricing import WorstCase, cost_of, worst_case
from app.translate.max_tokens import with_max_tokens

#: Stands for every model that the table does not know: clients make such names up, and each would be counted for days.
OTHER_MODELS = "other"

#: What a call costs that somebody else pays.
FREE = WorstCase(0, 0)


def demand_of(
    call: MessagesCall,
    model_names: tuple[str, ...],
    *,
    is_ours: bool = True,
    strict: bool = False,
    grows: bool = False,
) -> Demand:
    """What a call asks of the limits.

    Args:
        call: ready to be sent; all of its ``n`` answers count.
        model_names: everything its model is called here.
        is_ours: the gateway pays; a client that brings its own Anthropic key costs us nothing.
        strict: nothing of the request may be adjusted, so no budget may lower its bound of output tokens.
        grows: the history of a session is still to come before it; how long it is, the store knows.
    """
    worst = worst_case(call, grows=grows) if is_ours else FREE
    expected_input = call.size.expected_tokens * call.n
    bound, unbounded = (worst, "") if isinstance(worst, WorstCase) else (None, worst)
    return Demand(
        model=call.model if call.is_known else OTHER_MODELS,
        model_names=model_names,
        input_tokens=expected_input,
        input_nano=_expected_nano(call, call.size.expected_tokens) if is_ours else 0,
        output_tokens=call.max_tokens * call.n if call.max_tokens_given else None,
        worst_input_nano=bound.input_nano if bound is not None else None,
        unbounded=unbounded,
        output_nano_per_token=bound.output_nano_per_token if bound is not None else 0,
        answers=call.n,
        max_tokens=call.max_tokens,
        least_tokens=call.max_tokens if strict else call.least_tokens,
        history_nano_per_token=bound.input_nano_per_token if bound is not None and grows else 0,
        history_expected_nano=_expected_nano(call, 1) if is_ours and grows else 0,
    )


def _expected_nano(call: MessagesCall, input_tokens: int) -> int:
    return cost_of(call, [Usage(input_tokens=input_tokens)] * call.n) or 0


def granted(call: MessagesCall, max_tokens: int) -> MessagesCall:
    """The call with the bound of output tokens that a budget leaves, reported as adjusted; usually as it was."""
    if max_tokens >= call.max_tokens:
        return call
    adjusted = (*call.report.adjusted, ("max_tokens", str(max_tokens)))
    return replace(
        call,
        max_tokens=max_tokens,
        body=with_max_tokens(call.body, max_tokens),
        report=Report(call.report.ignored, adjusted),
    )


class Spending:
    """What the upstream calls of one request have used.

    Args:
        call: what is asked for; replaced when it turns out that another has to be made.
        ratios: how many tokens there are in what a stream shows.
        pace: how fast plain answers come.
        prompts: what prompts turned out to be.
        monotonic: seconds.
        is_ours: the gateway pays.
    """

    def __init__(
        self,
        call: MessagesCall,
        ratios: LearnedRatios,
        pace: LearnedPace,
        prompts: LearnedPrompts,
        *,
        monotonic: Callable[[], float],
        is_ours: bool = True,
    ) -> None:
        self.call = call
        self._is_ours = is_ours
        self._ratios = ratios
        self._pace = pace
        self._prompts = prompts
        self._monotonic = monotonic
        self._sent: list[SentCall] = []

    def sent(self) -> SentCall:
        """One more request is about to be sent."""
        sent = SentCall(self._monotonic)
        self._sent.append(sent)
        return sent

    def use(self, *, complete: bool = False) -> Use:
        """What was used so far, or with ``complete`` in the end."""
        messages = [usage for sent in self._sent if (usage := self._so_far(sent)) is not None]
        usages = [message.usage for message in messages]
        return Use(
            input_tokens=sum(usage.input_tokens for usage in usages),
            cache_write_tokens=sum(usage.cache_creation_input_tokens for usage in usages),
            cache_read_tokens=sum(usage.cache_read_input_tokens for usage in usages),
            output_tokens=sum(usage.output_tokens for usage in usages),
            nano=self._cost(usages),
            estimated=any(message.estimated for message in messages),
            complete=complete,
            requests=1 if any(sent.left for sent in self._sent) else 0,
        )

    def _cost(self, usages: Iterable[Usage]) -> int:
        if not self._is_ours:
            return 0
        return cost_of(self.call, usages) or 0  # of a model without a price nothing is known

    def _so_far(self, sent: SentCall) -> MessageUsage | None:
        call = self.call
        if sent.free:
            return None
        if sent.usage is not None:
            return MessageUsage(usage=sent.usage, estimated=False)
        if sent.stream is not None and (meter := sent.stream()) is not None:
            return meter.usage_so_far(self._ratios.of(call.model))
        output_tokens = 0
        if not call.upstream_stream:
            output_tokens = self._pace.tokens_after(call.model, self._monotonic() - sent.at, at_most=call.max_tokens)
        expected = self._prompts.expected(call.model, call.size)
        return MessageUsage(usage=replace(expected, output_tokens=output_tokens), estimated=True)

    def answered(self, sent: SentCall, usage: Usage) -> None:
        """A plain reply has come whole, and this is what it tells."""
        sent.usage = usage
        self._pace.learn(self.call.model, usage.output_tokens, self._monotonic() - sent.at)
        self._learn_prompt(usage)

    def streamed(self) -> None:
        """Every stream has come whole: what they showed tells about those that will not."""
        for sent in self._sent:
            if sent.stream is not None and (meter := sent.stream()) is not None:
                self._ratios.learn(self.call.model, meter)
                self._learn_prompt(meter.usage)

    def _learn_prompt(self, usage: Usage) -> None:
        """A prompt that Claude's searches have added to is not the one whose size is known."""
        if not self.call.plan.server_tools:
            self._prompts.learn(self.call.model, self.call.size, usage)


#: Measures the message of a stream; ``None`` while it has not begun.
MeterSource = Callable[[], OutputMeter | None]


class SentCall:
    """One upstream request, and what the lane tells of it (a ``CallWatch``).

    Args:
        monotonic: seconds.

    Attributes:
        at: when it was sent, the last attempt that was made.
        usage: as Anthropic has told it, for a whole plain reply.
        stream: measures a streamed reply.
        free: it costs nothing: it was not sent yet, or answered by an error, or did not reach Anthropic.
        left: it has left the gateway; ``False`` when there was no connection for it.
    """

    __slots__ = ("_monotonic", "at", "free", "left", "stream", "usage")

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.at = 0.0
        self.usage: Usage | None = None
        self.stream: MeterSource | None = None
        self.free = True
        self.left = False

    def sending(self) -> None:
        """It leaves now."""
        self.at = self._monotonic()
        self.free, self.left = False, True

    def refused(self) -> None:
        """The attempt costs nothing."""
        self.free = True
