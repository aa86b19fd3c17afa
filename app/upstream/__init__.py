"""The room that talks to Anthropic: lanes behind ``app.domain.upstream``, retries, and the border of their errors."""
