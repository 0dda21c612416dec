//! The thread `pk-kafka`: signals from the sink's ring to the broker.
//!
//! It alone knows the epoch: one at the start, another after every rebuild of the producer. It never makes the
//! sink wait: what the ring has no room for the sink has counted. Where disk or state directory fail it says so and goes
//! on without them; only a directory that another daemon uses is refused, since epochs would collide.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rtrb::Consumer;
use thiserror::Error;

use super::{
    bulk::BulkSender,
    client::KafkaClient,
    contract::{Encoding, Identity, Topic},
    delivery::Delivery,
    envelope::{Envelope, MODEL_DIGITS},
    epoch::{EpochError, EpochFile},
    fenced::FencedPublisher,
    native::{NativeConfig, NativeError, NativeProducer},
    outcome::KafkaCounts,
    publisher::{Now, Publisher, PublisherConfig},
    spill::{Spill, SpillConfig, SpillError},
    status::Note,
    window::{MAX_VALUE_BYTES, Window},
};
use crate::{
    clock::{monotonic_ns, wall_ns},
    config::{Kafka, KafkaEncoding, KafkaMode},
    files::secret::SecretError,
    pipeline::{sink::Output, waker::Waker},
    signals::{Signal, encode::Encoder, protobuf::ProtobufEncoder, run_constants::RunConstants},
};

/// Outputs the ring holds: more than a minute of 16 instruments.
pub const RING_OUTPUTS: usize = 16 << 10;

/// Signals taken between two looks at what the client has to say.
const BATCH: usize = 256;

/// Longest sleep while the client has something under way, and while it has nothing.
const NAPS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];

/// How often what has expired is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How long the broker leaves a transaction open that nobody ends, ms: as long as by default.
const TRANSACTION_TIMEOUT_MS: u64 = 60_000;

/// Segments that the spill is divided into.
const SPILL_SEGMENTS: u64 = 16;

/// Least size of one, bytes.
const LEAST_SEGMENT_BYTES: u64 = 128 << 10;

/// Why publishing cannot begin.
#[derive(Debug, Error)]
pub enum KafkaSetupError {
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The client library refuses its configuration.
    #[error(transparent)]
    Native(#[from] NativeError),
    /// The library's binding refuses its configuration.
    #[error("kafka.brokers = {brokers:?}: {source}")]
    Binding {
        /// As configured.
        brokers: String,
        /// What it said.
        source: rdkafka::error::KafkaError,
    },
    /// Another daemon has the state directory.
    #[error("kafka.state_dir: {0}; give each daemon its own")]
    StateDir(SpillError),
}

/// Everything that publishing needs of the configuration.
#[derive(Clone, Debug)]
pub struct KafkaOutlet {
    /// How to reach the brokers.
    pub client: KafkaClient,
    /// The table `kafka`.
    pub config: Kafka,
    /// Life of a signal, ms.
    pub ttl_ms: u64,
}

impl KafkaOutlet {
    /// Reads the secrets that the configuration names.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn new(config: &Kafka, ttl_ms: u64) -> Result<Self, SecretError> {
        Ok(Self { client: KafkaClient::new(config)?, config: config.clone(), ttl_ms })
    }

    /// The name of a topic.
    #[must_use]
    pub fn topic(&self, topic: Topic) -> String {
        topic.name(&self.config.topic_prefix)
    }

    /// `ce_source`.
    #[must_use]
    pub fn source(&self) -> String {
        if !self.config.source.is_empty() {
            return self.config.source.clone();
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("purkinje://{}", host.trim())
    }

    /// Where epoch and spill are kept.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        if !self.config.state_dir.as_os_str().is_empty() {
            return self.config.state_dir.clone();
        }
        let own = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        // systemd separates several directories by colons: the first is ours.
        let service = own("STATE_DIRECTORY").and_then(|dirs| {
            dirs.to_str().and_then(|dirs| dirs.split(':').next()).map(PathBuf::from)
        });
        service
            .or_else(|| own("XDG_STATE_HOME").map(|dir| dir.join("purkinje")))
            .or_else(|| own("HOME").map(|dir| dir.join(".local/state/purkinje")))
            .unwrap_or_else(|| PathBuf::from("purkinje-state"))
    }

    /// What its producers are made of.
    pub(super) fn native(&self) -> NativeConfig {
        let config = &self.config;
        let mut settings = self.client.settings().to_vec();
        let ttl_ms = self.ttl_ms.to_string();
        // What is not acknowledged within its life is worth nothing any more. The window bounds the queue: the
        // client's own bound only has to be beyond it.
        settings.extend([
            ("enable.idempotence", "true".to_owned()),
            ("acks", "all".to_owned()),
            ("linger.ms", "0".to_owned()),
            ("partitioner", "murmur2_random".to_owned()),
            ("message.timeout.ms", ttl_ms),
            ("queue.buffering.max.messages", "1000000".to_owned()),
            ("retry.backoff.ms", "20".to_owned()),
            ("socket.nagle.disable", "true".to_owned()),
        ]);
        if config.mode == KafkaMode::Fenced {
            // The library wants no signal to outlive its transaction.
            let timeout_ms = self.ttl_ms.max(TRANSACTION_TIMEOUT_MS).to_string();
            settings.push(("transactional.id", config.transactional_id.clone()));
            settings.push(("transaction.timeout.ms", timeout_ms));
        }
        NativeConfig {
            settings,
            signals: self.topic(Topic::Signals),
            latest: config.latest.then(|| self.topic(Topic::SignalsLatest)),
            source: self.source(),
        }
    }
}

