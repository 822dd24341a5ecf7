//! One DER structure, or the PEM blocks of a text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{MAX_DER, X509Error};

/// Most certificates or lists that one input may hold.
pub const MAX_CERTIFICATES: usize = 16;
/// First byte of a DER sequence; no PEM begins with `0`.
const SEQUENCE: u8 = 0x30;

/// The structures of `input`: itself when it is DER, otherwise its PEM blocks called `label`.
pub(crate) fn blocks(input: &[u8], label: &str) -> Result<Vec<Vec<u8>>, X509Error> {
    if input.first() == Some(&SEQUENCE) {
        return Ok(vec![input.to_vec()]);
    }
    let limit = MAX_CERTIFICATES * 2 * MAX_DER;
    if input.len() > limit {
        let found = input.len();
        return Err(X509Error::TooLarge { found });
    }
    let mut rest = core::str::from_utf8(input).map_err(|_| X509Error::None)?;
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let mut found = Vec::new();
    while let Some((_, block)) = rest.split_once(&begin) {
        if found.len() == MAX_CERTIFICATES {
            return Err(X509Error::TooMany);
        }
        let number = found.len() + 1;
        let (body, after) = block.split_once(&end).ok_or(X509Error::Pem { number })?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = STANDARD.decode(body);
        found.push(der.map_err(|_| X509Error::Pem { number })?);
        rest = after;
    }
    if found.is_empty() {
        return Err(X509Error::None);
    }
    Ok(found)
}
