//! The publisher against a scripted client: whatever happens, one outcome a signal and no order lost.

use super::*;
use crate::signals::kafka::{
    contract::Identity,
    producer::{TransactionError, Trouble},
    spill::SpillConfig,
    window::{MAX_VALUE_BYTES, Window},
};
use proptest::prelude::*;

const SECOND_NS: i64 = 1_000_000_000;

const SPILL: SpillConfig = SpillConfig { max_bytes: 1 << 20, segment_bytes: 128 << 10 };

/// A client that does what the test says, and keeps a log of what the broker has.
#[derive(Debug)]
struct Scripted {
    window: Window,
    under_way: Vec<(Slot, Destination)>,
    reports: Vec<Report>,
    trouble: Trouble,
    queue_is_full: bool,
    is_fatal: bool,
    is_there: bool,
    log: Vec<Identity>,
}

impl Scripted {
    fn new(slots: usize) -> Self {
        Self {
            window: Window::new(slots),
            under_way: Vec::new(),
            reports: Vec::new(),
            trouble: Trouble::default(),
            queue_is_full: false,
            is_fatal: false,
            is_there: true,
            log: Vec::new(),
        }
    }

    /// What becomes of the oldest `count` hand-overs.
    fn report(&mut self, count: usize, fate: Fate) {
        let count = count.min(self.under_way.len());
        for (slot, to) in self.under_way.drain(..count) {
            let was_stored = matches!(fate, Fate::Delivered { .. });
            if was_stored && to == Destination::Signals {
                self.log.push(self.window.envelope(slot).identity);
            }
            self.reports.insert(0, Report { slot, to, fate });
        }
    }
}

impl Producer for Scripted {
    fn window(&mut self) -> &mut Window {
        &mut self.window
    }

    fn send(&mut self, slot: Slot, to: Destination) -> Result<(), SendError> {
        if self.is_fatal {
            return Err(SendError::Fatal);
        }
        if self.queue_is_full {
            return Err(SendError::QueueFull);
        }
        self.window.begin_report(slot);
        self.under_way.push((slot, to));
        Ok(())
    }

    fn poll(&mut self, _: Duration) {}

    fn next_report(&mut self) -> Option<Report> {
        let report = self.reports.pop()?;
        self.window.end_report(report.slot);
        Some(report)
    }

    fn take_trouble(&mut self) -> Trouble {
        std::mem::take(&mut self.trouble)
    }

    fn is_broker_there(&mut self, _: Duration) -> bool {
        self.is_there
    }

    fn close(&mut self, _: Duration) {
        self.report(usize::MAX, Fate::Failed { code: E::PurgeInflight, may_be_there: true });
    }

    fn reopen(&mut self) -> Result<(), String> {
        self.is_fatal = false;
        self.trouble = Trouble::default();
        Ok(())
    }

    fn init_transactions(&mut self, _: Duration) -> Result<(), TransactionError> {
        unreachable!("not transactional")
    }

    fn begin_transaction(&mut self) -> Result<(), TransactionError> {
        unreachable!("not transactional")
    }

    fn commit_transaction(&mut self, _: Duration) -> Result<(), TransactionError> {
        unreachable!("not transactional")
    }

    fn abort_transaction(&mut self, _: Duration) -> Result<(), TransactionError> {
        unreachable!("not transactional")
    }
}

/// A publisher with its time.
struct Bench {
    publisher: Box<Publisher<Scripted>>,
    counts: Arc<KafkaCounts>,
    now: Now,
    seq: u64,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(slots: usize, latest: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let counts = Arc::new(KafkaCounts::default());
        let config = PublisherConfig { broker_loss_ns: 1_000_000_000, latest };
        let (spill, _) = Spill::open(dir.path(), SPILL).unwrap();
        let client = Scripted::new(slots);
        let publisher = Box::new(Publisher::new(config, client, Some(spill), counts.clone()));
        let now = Now { wall_ns: 1_000 * SECOND_NS, mono_ns: 5_000_000_000 };
        Self { publisher, counts, now, seq: 0, dir }
    }

    fn client(&mut self) -> &mut Scripted {
        &mut self.publisher.producer
    }

