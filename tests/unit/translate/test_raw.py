import pytest
from msgspec import UNSET, Raw

from app.translate.raw import given_bytes, is_given


@pytest.mark.parametrize("raw", [UNSET, Raw(b"null"), Raw(b"[ ]"), Raw(b"{\n}")])
def test_nothing_is_not_given(raw: Raw) -> None:
    assert not is_given(raw)


@pytest.mark.parametrize("raw", [Raw(b"0"), Raw(b'""'), Raw(b"[null]")])
def test_something_is_given(raw: Raw) -> None:
    assert is_given(raw)


def test_absent_and_null_have_no_bytes() -> None:
    assert given_bytes(UNSET) == given_bytes(Raw(b"null")) == b""
    assert given_bytes(Raw(b" 1 ")) == b" 1 "
