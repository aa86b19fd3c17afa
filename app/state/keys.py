"""Every key name in Redis and its time to live; names are built only here.

The varying id of what one script touches stands in braces, so that a cluster keeps it in one slot:
``cw:{<tenant>}:...`` for a tenant, ``cw:{_}:...`` for what belongs to none. A kind carries the version of its value's
layout (``:v1``): two releases of the gateway share one Redis during a rollout, so a changed layout gets a new name.
Source: DESIGN.md section 3.

| key | value | TTL | written by |
|---|---|---|---|
| ``cw:{_}:worker:v1:<worker id>`` | ``WorkerFigures``, JSON | 15 s | ``figures.publish_command``, every 5 s |
| ``cw:{_}:workers:v1`` | sorted set: worker id -> Unix second of expiry | 15 s | ``figures.publish_command`` |
| ``cw:{_}:secret:v1`` | 32 random bytes | 400 days after the last start | ``secret.shared_secret`` |
| ``cw:{_}:probe:v1`` | ``1`` | 60 s | ``lane``: is the store writable? |
| ``cw:{<tag>}:key:v1:<key id>`` | hash: an API key | none | ``api_keys`` |
| ``cw:{_}:keys:v1`` | hash: key id -> tenant, the index of API keys | none | ``api_keys`` |
| ``cw:{_}:revoked:v1`` | sorted set: ``<tag> <key id>`` -> Unix us | 1 h | ``api_keys``, at each change |
| ``cw:{_}:audit:v1`` | stream: who changed which key, when; the last 10,000 | 400 days | ``api_keys`` |
| ``cw:{_}:minute:v1:<minute>`` | hash: figures of all workers in a minute since 1970 | 48 h | ``minutes`` |
| ``cw:{_}:hour:v1:<hour>`` | the same of an hour since 1970 | 5 days | ``minutes`` |
| ``cw:{_}:requests:v1`` | stream: the latest request records, as JSON | 48 h | ``request_log`` |
| ``cw:{_}:leader:v1`` | who evaluates alerts | 10 s | ``leader`` |
| ``cw:{_}:alerts:v1`` | how every alert stands, and what is still to be told, as JSON | 400 days | ``alerts`` |
| ``cw:{_}:watched:v1`` | sorted set: who has which budgets -> Unix second of use | 48 h | ``watched`` |
| ``cw:{_}:seated:v1`` | sorted set: tag of a tenant with sessions -> Unix second of use | 48 h | ``watched`` |
| ``cw:{_}:exhausted:v1`` | sorted set: a budget that has refused -> Unix second of its end | 32 days | ``exhausted`` |
| ``cw:{_}:guesses:v1:<address>`` | wrong keys tried from a client address this minute | 60 s | ``guesses`` |
| ``cw:{<tag>}:rates:v1:<key id>`` | balances of the token buckets of a key | 48 h | ``limits`` |
| ``cw:{<tag>}:rates:v1:*`` | the same of the tenant | 48 h | ``limits`` |
| ``cw:{<tag>}:spend:v1:<key id>`` | nano-dollars spent and reserved by a key | 400 days | ``limits`` |
| ``cw:{<tag>}:spend:v1:*`` | the same of the tenant | 400 days | ``limits`` |
| ``cw:{<tag>}:live:v1:<key id>`` | sorted set: request id -> Unix us at which its lease ends | 400 days | ``limits`` |
| ``cw:{<tag>}:live:v1:*`` | the same of the tenant | 400 days | ``limits`` |
| ``cw:{<tag>}:lease:v1:<request id>`` | what a request has reserved, or: settled | 400 days; 10 min | ``limits`` |
| ``cw:{<tag>}:mean:v1:<model>`` | running mean of output tokens | 48 h | ``limits`` |
| ``cw:{<tag>}:usage:v1:<key id>:<day>`` | hash: ``<model> <class>`` -> tokens, nano-dollars | 40 days | ``limits`` |
| ``cw:{<tag>}:sessions:v1`` | sorted set: ``<scope> <session id>`` -> Unix us of expiry | session TTL | ``sessions`` |
| ``cw:{<tag>}:seat:v1:<sid>`` | prompt tokens of a session, expected and at most | session TTL | ``sessions`` |
| ``cw:{<tag>:<sid>}:session:v1`` | hash: the head of a session | session TTL | ``sessions`` |
| ``cw:{<tag>:<sid>}:turns:v1`` | list: its turns, packed | session TTL | ``sessions`` |
| ``cw:{<tag>:<call id>}:kept:v1`` | the answer that made a tool call, packed | 48 h | ``kept_answers`` |
| ``cw:{<tag>:<digest>}:answer:v1`` | a cached answer | cache TTL, less jitter | ``answers`` |
| ``cw:{<tag>:<digest>}:once:v1`` | the answer to an ``Idempotency-Key`` | idempotency TTL | ``answers`` |
| ``cw:{<tag>:<digest>}:flight:v1`` | hash: who is making that answer, who waits for it | 60 s | ``answers`` |

Channels: ``cw:{_}:push:v1``: what all workers have to hear at once; ``cw:{_}:wake:v1:<worker>``: that what one of a
worker's requests waits for may have come.
"""

