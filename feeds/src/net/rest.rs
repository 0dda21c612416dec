//! REST requests: blocking HTTP on one thread, answers to the connection that asked.
//!
//! Snapshots are rare, large and slow, so they are kept off the thread that reads sockets: the
//! `pk-rest` thread makes one request at a time and hands the body over when it is complete.
//! Invariants: the venue's weight budget is never exceeded (a request waits instead); HTTP 429, 418 and 403
//! pause every request for as long as the venue says, and so does 503 where it says how long; every request is answered exactly once, with a
//! body or with an error, unless its asker is gone or has asked for a newer generation; at most
//! [`REST_QUEUE_BOUND`] requests are under way and no body is longer than
//! [`RestConfig::max_body_bytes`], which together bound the memory.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;
use tokio::sync::mpsc;
use ureq::Agent;

use super::RestReply;
use super::backoff::{Backoff, BackoffConfig, retry_after};
use super::budget::{Budget, BudgetError};
use super::counters::NetCounters;
pub use super::rest_queue::REST_QUEUE_BOUND;
use super::rest_queue::{Job, Key, Next, RestQueue, Submitted};
use super::stamp::realtime_ns;

/// How to make requests. The defaults suit Binance USD-M futures apart from the address.
#[derive(Clone, Debug)]
pub struct RestConfig {
    /// Scheme, host and optional port, e.g. `https://fapi.binance.com`.
    pub base_url: String,
    /// Longest time for name resolution and for connecting, each.
    pub connect_timeout: Duration,
    /// Longest time for a whole request, body included.
    pub request_timeout: Duration,
    /// Longest body that is accepted.
    pub max_body_bytes: u64,
    /// The venue's request weight per minute, from its documentation.
    pub weight_per_minute: u32,
    /// How much of that weight may be used.
    pub usable_percent: u32,
    /// Header in which the venue tells the weight it has counted (Binance: `x-mbx-used-weight-1m`).
    pub used_weight_header: Option<String>,
    /// Requests made for one snapshot before it is given up.
    pub max_attempts: u32,
    /// Wait between those requests.
    pub backoff: BackoffConfig,
    /// Pause after a 429, 418 or 403 that does not say for how long.
    pub default_retry_after: Duration,
}

impl Default for RestConfig {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            max_body_bytes: 32 << 20,
            weight_per_minute: 2_400,
            usable_percent: 90,
            used_weight_header: None,
            max_attempts: 5,
            backoff: BackoffConfig {
                base: Duration::from_millis(250),
                cap: Duration::from_secs(10),
                seed: 0,
            },
            default_retry_after: Duration::from_mins(1),
        }
    }
}

/// Why a service did not start.
#[derive(Debug, Error)]
pub enum RestStartError {
    /// The base address cannot be used.
    #[error(
        "REST base URL `{url}`: expected http:// or https:// and a host, without path or query"
    )]
    BadBaseUrl {
        /// As configured.
        url: String,
    },
    /// The operating system refused the thread.
    #[error("the REST thread did not start: {0}")]
    Thread(#[from] io::Error),
}

/// Why a snapshot was given up.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RestError {
    /// The venue answered, but not with a success.
    #[error("HTTP status {status} after {attempts} attempt(s), expected 200")]
    Status {
        /// Of the last attempt.
        status: u16,
        /// How many were made.
        attempts: u32,
    },
    /// No complete answer came.
    #[error("no answer after {attempts} attempt(s): {message}")]
    Transport {
        /// Of the last attempt.
        message: String,
        /// How many were made.
        attempts: u32,
    },
    /// The answer is longer than allowed.
    #[error("the body is longer than the {limit_bytes} bytes allowed")]
    BodyTooLong {
        /// The limit.
        limit_bytes: u64,
    },
    /// The request cannot be made at all.
    #[error("the request is not valid: {message}")]
    BadRequest {
        /// What is wrong with it.
        message: String,
    },
    /// The weight exceeds a whole minute's budget.
    #[error(transparent)]
    OverBudget(BudgetError),
    /// Too many requests are under way.
    #[error("refused: {bound} requests are under way already")]
    QueueFull {
        /// [`REST_QUEUE_BOUND`].
        bound: usize,
    },
    /// The service has stopped.
    #[error("the REST service has stopped")]
    Stopped,
}

