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


def ready_block(config: Config, *, state: str, traces: str = "", new_key: str = "") -> str:
    """The block that says: it works, this is how to use it.

    Args:
        config: the settings.
        state: where state is kept, in words.
        traces: where traces go; empty for nowhere.
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
        "dashboard": f"{url}/dashboard",
        "alerts": alerts_in_words(config),
        "traces": traces,
    }
    lines = [f"Claude Wrapper {VERSION} is ready.", ""]
    lines += [f"  {name:<12}{value}" for name, value in facts.items() if value]
    client_key = new_key or ("not-needed" if is_open(config) else KEY_PLACEHOLDER)
    lines += ["", f"  export OPENAI_BASE_URL={url}/v1", f"  export OPENAI_API_KEY={client_key}"]
    if new_key:
        lines += ["", "  This key is shown once. To keep it, set CLAUDE_WRAPPER_API_KEY to it for the next start."]
    return "\n".join(lines + [f"\n{warning}" for warning in warnings(config)])


def ready_fields(config: Config, *, state: str, traces: str = "") -> dict[str, str | int | bool]:
    """The same for a log of JSON lines, as the fields of one record; the arguments are those of ``ready_block``."""
    fields: dict[str, str | int | bool] = {
        "version": VERSION,
        "address": base_url(config),
        "host": config.host,
        "workers": config.workers,
        "mode": mode_in_words(config),
        "store": state,
        "protected": not is_open(config),
        "health_monitoring": config.health_monitoring,
    }
    return fields | ({"traces": traces} if traces else {})


def alerts_in_words(config: Config) -> str:
    """Whether alerts are evaluated here, and who is told; nothing where nobody asked for alerts."""
    told = "the log and the webhook" if config.alert_webhook_url else "the log"
    if config.health_monitoring:
        return f"evaluated by one worker of all replicas; changes go to {told}"
    return "NOT EVALUATED HERE" if config.alert_webhook_url else ""


def nobody_reads_metrics(config: Config) -> bool:
    """Whether ``/metrics`` wants a key with the scope admin on an open gateway, and none is configured."""
    has_keys = bool(config.api_key or config.admin_key or config.keys_file or config.accepts_jwt)
    return config.metrics == "admin" and is_open(config) and not has_keys


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
    if config.alert_webhook_url and not config.health_monitoring:
        found.append(
            "A webhook is set, and no worker of this gateway evaluates alerts.\n"
            "Set --health-monitoring, or run beside it: claude-wrapper monitor"
        )
    if nobody_reads_metrics(config):
        found.append(
            "CLAUDE_WRAPPER_METRICS=admin, and there is no key that has the scope admin: /metrics answers 401.\n"
            "Set CLAUDE_WRAPPER_ADMIN_KEY (CLAUDE_WRAPPER_REQUIRE_KEY=no keeps the rest open), or "
            "CLAUDE_WRAPPER_METRICS=open"
        )
    return found
