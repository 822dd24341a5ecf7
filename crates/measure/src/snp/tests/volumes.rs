//! Builds firmware volumes by the rules of UEFI PI 1.8, volume 3; packs with liblzma, which the code under test does not use.

use std::io::Write as _;

use liblzma::stream::{LzmaOptions, Stream};
use liblzma::write::XzEncoder;

use crate::ovmf_table::guid;

pub(super) const FFS2: &str = "8c8ce578-8a3d-4f1c-9935-896185c32dd3";
pub(super) const FFS3: &str = "5473c07a-3dcb-4dca-bd6f-1e9689e7349a";
pub(super) const LZMA: &str = "ee4e5898-3914-4259-9d6e-dc7bd79403cf";
pub(super) const ENTRIES: [&str; 3] = [
    "97d02dd8-bd20-4c94-aa78-e7714d36ab2a",
    "44baf731-3a2f-4bd7-9af1-41e29169781d",
    "4de79437-abd2-427f-b835-d5b172d2045b",
];

/// An executable of `size` bytes with `names` in it, the last one ending at its end.
pub(super) fn executable(size: usize, names: &[&str]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=250).cycle().take(size - 16 * names.len()).collect();
    names
        .iter()
        .for_each(|name| bytes.extend_from_slice(&guid(name)));
    bytes
}

pub(super) fn section(kind: u8, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 4).unwrap().to_le_bytes();
    [&size[..3], &[kind], body].concat()
}

/// Sections one behind the other, each on a multiple of 4.
pub(super) fn sections(all: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for one in all {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(one);
    }
    bytes
}

/// A GUID-defined section; `data` goes behind its 24 bytes of header.
pub(super) fn guided(name: &str, attributes: u16, data: &[u8]) -> Vec<u8> {
    let body = [
        &guid(name)[..],
        &24_u16.to_le_bytes(),
        &attributes.to_le_bytes(),
        data,
    ];
    section(0x02, &body.concat())
}

/// Packs as edk2 does: the size in the header is known.
pub(super) fn lzma(data: &[u8]) -> Vec<u8> {
    let options = LzmaOptions::new_preset(6).unwrap();
    let mut encoder =
        XzEncoder::new_stream(Vec::new(), Stream::new_lzma_encoder(&options).unwrap());
    encoder.write_all(data).unwrap();
    let mut packed = encoder.finish().unwrap();
    packed[5..13].copy_from_slice(&(data.len() as u64).to_le_bytes());
    packed
}

/// A section that unpacks to `inside`.
pub(super) fn packed(inside: &[Vec<u8>]) -> Vec<u8> {
    guided(LZMA, 1, &lzma(&sections(inside)))
}

pub(super) fn file(kind: u8, inside: &[Vec<u8>]) -> Vec<u8> {
    let body = sections(inside);
    let size = u32::try_from(body.len() + 24).unwrap().to_le_bytes();
    let mut header = [&[0x5a; 16][..], &[0, 0xaa, kind, 0], &size[..3], &[0]].concat();
    let sum = header
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    header[16] = 0_u8.wrapping_sub(sum.wrapping_sub(0xaa));
    header[23] = 0xf8; // header and data valid, in ones
    [header, body].concat()
}

/// Writes the checksum of a volume header of 72 bytes.
pub(super) fn sum_volume(volume: &mut [u8]) {
    volume[50..52].fill(0);
    let words = volume[..72].as_chunks::<2>().0.iter();
    let sum = words.fold(0_u16, |sum, word| {
        sum.wrapping_add(u16::from_le_bytes(*word))
    });
    volume[50..52].copy_from_slice(&0_u16.wrapping_sub(sum).to_le_bytes());
}

pub(super) fn volume(system: &str, files: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![0xff; 72];
    for file in files {
        body.resize(body.len().next_multiple_of(8), 0xff);
        body.extend_from_slice(file);
    }
    body.resize((body.len() + 64).next_multiple_of(8), 0xff);
    let length = body.len() as u64;
    let header = [
        &[0; 16][..],
        &guid(system),
        &length.to_le_bytes(),
        b"_FVH",
        &0x4_feff_u32.to_le_bytes(),
        &72_u16.to_le_bytes(),
        &[0, 0, 0, 0, 0, 2],
        &1_u32.to_le_bytes(),
        &u32::try_from(length).unwrap().to_le_bytes(),
        &[0; 8],
    ]
    .concat();
    body[..72].copy_from_slice(&header);
    sum_volume(&mut body);
    body
}
