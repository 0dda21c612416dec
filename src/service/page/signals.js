// The table of signals: one row an instrument, changed in place.

/** Sets a text only where it differs, so that nothing is laid out anew for nothing. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A new element with a class and a text. */
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/** A duration for people. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 10_000) return `${Math.round(ms)} ms`;
  return `${Math.round(ms / 1000)} s`;
}

const fixed = (value, decimals) => (value === null || value === undefined ? "–" : value.toFixed(decimals));
const percent = (share) => `${(share * 100).toFixed(2)}%`;

export class Signals {
  constructor(body, onPick) {
    this.body = body;
    this.onPick = onPick;
    this.rows = [];
  }

  /** Builds a row for every instrument. */
  hello({ instruments, members }) {
    const venues = new Set(instruments.map(({ venue }) => venue));
    this.rows = instruments.map((instrument) => this.#row(instrument, members, venues.size > 1));
    this.body.replaceChildren(...this.rows.map(({ row }) => row));
  }

  #row({ key, symbol }, members, withVenue) {
    const row = make("tr");
    const name = make("th");
    name.scope = "row";
    const pick = make("button", "pick", withVenue ? key : symbol);
    pick.type = "button";
    pick.title = `show the book of ${key}`;
    pick.setAttribute("aria-pressed", "false");
    pick.addEventListener("click", () => this.onPick(key));
    name.append(pick);
    const mid = make("td", "number mid", "–");
    const signal = make("td", "signal");
    const chip = make("span", "chip", "–");
    signal.append(chip);
    const value = make("td");
    const track = make("div", "track");
    const fill = make("div", "fill");
    const ticks = members.map((member, k) => {
      const tick = make("i", "tick");
      tick.dataset.member = k;
      tick.title = member;
      tick.hidden = true;
      return tick;
    });
    track.append(fill, ...ticks);
    value.append(track);
    const confidence = make("td", "number confidence", "–");
    const age = make("td", "number age", "–");
    const reason = make("td", "reason", "–");
    row.append(name, mid, signal, value, confidence, age, reason);
    return { row, key, pick, mid, chip, track, fill, ticks, confidence, age, reason };
  }

  /** Marks the instrument whose book is shown. */
  picked(key) {
    for (const row of this.rows) row.pick.setAttribute("aria-pressed", String(row.key === key));
  }

  frame({ signals }) {
    signals.forEach((signal, k) => {
      const row = this.rows[k];
      if (!row || !signal) return;
      say(row.mid, signal.mid ?? "–");
      say(row.chip, signal.action);
      row.chip.dataset.action = signal.action;
      const value = signal.value ?? 0.5;
      row.fill.dataset.side = value >= 0.5 ? "up" : "down";
      row.fill.style.left = percent(Math.min(value, 0.5));
      row.fill.style.width = percent(Math.abs(value - 0.5));
      row.track.title = `P(up) ${fixed(signal.value, 3)}`;
      signal.members.forEach((p, m) => {
        const tick = row.ticks[m];
        if (!tick) return;
        tick.hidden = p === null;
        if (p !== null) tick.style.left = percent(p);
      });
      say(row.confidence, fixed(signal.confidence, 3));
      say(row.age, duration(signal.age_ms));
      say(row.reason, signal.reason.replaceAll("_", " "));
    });
  }
}
