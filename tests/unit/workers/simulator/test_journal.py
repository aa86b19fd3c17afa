"""What is recorded of a request, and what is not."""

from workers.simulator.exchange import Request
from workers.simulator.journal import Journal
from workers.simulator.signatures import org_of


def record(journal, headers=(), body=b'{"a":1}'):
    return journal.record(Request("POST", "/v1/messages", "beta=true", dict(headers), body))


def test_a_body_is_kept_decoded():
    assert record(Journal(5, 1000)).body == {"a": 1}


def test_a_body_that_is_no_json_is_kept_as_text():
    assert record(Journal(5, 1000), body=b"{oops").body == "{oops"


def test_a_long_body_is_cut():
    assert record(Journal(5, 3), body=b'{"a":1}').body == '{"a'


def test_credentials_are_not_kept_but_told_apart():
    journal = Journal(5, 1000)
    both = record(journal, {"x-api-key": "secret", "authorization": "Bearer secret", "accept": "*/*"})
    assert both.auth == "both"
    assert both.headers == {"x-api-key": "redacted", "authorization": "redacted", "accept": "*/*"}
    assert [record(journal, {name: "x"}).auth for name in ("x-api-key", "authorization", "accept")] == [
        "x-api-key",
        "bearer",
        "none",
    ]


def test_whose_credential_it_is_can_be_told_without_it():
    journal = Journal(5, 1000)
    sent = [{"x-api-key": "one"}, {"authorization": "Bearer one"}, {"authorization": "Bearer other"}, {}]
    assert [record(journal, headers).organization for headers in sent] == [
        *(org_of(key).hex() for key in ("one", "one", "other")),
        "",
    ]


def test_only_the_last_ones_are_kept():
    journal = Journal(2, 1000)
    for _ in range(3):
        record(journal)
    assert [entry.number for entry in journal.entries()] == [2, 3]


def test_a_journal_of_size_nothing_is_off():
    assert not Journal(0, 1000).enabled
