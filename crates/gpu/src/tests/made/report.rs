//! Reports that are no reports. The leaf signs what it is given: only the structure is wrong.

use super::scene::{LENGTH, OPAQUE, SIGNATURE, Scene};
use super::{Case, accepted, refused};
use crate::report::ReportError;
use crate::{Cause, Step};

/// Where the fields start that single cases change: each is 4 bytes and the value behind the one before.
const CHIP_SKU: usize = OPAQUE + 12;
const DRIVER: usize = OPAQUE + 38;
const MSRSCNT: usize = DRIVER + 14;
const NVDEC0: usize = MSRSCNT + 260;
const FEATURE: usize = SIGNATURE - 6;

fn wrong(error: ReportError) -> Vec<(Step, Cause)> {
    vec![(Step::Structure, Cause::Report(error))]
}

fn value(part: &'static str, offset: usize, wanted: u32, found: u32) -> ReportError {
    ReportError::Value {
        part,
        offset,
        wanted,
        found,
    }
}

/// Sets a byte before the leaf signs.
fn set(offset: usize, byte: u8) -> impl Fn(&mut Scene) {
    move |s| s.unsigned = Box::new(move |bytes| bytes[offset] = byte)
}

pub(super) fn structure() -> Vec<Case> {
    let constants = [
        ("SPDM version of the request", 0, 0x11, 0x12),
        ("code of the request", 1, 0xe0, 0x60),
        ("Param1 of the request", 2, 1, 0),
        ("Param2 of the request", 3, 0xff, 1),
        ("SlotIDParam", 36, 0, 1),
        ("SPDM version of the response", 37, 0x11, 0x10),
        ("code of the response", 38, 0x60, 0xe0),
        ("Param1 of the response", 39, 0, 64),
        ("Param2 of the response", 40, 0, 1),
        ("block index", 45, 1, 0),
        ("block index", 45 + 55, 2, 1),
        ("block index", 45 + 55, 2, 3),
        ("block index", 45 + 63 * 55, 64, 1),
        ("measurement specification", 46, 1, 2),
        ("measurement size", 47, 51, 50),
        ("measurement value type", 49, 1, 0x81),
        ("measurement value size", 50, 48, 32),
    ];
    let constant = |(part, offset, wanted, found): (&'static str, usize, u8, u8)| {
        let error = value(part, offset, wanted.into(), found.into());
        refused(part, set(offset, found), wrong(error))
    };
    let mut cases: Vec<Case> = constants.into_iter().map(constant).collect();
    let blocks = |found| {
        let error = ReportError::Blocks { offset: 41, found };
        refused(format!("{found} blocks"), set(41, found), wrong(error))
    };
    cases.extend([0, 65, 255].map(blocks));
    let record = |name, byte, found| {
        let error = value("record length", 42, 3520, found);
        refused(name, set(42, byte), wrong(error))
    };
    cases.extend([
        record("a longer record", 0xc1, 3521),
        record("a shorter record", 0xbf, 3519),
        refused(
            "fewer blocks than the record holds",
            set(41, 63),
            wrong(value("record length", 42, 3465, 3520)),
        ),
    ]);
    cases.extend(lengths());
    cases
}

/// Too short and too long.
fn lengths() -> Vec<Case> {
    let truncated = |part, offset, need, have| ReportError::Truncated {
        part,
        offset,
        need,
        have,
    };
    let cut = |length: usize, error| {
        let edit = move |s: &mut Scene| s.signed = Box::new(move |bytes| bytes.truncate(length));
        refused(format!("cut after {length} bytes"), edit, wrong(error))
    };
    let more = |count: usize| {
        let error = ReportError::Trailing {
            offset: LENGTH,
            found: count,
        };
        let edit = move |s: &mut Scene| {
            s.signed = Box::new(move |bytes| bytes.extend(vec![0; count]));
        };
        refused(format!("{count} bytes more"), edit, wrong(error))
    };
    vec![
        cut(0, truncated("SPDM version of the request", 0, 1, 0)),
        cut(20, truncated("requester nonce", 4, 32, 16)),
        cut(37, truncated("SPDM version of the response", 37, 1, 0)),
        cut(41, truncated("number of blocks", 41, 1, 0)),
        cut(44, truncated("record length", 42, 3, 2)),
        cut(60, truncated("measurement value", 52, 48, 8)),
        cut(3570, truncated("responder nonce", 3565, 32, 5)),
        cut(3598, truncated("opaque length", 3597, 2, 1)),
        cut(OPAQUE + 100, truncated("opaque data", OPAQUE, 380, 100)),
        cut(SIGNATURE, truncated("signature", SIGNATURE, 96, 0)),
        cut(LENGTH - 1, truncated("signature", SIGNATURE, 96, 95)),
        more(1),
        more(96),
    ]
}

pub(super) fn fields() -> Vec<Case> {
    let all = [numbers(), field_lengths(), values(), borders()];
    all.into_iter().flatten().collect()
}

/// A further field stands behind all others.
fn further(name: &str, kind: u16, value: Vec<u8>, error: ReportError) -> Case {
    let edit = move |s: &mut Scene| s.report.further = vec![(kind, value.clone())];
    refused(name, edit, wrong(error))
}

