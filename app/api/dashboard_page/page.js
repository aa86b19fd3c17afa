// The page: what is shown when figures come, what happens on a click, on a key, without an answer.

const page = { window: "1h", shownAt: 0, announced: "" };

function show(data) {
  byId("loading").hidden = true;
  byId("login").hidden = true;
  byId("board").hidden = false;
  byId("windows").hidden = false;
  byId("log-out").hidden = !client.key;
  byId("board").dataset.stale = "false";
  showState(data);
  showAlerts(data);
  showFirstSteps(data);
  showTiles(data);
  for (const chart of CHARTS) chart.update(data);
  showCapacity(data);
  showTrend(data);
  showReplicas(data);
  showSpend(data);
  showErrors(data);
  showEvents(data);
  page.shownAt = data.at;
  setText(
    byId("updated"),
    `As of ${format.clockWithSeconds(data.at)}. ` +
      (data.scope === "cluster" ? "All replicas together." : "This worker alone."),
  );
  warn(
    data.degraded
      ? "The state store (Redis) is away. These are the figures of one worker alone, since it last reached the store."
      : "",
  );
  announce(data);
}

function warn(text) {
  byId("banner").hidden = !text;
  setText(byId("banner"), text);
}

/** Tells screen readers of what is new in state and alerts, not of every turn. */
function announce({ overview }) {
  const alerts = overview.alerts.map((alert) => `${alert.level}: ${format.words(alert.name)}`).join(", ");
  const text = `Gateway ${stateOf(overview).text}. ${alerts || "No active alerts"}.`;
  if (text !== page.announced) setText(byId("announcements"), text);
  page.announced = text;
}

function showLost(error) {
  byId("status").dataset.level = "warning";
  setText(byId("status-text"), "no connection");
  byId("board").dataset.stale = "true";
  const since = page.shownAt ? ` These are the figures of ${format.clockWithSeconds(page.shownAt)}.` : "";
  warn(`The gateway cannot be reached.${since} Trying again.`);
  if (!page.shownAt) setText(byId("loading"), error.message);
}

function showLogin({ status, message }) {
  const hadKey = client.key !== "";
  client.key = "";
  page.shownAt = 0;
  for (const id of ["loading", "board", "log-out", "windows"]) byId(id).hidden = true;
  byId("status").dataset.level = "unknown";
  setText(byId("status-text"), "log in");
  setText(byId("release"), "dashboard");
  warn("");
  byId("login").hidden = false;
  const texts = {
    401: "This key is not accepted.",
    403: "This key may not see the dashboard: it lacks the scope admin.",
  };
  setText(byId("login-problem"), hadKey ? (texts[status] ?? message) : "");
  byId("login-key").focus();
}

const poll = new Poll(async (isLatest) => {
  try {
    if (client.isLocked) throw new Refused(401, "");
    const data = await client.read(page.window);
    if (isLatest()) show(data);
    return true;
  } catch (error) {
    if (!isLatest()) return true;
    if (error instanceof Refused) {
      poll.stop();
      showLogin(error);
    } else {
      showLost(error);
    }
    return false;
  }
});

/** The time shown stands in the address, so that it can be linked and outlives a reload. */
const address = {
  /** The tab that the address asks for; without one the last hour. */
  get tab() {
    return byId(`window-${new URLSearchParams(location.search).get("window")}`) ?? byId("window-1h");
  },

  note(windowName) {
    const url = new URL(location.href);
    url.searchParams.set("window", windowName);
    history.replaceState(null, "", url);
  },
};

function choose(tab, { focus = false } = {}) {
  for (const other of byId("windows").children) {
    other.setAttribute("aria-selected", other === tab);
    other.tabIndex = other === tab ? 0 : -1;
  }
  byId("board").setAttribute("aria-labelledby", tab.id);
  page.window = tab.dataset.window;
  if (focus) tab.focus();
  if (poll.running) poll.now();
}

byId("windows").addEventListener("click", (event) => {
  const tab = event.target.closest("[role=tab]");
  if (!tab) return;
  choose(tab);
  address.note(page.window);
});

byId("windows").addEventListener("keydown", (event) => {
  const tabs = [...byId("windows").children];
  const at = tabs.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  choose(tabs[(to + tabs.length) % tabs.length], { focus: true });
  address.note(page.window);
});

byId("theme").addEventListener("click", theme.toggle);

byId("log-out").addEventListener("click", () => {
  poll.stop();
  client.key = "";
  showLogin({});
});

byId("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  client.key = byId("login-key").value.trim();
  byId("login-key").value = "";
  poll.start();
});

byId("charts").append(...CHARTS.map((chart) => chart.node));
choose(address.tab);
poll.start();
