// Joins the server's stream of frames to the panels, and the button to the kill switch.

import { Book } from "./book.js";
import { Heat } from "./heat.js";
import { Cerebellum, Feeds, Members, Sinks } from "./panels.js";
import { Signals, duration, say } from "./signals.js";

/** Without a frame for so long the page says that it is blind. */
const BLIND_AFTER_MS = 3000;

const $ = (id) => document.getElementById(id);

const signals = new Signals($("signals"), pick);
const book = new Book({ asks: $("asks"), bids: $("bids"), spread: $("spread"), name: $("book-name") });
const members = new Members({ body: $("members"), windowHead: $("window-head"), note: $("skill-note") });
const heat = new Heat($("heat"), $("stage"));
const cerebellum = new Cerebellum($("populations"), $("backend"));
const feeds = new Feeds({ connections: $("connections"), topics: $("topics"), events: $("events") });
const sinks = new Sinks({ sinks: $("sinks"), holds: $("holds") });

let stream = null;
let picked = null;
let constants = null;
let isHalted = false;
let frameAt = 0;
let lastSummary = null;
/** Events and times of frames, for a rate over the last seconds. */
let rate = [];

function state(name, text) {
  $("state").dataset.state = name;
  say($("state"), text);
}

function notice(text) {
  $("notice").hidden = !text;
  say($("notice"), text ?? "");
}

function onHello(hello) {
  constants = hello;
  picked ??= hello.instruments[0]?.key ?? null;
  document.title = `purkinje: ${hello.title}`;
  say($("title"), `${hello.title}, model ${hello.model}, ${hello.version}`);
  rate = [];
  for (const panel of [signals, members, heat]) panel.hello(hello);
  signals.picked(picked);
  book.pick(picked);
  $("halt").disabled = false;
}

function onFrame(frame) {
  frameAt = performance.now();
  isHalted = frame.halted;
  if (isHalted) state("halted", "HALTED");
  else if (frame.not_ready.length) state("not-ready", "NOT READY");
  else state("ready", "READY");
  notice(frame.not_ready.join("; "));
  say($("halt"), isHalted ? "Resume trading" : "Halt trading");
  $("halt").dataset.does = isHalted ? "resume" : "halt";
  say($("count-ready"), `${frame.ready}/${constants.instruments.length}`);
  say($("count-cycles"), frame.cycles.toLocaleString("en"));
  say($("count-missed"), frame.missed.toLocaleString("en"));
  rate.push([frame.ts_ns / 1e9, frame.events]);
  if (rate.length > 50) rate.shift();
  const [[from, before], [to, now]] = [rate[0], rate.at(-1)];
  if (to - from > 0.5) say($("count-events"), Math.round((now - before) / (to - from)).toLocaleString("en"));
  for (const panel of [signals, members, cerebellum]) panel.frame(frame);
}

function onSummary(summary) {
  lastSummary = summary;
  for (const panel of [members, heat, cerebellum, feeds, sinks]) panel.summary(summary);
  quantiles();
}

function quantiles() {
  const stage = lastSummary?.latency.find((each) => each.stage === $("stage").value);
  for (const [id, us] of [["p50", stage?.p50_us], ["p99", stage?.p99_us], ["p999", stage?.p999_us]]) {
    say($(id), us === null || us === undefined ? "–" : duration(us / 1000));
  }
}

function connect() {
  stream?.close();
  const query = picked ? `?instrument=${encodeURIComponent(picked)}` : "";
  stream = new EventSource(`/api/v1/frames${query}`);
  const on = (kind, then) => stream.addEventListener(kind, ({ data }) => then(JSON.parse(data)));
  on("hello", onHello);
  on("frame", onFrame);
  on("summary", onSummary);
  on("book", (shown) => {
    if (constants?.instruments[shown.instrument]?.key === picked) book.show(shown);
  });
}

function pick(key) {
  picked = key;
  signals.picked(key);
  book.pick(key);
  connect();
}

/** The kill switch. The token stays in the dialog's field while the page is open, and nowhere else. */
function ask() {
  say($("ask-title"), isHalted ? "Resume trading" : "Halt trading");
  say($("ask-yes"), isHalted ? "Resume" : "Halt");
  $("ask-yes").dataset.does = isHalted ? "resume" : "halt";
  say(
    $("ask-text"),
    !constants.has_token
      ? "Commands over HTTP are off: set http.token_file to a file with a token, or use `purkinje halt` on the host."
      : isHalted
      ? "Signals are made again from the next cycle on."
      : "Every instrument gets HOLD from the next cycle on, until resumed.",
  );
  for (const id of ["ask-yes", "token-row"]) $(id).hidden = !constants.has_token;
  say($("ask-error"), "");
  $("ask").showModal();
  const first = !constants.has_token ? "ask-cancel" : $("token").value ? "ask-yes" : "token";
  $(first).focus();
}

async function command(event) {
  event.preventDefault();
  const does = $("ask-yes").dataset.does;
  try {
    const answer = await fetch(`/api/v1/${does}`, {
      method: "POST",
      headers: { authorization: `Bearer ${$("token").value}` },
    });
    if (answer.ok) {
      $("ask").close();
    } else {
      say($("ask-error"), (await answer.json()).detail);
    }
  } catch (error) {
    say($("ask-error"), `the daemon does not answer: ${error.message}`);
  }
}

$("halt").addEventListener("click", ask);
$("ask-form").addEventListener("submit", command);
$("ask-cancel").addEventListener("click", () => $("ask").close());
$("stage").addEventListener("change", quantiles);
setInterval(() => {
  if (constants && performance.now() - frameAt > BLIND_AFTER_MS) state("lost", "NO DATA");
}, 500);
connect();
