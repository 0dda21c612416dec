//! The HTTP server of the real program: what it answers, what it refuses, and that no client can disturb the run.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{fd::AsRawFd, unix::process::CommandExt as _},
    process::{Command, Stdio},
};

use serde_json::Value;
use support::{
    http::{Events, Served, command, control},
    purkinje, wait_until,
};

const TOKEN: &str = "a-token-of-some-length";

/// A daemon whose commands take [`TOKEN`].
fn with_token() -> Served {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
    let command = command(dir.path(), &["http.address=127.0.0.1:0", "http.token_file=token"]);
    Served::run(dir, command)
}

#[test]
fn every_endpoint_answers_and_a_daemon_becomes_ready() {
    let served = Served::start(&[]);
    assert_eq!(served.get("/livez").status, 200);
    let early = served.get("/readyz");
    assert!(early.status == 200 || early.body.starts_with("not ready: feeds: "), "{early:?}");
    served.wait_ready();
    served.wait_cycles(30);

    let status = served.get("/statusz");
    assert_eq!(status.header("content-type"), Some("application/json"));
    let status = status.json();
    assert_eq!(status["engine"]["instruments"], 6);
    assert_eq!((&status["is_ready"], &status["is_halted"]), (&true.into(), &false.into()));
    assert_eq!(status["instruments"].as_array().unwrap().len(), 6);
    let first = &status["instruments"][0];
    assert_eq!(first["book"]["is_synchronised"], true);
    assert_eq!(first["topics"]["depth"], "flowing");
    assert!(first["signal"]["confidence"].is_number(), "{first}");
    assert_eq!(first["signal"]["members"].as_array().unwrap().len(), 4);
    let weights = status["members"].as_array().unwrap().iter();
    let sum: f64 = weights.map(|member| member["weight"].as_f64().unwrap()).sum();
    assert!(sum > 0.0 && sum < 1.001, "members and the base rate share: {sum}");
    assert!(status["model"]["firing_hz"]["granule"].as_f64().unwrap() > 0.0);
    assert_eq!(status["feeds"]["connections"][0]["is_open"], true);

    // Every described endpoint is there; streams and commands have tests of their own.
    let document = served.get("/api/openapi.json").json();
    for (path, item) in document["paths"].as_object().unwrap() {
        if item.get("get").is_some() && !["/signals", "/api/v1/frames"].contains(&path.as_str()) {
            let answer = served.get(path);
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
    }
    let page = served.get("/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(!page.body.contains("style=") && !page.body.contains("onclick"), "nothing inline");
    // Whatever the page refers to is served here.
    for piece in page.body.split(['"', '\'']).filter(|p| p.starts_with('/')) {
        assert_eq!(served.get(piece).status, 200, "{piece}");
    }
    let nothing = served.get("/nothing");
    assert_eq!(
        (nothing.status, nothing.header("content-type")),
        (404, Some("application/problem+json"))
    );
    assert_eq!(served.ask("DELETE", "/livez", "").status, 405);
}

#[test]
fn commands_need_the_token_and_take_effect() {
    let served = with_token();
    served.wait_cycles(3);
    for wrong in ["", "authorization: Bearer wrong\r\n", "authorization: Basic YTph\r\n"] {
        let refused = served.ask("POST", "/api/v1/halt", wrong);
        assert_eq!(refused.status, 401, "{refused:?}");
        assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"));
        assert!(refused.json()["detail"].as_str().unwrap().contains("http.token_file"));
    }
    assert_eq!(served.get("/api/v1/halt").status, 405, "no GET changes anything");
    assert_eq!(served.metric("purkinje_halted"), 0.0);
    assert_eq!(served.metric("purkinje_http_events_total{event=\"unauthorized\"}"), 3.0);

    let right = format!("authorization: Bearer {TOKEN}\r\n");
    let long = format!("{right}content-length: 2000\r\n");
    let request = format!(
        "POST /api/v1/halt HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{long}\r\n{}",
        served.addr,
        "x".repeat(2_000)
    );
    assert_eq!(served.raw(request.as_bytes()).status, 413);
    assert_eq!(served.metric("purkinje_halted"), 0.0);

    let halted = served.ask("POST", "/api/v1/halt", &right);
    assert_eq!((halted.status, &halted.json()["halted"]), (202, &true.into()));
    wait_until("the halt", || served.metric("purkinje_halted") == 1.0);
    served.wait_cycles(3);
    let reason = |status: &Value| status["instruments"][0]["signal"]["reason"].clone();
    wait_until("signals that say so", || reason(&served.get("/statusz").json()) == "halted");
    assert_eq!(served.ask("POST", "/api/v1/resume", &right).status, 202);
    wait_until("the end of the halt", || served.metric("purkinje_halted") == 0.0);
    assert!(!served.stderr().contains(TOKEN));
}

#[test]
fn without_a_token_nobody_commands_and_a_bad_token_file_is_refused() {
    let served = Served::start(&[]);
    let refused = served.ask("POST", "/api/v1/halt", "authorization: Bearer x\r\n");
    assert_eq!(refused.status, 403);
    assert!(refused.json()["detail"].as_str().unwrap().contains("http.token_file"), "{refused:?}");

    let dir = tempfile::tempdir().unwrap();
    for (file, expected) in [
        ("absent", "http.token_file = absent: "),
        ("credential:token", "expected $CREDENTIALS_DIRECTORY"),
    ] {
        let set = format!("http.token_file={file}");
        let mut command = command(dir.path(), &["http.address=127.0.0.1:0", &set]);
        let output = command.env_remove("CREDENTIALS_DIRECTORY").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected), "{said}");
    }
}

