"""Every setting: one name, one default, one line of help, validated once at start.

A setting is one annotated field of ``Config``. Its environment variable is ``CLAUDE_WRAPPER_<FIELD>`` unless the field
says otherwise; a command-line flag beats the environment, the environment beats the default. What is wrong is said with
the name of the variable and what it accepts (``SettingError``). The environment is an argument: nothing here reads it
at import time. Source: DESIGN.md section 8; the defaults of the mission where it has one.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

PREFIX = "CLAUDE_WRAPPER_"

_SIZE_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}

#: Beyond every bound, and still a number that can be compared with one.
_LARGEST_SIZE = 2.0**62

S = typing.TypeVar("S", bound=Struct)

#: Variables that Kubernetes sets for a Service called ``claude-wrapper``; they are not settings (the ``PORT`` one holds
#: ``tcp://10.0.0.1:8000``).
_KUBERNETES_SERVICE = re.compile(r"CLAUDE_WRAPPER_(SERVICE_(HOST|PORT.*)|PORT_\d+_(TCP|UDP).*)$")


class SettingError(ValueError):
    """A setting has a value that it does not accept; the text names the variable and what would be accepted."""


class Help(Struct, frozen=True):
    """What a setting is for, and where it is read from.

    Args:
        text: one line for ``claude-wrapper config`` and the README.
        env: environment variables, first found wins; empty means ``CLAUDE_WRAPPER_<FIELD>``.
        secret: masked wherever it is printed.
        kind: ``size`` accepts ``32MiB``; ``pairs`` accepts ``a=b,c=d``; ``list`` accepts ``a,b``.
    """

    text: str
    env: tuple[str, ...] = ()
    secret: bool = False
    kind: Literal["plain", "size", "pairs", "list"] = "plain"


Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(ge=1)]
#: Bytes, up to 1 TiB.
Size = Annotated[int, Meta(ge=1024, le=1024**4)]
#: As browsers send it, or a pattern of it.
Origin = Annotated[str, Meta(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/\sA-Z?#@]+)$")]
#: Of requests or tokens; the scripts count exactly up to this.
Limit = Annotated[int, Meta(ge=0, le=100_000_000)]
#: US dollars, up to a million.
Dollars = Annotated[float, Meta(ge=0, le=1_000_000, description="US dollars")]
Seconds = Annotated[float, Meta(gt=0, le=86400, description="a number of seconds")]
#: Of what asks the state store each time.
Interval = Annotated[float, Meta(ge=0.2, le=86400, description="a number of seconds")]
#: Whole seconds, up to 30 days.
Lifetime = Annotated[int, Meta(ge=1, le=30 * 86_400)]
#: Whole seconds; no more than counters live, since ``volatile-ttl`` evicts by the time that is left.
SessionTtl = Annotated[int, Meta(ge=1, le=48 * 3600)]
#: Whole seconds; less than a session lives, since ``volatile-ttl`` evicts by the time that is left.
CacheTtl = Annotated[int, Meta(ge=1, le=1800)]
#: From none to all.
Share = Annotated[float, Meta(ge=0, le=1, description="a number")]
#: Of a limit; above 1 it is never reached.
Threshold = Annotated[float, Meta(gt=0, le=10, description="a share such as 0.8")]
Days = Annotated[float, Meta(gt=0, le=365, description="a number of days")]
SecondsOrZero = Annotated[float, Meta(ge=0, le=86400, description="a number of seconds")]


class Config(Struct, frozen=True, kw_only=True):
    """The gateway's settings. Sizes are bytes, durations seconds, unless a name says otherwise."""

    # Where it listens, and how many processes
    host: Annotated[str, Help("address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Help("port to listen on; PORT is honoured too", env=("CLAUDE_WRAPPER_PORT", "PORT"))] = 8000
    workers: Annotated[int, Meta(ge=1, le=512), Help("worker processes (--production: one per core)")] = 1
    production: Annotated[bool, Help("JSON logs, one worker per core, listen on 0.0.0.0")] = False
    debug: Annotated[bool, Help("log at debug level, every request with its steps; server-timing on replies")] = False
    verbose: Annotated[bool, Help("log also probes, scrapes and what CLAUDE_WRAPPER_LOG_SAMPLE leaves out")] = False
    mock: Annotated[bool, Help("answer from the built-in simulator instead of Anthropic")] = False
    log_format: Annotated[Literal["auto", "text", "json"], Help("auto: json with --production, else text")] = "auto"
    log_sample: Annotated[
        Share, Help("share of the successful requests that get a line in the log; failed and slow ones always do")
    ] = 1.0
    log_bodies: Annotated[
        bool, Help("log the beginning of request and reply bodies, redacted: they hold prompts; only with --debug")
    ] = False
    slow_s: Annotated[Seconds, Help("what takes longer is logged as slow")] = 1.0
    data_dir: Annotated[
        str, Help("directory of the embedded state server, PID files and logs; empty: the user's state directory")
    ] = ""

    # Bounds of a connection and of a request
    backlog: Annotated[int, Meta(ge=1, le=65535), Help("connections the kernel queues before they are accepted")] = 2048
    keep_alive_s: Annotated[Seconds, Help("an idle client connection is kept this long")] = 75.0
    header_timeout_s: Annotated[Seconds, Help("a client has this long to send its request headers")] = 10.0
    body_timeout_s: Annotated[Seconds, Help("a client may pause this long while it sends a body")] = 30.0
    max_header_bytes: Annotated[Size, Help("request line and headers together, in bytes (64KiB)", kind="size")] = 65536
    max_body_bytes: Annotated[Size, Help("request body in bytes (32MiB, Anthropic's own limit)", kind="size")] = (
        32 * 1024**2
    )
    max_concurrent_requests: Annotated[Positive, Help("requests in flight per worker; beyond it 503")] = 1000
    stream_buffer_bytes: Annotated[
        Size, Help("bytes kept for a slow reader before the upstream is paused", kind="size")
    ] = 256 * 1024
    write_timeout_s: Annotated[Seconds, Help("a client that takes nothing for this long is disconnected")] = 60.0
    stream_keepalive_s: Annotated[Seconds, Help("silence on a stream before a ': ping' comment is sent")] = 15.0
    graceful_timeout_s: Annotated[
        float,
        Meta(ge=1, le=86400, description="a number of seconds"),
        Help("at SIGTERM, requests in flight get this long to finish"),
    ] = 300.0
    drain_delay_s: Annotated[SecondsOrZero, Help("at SIGTERM, go on accepting this long while not ready")] = 0.0
    compression: Annotated[
        Literal["auto", "zstd", "gzip", "off"],
        Help("how plain replies are compressed for clients that accept it; auto: zstd, else gzip; streams never are"),
    ] = "auto"
    compression_min_bytes: Annotated[Size, Help("smaller replies are sent as they are (8KiB)", kind="size")] = 8192
    cors_origins: Annotated[
        tuple[Origin, ...],
        Meta(description="* or origins such as https://chat.example.com, in lower case, with commas between them"),
        Help("browser origins allowed by CORS, or *", kind="list"),
    ] = ()

    # Protection
    api_key: Annotated[str, Help("a static API key that clients must present; empty: unprotected", secret=True)] = ""
    admin_key: Annotated[str, Help("the key of /admin routes, apart from every client's key", secret=True)] = ""
    require_key: Annotated[
        Literal["auto", "yes", "no"],
        Help("whether clients need a key; auto: as soon as a key, admin key, keys file or JWT is configured"),
    ] = "auto"
    keys_file: Annotated[str, Help("TOML or YAML file with API keys and tenants, re-read when it changes")] = ""
    byok: Annotated[bool, Help("let a client's own Anthropic key (sk-ant-...) through, at its own cost")] = False
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="addresses, networks such as 10.0.0.0/8, or unix, with commas between them"),
        Help("proxies whose X-Forwarded-For is believed", kind="list"),
    ] = ()
    guesses_per_minute: Annotated[Positive, Help("wrong keys a client address may try a minute before it gets 429")] = (
        20
    )
    jwt_secret: Annotated[str, Help("secret of HS256 tokens; accepts JWT bearers", secret=True)] = ""
    jwt_public_key: Annotated[str, Help("PEM file of the public key of RS256 or ES256 tokens")] = ""
    jwt_jwks_url: Annotated[str, Help("URL of the JWKS that signs RS256 or ES256 tokens")] = ""
    jwt_algorithms: Annotated[
        tuple[Literal["HS256", "RS256", "ES256"], ...],
        Meta(description="names among HS256, RS256, ES256, with commas between them"),
        Help("accepted algorithms; empty: those that the configured keys can have", kind="list"),
    ] = ()
    jwt_issuer: Annotated[str, Help("required iss of a token; empty: any")] = ""
    jwt_audience: Annotated[str, Help("required aud of a token; empty: tokens must have none")] = ""
    jwt_leeway_s: Annotated[SecondsOrZero, Help("clocks may differ this much from the issuer's")] = 10.0
    jwt_tenant_claim: Annotated[str, Help("claim that names the tenant; a token without it belongs to tenant jwt")] = (
        "tenant"
    )
    jwt_scope_claim: Annotated[str, Help("claim with the scopes, a list or words; without it: inference, sessions")] = (
        "scope"
    )
    jwt_limits_claim: Annotated[str, Help("claim with limits of the subject, an object as in the keys file")] = "limits"
    secret: Annotated[
        str, Help("salt of the pseudonyms sent upstream; empty: made once and kept in Redis", secret=True)
    ] = ""

    # Limits; 0 is none. What a key, or a tenant of the keys file, sets itself wins.
    default_rpm: Annotated[Limit, Help("requests a minute of a key that sets none")] = 0
    default_input_tpm: Annotated[Limit, Help("input tokens a minute of a key that sets none")] = 0
    default_output_tpm: Annotated[Limit, Help("output tokens a minute of a key that sets none")] = 0
    default_concurrency: Annotated[Limit, Help("requests in flight of a key that sets none")] = 0
    default_budget_day: Annotated[Dollars, Help("USD a day (UTC) of a key that sets none")] = 0.0
    default_budget_month: Annotated[Dollars, Help("USD a month (UTC) of a key that sets none")] = 0.0
    default_budget_total: Annotated[Dollars, Help("USD in all of a key that sets none")] = 0.0
    tenant_rpm: Annotated[Limit, Help("requests a minute of a tenant that sets none")] = 0
    tenant_input_tpm: Annotated[Limit, Help("input tokens a minute of a tenant that sets none")] = 0
    tenant_output_tpm: Annotated[Limit, Help("output tokens a minute of a tenant that sets none")] = 0
    tenant_concurrency: Annotated[Limit, Help("requests in flight of a tenant that sets none")] = 0
    tenant_budget_day: Annotated[Dollars, Help("USD a day (UTC) of a tenant that sets none")] = 0.0
    tenant_budget_month: Annotated[Dollars, Help("USD a month (UTC) of a tenant that sets none")] = 0.0
    tenant_budget_total: Annotated[Dollars, Help("USD in all of a tenant that sets none")] = 0.0
    outage_policy: Annotated[
        Literal["fail_open", "fail_closed"],
        Help("while Redis is away, of a key that sets none: a local share of its limits, or 503"),
    ] = "fail_open"
    outage_workers: Annotated[
        int, Meta(ge=0, le=100_000), Help("workers that share a limit while Redis is away; 0: as many as last seen")
    ] = 0

    # Shared state
    redis_url: Annotated[
        str, Help("redis://, rediss://, unix://, memory:// or auto (an embedded server)", secret=True)
    ] = "auto"
    redis_timeout_s: Annotated[Seconds, Help("deadline of one Redis call")] = 0.25
    redis_queue_limit: Annotated[Positive, Help("Redis calls in flight per worker before new ones fail fast")] = 10_000

    # Sessions, response cache, idempotency
    session_ttl: Annotated[SessionTtl, Help("seconds that an unused session is kept")] = 3600
    max_sessions: Annotated[Positive, Help("live sessions of a tenant; beyond it the longest idle one goes")] = 1000
    cleanup_interval: Annotated[
        Seconds, Help("seconds between two prunings of the index of sessions (sessions themselves expire in Redis)")
    ] = 300.0
    session_max_messages: Annotated[
        int, Meta(ge=2, le=100_000), Help("messages of a session; beyond it the oldest whole turns go")
    ] = 1000
    session_max_bytes: Annotated[
        Size, Help("a session as JSON, in bytes (2MiB); beyond it the oldest whole turns go", kind="size")
    ] = 2 * 1024**2
    session_wait_s: Annotated[
        SecondsOrZero, Help("a turn waits this long for the one that holds its session, then 409")
    ] = 30.0
    share_within: Annotated[
        Literal["key", "tenant"], Help("who shares sessions and cached answers: one key (or subject), or its tenant")
    ] = "key"
    cache: Annotated[
        Literal["off", "opt-in", "on"],
        Help(
            "response cache; opt-in: for requests and keys that ask for it (Cache-Control: max-age=N); off: for "
            "nobody, whatever they ask"
        ),
    ] = "opt-in"
    cache_ttl: Annotated[CacheTtl, Help("seconds that an answer stays in the response cache, less some jitter")] = 300
    cache_max_entry_bytes: Annotated[
        Size, Help("largest answer that is cached, as received from Anthropic, in bytes (1MiB)", kind="size")
    ] = 1024**2
    idempotency_ttl: Annotated[Lifetime, Help("seconds that the answer to an Idempotency-Key is kept")] = 86_400

    # Anthropic
    anthropic_api_key: Annotated[
        str, Help("Anthropic API key of the gateway", env=("ANTHROPIC_API_KEY",), secret=True)
    ] = ""
    anthropic_api_keys: Annotated[
        tuple[str, ...],
        Meta(description="keys with commas between them"),
        Help("further Anthropic API keys; each conversation stays with one of them all", kind="list", secret=True),
    ] = ()
    anthropic_auth_token: Annotated[
        str, Help("bearer token instead of an API key", env=("ANTHROPIC_AUTH_TOKEN",), secret=True)
    ] = ""
    anthropic_base_url: Annotated[str, Help("base URL of the Anthropic API", env=("ANTHROPIC_BASE_URL",))] = (
        "https://api.anthropic.com"
    )
    upstream_lane: Annotated[
        Literal["auto", "direct", "sdk"],
        Help(
            "who puts the requests to Anthropic together: the gateway (auto, direct), or the anthropic package, which "
            "takes 45 MB of a worker"
        ),
    ] = "auto"
    upstream_connect_timeout_s: Annotated[Seconds, Help("time to connect to Anthropic")] = 5.0
    upstream_first_byte_timeout_s: Annotated[Seconds, Help("time until Anthropic's reply headers")] = 600.0
    upstream_idle_timeout_s: Annotated[Seconds, Help("silence inside Anthropic's reply")] = 300.0
    upstream_max_connections: Annotated[Positive, Help("connections to Anthropic per worker")] = 256
    upstream_pool_wait_s: Annotated[SecondsOrZero, Help("wait for a free connection before 503")] = 5.0
    upstream_keepalive_s: Annotated[Seconds, Help("an idle connection to Anthropic is kept this long")] = 30.0
    upstream_max_reply_bytes: Annotated[
        Size, Help("largest plain reply taken from Anthropic, in bytes (64MiB)", kind="size")
    ] = 64 * 1024**2
    upstream_retries: Annotated[int, Meta(ge=0, le=5), Help("retries before the first byte")] = 1
    upstream_proxy: Annotated[
        str, Help("HTTP proxy towards Anthropic; empty: HTTPS_PROXY and friends", secret=True)
    ] = ""
    upstream_ca_bundle: Annotated[str, Help("PEM file of CAs to trust; empty: SSL_CERT_FILE or the system's")] = ""

    # Metrics, traces, alerts
    metrics: Annotated[
        Literal["open", "admin", "off"], Help("who may read /metrics: everybody, or the scope admin; off: nobody")
    ] = "open"
    otlp_endpoint: Annotated[
        str,
        Help(
            "OTLP/HTTP endpoint of traces and metrics, such as http://collector:4318; needs the extra otel",
            env=("CLAUDE_WRAPPER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ),
    ] = ""
    trace_sample: Annotated[
        Share, Help("share of the requests without a traceparent that are traced; a traceparent decides for itself")
    ] = 1.0
    health_monitoring: Annotated[
        bool, Help("evaluate alerts in the gateway: one worker of all replicas does; see claude-wrapper monitor")
    ] = False
    monitor_interval_s: Annotated[Interval, Help("alerts are evaluated this often")] = 10.0
    alert_window_s: Annotated[
        int, Meta(ge=60, le=3600), Help("response time and errors are those of so many seconds, rounded up to minutes")
    ] = 300
    alert_min_requests: Annotated[Positive, Help("fewer requests than this say nothing about times and errors")] = 20
    alert_hold_off_s: Annotated[
        SecondsOrZero, Help("after a change of an alert was told, its next change waits this long")
    ] = 60.0
    alert_response_time_s: Annotated[
        Seconds, Help("mean response time from which there is a warning (plain: whole; streams: first token)")
    ] = 2.0
    alert_response_time_critical_s: Annotated[Seconds, Help("mean response time that is critical")] = 5.0
    alert_error_rate: Annotated[Threshold, Help("share of 5xx and broken streams from which there is a warning")] = 0.05
    alert_error_rate_critical: Annotated[Threshold, Help("share of 5xx and broken streams that is critical")] = 0.1
    alert_memory: Annotated[
        Threshold, Help("share of the memory of a replica, or of Redis, from which there is a warning")
    ] = 0.8
    alert_memory_critical: Annotated[Threshold, Help("share of the memory that is critical")] = 0.9
    alert_sessions: Annotated[
        Threshold, Help("share of its sessions that a tenant has, from which there is a warning")
    ] = 0.8
    alert_sessions_critical: Annotated[Threshold, Help("share of its sessions that is critical")] = 0.95
    alert_budget: Annotated[Threshold, Help("share of a budget that is spent, from which there is a warning")] = 0.8
    alert_budget_critical: Annotated[Threshold, Help("share of a budget that is critical")] = 1.0
    alert_forecast_days: Annotated[
        Days, Help("warning when sessions or memory reach their maximum within so many days at the present trend")
    ] = 7.0
    alert_forecast_critical_days: Annotated[Days, Help("as above, critical")] = 1.0
    alert_webhook_url: Annotated[str, Help("URL that is told of every change of an alert", secret=True)] = ""
    alert_webhook_format: Annotated[
        Literal["json", "slack"], Help("json: an object of our own; slack: a message for Slack and what understands it")
    ] = "json"
    alert_webhook_secret: Annotated[
        str, Help("signs what the webhook is sent (HMAC-SHA256, Standard Webhooks)", secret=True)
    ] = ""

    # Translation
    strict: Annotated[bool, Help("answer 400 where a parameter would be ignored or adjusted")] = False
    model_aliases: Annotated[
        tuple[tuple[str, str], ...], Help("extra model names, as name=model,name=model", kind="pairs")
    ] = ()
    model_preset: Annotated[Literal["none", "openai"], Help("openai: serve gpt-* and o* names by Claude models")] = (
        "none"
    )
    models_file: Annotated[str, Help("TOML file with models to add to or override the built-in table")] = ""
    default_max_tokens: Annotated[Positive, Help("max_tokens of a plain call that sets none")] = 16_000
    default_max_tokens_stream: Annotated[Positive, Help("max_tokens of a streamed call that sets none")] = 32_000
    auto_cache: Annotated[
        Literal["off", "auto", "always"], Help("prompt caching: auto for tools or two and more turns")
    ] = "auto"
    forced_tool_fallback: Annotated[
        Literal["auto_instruction", "structured_output", "error"],
        Help("forced tool choice on a model that refuses it"),
    ] = "auto_instruction"
    allowed_tools: Annotated[
        Literal["instruction", "filter"], Help("allowed_tools: named in an instruction, or the list is cut")
    ] = "instruction"
    later_system: Annotated[
        Literal["inline", "hoist"], Help("system messages after the first turn: in place, or moved to the top")
    ] = "inline"
    last_assistant: Annotated[
        Literal["continue", "error"], Help("trailing assistant turn on a model without prefill")
    ] = "continue"
    input_audio: Annotated[Literal["refuse", "strip"], Help("audio parts: 400, or left out and reported")] = "refuse"
    include_reasoning: Annotated[bool, Help("show reasoning also when the request did not ask for it")] = False
    allowed_betas: Annotated[
        tuple[str, ...], Help("anthropic-beta names that a request's betas may use, or *", kind="list")
    ] = ()
    fast_mode: Annotated[bool, Help("service_tier fast asks for Anthropic's fast mode")] = False
    anthropic_extension: Annotated[bool, Help("a request's anthropic object is merged over the upstream body")] = False

    @property
    def is_protected(self) -> bool:
        """Whether clients need a key."""
        if self.require_key != "auto":
            return self.require_key == "yes"
        return bool(self.api_key or self.admin_key or self.keys_file or self.accepts_jwt)

    @property
    def accepts_jwt(self) -> bool:
        """Whether any key is named to check tokens with."""
        return bool(self.jwt_secret or self.jwt_public_key or self.jwt_jwks_url)

    @property
    def anthropic_keys(self) -> tuple[str, ...]:
        """Every Anthropic API key of the gateway, each once."""
        return tuple(dict.fromkeys(key for key in (self.anthropic_api_key, *self.anthropic_api_keys) if key))

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown, apart from the URLs."""
        mine = (self.api_key, self.admin_key, self.secret, self.jwt_secret, self.alert_webhook_secret)
        return tuple(secret for secret in (*mine, *self.anthropic_keys, self.anthropic_auth_token) if secret)


class Resolved(Struct, frozen=True):
    """A value and where it came from: ``default``, ``flag`` or the name of an environment variable."""

    value: Any
    source: str


def data_root(data_dir: str, environ: Mapping[str, str]) -> Path:
    """The directory of all gateways of this user: the setting, else the state directory (XDG base directories)."""
    if data_dir:
        return Path(data_dir).expanduser()
    home = environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "state") / "claude-wrapper"


def env_names(field: str, help_: Help) -> tuple[str, ...]:
    """The environment variables of a field, first found wins."""
    return help_.env or (PREFIX + field.upper(),)


def settings_of(struct: type[Struct]) -> dict[str, tuple[Help, Any, Any]]:
    """``field -> (help, type, default)`` of a settings struct, in its order of definition."""
    hints = typing.get_type_hints(struct, include_extras=True)
    table: dict[str, tuple[Help, Any, Any]] = {}
    for field in msgspec.structs.fields(struct):
        hint = hints[field.name]
        help_ = next(meta for meta in hint.__metadata__ if isinstance(meta, Help))
        bounds = tuple(meta for meta in hint.__metadata__ if isinstance(meta, Meta))
        type_ = Annotated[(hint.__origin__, *bounds)] if bounds else hint.__origin__
        table[field.name] = (help_, type_, field.default)
    return table


def resolve(struct: type[S], environ: Mapping[str, str], flags: Mapping[str, Any]) -> tuple[S, dict[str, Resolved]]:
    """Builds a settings struct from flags over environment over defaults, with the source of each value.

    Args:
        struct: the settings class.
        environ: environment variables.
        flags: field -> value as given on the command line (text or typed); ``None`` means not given.

    Raises:
        SettingError: a value is not accepted; the text names the variable or flag.
    """
    sources: dict[str, Resolved] = {}
    for field, (help_, type_, default) in settings_of(struct).items():
        if flags.get(field) is not None:
            source, raw = "flag", flags[field]
            name = "--" + field.replace("_", "-")
        else:
            found = next((n for n in env_names(field, help_) if _is_set(n, environ)), None)
            if found is None:
                sources[field] = Resolved(default, "default")
                continue
            name = source = found
            raw = environ[found]
        sources[field] = Resolved(parse_setting(name, raw, help_, type_), source)
    return struct(**{field: resolved.value for field, resolved in sources.items()}), sources


def _is_set(name: str, environ: Mapping[str, str]) -> bool:
    value = environ.get(name, "")
    return value != "" and not (name == "CLAUDE_WRAPPER_PORT" and value.startswith(("tcp://", "udp://")))


def parse_setting(name: str, raw: object, help_: Help, type_: Any) -> Any:
    """One value from text; ``name`` is what the message of a ``SettingError`` calls it."""
    value = raw
    if isinstance(raw, str):
        text = raw.strip()
        value = text
        if help_.kind == "size":
            value = _parse_size(name, text)
        elif help_.kind == "list":
            value = tuple(part.strip() for part in text.split(",") if part.strip())
        elif help_.kind == "pairs":
            value = _parse_pairs(name, text)
        elif type_ is bool:
            value = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(text.lower(), text.lower())
    try:
        return msgspec.convert(value, type_, strict=False)
    except msgspec.ValidationError:
        shown = "the given value" if help_.secret else repr(raw)
        raise SettingError(f"{name}: {shown} is not accepted; it takes {accepts(help_, type_)}.") from None


def _parse_size(name: str, text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", text)
    unit = match.group(2).lower() if match else None
    if match is None or unit not in _SIZE_UNITS:
        raise SettingError(f"{name}: {text!r} is not accepted; it takes a size such as 65536, 64KiB or 32MiB.")
    return int(min(float(match.group(1)) * _SIZE_UNITS[unit], _LARGEST_SIZE))


def size_text(size_bytes: int) -> str:
    """A size as it may be set: ``64KiB``; in bytes where no unit fits."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return str(size_bytes)


def _parse_pairs(name: str, text: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if any(not sep or not left.strip() or not right.strip() for left, sep, right in pairs):
        raise SettingError(f"{name}: {text!r} is not accepted; it takes name=value pairs with commas between them.")
    return tuple((left.strip(), right.strip()) for left, _, right in pairs)


def accepts(help_: Help, type_: Any) -> str:
    """What a setting takes, in words: ``a whole number from 1 to 512``."""
    bounds = next((meta for meta in getattr(type_, "__metadata__", ()) if isinstance(meta, Meta)), None)
    if help_.kind == "size":
        words = "a size in bytes such as 65536, 64KiB or 32MiB"
    elif help_.kind == "list":
        return (bounds.description if bounds else None) or "names with commas between them"
    elif help_.kind == "pairs":
        return "name=value pairs with commas between them"
    elif typing.get_origin(type_) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(type_)))
    elif type_ is bool:
        return "true or false"
    else:
        base = type_.__origin__ if typing.get_origin(type_) is Annotated else type_
        words = {int: "a whole number", float: "a number"}.get(base, "text")
    if bounds is None:
        return words
    return (bounds.description or words) + _bounds_in_words(bounds)


def _bounds_in_words(bounds: Meta) -> str:
    if bounds.gt is not None:
        words = f" above {bounds.gt:.15g}"
        return words + (f" and up to {bounds.le:.15g}" if bounds.le is not None else "")
    if bounds.ge is not None:
        return (
            f" from {bounds.ge:.15g} to {bounds.le:.15g}" if bounds.le is not None else f" of at least {bounds.ge:.15g}"
        )
    return ""


def refuse_unknown(environ: Mapping[str, str], known: frozenset[str]) -> None:
    """A ``CLAUDE_WRAPPER_*`` variable that is no setting is an error: a setting that does nothing misleads.

    Args:
        environ: environment variables.
        known: every variable that some settings struct of the product reads.

    Raises:
        SettingError: names the variable and the nearest setting.
    """
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in known or _KUBERNETES_SERVICE.match(name):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else " 'claude-wrapper config' lists every setting."
        raise SettingError(f"{name} is not a setting.{hint}")


def known_variables(*structs: type[Struct]) -> frozenset[str]:
    """Every environment variable that the given settings structs read."""
    return frozenset(
        name
        for struct in structs
        for field, (help_, _, _) in settings_of(struct).items()
        for name in env_names(field, help_)
    )