    fn offer(&mut self) {
        self.seq += 1;
        let mut envelope = Envelope::EMPTY;
        envelope.identity = Identity { epoch: 1, seq: self.seq };
        envelope.ts_signal_ns = self.now.wall_ns;
        envelope.expires_ns = self.now.wall_ns + 5 * SECOND_NS;
        assert!(envelope.set_key(b"venue:A"));
        let text = format!("value {}", self.seq);
        let mut write = |into: &mut [u8; MAX_VALUE_BYTES]| {
            into[..text.len()].copy_from_slice(text.as_bytes());
            Some(text.len())
        };
        self.publisher.offer(&envelope, self.now.mono_ns, &mut write, self.now);
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ns += ms * 1_000_000;
        self.now.wall_ns += ms as i64 * 1_000_000;
        self.publisher.pump(self.now);
    }

    fn acknowledge(&mut self, count: usize) {
        self.client().report(count, Fate::Delivered { latency_us: 500 });
        self.pass(1);
    }

    fn of(&self, outcome: Outcome) -> u64 {
        self.counts.outcome().of(outcome)
    }
}

fn seqs(log: &[Identity]) -> Vec<u64> {
    log.iter().map(|identity| identity.seq).collect()
}

#[test]
fn signals_are_delivered_in_order_and_counted_once() {
    let mut bench = Bench::new(8, true);
    for _ in 0..4 {
        bench.offer();
    }
    assert!(bench.client().under_way.iter().all(|(_, to)| *to == Destination::Signals));
    bench.acknowledge(usize::MAX);
    assert_eq!(seqs(&bench.client().log), [1, 2, 3, 4]);
    assert_eq!(bench.of(Outcome::Delivered), 4);
    assert!(!bench.publisher.is_idle(), "the compacted topic has not answered");
    bench.acknowledge(usize::MAX);
    assert!(bench.publisher.is_idle() && bench.counts.outcome().adds_up());
}

#[test]
fn a_process_killed_while_it_sends_from_the_spill_leaves_what_was_not_acknowledged() {
    let mut bench = Bench::new(4, false);
    bench.offer();
    bench.pass(2_000);
    for _ in 0..9 {
        bench.offer();
    }
    assert_eq!(bench.counts.outcome().spilled, 9);
    // The broker is back and has all that the spill held, but has acknowledged only a part of it.
    bench.acknowledge(1);
    for acknowledged in [4, 2] {
        bench.acknowledge(acknowledged);
    }
    assert_eq!(bench.client().under_way.len(), 3);
    assert!(!bench.publisher.is_idle() && bench.publisher.overflow.is_empty());
    let dir = bench.dir.path().to_owned();
    // As by kill -9: nothing is said to anybody.
    let Bench { publisher, dir: _dir, .. } = bench;
    drop(publisher);
    let (mut spill, _) = Spill::open(&dir, SPILL).unwrap();
    let mut left = Vec::new();
    while let Some((envelope, _)) = spill.front().and_then(Envelope::from_bytes) {
        left.push(envelope.identity);
        spill.pop();
    }
    assert!(seqs(&left).ends_with(&[8, 9, 10]), "{left:?}");
}

#[test]
fn a_signal_goes_to_the_compacted_topic_once_it_is_acknowledged_and_never_before() {
    let mut bench = Bench::new(8, true);
    bench.offer();
    bench.offer();
    bench.pass(1);
    bench.client().report(1, Fate::Failed { code: E::RequestTimedOut, may_be_there: true });
    bench.acknowledge(1);
    let to_latest = |bench: &mut Bench| {
        let latest = bench.client().under_way.iter().filter(|(_, to)| *to == Destination::Latest);
        latest.count()
    };
    assert_eq!(to_latest(&mut bench), 1, "of the second alone");
    bench.pass(100);
    bench.acknowledge(2);
    assert_eq!((bench.of(Outcome::Delivered), to_latest(&mut bench)), (2, 1));
    bench.acknowledge(1);
    assert!(bench.publisher.is_idle());
}