#[test]
fn signals_stream_as_the_journal_has_them() {
    let served = Served::start(&[]);
    served.wait_cycles(2);
    let events: Vec<_> = Events::open(&served, "/signals").take(60).collect();
    let first = events[0].1.unwrap();
    for (next, (kind, id, signal)) in (first..).zip(&events) {
        assert_eq!((kind.as_str(), *id), ("signal", Some(next)), "no hole in the numbers");
        assert_eq!(signal["seq"], next);
        assert!(signal["ts_signal_ns"].is_i64() && signal["members"].is_array(), "{signal}");
    }
    let one = "/signals?instrument=binance-usdm%3ASIMB";
    let names: BTreeSet<_> =
        Events::open(&served, one).take(5).map(|(_, _, s)| s["instrument"].to_string()).collect();
    assert_eq!(names, BTreeSet::from(["\"binance-usdm:SIMB\"".to_owned()]));
    for wrong in ["/signals?instrument=none", "/signals?symbol=SIMA"] {
        let refused = served.get(wrong);
        assert_eq!(refused.status, 400, "{refused:?}");
    }
    let detail = served.get("/signals?instrument=none").json()["detail"].to_string();
    assert!(detail.contains("none") && detail.contains("binance-usdm:SIMA"), "{detail}");
}

#[test]
fn the_dashboards_stream_greets_and_then_moves() {
    let served = Served::start(&[]);
    served.wait_ready();
    let mut cycles = Vec::new();
    let (mut greeted, mut summaries, mut book) = (false, 0, None);
    for (kind, _, data) in
        Events::open(&served, "/api/v1/frames?instrument=binance-usdm%3ASIMC").take(80)
    {
        match kind.as_str() {
            "hello" => {
                assert_eq!(data["instruments"].as_array().unwrap().len(), 6);
                assert_eq!(data["has_token"], false);
                greeted = true;
            }
            "frame" => {
                assert!(greeted, "the greeting comes first");
                assert_eq!(data["signals"].as_array().unwrap().len(), 6);
                cycles.push(data["cycles"].as_u64().unwrap());
            }
            "book" => book = Some(data),
            "summary" => summaries += 1,
            other => panic!("{other}: {data}"),
        }
    }
    assert!(cycles.is_sorted() && cycles.last() > cycles.first(), "{cycles:?}");
    assert!(summaries > 0);
    let book = book.unwrap();
    assert_eq!((&book["instrument"], &book["is_verified"]), (&2.into(), &true.into()));
    let price = |side: &str, k: usize| book[side][k][0].as_str().unwrap().parse::<f64>().unwrap();
    assert!(price("bids", 0) < price("asks", 0) && price("bids", 1) < price("bids", 0), "{book}");
}

#[test]
fn oversized_slow_and_senseless_requests_hurt_nobody_else() {
    let served = Served::start(&[]);
    served.wait_ready();
    let head = format!(
        "GET /livez HTTP/1.1\r\nhost: {}\r\nx: {}\r\n\r\n",
        served.addr,
        "y".repeat(20_000)
    );
    assert_eq!(served.raw(head.as_bytes()).status, 431);
    assert_eq!(served.raw(b"\x16\x03\x01 what is this\r\n\r\n").status, 400);
    let foreign =
        served.raw(b"GET /statusz HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
    assert_eq!(foreign.status, 421, "a name that somebody points here");
    // As many idle connections as there may be and then some; one says half a request and stops.
    let mut idle: Vec<_> = (0..80).map(|_| served.connect()).collect();
    let _ = idle[0].write_all(b"GET /livez HT");
    let said: Vec<String> = idle
        .iter_mut()
        .map(|stream| {
            // Those too many are told at once, the others when their time is up.
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text);
            text
        })
        .collect();
    let too_many = said.iter().filter(|text| text.starts_with("HTTP/1.1 503")).count();
    assert!((16..80).contains(&too_many), "{too_many} of 80 refused");
    drop(idle);
    served.wait_ready();
    served.wait_cycles(5);
    let count =
        |event: &str| served.metric(&format!("purkinje_http_events_total{{event=\"{event}\"}}"));
    assert_eq!((count("head_too_long"), count("malformed"), count("wrong_host")), (1.0, 1.0, 1.0));
    assert!(count("head_timeout") >= 1.0);
    assert_eq!(count("connection_refused"), too_many as f64);
    assert_eq!(served.metric("purkinje_sink_refused_total{sink=\"http\"}"), 0.0);
}

