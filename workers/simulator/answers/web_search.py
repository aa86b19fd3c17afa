"""The web search server tool: a made-up search, its results, and a text that cites them.

It runs when a ``web_search_*`` tool is given and the last user message says *search*, *web*, *look up* or *latest*. A
script's ``pause=N`` ends the turn with ``pause_turn`` in the middle of a search; the request that sends the turn back
gets the result and, after N pauses, the end.
"""

from __future__ import annotations

import re
from itertools import takewhile
from typing import Any, Final

from workers.simulator.answers.tool_calls import asked_text
from workers.simulator.reply import OutBlock, ServerToolUseOut, TextOut, WebSearchResultOut
from workers.simulator.wire import (
    Block,
    MessagesRequest,
    ServerToolUseBlock,
    ToolChoiceNone,
    WebSearchToolResultBlock,
    blocks_of,
    text_of,
)

_WANTED: Final = re.compile(r"\b(?:search(?:es|ing)?|web|look\s+up|latest)\b", re.IGNORECASE)


def is_wanted(request: MessagesRequest) -> bool:
    """Whether this answer uses the web search tool."""
    if not any((tool.type or "").startswith("web_search_") for tool in request.tools or ()):
        return False
    if isinstance(request.tool_choice, ToolChoiceNone):
        return False
    return bool(pending_searches(request)) or bool(_WANTED.search(asked_text(request)))


def pending_searches(request: MessagesRequest) -> list[str]:
    """Ids of the searches in the assistant turn that is sent back to be continued; the last may have no result yet."""
    return [block.id for block in _sent_back(request) if isinstance(block, ServerToolUseBlock)]


def _sent_back(request: MessagesRequest) -> list[Block]:
    """The blocks of that turn: consecutive assistant messages are one turn, as for Anthropic."""
    run = takewhile(lambda message: message.role == "assistant", reversed(request.messages))
    return [block for message in reversed(list(run)) for block in blocks_of(message.content)]


def search_blocks(request: MessagesRequest, digest: bytes, pauses: int) -> tuple[list[OutBlock], bool, int]:
    """The blocks of the answer, whether it pauses, and how many searches it made."""
    question = _question(request)
    done = pending_searches(request)
    answered = _answered(request)
    blocks: list[OutBlock] = [
        WebSearchResultOut(tool_use_id=search_id, content=_results(question))
        for search_id in done
        if search_id not in answered
    ]
    searches = 0
    if not done or len(done) < pauses:
        search_id = f"srvtoolu_sim{digest.hex()[:18]}"
        blocks.append(ServerToolUseOut(id=search_id, name="web_search", input={"query": question}))
        searches = 1
        if len(done) < pauses:
            return blocks, True, searches
        blocks.append(WebSearchResultOut(tool_use_id=search_id, content=_results(question)))
    return [*blocks, *_cited_text(question)], False, searches


def _answered(request: MessagesRequest) -> set[str]:
    return {block.tool_use_id for block in _sent_back(request) if isinstance(block, WebSearchToolResultBlock)}


def _question(request: MessagesRequest) -> str:
    last = next((message for message in reversed(request.messages) if message.role == "user"), None)
    words = re.sub(r"\[\[sim:.*?\]\]", "", text_of(last.content) if last else "").split()
    return " ".join(words)[:100] or "anything"


def _results(question: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "web_search_result",
            "url": f"https://example.com/{number}",
            "title": f"Example page {number}: {question[:40]}",
            "encrypted_content": f"c2ltdWxhdGVkIHBhZ2Ug{number}A==",
            "page_age": "November 1, 2026",
        }
        for number in (1, 2)
    ]


def _cited_text(question: str) -> list[OutBlock]:
    cited = f"Page 1 answers “{question[:60]}”."
    citation = {
        "type": "web_search_result_location",
        "url": "https://example.com/1",
        "title": f"Example page 1: {question[:40]}",
        "encrypted_index": "c2ltdWxhdGVkIGluZGV4",
        "cited_text": cited,
    }
    return [
        TextOut(text="I searched the web. "),
        TextOut(text=cited, citations=[citation]),
        TextOut(text=" That is all the simulator found."),
    ]
