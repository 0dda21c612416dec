//! Metrics as Prometheus reads them: text exposition format 0.0.4.
//!
//! Names begin with `purkinje_`, units are base units, counters end in `_total`. Labels are bounded by the
//! configuration: instruments, members, and the fixed names of stages, reasons, outcomes and causes. Invariant: no
//! label holds text that a venue, a broker or a client chose.

use std::fmt::{Display, Write as _};

use purkinje_feeds::net::{DisconnectCause, NetCounters};

use super::{
    counters::{Counters, Event},
    snapshot::Snapshot,
    watch::Watch,
};
use crate::pipeline::{
    live_histogram::{BUCKETS, Counts, PER_OCTAVE, upper_ns},
    model_thread::CYCLE_STAGE,
};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Stage whose histogram has a name of its own: age of the newest input when its signal reaches the sink.
const SIGNAL_AGE_STAGE: &str = "signal_age";

/// A text in the making.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (k, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if k == 0 { '{' } else { ',' });
            for c in text.chars() {
                match c {
                    '\\' | '"' => self.0.extend(['\\', c]),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A family with one label.
    fn each<'a, V: Display>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        label: &str,
        samples: impl IntoIterator<Item = (&'a str, V)>,
    ) {
        self.family(name, kind, help);
        for (text, value) in samples {
            self.sample(name, &[(label, text)], value);
        }
    }

    /// One histogram in seconds; bounds are the powers of two among those of the counts.
    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], counts: &Counts) {
        let mut below = 0;
        for (bucket, count) in counts.buckets.iter().enumerate() {
            below += count;
            if (bucket + 1) % PER_OCTAVE == 0
                && let Some(upper) = upper_ns(bucket)
            {
                let upper = (upper as f64 / 1e9).to_string();
                let labels = [labels, &[("le", upper.as_str())]].concat();
                self.sample(&format!("{name}_bucket"), &labels, below);
            }
        }
        debug_assert_eq!(counts.buckets.len(), BUCKETS);
        let labels_inf = [labels, &[("le", "+Inf")]].concat();
        self.sample(&format!("{name}_bucket"), &labels_inf, below);
        self.sample(&format!("{name}_sum"), labels, counts.sum_ns as f64 / 1e9);
        self.sample(&format!("{name}_count"), labels, below);
    }
}

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";

/// The text, as of now.
#[must_use]
pub fn render(watch: &Watch, counters: &Counters, streams: [u64; 3]) -> String {
    let (mut out, snapshot) = (Text::default(), watch.snapshot());
    state(&mut out, &snapshot);
    engine_and_model(&mut out, &snapshot);
    instruments(&mut out, &snapshot);
    skill(&mut out, &snapshot);
    sinks(&mut out, &snapshot);
    feeds(&mut out, &snapshot, watch.stats().net());
    latency(&mut out, &watch.stats().latency.counts());
    http(&mut out, counters, streams);
    out.0
}

fn state(out: &mut Text, s: &Snapshot) {
    out.family("purkinje_build_info", GAUGE, "1, with the versions of program and model.");
    out.sample("purkinje_build_info", &[("version", s.version), ("model", &s.model_version)], 1);
    out.one("purkinje_uptime_seconds", GAUGE, "Since the run began.", s.uptime_s);
    out.one("purkinje_live", GAUGE, "1 while cycles advance.", u8::from(s.is_live));
    out.one("purkinje_ready", GAUGE, "1 while one can trade on its signals.", u8::from(s.is_ready));
    out.one("purkinje_halted", GAUGE, "1 while trading is halted.", u8::from(s.is_halted));
    out.each(
        ("purkinje_config_reloads_total", COUNTER, "Attempts to take another configuration."),
        "outcome",
        [("applied", s.reloads.applied), ("refused", s.reloads.refused)],
    );
    out.one(
        "purkinje_config_last_reload_success",
        GAUGE,
        "0 after a configuration was refused, until one is taken.",
        u8::from(s.reloads.last.as_ref().is_none_or(|last| last.is_applied)),
    );
}