#[test]
fn an_address_in_use_is_named_and_only_the_default_is_done_without() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path(), &[&format!("http.address={address}")]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    for part in ["http.address", &address.to_string(), "(flag)", "in use"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    // Somebody else may have it already, which is as well.
    let _default = TcpListener::bind("127.0.0.1:9109");
    let output = command(dir.path(), &["run.duration_s=1"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("HTTP is not served: http.address = 127.0.0.1:9109 (default) is taken"),
        "{said}"
    );
    let output = command(dir.path(), &["run.duration_s=1", "http.enabled=false"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

/// A run that is started as systemd starts a service whose socket it holds.
fn with_socket(listener: &TcpListener) -> Served {
    let dir = tempfile::tempdir().unwrap();
    // The variables name the process that they are for, so a shell that becomes it sets them.
    let program = purkinje(dir.path()).get_program().to_owned();
    let mut command = Command::new("sh");
    command.arg("-c").arg("LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"").arg("sh").arg(program);
    command.args(self::command(dir.path(), &["http.address=127.0.0.1:1"]).get_args());
    command.current_dir(dir.path()).stdin(Stdio::null());
    let passed = listener.as_raw_fd();
    // SAFETY: fcntl and dup2 are async-signal-safe, and the number is a descriptor of this process.
    unsafe {
        command.pre_exec(move || {
            // Away from 3 first: a copy onto itself would still be closed by exec.
            let away = libc::fcntl(passed, libc::F_DUPFD_CLOEXEC, 10);
            match libc::dup2(away, 3) {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            }
        });
    }
    Served::run(dir, command)
}

#[test]
fn a_socket_that_systemd_holds_is_served_and_a_request_waits_through_a_restart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = with_socket(&listener);
    assert_eq!(served.addr, address, "not the address of the configuration");
    assert_eq!(served.get("/livez").status, 200);
    drop(served);

    let mut waiting = TcpStream::connect(address).unwrap();
    write!(waiting, "GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let _served = with_socket(&listener);
    waiting.set_read_timeout(Some(std::time::Duration::from_mins(1))).unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_refused_configuration_shows_until_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("purkinje.toml");
    std::fs::write(&file, "").unwrap();
    let mut command = command(dir.path(), &["http.address=127.0.0.1:0"]);
    command.arg("--config").arg(&file);
    let served = Served::run(dir, command);
    let success = || served.metric("purkinje_config_last_reload_success");
    let reload = |text: &str| {
        std::fs::write(&file, text).unwrap();
        purkinje::control::send(&control(served.dir.path()), "reload").map_err(|e| e.to_string())
    };
    served.wait_cycles(1);
    assert_eq!(success(), 1.0, "nothing was refused");
    assert!(reload("[strategy\n").is_err());
    assert_eq!(success(), 0.0);
    let last = &served.get("/statusz").json()["reloads"]["last"];
    assert_eq!(last["is_applied"], false);
    assert!(last["what"].as_str().unwrap().contains("purkinje.toml"), "{last}");
    reload("[strategy]\nmax_signals_per_s = 1000\n").unwrap();
    assert_eq!(success(), 1.0);
    for outcome in ["applied", "refused"] {
        let sample = format!("purkinje_config_reloads_total{{outcome=\"{outcome}\"}}");
        assert_eq!(served.metric(&sample), 1.0, "{outcome}");
    }
}

#[test]
fn metrics_are_what_prometheus_expects() {
    let served = with_token();
    served.wait_ready();
    served.wait_cycles(30);
    let metrics = served.get("/metrics");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for family in ["purkinje_cycle_duration_seconds", "purkinje_signal_age_seconds"] {
        let count = served.metric(&format!("{family}_count"));
        assert!(count > 0.0 && served.metric(&format!("{family}_bucket{{le=\"+Inf\"}}")) >= count);
    }
    assert!(served.metric("purkinje_stage_duration_seconds_count{stage=\"decode\"}") > 0.0);
    assert_eq!(served.metric("purkinje_book_synchronised{instrument=\"binance-usdm:SIMA\"}"), 1.0);
    let signals: f64 = ["BUY", "SELL", "HOLD"]
        .map(|action| served.metric(&format!("purkinje_signals_total{{action=\"{action}\"}}")))
        .iter()
        .sum();
    assert!(signals >= 180.0, "{signals}");
    let check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut check) = check else {
        eprintln!("skipped: promtool is not installed (Debian: prometheus)");
        return;
    };
    check.stdin.take().unwrap().write_all(metrics.body.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}
