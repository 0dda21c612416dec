//! Who may do what: the bearer token of commands, and the host names that this server answers to.
//!
//! Invariants: tokens are compared by their digests in constant time; without a token nobody may command; a server
//! on loopback answers only to addresses and `localhost`, so that no web page can reach it by a name of its own
//! that it points here (DNS rebinding).

use std::net::IpAddr;

use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HOST},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What it asks for.
    Allowed,
    /// Nobody may: there is no token.
    NoToken,
    /// It has no token, or another one.
    Refused,
}

/// The token, as its digest.
pub struct Access {
    digest: Option<[u8; 32]>,
    is_loopback: bool,
}

impl std::fmt::Debug for Access {
    /// Without the digest.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { digest, is_loopback } = self;
        let has_token = digest.is_some();
        f.debug_struct("Access")
            .field("has_token", &has_token)
            .field("is_loopback", is_loopback)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// For a server with this token, if any, that listens on this address.
    #[must_use]
    pub fn new(token: Option<&str>, address: IpAddr) -> Self {
        let digest = token.map(|token| Sha256::digest(token.as_bytes()).into());
        Self { digest, is_loopback: address.is_loopback() }
    }

    /// Whether there is a token.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.digest.is_some()
    }

    /// Whether a command may be obeyed.
    #[must_use]
    pub fn judge(&self, headers: &HeaderMap) -> Verdict {
        let Some(digest) = &self.digest else { return Verdict::NoToken };
        let given = headers.get(AUTHORIZATION).map(hyper::header::HeaderValue::as_bytes);
        let Some((scheme, token)) = given.and_then(|value| value.split_at_checked(7)) else {
            return Verdict::Refused;
        };
        let theirs: [u8; 32] = Sha256::digest(token.trim_ascii()).into();
        let is_same = bool::from(digest.ct_eq(&theirs));
        if is_same && scheme.eq_ignore_ascii_case(b"Bearer ") {
            Verdict::Allowed
        } else {
            Verdict::Refused
        }
    }

    /// Whether the request means this server.
    #[must_use]
    pub fn is_host(&self, headers: &HeaderMap) -> bool {
        if !self.is_loopback {
            return true;
        }
        // HTTP/1.0 has none, and no browser speaks it.
        let Some(host) = headers.get(HOST) else { return true };
        let Ok(host) = host.to_str() else { return false };
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn with(name: hyper::header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let access = Access::new(Some("s3cret"), Ipv4Addr::LOCALHOST.into());
        let judge = |value: &str| access.judge(&with(AUTHORIZATION, value));
        assert_eq!(judge("Bearer s3cret"), Verdict::Allowed);
        assert_eq!(
            judge("bearer  s3cret"),
            Verdict::Allowed,
            "the scheme's case and space are free"
        );
        for wrong in
            ["Bearer s3cre", "Bearer s3cret1", "Bearer ", "Bearer", "s3cret", "Basic  s3cret", ""]
        {
            assert_eq!(judge(wrong), Verdict::Refused, "{wrong:?}");
        }
        assert_eq!(access.judge(&HeaderMap::new()), Verdict::Refused);
        let nobody = Access::new(None, Ipv4Addr::LOCALHOST.into());
        assert_eq!(nobody.judge(&with(AUTHORIZATION, "Bearer ")), Verdict::NoToken);
        assert!(!format!("{access:?}").contains("s3cret") && access.has_token());
    }

    #[test]
    fn on_loopback_only_addresses_and_localhost_are_this_host() {
        let access = Access::new(None, Ipv4Addr::LOCALHOST.into());
        for own in ["127.0.0.1:9109", "localhost:9109", "LOCALHOST", "[::1]:9109", "127.0.0.1"] {
            assert!(access.is_host(&with(HOST, own)), "{own}");
        }
        for other in
            ["evil.example:9109", "localhost.evil.example", "", "127.0.0.1.evil.example:80"]
        {
            assert!(!access.is_host(&with(HOST, other)), "{other}");
        }
        let public = Access::new(None, Ipv4Addr::UNSPECIFIED.into());
        assert!(public.is_host(&with(HOST, "trading.example:9109")));
    }
}
