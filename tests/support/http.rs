//! A daemon that serves HTTP on a port of its own, and just enough of a client to ask it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{ChildStderr, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;

use super::{Daemon, purkinje, wait_until};

/// What the daemon says before its address.
const SAYS: &str = "dashboard and metrics at http://";

/// A daemon with its own folder, control socket and port.
pub(crate) struct Served {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) daemon: Daemon,
    pub(crate) addr: SocketAddr,
    stderr: Arc<Mutex<String>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// A command that runs the daemon on the simulated exchange with short cycles and nothing on the terminal.
pub(crate) fn command(dir: &Path, sets: &[&str]) -> Command {
    let mut command = purkinje(dir);
    command.args(["run", "--set", "terminal=off", "--set", "cycle.period_ms=50"]);
    command.args(["--set", "strategy.cerebellum.granule_cells=200"]);
    command.arg("--set").arg(format!("control.socket={}", control(dir).display()));
    for set in sets {
        command.args(["--set", set]);
    }
    command
}

/// Where such a daemon's control socket is.
pub(crate) fn control(dir: &Path) -> PathBuf {
    dir.join("control")
}

impl Served {
    /// Starts it on a free port and waits until it says which.
    pub(crate) fn start(sets: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sets = [&["http.address=127.0.0.1:0"], sets].concat();
        let command = command(dir.path(), &sets);
        Self::run(dir, command)
    }

    /// Starts that command and waits for its address.
    pub(crate) fn run(dir: tempfile::TempDir, mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut daemon = Daemon(command.spawn().unwrap());
        let stderr = Arc::new(Mutex::new(String::new()));
        let pipe = daemon.0.stderr.take().unwrap();
        let told = stderr.clone();
        std::thread::spawn(move || keep(pipe, &told));
        let mut addr = None;
        wait_until("the address", || {
            let text = stderr.lock().unwrap();
            let ended = daemon.0.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {text}");
            let said = text.split_once(SAYS).and_then(|(_, rest)| rest.split_once("/\n"));
            addr = said.map(|(addr, _)| addr.parse().unwrap());
            addr.is_some()
        });
        Self { dir, daemon, addr: addr.unwrap(), stderr }
    }

    /// What it has said on standard error.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream
    }

    /// Sends bytes and reads the answer up to the end of the connection.
    pub(crate) fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // Who refuses a request early closes while it is being sent.
        let _ = stream.write_all(request);
        answer(stream)
    }

    /// One request without a body.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n",
            self.addr
        );
        self.raw(request.as_bytes())
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// The value of a metric, by its name and labels as they stand.
    pub(crate) fn metric(&self, sample: &str) -> f64 {
        let text = self.get("/metrics").body;
        let value = text.lines().find_map(|l| l.strip_prefix(sample)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {sample} in\n{text}")).parse().unwrap()
    }

    /// Waits until so many more cycles have been cut: it goes on with its work.
    pub(crate) fn wait_cycles(&self, more: u64) {
        let cycles = || self.get("/statusz").json()["engine"]["cycles"].as_u64().unwrap();
        let enough = cycles() + more;
        wait_until("more cycles", || cycles() >= enough);
    }

    /// Waits until it is ready.
    pub(crate) fn wait_ready(&self) {
        wait_until("readiness", || self.get("/readyz").status == 200);
    }
}

fn keep(pipe: ChildStderr, told: &Mutex<String>) {
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        let mut told = told.lock().unwrap();
        told.push_str(&line);
        told.push('\n');
    }
}

/// Reads an answer up to the end of the connection.
pub(crate) fn answer(stream: impl Read) -> Answer {
    let mut bytes = Vec::new();
    let mut stream = BufReader::new(stream);
    // A connection that was reset after the answer has answered.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let headers: Vec<_> = lines.map(header).collect();
    let is_chunked = headers.iter().any(|(n, v)| n == "transfer-encoding" && v == "chunked");
    assert!(!is_chunked, "an answer that ends has a length");
    Answer { status, headers, body: body.to_owned() }
}

/// Events of a stream, as kind, id and data, as they come.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    /// Opens a stream.
    pub(crate) fn open(served: &Served, path: &str) -> Self {
        let mut stream = served.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", served.addr).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        Self(reader)
    }
}

impl Iterator for Events {
    type Item = (String, Option<u64>, Value);

    /// The next event; lines of the chunked encoding in between are no fields and are skipped.
    fn next(&mut self) -> Option<Self::Item> {
        let (mut kind, mut id) = (String::new(), None);
        let mut line = String::new();
        loop {
            line.clear();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(name) = line.strip_prefix("event: ") {
                name.clone_into(&mut kind);
            } else if let Some(number) = line.strip_prefix("id: ") {
                id = Some(number.parse().unwrap());
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((kind, id, serde_json::from_str(data).unwrap()));
            }
        }
    }
}