/// Owns the `pk-rest` thread. Dropping it stops the thread: a request under way is cut off, everything
/// queued is answered with [`RestError::Stopped`]. The drop does not wait for the thread, which ends at
/// once unless it is resolving a name or connecting (then within [`RestConfig::connect_timeout`]).
#[derive(Debug)]
pub struct RestService {
    shared: Arc<Shared>,
}

/// A handle through which connections make requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RestClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<RestQueue>,
    changed: Condvar,
    agent: Agent,
    counters: Arc<NetCounters>,
    ports_opened: AtomicU64,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, RestQueue> {
        // Every change to the queue is complete before its lock is released, even by a panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RestService {
    /// Starts the thread.
    ///
    /// # Errors
    /// See [`RestStartError`].
    pub fn start(config: RestConfig, counters: Arc<NetCounters>) -> Result<Self, RestStartError> {
        super::install_crypto_provider();
        let base_url = valid_base_url(&config.base_url)?;
        let budget = Budget::with_reserve(
            config.weight_per_minute,
            config.usable_percent,
            Duration::from_mins(1),
        );
        let shared = Arc::new(Shared {
            queue: Mutex::new(RestQueue::new(budget)),
            changed: Condvar::new(),
            agent: agent(&config),
            counters,
            ports_opened: AtomicU64::new(0),
        });
        let worker = Worker {
            backoff: Backoff::new(config.backoff),
            config: RestConfig { base_url, ..config },
            shared: Arc::clone(&shared),
        };
        std::thread::Builder::new().name("pk-rest".into()).spawn(move || worker.run())?;
        Ok(Self { shared })
    }

    /// A handle for connections.
    #[must_use]
    pub fn client(&self) -> RestClient {
        RestClient { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for RestService {
    fn drop(&mut self) {
        let queued = self.shared.queue().stop();
        let now_ns = realtime_ns();
        for job in queued {
            job.answer(now_ns, Err(RestError::Stopped));
        }
        self.shared.changed.notify_all();
        self.shared.agent.clone().shutdown();
    }
}

impl RestClient {
    /// Opens a place to ask from and to take answers at.
    pub(crate) fn open_port(&self) -> RestPort {
        let (reply_to, replies) = mpsc::channel(REST_QUEUE_BOUND);
        let port = self.shared.ports_opened.fetch_add(1, Ordering::Relaxed);
        RestPort { shared: Arc::clone(&self.shared), port, reply_to, replies }
    }
}

/// One connection's end of the service.
#[derive(Debug)]
pub(crate) struct RestPort {
    shared: Arc<Shared>,
    port: u64,
    reply_to: mpsc::Sender<Reply>,
    replies: mpsc::Receiver<Reply>,
}

impl RestPort {
    /// Asks for a snapshot. A request that cannot be taken is handed back as its own reply.
    pub(crate) fn submit(
        &self,
        instrument: u16,
        generation: u32,
        path_and_query: String,
        weight: u32,
    ) -> Option<Reply> {
        let job = Job {
            key: Key { port: self.port, instrument, generation },
            path_and_query,
            weight,
            failures: 0,
            waited_for_budget: false,
            ready_at: Instant::now(),
            reply_to: self.reply_to.clone(),
        };
        let counters = &self.shared.counters;
        // Bound first, so that the queue is unlocked again before its outcome is looked at.
        let submitted = self.shared.queue().submit(job);
        match submitted {
            Submitted::Queued { superseded } => {
                counters.rest_superseded.add(superseded as u64);
                self.shared.changed.notify_one();
                None
            }
            Submitted::Duplicate => {
                counters.rest_duplicates.add(1);
                None
            }
            Submitted::Refused(Job { key, path_and_query, .. }, error) => {
                counters.rest_refused.add(1);
                counters.rest_failures.add(1);
                Some(Reply { key, path_and_query, ts_recv_ns: realtime_ns(), result: Err(error) })
            }
        }
    }

    /// The next answer; pending for as long as there is none. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> Reply {
        // This end holds a sender too, so the channel cannot close.
        let Some(reply) = self.replies.recv().await else {
            return std::future::pending().await;
        };
        self.shared.queue().taken(reply.key);
        reply
    }
}

impl Drop for RestPort {
    fn drop(&mut self) {
        self.shared.queue().forget_port(self.port);
    }
}

/// An answer on its way to the handler.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) key: Key,
    pub(crate) path_and_query: String,
    pub(crate) ts_recv_ns: i64,
    pub(crate) result: Result<Vec<u8>, RestError>,
}

impl Reply {
    pub(crate) fn as_ref(&self) -> RestReply<'_> {
        RestReply {
            instrument: self.key.instrument,
            generation: self.key.generation,
            path_and_query: &self.path_and_query,
            ts_recv_ns: self.ts_recv_ns,
            result: self.result.as_deref(),
        }
    }
}

