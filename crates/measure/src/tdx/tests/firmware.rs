//! MRTD against values of an independent program, and every way in which metadata can be wrong.

use super::*;

const FIRMWARE: [&str; 2] = ["tdx-ovmf-like.fd", "tdx-mixed.fd"];
/// Where `tdx.py` puts the descriptor: this far from the end.
const DESCRIPTOR: usize = 2048;

#[test]
fn mrtd_equals_the_independent_values_in_both_orders() {
    let expected = expected();
    let mut compared = 0;
    for name in FIRMWARE {
        let (image, row) = (read(name), &expected["mrtd"][name]);
        let tdvf = Tdvf::from_image(&image).unwrap();
        for order in PageOrder::ALL {
            assert_eq!(
                tdvf.mrtd(order),
                digest(&row[order.name()]),
                "{name} {order}"
            );
            assert_eq!(
                tdvf.transcript(order).steps.last().unwrap().value,
                tdvf.mrtd(order)
            );
            compared += 1;
        }
        let volume = Some(&row["configuration-volume"])
            .filter(|v| !v.is_null())
            .map(digest);
        assert_eq!(tdvf.configuration_volume(), volume);
    }
    assert_eq!(compared, 4);
}

#[test]
fn transcript_names_each_section_and_what_of_it_is_measured() {
    let image = read("tdx-mixed.fd");
    let tdvf = Tdvf::from_image(&image).unwrap();
    let what = |order| -> Vec<String> {
        let steps = tdvf.transcript(order).steps;
        steps
            .iter()
            .map(|step| format!("{}: {}", step.input, step.what))
            .collect()
    };
    assert_eq!(
        what(PageOrder::AddThenExtend),
        [
            "TDX metadata BFV: pages 0xfffff000 to 0x100000000 added and measured page by page",
            "TDX metadata Payload: pages 0x600000000 to 0x600002000 added and measured page by page",
            "TDX metadata unknown type 0x77: pages 0x200000 to 0x201000 added",
        ]
    );
    assert_eq!(what(PageOrder::TwoPass).len(), 5);
    let contents = tdvf.transcript(PageOrder::TwoPass).steps[1].digest;
    assert_eq!(contents, Bank::Sha384.hash(&[&image[4096..]]));
}

#[test]
fn truncated_firmware_gives_no_mrtd() {
    for name in FIRMWARE {
        let image = read(name);
        for cut in 1..image.len() {
            assert!(
                Tdvf::from_image(&image[..image.len() - cut]).is_err(),
                "{name} -{cut}"
            );
        }
        // Metadata alone, as `measure snp` takes it, lacks the contents.
        for keep in [64, DESCRIPTOR, 4096] {
            assert!(
                Tdvf::from_image(&image[image.len() - keep..]).is_err(),
                "{name} tail {keep}"
            );
        }
    }
}

/// Every byte counts but those that say where unmeasured contents lie and what a section is called.
#[test]
fn every_flipped_byte_is_an_error_or_changes_mrtd_unless_it_means_nothing() {
    let image = read("tdx-ovmf-like.fd");
    let genuine = PageOrder::ALL.map(|order| Tdvf::from_image(&image).unwrap().mrtd(order));
    let sections = 5;
    let start = image.len() - DESCRIPTOR;
    let mut ignored = Vec::new();
    for at in 4096..image.len() {
        let mut flipped = image.clone();
        flipped[at] ^= 0x10;
        let Ok(tdvf) = Tdvf::from_image(&flipped) else {
            continue;
        };
        if PageOrder::ALL.map(|order| tdvf.mrtd(order)) == genuine {
            ignored.push(at - start);
        } else {
            assert!(
                PageOrder::ALL
                    .iter()
                    .zip(genuine)
                    .all(|(order, was)| tdvf.mrtd(*order) != was),
                "{at}"
            );
        }
    }
    // All code lies in a measured section, so flips there always change MRTD: nothing is left over.
    assert_eq!(ignored, Vec::<usize>::new());
    let mut variables = image.clone();
    variables[100] ^= 1;
    assert_eq!(
        PageOrder::ALL.map(|order| Tdvf::from_image(&variables).unwrap().mrtd(order)),
        genuine
    );
    assert_eq!(Tdvf::from_image(&image).unwrap().sections().len(), sections);
}

