"""What a user sees of a start and a stop: one block, and one last line."""

from __future__ import annotations

from app.config import Config
from app.observability.version import VERSION

#: Stands where a key is that must not be shown.
KEY_PLACEHOLDER = "'<your API key>'"


def reachable_host(host: str) -> str:
    """A host that a client on this machine can use, for an address that is listened on."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{host}]" if ":" in host else host


def base_url(config: Config) -> str:
    """Where the gateway is reached from this machine."""
    return f"http://{reachable_host(config.host)}:{config.port}"


def mode_in_words(config: Config) -> str:
    """Where answers come from."""
    if config.mock:
        return "mock: answers come from the built-in simulator"
    if has_credential(config):
        return f"Claude at {config.anthropic_base_url}"
    return f"Claude at {config.anthropic_base_url}, WITHOUT A CREDENTIAL"


def has_credential(config: Config) -> bool:
    """Whether the gateway can authenticate to Anthropic."""
    return bool(config.anthropic_keys or config.anthropic_auth_token)


def is_open(config: Config) -> bool:
    """Whether anybody who reaches the address may use it."""
    return not config.is_protected


def listens_beyond_this_machine(config: Config) -> bool:
    """Whether others can reach the address."""
    return not (config.host in ("localhost", "::1") or config.host.startswith("127."))


def ready_block(config: Config, *, state: str, new_key: str = "") -> str:
    """The block that says: it works, this is how to use it.

    Args:
        config: the settings.
        state: where state is kept, in words.
        new_key: a key that was made just now, and is shown this once; a key that was given is never shown.
    """
    url = base_url(config)
    listens_on = f" (listening on {config.host})" if listens_beyond_this_machine(config) else ""
    facts = {
        "address": url + listens_on,
        "mode": mode_in_words(config),
        "state": state,
        "protection": "open: no key is asked for" if is_open(config) else "API key required",
        "workers": str(config.workers),
        "docs": f"{url}/docs",
    }
    lines = [f"Claude Wrapper {VERSION} is ready.", ""]
    lines += [f"  {name:<12}{value}" for name, value in facts.items()]
    client_key = new_key or ("not-needed" if is_open(config) else KEY_PLACEHOLDER)
    lines += ["", f"  export OPENAI_BASE_URL={url}/v1", f"  export OPENAI_API_KEY={client_key}"]
    if new_key:
        lines += ["", "  This key is shown once. To keep it, set CLAUDE_WRAPPER_API_KEY to it for the next start."]
    return "\n".join(lines + [f"\n{warning}" for warning in warnings(config)])


def warnings(config: Config) -> list[str]:
    """What the user should know before the first request."""
    found = []
    if not config.mock and not has_credential(config):
        found.append(
            "There is no Anthropic credential: every model request will be answered with an error that says so.\n"
            "Set ANTHROPIC_API_KEY, or try it without one: claude-wrapper --mock"
        )
    if is_open(config) and listens_beyond_this_machine(config):
        found.append(
            "WARNING: THIS API IS OPEN TO EVERYBODY WHO CAN REACH THIS MACHINE, at your expense.\n"
            "Set CLAUDE_WRAPPER_API_KEY or CLAUDE_WRAPPER_ADMIN_KEY, or listen on this machine only: --host 127.0.0.1"
        )
    return found
