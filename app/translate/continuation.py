"""Going on after ``pause_turn``: Claude's own tools took a break; the request is sent again with what Claude said."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])
_ENCODER: Final = msgspec.json.Encoder()


def continue_after_pause(body: bytes, assistant_content: bytes) -> bytes:
    """Appends what Claude has said to a Messages request.

    Args:
        body: the request that was sent, encoded; its other bytes stay as they are.
        assistant_content: the content of the paused answer, a JSON array of blocks. After a further pause only the new
            blocks: the API joins consecutive assistant messages.
    """
    fields = _FIELDS.decode(body)
    earlier = bytes(fields["messages"]).rstrip().removesuffix(b"]")
    said = b'{"role":"assistant","content":' + assistant_content + b"}]"
    fields["messages"] = Raw(earlier + b"," + said)
    return _ENCODER.encode(fields)
