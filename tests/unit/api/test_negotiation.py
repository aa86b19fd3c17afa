"""Which media type a client would rather have."""

from __future__ import annotations

import pytest

from app.api.negotiation import accepted, preferred
from tests.support.asgi import http_scope

OFFERED = ("text/html", "application/json")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "text/html"),
        ("*/*", "text/html"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("application/json", "application/json"),
        ("Application/JSON", "application/json"),
        ("application/*", "application/json"),
        ("application/json;q=0.5, text/html;q=0.1", "application/json"),
        ("application/json ; q=0.5, text/html; q=0.9", "text/html"),
        ("text/html;q=0, */*", "application/json"),
        ("application/json;q=0, */*;q=0.1", "text/html"),
        ("text/*;q=0.3, application/json;charset=utf-8;q=0.4", "application/json"),
        ("image/png", "text/html"),
        ("application/json;q=high", "text/html"),
        ("application/json;q=1.001", "text/html"),
        (",;,", "text/html"),
    ],
)
def test_the_weightiest_offer_is_chosen(accept: str, chosen: str) -> None:
    assert preferred(accept, OFFERED) == chosen


def test_several_headers_are_one_list() -> None:
    scope = http_scope("GET", "/")
    scope["headers"] = [(b"accept", b"text/html;q=0.1"), (b"x-other", b"1"), (b"accept", b"application/json")]
    assert preferred(accepted(scope), OFFERED) == "application/json"
