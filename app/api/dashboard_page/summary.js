// What comes first: state, alerts, key figures, the comparison with the time before.

const WINDOW_NAMES = { "15m": "15 minutes", "1h": "hour", "24h": "24 hours", "48h": "48 hours" };

function beforeName(data) {
  return `the ${WINDOW_NAMES[data.window.name]} before`;
}

/** Figures that are shares: they are compared by their difference, in percentage points. */
const SHARES = new Set(["errorRate", "cacheHitRate"]);

/** "▲ 12 %"; of a share "▲ 0.04 points". */
function changeText({ figure, now, before, change }) {
  if (SHARES.has(figure)) return now === null || before === null ? "" : pointsText(100 * (now - before));
  if (change === null) return "";
  if (Math.abs(change) < 0.005) return "unchanged";
  return `${change > 0 ? "▲" : "▼"} ${change > 9.99 ? ">999 %" : format.percent(Math.abs(change), 0)}`;
}

function pointsText(points) {
  if (Math.abs(points) < 0.005) return "unchanged";
  return `${points > 0 ? "▲" : "▼"} ${digits(Math.abs(points), Math.abs(points) < 1 ? 2 : 1)}${SPACE}points`;
}

function trendOf(data, figure) {
  return data.performance.trend.find((trend) => trend.figure === figure);
}

/** State and alerts in one: what is wrong, and the worst of it. */
function stateOf({ status, alertLevel }) {
  const wrong = [alertLevel === "ok" ? "" : alertLevel, status === "healthy" ? "" : status].filter(Boolean);
  return {
    text: wrong.join(", ") || "healthy",
    level: alertLevel === "critical" ? "critical" : wrong.length ? "warning" : "ok",
  };
}

function showState(data) {
  const { version, versions, uptime, replicasAlive, workers } = data.overview;
  const state = stateOf(data.overview);
  byId("status").dataset.level = state.level;
  setText(byId("status-text"), state.text);
  const replicas = `${format.plural(replicasAlive, "replica")}, ${format.plural(workers, "worker")}`;
  setText(
    byId("release"),
    `${versions.length > 1 ? versions.join(" and ") : version} · ${replicas} · up ${format.duration(uptime)}`,
  );
}

function showAlerts(data) {
  const items = data.overview.alerts.map(({ name, level, since, text }) =>
    element(
      "li",
      { class: "alert", "data-level": level, title: name },
      element("b", {}, level),
      element("span", { class: "text" }, format.sentence(text)),
      element("time", { datetime: new Date(since * 1000).toISOString() }, `since ${format.moment(since)}`),
    ),
  );
  byId("alerts").replaceChildren(...(items.length ? [element("ul", {}, items)] : []));
}

const TILES = [
  {
    name: "Requests per minute",
    color: "blue",
    trend: "requestsPerMinute",
    figure: ({ performance }) => [format.rate(performance.requestsPerMinuteNow), "now"],
    detail: ({ performance }) =>
      `${format.count(performance.requests)} requests, ${format.rate(performance.requestsPerMinute)} / min`,
    points: (point) => point.requests,
  },
  {
    name: "Response time, p95",
    color: "teal",
    trend: "responseP95Ms",
    worse: "up",
    figure: ({ performance }) => withUnit(format.ms(performance.response.p95Ms)),
    detail: ({ performance: { response } }) => `p50 ${format.ms(response.p50Ms)}, p99 ${format.ms(response.p99Ms)}`,
    points: (point) => point.p95Ms,
  },
  {
    name: "First token, p95",
    color: "violet",
    trend: "firstTokenP95Ms",
    worse: "up",
    figure: ({ performance }) => withUnit(format.ms(performance.firstToken.p95Ms)),
    detail: ({ performance: { firstToken } }) =>
      `p50 ${format.ms(firstToken.p50Ms)}, p99 ${format.ms(firstToken.p99Ms)}`,
    points: (point) => point.firstTokenP95Ms,
  },
  {
    name: "Error rate",
    color: "red",
    trend: "errorRate",
    worse: "up",
    figure: ({ performance }) => withUnit(format.percent(performance.errorRate, 2)),
    detail: ({ performance: { errors, refused } }) =>
      `${format.count(errors)} failed, ${format.count(refused)} over a limit`,
    points: (point) => point.errors,
  },
  {
    name: "Availability",
    color: "teal",
    figure: ({ performance }) => withUnit(format.percent(performance.availability.share, 3)),
    detail: ({ performance: { availability } }) => `objective ${format.percent(availability.objective, 2)}`,
    note: ({ performance: { availability } }) => budgetText(availability),
    sense: ({ performance: { availability } }) => (availability.met === false ? "bad" : null),
    foot: ({ performance: { availability } }) => budgetTrack(availability),
  },
  {
    name: "Cache hit rate",
    color: "clay",
    trend: "cacheHitRate",
    worse: "down",
    figure: ({ performance }) => withUnit(format.percent(performance.cache.hitRate)),
    detail: ({ performance: { cache, costUsd } }) =>
      `${format.usd(cache.savedUsd)} saved, ${format.usd(costUsd)} spent`,
    points: (point) => point.cacheHitRate,
  },
];