fn engine_and_model(out: &mut Text, s: &Snapshot) {
    let (engine, model) = (&s.engine, &s.model);
    out.one("purkinje_cycles_total", COUNTER, "Cycles cut.", engine.cycles);
    out.one(
        "purkinje_cycles_missed_total",
        COUNTER,
        "Cycles that could not be cut in time.",
        engine.missed_cycles,
    );
    out.one(
        "purkinje_cycle_overruns_total",
        COUNTER,
        "Cycles that took the model longer than the period.",
        model.overruns,
    );
    out.one(
        "purkinje_cycle_period_seconds",
        GAUGE,
        "Configured time between two cycles.",
        f64::from(engine.period_ms) / 1e3,
    );
    if let Some(ms) = model.last_cycle_ms_ago {
        out.one(
            "purkinje_last_cycle_age_seconds",
            GAUGE,
            "Since the model finished a cycle.",
            ms / 1e3,
        );
    }
    out.one("purkinje_events_total", COUNTER, "Market events applied.", engine.events);
    out.one(
        "purkinje_events_conflated_total",
        COUNTER,
        "Books and trades merged because a ring was full.",
        engine.conflated,
    );
    out.one("purkinje_books_lost_total", COUNTER, "Books given up.", engine.desyncs);
    out.one("purkinje_instruments", GAUGE, "Instruments configured.", engine.instruments);
    out.one(
        "purkinje_instruments_ready",
        GAUGE,
        "Instruments that could be forecast at the last cut.",
        engine.ready_instruments,
    );
    out.one("purkinje_forecasts_total", COUNTER, "Forecasts made.", model.forecasts);
    let outcomes =
        [("moved", model.moved), ("unchanged", model.unchanged), ("discarded", model.discarded)];
    out.each(
        ("purkinje_forecast_outcomes_total", COUNTER, "Forecasts by what the price did."),
        "outcome",
        outcomes,
    );
    out.one("purkinje_backend_losses_total", COUNTER, "GPUs lost.", model.backend_losses);
    out.one("purkinje_backend_returns_total", COUNTER, "GPUs gone back to.", model.backend_returns);
    if let Some(hz) = model.firing_hz {
        let rates = [
            ("mossy", hz.mossy),
            ("granule", hz.granule),
            ("golgi", hz.golgi),
            ("purkinje", hz.purkinje),
            ("nuclear", hz.nuclear),
        ];
        out.each(
            (
                "purkinje_cerebellum_firing_hertz",
                GAUGE,
                "Mean firing rate by population in the last cycle.",
            ),
            "population",
            rates,
        );
    }
}

fn instruments(out: &mut Text, s: &Snapshot) {
    let books =
        s.instruments.iter().map(|i| (i.instrument.as_str(), u8::from(i.book.is_synchronised)));
    out.each(
        ("purkinje_book_synchronised", GAUGE, "1 while the book is verified."),
        "instrument",
        books,
    );
    let newest =
        || s.instruments.iter().filter_map(|i| Some((i.instrument.as_str(), i.signal.as_ref()?)));
    let values = newest().filter(|(_, s)| s.value.is_finite()).map(|(key, s)| (key, s.value));
    out.each(
        ("purkinje_signal_probability_ratio", GAUGE, "P(up, given a move) of the newest signal."),
        "instrument",
        values,
    );
    let confidence =
        newest().filter(|(_, s)| s.confidence.is_finite()).map(|(key, s)| (key, s.confidence));
    out.each(
        ("purkinje_signal_confidence_ratio", GAUGE, "Confidence of the newest signal."),
        "instrument",
        confidence,
    );
    let ages = newest().filter_map(|(key, s)| Some((key, s.input_age_ms? / 1e3)));
    out.each(
        (
            "purkinje_signal_input_age_seconds",
            GAUGE,
            "Age of the newest input when the newest signal was made.",
        ),
        "instrument",
        ages,
    );
    let weights = s
        .members
        .iter()
        .filter_map(|m| Some((m.name.as_str(), m.weight.filter(|w| w.is_finite())?)));
    out.each(
        ("purkinje_member_weight_ratio", GAUGE, "Weight of a member in the newest combination."),
        "member",
        weights,
    );
}

