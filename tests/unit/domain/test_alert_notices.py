"""What the webhook is sent, and its signature."""

from __future__ import annotations

import base64
import json

import pytest

from app.domain.alert_notices import json_body, signature, signing_key, slack_body
from tests.support.alerts import NOON, event


def test_the_object_tells_everything_of_the_event() -> None:
    told = json.loads(json_body(event(id="alert_7", since=NOON - 30.5), version="1.2.3", host="pod-1"))
    assert told == {
        "id": "alert_7",
        "alert": "error_rate",
        "level": "critical",
        "previous": "ok",
        "value": 0.125,
        "threshold": 0.1,
        "unit": "share",
        "at": int(NOON),
        "since": int(NOON) - 31,
        "text": "Critical: share of failed requests: 12.5 % (threshold 10 %).",
        "version": "1.2.3",
        "host": "pod-1",
    }


def test_slack_gets_a_text_and_an_attachment() -> None:
    told = json.loads(slack_body(event(), version="1.2.3", host="pod-1"))
    assert told["text"] == "Critical: share of failed requests: 12.5 % (threshold 10 %)."
    [attachment] = told["attachments"]
    assert attachment["color"] == "#c62828"
    assert attachment["fields"][0] == {"title": "Alert", "value": "error_rate", "short": True}
    assert attachment["footer"] == "Claude Wrapper 1.2.3 on pod-1"


def test_what_means_something_to_slack_is_escaped() -> None:
    told = json.loads(slack_body(event(alert="memory", about="<!channel> & co"), version="1", host="<b>"))
    assert "&lt;!channel&gt; &amp; co" in told["text"]
    assert told["attachments"][0]["footer"] == "Claude Wrapper 1 on &lt;b&gt;"
    assert told["attachments"][0]["fields"][1]["value"] == "ok -&gt; critical"


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of the specification's own test suite (standard-webhooks/libraries, ``test_sign_function``)."""
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, event_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, body=b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_taken_as_it_is_or_as_base64() -> None:
    assert signing_key("correct horse") == b"correct horse"
    assert signing_key("whsec_" + base64.b64encode(b"staple").decode()) == b"staple"
    with pytest.raises(ValueError, match="base64 is expected"):
        signing_key("whsec_!")
