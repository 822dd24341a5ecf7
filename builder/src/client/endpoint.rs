//! The address of an attested endpoint: `https://HOST[:PORT]`.

use std::fmt;
use std::str::FromStr;

/// Host and port of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    host: String,
    port: u16,
}

/// Why a text is not an endpoint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndpointError {
    /// Not `https`.
    #[error("`{0}` does not start with `https://`")]
    Scheme(String),
    /// No host, or something after the port.
    #[error("`{0}` is not `https://HOST[:PORT]`")]
    Shape(String),
}

/// Port when none is given.
const DEFAULT_PORT: u16 = 443;

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        let rest = text
            .strip_prefix("https://")
            .ok_or_else(|| EndpointError::Scheme(text.to_owned()))?;
        let shape = || EndpointError::Shape(text.to_owned());
        let authority: http::uri::Authority = rest
            .strip_suffix('/')
            .unwrap_or(rest)
            .parse()
            .map_err(|_| shape())?;
        let host = authority.host();
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(shape());
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str() == host => DEFAULT_PORT,
            None => return Err(shape()),
        };
        Ok(Endpoint {
            host: host.to_owned(),
            port,
        })
    }
}

impl Endpoint {
    /// The host without the brackets of an IPv6 address, as a resolver wants it.
    pub(crate) fn host(&self) -> &str {
        self.host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&self.host)
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_str_reads_host_and_port() {
        let read = |text: &str| text.parse::<Endpoint>().unwrap().to_string();
        assert_eq!(read("https://127.0.0.1:8443"), "127.0.0.1:8443");
        assert_eq!(read("https://guest.example/"), "guest.example:443");
        assert_eq!(read("https://[::1]:8443"), "[::1]:8443");
        assert_eq!("https://[::1]:1".parse::<Endpoint>().unwrap().host(), "::1");
    }

    #[test]
    fn from_str_refuses_everything_else() {
        for text in ["http://a", "a:1", "https://"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
        for text in [
            "https://a/v1",
            "https://u@a",
            "https://a:x",
            "https://a:1:2",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert_eq!(error, EndpointError::Shape(text.to_owned()));
        }
    }
}
