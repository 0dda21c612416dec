//! What a run tells at its end.
//!
//! One plain text, sections in a fixed order, every number with its unit; the same for live and replay,
//! so that two runs can be compared line by line.

use std::fmt::Write as _;

use purkinje_feeds::session::{BadInput, SessionCounters};
use purkinje_kernels::predictors::predictor::Health;

use super::{
    judgement_lines::judgement_lines,
    kafka_threads::KafkaResult,
    spine::{SpineResult, hex},
};
use crate::{
    pipeline::{
        latency::Stage,
        warm::{AllocationWatch, WARM_UP_CYCLES},
    },
    signals::{Reason, kafka::outcome::Outcome},
};

/// What the feeds' side left.
#[derive(Debug, Default)]
pub struct FeedSide {
    /// Protocol counters of all connections.
    pub sessions: Vec<SessionCounters>,
    /// Events merged by conflation, and books passed on as one newest state.
    pub conflated: (u64, u64),
    /// Books given up because they were crossed after a complete message.
    pub crossed_books: u64,
    /// Off the socket (or file) → events ready, all connections.
    pub decode: Option<Stage>,
    /// Lines about the connections or the recording.
    pub notes: Vec<String>,
    /// Things the user must know.
    pub warnings: Vec<String>,
    /// The run did not end as it should have; the warnings say why.
    pub failed: bool,
}

/// A finished run.
#[derive(Debug)]
pub struct Report {
    /// What was run.
    pub title: String,
    /// Wall time it took, s.
    pub elapsed_s: f64,
    /// The model's version.
    pub model_version: String,
    /// Keys of the instruments, in their order.
    pub instruments: Vec<String>,
    /// The feeds.
    pub feeds: FeedSide,
    /// The rest.
    pub spine: SpineResult,
    /// Stretch that was not scored, s.
    pub warmup_s: u64,
    /// A replay's threads wait for each other, which a live run's times do not mean.
    pub is_replay: bool,
}

impl Report {
    /// SHA-256 of the signal stream, in hex.
    #[must_use]
    pub fn signals_sha256(&self) -> String {
        hex(&self.spine.sink.0.sha256)
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let engine = &self.spine.engine.counts;
        let sum = |of: fn(&SessionCounters) -> u64| self.feeds.sessions.iter().map(of).sum::<u64>();
        let per_s = |n: u64| n as f64 / self.elapsed_s.max(1e-9);
        writeln!(out, "purkinje report: {}", self.title)?;
        writeln!(out, "\nrun")?;
        writeln!(
            out,
            "  time                 {:.3} s, {} instruments",
            self.elapsed_s,
            self.instruments.len()
        )?;
        writeln!(
            out,
            "  frames               {} ({:.0}/s), {} bytes",
            sum(|s| s.frames),
            per_s(sum(|s| s.frames)),
            sum(|s| s.bytes)
        )?;
        writeln!(out, "  events               {} ({:.0}/s)", engine.events, per_s(engine.events))?;
        writeln!(
            out,
            "  cycles               {} cut, {} missed, {} overruns of the model, {} clock jumps",
            engine.cycles,
            engine.missed_cycles,
            self.spine.model.overruns,
            self.spine.engine.clock_jumps
        )?;
        writeln!(
            out,
            "  conflation           {} events merged, {} books passed on whole, {} trades summed",
            self.feeds.conflated.0, self.feeds.conflated.1, engine.conflated_trades
        )?;
        for note in &self.feeds.notes {
            writeln!(out, "  {note}")?;
        }
        self.write_books(out, &sum)?;
        self.write_latency(out)?;
        self.write_allocations(out)?;
        self.write_signals(out)?;
        self.write_skill(out)?;
        for warning in &self.feeds.warnings {
            writeln!(out, "\nwarning: {warning}")?;
        }
        writeln!(out, "\nsignals sha256         {}", self.signals_sha256())
    }

