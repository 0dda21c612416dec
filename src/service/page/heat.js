// Latency over time: a column a second, a row a bucket, the darker (or lighter) the more.

/** A colour of the theme. */
export const theme = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const GUTTER = 62;
const SHADES = 32;
const MARKS_NS = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];
const NAMES = ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"];

/** A canvas as sharp as the screen, and its size in CSS pixels. */
export function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** Colours from a little to the most, between those of the theme. */
function shades() {
  const stops = ["--heat-0", "--heat-1", "--heat-2", "--heat-3"].map(theme);
  return Array.from({ length: SHADES }, (_, k) => {
    const at = (0.25 + (0.7499 * k) / (SHADES - 1)) * (stops.length - 1);
    const [from, to] = [stops[Math.floor(at)], stops[Math.floor(at) + 1]];
    return `color-mix(in oklab, ${to} ${(100 * (at % 1)).toFixed(0)}%, ${from})`;
  });
}

export class Heat {
  constructor(canvas, select) {
    this.canvas = canvas;
    this.select = select;
    this.stages = {};
    select.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(canvas);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  hello({ heat, bounds_ns, seconds }) {
    Object.assign(this, { stages: heat, bounds: bounds_ns, seconds });
    this.#names();
    this.draw();
  }

  summary({ heat }) {
    for (const [stage, column] of Object.entries(heat)) {
      const columns = (this.stages[stage] ??= []);
      columns.push(column);
      columns.splice(0, columns.length - this.seconds);
    }
    this.#names();
    this.draw();
  }

  #names() {
    const names = Object.keys(this.stages);
    if (names.join() === [...this.select.options].map(({ value }) => value).join()) return;
    const chosen = this.select.value || (names.includes("signal_age") ? "signal_age" : names[0]);
    this.select.replaceChildren(...names.map((name) => new Option(name.replaceAll("_", " "), name)));
    this.select.value = names.includes(chosen) ? chosen : names[0];
  }

  draw() {
    const { context, width, height } = prepare(this.canvas);
    const columns = this.stages[this.select.value] ?? [];
    const used = columns.flat().map(([bucket]) => bucket);
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = theme("--soft");
    if (!used.length) {
      context.fillText("nothing measured yet", GUTTER, height / 2);
      return;
    }
    const last = this.bounds.length - 1;
    const low = Math.max(0, Math.min(...used) - 2);
    const high = Math.min(last, Math.max(...used) + 2);
    const [plot, foot] = [width - GUTTER, height - 18];
    const [column, row] = [plot / this.seconds, foot / (high - low + 1)];
    const most = Math.log1p(Math.max(...columns.flat().map(([, count]) => count)));
    const colours = shades();
    columns.forEach((cells, k) => {
      const x = GUTTER + plot - (columns.length - k) * column;
      for (const [bucket, count] of cells) {
        context.fillStyle = colours[Math.round((Math.log1p(count) / most) * (SHADES - 1))];
        context.fillRect(x, foot - (bucket - low + 1) * row, Math.max(1, column - 0.5), Math.max(1, row - 0.5));
      }
    });
    context.fillStyle = theme("--soft");
    context.strokeStyle = theme("--line");
    context.textAlign = "right";
    context.textBaseline = "middle";
    MARKS_NS.forEach((ns, k) => {
      const above = this.bounds.findIndex((bound) => bound !== null && bound >= ns);
      if (above < low || above > high) return;
      const y = foot - (above - low + 0.5) * row;
      context.beginPath();
      context.moveTo(GUTTER, y);
      context.lineTo(width, y);
      context.stroke();
      context.fillText(NAMES[k], GUTTER - 8, y);
    });
    context.textBaseline = "bottom";
    context.textAlign = "left";
    context.fillText(`${this.seconds} s ago`, GUTTER, height);
    context.textAlign = "right";
    context.fillText("now", width, height);
  }
}