fn skill(out: &mut Text, s: &Snapshot) {
    let labels = s.skill.iter().map(|skill| (skill.name.as_str(), skill.labels));
    out.each(("purkinje_skill_labels_total", COUNTER, "Forecasts scored."), "forecaster", labels);
    let total = s.skill.iter().filter_map(|skill| Some((skill.name.as_str(), skill.gain?)));
    out.each(
        (
            "purkinje_skill_gain_nats",
            GAUGE,
            "Mean log-loss gain over the base rate since the start.",
        ),
        "forecaster",
        total,
    );
    let window = s.skill.iter().filter_map(|skill| Some((skill.name.as_str(), skill.window_gain?)));
    out.each(
        (
            "purkinje_skill_window_gain_nats",
            GAUGE,
            "Mean log-loss gain over the base rate in the last ten minutes.",
        ),
        "forecaster",
        window,
    );
}

fn sinks(out: &mut Text, s: &Snapshot) {
    let sinks = &s.sinks;
    out.each(
        ("purkinje_signals_total", COUNTER, "Signals by action."),
        "action",
        sinks.actions.iter().map(|(k, n)| (*k, n)),
    );
    out.each(
        ("purkinje_holds_total", COUNTER, "HOLD signals by reason."),
        "reason",
        sinks.holds.iter().map(|(k, n)| (*k, n)),
    );
    out.each(
        ("purkinje_sink_refused_total", COUNTER, "Signals that a sink's ring had no room for."),
        "sink",
        sinks.refused.iter().map(|(k, n)| (*k, n)),
    );
    if let Some(kafka) = &sinks.kafka {
        out.each(
            ("purkinje_kafka_signals_total", COUNTER, "Signals by what became of them."),
            "outcome",
            kafka.outcomes.iter().map(|(k, n)| (*k, n)),
        );
        out.one("purkinje_kafka_epoch", GAUGE, "The epoch that signals carry.", kafka.epoch);
        out.one(
            "purkinje_kafka_spilled_total",
            COUNTER,
            "Signals put into the spill.",
            kafka.spilled,
        );
        out.one(
            "purkinje_kafka_broker_losses_total",
            COUNTER,
            "Times the broker was lost.",
            kafka.broker_losses,
        );
        out.one(
            "purkinje_kafka_producer_rebuilds_total",
            COUNTER,
            "Times the producer was made anew.",
            kafka.producer_rebuilds,
        );
        out.one(
            "purkinje_kafka_spill_errors_total",
            COUNTER,
            "Errors of the spill's disk.",
            kafka.spill_errors,
        );
    }
}

fn feeds(out: &mut Text, s: &Snapshot, net: Option<&NetCounters>) {
    let open = s.feeds.connections.iter().filter(|connection| connection.is_open).count();
    out.one("purkinje_feed_connections", GAUGE, "Connections that are open.", open);
    out.each(
        ("purkinje_feed_topics", GAUGE, "Topics by state."),
        "state",
        s.feeds.topics.iter().map(|(k, n)| (*k, n)),
    );
    out.each(
        (
            "purkinje_feed_status_events_total",
            COUNTER,
            "What happened to connections, topics and books.",
        ),
        "kind",
        s.feeds.happened.iter().map(|(k, n)| (*k, n)),
    );
    let Some(net) = net else { return };
    let counts = [
        ("purkinje_feed_dials_total", "Attempts to connect.", net.dials.get()),
        ("purkinje_feed_connects_total", "Connections made.", net.connects.get()),
        ("purkinje_feed_frames_total", "Messages received.", net.frames.get()),
        (
            "purkinje_feed_received_bytes_total",
            "Bytes read from connections.",
            net.socket_bytes.get(),
        ),
        ("purkinje_feed_rest_requests_total", "REST requests sent.", net.rest_requests.get()),
        ("purkinje_feed_rest_failures_total", "REST snapshots given up.", net.rest_failures.get()),
    ];
    for (name, help, value) in counts {
        out.one(name, COUNTER, help, value);
    }
    let causes =
        DisconnectCause::ALL.into_iter().map(|cause| (cause.name(), net.disconnects(cause)));
    out.each(
        (
            "purkinje_feed_disconnects_total",
            COUNTER,
            "Connections and attempts that ended, by cause.",
        ),
        "cause",
        causes,
    );
}

