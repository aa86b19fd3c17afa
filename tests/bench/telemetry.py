"""What tracing costs: on the request path, and in the thread that makes and encodes spans.

    python -m tests.bench.telemetry

While it is off the request path has two comparisons with ``None``, which cannot be measured.
"""

from __future__ import annotations

import platform
import random
import time
import timeit
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from app.domain.calls import Usage
from app.observability.otlp import REQUESTS_AT_ONCE, worker_resource
from app.observability.record import RequestRecord
from app.observability.spans import SpanMaker
from app.observability.tracing import Tracer

ROUTE = "/v1/chat/completions"
#: As many as OpenAI's client sends.
HEADERS = [(b"x-stainless-%d" % number, b"some value") for number in range(12)]
PARENT = (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def record() -> RequestRecord:
    """The notes of a good stream."""
    return RequestRecord(
        "req-0123456789abcdef",
        "POST",
        ROUTE,
        status=200,
        model="claude-opus-5-5",
        model_label="claude-opus-5-5",
        stream=True,
        attempts=1,
        usage=Usage(input_tokens=10, output_tokens=20, cache_read_input_tokens=3),
        tenant="acme",
        cache="bypass",
        verdict="admitted",
        nano=12_345,
        began_at=1.0,
        read_at=1.001,
        translated_at=1.002,
        admitted_at=1.003,
        sent_at=1.004,
        answered_at=1.2,
        first_token_at=1.3,
        ended_at=1.5,
    )


def microseconds(what: Callable[[], object], times: int) -> float:
    """CPU time of one call, the best of five runs."""
    return min(timeit.repeat(what, timer=time.process_time, number=times, repeat=5)) / times * 1e6


def main() -> None:
    """Measures and prints."""
    tracer = Tracer(sample=1.0, bits=random.Random(1).getrandbits)
    notes = record()

    def request(headers: list[tuple[bytes, bytes]]) -> None:
        notes.trace = trace = tracer.begin(headers)
        trace.outgoing()
        trace.settling(1.5)
        trace.settled(1.6, made=True)
        tracer.ended(notes, route=ROUTE, duration_s=0.6)

    def path(headers: list[tuple[bytes, bytes]]) -> float:
        def one() -> None:
            request(headers)
            tracer._waiting.clear()

        return microseconds(one, 50_000)

    maker = SpanMaker(worker_resource("bench"), server=("api.anthropic.com", 443), bits=random.Random(1).getrandbits)
    for _ in range(REQUESTS_AT_ONCE):
        request(HEADERS)
    batch = tracer.take(REQUESTS_AT_ONCE, now=2.0)

    def export() -> bytes:
        spans = [span for ended in batch for span in maker.spans_of(ended, epoch_ns=10**18)]
        return encode_spans(spans).SerializeToString()

    exported = microseconds(export, 20)
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}")
    print(f"request path, a new trace:         {path(HEADERS):6.2f} us")
    print(f"request path, the client's trace:  {path([*HEADERS, PARENT]):6.2f} us")
    print(f"spans of a request, in the thread: {exported / len(batch):6.1f} us, {len(export()) // len(batch)} bytes")
    print(f"longest hold of the interpreter:   {exported / 1000:6.1f} ms ({len(batch)} requests at once)")


if __name__ == "__main__":
    main()
