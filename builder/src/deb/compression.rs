//! Decompression of `.deb` members, streaming, with a limit on what comes out.

use std::io::{self, Read};

/// How a member of a `.deb` is compressed. Debian's archives use these and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not compressed.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// xz with its integrity check.
    Xz,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// Bytes that may always come out of a member, however small it is.
const FLOOR: u64 = 64 << 20;
/// Bytes that may come out for each byte that goes in; libraries and documents stay below 20.
const RATIO: u64 = 250;

impl Compression {
    /// From the ending of a member's name: empty, `.gz`, `.xz` or `.zst`.
    pub(crate) fn from_ending(ending: &str) -> Option<Compression> {
        match ending {
            "" => Some(Compression::None),
            ".gz" => Some(Compression::Gzip),
            ".xz" => Some(Compression::Xz),
            ".zst" => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// A reader of the plain bytes. Reading fails when the member is damaged, when bytes follow
    /// its end, or when more comes out than a real package could hold.
    pub(crate) fn reader<'a>(self, bytes: &'a [u8]) -> io::Result<impl Read + use<'a>> {
        let plain: Box<dyn Read + 'a> = match self {
            Compression::None => Box::new(bytes),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
            Compression::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(bytes)),
            Compression::Zstd => Box::new(zstd::Decoder::with_buffer(bytes)?),
        };
        let packed = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let limit = packed.saturating_mul(RATIO).saturating_add(FLOOR);
        Ok(Limited {
            plain,
            left: limit,
            limit,
        })
    }
}

/// A reader that fails, rather than ends, after `limit` bytes.
struct Limited<R> {
    plain: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.plain.read(buffer)?;
        self.left = u64::try_from(read)
            .ok()
            .and_then(|read| self.left.checked_sub(read))
            .ok_or_else(|| {
                let limit = self.limit;
                io::Error::other(format!(
                    "more than {limit} bytes come out: refused as a decompression bomb"
                ))
            })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read_all(compression: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        compression.reader(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn packed(compression: Compression, plain: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => plain.to_vec(),
            Compression::Gzip => {
                let mut out =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(plain).unwrap();
                out.finish().unwrap()
            }
            Compression::Xz => {
                let mut out = liblzma::write::XzEncoder::new(Vec::new(), 1);
                out.write_all(plain).unwrap();
                out.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(plain, 1).unwrap(),
        }
    }

    #[test]
    fn reader_gives_plain_bytes_and_refuses_damage() {
        let plain: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for kind in [Compression::Gzip, Compression::Xz, Compression::Zstd] {
            let mut bytes = packed(kind, &plain);
            assert_eq!(read_all(kind, &bytes).unwrap(), plain, "{kind:?}");
            assert!(
                read_all(kind, &bytes[..bytes.len() - 1]).is_err(),
                "{kind:?} cut"
            );
            bytes.extend_from_slice(b"xyz");
            assert!(
                read_all(kind, &bytes).is_err(),
                "{kind:?} followed by other bytes"
            );
        }
        assert_eq!(read_all(Compression::None, &plain).unwrap(), plain);
    }

    #[test]
    fn reader_refuses_a_bomb() {
        let zeros = vec![0_u8; usize::try_from(FLOOR).unwrap() + (16 << 20)];
        for kind in [Compression::Xz, Compression::Zstd] {
            let error = read_all(kind, &packed(kind, &zeros)).unwrap_err();
            assert!(
                error.to_string().contains("decompression bomb"),
                "{kind:?}: {error}"
            );
        }
    }
}