fn numbers() -> Vec<Case> {
    vec![
        accepted("fields without a name, and an empty one", |s| {
            s.report.further = vec![(200, vec![1, 2, 3]), (0, vec![]), (u16::MAX, vec![0; 600])];
        }),
        accepted("OPAQUE_DATA_VERSION", |s| {
            s.report.further = vec![(34, vec![1, 0])];
        }),
        refused(
            "the driver twice",
            |s| s.report.further = vec![(3, b"550.90.07\0".to_vec())],
            wrong(ReportError::Twice {
                kind: 3,
                offset: SIGNATURE,
            }),
        ),
        refused(
            "a field without a name twice",
            |s| s.report.further = vec![(200, vec![]), (200, vec![])],
            wrong(ReportError::Twice {
                kind: 200,
                offset: SIGNATURE + 4,
            }),
        ),
        further(
            "the invalid number",
            255,
            vec![1],
            ReportError::Invalid { offset: SIGNATURE },
        ),
    ]
}

fn field_lengths() -> Vec<Case> {
    let length = |name, offset, wanted, found| ReportError::Length {
        name,
        offset,
        wanted,
        found,
    };
    vec![
        further(
            "OPAQUE_DATA_VERSION of 1 byte",
            34,
            vec![1],
            length("OPAQUE_DATA_VERSION", SIGNATURE, "2", 1),
        ),
        further(
            "half an identity of a switch",
            22,
            vec![1; 12],
            length("SWITCH_PDI", SIGNATURE, "a multiple of 8", 12),
        ),
        refused(
            "MSRSCNT of 255 bytes",
            |s| {
                s.unsigned = Box::new(|bytes| {
                    bytes.remove(MSRSCNT + 4);
                    bytes[MSRSCNT + 2..MSRSCNT + 4].copy_from_slice(&[255, 0]);
                    bytes[OPAQUE - 2] -= 1;
                });
            },
            wrong(length("MSRSCNT", MSRSCNT, "a multiple of 4", 255)),
        ),
        refused(
            "VBIOS without its zeros",
            set(OPAQUE + 4 + 7, 1),
            wrong(length(
                "VBIOS_VERSION",
                OPAQUE,
                "5 and three zeros, or text",
                8,
            )),
        ),
        refused(
            "FWID of 47 bytes",
            |s| {
                s.report.fwid = None;
                s.report.further = vec![(20, vec![0xf3; 47])];
            },
            wrong(length("FWID", SIGNATURE - 52, "48", 47)),
        ),
        refused(
            "NVDEC0_STATUS of two bytes",
            |s| {
                s.report.nvdec0 = None;
                s.report.further = vec![(11, vec![0xaa, 0xaa])];
            },
            wrong(length("NVDEC0_STATUS", SIGNATURE - 5, "1", 2)),
        ),
    ]
}

fn values() -> Vec<Case> {
    let unknown = |name, offset, found| ReportError::Unknown {
        name,
        offset,
        found,
    };
    let text = |name, offset| ReportError::Text { name, offset };
    vec![
        refused(
            "a space in CHIP_SKU",
            set(CHIP_SKU + 5, b' '),
            wrong(text("CHIP_SKU", CHIP_SKU)),
        ),
        refused(
            "a zero inside of CHIP_SKU",
            set(CHIP_SKU + 5, 0),
            wrong(text("CHIP_SKU", CHIP_SKU)),
        ),
        refused(
            "an empty driver",
            |s| s.report.driver.clear(),
            wrong(text("DRIVER_VERSION", DRIVER)),
        ),
        refused(
            "NVDEC0_STATUS of no known value",
            |s| s.report.nvdec0 = Some(0),
            wrong(unknown("NVDEC0_STATUS", NVDEC0, 0)),
        ),
        refused(
            "PROTECTED_PCIE_STATUS of no known value",
            |s| s.report.protected_pcie = Some(0x54),
            wrong(unknown("PROTECTED_PCIE_STATUS", FEATURE - 5, 0x54)),
        ),
        refused(
            "FEATURE_FLAG of no known value",
            |s| s.report.feature = Some(0x100),
            wrong(unknown("FEATURE_FLAG", FEATURE, 0x100)),
        ),
    ]
}

/// Fields that pass the end of the opaque data.
fn borders() -> Vec<Case> {
    let truncated = |part, offset, need, have| ReportError::Truncated {
        part,
        offset,
        need,
        have,
    };
    vec![
        refused(
            "a value that passes the end",
            set(FEATURE + 2, 3),
            wrong(truncated("value of an opaque field", FEATURE + 4, 3, 2)),
        ),
        refused(
            "opaque data that end behind a number",
            set(OPAQUE - 2, 0x78), // 376 bytes, not 380
            wrong(truncated("length of an opaque field", FEATURE + 2, 2, 0)),
        ),
        refused(
            "opaque data that end in a number",
            set(OPAQUE - 2, 0x77),
            wrong(truncated("type of an opaque field", FEATURE, 2, 1)),
        ),
    ]
}
