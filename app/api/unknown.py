"""What is said about a URL that is no route: that Claude has no such thing, that it comes later, or what was meant.

Most unknown URLs are a wrong ``base_url``: ``/v1`` missing or doubled, or another product's prefix. The message names
the right one. The endpoints are OpenAI's API reference as of openai 3.54, and DESIGN.md section 7 for what comes later.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection

from app.errors import NotFound

#: First parts of the path below ``/v1`` that Claude cannot serve, and what they are for.
NOT_CLAUDES = {
    "assistants": "assistants",
    "audio": "audio",
    "batches": "OpenAI batches",
    "chatkit": "ChatKit",
    "containers": "containers",
    "embeddings": "embeddings",
    "engines": "engines",
    "evals": "evals",
    "files": "OpenAI file storage",
    "fine_tuning": "fine-tuning",
    "graders": "graders",
    "images": "image generation",
    "moderations": "moderation",
    "organization": "OpenAI administration",
    "realtime": "realtime sessions",
    "skills": "OpenAI skills",
    "threads": "threads",
    "uploads": "OpenAI file storage",
    "vector_stores": "vector stores",
    "videos": "video generation",
}

#: Routes of later releases (DESIGN.md section 7), longest first where one begins another.
LATER = (
    "/v1/responses",
    "/v1/completions",
    "/v1/conversations",
    "/v1/messages",
)

#: The longest path that is repeated in a message, and searched for near misses.
_LONGEST = 200

#: How alike a path has to be to be taken for a misspelt route (``difflib`` ratio).
_LIKENESS = 0.75


def unknown_url(method: str, path: str, routes: Collection[str]) -> NotFound:
    """The error for a URL that is no route.

    Args:
        method: HTTP method of the request.
        path: its path.
        routes: paths of this gateway, as templates.
    """
    shown = path if len(path) <= _LONGEST else f"{path[:_LONGEST]}..."
    parts = [part for part in shown.split("/") if part]
    plain = "/" + "/".join(parts)
    while parts[:2] == ["v1", "v1"]:
        del parts[0]
    once = "/" + "/".join(parts)
    below_v1 = parts[1] if parts[:1] == ["v1"] and len(parts) > 1 else parts[0] if parts else ""
    if below_v1 in NOT_CLAUDES:
        return NotFound(f"Claude has no endpoint for {NOT_CLAUDES[below_v1]}: {method} {shown} cannot be served.")
    if any(url == later or url.startswith(f"{later}/") for later in LATER for url in (once, f"/v1{once}")):
        return NotFound(f"This release of the gateway does not have {once} yet. GET /docs lists what it has.")
    return NotFound(f"Unknown request URL: {method} {shown}. {_hint(plain, once, routes)}")


def _hint(path: str, once: str, routes: Collection[str]) -> str:
    fixed = [route for route in routes if "{" not in route and route != "/"]
    if once != path:
        return f"The path has /v1 twice{_meant(once, fixed)}: the base URL of the client must have it only once."
    if f"/v1{path}" in fixed:
        return f"Did you mean /v1{path}? Give your client a base URL that ends in /v1."
    for route in fixed:
        if path.endswith(route) or (route.startswith("/v1/") and path.endswith(route.removeprefix("/v1"))):
            return f"Did you mean {route}? The base URL of this gateway has no other prefix than /v1."
    near = difflib.get_close_matches(path, fixed, n=1, cutoff=_LIKENESS)
    if near:
        return f"Did you mean {near[0]}?"
    return "Please check the URL for typos; GET /docs lists the routes."


def _meant(path: str, routes: Collection[str]) -> str:
    return f" (did you mean {path}?)" if path in routes else ""
