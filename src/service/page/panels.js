// The smaller panels: members and their skill, the cerebellum's firing, feeds, sinks.

import { prepare, theme } from "./heat.js";
import { make, say } from "./signals.js";

const SAMPLES = 300;
const POPULATIONS = ["mossy", "granule", "golgi", "purkinje", "nuclear"];

const words = (name) => name.replaceAll("_", " ");

/** A gain in thousandths of a nat, with its sign. */
function gain(nats) {
  if (nats === null || nats === undefined) return "–";
  const text = (1000 * nats).toFixed(1);
  return nats > 0 ? `+${text}` : text.replace("-", "−");
}

export class Members {
  constructor({ body, windowHead, note }) {
    Object.assign(this, { body, windowHead, note, rows: new Map(), members: [] });
  }

  hello({ members }) {
    this.members = members;
    this.rows.clear();
    this.body.replaceChildren();
  }

  #row(name) {
    const known = this.rows.get(name);
    if (known) return known;
    const row = make("tr");
    const head = make("th");
    head.scope = "row";
    const swatch = make("i", "swatch");
    const member = this.members.indexOf(name);
    if (member >= 0) swatch.dataset.member = member;
    head.append(swatch, name);
    const cell = make("td");
    const weight = make("div", "weight");
    const bar = make("span", "bar");
    const fill = make("i");
    if (member >= 0) fill.dataset.member = member;
    const share = make("b", "", "");
    bar.append(fill);
    if (member >= 0) weight.append(bar, share);
    cell.append(weight);
    const [total, lately] = [make("td", "number total"), make("td", "number")];
    const over = make("td", "number over");
    const labels = make("td", "number labels");
    row.append(head, cell, total, lately, over, labels);
    this.body.append(row);
    const made = { fill, share, total, lately, over, labels };
    this.rows.set(name, made);
    return made;
  }

  frame({ weights }) {
    this.members.forEach((name, k) => {
      const weight = weights?.[k];
      const { fill, share } = this.#row(name);
      say(share, weight === null || weight === undefined ? "–" : `${(100 * weight).toFixed(1)} %`);
      fill.style.width = `${100 * (weight ?? 0)}%`;
    });
  }

  summary({ skill, skill_window_s: seconds }) {
    say(this.windowHead, seconds >= 60 ? `gain, last ${Math.round(seconds / 60)} min` : "gain lately");
    const tell = (cell, nats) => {
      say(cell, gain(nats));
      cell.classList.toggle("good", nats > 0);
      cell.classList.toggle("bad", nats < 0);
    };
    for (const each of skill) {
      const { total, lately, over, labels } = this.#row(each.name);
      tell(total, each.gain);
      tell(lately, each.window_gain);
      tell(over, each.window_gain_over_persistence);
      say(labels, each.labels.toLocaleString("en"));
    }
    const scored = skill.some(({ labels }) => labels > 0);
    const meaning = "Gain: log loss of the base rate less the forecaster’s own, in thousandths of a nat; more is better.";
    say(this.note, scored ? meaning : `${meaning} Scoring begins after the warm-up.`);
  }
}

export class Cerebellum {
  constructor(body, place) {
    this.place = place;
    this.rows = POPULATIONS.map((name) => {
      const row = make("div", "population");
      const canvas = make("canvas");
      const rate = make("b", "", "–");
      row.append(make("span", "", name === "purkinje" ? "Purkinje" : name === "golgi" ? "Golgi" : name), canvas, rate);
      body.append(row);
      return { canvas, rate, samples: [] };
    });
  }

  frame({ firing_hz: rates }) {
    this.rows.forEach((row, k) => {
      const hz = rates?.[k];
      if (hz === null || hz === undefined) return say(row.rate, "–");
      row.samples.push(hz);
      row.samples.splice(0, row.samples.length - SAMPLES);
      say(row.rate, `${hz < 10 ? hz.toFixed(2) : hz.toFixed(1)} Hz`);
    });
  }

