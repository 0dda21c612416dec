//! The sink thread's work: encode, hash, count and hand on; nothing here waits for a disk or a broker.
//!
//! Each signal becomes one JSON line, goes into the running SHA-256 of the stream, and is offered to
//! the journal's, the broker's and the terminal's ring. A full ring is counted live; in a replay,
//! whose clock can wait, the sink waits instead, so that a replay's journal is complete.

use std::{io::Write as _, time::Duration};

use rtrb::{Consumer, Producer, RingBuffer};
use sha2::{Digest, Sha256};

use super::{
    boards::SinkWatch,
    byte_ring::ByteSender,
    latency::Stage,
    live_histogram::LiveLatency,
    live_settings::{LiveSettings, MAX_TEXT_BYTES},
    waker::Waker,
};
use crate::{
    clock::monotonic_ns,
    signals::{
        Action, Signal,
        encode::{Encoder, MAX_LINE_BYTES},
    },
};

/// What the model thread sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    /// A signal.
    Signal(Signal),
    /// Trading was halted or resumed, as of this cycle.
    State {
        /// The first cycle it holds for.
        cycle: u64,
        /// That cycle's boundary, ns.
        ts_cycle_ns: i64,
        /// Halted or running.
        halted: bool,
    },
    /// Settings were changed, as of this cycle.
    Settings {
        /// The first cycle they hold for.
        cycle: u64,
        /// That cycle's boundary, ns.
        ts_cycle_ns: i64,
        /// All that can be changed while running.
        settings: LiveSettings,
    },
}

/// What to do when a ring behind the sink is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Drop the copy for that ring and count it.
    Count,
    /// Wait for room.
    Wait,
}

/// What the sink counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkCounts {
    /// Signals by action: buy, sell, hold.
    pub actions: [u64; 3],
    /// HOLD signals by reason, in [`crate::signals::Reason::ALL`] order.
    pub reasons: [u64; 16],
    /// State records.
    pub states: u64,
    /// Changes of settings.
    pub settings: u64,
    /// Lines the journal's ring had no room for.
    pub journal_refused: u64,
    /// Signals and states the Kafka thread's ring had no room for.
    pub kafka_refused: u64,
    /// Signals the terminal's ring had no room for.
    pub terminal_skipped: u64,
    /// Signals whose line would have been too long.
    pub not_encoded: u64,
    /// Signals that those who watch over HTTP did not get: their ring had no room.
    pub watch_skipped: u64,
}

impl SinkCounts {
    /// How many numbers there are.
    pub const WORDS: usize = 26;

    /// All signals.
    #[must_use]
    pub fn signals(&self) -> u64 {
        self.actions.iter().sum()
    }

    /// All numbers, in the order of declaration.
    #[must_use]
    pub fn words(&self) -> [u64; Self::WORDS] {
        let Self {
            actions,
            reasons,
            states,
            settings,
            journal_refused,
            kafka_refused,
            terminal_skipped,
            not_encoded,
            watch_skipped,
        } = *self;
        let mut words = [0; Self::WORDS];
        words[..3].copy_from_slice(&actions);
        words[3..19].copy_from_slice(&reasons);
        words[19..].copy_from_slice(&[
            states,
            settings,
            journal_refused,
            kafka_refused,
            terminal_skipped,
            not_encoded,
            watch_skipped,
        ]);
        words
    }

    /// The counters behind [`SinkCounts::words`].
    #[must_use]
    pub fn from_words(words: [u64; Self::WORDS]) -> Self {
        Self {
            actions: std::array::from_fn(|k| words[k]),
            reasons: std::array::from_fn(|k| words[3 + k]),
            states: words[19],
            settings: words[20],
            journal_refused: words[21],
            kafka_refused: words[22],
            terminal_skipped: words[23],
            not_encoded: words[24],
            watch_skipped: words[25],
        }
    }
}