/// What makes values of signals.
enum Values {
    Json(Encoder),
    Protobuf(Box<ProtobufEncoder>),
}

impl Values {
    fn write(&mut self, signal: &Signal, into: &mut [u8; MAX_VALUE_BYTES]) -> Option<usize> {
        match self {
            Self::Json(encoder) => encoder.line(signal, into).map(|line| line.bytes.len()),
            Self::Protobuf(encoder) => encoder.message(signal, into).map(<[u8]>::len),
        }
    }
}

/// A thread that has not started to run.
pub struct SignalsThread {
    delivery: Box<dyn Delivery>,
    counts: Arc<KafkaCounts>,
    run: Arc<RunConstants>,
    values: Values,
    encoding: Encoding,
    model: [u8; MODEL_DIGITS],
    ttl_ns: i64,
    state_dir: PathBuf,
    epoch: u64,
    bulk: BulkSender,
    told_at: Instant,
    is_fenced_off: bool,
}

/// What the thread measured.
#[derive(Clone, Debug)]
pub struct SignalsResult {
    /// From a signal's making to its acknowledgement, µs, for those that were not spilled.
    pub made_to_acked_us: Option<Histogram<u64>>,
    /// Allocations by this thread while signals flowed, as `crate::alloc` counts them.
    pub allocations: crate::pipeline::warm::AllocationWatch,
}

impl SignalsThread {
    /// Opens the spill, begins an epoch and makes the producer; does not wait for a broker.
    ///
    /// # Errors
    /// The library refuses a setting, or another daemon has the state directory.
    pub fn new(
        outlet: &KafkaOutlet,
        run: Arc<RunConstants>,
        encoder: Encoder,
        counts: Arc<KafkaCounts>,
        bulk: BulkSender,
    ) -> Result<Self, KafkaSetupError> {
        let config = &outlet.config;
        let state_dir = outlet.state_dir();
        let max_bytes = config.spill_mb << 20;
        let spill_config = SpillConfig {
            max_bytes,
            segment_bytes: (max_bytes / SPILL_SEGMENTS).max(LEAST_SEGMENT_BYTES),
        };
        let spill = match Spill::open(&state_dir.join("spill"), spill_config) {
            Ok((spill, _)) => Some(spill),
            Err(error @ SpillError::Locked { .. }) => return Err(KafkaSetupError::StateDir(error)),
            Err(error) => {
                counts.spill_errors.fetch_add(1, Relaxed);
                let what = format!("signals are not spilled: {error}");
                counts.note_spill(what.clone());
                bulk.send(Note::Trouble { what });
                None
            }
        };
        // A whole cycle must fit, or it could not be one transaction.
        let slots = config.window_messages.max(2 * run.keys().len());
        let producer = NativeProducer::new(outlet.native(), Window::new(slots))?;
        let settings = PublisherConfig {
            broker_loss_ns: config.broker_loss_ms * 1_000_000,
            latest: config.latest,
        };
        let delivery: Box<dyn Delivery> = match config.mode {
            KafkaMode::Epoch => Box::new(Publisher::new(settings, producer, spill, counts.clone())),
            KafkaMode::Fenced => Box::new(FencedPublisher::new(
                settings,
                run.keys().len(),
                producer,
                spill,
                counts.clone(),
            )),
        };
        let (encoding, values) = match config.encoding {
            KafkaEncoding::Json => (Encoding::Json, Values::Json(encoder)),
            KafkaEncoding::Protobuf => {
                let encoder = ProtobufEncoder::new(run.clone());
                (Encoding::Protobuf, Values::Protobuf(Box::new(encoder)))
            }
        };
        let mut model = [b'0'; MODEL_DIGITS];
        for (to, from) in model.iter_mut().zip(run.model().bytes()) {
            *to = from;
        }
        let mut thread = Self {
            delivery,
            counts,
            run,
            values,
            encoding,
            model,
            ttl_ns: outlet.ttl_ms as i64 * 1_000_000,
            state_dir,
            epoch: 0,
            bulk,
            told_at: Instant::now(),
            is_fenced_off: false,
        };
        thread.begin_epoch("the daemon started");
        Ok(thread)
    }