    fn write_books(
        &self,
        out: &mut String,
        sum: &impl Fn(fn(&SessionCounters) -> u64) -> u64,
    ) -> std::fmt::Result {
        let engine = &self.spine.engine.counts;
        writeln!(out, "\nbooks")?;
        writeln!(
            out,
            "  updates              {} depth frames, {} tops, {} trades; {} book commits",
            sum(|s| s.depth),
            sum(|s| s.tops),
            sum(|s| s.trades),
            engine.commits
        )?;
        writeln!(
            out,
            "  sequence             {} gaps, {} duplicates, {} older than the snapshot",
            sum(|s| s.gaps),
            sum(|s| s.duplicates),
            sum(|s| s.stale_dropped)
        )?;
        writeln!(
            out,
            "  synchronised         {} times, lost {} times; {} repairs begun, {} done",
            engine.syncs,
            engine.desyncs,
            sum(|s| s.repairs_started),
            sum(|s| s.repairs_done)
        )?;
        writeln!(
            out,
            "  snapshots            {} applied, {} too old, {} of an older connection, {} failed",
            sum(|s| s.snapshots_applied),
            sum(|s| s.snapshots_stale),
            sum(|s| s.snapshots_wrong_generation),
            sum(|s| s.snapshots_failed)
        )?;
        writeln!(
            out,
            "  crossed, locked      {} and {} commits, {} books given up, {} published",
            engine.crossed_commits,
            engine.locked_commits,
            self.feeds.crossed_books,
            engine.crossed_published
        )?;
        let bad: Vec<String> = BadInput::ALL
            .into_iter()
            .map(|kind| {
                (kind, self.feeds.sessions.iter().map(|s| s.bad_input.of(kind)).sum::<u64>())
            })
            .filter(|(_, n)| *n > 0)
            .map(|(kind, n)| format!("{n} {}", kind.name()))
            .collect();
        let bad = if bad.is_empty() { "0".to_owned() } else { bad.join(", ") };
        writeln!(
            out,
            "  refused              {bad}; {} of unknown symbols, {} of no use",
            sum(|s| s.unknown_symbol),
            sum(|s| s.ignored)
        )
    }

    fn write_latency(&self, out: &mut String) -> std::fmt::Result {
        let spine = &self.spine;
        writeln!(
            out,
            "\nlatency, µs              count       p50       p90       p99     p99.9       max"
        )?;
        // From one thread to another: in a replay, how long things lay in a ring that is kept full.
        let between = |stage| if self.is_replay { None } else { Some(stage) };
        let stages = [
            self.feeds.decode.as_ref(),
            between(&spine.engine.book),
            between(&spine.engine.jitter),
            Some(&spine.engine.features),
            between(&spine.model.pick_up),
            Some(&spine.model.model),
            Some(&spine.model.decision),
            between(&spine.sink.0.hand_over),
            between(&spine.sink.0.age),
            between(&spine.sink.0.to_kafka),
        ];
        for stage in stages.into_iter().flatten().filter(|s| s.count() > 0) {
            let us = |ns: u64| ns as f64 / 1e3;
            write!(out, "  {:<16} {:>12}", stage.name(), stage.count())?;
            for q in [0.5, 0.9, 0.99, 0.999] {
                write!(out, " {:>9.1}", us(stage.quantile_ns(q)))?;
            }
            writeln!(out, " {:>9.1}", us(stage.max_ns()))?;
        }
        if self.is_replay {
            writeln!(
                out,
                "  (times between threads are those of a live run only: a replay's rings are kept full)"
            )?;
        }
        Ok(())
    }

