"""A simulator of Anthropic's Messages API: for development without a key, for tests and for benchmarks.

It serves ``POST /v1/messages`` (plain and as server-sent events), ``POST /v1/messages/count_tokens``,
``GET /v1/models`` and ``GET /v1/models/{id}``, authenticates, refuses what the real API would refuse, and answers
errors in its shape. ``claude-wrapper --mock`` runs it beside the gateway, ``claude-wrapper simulator`` alone,
``server.run`` from code. Any key but ``invalid...`` is accepted, unless a setting lists them.

Answers are a function of the request: the same request gets the same content and ids, plain or streamed. Only
``request-id``, the rate limits and what the prompt cache already holds differ.

- Text says what was asked and goes on for 16 to 120 tokens, as a hash of the request decides.
- Tools are called as ``answers/tool_calls.py`` states: when forced, or when the last user message names one
  (``get_weather``) or a word of its name (*weather*). A name that stands twice is called twice. Arguments satisfy the
  schema. After tool results comes a text that repeats them.
- ``output_config.format`` gets JSON of that schema; a system prompt that says *valid JSON object* gets an object.
- Thinking (always, or when asked for, as the model has it) comes with a signature that is checked when it comes back.
- A ``web_search_*`` tool is used when the last user message says *search*, *web*, *look up* or *latest*.

Tokens: four bytes of UTF-8 are one token, rounded up for each text; the other rules are in ``prompt.py``.
``count_tokens`` counts as ``usage`` does. The prompt cache (``cache.py``) is real, in memory, with times to live and
the models' minimum.

Scripts (fields: ``script.Script``) say what one reply does: pace, errors, faults of the connection, nonsense, content.

- In the prompt: ``[[sim: ttft_ms=200 status=529 times=1]]`` in the system prompt or in the last user message.
- In a header: ``x-simulator-script: cut_at_byte=300`` or ``x-simulator-ttft-ms: 200``.
- In the environment: ``CLAUDE_WRAPPER_SIMULATOR_*`` (``settings.SimulatorSettings``), for every reply.
- Over HTTP: ``POST /_simulator/script`` with ``{"status": 529, "times": 2, "match": "text in the body"}``.

``GET /_simulator/journal`` lists what came in (with ``--journal N``), ``GET /_simulator/invoice`` says what Anthropic
would bill, ``POST /_simulator/reset`` forgets everything.

The invoice sums up calls and tokens by how the calls ended: ``completed``; ``cancelled`` by the client (the input, and
the output made until then by the schedule); ``broken`` by a script (the input, and the output sent until then); each
also by model; and ``refused``, which costs nothing. ``open`` calls are booked when they end. Rules: ``invoice.py``.

Pace: token *i* of a stream is due ``ttft_ms + i / tokens_per_second`` after the request, whatever was late before it; a
delta comes with its first token. Such replies carry ``x-simulator-started-at`` (Unix seconds), ``-ttft-ms``,
``-tokens-per-second`` and ``-delta-tokens``. With ``stamp`` every text delta is the time at which it was due, in Unix
milliseconds and a space, which tells a client behind a gateway how late it came.
"""
