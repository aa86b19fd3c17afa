// A chart over time, with a legend, a cursor for the mouse and the arrow keys, and the same numbers as a table.

const LABEL_WIDTH_PX = 64;

/**
 * A chart.
 *
 * spec.title: heading. spec.kind: "bars" (stacked) or "lines". spec.show: value -> text, of axis and cursor.
 * spec.series: [{name, color, value: (point, minutes) -> number | null, latest: (data) -> text}].
 * spec.before: the same of the points before, drawn dashed, or nothing. spec.empty: text without any value.
 */
class TimeChart {
  constructor(spec) {
    this.spec = spec;
    this.data = null;
    this.cursor = null;
    this.legend = element("ul", { class: "legend" });
    this.svg = shape("svg", { role: "img", tabindex: "0" });
    this.hint = element("p", { class: "empty", hidden: true }, spec.empty);
    this.tip = element("div", { class: "tip", hidden: true, role: "status" });
    this.plot = element("div", { class: "plot" }, this.svg, this.hint, this.tip);
    this.table = element("div", {
      class: "scroll",
      tabindex: "0",
      role: "region",
      "aria-label": `${spec.title}, as a table`,
    });
    this.details = element("details", {}, element("summary", {}, "As a table"), this.table);
    this.node = element(
      "figure",
      { class: "card chart", "aria-label": spec.title },
      element("header", {}, element("h2", {}, spec.title), this.legend),
      this.plot,
      this.details,
    );
    this.listen();
  }

  listen() {
    new ResizeObserver(() => this.draw()).observe(this.plot);
    this.plot.addEventListener("pointermove", (event) => this.point(event.clientX));
    this.plot.addEventListener("pointerdown", (event) => this.point(event.clientX));
    this.plot.addEventListener("pointerleave", () => this.moveTo(null));
    this.svg.addEventListener("blur", () => this.moveTo(null));
    this.svg.addEventListener("keydown", (event) => this.press(event));
    this.details.addEventListener("toggle", () => this.tabulate());
  }

  /** Takes new figures: `performance` and `window` of /dashboard/data. */
  update(data) {
    this.data = data;
    const minutes = data.window.stepS / 60;
    const values = (series, points) => points.map((point) => series.value(point, minutes));
    this.columns = this.spec.series.map((series) => ({ ...series, values: values(series, data.performance.series) }));
    this.before = this.spec.before && {
      ...this.spec.before,
      values: values(this.spec.before, data.performance.before),
    };
    this.draw();
    this.describe();
    this.tabulate();
  }

  draw() {
    if (!this.data) return;
    const { width, height } = this.plot.getBoundingClientRect();
    if (width === 0) return;
    const points = this.data.performance.series;
    const marks = ticks(this.highest());
    this.place = frame(width, height, points.length, marks.at(-1));
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const before = this.before?.values.some(Boolean) ? [lineShapes(this.place, { ...this.before, before: true })] : [];
    const partial = points.map((point) => point.partial);
    const drawn =
      this.spec.kind === "bars"
        ? [...stackedBars(this.place, this.columns, partial), ...before]
        : [...before, ...this.columns.map((column) => lineShapes(this.place, column))];
    this.cursorGroup = shape("g", { class: "cursor" });
    this.svg.replaceChildren(
      ...gridShapes(this.place, marks, this.spec.show),
      timeLabels(this.place, labelled(points, this.data.window.stepS, width - 52, LABEL_WIDTH_PX)),
      ...drawn,
      this.cursorGroup,
    );
    this.hint.hidden = this.columns.some((column) => column.values.some(Boolean));
    this.moveTo(this.cursor);
  }

  highest() {
    const columns = this.columns.map((column) => column.values);
    const own =
      this.spec.kind === "bars"
        ? columns[0].map((_, index) => columns.reduce((sum, values) => sum + (values[index] ?? 0), 0))
        : columns.flat();
    return Math.max(0, ...own.filter(Number.isFinite), ...(this.before?.values ?? []).filter(Number.isFinite));
  }

  describe() {
    const { series, title, before } = this.spec;
    const items = series.map(({ name, color, latest }) =>
      element("li", { class: color }, this.key(), name, latest ? element("b", {}, latest(this.data)) : null),
    );
    if (before)
      items.push(element("li", { class: before.color }, element("span", { class: "key dashed" }), before.name));
    this.legend.replaceChildren(...items);
    const spoken = series.map(({ name, latest }) => `${name} ${latest ? latest(this.data) : ""}`).join(", ");
    this.svg.setAttribute("aria-label", `${title}: ${spoken}. Arrow keys read the single points.`);
  }

  key() {
    return element("span", { class: this.spec.kind === "bars" ? "key" : "key line", "aria-hidden": "true" });
  }

  point(clientX) {
    if (this.place) this.moveTo(this.place.indexAt(clientX - this.plot.getBoundingClientRect().left));
  }

  press(event) {
    const last = (this.data?.performance.series.length ?? 0) - 1;
    const from = this.cursor ?? last + 1;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last, Escape: null }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.moveTo(to === null ? null : Math.max(0, Math.min(last, to)));
  }

  moveTo(index) {
    this.cursor = index;
    this.tip.hidden = index === null;
    this.cursorGroup?.replaceChildren(...(index === null ? [] : this.cursorShapes(index)));
    if (index !== null) this.tell(index);
  }

  cursorShapes(index) {
    const { x, y, top, bottom, slot } = this.place;
    if (this.spec.kind === "bars") {
      return [shape("rect", { x: x(index) - slot / 2, y: top, width: slot, height: bottom - top })];
    }
    const dots = this.columns
      .filter((column) => column.values[index] !== null)
      .map((column) => shape("circle", { class: column.color, cx: x(index), cy: y(column.values[index]), r: 4 }));
    return [shape("line", { x1: x(index), x2: x(index), y1: top, y2: bottom }), ...dots];
  }

  tell(index) {
    const point = this.data.performance.series[index];
    const rows = [...this.columns, ...(this.before ? [this.before] : [])].map(({ name, color, values }) =>
      element("li", { class: color }, this.key(), name, element("b", {}, this.spec.show(values[index] ?? null))),
    );
    const when = this.when(point) + (point.partial ? ", so far" : "");
    this.tip.replaceChildren(element("p", {}, when), element("ul", {}, rows));
    const { width } = this.plot.getBoundingClientRect();
    const at = this.place.x(index);
    const room = this.tip.offsetWidth + 14;
    this.tip.style.transform = `translateX(${at + room > width ? Math.max(0, at - room) : at + 14}px)`;
  }

  when(point) {
    const { stepS } = this.data.window;
    if (stepS < 3600) return format.clock(point.at);
    return `${format.dayAndTime(point.at)} – ${format.clock(point.at + stepS)}`;
  }

  tabulate() {
    if (!this.details.open || !this.data) return;
    const columns = [
      { name: "Time", text: ({ point }) => this.when(point) },
      ...this.columns.map(({ name, values }) => ({
        name,
        number: true,
        text: ({ index }) => this.spec.show(values[index]),
      })),
    ];
    const rows = this.data.performance.series.map((point, index) => ({ point, index })).reverse();
    this.table.replaceChildren(dataTable(columns, rows));
  }
}