fn latency(out: &mut Text, stages: &[(&'static str, Counts)]) {
    let own_names = [
        (
            CYCLE_STAGE,
            "purkinje_cycle_duration_seconds",
            "From the batch to its signals, in the model thread.",
        ),
        (
            SIGNAL_AGE_STAGE,
            "purkinje_signal_age_seconds",
            "From the newest input off the socket to its signal at the sink.",
        ),
    ];
    for (stage, name, help) in own_names {
        if let Some((_, counts)) = stages.iter().find(|(each, _)| *each == stage) {
            out.family(name, "histogram", help);
            out.histogram(name, &[], counts);
        }
    }
    let name = "purkinje_stage_duration_seconds";
    out.family(name, "histogram", "Time spent in a stage, or between two.");
    let others = stages.iter().filter(|(stage, _)| own_names.iter().all(|(own, ..)| own != stage));
    for (stage, counts) in others {
        out.histogram(name, &[("stage", stage)], counts);
    }
}

fn http(out: &mut Text, counters: &Counters, [streams, sent, lost]: [u64; 3]) {
    let events = Event::ALL.into_iter().map(|event| (event.name(), counters.of(event)));
    out.each(
        (
            "purkinje_http_events_total",
            COUNTER,
            "What the HTTP server did, and what its limits refused.",
        ),
        "event",
        events,
    );
    out.one("purkinje_http_streams", GAUGE, "Event streams that are open.", streams);
    out.one("purkinje_http_stream_events_total", COUNTER, "Events given to streams.", sent);
    out.one(
        "purkinje_http_stream_events_lost_total",
        COUNTER,
        "Events that a slow client did not get.",
        lost,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::live_histogram::LiveLatency;

    #[test]
    fn label_values_cannot_break_out_of_their_quotes() {
        let mut out = Text::default();
        out.sample("a", &[("b", "x\"y\\z\nw"), ("c", "d")], 1);
        assert_eq!(out.0, "a{b=\"x\\\"y\\\\z\\nw\",c=\"d\"} 1\n");
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_all() {
        let latency = LiveLatency::default();
        let histogram = latency.histogram("model");
        for ns in [400, 500, 600, 1_000_000, u64::MAX >> 20] {
            histogram.count(ns);
        }
        let mut out = Text::default();
        super::latency(&mut out, &latency.counts());
        let has = |line: &str| out.0.lines().any(|l| l == line);
        assert!(
            has("purkinje_stage_duration_seconds_bucket{stage=\"model\",le=\"0.000000512\"} 2"),
            "{}",
            out.0
        );
        assert!(has(
            "purkinje_stage_duration_seconds_bucket{stage=\"model\",le=\"0.000001024\"} 3"
        ));
        assert!(has("purkinje_stage_duration_seconds_bucket{stage=\"model\",le=\"+Inf\"} 5"));
        assert!(has("purkinje_stage_duration_seconds_count{stage=\"model\"} 5"));
        let bounds = out.0.matches("le=").count();
        assert_eq!(bounds, BUCKETS / PER_OCTAVE + 1);
    }
}
