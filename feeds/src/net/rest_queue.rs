//! Which REST request goes next, and when.
//!
//! A pure structure: time is the caller's, nothing is sent here. Invariants: at most
//! [`REST_QUEUE_BOUND`] requests are under way (queued, being made, or answered but not yet taken), so
//! neither the queue nor a reply channel of that size can overflow; at most one per (port, instrument,
//! generation); requests that are due go in the order of asking, and none overtakes one that waits for
//! the weight budget.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::budget::{Budget, BudgetError};
use super::rest::{Reply, RestError};

/// Requests that may be under way at once, over all connections of a service.
pub const REST_QUEUE_BOUND: usize = 256;

/// Identifies a request while it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) port: u64,
    pub(crate) instrument: u16,
    pub(crate) generation: u32,
}

impl Key {
    fn is_older_than(self, other: Self) -> bool {
        (self.port, self.instrument) == (other.port, other.instrument)
            && self.generation < other.generation
    }
}

/// One request.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) key: Key,
    pub(crate) path_and_query: String,
    pub(crate) weight: u32,
    pub(crate) failures: u32,
    pub(crate) waited_for_budget: bool,
    pub(crate) ready_at: Instant,
    pub(crate) reply_to: mpsc::Sender<Reply>,
}

impl Job {
    /// Ends the request. The reply channel cannot be full (see the module's invariants); when it is
    /// closed the asker is gone and so is its interest.
    pub(crate) fn answer(self, ts_recv_ns: i64, result: Result<Vec<u8>, RestError>) {
        let Self { key, path_and_query, reply_to, .. } = self;
        let _ = reply_to.try_send(Reply { key, path_and_query, ts_recv_ns, result });
    }
}

/// What became of a request that was handed in.
#[derive(Debug)]
pub(crate) enum Submitted {
    /// It will be answered; this many older generations were dropped unsent.
    Queued { superseded: usize },
    /// The same request is under way and will be answered.
    Duplicate,
    /// There is no room, or the service has stopped.
    Refused(Job, RestError),
}

/// What the worker should do now.
#[derive(Debug)]
pub(crate) enum Next {
    /// Make this request; its weight is spent.
    Run(Job),
    /// Give this request up.
    GiveUp(Job, BudgetError),
    /// Nothing is due, for this long or until something changes.
    Wait(Option<Duration>),
    /// The next request waits for the budget, for the first time.
    WaitForBudget(Duration),
}

/// See the module's invariants.
#[derive(Debug)]
pub(crate) struct RestQueue {
    jobs: VecDeque<Job>,
    under_way: BTreeSet<Key>,
    paused_until: Option<Instant>,
    budget: Budget,
    stopped: bool,
}

impl RestQueue {
    pub(crate) fn new(budget: Budget) -> Self {
        Self {
            jobs: VecDeque::with_capacity(REST_QUEUE_BOUND),
            under_way: BTreeSet::new(),
            paused_until: None,
            budget,
            stopped: false,
        }
    }

    pub(crate) fn submit(&mut self, job: Job) -> Submitted {
        if self.stopped {
            return Submitted::Refused(job, RestError::Stopped);
        }
        if self.under_way.contains(&job.key) {
            return Submitted::Duplicate;
        }
        let superseded = self.drop_queued(|queued| queued.is_older_than(job.key));
        if self.under_way.len() >= REST_QUEUE_BOUND {
            return Submitted::Refused(job, RestError::QueueFull { bound: REST_QUEUE_BOUND });
        }
        self.under_way.insert(job.key);
        self.jobs.push_back(job);
        Submitted::Queued { superseded }
    }

    pub(crate) fn next(&mut self, now: Instant) -> Next {
        if let Some(until) = self.paused_until
            && until > now
        {
            return Next::Wait(Some(until - now));
        }
        self.paused_until = None;
        let Some(index) = self.jobs.iter().position(|job| job.ready_at <= now) else {
            let soonest = self.jobs.iter().map(|job| job.ready_at).min();
            return Next::Wait(soonest.map(|ready_at| ready_at.saturating_duration_since(now)));
        };
        match self.budget.try_spend(now, self.jobs[index].weight) {
            Err(BudgetError::Wait(wait)) => {
                if std::mem::replace(&mut self.jobs[index].waited_for_budget, true) {
                    Next::Wait(Some(wait))
                } else {
                    Next::WaitForBudget(wait)
                }
            }
            spent => match (self.jobs.remove(index), spent) {
                (Some(job), Ok(())) => Next::Run(job),
                (Some(job), Err(never)) => Next::GiveUp(job, never),
                (None, _) => Next::Wait(Some(Duration::ZERO)),
            },
        }
    }