/// The rings behind the sink; absent ones are switched off.
#[derive(Debug, Default)]
pub struct Outlets {
    /// Journal lines.
    pub journal: Option<ByteSender>,
    /// What goes to Kafka.
    pub kafka: Option<KafkaRing>,
    /// Signals to show.
    pub terminal: Option<Producer<Signal>>,
    /// Signals and counters for those who watch.
    pub watch: Option<SinkWatch>,
}

/// The ring to the Kafka thread. Handing over costs a copy and no system call; the thread is woken when
/// the sink has nothing left to do.
#[derive(Debug)]
pub struct KafkaRing {
    /// Signals and states, in order.
    pub ring: Producer<Output>,
    /// Wakes the thread.
    pub waker: Waker,
}

impl KafkaRing {
    /// A ring for so many outputs, and the thread's end of it.
    #[must_use]
    pub fn new(outputs: usize) -> (Self, Consumer<Output>) {
        let (mut ring, mut taken) = RingBuffer::new(outputs);
        // Every slot is written once: later the sink meets no page that the system has yet to find.
        let nothing = Output::State { cycle: 0, ts_cycle_ns: 0, halted: false };
        while ring.push(nothing).is_ok() {}
        while taken.pop().is_ok() {}
        (Self { ring, waker: Waker::default() }, taken)
    }
}

/// State of the sink thread.
#[derive(Debug)]
pub struct Sink {
    encoder: Encoder,
    hash: Sha256,
    outlets: Outlets,
    when_full: WhenFull,
    counts: SinkCounts,
    hand_over: Stage,
    age: Stage,
    to_kafka: Stage,
}

/// What is left when the sink has ended.
#[derive(Clone, Debug)]
pub struct SinkResult {
    /// The counters.
    pub counts: SinkCounts,
    /// SHA-256 of the stream.
    pub sha256: [u8; 32],
    /// Model done → taken by the sink.
    pub hand_over: Stage,
    /// Newest input off the socket → signal taken by the sink.
    pub age: Stage,
    /// Handing a signal to the Kafka thread: how long it keeps the sink.
    pub to_kafka: Stage,
}

impl Sink {
    /// A sink with an empty stream.
    #[must_use]
    pub fn new(encoder: Encoder, outlets: Outlets, when_full: WhenFull) -> Self {
        Self {
            encoder,
            hash: Sha256::new(),
            outlets,
            when_full,
            counts: SinkCounts::default(),
            hand_over: Stage::new("hand-over"),
            age: Stage::new("socket→signal"),
            to_kafka: Stage::new("sink→kafka"),
        }
    }

    /// The same sink, its stages watched.
    #[must_use]
    pub fn watched(mut self, latency: &LiveLatency) -> Self {
        self.hand_over = self.hand_over.watched(latency.histogram("hand_over"));
        self.age = self.age.watched(latency.histogram("signal_age"));
        self.to_kafka = self.to_kafka.watched(latency.histogram("kafka_hand_over"));
        self
    }

    /// Takes one output of the model.
    pub fn take(&mut self, output: &Output) {
        match output {
            Output::Signal(signal) => self.signal(signal),
            Output::State { cycle, ts_cycle_ns, halted } => {
                self.give_kafka(output);
                self.state(*cycle, *ts_cycle_ns, *halted);
            }
            Output::Settings { cycle, ts_cycle_ns, settings } => {
                self.settings(*cycle, *ts_cycle_ns, settings);
            }
        }
    }

    /// Call when there is nothing to take: wakes who was given something, and publishes what was counted.
    pub fn idle(&mut self) {
        if let Some(kafka) = &self.outlets.kafka {
            kafka.waker.wake();
        }
        if let Some(watch) = &mut self.outlets.watch {
            watch.publish(&self.counts);
        }
    }

    fn give_kafka(&mut self, output: &Output) {
        let Some(kafka) = &mut self.outlets.kafka else { return };
        let begun = monotonic_ns();
        self.counts.kafka_refused += u64::from(kafka.ring.push(*output).is_err());
        self.to_kafka.record(monotonic_ns() - begun);
    }