from __future__ import annotations

import re

#: A worker that has not published for this long is gone: three missed turns of 5 s.
WORKER_TTL_S = 15
#: Long enough for a deployment that is switched off for a year; renewed whenever a worker starts.
SECRET_TTL_S = 400 * 86_400
#: Only has to be written, nobody reads it.
PROBE_TTL_S = 60

#: State that must outlive every cache entry (``volatile-ttl`` evicts by the time left); its true expiry is inside it.
STATE_TTL_S = 48 * 3600
#: Spend counts for a month or for good; a key that was not used for this long starts its total anew. Leases of running
#: requests live as long, since they know how much of what spend holds as reserved is theirs.
SPEND_TTL_S = 400 * 86_400
#: A settlement that is repeated finds that it was made, for this long; for ``STATE_TTL_S`` where nothing else would
#: tell, because the store does not know of its admission.
SETTLED_TTL_S = 600
#: Days of usage that can be asked for, and some.
USAGE_TTL_S = 40 * 86_400
#: Longer than any worker believes in a key that it has in memory.
REVOKED_TTL_S = 3600
AUDIT_TTL_S = 400 * 86_400
GUESSES_TTL_S = 60

#: What the dashboard shows by the minute, and by the hour: two days, and the two before them to compare with.
MINUTE_TTL_S = 48 * 3600
HOUR_TTL_S = 120 * 3600
REQUESTS_TTL_S = 48 * 3600
#: Renewed every third of it; after a leader's death another one takes over within 15 s.
LEADER_TTL_S = 10
ALERTS_TTL_S = 400 * 86_400
WATCHED_TTL_S = 48 * 3600
#: As long as a session may live.
SEATED_TTL_S = 48 * 3600
#: Longer than a budget's month.
EXHAUSTED_TTL_S = 32 * 86_400

#: Blocks of thinking have to outlive every session and cached answer.
KEPT_TTL_S = STATE_TTL_S
#: A flight is renewed as the lease of its request is; a dead one is only a name.
FLIGHT_TTL_S = 60

KEY_INDEX = "cw:{_}:keys:v1"
REVOKED = "cw:{_}:revoked:v1"
AUDIT = "cw:{_}:audit:v1"
PUSH_CHANNEL = "cw:{_}:push:v1"

#: Beginnings of the names of keys that live for ever; every other key has a time to live.
PERMANENT = (re.compile(r"cw:\{[a-z2-7]+\}:key:v1:"), re.compile(r"cw:\{_\}:keys:v1$"))

#: In place of a key id: the tenant itself.
TENANT = "*"

WORKERS = "cw:{_}:workers:v1"
SECRET = "cw:{_}:secret:v1"  # noqa: S105 - the name of a key, not a secret
PROBE = "cw:{_}:probe:v1"


def worker(worker_id: str) -> str:
    """Figures of one worker, for ``WORKER_TTL_S``."""
    return f"cw:{{_}}:worker:v1:{worker_id}"


REQUESTS = "cw:{_}:requests:v1"
LEADER = "cw:{_}:leader:v1"
ALERTS = "cw:{_}:alerts:v1"
WATCHED = "cw:{_}:watched:v1"
SEATED = "cw:{_}:seated:v1"
EXHAUSTED = "cw:{_}:exhausted:v1"