    fn write_allocations(&self, out: &mut String) -> std::fmt::Result {
        let show = |w: &AllocationWatch| {
            if w.watched_cycles() == 0 {
                "not watched (too short)".to_owned()
            } else {
                format!("{} in {} cycles", w.allocations(), w.watched_cycles())
            }
        };
        let spine = &self.spine;
        writeln!(out, "\nallocations after the first {WARM_UP_CYCLES} cycles")?;
        writeln!(out, "  engine               {}", show(&spine.engine.allocations))?;
        writeln!(out, "  model                {}", show(&spine.model.allocations))?;
        writeln!(out, "  sink                 {}", show(&spine.sink.1))?;
        if let Some(kafka) = &spine.kafka {
            writeln!(out, "  publisher            {}", show(&kafka.signals.allocations))?;
        }
        Ok(())
    }

    fn write_signals(&self, out: &mut String) -> std::fmt::Result {
        let counts = &self.spine.sink.0.counts;
        let [buy, sell, hold] = counts.actions;
        writeln!(out, "\nsignals")?;
        writeln!(
            out,
            "  count                {} ({buy} BUY, {sell} SELL, {hold} HOLD)",
            counts.signals()
        )?;
        let held: Vec<String> = Reason::ALL
            .iter()
            .zip(&counts.reasons)
            .filter(|(_, n)| **n > 0)
            .map(|(reason, n)| format!("{n} {}", reason.name()))
            .collect();
        writeln!(out, "  HOLD because         {}", held.join(", "))?;
        writeln!(out, "  model                {}", self.model_version)?;
        let recovered = self.spine.journal_recovery.as_ref().filter(|r| r.torn_bytes > 0);
        if let Some(torn) = recovered {
            let at = torn.torn_path.as_ref().map(|p| format!(", kept in {}", p.display()));
            writeln!(
                out,
                "  journal recovered    {} torn bytes cut off its end{}",
                torn.torn_bytes,
                at.unwrap_or_default()
            )?;
        }
        if let Some(journal) = &self.spine.journal {
            let c = &journal.counters;
            writeln!(
                out,
                "  journal              {} lines written, {} dropped, {} refused by a full ring, {} write errors",
                c.lines_written,
                c.lines_dropped + journal.refused,
                counts.journal_refused,
                c.write_errors
            )?;
            if journal.unwritten_bytes > 0 {
                writeln!(
                    out,
                    "  journal unwritten    {} bytes the disk never took",
                    journal.unwritten_bytes
                )?;
            }
            if let Some(trouble) = &journal.trouble {
                writeln!(out, "  journal trouble      {trouble}")?;
            }
        }
        if let Some(kafka) = &self.spine.kafka {
            kafka_lines(out, kafka, counts.kafka_refused)?;
        }
        if counts.terminal_skipped > 0 {
            writeln!(
                out,
                "  terminal             {} signals not shown: it did not keep up",
                counts.terminal_skipped
            )?;
        }
        if counts.not_encoded > 0 {
            writeln!(
                out,
                "  not encoded          {} longer than a line may be",
                counts.not_encoded
            )?;
        }
        Ok(())
    }

