// What is drawn in a plot, as SVG: a grid with its labels, stacked bars, lines. Values come as arrays, null is a gap.

function gridShapes(place, values, show) {
  const lines = values.map((value) =>
    shape("line", {
      class: value === 0 ? "base" : null,
      x1: place.left,
      x2: place.right,
      y1: place.y(value),
      y2: place.y(value),
    }),
  );
  const labels = values.map((value) =>
    shape("text", { x: place.left - 8, y: place.y(value) + 4, "text-anchor": "end" }, show(value)),
  );
  return [shape("g", { class: "grid" }, lines), shape("g", { class: "axis" }, labels)];
}

function timeLabels(place, labels) {
  const texts = labels
    .map(({ at, index }) => ({ at, x: place.x(index) }))
    .filter(({ x }) => x > place.left + 14 && x < place.right - 14)
    .map(({ at, x }) => shape("text", { x, y: place.bottom + 17, "text-anchor": "middle" }, format.clock(at)));
  return shape("g", { class: "axis" }, texts);
}

/** Bars on top of each other, one column for each point; the column of a point that is not over is paler. */
function stackedBars(place, columns, partial) {
  const gap = place.slot > 6 ? 2 : place.slot > 3 ? 1 : 0.4;
  const bases = columns[0].values.map(() => 0);
  return columns.map(({ color, values }) => {
    const bars = values.flatMap((value, index) => {
      if (!value) return [];
      const top = place.y(bases[index] + value);
      const bottom = place.y(bases[index]);
      bases[index] += value;
      const height = Math.max(bottom - top, 1); // a single error among thousands is still seen
      return shape("rect", {
        class: partial[index] ? "bar partial" : "bar",
        x: place.x(index) - (place.slot - gap) / 2,
        y: bottom - height,
        width: place.slot - gap,
        height,
        rx: Math.min(2, (place.slot - gap) / 4),
      });
    });
    return shape("g", { class: `series ${color}` }, bars);
  });
}

/** A line with gaps; a value between two gaps is a point. */
function lineShapes(place, { color, values, before = false }) {
  const group = shape("g", { class: `series ${color}` });
  for (const run of runs(values)) {
    const corners = run.map(([index, value]) => `${place.x(index).toFixed(1)},${place.y(value).toFixed(1)}`);
    if (run.length === 1) {
      const [x, y] = corners[0].split(",");
      group.append(shape("circle", { class: "point", cx: x, cy: y, r: before ? 1.2 : 2.5 }));
      continue;
    }
    group.append(shape("path", { class: before ? "line before" : "line", d: `M${corners.join("L")}` }));
  }
  return group;
}

/** Neighbouring values without a gap, as lists of [index, value]. */
function runs(values) {
  const found = [];
  let run = [];
  values.forEach((value, index) => {
    if (value !== null && value !== undefined) {
      run.push([index, value]);
    } else if (run.length) {
      found.push(run);
      run = [];
    }
  });
  return run.length ? [...found, run] : found;
}