    fn begin_epoch(&mut self, why: &str) {
        let now_ms = u64::try_from(wall_ns() / 1_000_000).unwrap_or(0);
        // Whatever the disk says, an epoch of this run is greater than the one before it.
        let least = self.epoch + 1;
        let next = match EpochFile::next(&self.state_dir, now_ms.max(least)) {
            Ok(next) => {
                if let Some(garbage) = next.garbage {
                    self.trouble(&garbage.to_string());
                }
                next.epoch
            }
            Err(error) => {
                self.trouble(&error.to_string());
                match error {
                    EpochError::Write { epoch, .. } => epoch,
                    EpochError::Read { .. } => now_ms,
                }
            }
        };
        let ended = self.epoch;
        self.epoch = next.max(least);
        self.counts.epoch.store(self.epoch, Relaxed);
        if ended > 0 {
            self.bulk.send(Note::EpochEnded { epoch: ended });
        }
        self.bulk.send(Note::EpochBegan { epoch: self.epoch, why: why.to_owned() });
    }

    fn trouble(&self, what: &str) {
        self.counts.note(|| what.to_owned());
        self.bulk.send(Note::Trouble { what: what.to_owned() });
    }

    /// Publishes until the ring's sender is gone and everything is settled, or until `abandon` is set;
    /// what is left then goes to the spill.
    #[must_use]
    pub fn run(
        mut self,
        mut ring: Consumer<Output>,
        waker: &Waker,
        abandon: &AtomicBool,
    ) -> SignalsResult {
        let mut allocations = crate::pipeline::warm::AllocationWatch::default();
        let mut cycle = 0;
        loop {
            let ending = ring.is_abandoned();
            let now = now();
            self.delivery.pump(now);
            if self.delivery.is_broken() && self.delivery.rebuild(now) {
                self.begin_epoch("the producer was made anew after a fatal error");
            }
            let mut taken = 0;
            while taken < BATCH
                && let Ok(output) = ring.pop()
            {
                taken += 1;
                match output {
                    Output::Signal(signal) => {
                        if signal.cycle != cycle {
                            cycle = signal.cycle;
                            allocations.cycle();
                        }
                        self.offer(&signal);
                    }
                    Output::State { cycle, ts_cycle_ns, halted } => {
                        self.bulk.send(Note::State { cycle, ts_cycle_ns, halted });
                    }
                    // Told by the result of the command, and in the journal.
                    Output::Settings { .. } => {}
                }
            }
            if self.told_at.elapsed() >= TELL_EVERY {
                self.tell();
            }
            if abandon.load(Relaxed) || (ending && taken == 0 && self.delivery.is_idle()) {
                break;
            }
            if taken == 0 {
                let is_waiting = self.delivery.has_in_flight();
                let nap = NAPS[usize::from(!is_waiting)];
                if !is_waiting || !self.delivery.wait_for_reports(nap) {
                    waker.sleep(nap, || !ring.is_empty());
                }
            }
        }
        // What the sink still gave while this thread was told to end.
        while let Ok(output) = ring.pop() {
            if let Output::Signal(signal) = output {
                self.offer(&signal);
            }
        }
        self.tell();
        let made_to_acked_us = self.delivery.latency().cloned();
        if let Some(range) = self.delivery.end(now()) {
            self.bulk.send(Note::Expired(range));
        }
        self.bulk.send(Note::EpochEnded { epoch: self.epoch });
        SignalsResult { made_to_acked_us, allocations }
    }

    fn tell(&mut self) {
        self.told_at = Instant::now();
        if self.counts.is_fenced_off() && !self.is_fenced_off {
            self.is_fenced_off = true;
            self.bulk.send(Note::Trouble {
                what: "another daemon publishes under kafka.transactional_id; this one has stopped"
                    .into(),
            });
        }
        if let Some(range) = self.delivery.take_expired() {
            self.bulk.send(Note::Expired(range));
        }
        while let Some(what) = self.delivery.next_fault() {
            self.bulk.send(Note::Trouble { what });
        }
    }

    fn offer(&mut self, signal: &Signal) {
        let mut envelope = Envelope::EMPTY;
        envelope.identity = Identity { epoch: self.epoch, seq: signal.seq };
        envelope.cycle = signal.cycle;
        envelope.ts_signal_ns = signal.ts_signal_ns;
        envelope.expires_ns = signal.ts_signal_ns.saturating_add(self.ttl_ns);
        envelope.encoding = self.encoding;
        envelope.model = self.model;
        // Venue and symbol are bounded by the configuration well below the envelope's bound.
        let _ = envelope.set_key(self.run.key(signal).as_bytes());
        let values = &mut self.values;
        self.delivery.offer(
            &envelope,
            signal.made_mono_ns,
            &mut |into| values.write(signal, into),
            now(),
        );
    }
}

fn now() -> Now {
    Now { wall_ns: wall_ns(), mono_ns: monotonic_ns() }
}
