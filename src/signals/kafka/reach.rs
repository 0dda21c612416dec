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
/// Returns early when waiting cannot help: the login or the certificate is refused, or no broker takes a
/// connection.
///
/// # Errors
/// No answer within `timeout`; the reason is the last thing the library complained about.
pub fn reach(client: &KafkaClient, timeout: Duration) -> Result<Metadata, Unreachable> {
    /// The library's complaints are asked for this often.
    const STEP: Duration = Duration::from_millis(100);

    let deadline = Instant::now() + timeout;
    let producer: BaseProducer<Complaints> = config(client)
        .create_with_context(Complaints::default())
        .map_err(|error| Unreachable::new(client, &error))?;
    loop {
        let wait = deadline.saturating_duration_since(Instant::now()).min(STEP);
        match producer.client().fetch_metadata(None, wait.max(Duration::from_millis(1))) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => {
                producer.poll(Duration::ZERO);
                let complaint = producer.context().take();
                let is_final = complaint.as_ref().is_some_and(|c| c.is_final);
                if is_final || Instant::now() >= deadline {
                    let reason = complaint.map_or_else(|| error.to_string(), |c| c.reason);
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

#[derive(Clone, Debug)]
struct Complaint {
    reason: String,
    is_final: bool,
}

/// Keeps what says most: the newest final complaint, else the newest.
#[derive(Debug, Default)]
struct Complaints(Mutex<Option<Complaint>>);

impl Complaints {
    fn take(&self) -> Option<Complaint> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Complaints {
    // What matters arrives as an error, too.
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if code == Some(E::AllBrokersDown) {
            // Says less than the complaint before it, but that waiting is in vain.
            let reason = newest.take().map_or_else(|| reason.to_owned(), |c| c.reason);
            *newest = Some(Complaint { reason, is_final: true });
            return;
        }
        let is_final = matches!(code, Some(E::Authentication | E::SSL));
        if is_final || !newest.as_ref().is_some_and(|c| c.is_final) {
            *newest = Some(Complaint { reason: reason.to_owned(), is_final });
        }
    }
}

impl ProducerContext for Complaints {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::producer::DeliveryResult<'_>, (): ()) {}
}
