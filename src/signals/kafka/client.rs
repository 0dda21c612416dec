//! How to reach the brokers: addresses, TLS, login. Whoever speaks to Kafka begins with this.
//!
//! Secrets come from files or systemd credentials and go to the client library only; no message, log
//! or dump contains one.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use rdkafka::ClientConfig;
use thiserror::Error;

use crate::{
    config::{Kafka, KafkaSecurity, SaslMechanism},
    files::bounded_file::{BoundedFileError, BoundedFileFault, read_bytes},
};

/// What precedes the name of a systemd credential where a file is expected.
const CREDENTIAL: &str = "credential:";

/// A secret file may not be larger, bytes.
const MAX_SECRET_BYTES: usize = 4096;

/// Why the client's configuration cannot be made.
#[derive(Debug, Error)]
pub enum ClientError {
    /// A secret cannot be read.
    #[error("{key} = {}: {source}", path.display())]
    Secret {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A secret is not one.
    #[error("{key} = {}: expected one line of 1 to {MAX_SECRET_BYTES} bytes of UTF-8", path.display())]
    NotASecret {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A credential is named, but the service manager gave none.
    #[error(
        "{key} = {CREDENTIAL}{name}: expected $CREDENTIALS_DIRECTORY, which LoadCredential= of the unit sets"
    )]
    NoCredentials {
        /// The key that names the credential.
        key: &'static str,
        /// The credential.
        name: String,
    },
}

/// Settings that every client shares.
#[derive(Clone)]
pub struct KafkaClient {
    settings: Vec<(&'static str, String)>,
    brokers: String,
}

impl fmt::Debug for KafkaClient {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaClient").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl KafkaClient {
    /// Reads the secrets and prepares the settings; speaks to nobody yet.
    ///
    /// # Errors
    /// A secret cannot be read.
    pub fn new(kafka: &Kafka) -> Result<Self, ClientError> {
        Self::with_credentials(kafka, std::env::var_os("CREDENTIALS_DIRECTORY"))
    }

    fn with_credentials(kafka: &Kafka, credentials: Option<OsString>) -> Result<Self, ClientError> {
        let credentials = credentials.filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let protocol = match kafka.security {
            KafkaSecurity::Plaintext => "plaintext",
            KafkaSecurity::Tls => "ssl",
            KafkaSecurity::SaslPlaintext => "sasl_plaintext",
            KafkaSecurity::SaslTls => "sasl_ssl",
        };
        let mut settings = vec![
            ("bootstrap.servers", kafka.brokers.clone()),
            ("client.id", "purkinje".to_owned()),
            ("security.protocol", protocol.to_owned()),
            // A broker that is back is found within a second, not the library's ten: a halt, too, waits for it.
            ("reconnect.backoff.ms", "50".to_owned()),
            ("reconnect.backoff.max.ms", "1000".to_owned()),
        ];
        if matches!(kafka.security, KafkaSecurity::Tls | KafkaSecurity::SaslTls) {
            let tls = &kafka.tls;
            let files = [
                ("ssl.ca.location", &tls.ca_file),
                ("ssl.certificate.location", &tls.certificate_file),
                ("ssl.key.location", &tls.key_file),
            ];
            for (key, file) in files {
                if !file.as_os_str().is_empty() {
                    settings.push((key, file.to_string_lossy().into_owned()));
                }
            }
            if !tls.key_password_file.as_os_str().is_empty() {
                let password = secret(
                    "kafka.tls.key_password_file",
                    &tls.key_password_file,
                    credentials.as_deref(),
                )?;
                settings.push(("ssl.key.password", password));
            }
        }
        if matches!(kafka.security, KafkaSecurity::SaslPlaintext | KafkaSecurity::SaslTls) {
            let mechanism = match kafka.sasl.mechanism {
                SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
                SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
                SaslMechanism::Plain => "PLAIN",
            };
            let password = secret(
                "kafka.sasl.password_file",
                &kafka.sasl.password_file,
                credentials.as_deref(),
            )?;
            settings.extend([
                ("sasl.mechanism", mechanism.to_owned()),
                ("sasl.username", kafka.sasl.username.clone()),
                ("sasl.password", password),
            ]);
        }
        Ok(Self { settings, brokers: kafka.brokers.clone() })
    }

    /// The brokers, as configured.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The settings as the client library names them. They contain secrets.
    #[must_use]
    pub fn settings(&self) -> &[(&'static str, String)] {
        &self.settings
    }

    /// The settings, for the library's own constructors.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (key, value) in &self.settings {
            config.set(*key, value);
        }
        config
    }
}

/// The one line of a secret file.
fn secret(
    key: &'static str,
    path: &Path,
    credentials: Option<&Path>,
) -> Result<String, ClientError> {
    let path = match path.to_str().and_then(|text| text.strip_prefix(CREDENTIAL)) {
        Some(name) => {
            let name = name.to_owned();
            credentials.ok_or(ClientError::NoCredentials { key, name: name.clone() })?.join(name)
        }
        None => path.to_owned(),
    };
    // One more for the end of the line.
    let bytes = match read_bytes(&path, MAX_SECRET_BYTES as u64 + 1) {
        Ok(bytes) => bytes,
        Err(BoundedFileError { path, fault: BoundedFileFault::Io(source) }) => {
            return Err(ClientError::Secret { key, path, source });
        }
        Err(BoundedFileError { path, .. }) => return Err(ClientError::NotASecret { key, path }),
    };
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let is_line = (1..=MAX_SECRET_BYTES).contains(&line.len()) && !line.contains(&b'\n');
    match std::str::from_utf8(line) {
        Ok(text) if is_line => Ok(text.to_owned()),
        _ => Err(ClientError::NotASecret { key, path }),
    }
}
