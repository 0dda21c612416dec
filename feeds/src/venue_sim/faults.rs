//! Faults as data: what can go wrong at a venue, when it shall, and random plans for soaks.
//!
//! A fault of a book frame waits for the next update of its instrument that some session receives
//! and strikes every session alike; faults of one instrument strike in the order they were injected,
//! one per update. Faults of connections strike all sessions open at that moment. Faults of requests
//! strike the next requests.
//!
//! Invariant: a plan is a function of its seed.

use super::dialect::{Channel, Facts, SnapshotSource};
use crate::sim::rng::Rng;
use std::time::Duration;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next `count` book updates of the instrument are lost; their numbers are used up.
    DropUpdates {
        /// Which instrument.
        instrument: usize,
        /// How many.
        count: u32,
    },
    /// The next book update comes twice.
    DuplicateUpdate {
        /// Which instrument.
        instrument: usize,
    },
    /// The next book update comes after the `updates` ones that follow it; 1 swaps two neighbours.
    DelayUpdate {
        /// Which instrument.
        instrument: usize,
        /// How many overtake it, at least 1.
        updates: u32,
    },
    /// The checksum of the next book update is wrong.
    WrongChecksum {
        /// Which instrument.
        instrument: usize,
    },
    /// The checksums of the next `count` book updates are 0, though the updates are right.
    ZeroChecksum {
        /// Which instrument.
        instrument: usize,
        /// How many.
        count: u32,
    },
    /// The next book update is damaged.
    Garble {
        /// Which instrument.
        instrument: usize,
        /// How.
        how: Garble,
    },
    /// The next book update comes a byte at a time; everything after it waits.
    SlowLoris {
        /// Which instrument.
        instrument: usize,
        /// Pause before each byte.
        pause: Duration,
    },
    /// A frame that repeats the state of a stream or says that nothing changed. Not a fault, but
    /// what clients mistake for one.
    KeepAlive {
        /// Which instrument.
        instrument: usize,
    },
    /// The venue's service restarts, for this instrument or, where it cuts connections, for all.
    ServiceRestart {
        /// Which instrument.
        instrument: usize,
    },
    /// Existing subscriptions to the topic fall silent, until they are subscribed to anew.
    Mute {
        /// Which instrument.
        instrument: usize,
        /// Which of its streams.
        channel: Channel,
    },
    /// The next `subscriptions` subscriptions to the topic are acknowledged and never flow.
    MuteAfterAck {
        /// Which instrument.
        instrument: usize,
        /// Which of its streams.
        channel: Channel,
        /// How many.
        subscriptions: u32,
    },
    /// All sessions stop reading and writing; their sockets stay open.
    HalfOpen,
    /// All sessions are cut without a closing handshake.
    Disconnect,
    /// The venue announces the end of all connections where it does that, then closes them.
    PlannedClose,
    /// The venue asks all clients to connect anew. Nothing happens where it has no such message.
    ReconnectRequest,
    /// All sessions receive a text of this many bytes: valid JSON that means nothing.
    Oversized {
        /// Length, 16 bytes to 256 MiB.
        bytes: usize,
    },
    /// All sessions receive a message that is not of the protocol.
    Garbage(Garbage),
    /// The next `answers` REST snapshots of the instrument show the book as it is now, while the
    /// stream goes on.
    StaleSnapshot {
        /// Which instrument.
        instrument: usize,
        /// How many.
        answers: u32,
    },
    /// The next `answers` REST requests are refused.
    RestRefused {
        /// HTTP status, e.g. 429, 418 or 503.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after_s: Option<u32>,
        /// How many.
        answers: u32,
    },
    /// The next `answers` REST answers, made when they were asked for, arrive late.
    RestSlow {
        /// How late.
        delay: Duration,
        /// How many.
        answers: u32,
    },
    /// The next `attempts` WebSocket handshakes are refused.
    RefuseUpgrades {
        /// HTTP status, e.g. 429 or 503.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after_s: Option<u32>,
        /// How many.
        attempts: u32,
    },
}