    fn signal(&mut self, signal: &Signal) {
        let now = monotonic_ns();
        self.hand_over.record(now.saturating_sub(signal.made_mono_ns));
        if signal.recv_mono_ns != 0 {
            self.age.record(now.saturating_sub(signal.recv_mono_ns));
        }
        self.counts.actions[signal.action as usize] += 1;
        if signal.action == Action::Hold {
            self.counts.reasons[signal.reason as usize] += 1;
        }
        // First of all: the others can wait.
        self.give_kafka(&Output::Signal(*signal));
        let mut buffer = [0; MAX_LINE_BYTES];
        if let Some(line) = self.encoder.line(signal, &mut buffer) {
            self.hash.update(line.hashed);
            self.hash.update(b"\n");
            let wait = self.when_full;
            send(&mut self.outlets.journal, &[line.bytes], wait, &mut self.counts.journal_refused);
        } else {
            self.counts.not_encoded += 1;
        }
        if let Some(terminal) = &mut self.outlets.terminal {
            // The screen shows the newest anyway, so even a replay does not wait for it.
            self.counts.terminal_skipped += u64::from(terminal.push(*signal).is_err());
        }
        if let Some(watch) = &mut self.outlets.watch {
            self.counts.watch_skipped += u64::from(watch.signals.push(*signal).is_err());
        }
    }

    fn state(&mut self, cycle: u64, ts_cycle_ns: i64, halted: bool) {
        self.counts.states += 1;
        let mut buffer = [0; 256];
        let mut out = std::io::Cursor::new(&mut buffer[..]);
        let state = if halted { "halted" } else { "running" };
        let written = write!(
            out,
            "{{\"record\":\"state\",\"state\":\"{state}\",\"cycle\":{cycle},\"ts_cycle_ns\":{ts_cycle_ns}}}"
        );
        let len = out.position() as usize;
        if written.is_ok() {
            self.record(&buffer[..len]);
        }
    }

    fn settings(&mut self, cycle: u64, ts_cycle_ns: i64, settings: &LiveSettings) {
        self.counts.settings += 1;
        let mut text = [0; MAX_TEXT_BYTES];
        let text = settings.write(&mut text);
        let mut buffer = [0; 2 * MAX_TEXT_BYTES];
        let mut out = std::io::Cursor::new(&mut buffer[..]);
        let written = write!(
            out,
            "{{\"record\":\"settings\",\"settings\":{text},\"cycle\":{cycle},\"ts_cycle_ns\":{ts_cycle_ns}}}"
        );
        let len = out.position() as usize;
        if written.is_ok() {
            self.record(&buffer[..len]);
        }
    }

    /// One line of the stream that is no signal.
    fn record(&mut self, line: &[u8]) {
        self.hash.update(line);
        self.hash.update(b"\n");
        let wait = self.when_full;
        send(&mut self.outlets.journal, &[line], wait, &mut self.counts.journal_refused);
    }

    /// Ends the stream.
    #[must_use]
    pub fn finish(self) -> SinkResult {
        SinkResult {
            counts: self.counts,
            sha256: self.hash.finalize().into(),
            hand_over: self.hand_over,
            age: self.age,
            to_kafka: self.to_kafka,
        }
    }
}

fn send(ring: &mut Option<ByteSender>, parts: &[&[u8]], when_full: WhenFull, refused: &mut u64) {
    let Some(ring) = ring else { return };
    while !ring.try_send(parts) {
        if when_full == WhenFull::Count || ring.is_abandoned() {
            *refused += 1;
            return;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_come_back_from_their_words_each_in_its_place() {
        let words: [u64; SinkCounts::WORDS] = std::array::from_fn(|k| k as u64 + 1);
        let counts = SinkCounts::from_words(words);
        assert_eq!((counts.actions, counts.states, counts.watch_skipped), ([1, 2, 3], 20, 26));
        assert_eq!(counts.words(), words);
    }
}
