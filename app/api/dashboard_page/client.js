// Asks the gateway for the figures: again and again while the page is seen, less often while it does not answer.
// The key is kept for this tab alone.

const POLL_MS = 3000;
const SLOWEST_POLL_MS = 30_000;
const REPLY_WITHIN_MS = 10_000;

const client = {
  storageKey: "claude-wrapper.key",
  memory: "",

  get key() {
    try {
      return sessionStorage.getItem(client.storageKey) ?? client.memory;
    } catch {
      return client.memory; // storage is forbidden here
    }
  },

  set key(text) {
    client.memory = text;
    try {
      if (text) sessionStorage.setItem(client.storageKey, text);
      else sessionStorage.removeItem(client.storageKey);
    } catch {
      // it holds until the page is left
    }
  },

  /** Whether a key is needed and there is none; then nothing is asked, as the answer would be a 401. */
  get isLocked() {
    return !client.key && document.documentElement.dataset.protected === "true";
  },

  /** The figures of a window; throws a Refused for 401, 403 and 429, anything else where there is no answer. */
  async read(windowName) {
    const headers = { accept: "application/json" };
    if (client.key) headers.authorization = `Bearer ${client.key}`;
    const reply = await fetch(`/dashboard/data?window=${windowName}`, {
      headers,
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.timeout(REPLY_WITHIN_MS),
    });
    if ([401, 403, 429].includes(reply.status)) throw new Refused(reply.status, await messageOf(reply));
    if (!reply.ok) throw new Error(`The gateway answered ${reply.status}.`);
    return reply.json();
  },
};

/** The gateway wants another key. */
class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function messageOf(reply) {
  try {
    return (await reply.json()).error.message;
  } catch {
    return `The gateway answered ${reply.status}.`;
  }
}

/** Calls `turn` now, and again after each turn; `turn` resolves to whether it went well. */
class Poll {
  constructor(turn) {
    this.turn = turn;
    this.failures = 0;
    this.timer = 0;
    this.round = 0;
    this.running = false;
    document.addEventListener("visibilitychange", () => this.running && !document.hidden && this.now());
  }

  get pauseMs() {
    return Math.min(SLOWEST_POLL_MS, POLL_MS * 2 ** Math.min(this.failures, 10));
  }

  start() {
    this.running = true;
    this.now();
  }

  stop() {
    this.running = false;
    this.round += 1;
    clearTimeout(this.timer);
  }

  async now() {
    clearTimeout(this.timer);
    const round = ++this.round;
    const isWell = await this.turn(() => round === this.round);
    if (round !== this.round || !this.running) return; // another turn has begun meanwhile
    this.failures = isWell ? 0 : this.failures + 1;
    if (!document.hidden) this.timer = setTimeout(() => this.now(), this.pauseMs);
  }
}
