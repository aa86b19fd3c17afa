// The rest: capacity, replicas, spend, errors, the history of alerts.

const CREDENTIAL_LEVELS = { ok: "ok", limited: "warning", failing: "critical" };
const HISTORY_LENGTH = 60;

function showCapacity(data) {
  const { resources } = data;
  const { sessions, store, memory, inFlight } = resources;
  const meters = [
    meter("Requests in flight", inFlight, format.count, { note: ` · ${format.count(resources.streams)} streams` }),
    meter("Memory of the fullest replica", memory, format.bytes),
    meter("Sessions of the fullest tenant", sessions.fullest, format.count, {
      note: ` · ${format.count(sessions.live)} in all`,
    }),
    meter("Redis memory", store.memory, format.bytes),
  ];
  const keys = resources.upstream.flatMap(({ label, state, since, limits }) => [
    element(
      "p",
      { class: "group" },
      `Anthropic key ${label}`,
      badge(state + (state !== "ok" && since ? ` since ${format.moment(since)}` : ""), CREDENTIAL_LEVELS[state]),
      limits.length ? null : element("small", {}, "no rate limits heard of in the last minute"),
    ),
    ...limits.map(({ limit, remaining, max, share }) =>
      meter(`${format.words(limit.replaceAll("-", "_"))} left`, { used: remaining, max, share }, format.count, {
        low: true,
      }),
    ),
  ]);
  fill(byId("capacity"), element("div", { class: "meters" }, meters, keys));
}

/** CPU of each replica as it was heard here, for the sparklines: the replicas do not keep it. */
const cpuHistory = new Map();

function noteCpu(replicas) {
  for (const { host, cpuPercent } of replicas) {
    const history = cpuHistory.get(host) ?? [];
    cpuHistory.set(host, [...history, cpuPercent].slice(-HISTORY_LENGTH));
  }
  const alive = new Set(replicas.map((replica) => replica.host));
  for (const host of cpuHistory.keys()) if (!alive.has(host)) cpuHistory.delete(host);
}

function replicaState({ draining, storeAway }) {
  if (storeAway) return badge("without Redis", "warning");
  return draining ? badge("draining", "warning") : badge("serving", "ok");
}

const REPLICA_COLUMNS = [
  {
    name: "Replica",
    title: true,
    wide: true,
    text: (row) => [
      element("b", {}, row.host),
      element(
        "span",
        { class: "sub" },
        `${row.version} · ${format.plural(row.workers, "worker")} · up ${format.duration(row.uptime)}`,
      ),
    ],
  },
  { name: "State", text: replicaState },
  { name: "Requests / min", number: true, text: (row) => format.rate(row.requestsLastMinute) },
  {
    name: "In flight",
    number: true,
    text: (row) => `${format.count(row.inFlight.used)} (${format.count(row.streams)} streams)`,
  },
  {
    name: "Memory",
    text: (row) => {
      const node = element("div", { class: "meter", "data-level": levelOf(row.memory.share) });
      const { used, share } = row.memory;
      node.append(`${format.bytes(used)} · ${format.percent(share, 0)}`, track(share));
      return node;
    },
  },
  {
    name: "CPU, of one core",
    text: (row) =>
      element(
        "div",
        { class: "beside" },
        element("span", {}, `${format.rate(row.cpuPercent)} %`),
        sparkline(cpuHistory.get(row.host) ?? [], "blue"),
      ),
  },
  { name: "Loop lag", number: true, text: (row) => format.ms(row.loopLagMs) },
];

function showReplicas(data) {
  const { replicas } = data.resources;
  noteCpu(replicas);
  fill(
    byId("replicas"),
    replicas.length
      ? element("div", { class: "scroll" }, dataTable(REPLICA_COLUMNS, replicas, { stacked: true }))
      : empty("No replica has said anything yet."),
  );
}

function showSpend(data) {
  const { spend, window } = data;
  const when = `${format.usd(spend.totalUsd)} in the last ${WINDOW_NAMES[window.name]}`;
  for (const [id, rows, color] of [
    ["tenants", spend.byTenant, "clay"],
    ["models", spend.byModel, "blue"],
  ]) {
    setText(byId(`${id}-title`).querySelector("small"), when);
    fill(byId(id), rows.length ? moneyBars(rows, color) : empty("Nothing was spent in this time."));
  }
}

const ERROR_COLUMNS = [
  { name: "Time", text: (row) => format.moment(row.at) },
  {
    name: "Status",
    text: (row) => badge(row.status || "cut", row.status && row.status < 500 ? "warning" : "critical"),
  },
  {
    name: "What",
    wide: true,
    text: (row) => [
      row.code || NONE,
      element("span", { class: "sub" }, [row.path, row.model, row.tenant].filter(Boolean).join(" · ")),
      element("code", {}, row.requestId),
    ],
  },
];

function showErrors(data) {
  const { errors } = data.recent;
  fill(
    byId("errors"),
    errors.length
      ? element("div", { class: "scroll" }, dataTable(ERROR_COLUMNS, errors, { stacked: true }))
      : empty("No request has failed lately."),
  );
}

const EVENT_COLUMNS = [
  { name: "Time", text: (row) => format.moment(row.at) },
  { name: "Level", text: (row) => badge(row.level === "ok" ? "resolved" : row.level, row.level) },
  {
    name: "Alert",
    wide: true,
    text: (row) => [format.sentence(row.text), element("span", { class: "sub" }, row.name)],
  },
];

function showEvents(data) {
  const { alerts } = data.recent;
  const none = data.degraded
    ? "Not known while the state store is away."
    : data.overview.monitored
      ? "No alert has changed its level lately."
      : "Nobody evaluates alerts: start the gateway with --health-monitoring, or run claude-wrapper monitor.";
  fill(
    byId("events"),
    alerts.length
      ? element("div", { class: "scroll" }, dataTable(EVENT_COLUMNS, alerts, { stacked: true }))
      : empty(none),
  );
}
