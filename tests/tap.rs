//! `purkinje tap` and its reader against librdkafka's mock broker: order, verdicts, both encodings, loss of
//! the broker, a pipe.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use purkinje::{
    clock::wall_ns,
    signals::{
        Action, MAX_MEMBERS, MemberView, Reason, Signal,
        encode::{Encoder, MAX_LINE_BYTES},
        kafka::{
            contract::{Encoding, Topic},
            tap::{From, Tap, TapError, Tapped, Verdict, line},
        },
        protobuf::ProtobufEncoder,
    },
};
use purkinje_feeds::{Instrument, InstrumentId, InstrumentTable, Venue};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    mocking::MockCluster,
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
};

/// A test waits no longer for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A broker with the topic, and a producer that sends signals as the daemon does.
struct Stage {
    cluster: Cluster,
    topic: String,
    producer: ThreadedProducer<DefaultProducerContext>,
    json: Encoder,
    protobuf: ProtobufEncoder,
}

impl Stage {
    fn new(partitions: i32) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let topic = Topic::Signals.name("purkinje");
        cluster.create_topic(&topic, partitions, 1).unwrap();
        let producer = client(&cluster)
            .set("linger.ms", "0")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .create()
            .unwrap();
        let instrument = |symbol: &str| Instrument {
            venue: Venue::BinanceUsdm,
            symbol: symbol.to_owned(),
            price_decimals: 2,
            qty_decimals: 3,
        };
        let table = InstrumentTable::new(vec![instrument("SIMA"), instrument("SIMB")]).unwrap();
        let json = Encoder::new(&table, &["logistic"], 1_000, u32::MAX, "0123456789abcdef");
        let protobuf = ProtobufEncoder::new(Arc::clone(json.run_constants()));
        Self { cluster, topic, producer, json, protobuf }
    }

    /// Sends a signal; `made_ns` decides whether it has expired.
    fn send(&mut self, encoding: Encoding, instrument: u16, epoch: u64, seq: u64, made_ns: i64) {
        let signal = Signal {
            seq,
            cycle: 1,
            instrument: InstrumentId(instrument),
            action: Action::Buy,
            reason: Reason::ThresholdMet,
            value: 0.75,
            confidence: 0.5,
            mid_x2: 12_345,
            agreement: 1.0,
            decided_by: None,
            challenger_evidence_log10: f32::NAN,
            conformal_set: None,
            anomaly: f32::NAN,
            ts_venue_ns: 0,
            ts_recv_ns: made_ns,
            ts_cycle_ns: made_ns,
            ts_signal_ns: made_ns,
            recv_mono_ns: 0,
            made_mono_ns: 0,
            members: [MemberView { value: 0.75, weight: 1.0 }; MAX_MEMBERS],
            member_count: 1,
        };
        let mut buffer = [0; MAX_LINE_BYTES];
        let value = match encoding {
            Encoding::Json => self.json.line(&signal, &mut buffer).unwrap().bytes.to_vec(),
            Encoding::Protobuf => self.protobuf.message(&signal, &mut buffer).unwrap().to_vec(),
        };
        let (epoch, seq) = (epoch.to_string(), seq.to_string());
        let headers = [
            ("content-type", encoding.content_type()),
            ("pk_epoch", epoch.as_str()),
            ("pk_seq", seq.as_str()),
        ];
        let key = self.json.key(&signal).to_owned();
        self.send_raw(&key, &value, &headers);
    }

    fn send_raw(&self, key: &str, value: &[u8], headers: &[(&str, &str)]) {
        let add = |to: OwnedHeaders, &(key, value): &(&str, &str)| {
            to.insert(Header { key, value: Some(value) })
        };
        let headers = headers.iter().fold(OwnedHeaders::new(), add);
        let record = BaseRecord::to(&self.topic).key(key).payload(value).headers(headers);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        // One after the other, so that the order is known.
        self.producer.flush(PATIENCE).unwrap();
    }

    fn tap(&self, instrument: Option<&str>) -> Tap {
        let instrument = instrument.map(str::to_owned);
        Tap::open(client(&self.cluster), &self.topic, From::Beginning, instrument).unwrap()
    }
}

fn client(cluster: &Cluster) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", cluster.bootstrap_servers());
    client
}

/// The next record, whatever the client complains about meanwhile.
fn next(tap: &mut Tap) -> Tapped {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(Ok(tapped)) = tap.next(Duration::from_millis(100)) {
            return tapped;
        }
        assert!(Instant::now() < until, "no record came");
    }
}

