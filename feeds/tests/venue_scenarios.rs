//! What can go wrong at a venue, against every adapter: the same table for all, over real sockets.
//!
//! Every scenario lets a simulated venue and a client run, strikes with one fault and goes on until all
//! books are right again. What must hold is the same everywhere: no book is ever published in a state the
//! venue's was never in, an instrument that is not concerned keeps its book, and in the end every book
//! is the truth. How long the repair took is printed.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod venue_support;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use purkinje_feeds::protocol::SnapshotSource;
use purkinje_feeds::venue_sim::{Channel, Fault, Garbage, Garble, Handle, Restart};
use purkinje_feeds::{DesyncReason, Venue};
use venue_support::{Client, Patience, Subject, Truth, facts, subjects};

/// Instrument that faults strike.
const STRUCK: usize = 1;

/// Longest time a scenario may take to be right again.
const DEADLINE: Duration = Duration::from_secs(40);

/// Who may lose a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Losers {
    /// Nobody.
    None,
    /// The instrument struck; it need not, where the fault leaves its book right.
    Struck,
    /// Everybody: the connection is gone.
    All,
}

struct Scenario {
    name: &'static str,
    faults: Vec<Fault>,
    losers: Losers,
    /// A book is surely lost, and repaired.
    is_noticed: bool,
}

fn scenario(name: &'static str, losers: Losers, is_noticed: bool, faults: Vec<Fault>) -> Scenario {
    Scenario { name, faults, losers, is_noticed }
}

/// The table, as far as it applies to a venue.
fn scenarios(subject: &Subject, sim: &Handle) -> Vec<Scenario> {
    use Losers::{All, None, Struck};
    let (i, second) = (STRUCK, Duration::from_secs(1));
    let sim = sim.facts();
    // Elsewhere a lost level may be told anew before an audit looks.
    let is_numbered = sim.detects_loss;
    // A number that counts the frames of the whole connection tells no instrument.
    let is_per_connection = subject.venue == Venue::CoinbaseAdvanced;
    let of_gap = if is_per_connection { All } else { Struck };
    // Where no number shows what was lost, a frame that names no instrument costs all their books.
    let is_blind = !facts(subject.venue).shows_loss;
    let of_garbage = if is_blind { All } else { None };
    // Bitstamp names the channel after the data.
    let of_cut = if subject.venue == Venue::Bitstamp { All } else { of_gap };
    let drop_one = Fault::DropUpdates { instrument: i, count: 1 };
    let mut table = vec![
        scenario("an update is lost", of_gap, is_numbered, vec![drop_one]),
        scenario(
            "five updates are lost",
            of_gap,
            is_numbered,
            vec![Fault::DropUpdates { instrument: i, count: 5 }],
        ),
        scenario(
            "an update comes twice",
            None,
            false,
            vec![Fault::DuplicateUpdate { instrument: i }],
        ),
        scenario(
            "two updates change places",
            of_gap,
            true,
            vec![Fault::DelayUpdate { instrument: i, updates: 1 }],
        ),
        scenario(
            "an update comes five late",
            of_gap,
            true,
            vec![Fault::DelayUpdate { instrument: i, updates: 5 }],
        ),
        scenario(
            "an update is cut short",
            of_cut,
            true,
            vec![Fault::Garble { instrument: i, how: Garble::Truncated }],
        ),
        scenario(
            "an update has wrong types",
            of_gap,
            true,
            vec![Fault::Garble { instrument: i, how: Garble::WrongTypes }],
        ),
        scenario(
            "an update dribbles in",
            None,
            false,
            vec![Fault::SlowLoris { instrument: i, pause: Duration::from_micros(500) }],
        ),
        scenario(
            "nothing changed, says the venue",
            None,
            false,
            vec![Fault::KeepAlive { instrument: i }],
        ),
        scenario(
            "the stream of a book falls silent",
            Struck,
            false,
            vec![Fault::Mute { instrument: i, channel: Channel::Book }],
        ),
        scenario("the socket is half open", All, true, vec![Fault::HalfOpen]),
        scenario("the connection is cut", All, true, vec![Fault::Disconnect]),
        scenario("the connection ends as planned", All, true, vec![Fault::PlannedClose]),
        scenario("the venue asks to reconnect", All, false, vec![Fault::ReconnectRequest]),
        scenario("a frame is oversized", All, false, vec![Fault::Oversized { bytes: 17 << 20 }]),
        scenario(
            "a frame is no JSON",
            of_garbage,
            is_blind,
            vec![Fault::Garbage(Garbage::NotJson)],
        ),
        scenario(
            "a frame is other JSON",
            of_garbage,
            is_blind,
            vec![Fault::Garbage(Garbage::OtherJson)],
        ),
        scenario("a frame is binary", of_garbage, is_blind, vec![Fault::Garbage(Garbage::Binary)]),
        scenario(
            "connecting is refused for a second",
            All,
            true,
            vec![
                Fault::RefuseUpgrades { status: 429, retry_after_s: Some(1), attempts: 1 },
                Fault::Disconnect,
            ],
        ),
    ];
    let restart = if sim.restart == Restart::Disconnect { All } else { Struck };
    table.push(scenario(
        "the service restarts",
        restart,
        restart == All,
        vec![Fault::ServiceRestart { instrument: i }],
    ));
    if sim.has_checksum {
        table.push(scenario(
            "a checksum is wrong",
            Struck,
            true,
            vec![Fault::WrongChecksum { instrument: i }],
        ));
        // OKX sends zeros since 2026 and means nothing by it; at Kraken it is a checksum.
        let (losers, is_noticed) =
            if subject.venue == Venue::Okx { (None, false) } else { (Struck, true) };
        table.push(scenario(
            "a checksum is zero",
            losers,
            is_noticed,
            vec![Fault::ZeroChecksum { instrument: i, count: 1 }],
        ));
    }
    if facts(subject.venue).rules.snapshot == SnapshotSource::Rest && is_numbered {
        let with = |name, fault| scenario(name, Struck, true, vec![fault, drop_one]);
        table.extend([
            with(
                "a snapshot is older than the buffer",
                Fault::StaleSnapshot { instrument: i, answers: 2 },
            ),
            with(
                "REST says 429",
                Fault::RestRefused { status: 429, retry_after_s: Some(1), answers: 1 },
            ),
            with(
                "REST says 418",
                Fault::RestRefused { status: 418, retry_after_s: Some(1), answers: 1 },
            ),
            with(
                "REST says 503",
                Fault::RestRefused { status: 503, retry_after_s: Option::None, answers: 3 },
            ),
            with("REST is slow", Fault::RestSlow { delay: second, answers: 1 }),
        ]);
    } else if is_numbered {
        table.push(scenario(
            "a subscription is acknowledged and stays mute",
            of_gap,
            true,
            vec![
                Fault::MuteAfterAck { instrument: i, channel: Channel::Book, subscriptions: 1 },
                drop_one,
            ],
        ));
    }
    table
}