    /// Puts a failed request back, unless nobody waits for it any more (false).
    pub(crate) fn retry(&mut self, job: Job) -> bool {
        let is_wanted = self.under_way.contains(&job.key)
            && !self.under_way.iter().any(|other| job.key.is_older_than(*other));
        if is_wanted {
            self.jobs.push_back(job);
        } else {
            self.under_way.remove(&job.key);
        }
        is_wanted
    }

    /// The asker has taken the answer.
    pub(crate) fn taken(&mut self, key: Key) {
        self.under_way.remove(&key);
    }

    /// Holds all requests back until `until`, or longer if they already are.
    pub(crate) fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |already| already.max(until)));
    }

    /// Takes the venue's own count of the weight used.
    pub(crate) fn observe_used(&mut self, now: Instant, used: u32) {
        self.budget.observe_used(now, used);
    }

    /// Forgets everything about a port that is gone.
    pub(crate) fn forget_port(&mut self, port: u64) {
        self.jobs.retain(|job| job.key.port != port);
        self.under_way.retain(|key| key.port != port);
    }

    /// Stops: nothing is accepted any more, and what was queued is handed back.
    pub(crate) fn stop(&mut self) -> VecDeque<Job> {
        self.stopped = true;
        std::mem::take(&mut self.jobs)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn drop_queued(&mut self, is_dropped: impl Fn(Key) -> bool) -> usize {
        let before = self.jobs.len();
        let under_way = &mut self.under_way;
        self.jobs.retain(|job| {
            let dropped = is_dropped(job.key);
            if dropped {
                under_way.remove(&job.key);
            }
            !dropped
        });
        before - self.jobs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> RestQueue {
        RestQueue::new(Budget::new(1_000, Duration::from_mins(1)))
    }

    fn job(port: u64, instrument: u16, generation: u32, now: Instant) -> Job {
        Job {
            key: Key { port, instrument, generation },
            path_and_query: format!("/depth?i={instrument}"),
            weight: 10,
            failures: 0,
            waited_for_budget: false,
            ready_at: now,
            reply_to: mpsc::channel(1).0,
        }
    }

    fn run(queue: &mut RestQueue, now: Instant) -> Job {
        match queue.next(now) {
            Next::Run(job) => job,
            other => panic!("expected a request to run, got {other:?}"),
        }
    }

    #[test]
    fn requests_run_in_the_order_of_asking_and_only_once() {
        let now = Instant::now();
        let mut queue = queue();
        for instrument in [3, 1, 2] {
            assert!(matches!(
                queue.submit(job(0, instrument, 1, now)),
                Submitted::Queued { superseded: 0 }
            ));
        }
        assert!(matches!(queue.submit(job(0, 1, 1, now)), Submitted::Duplicate));
        let order: Vec<u16> = (0..3).map(|_| run(&mut queue, now).key.instrument).collect();
        assert_eq!(order, [3, 1, 2]);
        assert!(matches!(queue.next(now), Next::Wait(None)));
        // Made but not yet taken: still the same request.
        assert!(matches!(queue.submit(job(0, 1, 1, now)), Submitted::Duplicate));
        queue.taken(Key { port: 0, instrument: 1, generation: 1 });
        assert!(matches!(queue.submit(job(0, 1, 1, now)), Submitted::Queued { .. }));
    }

    #[test]
    fn a_newer_generation_replaces_an_older_one_of_the_same_port_only() {
        let now = Instant::now();
        let mut queue = queue();
        queue.submit(job(0, 1, 1, now));
        queue.submit(job(9, 1, 1, now));
        assert!(matches!(queue.submit(job(0, 1, 2, now)), Submitted::Queued { superseded: 1 }));
        let keys: Vec<(u64, u32)> = (0..2)
            .map(|_| run(&mut queue, now).key)
            .map(|key| (key.port, key.generation))
            .collect();
        assert_eq!(keys, [(9, 1), (0, 2)]);
    }

    #[test]
    fn a_failed_request_is_retried_only_while_somebody_wants_it() {
        let now = Instant::now();
        let mut queue = queue();
        queue.submit(job(0, 1, 1, now));
        let mut failed = run(&mut queue, now);
        failed.ready_at = now + Duration::from_secs(1);
        assert!(queue.retry(failed));
        assert!(
            matches!(queue.next(now), Next::Wait(Some(wait)) if wait == Duration::from_secs(1))
        );
        let failed = run(&mut queue, now + Duration::from_secs(1));
        queue.submit(job(0, 1, 2, now));
        assert!(!queue.retry(failed), "a newer generation was asked for meanwhile");
        let failed = run(&mut queue, now);
        queue.forget_port(0);
        assert!(!queue.retry(failed), "the port is gone");
        assert!(queue.under_way.is_empty());
    }

    #[test]
    fn a_request_that_waits_to_be_retried_does_not_hold_up_others() {
        let now = Instant::now();
        let mut queue = queue();
        let mut later = job(0, 1, 1, now);
        later.ready_at = now + Duration::from_secs(5);
        queue.submit(later);
        queue.submit(job(0, 2, 1, now));
        assert_eq!(run(&mut queue, now).key.instrument, 2);
    }

    #[test]
    fn the_bound_counts_answers_that_nobody_has_taken() {
        let now = Instant::now();
        let mut queue = queue();
        for instrument in 0..REST_QUEUE_BOUND as u16 {
            queue.submit(job(0, instrument, 1, now));
        }
        run(&mut queue, now);
        let refused = queue.submit(job(0, 999, 1, now));
        assert!(
            matches!(refused, Submitted::Refused(_, RestError::QueueFull { bound: 256 })),
            "{refused:?}"
        );
        queue.taken(Key { port: 0, instrument: 0, generation: 1 });
        assert!(matches!(queue.submit(job(0, 999, 1, now)), Submitted::Queued { .. }));
    }

    #[test]
    fn the_budget_holds_requests_back_in_order_and_gives_up_what_never_fits() {
        let now = Instant::now();
        let mut queue = RestQueue::new(Budget::new(25, Duration::from_mins(1)));
        for instrument in 0..3 {
            queue.submit(job(0, instrument, 1, now));
        }
        let mut heavy = job(0, 9, 1, now);
        heavy.weight = 26;
        queue.submit(heavy);
        run(&mut queue, now);
        run(&mut queue, now);
        let minute = Duration::from_mins(1);
        assert!(matches!(queue.next(now), Next::WaitForBudget(wait) if wait == minute));
        assert!(matches!(queue.next(now), Next::Wait(Some(wait)) if wait == minute));
        assert_eq!(run(&mut queue, now + minute).key.instrument, 2);
        assert!(matches!(
            queue.next(now + minute),
            Next::GiveUp(_, BudgetError::NeverFits { weight: 26, limit: 25, .. })
        ));
    }

    #[test]
    fn a_pause_holds_everything_back_and_a_shorter_one_does_not_end_it() {
        let now = Instant::now();
        let mut queue = queue();
        queue.submit(job(0, 1, 1, now));
        queue.pause(now + Duration::from_secs(30));
        queue.pause(now + Duration::from_secs(2));
        assert!(
            matches!(queue.next(now), Next::Wait(Some(wait)) if wait == Duration::from_secs(30))
        );
        run(&mut queue, now + Duration::from_secs(30));
    }

    #[test]
    fn a_stopped_queue_hands_back_what_it_held_and_refuses_more() {
        let now = Instant::now();
        let mut queue = queue();
        queue.submit(job(0, 1, 1, now));
        assert_eq!(queue.stop().len(), 1);
        assert!(queue.is_stopped());
        let refused = queue.submit(job(0, 2, 1, now));
        assert!(matches!(refused, Submitted::Refused(_, RestError::Stopped)), "{refused:?}");
    }
}
