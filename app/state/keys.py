"""Every key name in Redis and its time to live; names are built only here.

The varying id of what one script touches stands in braces, so that a cluster keeps it in one slot:
``cw:{<tenant>}:...`` for a tenant, ``cw:{_}:...`` for what belongs to none. A kind carries the version of its value's
layout (``:v1``): two releases of the gateway share one Redis during a rollout, so a changed layout gets a new name.
Source: DESIGN.md section 3.

| key | value | TTL | written by |
|---|---|---|---|
| ``cw:{_}:worker:v1:<worker id>`` | ``WorkerFigures``, JSON | 15 s | ``figures.publish``, every 5 s |
| ``cw:{_}:workers:v1`` | sorted set: worker id -> Unix second of expiry | 15 s | ``figures.publish`` |
| ``cw:{_}:secret:v1`` | 32 random bytes | 400 days after the last start | ``secret.shared_secret`` |
| ``cw:{_}:probe:v1`` | ``1`` | 60 s | ``lane``: is the store writable? |
"""

from __future__ import annotations

#: A worker that has not published for this long is gone: three missed turns of 5 s.
WORKER_TTL_S = 15
#: Long enough for a deployment that is switched off for a year; renewed whenever a worker starts.
SECRET_TTL_S = 400 * 86_400
#: Only has to be written, nobody reads it.
PROBE_TTL_S = 60

WORKERS = "cw:{_}:workers:v1"
SECRET = "cw:{_}:secret:v1"  # noqa: S105 - the name of a key, not a secret
PROBE = "cw:{_}:probe:v1"


def worker(worker_id: str) -> str:
    """Figures of one worker, for ``WORKER_TTL_S``."""
    return f"cw:{{_}}:worker:v1:{worker_id}"