/// One scenario from its beginning to its end; what went wrong, and how long repairs took.
fn play(subject: &Subject, number: usize) -> Result<Vec<Duration>, String> {
    let sim = subject.serve(number as u64 + 1);
    let scenario = &scenarios(subject, &sim)[number];
    let client = Client::start(subject, &sim, Patience::default());
    let mut truth = Truth::default();
    truth.note(&sim);
    let mut until = |condition: &mut dyn FnMut(&Client) -> bool, what: &str| {
        let deadline = Instant::now() + DEADLINE;
        while !condition(&client) {
            if Instant::now() > deadline {
                let shared = client.look();
                let mut report = format!("{what}: not within {DEADLINE:?}; ");
                let _ = write!(
                    report,
                    "connects {}, resubscriptions {}, ",
                    shared.connects, shared.resubscriptions
                );
                let _ = write!(report, "reconnects {:?}, {:?}", shared.reconnects, shared.counters);
                return Err(report);
            }
            sim.step(1);
            truth.note(&sim);
            std::thread::sleep(Duration::from_micros(1_500));
        }
        Ok(())
    };
    until(&mut Client::all_published, "first synchronisation")?;
    let commits =
        |client: &Client| client.look().books.iter().map(|b| b.commits).collect::<Vec<_>>();
    // A while in peace, also so that a repair that follows is the first.
    let before = commits(&client);
    until(
        &mut |client| commits(client).iter().zip(&before).all(|(now, then)| now >= &(then + 20)),
        "a while in peace",
    )?;
    let lost_before: Vec<usize> = client.look().books.iter().map(|b| b.desyncs.len()).collect();
    if lost_before.iter().sum::<usize>() > 0 {
        let shared = client.look();
        let lost: Vec<_> = shared.books.iter().map(|b| b.desyncs.clone()).collect();
        return Err(format!("books were lost in peace: {lost:?}, {:?}", shared.counters));
    }
    for fault in &scenario.faults {
        sim.inject(*fault);
    }
    let lost = |client: &Client, i: usize| client.look().books[i].desyncs.len() > lost_before[i];
    if scenario.is_noticed {
        until(&mut |client| lost(client, STRUCK), "the fault is noticed")?;
    }
    until(&mut |_| sim.waiting_faults() == 0, "the fault strikes")?;
    let struck = commits(&client);
    until(
        &mut |client| {
            client.all_published()
                && commits(client).iter().zip(&struck).all(|(now, then)| now >= &(then + 30))
        },
        "all books flow again",
    )?;
    // Where only an audit can tell, it takes two.
    let mut calm = 0;
    let deadline = Instant::now() + DEADLINE;
    while calm < 3 && Instant::now() < deadline {
        let settled = (0..40).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            client.different(&sim).is_empty()
        });
        calm = if settled { calm + 1 } else { 0 };
        for _ in 0..5 {
            sim.step(1);
            truth.note(&sim);
        }
    }
    std::thread::sleep(Duration::from_millis(100));
    let different = client.different(&sim);
    if !different.is_empty() {
        return Err(format!(
            "books of {different:?} are not the venue's: {:?}",
            client.look().counters
        ));
    }
    // Where a lost update leaves no trace, the books are wrong until the next audit.
    let never = if sim.facts().detects_loss { truth.never_were(&client) } else { 0 };
    let shared = client.look();
    if never > 0 {
        return Err(format!("{never} states were published that never were"));
    }
    if let Some(violation) = shared.violations.first() {
        return Err(format!("{} violations, the first: {violation}", shared.violations.len()));
    }
    for (i, state) in shared.books.iter().enumerate() {
        let may_lose = match scenario.losers {
            Losers::None => false,
            Losers::Struck => i == STRUCK,
            Losers::All => true,
        };
        if !may_lose && !state.desyncs.is_empty() {
            return Err(format!("instrument {i} lost its book: {:?}", state.desyncs));
        }
        if state.desyncs.contains(&DesyncReason::Crossed) && sim.facts().detects_loss {
            return Err(format!("instrument {i} was crossed"));
        }
    }
    let recoveries = shared.books.iter().flat_map(|b| b.recoveries.iter().copied()).collect();
    drop(shared);
    client.stop();
    Ok(recoveries)
}

