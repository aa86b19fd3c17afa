"""What an operator may choose about translation; ``app.main`` fills it from the settings of the same names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from msgspec import Struct, field


def _no_aliases() -> Mapping[str, str]:
    return MappingProxyType({})


class TranslationSettings(Struct, frozen=True, kw_only=True):
    """The choices of one deployment.

    Args:
        aliases: extra model names, as ``ModelTable.aliases`` makes them.
        user_salt: secret that turns end-user names into pseudonyms.
    """

    strict: bool = False
    default_max_tokens: int = 16_000
    default_max_tokens_stream: int = 32_000
    auto_cache: Literal["off", "auto", "always"] = "auto"
    forced_tool_fallback: Literal["auto_instruction", "structured_output", "error"] = "auto_instruction"
    allowed_tools: Literal["instruction", "filter"] = "instruction"
    later_system: Literal["inline", "hoist"] = "inline"
    last_assistant: Literal["continue", "error"] = "continue"
    input_audio: Literal["refuse", "strip"] = "refuse"
    include_reasoning: bool = False
    allowed_betas: tuple[str, ...] = ()
    fast_mode: bool = False
    anthropic_extension: bool = False
    aliases: Mapping[str, str] = field(default_factory=_no_aliases)
    user_salt: bytes = b""