#: Beginnings of the names of minutes and hours, for the script that knows which it is by the server's clock.
MINUTES = "cw:{_}:minute:v1:"
HOURS = "cw:{_}:hour:v1:"


def minute(number: int) -> str:
    """Figures of all workers in a minute, counted since 1970, for ``MINUTE_TTL_S``."""
    return f"{MINUTES}{number}"


def hour(number: int) -> str:
    """Figures of all workers in an hour, counted since 1970, for ``HOUR_TTL_S``."""
    return f"{HOURS}{number}"


def api_key(tag: str, key_id: str) -> str:
    """An API key; lives for ever."""
    return f"cw:{{{tag}}}:key:v1:{key_id}"


def guesses(address: str) -> str:
    """Wrong keys tried from a client address, for ``GUESSES_TTL_S``."""
    return f"cw:{{_}}:guesses:v1:{address}"


def rates(tag: str, scope: str) -> str:
    """Token buckets of a key, or of the tenant (``TENANT``), for ``STATE_TTL_S``."""
    return f"cw:{{{tag}}}:rates:v1:{scope}"


def spend(tag: str, scope: str) -> str:
    """Money spent and reserved by a key or the tenant, for ``SPEND_TTL_S``."""
    return f"cw:{{{tag}}}:spend:v1:{scope}"


def live(tag: str, scope: str) -> str:
    """Leases of a key or the tenant, for ``SPEND_TTL_S``."""
    return f"cw:{{{tag}}}:live:v1:{scope}"


def account(tag: str, key_id: str) -> tuple[str, ...]:
    """What the limiter's scripts keep of a key and its tenant: rates, spend and live leases of both, and its usage."""
    return (
        rates(tag, key_id),
        rates(tag, TENANT),
        spend(tag, key_id),
        spend(tag, TENANT),
        live(tag, key_id),
        live(tag, TENANT),
        usage(tag, key_id),
    )


def lease(tag: str, request_id: str) -> str:
    """The lease of a request, for ``SPEND_TTL_S``; for ``SETTLED_TTL_S`` once it is settled."""
    return f"cw:{{{tag}}}:lease:v1:{request_id}"


def mean(tag: str, model: str) -> str:
    """Running mean of the output tokens of a model, for ``STATE_TTL_S``."""
    return f"cw:{{{tag}}}:mean:v1:{model}"


def usage(tag: str, scope: str) -> str:
    """Beginning of the names of a key's usage by day (days since 1970), each for ``USAGE_TTL_S``."""
    return f"cw:{{{tag}}}:usage:v1:{scope}:"


def wake_channel(worker_id: str) -> str:
    """The channel on which a worker hears that a wait may be over."""
    return f"cw:{{_}}:wake:v1:{worker_id}"


def sessions(tag: str) -> str:
    """Index of a tenant's sessions, for the time to live of a session."""
    return f"cw:{{{tag}}}:sessions:v1"


def seat(tag: str, sid: str) -> str:
    """Prompt tokens of a session, where the tenant's limits are decided; as long as the session."""
    return f"cw:{{{tag}}}:seat:v1:{sid}"


def session(tag: str, sid: str) -> str:
    """The head of a session, for the time to live of a session; ``sid`` is a digest of its scope and id."""
    return f"cw:{{{tag}:{sid}}}:session:v1"


def turns(tag: str, sid: str) -> str:
    """The turns of a session, as long as its head."""
    return f"cw:{{{tag}:{sid}}}:turns:v1"


def kept(tag: str, call_id: str) -> str:
    """The answer that made a tool call (the first of its calls names it), for ``KEPT_TTL_S``."""
    return f"cw:{{{tag}:{call_id}}}:kept:v1"


def answer(tag: str, digest: str) -> str:
    """A cached answer, for the time to live of the cache, key or request."""
    return f"cw:{{{tag}:{digest}}}:answer:v1"


def once(tag: str, digest: str) -> str:
    """The answer to an ``Idempotency-Key``, for ``CLAUDE_WRAPPER_IDEMPOTENCY_TTL``."""
    return f"cw:{{{tag}:{digest}}}:once:v1"


def flight(tag: str, digest: str) -> str:
    """Who is making an answer and who waits for it, for ``FLIGHT_TTL_S``."""
    return f"cw:{{{tag}:{digest}}}:flight:v1"