#[test]
fn a_slot_is_not_used_again_before_both_topics_have_reported() {
    let mut bench = Bench::new(1, true);
    bench.offer();
    bench.acknowledge(1);
    assert_eq!(bench.of(Outcome::Delivered), 1);
    bench.offer();
    assert_eq!(bench.counts.outcome().spilled, 1, "the only slot is still read");
    bench.acknowledge(1);
    bench.acknowledge(2);
    assert_eq!(bench.of(Outcome::SpilledDelivered), 1);
}

#[test]
fn a_full_client_spills_and_what_was_spilled_comes_before_what_is_new() {
    let mut bench = Bench::new(4, false);
    for _ in 0..10 {
        bench.offer();
    }
    assert_eq!(bench.counts.outcome().spilled, 6);
    for _ in 0..10 {
        bench.acknowledge(3);
        bench.offer();
    }
    for _ in 0..10 {
        bench.acknowledge(3);
    }
    assert_eq!(seqs(&bench.client().log), (1..=20).collect::<Vec<_>>());
    assert!(bench.counts.outcome().adds_up());
}

#[test]
fn a_silent_broker_is_lost_and_found_again_and_the_expired_are_told() {
    let mut bench = Bench::new(4, false);
    bench.client().is_there = false;
    bench.offer();
    bench.pass(1_001);
    assert!(bench.publisher.is_lost());
    for _ in 0..20 {
        bench.offer();
        bench.pass(500);
    }
    let expired = bench.publisher.take_expired().unwrap();
    assert_eq!((expired.first.seq, expired.count), (2, bench.of(Outcome::Expired)));
    assert!(expired.count >= 10);
    // The client gives its one up by its own time-out, then the broker returns.
    bench.client().report(1, Fate::Failed { code: E::MessageTimedOut, may_be_there: true });
    bench.client().is_there = true;
    bench.pass(500);
    bench.pass(100);
    assert_eq!(bench.of(Outcome::PossiblyPersisted), 1);
    for _ in 0..5 {
        bench.acknowledge(4);
    }
    let log = seqs(&bench.client().log);
    assert!(log.len() >= 8 && log.is_sorted() && log.ends_with(&[21]), "{log:?}");
    assert!(bench.counts.outcome().adds_up());
    assert_eq!(bench.counts.outcome().losses, 1);
}

#[test]
fn a_fatal_error_ends_the_client_and_everything_is_sent_again_in_order() {
    let mut bench = Bench::new(8, true);
    for _ in 0..5 {
        bench.offer();
    }
    bench.acknowledge(4);
    bench.client().is_fatal = true;
    bench.client().trouble.is_fatal = true;
    bench.pass(1);
    assert!(bench.publisher.is_broken());
    bench.offer();
    bench.publisher.rebuild(bench.now);
    assert!(!bench.publisher.is_broken());
    bench.pass(100);
    bench.offer();
    bench.pass(1);
    bench.acknowledge(usize::MAX);
    bench.acknowledge(usize::MAX);
    assert_eq!(seqs(&bench.client().log), [1, 2, 3, 4, 5, 6, 7]);
    let outcome = bench.counts.outcome();
    assert!(outcome.adds_up() && outcome.rebuilds == 1, "{outcome:?}");
}

#[test]
fn what_can_never_succeed_is_refused_and_the_rest_goes_on() {
    let mut bench = Bench::new(8, false);
    bench.offer();
    bench.offer();
    bench
        .client()
        .report(1, Fate::Failed { code: E::TopicAuthorizationFailed, may_be_there: false });
    bench.acknowledge(1);
    assert_eq!((bench.of(Outcome::Refused), bench.of(Outcome::Delivered)), (1, 1));
    assert!(bench.publisher.is_idle());
}

