"""Citations: those of web pages become OpenAI's ``url_citation``, the others stay Anthropic's.

OpenAI's annotation spans what is supported, in characters of the whole content; Anthropic hangs its citations on a text
block, so the span is that block. Rule: spec/chat-completions.md section 5.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Raw

from app.schemas.anthropic_reply import WebSearchResultLocation
from app.schemas.openai_chat_reply import Annotation, UrlCitation

_WEB = msgspec.json.Decoder(WebSearchResultLocation)


def split_citations(citations: Iterable[Raw], *, start: int, end: int) -> tuple[list[Annotation], list[Raw]]:
    """The citations of one text block as annotations, and those that OpenAI has no annotation for.

    Args:
        citations: the block's, as Anthropic sent them.
        start: characters of content before the block.
        end: characters of content up to its end.
    """
    annotations, others = [], []
    for citation in citations:
        try:
            page = _WEB.decode(citation)
        except msgspec.ValidationError:
            others.append(citation)
            continue
        annotations.append(
            Annotation(url_citation=UrlCitation(url=page.url, title=page.title or "", start_index=start, end_index=end))
        )
    return annotations, others
