"""The dashboard in a real browser: it loads clean, shows the gateway's own figures, and lives without a reload."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import ADMIN_KEY, DESKTOP, PHONE
from tests.support.mock_gateway import MockGateway
from tests.support.processes import eventually

NewPage = Callable[..., Any]

#: A worker reports every five seconds, the page asks every three: what is counted is seen within this time.
SEEN_WITHIN_MS = 30_000

CANARY = "<img src=x onerror=window.pwned=1>"

BOARD = "#board:not([hidden])"


def ask(gateway: MockGateway, *, stream: bool = False) -> None:
    """One request, answered to its end."""
    body = {"model": "claude-haiku-4-5", "stream": stream, "messages": [{"role": "user", "content": "Hello"}]}
    request = urllib.request.Request(
        f"{gateway.url}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        reply.read()


def read(gateway: MockGateway, path: str) -> str:
    with urllib.request.urlopen(f"{gateway.root}{path}", timeout=10) as reply:
        return str(reply.read().decode())


def data(gateway: MockGateway) -> dict[str, Any]:
    read_data: dict[str, Any] = json.loads(read(gateway, "/dashboard/data"))
    return read_data


def metric(exposition: str, name: str, **labels: str) -> float:
    """The sum of the samples of a metric that have these labels."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = (line for line in exposition.splitlines() if re.match(rf"{name}[ {{]", line))
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(label in line for label in wanted))


def opened(page: Any, gateway: MockGateway) -> Any:
    """The page once it shows figures."""
    page.goto(f"{gateway.root}/dashboard")
    page.wait_for_selector(BOARD)
    return page


def failures(count: int, *, status: int = 503, broken: bool = False, code: str = "overloaded") -> dict[str, Any]:
    """What ``recent`` says of so many requests that failed alike."""
    kind = {"status": status, "broken": broken, "code": code}
    request = {"path": "/v1/chat/completions", "model": "claude-haiku-4-5", "tenant": "acme"}
    errors = [{"at": 1e9 - number, "requestId": f"req_{number}", **kind, **request} for number in range(count)]
    return {"errors": errors, "errorKinds": [{**kind, "count": count, "at": 1e9}]}


def opened_with(page: Any, gateway: MockGateway, change: Callable[[dict[str, Any]], None]) -> Any:
    """The page, shown figures of the gateway of which some were changed."""
    shown = data(gateway)
    change(shown)
    page.route("**/dashboard/data*", lambda route: route.fulfill(json=shown))
    return opened(page, gateway)


def text_of(page: Any, selector: str) -> str:
    return str(page.inner_text(selector)).replace("\u00a0", " ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE, {"width": 360, "height": 740}], ids=["desktop", "phone", "small"])
def test_it_loads_without_complaints_and_fits(
    gateway: MockGateway, new_page: NewPage, tmp_path: Path, scheme: str, viewport: dict[str, int]
) -> None:
    ask(gateway)
    page = opened(new_page(viewport=viewport, color_scheme=scheme), gateway)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    picture = tmp_path / f"dashboard-{scheme}-{viewport['width']}.png"
    page.screenshot(path=picture, full_page=True)
    assert picture.stat().st_size > 20_000


def test_its_figures_are_those_of_metrics_and_of_the_json(gateway: MockGateway, new_page: NewPage) -> None:
    for stream in (False, False, True):
        ask(gateway, stream=stream)
    counted = int(metric(read(gateway, "/metrics"), "claude_wrapper_requests_total"))
    eventually(lambda: data(gateway)["performance"]["requests"] == counted, within_s=30)

    exposition, shown = read(gateway, "/metrics"), data(gateway)
    for kind, name in (("input", "input"), ("output", "output")):
        assert shown["performance"]["tokens"][kind] == metric(
            exposition, "claude_wrapper_tokens_total", **{"class": name}
        )
    assert shown["spend"]["totalUsd"] == pytest.approx(metric(exposition, "claude_wrapper_cost_usd_total"))
    assert shown["performance"]["firstToken"]["count"] == metric(
        exposition, "gen_ai_server_time_to_first_token_seconds_count"
    )

    page = opened(new_page(), gateway)
    page.wait_for_function("n => document.querySelector('#tiles').innerText.includes(`${n} requests`)", arg=counted)
    assert f"{shown['performance']['tokens']['output']:,.0f}" in text_of(page, "#charts")
    assert "claude-haiku-4-5" in text_of(page, "#models")


def test_it_lives_without_a_reload(gateway: MockGateway, new_page: NewPage) -> None:
    page = opened(new_page(), gateway)
    page.evaluate("window.sameDocument = true")
    before = data(gateway)["performance"]["requests"]
    for _ in range(3):
        ask(gateway)
    page.wait_for_function(
        "n => parseInt(document.querySelector('#tiles .detail').innerText.replaceAll(',', '')) >= n",
        arg=before + 3,
        timeout=SEEN_WITHIN_MS,
    )
    assert page.evaluate("window.sameDocument")


def test_the_time_shown_can_be_chosen(gateway: MockGateway, new_page: NewPage) -> None:
    ask(gateway)
    page = opened(new_page(), gateway)
    with page.expect_response(lambda reply: "window=24h" in reply.url) as reply:
        page.click("#window-24h")
    assert len(reply.value.json()["performance"]["series"]) == 24
    page.wait_for_function("() => document.querySelector('#trend-title').innerText.includes('24 hours')")
    assert page.get_attribute("#window-24h", "aria-selected") == "true"


def test_the_time_shown_stands_in_the_address(gateway: MockGateway, new_page: NewPage) -> None:
    page = opened(new_page(), gateway)
    page.click("#window-15m")
    assert page.url.endswith("/dashboard?window=15m")
    page.reload()
    page.wait_for_selector(BOARD)
    assert page.get_attribute("#window-15m", "aria-selected") == "true"
    assert "the 15 minutes before" in text_of(page, "#trend")  # as the figures say whose they are


@pytest.mark.parametrize(
    ("status", "alert_level", "text", "level"),
    [
        ("healthy", "ok", "healthy", "ok"),
        ("healthy", "warning", "warning", "warning"),
        ("healthy", "critical", "critical", "critical"),
        ("degraded", "ok", "degraded", "warning"),
        ("degraded", "critical", "critical, degraded", "critical"),
    ],
)
def test_the_state_is_never_better_than_the_alerts(
    gateway: MockGateway, new_page: NewPage, status: str, alert_level: str, text: str, level: str
) -> None:
    page = opened_with(
        new_page(), gateway, lambda shown: shown["overview"].update(status=status, alertLevel=alert_level)
    )
    assert text_of(page, "#status-text") == text
    assert page.get_attribute("#status", "data-level") == level
    assert page.inner_text("#announcements").startswith(f"Gateway {text}.")


def test_a_stream_that_broke_off_does_not_look_like_a_success(gateway: MockGateway, new_page: NewPage) -> None:
    broken = failures(1, status=200, broken=True)
    page = opened_with(new_page(), gateway, lambda shown: shown["recent"].update(broken))
    badge = page.locator("#errors-latest .badge")
    assert (badge.inner_text(), badge.get_attribute("data-level")) == ("200, broken off", "critical")


def test_many_errors_are_counted_and_do_not_fill_a_phone(gateway: MockGateway, new_page: NewPage) -> None:
    page = opened_with(new_page(viewport=PHONE), gateway, lambda shown: shown["recent"].update(failures(20)))
    assert "503 overloaded × 20" in " ".join(text_of(page, "#error-kinds").split())
    assert page.locator("#errors-latest tbody tr").count() == 5
    assert page.locator("#errors").bounding_box()["height"] < 1000
    page.click("#errors-older summary")
    page.wait_for_function("() => document.querySelectorAll('#errors-older[open] tbody tr').length === 15")
    with page.expect_response("**/dashboard/data*"):  # the next turn leaves it as it is
        pass
    assert page.locator("#errors-older[open] tbody tr").count() == 15


def test_a_share_is_compared_in_points_as_regressions_are(gateway: MockGateway, new_page: NewPage) -> None:
    def errors_rise(shown: dict[str, Any]) -> None:
        (rate,) = [change for change in shown["performance"]["trend"] if change["figure"] == "errorRate"]
        rate.update(now=0.0007, before=0.0003, change=1.33, regression=False)

    page = opened_with(new_page(), gateway, errors_rise)
    assert "▲ 0.04 points" in text_of(page, "#trend table")
    assert "133" not in text_of(page, "#trend")
    assert "error rate at least 1 point higher" in text_of(page, "#trend .note")


def test_a_key_of_which_nothing_was_heard_lately_is_not_called_fine(gateway: MockGateway, new_page: NewPage) -> None:
    key = {"label": "b367231e", "state": "ok", "since": 1.0, "limits": []}
    page = opened_with(new_page(), gateway, lambda shown: shown["resources"].update(upstream=[key]))
    badge = page.locator("#capacity .badge")
    assert (badge.inner_text(), badge.get_attribute("data-level")) == ("ok when last called", None)
    assert "limits not known" in text_of(page, "#capacity")


def test_what_comes_from_outside_stays_text(gateway: MockGateway, new_page: NewPage) -> None:
    ask(gateway)

    def poisoned(value: Any) -> Any:
        match value:
            case dict():
                return {name: poisoned(inner) for name, inner in value.items()}
            case list():
                return [poisoned(inner) for inner in value]
            case str():
                return CANARY
        return value

    shown = data(gateway)
    kept = (shown["window"], [dict(change) for change in shown["performance"]["trend"]])
    shown["overview"]["alerts"] = [{"name": "a", "level": "critical", "since": 1e9, "text": "t"}]
    shown["recent"] |= failures(7, code="c")
    shown["recent"]["alerts"] = [{"at": 1e9, "name": "n", "level": "ok", "previous": "ok", "text": "t"}]
    shown["resources"]["upstream"] = [
        {"label": "l", "state": "ok", "since": 1.0, "limits": [{"limit": "l", "remaining": 1, "max": 2, "share": 0.5}]}
    ]
    shown["spend"]["byTenant"] = [{"name": "n", "usd": 1.0, "share": 1.0}]
    poison = poisoned(shown)
    poison["window"], poison["performance"]["trend"] = kept

    page = new_page()
    page.route("**/dashboard/data*", lambda route: route.fulfill(json=poison))
    opened(page, gateway)
    for part in (
        "#status",
        "#release",
        "#alerts",
        "#capacity",
        "#replicas",
        "#tenants",
        "#models",
        "#errors",
        "#events",
    ):
        assert CANARY.lower() in text_of(page, part).lower(), part
    assert page.evaluate("window.pwned") is None
    assert page.locator("img").count() == 0


def test_who_has_no_key_is_asked_for_one(protected_gateway: MockGateway, new_page: NewPage) -> None:
    page = new_page(expected="401")
    page.goto(f"{protected_gateway.root}/dashboard")
    page.wait_for_selector("#login:not([hidden])")
    assert page.evaluate("document.activeElement.id") == "login-key"
    assert page.locator(BOARD).count() == 0

    page.keyboard.type("a-wrong-key")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#login-problem').innerText.includes('not accepted')")

    page.keyboard.type(ADMIN_KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector(BOARD)
    page.reload()
    page.wait_for_selector(BOARD)
    assert ADMIN_KEY not in page.evaluate("JSON.stringify(localStorage) + document.cookie + document.body.innerHTML")

    page.click("#log-out")
    page.wait_for_selector("#login:not([hidden])")
    assert page.evaluate("sessionStorage.length") == 0
    page.reload()
    page.wait_for_selector("#login:not([hidden])")


def test_it_can_be_used_by_the_keyboard_alone(gateway: MockGateway, new_page: NewPage) -> None:
    ask(gateway)
    page = opened(new_page(), gateway)
    focused = "document.activeElement.id || document.activeElement.className"
    walked = []
    for _ in range(4):
        page.keyboard.press("Tab")
        walked.append(page.evaluate(focused))
    assert walked[:3] == ["skip", "window-1h", "theme"]

    page.focus("#window-1h")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "window-24h"
    assert page.get_attribute("#window-24h", "aria-selected") == "true"
    page.keyboard.press("ArrowLeft")

    page.focus(".chart svg >> nth=0")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".chart .tip:not([hidden])")
    assert "served" in text_of(page, ".chart .tip:not([hidden])")
    page.keyboard.press("Escape")
    assert page.locator(".chart .tip:not([hidden])").count() == 0

    page.focus("summary >> nth=0")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.chart details[open] tbody tr').length === 60")


def test_light_and_dark_are_remembered(gateway: MockGateway, new_page: NewPage) -> None:
    page = opened(new_page(color_scheme="light"), gateway)
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("#theme")
    dark = page.evaluate(background)
    assert light != dark
    page.reload()
    page.wait_for_selector(BOARD)
    assert page.evaluate(background) == dark


def test_a_gateway_that_does_not_answer_is_told_and_found_again(gateway: MockGateway, new_page: NewPage) -> None:
    page = opened(new_page(expected="ERR_"), gateway)
    page.route("**/dashboard/data*", lambda route: route.abort())
    page.wait_for_selector("#board[data-stale=true]", timeout=SEEN_WITHIN_MS)
    assert "cannot be reached" in text_of(page, "#banner")
    page.unroute("**/dashboard/data*")
    page.wait_for_selector("#board[data-stale=false]", timeout=SEEN_WITHIN_MS)
    assert page.locator("#banner").is_hidden()


def test_the_documentation_works_under_its_policy(gateway: MockGateway, new_page: NewPage) -> None:
    page = new_page()
    page.goto(f"{gateway.root}/docs")
    page.wait_for_selector(".opblock-summary-path", timeout=SEEN_WITHIN_MS)
    page.click("[id^=operations-operations-getLiveness] .opblock-summary")
    page.click("[id^=operations-operations-getLiveness] button.try-out__btn")
    page.click("[id^=operations-operations-getLiveness] button.execute")
    page.wait_for_function('() => document.body.innerText.includes(\'"status": "ok"\')')
