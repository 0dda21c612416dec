//! A producer on librdkafka's own interface: what the library's Rust binding copies and allocates for
//! every record, this one does not.
//!
//! Values are handed over by address, and what became of each comes back through a list of fixed
//! capacity: sending and polling allocate nothing on this side (librdkafka itself allocates a record).
//! Invariants: one thread at a time uses a producer; callbacks run inside the producer's own calls on
//! that thread, but for the one that throws the library's log lines away; every hand-over is reported
//! once, even those that a client was destroyed with ([`Producer::reopen`]); the client is destroyed
//! before the window whose values it reads.

use std::{
    collections::VecDeque,
    ffi::{CStr, CString, c_char, c_int, c_void},
    fmt, ptr,
    time::{Duration, Instant},
};

use rdkafka::{
    bindings::{
        self as ffi, rd_kafka_msg_status_t as Status, rd_kafka_resp_err_t as E,
        rd_kafka_vtype_t as V,
    },
    error::RDKafkaErrorCode,
};
use thiserror::Error;

use super::{
    envelope::Headers,
    producer::{Destination, Fate, Producer, Report, SendError, TransactionError, Trouble},
    window::{Slot, Window},
};

/// Why a producer could not be made.
#[derive(Debug, Error)]
pub enum NativeError {
    /// A setting was refused. The value is not told: it may be a secret.
    #[error("the Kafka client refuses its setting {key}: {reason}")]
    Setting {
        /// As the client library names it.
        key: &'static str,
        /// What it said.
        reason: String,
    },
    /// The client could not be made.
    #[error("cannot make a Kafka client for kafka.brokers = {brokers:?}: {reason}")]
    Client {
        /// As configured.
        brokers: String,
        /// What the library said.
        reason: String,
    },
    /// A topic's name was refused.
    #[error("the Kafka client refuses the topic {topic:?}: {reason}")]
    Topic {
        /// As configured.
        topic: String,
        /// What the library said.
        reason: String,
    },
}

/// What a producer is made of, beside its window.
#[derive(Clone)]
pub struct NativeConfig {
    /// Settings of the client library. They may hold secrets.
    pub settings: Vec<(&'static str, String)>,
    /// Topic of signals.
    pub signals: String,
    /// Compacted topic of the latest signals, if wanted.
    pub latest: Option<String>,
    /// `ce_source`.
    pub source: String,
}

impl fmt::Debug for NativeConfig {
    /// Without the settings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeConfig").field("signals", &self.signals).finish_non_exhaustive()
    }
}

/// What callbacks write and `poll` reads.
struct Inbox {
    /// Oldest first.
    reports: VecDeque<Report>,
    trouble: Trouble,
}

/// See the module.
pub struct NativeProducer {
    client: *mut ffi::rd_kafka_t,
    topics: [*mut ffi::rd_kafka_topic_t; 2],
    /// Only touched while no callback runs, see [`NativeProducer::inbox`].
    inbox: *mut Inbox,
    /// Which hand-overs of each slot are to be reported, a bit a [`Destination`].
    owed: Box<[u8]>,
    headers: Headers,
    config: NativeConfig,
    window: Window,
}

// SAFETY: the library's handles may be used from any thread; `&mut self` keeps it to one at a time.
unsafe impl Send for NativeProducer {}

impl fmt::Debug for NativeProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeProducer").field("window", &self.window).finish_non_exhaustive()
    }
}

const MESSAGE_BYTES: usize = 512;

impl NativeProducer {
    /// Makes a producer; does not wait for a broker.
    ///
    /// # Errors
    /// The library refuses a setting.
    pub fn new(config: NativeConfig, window: Window) -> Result<Self, NativeError> {
        // Each slot may be under way to both topics.
        let inbox = Box::into_raw(Box::new(Inbox {
            reports: VecDeque::with_capacity(2 * window.slots()),
            trouble: Trouble::default(),
        }));
        let mut producer = Self {
            client: ptr::null_mut(),
            topics: [ptr::null_mut(); 2],
            inbox,
            owed: vec![0; window.slots()].into(),
            headers: Headers::new(&config.source),
            config,
            window,
        };
        producer.connect()?;
        Ok(producer)
    }