    fn write_skill(&self, out: &mut String) -> std::fmt::Result {
        let forecaster = &self.spine.model.forecaster;
        let learning = forecaster.counts();
        writeln!(out, "\nforecasts")?;
        writeln!(
            out,
            "  made                 {}; {} moved, {} unchanged, {} discarded, {} displaced, {} still open",
            learning.forecasts,
            learning.moved,
            learning.unchanged,
            learning.discarded,
            learning.displaced,
            learning.open()
        )?;
        judgement_lines(out, forecaster, &self.instruments)?;
        for network in forecaster.networks() {
            if let Some(health) = network.health() {
                onnx_line(out, network.name(), &health)?;
            }
        }
        if let Some(cerebellum) = forecaster.cerebellum() {
            let r = cerebellum.rates();
            writeln!(
                out,
                "  cerebellum           mossy {:.1} Hz, granule {:.2}, Golgi {:.1}, Purkinje {:.1}, nuclei {:.1}",
                r.mossy_hz, r.granule_hz, r.golgi_hz, r.purkinje_hz, r.nuclear_hz
            )?;
            writeln!(
                out,
                "  cerebellum's input   {} features absent; {} outcomes expired, {} refused",
                cerebellum.absent(),
                cerebellum.expired(),
                cerebellum.rejected()
            )?;
        }
        let [losses, returns] = self.spine.backend.counts();
        let place = self.spine.backend.place();
        writeln!(
            out,
            "  ran on               {place}; {losses} devices lost, {returns} gone back to"
        )?;
        let (cerebellum, networks) = forecaster.models().device_counters();
        if let Some(c) = cerebellum {
            writeln!(
                out,
                "  device               {} cycles, {} outcomes, {} flushes of outcomes, {} copies taken back",
                c.cycles, c.outcomes, c.flushes, c.synchronisations
            )?;
        }
        if let Some(c) = networks {
            writeln!(
                out,
                "  networks on device   {} cycles, {} copies of streams taken back",
                c.cycles, c.synchronisations
            )?;
        }
        let mut news = Vec::new();
        self.spine.backend.read_new(&mut 0, |what| news.push(what.to_owned()));
        for what in news {
            writeln!(out, "  {what}")?;
        }
        if let Some(cerebellum) = forecaster.cerebellum() {
            write!(out, "\nlearning of the cerebellum\n{}", cerebellum.learning())?;
        }
        writeln!(out, "\nskill after the first {} s", self.warmup_s)?;
        out.push_str(&forecaster.scorecard().table());
        Ok(())
    }
}

/// What became of the calls of a network that ONNX Runtime answers for.
fn onnx_line(out: &mut String, name: &str, health: &Health) -> std::fmt::Result {
    write!(
        out,
        "  onnx                 {name}: {} calls; {} cycles over their share, {} calls cut, {} left out, {} \
         failed; {} answers no probability",
        health.calls,
        health.over_budget,
        health.cut,
        health.left_out,
        health.failed,
        health.no_probability
    )?;
    writeln!(out, "{}", if health.is_asleep { "; asleep for being late" } else { "" })
}

fn kafka_lines(out: &mut String, kafka: &KafkaResult, refused_by_ring: u64) -> std::fmt::Result {
    let outcome = &kafka.outcome;
    write!(out, "  kafka                epoch {}, {} signals:", outcome.epoch, outcome.offered)?;
    for each in Outcome::ALL {
        write!(out, " {} {},", outcome.of(each), each.name())?;
    }
    writeln!(out, " {refused_by_ring} found no room in the ring")?;
    writeln!(
        out,
        "  kafka on the way     {} found in the spill, {} spilled, {} sent again, {} late, {} broker losses, \
         {} new producers, {} errors of the spill, {} latest failed",
        outcome.inherited,
        outcome.spilled,
        outcome.retries,
        outcome.late,
        outcome.losses,
        outcome.rebuilds,
        outcome.spill_errors,
        outcome.latest_failed
    )?;
    if let Some(acked) = kafka.signals.made_to_acked_us.as_ref().filter(|h| !h.is_empty()) {
        let at = |q| acked.value_at_quantile(q);
        writeln!(
            out,
            "  made to acknowledged p50 {} us, p99 {} us, p99.9 {} us, max {} us",
            at(0.5),
            at(0.99),
            at(0.999),
            acked.max()
        )?;
    }
    let bulk = &kafka.bulk;
    writeln!(
        out,
        "  kafka status         {} delivered, {} failed, {} notes dropped, {} events missed",
        bulk.delivered, bulk.failed, bulk.dropped, bulk.missed
    )?;
    if let Some(trouble) = &outcome.trouble {
        writeln!(out, "  kafka trouble        {trouble}")?;
    }
    if let Some(trouble) = &outcome.spill_trouble {
        writeln!(out, "  spill trouble        {trouble}")?;
    }
    Ok(())
}
