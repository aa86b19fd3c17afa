// From values to places: round ends and steps of an axis, and which moments get a label.

const LABEL_STEPS_S = [60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200, 86_400];

/** Round values from 0 to at least `highest`, some four steps: their step is 1, 2, 2.5 or 5 times a power of ten. */
function ticks(highest) {
  if (!(highest > 0)) return [0, 1];
  const raw = highest / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw * 0.999) * power;
  const values = [];
  for (let n = 0; (n - 1) * step < highest; n += 1) values.push(Number((n * step).toPrecision(12)));
  return values;
}

/** The points at which a label fits: each begins a round stretch of local time. */
function labelled(points, stepS, widthPx, labelPx) {
  const most = Math.max(2, Math.floor(widthPx / labelPx));
  const labelS = LABEL_STEPS_S.find((s) => s >= stepS && (points.length * stepS) / s <= most) ?? LABEL_STEPS_S.at(-1);
  return points.flatMap((point, index) => {
    const local = point.at - 60 * new Date(point.at * 1000).getTimezoneOffset();
    return Math.floor(local / labelS) === Math.floor((local - stepS) / labelS) ? [] : [{ at: point.at, index }];
  });
}

/**
 * Where things are in a plot of a size.
 *
 * `x(index)` is the middle of a point's place, `slot` the width of that place, `y(value)` its height.
 */
function frame(widthPx, heightPx, count, highest) {
  const left = 46;
  const right = widthPx - 6;
  const top = 8;
  const bottom = heightPx - 24;
  const slot = (right - left) / Math.max(1, count);
  return {
    left,
    right,
    top,
    bottom,
    slot,
    x: (index) => left + slot * (index + 0.5),
    y: (value) => bottom - ((bottom - top) * value) / highest,
    indexAt: (x) => Math.max(0, Math.min(count - 1, Math.floor((x - left) / slot))),
  };
}