    fn connect(&mut self) -> Result<(), NativeError> {
        let config = &self.config;
        let mut message = [0; MESSAGE_BYTES];
        // SAFETY: no precondition; the result is owned by `conf` until `rd_kafka_new` takes it.
        let conf = Conf(unsafe { ffi::rd_kafka_conf_new() });
        for (key, value) in &config.settings {
            let refused = |reason| NativeError::Setting { key, reason };
            let (Ok(name), Ok(text)) = (CString::new(*key), CString::new(value.as_str())) else {
                return Err(refused("it contains a zero byte".to_owned()));
            };
            // SAFETY: all pointers are valid for the call; the library copies the texts.
            let result = unsafe {
                ffi::rd_kafka_conf_set(
                    conf.0,
                    name.as_ptr(),
                    text.as_ptr(),
                    message.as_mut_ptr(),
                    MESSAGE_BYTES,
                )
            };
            if result != ffi::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                return Err(refused(without(&text_of(&message), value)));
            }
        }
        // SAFETY: the callbacks live as long as the program, `inbox` until `drop` has destroyed the client.
        unsafe {
            ffi::rd_kafka_conf_set_opaque(conf.0, self.inbox.cast());
            ffi::rd_kafka_conf_set_dr_msg_cb(conf.0, Some(on_report));
            ffi::rd_kafka_conf_set_error_cb(conf.0, Some(on_error));
            ffi::rd_kafka_conf_set_log_cb(conf.0, Some(on_log));
        }
        // SAFETY: `conf` is complete; on success the library owns it.
        let client = unsafe {
            ffi::rd_kafka_new(
                ffi::rd_kafka_type_t::RD_KAFKA_PRODUCER,
                conf.0,
                message.as_mut_ptr(),
                MESSAGE_BYTES,
            )
        };
        if client.is_null() {
            let of = |key: &str| config.settings.iter().find(|(name, _)| *name == key);
            let brokers = of("bootstrap.servers").map_or_else(String::new, |(_, b)| b.clone());
            return Err(NativeError::Client { brokers, reason: text_of(&message) });
        }
        std::mem::forget(conf);
        self.client = client;
        let names = [Some(&config.signals), config.latest.as_ref()];
        for (handle, topic) in self.topics.iter_mut().zip(names) {
            let Some(topic) = topic else { continue };
            let refused = |reason| NativeError::Topic { topic: topic.clone(), reason };
            let name = CString::new(topic.as_str())
                .map_err(|_| refused("it contains a zero byte".to_owned()))?;
            // SAFETY: the client is valid; no topic configuration of its own means the client's default.
            *handle = unsafe { ffi::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut()) };
            if handle.is_null() {
                // SAFETY: no precondition; the error is this thread's last.
                let code = unsafe { ffi::rd_kafka_last_error() };
                return Err(refused(RDKafkaErrorCode::from(code).to_string()));
            }
        }
        Ok(())
    }

    /// What callbacks left.
    fn inbox(&mut self) -> &mut Inbox {
        // SAFETY: the library calls back on this thread, while it polls or ends a transaction; nothing
        // that this returned is held then.
        unsafe { &mut *self.inbox }
    }

    /// Lets the library call back what it has to say.
    fn serve(&mut self, timeout: Duration) {
        if !self.client.is_null() {
            // SAFETY: the client is valid.
            unsafe { ffi::rd_kafka_poll(self.client, millis(timeout)) };
        }
    }

    /// Destroys the client, if there is one; what it had is not reported any more.
    fn disconnect(&mut self) {
        if self.client.is_null() {
            return;
        }
        // SAFETY: handles are valid and not used again; destroying waits for the library's threads, so
        // that neither a value nor the inbox is read afterwards.
        unsafe {
            for topic in self.topics {
                if !topic.is_null() {
                    ffi::rd_kafka_topic_destroy(topic);
                }
            }
            ffi::rd_kafka_destroy(self.client);
        }
        self.topics = [ptr::null_mut(); 2];
        self.client = ptr::null_mut();
    }

    /// Runs a step of a transaction, if there is a client.
    fn transact(
        &mut self,
        step: impl FnOnce(*mut ffi::rd_kafka_t) -> *mut ffi::rd_kafka_error_t,
    ) -> Result<(), TransactionError> {
        if self.client.is_null() {
            return Err(TransactionError {
                code: RDKafkaErrorCode::State,
                reason: "the client could not be made anew".to_owned(),
                is_fatal: true,
                needs_abort: false,
            });
        }
        Self::transaction_error(step(self.client))
    }

    fn transaction_error(error: *mut ffi::rd_kafka_error_t) -> Result<(), TransactionError> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: the library returned an error that is ours to read and to destroy.
        unsafe {
            let said = TransactionError {
                code: RDKafkaErrorCode::from(ffi::rd_kafka_error_code(error)),
                reason: CStr::from_ptr(ffi::rd_kafka_error_string(error))
                    .to_string_lossy()
                    .into_owned(),
                is_fatal: ffi::rd_kafka_error_is_fatal(error) != 0,
                needs_abort: ffi::rd_kafka_error_txn_requires_abort(error) != 0,
            };
            ffi::rd_kafka_error_destroy(error);
            Err(said)
        }
    }

    /// Reports what a destroyed client was still to report: nobody knows whether the broker has it.
    fn report_what_is_owed(&mut self) {
        // SAFETY: as in `inbox`, which would borrow more than the inbox.
        let reports = unsafe { &mut (*self.inbox).reports };
        // Reports that were not asked for yet are owed, too, but are there.
        for report in &*reports {
            self.owed[report.slot.0 as usize] &= !(1 << report.to as u8);
        }
        let fate = Fate::Failed { code: RDKafkaErrorCode::PurgeInflight, may_be_there: true };
        for (index, owed) in self.owed.iter_mut().enumerate() {
            for to in [Destination::Signals, Destination::Latest] {
                if *owed & (1 << to as u8) != 0 {
                    reports.push_back(Report { slot: Slot(index as u32), to, fate });
                }
            }
            *owed = 0;
        }
    }

    /// Raises a fatal error, as the broker could: for tests.
    #[cfg(test)]
    pub(crate) fn raise_fatal(&mut self, code: ffi::rd_kafka_resp_err_t) {
        // SAFETY: the client is valid.
        unsafe { ffi::rd_kafka_test_fatal_error(self.client, code, c"made by a test".as_ptr()) };
    }
}