/// How a book update is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garble {
    /// Its second half is missing.
    Truncated,
    /// Every number, quoted or not, is replaced by an empty object.
    WrongTypes,
}

/// A message that is not of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbage {
    /// Text that is not JSON.
    NotJson,
    /// JSON of a shape no venue sends.
    OtherJson,
    /// A binary frame of bytes that are not UTF-8.
    Binary,
}

impl Fault {
    /// The instrument it concerns alone; `None` for faults of connections and requests.
    #[must_use]
    pub fn instrument(&self) -> Option<usize> {
        match *self {
            Self::DropUpdates { instrument, .. }
            | Self::DuplicateUpdate { instrument }
            | Self::DelayUpdate { instrument, .. }
            | Self::WrongChecksum { instrument }
            | Self::ZeroChecksum { instrument, .. }
            | Self::Garble { instrument, .. }
            | Self::SlowLoris { instrument, .. }
            | Self::KeepAlive { instrument }
            | Self::ServiceRestart { instrument }
            | Self::Mute { instrument, .. }
            | Self::MuteAfterAck { instrument, .. }
            | Self::StaleSnapshot { instrument, .. } => Some(instrument),
            _ => None,
        }
    }

    /// How often it strikes book updates; 0 for faults that do not wait for one.
    pub(crate) fn book_frames(&self) -> u32 {
        match *self {
            Self::DropUpdates { count, .. } | Self::ZeroChecksum { count, .. } => count,
            Self::DuplicateUpdate { .. }
            | Self::DelayUpdate { .. }
            | Self::WrongChecksum { .. }
            | Self::Garble { .. }
            | Self::SlowLoris { .. } => 1,
            _ => 0,
        }
    }
}

/// When a scripted fault is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// After so many updates of the instrument since the start.
    Updates {
        /// Which instrument.
        instrument: usize,
        /// How many.
        count: u64,
    },
    /// After so many updates over all instruments.
    AllUpdates(u64),
    /// At this model time, ns since the start.
    ModelTime(i64),
}

/// A fault with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scripted {
    /// When.
    pub when: When,
    /// What.
    pub fault: Fault,
}

/// A list of faults with their times, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script(pub Vec<Scripted>);

impl Script {
    /// A random plan of `faults` faults for a soak, `every` updates apart on average, that suits
    /// the venue. Every fault in it can be recovered from, given further updates and requests.
    #[must_use]
    pub fn random(seed: u64, faults: usize, every: u64, instruments: usize, facts: &Facts) -> Self {
        let mut rng = Rng::new(seed, 0);
        let mut at = 0;
        let list = (0..faults)
            .map(|_| {
                at += 1 + rng.below(2 * every.max(1) as usize) as u64;
                let fault = random_fault(&mut rng, instruments.max(1), facts);
                Scripted { when: When::AllUpdates(at), fault }
            })
            .collect();
        Self(list)
    }
}

