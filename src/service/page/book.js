// The ladder of one book: offers above, bids below, quantities as bars.

import { make, say } from "./signals.js";

const LEVELS = 10;

/** Decimals of a price as the venue writes it. */
const decimalsOf = (text) => (text.split(".")[1] ?? "").length;

export class Book {
  constructor({ asks, bids, spread, name }) {
    Object.assign(this, { spread, name });
    // Offers are listed best first and shown best last, next to the spread.
    this.asks = this.#rows(asks).reverse();
    this.bids = this.#rows(bids);
  }

  #rows(body) {
    const rows = Array.from({ length: LEVELS }, () => {
      const row = make("tr");
      const price = make("td", "", " ");
      const cell = make("td");
      const depth = make("i", "depth");
      const quantity = make("span", "", " ");
      cell.append(depth, quantity);
      row.append(price, cell);
      return { row, price, depth, quantity };
    });
    body.replaceChildren(...rows.map(({ row }) => row));
    return rows;
  }

  /** Shows another instrument, of which nothing is known yet. */
  pick(key) {
    say(this.name, key ?? "");
    this.show({ bids: [], asks: [], is_verified: true });
  }

  show({ bids, asks, is_verified }) {
    const most = Math.max(0, ...[...bids, ...asks].map(([, quantity]) => Number(quantity)));
    const fill = (rows, levels) =>
      rows.forEach(({ price, depth, quantity }, k) => {
        const level = levels[k];
        say(price, level ? level[0] : "\u00a0");
        say(quantity, level ? level[1] : "\u00a0");
        depth.style.width = level && most > 0 ? `${((100 * Number(level[1])) / most).toFixed(1)}%` : "0";
      });
    fill(this.asks, asks);
    fill(this.bids, bids);
    if (!is_verified) {
      say(this.spread, "no verified book");
    } else if (asks.length && bids.length) {
      const [ask, bid] = [asks[0][0], bids[0][0]];
      const spread = (Number(ask) - Number(bid)).toFixed(decimalsOf(ask));
      say(this.spread, `spread ${spread}`);
    } else {
      say(this.spread, "–");
    }
  }
}