fn valid_base_url(url: &str) -> Result<String, RestStartError> {
    let trimmed = url.trim_end_matches('/');
    let is_valid = trimmed.parse::<ureq::http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.path_and_query().is_none_or(|path| path.as_str() == "/")
    });
    if is_valid {
        Ok(trimmed.to_owned())
    } else {
        Err(RestStartError::BadBaseUrl { url: url.to_owned() })
    }
}

fn agent(config: &RestConfig) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .no_delay(true)
        // The WebSocket side knows no proxies, and a price feed should not take one by surprise.
        .proxy(None)
        .user_agent(concat!("purkinje/", env!("CARGO_PKG_VERSION")))
        .max_idle_connections(1)
        .timeout_resolve(Some(config.connect_timeout))
        .timeout_connect(Some(config.connect_timeout))
        .timeout_global(Some(config.request_timeout))
        .build()
        .new_agent()
}

/// What one HTTP request came to.
enum Outcome {
    Body(Vec<u8>),
    /// May succeed later; `pause` is how long the venue wants to hear nothing.
    Transient {
        error: RestError,
        pause: Option<Duration>,
    },
    Permanent(RestError),
}

struct Worker {
    config: RestConfig,
    backoff: Backoff,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(mut self) {
        while let Some(mut job) = self.next_job() {
            let attempt = job.failures + 1;
            self.shared.counters.rest_requests.add(1);
            self.shared.counters.rest_retries.add(u64::from(job.failures > 0));
            match self.request(&job.path_and_query, attempt) {
                Outcome::Body(body) => {
                    let ts_recv_ns = realtime_ns();
                    self.shared.counters.rest_ok.add(1);
                    job.answer(ts_recv_ns, Ok(body));
                }
                Outcome::Permanent(error) => self.give_up(job, error),
                Outcome::Transient { error, pause } => {
                    if let Some(pause) = pause {
                        self.shared.counters.rest_rate_limited.add(1);
                        self.shared.queue().pause(Instant::now() + pause);
                    }
                    job.failures = attempt;
                    self.retry_or_give_up(job, error);
                }
            }
        }
    }