/** A text in two parts: the number and its unit. */
function withUnit(text) {
  const [number, unit = ""] = text.split(SPACE);
  return [number, unit];
}

function budgetText({ budgetLeft }) {
  if (budgetLeft === null) return "";
  return budgetLeft < 0 ? "error budget overdrawn" : `${format.percent(budgetLeft, 0)} of error budget left`;
}

/** How much of the failures that the objective allows have happened. */
function budgetTrack({ budgetLeft }) {
  const spent = budgetLeft === null ? 0 : 1 - budgetLeft;
  return element("div", { class: "meter teal", "data-level": levelOf(spent) }, track(spent));
}

function showTiles(data) {
  byId("tiles").replaceChildren(...TILES.map((tile) => tileNode(tile, data)));
}

function tileNode(tile, data) {
  const [number, unit] = tile.figure(data);
  const trend = tile.trend ? trendOf(data, tile.trend) : null;
  const whole = data.performance.series.filter((point) => !point.partial);
  return element(
    "article",
    { class: "tile", title: trend ? `${changeText(trend)} compared with ${beforeName(data)}` : null },
    element("h3", {}, tile.name),
    element("p", { class: "figure" }, number, unit ? element("small", {}, unit) : null),
    element("p", { class: "detail" }, tile.detail(data)),
    trend
      ? element(
          "p",
          { class: "change", "data-sense": senseOf(tile.worse, trend) },
          changeText(trend),
          trend.regression ? " · regression" : "",
        )
      : element("p", { class: "change", "data-sense": tile.sense(data) }, tile.note(data)),
    tile.foot ? tile.foot(data) : sparkline(whole.map(tile.points), tile.color),
  );
}

/** Whether a change is for the worse or the better; nothing where it is small or means neither. */
function senseOf(worse, { figure, now, before, change, regression }) {
  if (regression) return "bad";
  if (!worse || change === null) return null;
  if (SHARES.has(figure) ? Math.abs(now - before) < 0.01 : Math.abs(change) < 0.05) return null;
  return change > 0 === (worse === "up") ? null : "good";
}

const TREND_ROWS = [
  ["requestsPerMinute", "Requests per minute", format.rate],
  ["tokensPerMinute", "Tokens per minute", format.rate],
  ["responseMeanMs", "Response time, mean", format.ms],
  ["responseP95Ms", "Response time, p95", format.ms],
  ["firstTokenP95Ms", "First token, p95", format.ms],
  ["errorRate", "Error rate", (value) => format.percent(value, 2)],
  ["cacheHitRate", "Cache hit rate", format.percent],
  ["usdPerMinute", "Spend per minute", format.usd],
];

const REGRESSIONS =
  "Marked as worse: times at least 20 % longer, an error rate at least 1 point higher, a cache hit rate at least " +
  "10 points lower; with 20 requests or more in both.";

function showTrend(data) {
  const rows = TREND_ROWS.map(([figure, name, show]) => ({ name, show, trend: trendOf(data, figure) })).filter(
    (row) => row.trend,
  );
  const columns = [
    { name: "Figure", title: true, text: (row) => row.name },
    { name: `Last ${WINDOW_NAMES[data.window.name]}`, number: true, text: ({ show, trend }) => show(trend.now) },
    { name: "Before", number: true, text: ({ show, trend }) => show(trend.before) },
    {
      name: "Change",
      number: true,
      text: ({ trend }) =>
        trend.regression ? badge(`${changeText(trend)} worse`, "critical") : changeText(trend) || NONE,
    },
  ];
  setText(byId("trend-title").querySelector("small"), beforeName(data));
  fill(byId("trend"), element("div", { class: "scroll" }, dataTable(columns, rows)), note(REGRESSIONS));
}

function showFirstSteps(data) {
  const { performance, overview } = data;
  byId("first-steps").hidden = performance.requests > 0;
  if (performance.requests > 0) return;
  const key = overview.status && client.key ? ' -H "Authorization: Bearer $KEY"' : "";
  setText(
    byId("example"),
    `curl ${location.origin}/v1/chat/completions${key} -H "Content-Type: application/json" \\\n` +
      `  -d '{"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "Hello"}]}'`,
  );
}
