// The charts over time: which there are, and what they take from the figures.

const perMinute = (pick) => (point, minutes) => pick(point) / minutes;

const CHARTS = [
  new TimeChart({
    title: "Requests per minute",
    kind: "bars",
    show: format.rate,
    empty: "no requests",
    series: [
      {
        name: "served",
        color: "blue",
        value: perMinute((p) => p.requests - p.errors - p.clientErrors),
        latest: ({ performance: p }) => format.count(p.requests - p.errors - p.clientErrors),
      },
      {
        name: "client errors",
        color: "amber",
        value: perMinute((p) => p.clientErrors),
        latest: ({ performance: p }) => format.count(p.clientErrors),
      },
      {
        name: "failed",
        color: "red",
        value: perMinute((p) => p.errors),
        latest: ({ performance: p }) => format.count(p.errors),
      },
    ],
    before: { name: "before", color: "ink", value: perMinute((p) => p.requests) },
  }),
  new TimeChart({
    title: "Response time",
    kind: "lines",
    show: format.ms,
    empty: "no replies",
    series: [
      {
        name: "p50",
        color: "ramp-1",
        value: (p) => p.p50Ms,
        latest: ({ performance: p }) => format.ms(p.response.p50Ms),
      },
      {
        name: "p95",
        color: "ramp-2",
        value: (p) => p.p95Ms,
        latest: ({ performance: p }) => format.ms(p.response.p95Ms),
      },
      {
        name: "p99",
        color: "ramp-3",
        value: (p) => p.p99Ms,
        latest: ({ performance: p }) => format.ms(p.response.p99Ms),
      },
    ],
    before: { name: "p95 before", color: "ink", value: (p) => p.p95Ms },
  }),
  new TimeChart({
    title: "Time to first token",
    kind: "lines",
    show: format.ms,
    empty: "no streams",
    series: [
      {
        name: "p50",
        color: "violet",
        value: (p) => p.firstTokenP50Ms,
        latest: ({ performance: p }) => format.ms(p.firstToken.p50Ms),
      },
      {
        name: "p95",
        color: "clay",
        value: (p) => p.firstTokenP95Ms,
        latest: ({ performance: p }) => format.ms(p.firstToken.p95Ms),
      },
    ],
  }),
  new TimeChart({
    title: "Tokens per minute",
    kind: "bars",
    show: format.rate,
    empty: "no tokens",
    series: [
      {
        name: "input",
        color: "blue",
        value: perMinute((p) => p.tokens.input),
        latest: ({ performance: p }) => format.count(p.tokens.input),
      },
      {
        name: "output",
        color: "clay",
        value: perMinute((p) => p.tokens.output),
        latest: ({ performance: p }) => format.count(p.tokens.output),
      },
      {
        name: "cache read",
        color: "teal",
        value: perMinute((p) => p.tokens.cacheRead),
        latest: ({ performance: p }) => format.count(p.tokens.cacheRead),
      },
      {
        name: "cache write",
        color: "violet",
        value: perMinute((p) => p.tokens.cacheWrite),
        latest: ({ performance: p }) => format.count(p.tokens.cacheWrite),
      },
    ],
  }),
];
