//! A real Apache Kafka for tests, as tests/kafka/kafka.sh makes it.
//!
//! Invariants: a node goes when its owner does, be it by a panic or a signal, because it watches a pipe that
//! only the owner holds; what it wrote goes with it. Tests that only talk share one node a test binary; a
//! test that kills has one of its own.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
};

/// Names a broker that is there already: `host:port`, plaintext.
const EXTERNAL: &str = "PURKINJE_TEST_KAFKA";

/// Where a broker is that tests may talk to.
pub(crate) fn bootstrap() -> String {
    match std::env::var(EXTERNAL) {
        Ok(external) if !external.is_empty() => external,
        _ => shared().bootstrap().to_owned(),
    }
}

/// The node of this test binary, for tests that need its TLS or its logins; `PURKINJE_TEST_KAFKA` is no
/// substitute for those.
pub(crate) fn shared() -> &'static Broker {
    static SHARED: OnceLock<Broker> = OnceLock::new();
    SHARED.get_or_init(Broker::start)
}

/// The Python that has the clients of tests/kafka/requirements.txt.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let output = script("python.sh").stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "tests/kafka/python.sh: {}", output.status);
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    })
}

fn script(name: &str) -> Command {
    let mut command = Command::new(format!("{}/tests/kafka/{name}", env!("CARGO_MANIFEST_DIR")));
    // Below it the build put these tests, and beside it lies what `make test` fetched.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    command.env("CARGO_TARGET_DIR", target).stdin(Stdio::null());
    command
}

/// A node of one's own: listeners for every kind of security, one user.
#[derive(Debug)]
pub(crate) struct Broker {
    /// kafka.sh, which ends the node when its standard input closes.
    holder: Child,
    watched: Option<ChildStdin>,
    env: HashMap<String, String>,
}

impl Broker {
    /// Starts a node with a directory of its own and waits until it serves.
    pub(crate) fn start() -> Self {
        let mut holder = script("kafka.sh")
            .arg("hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let watched = holder.stdin.take();
        let mut env = HashMap::new();
        let mut is_ready = false;
        for line in BufReader::new(holder.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            is_ready |= line == "ready";
            if let Some((key, value)) = line.split_once('=') {
                env.insert(key.to_owned(), value.to_owned());
            }
        }
        let broker = Self { holder, watched, env };
        assert!(is_ready, "tests/kafka/kafka.sh started no broker; what it said stands above");
        broker
    }

    fn get(&self, key: &str) -> &str {
        &self.env[key]
    }

    /// `host:port` without TLS and without login.
    pub(crate) fn bootstrap(&self) -> &str {
        self.get("bootstrap")
    }

    /// `host:port` with TLS.
    pub(crate) fn tls(&self) -> &str {
        self.get("tls")
    }

    /// `host:port` with TLS that demands a certificate of the client.
    pub(crate) fn mutual_tls(&self) -> &str {
        self.get("mutual_tls")
    }

    /// `host:port` with a login over plain TCP.
    pub(crate) fn sasl_plaintext(&self) -> &str {
        self.get("sasl_plaintext")
    }

    /// `host:port` with a login over TLS.
    pub(crate) fn sasl_tls(&self) -> &str {
        self.get("sasl_tls")
    }

    /// The CA that signed the node's certificate, PEM.
    pub(crate) fn ca_file(&self) -> &str {
        self.get("ca")
    }

    /// Another CA, that signed nothing here, PEM.
    pub(crate) fn stranger_ca_file(&self) -> &str {
        self.get("stranger_ca")
    }

    /// A client's certificate and its key, PEM.
    pub(crate) fn client_certificate(&self) -> (&str, &str) {
        (self.get("client_certificate"), self.get("client_key"))
    }

    /// Who may log in, by PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.
    pub(crate) fn username(&self) -> &str {
        self.get("username")
    }

    /// The file with that user's password.
    pub(crate) fn password_file(&self) -> &str {
        self.get("password_file")
    }

    /// The node's directory, with its log in `server.log`.
    pub(crate) fn dir(&self) -> &Path {
        Path::new(self.get("dir"))
    }

    /// Ends the node's process at once.
    pub(crate) fn kill_9(&self) {
        self.ask("kill");
    }

    /// Starts it again after [`kill_9`](Self::kill_9), with its ports and its data.
    pub(crate) fn restart(&self) {
        self.ask("start");
    }

    /// Stops the node's process: connections stay, and nobody answers.
    pub(crate) fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        let pid = std::fs::read_to_string(self.dir().join("pid")).unwrap();
        // SAFETY: kill touches no memory; the node runs until this test ends it, so the id is its own.
        assert_eq!(unsafe { libc::kill(pid.trim_end().parse().unwrap(), signal) }, 0);
    }

    fn ask(&self, verb: &str) {
        let status = script("kafka.sh").arg(verb).arg(self.dir()).status().unwrap();
        assert!(status.success(), "tests/kafka/kafka.sh {verb}: {status}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.watched.take());
        // Fails when it has ended, which is fine.
        let _ = self.holder.wait();
    }
}