#[test]
fn the_end_keeps_what_was_under_way_in_front_of_what_was_spilled() {
    let mut bench = Bench::new(2, false);
    for _ in 0..5 {
        bench.offer();
    }
    let Bench { publisher, counts, now, dir, .. } = bench;
    let _ = publisher.end(now);
    assert_eq!(counts.outcome().of(Outcome::Kept), 5);
    assert!(counts.outcome().adds_up());
    let (spill, _) = Spill::open(dir.path(), SPILL).unwrap();
    let counts = Arc::new(KafkaCounts::default());
    let config = PublisherConfig { broker_loss_ns: 1_000_000_000, latest: false };
    let mut next = Publisher::new(config, Scripted::new(8), Some(spill), counts.clone());
    next.pump(now);
    next.producer.report(8, Fate::Delivered { latency_us: 1 });
    next.pump(now);
    assert_eq!(seqs(&next.producer.log), [1, 2, 3, 4, 5]);
    let outcome = counts.outcome();
    assert_eq!((outcome.inherited, outcome.of(Outcome::SpilledDelivered)), (5, 5));
}

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Offer(u8),
    Acknowledge(u8),
    Fail(u8, E, bool),
    Pass(u16),
    QueueFull(bool),
    BrokerThere(bool),
    Fatal,
}

fn step() -> impl Strategy<Value = Step> {
    let code = prop::sample::select(vec![
        E::MessageTimedOut,
        E::NotEnoughReplicas,
        E::RequestTimedOut,
        E::TopicAuthorizationFailed,
        E::OutOfOrderSequenceNumber,
        E::PurgeQueue,
        E::MessageSizeTooLarge,
        E::Unknown,
    ]);
    prop_oneof![
        4 => (1u8..12).prop_map(Step::Offer),
        4 => (1u8..12).prop_map(Step::Acknowledge),
        2 => (1u8..6, code, any::<bool>()).prop_map(|(n, code, there)| Step::Fail(n, code, there)),
        4 => (0u16..3_000).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::QueueFull),
        1 => any::<bool>().prop_map(Step::BrokerThere),
        1 => Just(Step::Fatal),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_signal_ends_in_exactly_one_outcome(
        steps in prop::collection::vec(step(), 1..120),
        slots in 1usize..12,
        latest: bool,
    ) {
        let mut bench = Bench::new(slots, latest);
        for step in steps {
            match step {
                Step::Offer(count) => (0..count).for_each(|_| bench.offer()),
                Step::Acknowledge(count) => bench.acknowledge(count.into()),
                Step::Fail(count, code, may_be_there) => {
                    bench.client().report(count.into(), Fate::Failed { code, may_be_there });
                }
                Step::Pass(ms) => bench.pass(ms.into()),
                Step::QueueFull(is_full) => bench.client().queue_is_full = is_full,
                Step::BrokerThere(is_there) => {
                    bench.client().is_there = is_there;
                    bench.client().trouble.all_brokers_down = !is_there;
                }
                Step::Fatal => {
                    bench.client().is_fatal = true;
                    bench.client().trouble.is_fatal = true;
                }
            }
            if bench.publisher.is_broken() {
                bench.publisher.rebuild(bench.now);
            }
        }
        let offered = bench.seq;
        let Bench { publisher, counts, now, .. } = bench;
        let _ = publisher.end(now);
        let outcome = counts.outcome();
        prop_assert!(outcome.adds_up(), "{outcome:?}");
        prop_assert_eq!(outcome.offered, offered);
    }

    #[test]
    fn without_failures_of_single_signals_the_order_is_kept_whatever_else_happens(
        steps in prop::collection::vec(step(), 1..120),
        slots in 1usize..12,
    ) {
        let mut bench = Bench::new(slots, false);
        for step in steps {
            match step {
                Step::Offer(count) => (0..count).for_each(|_| bench.offer()),
                Step::Acknowledge(count) | Step::Fail(count, ..) => bench.acknowledge(count.into()),
                Step::Pass(ms) => bench.pass(ms.into()),
                Step::QueueFull(is_full) => bench.client().queue_is_full = is_full,
                Step::BrokerThere(is_there) => bench.client().trouble.all_brokers_down = !is_there,
                Step::Fatal => {
                    bench.client().is_fatal = true;
                    bench.client().trouble.is_fatal = true;
                }
            }
            if bench.publisher.is_broken() {
                bench.publisher.rebuild(bench.now);
            }
        }
        let log = seqs(&bench.client().log);
        prop_assert!(log.windows(2).all(|pair| pair[0] < pair[1]), "{log:?}");
    }
}
