"""Claude Wrapper: an OpenAI-compatible gateway in front of Anthropic's Claude API (README.md)."""
