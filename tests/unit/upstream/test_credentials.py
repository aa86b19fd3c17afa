"""What replies say about the gateway's own credentials, and about nobody else's."""

from __future__ import annotations

import pytest

from app.config import Config
from app.domain.credentials import CredentialFigures, RateLeft
from app.domain.upstream import UpstreamReply, UpstreamRequest
from app.upstream.credentials import RATES_EVERY_S, CredentialBook, WatchedLane, label_of, read_rates
from app.upstream.pool import CredentialPool, own_credentials
from tests.support.fake_upstream import FakeReply, FakeUpstream

KEY, OTHER = "sk-ant-canary-first-0123", "sk-ant-canary-second-4567"
CLIENTS = "sk-ant-canary-client-89ab"
STARTED_AT = 1_790_000_000.0


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.at = STARTED_AT

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(clock: Clock) -> CredentialBook:
    return CredentialBook([KEY, OTHER], now=clock)


def reply(status: int) -> FakeReply:
    made = FakeReply()
    made.status = status
    return made


def left(remaining: int, limit: int = 50) -> dict[str, str]:
    return {
        "anthropic-ratelimit-requests-limit": str(limit),
        "anthropic-ratelimit-requests-remaining": str(remaining),
    }


def of(book: CredentialBook, credential: str = KEY) -> CredentialFigures:
    return next(figures for figures in book.states() if figures.label == label_of(credential))


def test_a_credential_that_nobody_used_is_fine(book: CredentialBook) -> None:
    assert of(book) == CredentialFigures(label=label_of(KEY))


@pytest.mark.parametrize("status", [401, 403])
def test_a_credential_that_is_refused_fails_since_its_first_refusal(
    book: CredentialBook, clock: Clock, status: int
) -> None:
    book.heard(KEY, 200, {})
    for _ in range(3):
        clock.at += 10
        book.heard(KEY, status, {})
    figures = of(book)
    assert (figures.status, figures.since_at, figures.seen_at) == ("failing", STARTED_AT + 10, STARTED_AT + 30)
    assert (figures.calls, figures.refused, figures.limited) == (4, 3, 0)
    assert of(book, OTHER).status == "ok"


@pytest.mark.parametrize("status", [429, 529])
def test_a_credential_that_is_told_to_slow_down_is_limited_until_it_is_served(
    book: CredentialBook, clock: Clock, status: int
) -> None:
    book.heard(KEY, status, {})
    assert (of(book).status, of(book).limited) == ("limited", 1)
    clock.at += 5
    book.heard(KEY, 200, {})
    assert (of(book).status, of(book).since_at) == ("ok", STARTED_AT + 5)


@pytest.mark.parametrize("status", [400, 404, 413])
def test_a_request_that_is_wrong_was_let_in(book: CredentialBook, status: int) -> None:
    book.heard(KEY, 401, {})
    book.heard(KEY, status, {})
    assert of(book).status == "ok"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_fault_of_anthropic_says_nothing_about_a_credential(book: CredentialBook, status: int) -> None:
    book.heard(KEY, 401, {})
    before = of(book)
    book.heard(KEY, status, {})
    assert of(book) == before


def test_what_is_left_is_read_once_a_second(book: CredentialBook, clock: Clock) -> None:
    book.heard(KEY, 200, left(50))
    clock.at += RATES_EVERY_S / 2
    book.heard(KEY, 200, left(40))
    assert [rate.remaining for rate in of(book).rates] == [50]
    clock.at += RATES_EVERY_S
    book.heard(KEY, 200, left(30))
    assert [rate.remaining for rate in of(book).rates] == [30]
    assert of(book).rates_at == clock.at


def test_a_clock_that_is_set_back_does_not_end_the_reading(book: CredentialBook, clock: Clock) -> None:
    book.heard(KEY, 200, left(50))
    clock.at -= 3600
    book.heard(KEY, 200, left(40))
    assert [rate.remaining for rate in of(book).rates] == [40]


def test_replies_without_limits_leave_what_was_known(book: CredentialBook, clock: Clock) -> None:
    book.heard(KEY, 200, left(50))
    clock.at += 2 * RATES_EVERY_S
    book.heard(KEY, 200, {})
    assert [rate.remaining for rate in of(book).rates] == [50]


def test_every_kind_of_limit_is_read_and_nonsense_is_not() -> None:
    headers = {
        **left(7, 10),
        "anthropic-ratelimit-input-tokens-limit": "1000",
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-limit": "-1",
        "anthropic-ratelimit-tokens-remaining": "5",
        "anthropic-ratelimit-output-tokens-limit": "9" * 30,
        "anthropic-ratelimit-output-tokens-remaining": "²",
        "anthropic-ratelimit-unheard-of-limit": "1",
    }
    assert read_rates(headers) == (
        RateLeft(name="requests", limit=10, remaining=7),
        RateLeft(name="input-tokens", limit=1000, remaining=0),
    )


async def test_a_lane_tells_of_the_gateway_s_own_calls_alone(book: CredentialBook) -> None:
    lane = WatchedLane(FakeUpstream(reply(401), reply(401), reply(200)), book, KEY)
    for credential in (CLIENTS, "", OTHER):
        await lane.send(UpstreamRequest(path="/v1/messages", body=b"{}", credential=credential))
    assert {figures.label: figures.calls for figures in book.states()} == {label_of(KEY): 1, label_of(OTHER): 1}
    assert of(book).status == "failing"
    assert of(book, OTHER).status == "ok"


async def test_of_several_keys_the_one_that_was_chosen_is_told(book: CredentialBook) -> None:
    lane = CredentialPool(WatchedLane(FakeUpstream(*[reply(200)] * 4), book, KEY), [KEY, OTHER])
    for _ in range(4):
        await lane.send(UpstreamRequest(path="/v1/messages", body=b"{}"))
    assert [figures.calls for figures in book.states()] == [2, 2]


async def test_a_gateway_without_a_credential_tells_of_nobody() -> None:
    book = CredentialBook([], now=Clock())
    lane = WatchedLane(FakeUpstream(reply(200)), book, "")
    await lane.send(UpstreamRequest(path="/v1/messages", body=b"{}"))
    assert book.states() == ()


async def test_closing_closes_the_lane(book: CredentialBook) -> None:
    closed: list[bool] = []

    class Lane:
        async def send(self, request: UpstreamRequest) -> UpstreamReply:
            raise AssertionError

        async def close(self) -> None:
            closed.append(True)

    await WatchedLane(Lane(), book, KEY).close()
    assert closed == [True]


def test_no_figure_shows_a_credential(book: CredentialBook) -> None:
    book.heard(KEY, 401, left(1))
    assert "canary" not in repr(book.states())
    assert len(label_of(KEY)) == 8


def test_without_a_key_the_token_is_the_gateway_s_credential() -> None:
    assert own_credentials(Config(anthropic_auth_token=" token ")) == ("token",)
    assert own_credentials(Config(anthropic_auth_token="token", anthropic_api_key=KEY)) == (KEY,)
    assert own_credentials(Config(anthropic_api_keys=(KEY, OTHER))) == (KEY, OTHER)
    assert own_credentials(Config()) == ()
