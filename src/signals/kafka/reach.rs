//! Reaching the brokers with a deadline, and knowing why not.
//!
//! librdkafka reconnects for ever and tells reasons (a refused connection, a certificate nobody trusts, a
//! wrong password) only to an error callback, beside the call that runs into its time-out. Here both meet.
//! Invariant: a reason is the library's or the broker's text; neither contains a secret.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode as E},
    metadata::Metadata,
    producer::{BaseProducer, Producer as _, ProducerContext},
};
use thiserror::Error;

use super::client::KafkaClient;

/// The brokers cannot be reached, or refuse this client.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("kafka.brokers = {brokers:?}: {reason}")]
pub struct Unreachable {
    /// The brokers, as configured.
    pub brokers: String,
    /// Why, in the words of the library.
    pub reason: String,
}

impl Unreachable {
    /// For an operation that failed.
    pub(super) fn new(client: &KafkaClient, reason: &impl ToString) -> Self {
        Self { brokers: client.brokers().to_owned(), reason: reason.to_string() }
    }
}

/// Connects, asks for the cluster's metadata (all topics; creates none) and disconnects.
///
/// Returns early when waiting cannot help: at once if the login or the certificate is refused, after two
/// seconds if no broker takes a connection.
///
/// # Errors
/// No answer within `timeout`; the reason is what the library complained about.
pub fn reach(client: &KafkaClient, timeout: Duration) -> Result<Metadata, Unreachable> {
    /// The library's complaints are asked for this often.
    const STEP: Duration = Duration::from_millis(100);
    /// A name may have several addresses, which are tried one after the other.
    const EVERY_ADDRESS_WITHIN: Duration = Duration::from_secs(2);

    let begin = Instant::now();
    let producer: BaseProducer<Complaints> = config(client)
        .create_with_context(Complaints::default())
        .map_err(|error| Unreachable::new(client, &error))?;
    loop {
        let wait = timeout.saturating_sub(begin.elapsed()).min(STEP);
        match producer.client().fetch_metadata(None, wait.max(Duration::from_millis(1))) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => {
                producer.poll(Duration::ZERO);
                let heard = producer.context().heard();
                let is_over = heard.is_refused
                    || (heard.are_all_down && begin.elapsed() >= EVERY_ADDRESS_WITHIN)
                    || begin.elapsed() >= timeout;
                if is_over {
                    let reason = heard.reason.unwrap_or_else(|| error.to_string());
                    return Err(Unreachable::new(client, &reason));
                }
            }
        }
    }
}

/// Settings of a client that asks and does not produce.
pub(super) fn config(client: &KafkaClient) -> ClientConfig {
    let mut config = client.config();
    // Quick again after a first connection that failed: somebody waits.
    config.set("reconnect.backoff.max.ms", "500");
    config
}

/// What the library has complained about.
#[derive(Clone, Debug, Default)]
struct Heard {
    /// The complaint that says most.
    reason: Option<String>,
    /// A broker refuses this client, or this client the broker.
    is_refused: bool,
    /// No broker takes a connection.
    are_all_down: bool,
}

#[derive(Debug, Default)]
struct Complaints(Mutex<Heard>);

impl Complaints {
    fn heard(&self) -> Heard {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Complaints {
    // What matters arrives as an error, too.
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match error.rdkafka_error_code() {
            Some(E::Authentication | E::SSL) => {
                heard.is_refused = true;
                heard.reason = Some(reason.to_owned());
            }
            Some(E::AllBrokersDown) => {
                heard.are_all_down = true;
                // "1/1 brokers are down" says less than what came before.
                heard.reason.get_or_insert_with(|| reason.to_owned());
            }
            _ if heard.is_refused => {}
            _ => heard.reason = Some(reason.to_owned()),
        }
    }
}

impl ProducerContext for Complaints {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::producer::DeliveryResult<'_>, (): ()) {}
}
