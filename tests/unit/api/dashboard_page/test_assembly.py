"""The page is one document, and its policy lets a browser run exactly what stands in it."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

import pytest

from app.api import dashboard_page
from app.api.dashboard_page.assembly import EARLY_SCRIPT, SCRIPTS, STYLES, dashboard_document

PAGE = dashboard_document(protected=False)
HTML = PAGE.html.decode()


def digests(directive: str) -> set[str]:
    """What a directive of the policy allows."""
    (found,) = [part for part in PAGE.policy.split("; ") if part.startswith(f"{directive} ")]
    return set(found.split()[1:])


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_names_the_scripts_and_the_style_as_they_stand_in_the_document() -> None:
    assert {digest(text) for text in re.findall(r"<script[^>]*>(.*?)</script>", HTML, re.DOTALL)} == digests(
        "script-src"
    )
    assert {digest(text) for text in re.findall(r"<style>(.*?)</style>", HTML, re.DOTALL)} == digests("style-src")


def test_everything_else_is_forbidden() -> None:
    assert digests("default-src") == digests("frame-ancestors") == digests("base-uri") == digests("form-action")
    assert digests("default-src") == {"'none'"}
    assert digests("connect-src") == {"'self'"}
    assert "unsafe" not in PAGE.policy
    assert "http" not in PAGE.policy


def test_nothing_is_loaded_from_anywhere() -> None:
    assert re.findall(r'\ssrc="', HTML) == []
    links = [address for address in re.findall(r'href="([^"]*)"', HTML) if not address.startswith(("#", "data:"))]
    assert links == ["/docs"]
    assert "url(" not in HTML
    assert "@import" not in HTML


def test_no_part_is_missing_and_none_is_forgotten() -> None:
    assert "/*{" not in HTML
    files = {file.name for file in resources.files(dashboard_page).iterdir() if file.name.endswith((".js", ".css"))}
    assert files == {EARLY_SCRIPT, *STYLES, *SCRIPTS}


@pytest.mark.parametrize(
    "word", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", " on"]
)
def test_nothing_could_turn_a_text_into_markup(word: str) -> None:
    scripts = "\n".join(
        re.sub(r"//.*", "", resources.files(dashboard_page).joinpath(name).read_text())
        for name in (EARLY_SCRIPT, *SCRIPTS)
    )
    if word == " on":  # attributes that hold scripts
        assert re.findall(r"<[a-z]+[^>]*\son[a-z]+=", HTML) == []
    else:
        assert word not in scripts


def test_the_page_knows_whether_to_ask_for_a_key() -> None:
    assert '<html lang="en" data-protected="false">' in HTML
    assert b'<html lang="en" data-protected="true">' in dashboard_document(protected=True).html
    assert dashboard_document(protected=True).policy == PAGE.policy
