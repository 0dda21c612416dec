//! A headless Chromium, spoken to over a pipe in its own debugging protocol: one JSON message after the other, each
//! ended by a zero byte. Descriptor 3 of the browser takes commands, 4 gives answers and events.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead, BufReader, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{Daemon, wait_until};

/// A browser with one page.
pub(crate) struct Browser {
    _process: Daemon,
    _profile: tempfile::TempDir,
    commands: File,
    answers: BufReader<File>,
    session: String,
    last_id: u64,
    /// Messages of the console and of the log that are worse than a note.
    complaints: VecDeque<String>,
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let (read, write) = std::io::pipe().unwrap();
    (read.into(), write.into())
}

impl Browser {
    /// Starts one; `None`, saying so, where there is no Chromium.
    pub(crate) fn start() -> Option<Self> {
        let profile = tempfile::tempdir().unwrap();
        let (theirs_in, commands) = pipe();
        let (answers, theirs_out) = pipe();
        let mut command = Command::new("chromium");
        command
            // Tests may run as root and in containers, where its sandbox cannot.
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let (input, output) = (theirs_in.as_raw_fd(), theirs_out.as_raw_fd());
        // SAFETY: fcntl and dup2 are async-signal-safe, and the numbers are descriptors of this process.
        unsafe {
            command.pre_exec(move || {
                // Away from 3 and 4 first, so that neither is lost when the other takes its place.
                let input = libc::fcntl(input, libc::F_DUPFD_CLOEXEC, 10);
                let output = libc::fcntl(output, libc::F_DUPFD_CLOEXEC, 10);
                match (libc::dup2(input, 3), libc::dup2(output, 4)) {
                    (3, 4) => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let Ok(process) = command.spawn() else {
            eprintln!("skipped: chromium is not installed");
            return None;
        };
        drop((theirs_in, theirs_out));
        let mut browser = Self {
            _process: Daemon(process),
            _profile: profile,
            commands: commands.into(),
            answers: BufReader::new(answers.into()),
            session: String::new(),
            last_id: 0,
            complaints: VecDeque::new(),
        };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let asked = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", &asked);
        session["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, &json!({}));
        }
        Some(browser)
    }

    /// One command and its answer.
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Value {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        self.commands.write_all(message.to_string().as_bytes()).unwrap();
        self.commands.write_all(&[0]).unwrap();
        loop {
            let mut bytes = Vec::new();
            let read = self.answers.read_until(0, &mut bytes).unwrap();
            assert!(read > 0, "the browser is gone");
            bytes.pop();
            let message: Value = serde_json::from_slice(&bytes).unwrap();
            if message["id"] == self.last_id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => params["exceptionDetails"].to_string(),
            Some("Runtime.consoleAPICalled") if params["type"] == "error" => {
                params["args"].to_string()
            }
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                params["entry"].to_string()
            }
            _ => return,
        };
        self.complaints.push_back(complaint);
    }

    /// What the page complained of so far.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        self.evaluate("0");
        self.complaints.drain(..).collect()
    }

    /// Goes to an address.
    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", &json!({ "url": url }));
    }

    /// The value of an expression of JavaScript in the page; `None` where it throws.
    fn try_evaluate(&mut self, expression: &str) -> Option<Value> {
        let asked =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", &asked);
        result.get("exceptionDetails").is_none().then(|| result["result"]["value"].clone())
    }

    /// The value of an expression of JavaScript in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        self.try_evaluate(expression).unwrap_or_else(|| panic!("{expression} throws"))
    }

    /// Waits until an expression is true; while the page loads it may throw.
    pub(crate) fn wait(&mut self, expression: &str) {
        wait_until(expression, || self.try_evaluate(expression) == Some(true.into()));
    }

    /// Presses a key, as a keyboard does.
    pub(crate) fn press(&mut self, key: &str, text: &str) {
        let code = if key == "Enter" { 13 } else { 9 };
        let mut event =
            json!({ "type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code });
        if !text.is_empty() {
            event["text"] = text.into();
        }
        self.call("Input.dispatchKeyEvent", &event);
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", &event);
    }

    /// Types a text into what has the focus.
    pub(crate) fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// Gives the window a size, and the page a scheme of colours.
    pub(crate) fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// The page as a PNG, in base64.
    pub(crate) fn screenshot(&mut self) -> String {
        let shot = self.call(
            "Page.captureScreenshot",
            &json!({ "format": "png", "captureBeyondViewport": true }),
        );
        shot["data"].as_str().unwrap().to_owned()
    }
}
