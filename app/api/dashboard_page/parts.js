// Small parts that several panels are made of: sparklines, meters, bars, tables, badges.

/**
 * A line without axes, as wide as its place; null is a gap. It says nothing to screen readers: the number stands
 * beside it.
 */
function sparkline(values, color, { area = true } = {}) {
  const numbers = values.filter((value) => value !== null);
  const highest = Math.max(...numbers, 0) || 1;
  const count = Math.max(values.length, 2);
  const place = { x: (index) => (100 * index) / (count - 1), y: (value) => 29 - (26 * value) / highest, bottom: 30 };
  return shape(
    "svg",
    { class: `spark ${color}`, viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" },
    runs(numbers.some(Boolean) ? values : []).flatMap((run) => {
      if (run.length === 1) return [];
      const corners = run
        .map(([index, value]) => `${place.x(index).toFixed(1)},${place.y(value).toFixed(1)}`)
        .join("L");
      const [first, last] = [place.x(run[0][0]), place.x(run.at(-1)[0])];
      const filled = shape("path", { class: "area", d: `M${first},30L${corners}L${last},30Z` });
      return [area ? filled : null, shape("path", { class: "line", d: `M${corners}` })];
    }),
  );
}

/** How full something is, as a level of alarm. */
function levelOf(share, warning = 0.8, critical = 0.9) {
  if (share === null) return "ok";
  return share >= critical ? "critical" : share >= warning ? "warning" : "ok";
}

function track(share) {
  const fill = element("i");
  fill.style.width = `${100 * Math.max(0, Math.min(1, share ?? 0))}%`;
  return element("div", { class: "track" }, fill);
}

/** A name, what is used of what there may be, and a bar; {used, max, share} as in the JSON. */
function meter(name, amount, show, { low = false, note = "" } = {}) {
  const known = amount !== null && amount.share !== null;
  const level = !known ? "ok" : low ? levelOf(1 - amount.share) : levelOf(amount.share);
  const of = amount === null ? "not known" : amount.max ? ` of ${show(amount.max)}` : " without a bound";
  const used = amount === null ? "" : show(amount.used);
  return element(
    "div",
    {
      class: "meter",
      "data-level": level,
      role: known ? "meter" : null,
      "aria-label": known ? name : null,
      "aria-valuemin": known ? "0" : null,
      "aria-valuemax": known ? "100" : null,
      "aria-valuenow": known ? Math.round(100 * amount.share) : null,
      "aria-valuetext": known ? `${used}${of}` : null,
    },
    element(
      "div",
      { class: "row" },
      element("span", {}, name),
      element("span", {}, element("b", {}, used), of, known ? ` · ${format.percent(amount.share, 0)}` : "", note),
    ),
    track(known ? amount.share : 0),
  );
}

/** Names with their part of a whole, the largest first: [{name, usd, share}]. */
function moneyBars(rows, color) {
  const largest = Math.max(...rows.map((row) => row.share), 0) || 1;
  return element(
    "ul",
    { class: "bars" },
    rows.map(({ name, usd, share }) =>
      element(
        "li",
        { class: color },
        element(
          "div",
          { class: "row" },
          element("span", { title: name }, name),
          element("b", {}, format.usd(usd), element("small", {}, format.percent(share, 0))),
        ),
        track(share / largest),
      ),
    ),
  );
}

/** A table; columns: [{name, text: (row) -> string or node, number, title, wide}]. */
function dataTable(columns, rows, { stacked = false } = {}) {
  const head = columns.map(({ name, number }) =>
    element("th", { scope: "col", class: number ? "number" : null }, name),
  );
  const body = rows.map((row) =>
    element(
      "tr",
      {},
      columns.map(({ name, text, number, title, wide }) => {
        const kind = [number && "number", title && "title", wide && "wide"].filter(Boolean).join(" ");
        return element("td", { class: kind || null, "data-label": title ? null : name }, text(row));
      }),
    ),
  );
  return element(
    "table",
    { class: stacked ? "stacked" : null },
    element("thead", {}, element("tr", {}, head)),
    element("tbody", {}, body),
  );
}

function badge(text, level) {
  return element("span", { class: "badge", "data-level": level }, text);
}

function empty(text) {
  return element("p", { class: "empty" }, text);
}

function note(text) {
  return element("p", { class: "note" }, text);
}

/** Replaces what stands below the heading of a card. */
function fill(card, ...nodes) {
  card.replaceChildren(card.querySelector("h2"), ...nodes);
}
