// The rest: capacity, replicas, spend, errors, the history of alerts.

const CREDENTIAL_LEVELS = { ok: "ok", limited: "warning", failing: "critical" };
const HISTORY_LENGTH = 60;
/** Of a list, so many are seen at once; the others unfold. */
const AT_ONCE = 5;

function showCapacity(data) {
  const { resources } = data;
  const { sessions, store, memory, inFlight } = resources;
  const meters = [
    meter("Requests in flight", inFlight, format.count, { note: ` · ${format.plural(resources.streams, "stream")}` }),
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
      credentialBadge({ state, since, limits }),
      limits.length ? null : element("small", {}, "limits not known: Anthropic has told none in the last minute"),
    ),
    ...limits.map(({ limit, remaining, max, share }) =>
      meter(`${format.words(limit.replaceAll("-", "_"))} left`, { used: remaining, max, share }, format.count, {
        low: true,
      }),
    ),
  ]);
  fill(byId("capacity"), element("div", { class: "meters" }, meters, keys));
}

/** Without a call in the last minute nobody knows whether it is still fine. */
function credentialBadge({ state, since, limits }) {
  if (state === "ok" && !limits.length) return badge(since === null ? "not called yet" : "ok when last called");
  return badge(state + (state !== "ok" && since ? ` since ${format.moment(since)}` : ""), CREDENTIAL_LEVELS[state]);
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
  { name: "Requests / min", number: true, text: (row) => format.rate(row.requestsPerMinuteNow) },
  {
    name: "In flight",
    number: true,
    text: (row) => `${format.count(row.inFlight.used)} (${format.plural(row.streams, "stream")})`,
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

/** A list of which the first few are seen, and the others when they are asked for; it stays unfolded. */
function showList(id, columns, rows, none) {
  const [latest, older] = [byId(`${id}-latest`), byId(`${id}-older`)];
  const table = (some) => element("div", { class: "scroll" }, dataTable(columns, some, { stacked: true }));
  latest.replaceChildren(rows.length ? table(rows.slice(0, AT_ONCE)) : empty(none));
  older.hidden = rows.length <= AT_ONCE;
  setText(older.querySelector("summary"), `${rows.length - AT_ONCE} more`);
  older.querySelector("div").replaceChildren(table(rows.slice(AT_ONCE)));
}

/** A status; one that was sent before the reply broke off is no success. */
function statusBadge({ status, broken }) {
  if (broken) return badge(`${status}, broken off`, "critical");
  return badge(status || "cut", status && status < 500 ? "warning" : "critical");
}

const ERROR_COLUMNS = [
  { name: "Time", text: (row) => format.moment(row.at) },
  { name: "Status", text: statusBadge },
  { name: "Error", wide: true, text: (row) => row.code || NONE },
  { name: "Request", wide: true, text: (row) => [row.path, row.model, row.tenant].filter(Boolean).join(" · ") },
  { name: "Request id", wide: true, text: (row) => element("code", {}, row.requestId) },
];

function showErrors({ recent: { errors, errorKinds } }) {
  const count = errorKinds.reduce((sum, kind) => sum + kind.count, 0);
  setText(byId("errors-title").querySelector("small"), count > 1 ? `the last ${format.count(count)} by kind` : "");
  const kinds = errorKinds.map((kind) =>
    element("li", {}, statusBadge(kind), ` ${kind.code || NONE} `, element("b", {}, `× ${format.count(kind.count)}`)),
  );
  byId("error-kinds").replaceChildren(...(count > 1 ? kinds : []));
  showList("errors", ERROR_COLUMNS, errors, "None of the latest requests in the log has failed.");
}

const EVENT_COLUMNS = [
  { name: "Time", text: (row) => format.moment(row.at) },
  { name: "Level", text: (row) => badge(row.level === "ok" ? "resolved" : row.level, row.level) },
  { name: "Alert", wide: true, text: (row) => format.words(row.name) },
  { name: "What", wide: true, text: (row) => format.sentence(row.text) },
];

function showEvents(data) {
  const none = data.degraded
    ? "Not known while the state store is away."
    : data.overview.monitored
      ? "No alert has changed its level lately."
      : "Nobody evaluates alerts: start the gateway with --health-monitoring, or run claude-wrapper monitor.";
  showList("events", EVENT_COLUMNS, data.recent.alerts, none);
}
