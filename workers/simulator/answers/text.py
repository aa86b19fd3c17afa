"""Text answers: of a chosen length, different for different requests, the same for the same one."""

from __future__ import annotations

from typing import Final

from workers.simulator.prompt import text_tokens

_SENTENCES: Final = (
    "No model was asked: the simulator of Claude Wrapper wrote this answer.",
    "The same request always gets the same words, so a test can compare them.",
    "Its length depends on a hash of the request, unless a script asks for a number of tokens.",
    "Token counts follow a simple rule: four bytes of text are one token.",
    "Latency, pace and failures can be scripted for each request.",
    "Accents and other scripts pass unharmed: déjà vu, naïve, Größe, 東京, 👍.",
    "Tools are called when the prompt names them, with arguments that fit their schema.",
    "A request that Anthropic would refuse is refused here as well.",
    "Prompt caching is counted by prefix, as the real service does.",
    "Thinking comes with signatures that are checked when the blocks come back.",
)

_THOUGHTS: Final = (
    "The user wants an answer; first look at what was asked. ",
    "Consider which tools are at hand and whether one is needed. ",
    "A short and direct reply will do. ",
    "Check the wording once more before answering. ",
)

#: Bytes of each sentence, with the space before it.
_SIZES: Final = tuple(len(sentence.encode()) + 1 for sentence in _SENTENCES)

_SHORTEST: Final = 16
_SPREAD: Final = 105


def opening(prompt: str, turn: int) -> str:
    """First words of an answer: what was asked, and in which turn of the conversation."""
    asked = " ".join(prompt.split())
    if len(asked) > 120:
        asked = asked[:119].rstrip() + "…"
    first = f"You said: “{asked}”." if asked else "You said nothing."
    return first if turn < 2 else f"{first} This is turn {turn}."


def compose_text(start: str, digest: bytes, tokens: int) -> str:
    """Text that begins with ``start``.

    Args:
        start: first words.
        digest: hash of the request.
        tokens: exactly this many tokens; 0 lets the hash choose 16 to 120, in whole sentences.
    """
    wanted = tokens or _SHORTEST + digest[0] % _SPREAD
    parts = [start] if start else []
    size_bytes = len(start.encode()) if start else -1
    index = digest[1]
    while size_bytes <= 4 * (wanted - 1):
        parts.append(_SENTENCES[index % len(_SENTENCES)])
        size_bytes += _SIZES[index % len(_SENTENCES)]
        index += 1
    text = " ".join(parts)
    return cut_to_tokens(text, tokens) if tokens else text


def compose_thought(digest: bytes, tokens: int) -> str:
    """The text of a thinking block, exactly ``tokens`` long."""
    text = ""
    index = digest[2]
    while text_tokens(text) < tokens:
        text += _THOUGHTS[index % len(_THOUGHTS)]
        index += 1
    return cut_to_tokens(text, tokens)


def cut_to_tokens(text: str, tokens: int) -> str:
    """The longest beginning of a text that has at most so many tokens."""
    if text_tokens(text) <= tokens:
        return text
    return text.encode()[: tokens * 4].decode(errors="ignore")


def split_tokens(text: str, tokens: int) -> list[str]:
    """A text in parts of at most so many tokens each, never inside a character."""
    step = tokens * 4
    if text.isascii():
        return [text[start : start + step] for start in range(0, len(text), step)]
    parts: list[str] = []
    raw = text.encode()
    start = 0
    while start < len(raw):
        end = min(start + step, len(raw))
        while end < len(raw) and raw[end] & 0xC0 == 0x80:
            end -= 1
        parts.append(raw[start:end].decode())
        start = end
    return parts