fn with_field(name: &str, section: usize, offset: usize, bytes: &[u8]) -> TdvfError {
    let mut image = read(name);
    let at = image.len() - DESCRIPTOR + 16 + 32 * section + offset;
    image[at..at + bytes.len()].copy_from_slice(bytes);
    Tdvf::from_image(&image).unwrap_err()
}

fn fault(name: &str, section: usize, offset: usize, bytes: &[u8]) -> (usize, SectionFault) {
    match with_field(name, section, offset, bytes) {
        TdvfError::Section { index, fault, .. } => (index, fault),
        other => panic!("{other}"),
    }
}

#[test]
fn sections_that_contradict_themselves_are_named() {
    let name = "tdx-ovmf-like.fd";
    let found = fault(name, 0, 0, &u32::MAX.to_le_bytes());
    assert_eq!(
        found,
        (
            0,
            SectionFault::Image {
                offset: u32::MAX,
                size: 0x3000,
                image: 0x4000
            }
        )
    );
    let found = fault(name, 0, 4, &0x2000_u32.to_le_bytes());
    assert_eq!(
        found,
        (
            0,
            SectionFault::Contents {
                data: 0x2000,
                memory: 0x3000
            }
        )
    );
    let found = fault(name, 1, 4, &0x1001_u32.to_le_bytes());
    assert_eq!(
        found,
        (
            1,
            SectionFault::Contents {
                data: 0x1001,
                memory: 0x1000
            }
        )
    );
    assert_eq!(
        fault(name, 2, 8, &[1]),
        (2, SectionFault::Memory { size: 0x2000 })
    );
    assert_eq!(
        fault(name, 2, 8, &(u64::MAX - 0xfff).to_le_bytes()),
        (2, SectionFault::Memory { size: 0x2000 })
    );
    assert_eq!(
        fault(name, 2, 16, &(1_u64 << 51).to_le_bytes()),
        (2, SectionFault::Memory { size: 1 << 51 })
    );
    assert_eq!(
        fault(name, 3, 8, &0x811000_u64.to_le_bytes()),
        (3, SectionFault::Overlap { other: 2 })
    );
    assert_eq!(
        fault(name, 0, 28, &[3]),
        (0, SectionFault::Attributes { attributes: 3 })
    );
    assert_eq!(with_field(name, 0, 28, &[0]), TdvfError::NothingMeasured);
}

#[test]
fn metadata_of_another_format_is_refused() {
    let parse = |change: &dyn Fn(&mut Vec<u8>, usize)| {
        let mut image = read("tdx-ovmf-like.fd");
        let start = image.len() - DESCRIPTOR;
        change(&mut image, start);
        Tdvf::from_image(&image).unwrap_err()
    };
    let field = |what, found, wanted| TdvfError::Metadata {
        what,
        found,
        wanted,
    };
    assert_eq!(
        parse(&|image, at| image[at + 8] = 2),
        field("version", 2, 1)
    );
    assert_eq!(
        parse(&|image, at| image[at + 12] = 6),
        field("length", 176, 208)
    );
    assert_eq!(
        parse(&|image, at| image[at + 13] = 2),
        field("count", 517, 256)
    );
    assert!(matches!(
        parse(&|image, at| image[at] = b'X'),
        TdvfError::Metadata {
            what: "signature",
            ..
        }
    ));
    assert_eq!(
        parse(&|image, _| image.push(0)),
        TdvfError::Table(TableError::NoTable)
    );
    assert_eq!(
        Tdvf::from_image(&[]),
        Err(TdvfError::Table(TableError::NoTable))
    );
    let too_large = vec![0; (64 << 20) + 1];
    assert_eq!(
        Tdvf::from_image(&too_large),
        Err(TdvfError::Size {
            found: too_large.len()
        })
    );
}

/// The entry that points at the descriptor stands before the footer: another name, or a place past the image.
#[test]
fn an_entry_that_points_nowhere_is_refused() {
    let image = read("tdx-ovmf-like.fd");
    let entry = image.len() - 32 - 18 - 16 - 2 - 4;
    let changed = |at: usize, byte: u8| {
        let mut image = image.clone();
        image[at] = byte;
        Tdvf::from_image(&image).unwrap_err()
    };
    assert_eq!(changed(entry + 6, 0), TdvfError::NoMetadata);
    let damaged = TableError::Damaged {
        what: "TDX metadata",
        need: 0x10800,
        have: 0x4000,
    };
    assert_eq!(changed(entry + 2, 1), TdvfError::Table(damaged));
}