/// Plays the whole table, a few scenarios at a time: they mostly wait.
fn play_all(venue: Venue) {
    const AT_ONCE: usize = 6;
    let subject = subjects().into_iter().find(|s| s.venue == venue).unwrap();
    let names: Vec<&str> = {
        let sim = subject.serve(0);
        scenarios(&subject, &sim).iter().map(|s| s.name).collect()
    };
    let mut failures = Vec::new();
    let numbers: Vec<usize> = (0..names.len()).collect();
    for group in numbers.chunks(AT_ONCE) {
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let play = |number| {
                let subject = &subject;
                scope.spawn(move || play(subject, number))
            };
            let threads: Vec<_> = group.iter().map(|&number| play(number)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (&number, outcome) in group.iter().zip(outcomes) {
            match outcome {
                Ok(recoveries) => {
                    let worst = recoveries.iter().max().map_or(0.0, Duration::as_secs_f64);
                    println!(
                        "{:18} {:45} {:2} books repaired, the slowest in {worst:.3} s",
                        venue.name(),
                        names[number],
                        recoveries.len()
                    );
                }
                Err(why) => failures.push(format!("{}: {}: {why}", venue.name(), names[number])),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

macro_rules! venue_tests {
    ($($name:ident: $venue:ident,)*) => {
        $(
            #[test]
            fn $name() {
                play_all(Venue::$venue);
            }
        )*

        #[test]
        fn every_venue_with_an_adapter_plays_the_table() {
            let played = [$(Venue::$venue),*];
            let with_adapter: Vec<Venue> = Venue::ALL
                .into_iter()
                .filter(|venue| purkinje_feeds::protocol::of(*venue).is_some())
                .collect();
            assert_eq!(played.to_vec(), with_adapter);
        }
    };
}

venue_tests! {
    binance_spot: BinanceSpot,
    binance_usdm: BinanceUsdm,
    binance_coinm: BinanceCoinm,
    coinbase_advanced: CoinbaseAdvanced,
    coinbase_exchange: CoinbaseExchange,
    kraken: Kraken,
    bybit_spot: BybitSpot,
    bybit_linear: BybitLinear,
    okx: Okx,
    bitstamp: Bitstamp,
    deribit: Deribit,
}
