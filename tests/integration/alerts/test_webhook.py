"""A webhook over the network: what it gets, and what becomes of answers that are none."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator

import pytest

from app.domain.alert_notices import signature, signing_key
from app.gateway import alert_delivery
from app.gateway.alert_delivery import Courier, NotTold, Webhook, post_over_http
from app.gateway.alert_settings import WebhookSettings
from tests.support.alerts import event
from tests.support.webhook_receiver import SECRET, WebhookReceiver, webhook_receiver


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as running:
        yield running


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def webhook(url: str) -> Webhook:
    settings = WebhookSettings(url=url, format="json", key=signing_key(SECRET))
    return Webhook(settings, version="1.2.3", host="pod-1", post=post_over_http)


async def test_what_is_received_can_be_checked(receiver: WebhookReceiver) -> None:
    await webhook(receiver.url)(event(id="alert_7"))
    [sent] = receiver.sent
    headers = {name.lower(): value for name, value in sent.headers.items()}
    assert sent.path == "/hook/the-secret-part"
    assert (headers["content-type"], headers["webhook-id"]) == ("application/json", "alert_7")
    expected = signature(
        signing_key(SECRET), event_id="alert_7", timestamp=int(headers["webhook-timestamp"]), body=sent.body
    )
    assert headers["webhook-signature"] == expected
    assert sent.notice["alert"] == "error_rate"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(receiver: WebhookReceiver, status: int) -> None:
    receiver.answers = [status]
    with pytest.raises(NotTold, match=f"status {status}"):
        await webhook(receiver.url)(event())
    assert len(receiver.sent) == 1


async def test_after_a_failure_it_is_tried_again_with_the_same_id(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(alert_delivery, "WAITS_S", (0.01,))
    receiver.answers = [503, 429]
    told = asyncio.Event()
    courier = Courier(webhook(receiver.url), on_done=lambda _: told.set(), now=lambda: 0.0)
    running = asyncio.create_task(courier.run())
    courier.take([event(id="alert_7")])
    await asyncio.wait_for(told.wait(), 30)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [sent.notice["id"] for sent in receiver.sent] == ["alert_7"] * 3
    assert "the-secret-part" not in caplog.text


async def test_a_port_that_nobody_listens_on_may_be_tried_again() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/the-secret-part"
        with pytest.raises(NotTold) as failed:
            await post_over_http(url, {}, b"{}")
    assert failed.value.may_pass
    assert "the-secret-part" not in failed.value.why
    assert failed.value.__suppress_context__


async def test_an_answer_that_does_not_come_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_delivery, "ATTEMPT_S", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(NotTold, match="did not answer within") as failed,
    ):
        await post_over_http(f"http://127.0.0.1:{mute.getsockname()[1]}/", {}, b"{}")
    assert failed.value.may_pass


async def test_a_proxy_of_the_environment_is_used(receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", receiver.url)
    assert await post_over_http("http://hooks.example.com/secret", {}, b'{"alert": "memory"}') == 200
    assert receiver.sent[0].path == "http://hooks.example.com/secret"