fn verdict(tapped: &Tapped) -> String {
    match &tapped.content {
        Ok(judged) => format!("{} {}", judged.record.identity, judged.verdict),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_record_is_shown_with_what_a_consumer_would_do_in_either_encoding() {
    let mut stage = Stage::new(1);
    let now = wall_ns();
    stage.send(Encoding::Json, 0, 5, 1, now);
    stage.send(Encoding::Protobuf, 0, 5, 2, now);
    stage.send(Encoding::Protobuf, 0, 5, 2, now);
    stage.send(Encoding::Json, 1, 5, 1, now);
    stage.send(Encoding::Json, 0, 6, 1, 0);
    stage.send(Encoding::Json, 0, 5, 3, now);
    stage.send_raw("binance-usdm:SIMA", b"{}", &[("pk_epoch", "7")]);
    stage.send(Encoding::Json, 0, 6, 2, now);
    let expected = [
        "5-1 accepted",
        "5-2 accepted",
        "5-2 dropped: not after 5-2",
        "5-1 accepted",
        "6-1 expired",
        "5-3 dropped: not after 6-1",
        "header pk_seq: missing, expected a whole number",
        "6-2 accepted",
    ];
    let mut tap = stage.tap(None);
    let mut mids = Vec::new();
    for (offset, expected) in (0..).zip(expected) {
        let tapped = next(&mut tap);
        assert_eq!((verdict(&tapped).as_str(), tapped.offset), (expected, offset));
        mids.extend(tapped.content.map(|judged| judged.record.signal.mid.get().to_owned()));
    }
    assert!(mids.iter().all(|mid| mid == "61.725"), "{mids:?}");
}

#[test]
fn one_instrument_alone_is_shown_out_of_all_partitions() {
    let mut stage = Stage::new(4);
    for seq in 1..=20 {
        stage.send(Encoding::Protobuf, (seq % 2) as u16, 5, seq, wall_ns());
    }
    let mut tap = stage.tap(Some("binance-usdm:SIMB"));
    assert_eq!(tap.partitions(), 4);
    for seq in (1..=20).filter(|seq| seq % 2 == 1) {
        let tapped = next(&mut tap);
        assert_eq!(tapped.key, "binance-usdm:SIMB");
        assert_eq!(verdict(&tapped), format!("5-{seq} accepted"));
    }
}

#[test]
fn a_tap_outlives_its_broker_and_misses_nothing() {
    let mut stage = Stage::new(1);
    let mut tap = stage.tap(None);
    stage.send(Encoding::Json, 0, 5, 1, wall_ns());
    assert_eq!(verdict(&next(&mut tap)), "5-1 accepted");
    stage.cluster.broker_down(1).unwrap();
    let until = Instant::now() + PATIENCE;
    while !matches!(tap.next(Duration::from_millis(100)), Some(Err(_))) {
        assert!(Instant::now() < until, "the loss went unnoticed");
    }
    stage.cluster.broker_up(1).unwrap();
    stage.send(Encoding::Json, 0, 5, 2, wall_ns());
    let tapped = next(&mut tap);
    assert_eq!((verdict(&tapped).as_str(), tapped.offset), ("5-2 accepted", 1));
}

#[test]
fn a_topic_that_is_not_there_is_named() {
    let stage = Stage::new(1);
    stage
        .cluster
        .topic_error(
            "other.signals.v1",
            rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        )
        .unwrap();
    let error = Tap::open(client(&stage.cluster), "other.signals.v1", From::Now, None).unwrap_err();
    assert!(matches!(error, TapError::NoTopic { .. }), "{error:?}");
    assert!(error.to_string().starts_with("topic other.signals.v1: "), "{error}");
}

fn purkinje(stage: &Stage, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_purkinje"));
    command.env_clear().current_dir(std::env::temp_dir());
    command.args(["tap", "--from-beginning", "--brokers", &stage.cluster.bootstrap_servers()]);
    command.args(more);
    command
}

#[test]
fn the_command_prints_lines_or_json_and_ends_after_the_count() {
    let mut stage = Stage::new(1);
    for seq in 1..=3 {
        stage.send(Encoding::Protobuf, 0, 5, seq, wall_ns());
    }
    let output = purkinje(&stage, &["--count", "2"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "heads and two signals: {text}");
    assert!(lines[2].contains("binance-usdm:SIMA") && lines[2].contains("5-2"), "{text}");

    let output = purkinje(&stage, &["--count", "3", "--json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let seqs: Vec<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|json| json["signal"]["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, [1, 2, 3]);
}

#[test]
fn the_command_ends_well_when_nobody_reads_any_more_or_on_ctrl_c() {
    let mut stage = Stage::new(1);
    stage.send(Encoding::Json, 0, 5, 1, wall_ns());
    let mut child = purkinje(&stage, &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.nth(1).unwrap().unwrap().contains("SIMA"));
    drop(lines);
    stage.send(Encoding::Json, 0, 5, 2, wall_ns());
    assert!(child.wait().unwrap().success(), "a closed pipe is no failure");

    let mut child = purkinje(&stage, &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.nth(1).is_some());
    let id = i32::try_from(child.id()).unwrap();
    // SAFETY: sends a signal to the child, which has not been waited for.
    assert_eq!(unsafe { libc::kill(id, libc::SIGINT) }, 0);
    assert!(child.wait().unwrap().success(), "Ctrl-C is the way to end it");
}

#[test]
fn what_is_not_obeyed_says_so_on_its_line() {
    let mut stage = Stage::new(1);
    stage.send(Encoding::Json, 0, 5, 1, 0);
    let tapped = next(&mut stage.tap(None));
    assert!(matches!(&tapped.content, Ok(judged) if judged.verdict == Verdict::Expired));
    assert!(line(&tapped).ends_with("0@0  expired"), "{}", line(&tapped));
}