/// One fault that suits the venue.
fn random_fault(rng: &mut Rng, instruments: usize, facts: &Facts) -> Fault {
    loop {
        let instrument = rng.below(instruments);
        let few = 1 + rng.below(3) as u32;
        let fault = match rng.below(20) {
            0 | 1 => Fault::DropUpdates { instrument, count: few },
            2 => Fault::DuplicateUpdate { instrument },
            3 => Fault::DelayUpdate { instrument, updates: few },
            4 => Fault::WrongChecksum { instrument },
            5 => Fault::ZeroChecksum { instrument, count: few },
            6 => Fault::Garble { instrument, how: Garble::Truncated },
            7 => Fault::Garble { instrument, how: Garble::WrongTypes },
            8 => Fault::SlowLoris { instrument, pause: Duration::from_micros(200) },
            9 => Fault::KeepAlive { instrument },
            10 => Fault::ServiceRestart { instrument },
            11 => Fault::Mute { instrument, channel: Channel::Book },
            12 => Fault::MuteAfterAck { instrument, channel: Channel::Book, subscriptions: 1 },
            13 => [Fault::HalfOpen, Fault::Disconnect, Fault::PlannedClose][rng.below(3)],
            14 => Fault::ReconnectRequest,
            15 => Fault::Oversized { bytes: 1 << (10 + rng.below(8)) },
            16 => Fault::Garbage(
                [Garbage::NotJson, Garbage::OtherJson, Garbage::Binary][rng.below(3)],
            ),
            17 => Fault::StaleSnapshot { instrument, answers: few },
            18 => {
                let (status, retry_after_s) =
                    [(429, Some(1)), (418, Some(2)), (503, None)][rng.below(3)];
                match rng.below(2) {
                    0 => Fault::RestRefused { status, retry_after_s, answers: few },
                    _ => Fault::RefuseUpgrades { status, retry_after_s, attempts: few },
                }
            }
            _ => Fault::RestSlow { delay: Duration::from_millis(300), answers: few },
        };
        let suits = match fault {
            // A loss that no client can notice would make the books differ for ever.
            Fault::DropUpdates { .. } | Fault::DelayUpdate { .. } | Fault::Garble { .. } => {
                facts.detects_loss
            }
            Fault::WrongChecksum { .. } | Fault::ZeroChecksum { .. } => facts.has_checksum,
            Fault::StaleSnapshot { .. } | Fault::RestRefused { .. } | Fault::RestSlow { .. } => {
                facts.snapshot == SnapshotSource::Rest
            }
            _ => true,
        };
        if suits {
            return fault;
        }
    }
}

/// The first half of a text, cut at a character boundary.
pub(crate) fn truncated(text: &str) -> &str {
    let half = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at));
    &text[..half.unwrap_or_default()]
}

/// A JSON text with every number, quoted or not, replaced by an empty object.
pub(crate) fn with_wrong_types(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
            '-' | '0'..='9' => rest
                .find(|c: char| !matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9'))
                .unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        let bare = token.trim_matches('"');
        let is_number = !bare.is_empty()
            && bare.bytes().all(|b| matches!(b, b'-' | b'+' | b'.' | b'0'..=b'9'))
            // The name of a member stays a name.
            && !after.starts_with(':');
        out.push_str(if is_number { "{}" } else { token });
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::dialect::Dialect;
    use super::super::dialects::{Binance, Bybit};
    use super::*;

    #[test]
    fn numbers_lose_their_type_and_everything_else_stays() {
        let json = r#"{"topic":"x.50","u":12,"b":[["1.50","-2"]],"7":true,"e":""}"#;
        let expected = r#"{"topic":"x.50","u":{},"b":[[{},{}]],"7":true,"e":""}"#;
        assert_eq!(with_wrong_types(json), expected);
        assert_eq!(truncated("abcdef"), "abc");
        assert_eq!(truncated("aé"), "a", "a character is not split");
    }

    #[test]
    fn random_plans_repeat_and_suit_the_venue() {
        let plan = |seed, facts: &Facts| Script::random(seed, 400, 10, 3, facts);
        let (binance, bybit) = (Binance::USDM.facts(), Bybit::LINEAR.facts());
        assert_eq!(plan(1, &binance), plan(1, &binance));
        assert_ne!(plan(1, &binance), plan(2, &binance));
        let has_stale = |script: &Script| {
            script.0.iter().any(|s| matches!(s.fault, Fault::StaleSnapshot { .. }))
        };
        assert!(has_stale(&plan(1, &binance)) && !has_stale(&plan(1, &bybit)));
        let checksums = plan(1, &bybit)
            .0
            .into_iter()
            .any(|s| matches!(s.fault, Fault::WrongChecksum { .. } | Fault::ZeroChecksum { .. }));
        assert!(!checksums, "Bybit has no checksum");
    }
}