  summary({ backend }) {
    say(this.place, `runs on ${backend}`);
    for (const { canvas, samples } of this.rows) this.#draw(canvas, samples);
  }

  #draw(canvas, samples) {
    const { context, width, height } = prepare(canvas);
    if (samples.length < 2) return;
    const [least, most] = [Math.min(...samples), Math.max(...samples)];
    const span = most - least || 1;
    const x = (k) => width - ((samples.length - 1 - k) * width) / (SAMPLES - 1);
    const y = (hz) => height - 3 - ((hz - least) / span) * (height - 6);
    context.beginPath();
    samples.forEach((hz, k) => (k ? context.lineTo(x(k), y(hz)) : context.moveTo(x(k), y(hz))));
    context.strokeStyle = theme("--accent");
    context.lineWidth = 1.5;
    context.stroke();
  }
}

/** Facts as a list: name, number, and whether that is good or bad. */
function facts(list, entries) {
  while (list.children.length > entries.length) list.lastChild.remove();
  entries.forEach(([name, value, is = ""], k) => {
    let item = list.children[k];
    if (!item) {
      item = make("li");
      item.append(make("span"), " ", make("b"));
      list.append(item);
    }
    const [label, number] = [item.children[0], item.children[1]];
    say(label, name);
    say(number, typeof value === "number" ? value.toLocaleString("en") : value);
    item.dataset.is = is;
  });
}

export class Feeds {
  constructor({ connections, topics, events }) {
    Object.assign(this, { connections, topics, events });
  }

  summary({ feeds }) {
    const connection = ({ connection: number, is_open: isOpen, last_cause: cause }) => [
      `connection ${number}`,
      isOpen ? "open" : `closed${cause ? `: ${words(cause)}` : ""}`,
      isOpen ? "good" : "bad",
    ];
    facts(this.connections, feeds.connections.map(connection));
    const { flowing, stale, confirmed, pending } = feeds.topics;
    facts(this.topics, [
      ["topics flowing", flowing, flowing ? "good" : ""],
      ["stale", stale, stale ? "bad" : ""],
      ["confirmed", confirmed],
      ["pending", pending],
    ]);
    const newest = feeds.newest.slice(-12).reverse();
    const key = JSON.stringify(newest);
    if (key === this.shown) return;
    this.shown = key;
    this.events.replaceChildren(
      ...newest.map(({ ts_ns: ts, instrument, connection: number, what }) => {
        const item = make("li");
        const at = new Date(ts / 1e6);
        const time = make("time", "", at.toLocaleTimeString("en-GB"));
        time.dateTime = at.toISOString();
        item.append(time, make("span", "", `${instrument ?? `connection ${number}`}  ${words(what)}`));
        return item;
      }),
    );
  }
}

export class Sinks {
  constructor({ sinks, holds }) {
    Object.assign(this, { sinks, holds });
  }

  summary({ sinks, overruns }) {
    const { BUY, SELL, HOLD } = sinks.actions;
    const entries = [["BUY", BUY], ["SELL", SELL], ["HOLD", HOLD]];
    for (const [sink, count] of Object.entries(sinks.refused)) {
      if (count) entries.push([`refused by ${sink}`, count, "bad"]);
    }
    if (sinks.kafka) {
      entries.push(["Kafka epoch", String(sinks.kafka.epoch)]);
      for (const [outcome, count] of Object.entries(sinks.kafka.outcomes)) {
        const isBad = ["refused", "expired", "possibly_persisted"].includes(outcome);
        entries.push([words(outcome), count, count === 0 ? "" : isBad ? "bad" : "good"]);
      }
      entries.push(["spilled", sinks.kafka.spilled], ["broker losses", sinks.kafka.broker_losses]);
    } else {
      entries.push(["Kafka", "off"]);
    }
    entries.push(["cycle overruns", overruns, overruns ? "bad" : ""]);
    facts(this.sinks, entries);
    const held = Object.entries(sinks.holds).filter(([, count]) => count > 0);
    facts(this.holds, held.sort(([, a], [, b]) => b - a).map(([reason, count]) => [words(reason), count]));
  }
}
