//! Decoder of the chunked transfer coding (RFC 9112, section 7.1), strict and streaming.
//!
//! Sizes are hexadecimal without sign or space, every line ends in CR LF. Chunk extensions and trailers
//! are checked for form, bounded and dropped.

/// Longest chunk extension, and longest trailer section, in bytes.
const EXTENSION: u32 = 1024;
const TRAILERS: u32 = 8 * 1024;

/// The coding was violated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunked body")]
pub(super) struct Malformed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { value: u64, digits: u8 },
    Extension(u32),
    SizeEnd { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailer { line: u32, total: u32 },
    TrailerLf { line: u32, total: u32 },
    Done,
}

/// State between two calls of [`Decoder::decode`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decoder {
    state: State,
    value: u64,
}

/// What one call decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decoded {
    /// Payload bytes, now at the front of the buffer.
    pub(super) payload: usize,
    /// Bytes of the buffer that were used; what follows belongs to the next message.
    pub(super) consumed: usize,
    /// Whether the last chunk and the trailers have been seen.
    pub(super) done: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            state: State::Size {
                value: 0,
                digits: 0,
            },
            value: 0,
        }
    }
}

impl Decoder {
    /// Decodes as much of `buffer` as there is, moving the payload to its front.
    pub(super) fn decode(&mut self, buffer: &mut [u8]) -> Result<Decoded, Malformed> {
        let (mut at, mut payload) = (0, 0);
        while at < buffer.len() && self.state != State::Done {
            if let State::Data { left } = self.state {
                let here = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len().saturating_sub(at));
                buffer.copy_within(at..at.saturating_add(here), payload);
                payload = payload.saturating_add(here);
                at = at.saturating_add(here);
                let left = left.saturating_sub(here as u64);
                self.state = if left == 0 {
                    State::DataCr
                } else {
                    State::Data { left }
                };
                continue;
            }
            let byte = *buffer.get(at).ok_or(Malformed)?;
            at = at.saturating_add(1);
            self.state = self.step(byte)?;
        }
        Ok(Decoded {
            payload,
            consumed: at,
            done: self.state == State::Done,
        })
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        Ok(match (self.state, byte) {
            (State::Size { value, digits }, b'\r') if digits > 0 => State::SizeEnd { value },
            (State::Size { value, digits }, b';') if digits > 0 => {
                self.value = value;
                State::Extension(0)
            }
            (State::Size { value, digits }, _) if digits < 15 => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                State::Size {
                    value: (value << 4) | u64::from(digit),
                    digits: digits.saturating_add(1),
                }
            }
            (State::Extension(_), b'\r') => State::SizeEnd { value: self.value },
            (State::Extension(length), 0x20..=0x7e | b'\t') if length < EXTENSION => {
                State::Extension(length.saturating_add(1))
            }
            (State::SizeEnd { value: 0 }, b'\n') => State::Trailer { line: 0, total: 0 },
            (State::SizeEnd { value }, b'\n') => State::Data { left: value },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size {
                value: 0,
                digits: 0,
            },
            (State::Trailer { line, total }, b'\r') => State::TrailerLf { line, total },
            (State::Trailer { line, total }, 0x20..=0xff | b'\t') if total < TRAILERS => {
                State::Trailer {
                    line: line.saturating_add(1),
                    total: total.saturating_add(1),
                }
            }
            (State::TrailerLf { line: 0, .. }, b'\n') => State::Done,
            (State::TrailerLf { total, .. }, b'\n') => State::Trailer { line: 0, total },
            _ => return Err(Malformed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_in_pieces(input: &[u8], piece: usize) -> Result<(Vec<u8>, bool), Malformed> {
        let (mut decoder, mut out, mut done) = (Decoder::default(), Vec::new(), false);
        for part in input.chunks(piece) {
            let mut part = part.to_vec();
            let got = decoder.decode(&mut part)?;
            out.extend_from_slice(&part[..got.payload]);
            done = got.done;
        }
        Ok((out, done))
    }

    #[test]
    fn decoder_yields_payload_however_input_is_split() {
        let input = b"5\r\nhello\r\nA;x=\"y\"\r\n, world!!!\r\n0\r\nExpires: never\r\n\r\n";
        for piece in 1..input.len() {
            assert_eq!(
                decode_in_pieces(input, piece),
                Ok((b"hello, world!!!".to_vec(), true)),
                "pieces of {piece}"
            );
        }
    }

    #[test]
    fn decoder_leaves_next_message_alone() {
        let mut buffer = b"1\r\nx\r\n0\r\n\r\nGET /".to_vec();
        let got = Decoder::default().decode(&mut buffer);
        assert_eq!(
            got,
            Ok(Decoded {
                payload: 1,
                consumed: 11,
                done: true
            })
        );
    }

    #[test]
    fn decoder_rejects_malformed_input() {
        for bad in [
            &b"\r\n"[..],
            b"+5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\r\nhello!\r\n",
            b"5\r\nhello\n",
            b"fffffffffffffffff\r\n",
            b"-1\r\n",
            b"5;\n\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\n\n",
        ] {
            assert_eq!(
                decode_in_pieces(bad, bad.len()).map(|(_, done)| done),
                Err(Malformed),
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
    }
}
