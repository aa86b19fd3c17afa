from __future__ import annotations

import msgspec
from msgspec import Raw

from app.translate.annotations import split_citations

PAGE = Raw(
    b'{"type":"web_search_result_location","url":"https://a.test","title":"A","encrypted_index":"e","cited_text":"c"}'
)
UNTITLED = Raw(b'{"type":"web_search_result_location","url":"https://b.test","title":null}')
PLACE = Raw(b'{"type":"page_location","cited_text":"c","document_index":0}')


def test_a_web_page_becomes_an_annotation_of_the_whole_block() -> None:
    annotations, others = split_citations([PAGE], start=3, end=9)
    assert msgspec.to_builtins(annotations) == [
        {
            "type": "url_citation",
            "url_citation": {"url": "https://a.test", "title": "A", "start_index": 3, "end_index": 9},
        }
    ]
    assert others == []


def test_a_page_without_a_title_has_an_empty_one() -> None:
    annotations, _ = split_citations([UNTITLED], start=0, end=1)
    assert annotations[0].url_citation.title == ""


def test_other_citations_stay_as_they_are() -> None:
    annotations, others = split_citations([PLACE, PAGE], start=0, end=1)
    assert len(annotations) == 1
    assert others == [PLACE]
