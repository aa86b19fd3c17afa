// Numbers with units, and times, as people read them. What is null is shown as a dash. A number stays with its unit:
// between them stands a space that does not break.

const NONE = "–";
const SPACE = "\u00a0";
const wholeNumber = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const shortNumber = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clockTime = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const clockSeconds = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayTime = new Intl.DateTimeFormat("en-GB", { weekday: "short", hour: "2-digit", minute: "2-digit" });

function digits(value, most) {
  return new Intl.NumberFormat("en", { maximumFractionDigits: most }).format(value);
}

const format = {
  /** 1,234; 1.2M from a hundred thousand on. */
  count(value) {
    if (value === null) return NONE;
    return Math.abs(value) < 100_000 ? wholeNumber.format(value) : shortNumber.format(value);
  },

  /** A rate: with a decimal where it is small. */
  rate(value) {
    if (value === null) return NONE;
    return Math.abs(value) < 10 ? digits(value, value < 0.1 ? 2 : 1) : format.count(value);
  },

  /** 4.2 ms, 320 ms, 1.25 s, 2.1 min. */
  ms(value) {
    if (value === null) return NONE;
    if (value < 10) return `${digits(value, 1)}${SPACE}ms`;
    if (value < 1000) return `${digits(value, 0)}${SPACE}ms`;
    if (value < 60_000) return `${digits(value / 1000, value < 10_000 ? 2 : 1)}${SPACE}s`;
    return `${digits(value / 60_000, 1)}${SPACE}min`;
  },

  /** A share as per cent. */
  percent(value, most = 1) {
    return value === null ? NONE : `${digits(100 * value, most)}${SPACE}%`;
  },

  usd(value) {
    if (value === null) return NONE;
    if (value === 0) return "$0";
    if (value < 0.01) return `$${new Intl.NumberFormat("en", { maximumSignificantDigits: 2 }).format(value)}`;
    return `$${value < 1000 ? value.toFixed(2) : format.count(value)}`;
  },

  /** 512 MiB. */
  bytes(value) {
    if (value === null) return NONE;
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = 0;
    while (value >= 1024 && power < units.length - 1) {
      value /= 1024;
      power += 1;
    }
    return `${digits(value, value < 10 && power > 1 ? 1 : 0)}${SPACE}${units[power]}`;
  },

  /** 45 s, 12 min, 3 h 20 min, 4 d 2 h. */
  duration(seconds) {
    const minutes = Math.floor(seconds / 60);
    if (minutes < 1) return `${Math.max(0, Math.floor(seconds))}${SPACE}s`;
    if (minutes < 60) return `${minutes}${SPACE}min`;
    const hours = Math.floor(minutes / 60);
    return hours < 48 ? `${hours} h ${minutes % 60}${SPACE}min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
  },

  /** Of Unix seconds, in the time zone of who looks. */
  clock(at) {
    return clockTime.format(new Date(at * 1000));
  },

  clockWithSeconds(at) {
    return clockSeconds.format(new Date(at * 1000));
  },

  /** With the day, where that is not today. */
  moment(at) {
    const isToday = new Date(at * 1000).toDateString() === new Date().toDateString();
    return (isToday ? clockSeconds : dayTime).format(new Date(at * 1000));
  },

  dayAndTime(at) {
    return dayTime.format(new Date(at * 1000));
  },

  /** What an alert says, without the level that it begins with: that is shown beside it. */
  sentence(text) {
    const rest = text.replace(/^(Warning|Critical|Resolved): /, "");
    return rest.charAt(0).toUpperCase() + rest.slice(1);
  },

  /** "1 worker", "2 workers". */
  plural(count, noun) {
    return `${format.count(count)} ${noun}${count === 1 ? "" : "s"}`;
  },

  /** A name as words. */
  words(name) {
    return name.replaceAll("_", " ");
  },
};