    /// Waits for a request that may be made now; none when the service stops.
    fn next_job(&mut self) -> Option<Job> {
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.queue();
        while !queue.is_stopped() {
            let wait = match queue.next(Instant::now()) {
                Next::Run(job) => return Some(job),
                Next::GiveUp(job, error) => {
                    self.give_up(job, RestError::OverBudget(error));
                    continue;
                }
                Next::WaitForBudget(wait) => {
                    shared.counters.rest_budget_waits.add(1);
                    Some(wait)
                }
                Next::Wait(wait) => wait,
            };
            queue = match wait {
                Some(wait) => {
                    let woken = shared.changed.wait_timeout(queue, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
        None
    }

    fn retry_or_give_up(&mut self, mut job: Job, error: RestError) {
        if job.failures >= self.config.max_attempts {
            return self.give_up(job, error);
        }
        job.ready_at = Instant::now() + self.backoff.delay(job.failures);
        let mut queue = self.shared.queue();
        if queue.is_stopped() {
            job.answer(realtime_ns(), Err(RestError::Stopped));
        } else if !queue.retry(job) {
            self.shared.counters.rest_superseded.add(1);
        }
    }

    fn give_up(&self, job: Job, error: RestError) {
        self.shared.counters.rest_failures.add(1);
        job.answer(realtime_ns(), Err(error));
    }

    fn request(&self, path_and_query: &str, attempt: u32) -> Outcome {
        if !path_and_query.starts_with('/') {
            let message = format!("path `{path_and_query}` does not start with `/`");
            return Outcome::Permanent(RestError::BadRequest { message });
        }
        let url = format!("{}{path_and_query}", self.config.base_url);
        let mut response = match self.shared.agent.get(&url).call() {
            Ok(response) => response,
            Err(error) => return self.failed(&error, attempt),
        };
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        if let Some(used) = self.config.used_weight_header.as_deref().and_then(header)
            && let Ok(used) = used.trim().parse()
        {
            self.shared.queue().observe_used(Instant::now(), used);
        }
        let status = response.status().as_u16();
        let error = RestError::Status { status, attempts: attempt };
        match status {
            200 => {}
            // Binance's firewall refuses with 403 those who ask too much.
            403 | 418 | 429 => {
                let asked = retry_after(header("retry-after"), SystemTime::now());
                let pause = asked.unwrap_or(self.config.default_retry_after);
                return Outcome::Transient { error, pause: Some(pause) };
            }
            // Maintenance, with its end where the venue knows it.
            503 => {
                let pause = retry_after(header("retry-after"), SystemTime::now());
                return Outcome::Transient { error, pause };
            }
            500.. => return Outcome::Transient { error, pause: None },
            _ => return Outcome::Permanent(error),
        }
        // The reader reports a limit that is reached, not passed: one more lets a full body end.
        let limit = self.config.max_body_bytes.saturating_add(1);
        match response.body_mut().with_config().limit(limit).read_to_vec() {
            Ok(body) => Outcome::Body(body),
            Err(error) => self.failed(&error, attempt),
        }
    }

    fn failed(&self, error: &ureq::Error, attempts: u32) -> Outcome {
        let message = error.to_string();
        match error {
            ureq::Error::BodyExceedsLimit(_) => {
                let limit_bytes = self.config.max_body_bytes;
                Outcome::Permanent(RestError::BodyTooLong { limit_bytes })
            }
            ureq::Error::Http(_) | ureq::Error::BadUri(_) => {
                Outcome::Permanent(RestError::BadRequest { message })
            }
            _ => Outcome::Transient {
                error: RestError::Transport { message, attempts },
                pause: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_scheme_host_and_port() {
        for url in [
            "http://127.0.0.1:80",
            "https://fapi.binance.com",
            "https://a.b:443/",
            "http://[::1]:8",
        ] {
            let valid = valid_base_url(url).unwrap();
            assert_eq!(valid, url.trim_end_matches('/'));
        }
        for url in ["", "127.0.0.1:80", "ws://a", "http://", "http://a/path", "http://a?q=1", "::"]
        {
            let error = valid_base_url(url).unwrap_err();
            assert!(error.to_string().contains(&format!("`{url}`")), "{error}");
        }
    }
}