impl Producer for NativeProducer {
    fn window(&mut self) -> &mut Window {
        &mut self.window
    }

    fn send(&mut self, slot: Slot, to: Destination) -> Result<(), SendError> {
        let topic = self.topics[to as usize];
        if topic.is_null() {
            return Err(SendError::Fatal);
        }
        let window = &mut self.window;
        let envelope = *window.envelope(slot);
        let Some(headers) = self.headers.render(&envelope) else {
            return Err(SendError::Refused(RDKafkaErrorCode::InvalidTimestamp));
        };
        let memory = |bytes: &[u8]| ffi::rd_kafka_vu_s__bindgen_ty_1 {
            mem: ffi::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
                ptr: bytes.as_ptr().cast_mut().cast(),
                size: bytes.len(),
            },
        };
        let len = window.value(slot).len();
        let opaque = ((slot.0 as usize) << 1) | to as usize;
        let fixed = [
            vu(V::RD_KAFKA_VTYPE_RKT, ffi::rd_kafka_vu_s__bindgen_ty_1 { rkt: topic }),
            vu(V::RD_KAFKA_VTYPE_KEY, memory(envelope.key())),
            vu(
                V::RD_KAFKA_VTYPE_VALUE,
                ffi::rd_kafka_vu_s__bindgen_ty_1 {
                    mem: ffi::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
                        ptr: window.value_ptr(slot).cast(),
                        size: len,
                    },
                },
            ),
            // Neither copied nor freed by the library.
            vu(V::RD_KAFKA_VTYPE_MSGFLAGS, ffi::rd_kafka_vu_s__bindgen_ty_1 { i: 0 }),
            vu(
                V::RD_KAFKA_VTYPE_TIMESTAMP,
                ffi::rd_kafka_vu_s__bindgen_ty_1 { i64_: envelope.ts_signal_ns / 1_000_000 },
            ),
            vu(
                V::RD_KAFKA_VTYPE_OPAQUE,
                ffi::rd_kafka_vu_s__bindgen_ty_1 { ptr: ptr::without_provenance_mut(opaque) },
            ),
        ];
        let mut fields = [fixed[0]; 6 + 11];
        fields[..6].copy_from_slice(&fixed);
        for (field, (name, value)) in fields[6..].iter_mut().zip(headers) {
            let header = ffi::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 {
                name: name.as_ptr(),
                val: value.as_ptr().cast(),
                size: value.len() as isize,
            };
            *field = vu(V::RD_KAFKA_VTYPE_HEADER, ffi::rd_kafka_vu_s__bindgen_ty_1 { header });
        }
        // SAFETY: the client and the topic are valid; key and headers are copied by the library before it
        // returns; the value stays where it is until it is reported back, which `begin_report` counts.
        let error = unsafe { ffi::rd_kafka_produceva(self.client, fields.as_ptr(), fields.len()) };
        if error.is_null() {
            window.begin_report(slot);
            self.owed[slot.0 as usize] |= 1 << to as u8;
            return Ok(());
        }
        // SAFETY: the library returned an error that is ours to read and to destroy.
        let code = unsafe {
            let code = RDKafkaErrorCode::from(ffi::rd_kafka_error_code(error));
            ffi::rd_kafka_error_destroy(error);
            code
        };
        Err(match code {
            RDKafkaErrorCode::QueueFull => SendError::QueueFull,
            RDKafkaErrorCode::Fatal | RDKafkaErrorCode::Fenced => SendError::Fatal,
            code => SendError::Refused(code),
        })
    }

    fn poll(&mut self, timeout: Duration) {
        self.serve(timeout);
    }

    fn next_report(&mut self) -> Option<Report> {
        let report = self.inbox().reports.pop_front()?;
        self.window.end_report(report.slot);
        self.owed[report.slot.0 as usize] &= !(1 << report.to as u8);
        Some(report)
    }

    fn take_trouble(&mut self) -> Trouble {
        std::mem::take(&mut self.inbox().trouble)
    }

    fn is_broker_there(&mut self, timeout: Duration) -> bool {
        if self.client.is_null() {
            return false;
        }
        let mut metadata: *const ffi::rd_kafka_metadata = ptr::null();
        // SAFETY: client and topic are valid; what the library returns is destroyed at once.
        unsafe {
            let code = ffi::rd_kafka_metadata(
                self.client,
                0,
                self.topics[0],
                &raw mut metadata,
                millis(timeout),
            );
            if !metadata.is_null() {
                ffi::rd_kafka_metadata_destroy(metadata);
            }
            code == E::RD_KAFKA_RESP_ERR_NO_ERROR
        }
    }

    fn close(&mut self, timeout: Duration) {
        if self.client.is_null() {
            return;
        }
        // Waiting for the library's threads to do it would wait for as long as one resolves a name.
        let flags = ffi::RD_KAFKA_PURGE_F_QUEUE
            | ffi::RD_KAFKA_PURGE_F_INFLIGHT
            | ffi::RD_KAFKA_PURGE_F_NON_BLOCKING;
        let deadline = Instant::now() + timeout;
        // SAFETY: the client is valid.
        while unsafe { ffi::rd_kafka_outq_len(self.client) } > 0 && Instant::now() < deadline {
            // Again each time: what lay between two queues the first time was not purged.
            // SAFETY: the client is valid.
            unsafe { ffi::rd_kafka_purge(self.client, flags) };
            self.serve(Duration::from_millis(10));
        }
    }

    fn reopen(&mut self) -> Result<(), String> {
        self.disconnect();
        self.inbox().trouble = Trouble::default();
        self.report_what_is_owed();
        self.connect().map_err(|error| error.to_string())
    }

    fn init_transactions(&mut self, timeout: Duration) -> Result<(), TransactionError> {
        // SAFETY: the client is valid.
        self.transact(|client| unsafe { ffi::rd_kafka_init_transactions(client, millis(timeout)) })
    }

    fn begin_transaction(&mut self) -> Result<(), TransactionError> {
        // SAFETY: the client is valid.
        self.transact(|client| unsafe { ffi::rd_kafka_begin_transaction(client) })
    }

    fn commit_transaction(&mut self, timeout: Duration) -> Result<(), TransactionError> {
        // SAFETY: the client is valid.
        self.transact(|client| unsafe { ffi::rd_kafka_commit_transaction(client, millis(timeout)) })
    }

    fn abort_transaction(&mut self, timeout: Duration) -> Result<(), TransactionError> {
        // SAFETY: the client is valid.
        self.transact(|client| unsafe { ffi::rd_kafka_abort_transaction(client, millis(timeout)) })
    }
}

