//! How to reach the brokers: addresses, TLS, login. Whoever speaks to Kafka begins with this.
//!
//! Secrets come from files or systemd credentials and go to the client library only; no message, log
//! or dump contains one.

use std::fmt;

use rdkafka::ClientConfig;

use crate::{
    config::{Kafka, KafkaSecurity, SaslMechanism},
    files::secret::{SecretError, credentials_directory, read_secret},
};

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
    pub fn new(kafka: &Kafka) -> Result<Self, SecretError> {
        let credentials = credentials_directory();
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
                let password = read_secret(
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
            let password = read_secret(
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