impl Drop for NativeProducer {
    fn drop(&mut self) {
        self.close(Duration::from_secs(1));
        self.disconnect();
        // SAFETY: made by `Box::into_raw` in `new`; the client, whose callbacks knew it, is gone.
        drop(unsafe { Box::from_raw(self.inbox) });
    }
}

/// A configuration that is ours until a client takes it.
struct Conf(*mut ffi::rd_kafka_conf_t);

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_conf_new` and not taken by a client, else this would be forgotten.
        unsafe { ffi::rd_kafka_conf_destroy(self.0) };
    }
}

fn vu(vtype: ffi::rd_kafka_vtype_t, u: ffi::rd_kafka_vu_s__bindgen_ty_1) -> ffi::rd_kafka_vu_t {
    ffi::rd_kafka_vu_s { vtype, u }
}

fn millis(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX)
}

fn text_of(message: &[c_char; MESSAGE_BYTES]) -> String {
    let bytes: Vec<u8> = message.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the library said of a value, without the value, which may be a secret.
fn without(reason: &str, value: &str) -> String {
    // It quotes long values only as far as its buffer goes, and others where they are too short to be told.
    let head = value.char_indices().nth(4).map_or(value, |(at, _)| &value[..at]);
    match reason.find(head) {
        Some(_) if head.is_empty() => reason.to_owned(),
        None => reason.to_owned(),
        Some(at) if reason[at..].starts_with(value) => reason.replace(value, "…"),
        Some(at) => format!("{}…", &reason[..at]),
    }
}

/// The library passes a broker's code on as it came: one that is not in its enumeration must not be read as one.
fn code_of(raw: c_int) -> RDKafkaErrorCode {
    E::try_from(raw).map_or(RDKafkaErrorCode::Unknown, RDKafkaErrorCode::from)
}

unsafe extern "C" fn on_report(
    _: *mut ffi::rd_kafka_t,
    message: *const ffi::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: the library calls back on the producer's thread with a valid message and with the inbox
    // that `connect` gave it, which nobody else refers to during that call. The code is read as a number.
    let (inbox, tag, raw) = unsafe {
        let raw = (&raw const (*message).err).cast::<c_int>().read();
        (&mut *opaque.cast::<Inbox>(), (*message)._private.addr(), raw)
    };
    // SAFETY: as above.
    let (status, latency_us) =
        unsafe { (ffi::rd_kafka_message_status(message), ffi::rd_kafka_message_latency(message)) };
    let fate = if raw == E::RD_KAFKA_RESP_ERR_NO_ERROR as c_int {
        Fate::Delivered { latency_us: u64::try_from(latency_us).unwrap_or(0) }
    } else {
        Fate::Failed {
            code: code_of(raw),
            may_be_there: status != Status::RD_KAFKA_MSG_STATUS_NOT_PERSISTED,
        }
    };
    let to = if tag & 1 == 0 { Destination::Signals } else { Destination::Latest };
    inbox.reports.push_back(Report { slot: Slot((tag >> 1) as u32), to, fate });
}

unsafe extern "C" fn on_error(
    client: *mut ffi::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as in `on_report`.
    let inbox = unsafe { &mut *opaque.cast::<Inbox>() };
    // SAFETY: the library gives a text that is valid during the call.
    let reason = unsafe { CStr::from_ptr(reason) }.to_string_lossy().into_owned();
    inbox.trouble.is_fatal |= code == E::RD_KAFKA_RESP_ERR__FATAL as c_int;
    inbox.trouble.all_brokers_down |= code == E::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as c_int;
    if inbox.trouble.is_fatal && inbox.trouble.fatal.is_none() {
        let mut text = [0; MESSAGE_BYTES];
        // SAFETY: the client is valid during its own callback, the buffer as long as it says.
        let fatal = unsafe { ffi::rd_kafka_fatal_error(client, text.as_mut_ptr(), MESSAGE_BYTES) };
        inbox.trouble.fatal = Some(RDKafkaErrorCode::from(fatal));
        inbox.trouble.reason = Some(text_of(&text));
    } else if code != E::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as c_int {
        // That all are down is told after the reason for each, such as a refused login, which it must not hide.
        inbox.trouble.reason = Some(reason);
    }
}

/// Errors come through `on_error`; the library's chatter does not belong on the screen.
unsafe extern "C" fn on_log(
    _: *const ffi::rd_kafka_t,
    _: c_int,
    _: *const c_char,
    _: *const c_char,
) {
}

#[cfg(test)]
mod tests;
