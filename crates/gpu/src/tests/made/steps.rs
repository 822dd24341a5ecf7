//! Cases of the steps that compare: device, firmware, nonce, versions, signature, mode, measurements.

use cloister_test_pki::gpu::{FIRMWARE, Gpu};

use super::scene::{self, DRIVER, NONCE, OPAQUE, SIGNATURE, VBIOS, other, usual};
use super::{Case, accepted, refused};
use crate::chain::{FwidError, Model};
use crate::report::Feature;
use crate::{Cause, Digest, Mismatch, Step};

/// Where the fields of VBIOS and driver start in the report.
const VBIOS_FIELD: usize = OPAQUE;
const DRIVER_FIELD: usize = OPAQUE + 4 * 4 + 8 + 4 + 5 + 5;

pub(super) fn cases() -> Vec<Case> {
    let all = [
        devices(),
        firmware(),
        nonces(),
        signatures(),
        versions(),
        absent(),
        modes(),
    ];
    all.into_iter().flatten().collect()
}

fn devices() -> Vec<Case> {
    let model = |found| vec![(Step::Model, Cause::Model { found })];
    let named = |place, name: &'static str, found| {
        refused(name, move |s| s.rename(place, name), model(found))
    };
    vec![
        accepted("as it is", |_| {}),
        accepted("another GPU under the root", |s| {
            s.gpu = Gpu::new("other").unwrap();
        }),
        accepted("another revision of the chip", |s| {
            s.rename(0, "GH100 A02 GSP FMC LF");
            s.rename(1, "GH100 A02 GSP BROM");
            s.rename(2, "NVIDIA GH100 Provisioner ICA 7");
        }),
        named(1, "GB100 A01 GSP BROM", Model::Blackwell),
        named(1, "GB202 A01 FSP BROM", Model::Blackwell),
        named(1, "LS_10 A01 SOE BROM", Model::Ls10),
        named(1, "LS10 A01 SOE BROM", Model::Ls10),
        named(1, "GH100 A01 FSP BROM", Model::Unknown),
        named(1, "GH100", Model::Unknown),
        named(1, "AD102 A01 GSP BROM", Model::Unknown),
        named(0, "GH100 A01 FSP FMC LF", Model::Unknown),
        named(0, "GH200 A01 GSP FMC LF", Model::Unknown),
        named(2, "NVIDIA GB100 Provisioner ICA 1", Model::Unknown),
        refused(
            "63 blocks",
            |s| {
                s.unsigned = Box::new(|bytes| {
                    bytes.drain(45 + 63 * 55..45 + 64 * 55);
                    bytes[41] = 63;
                    bytes[42..45].copy_from_slice(&[0x89, 0x0d, 0]); // 3465
                });
            },
            vec![(Step::Model, Cause::Blocks { found: 63 })],
        ),
    ]
}

fn firmware() -> Vec<Case> {
    let form = || vec![(Step::Fwid, Cause::LeafFwid(FwidError::Form))];
    let leaf = |name: &str, edit: fn(&mut Vec<u8>)| {
        refused(
            format!("FWID in the leaf: {name}"),
            move |s| edit(&mut s.gpu.certificates[0].extensions[1].value),
            form(),
        )
    };
    let report = [0xf4; 48];
    vec![
        accepted("an older driver: no FWID", |s| s.report.fwid = None),
        refused(
            "FWID of other firmware",
            move |s| s.report.fwid = Some(report),
            vec![(
                Step::Fwid,
                Cause::Fwid {
                    leaf: FIRMWARE,
                    report,
                },
            )],
        ),
        refused(
            "no FWID in the leaf",
            |s| drop(s.gpu.certificates[0].extensions.pop()),
            vec![(Step::Fwid, Cause::LeafFwid(FwidError::Absent))],
        ),
        refused(
            "no FWID anywhere",
            |s| {
                s.report.fwid = None;
                s.gpu.certificates[0].extensions.pop();
            },
            vec![(Step::Fwid, Cause::LeafFwid(FwidError::Absent))],
        ),
        leaf("empty", Vec::clear),
        leaf("a byte more", |value| value.push(0)),
        leaf("a byte less", |value| value.truncate(value.len() - 1)),
        leaf("version 2", |value| value[5] = 2),
        // The last byte of SHA-384's identifier stands before the OCTET STRING of the digest.
        leaf("SHA-512", |value| {
            *value.iter_mut().nth_back(50).unwrap() = 3
        }),
        leaf("another device", |value| value[100] ^= 1),
    ]
}

fn nonces() -> Vec<Case> {
    let mut found = NONCE;
    found[31] ^= 1;
    vec![
        refused(
            "another nonce",
            move |s| s.report.nonce = found,
            vec![(Step::Nonce, Cause::Nonce { found })],
        ),
        refused(
            "the nonce in the response, which is the GPU's own",
            |s| {
                s.report.nonce = [0; 32];
                s.unsigned = Box::new(|bytes| {
                    bytes[OPAQUE - 34..OPAQUE - 2].copy_from_slice(&NONCE);
                });
            },
            vec![(Step::Nonce, Cause::Nonce { found: [0; 32] })],
        ),
        refused(
            "the wanted nonce put into a signed report",
            move |s| {
                s.report.nonce = found;
                s.signed = Box::new(|bytes| bytes[4..36].copy_from_slice(&NONCE));
            },
            vec![(Step::Signature, Cause::Signature)],
        ),
    ]
}

fn signatures() -> Vec<Case> {
    vec![
        refused(
            "the signature of another GPU",
            |s| {
                s.signed = Box::new(|bytes| {
                    let other = Gpu::new("other").unwrap();
                    let signed = bytes[..SIGNATURE].to_vec();
                    *bytes = other.signed(signed).unwrap();
                });
            },
            vec![(Step::Signature, Cause::Signature)],
        ),
        refused(
            "the signature of the BROM",
            |s| {
                s.signed = Box::new(|bytes| {
                    let brom = &Gpu::new("made").unwrap().keys[1];
                    let signature = brom.sign_report(&bytes[..SIGNATURE]).unwrap();
                    bytes[SIGNATURE..].copy_from_slice(&signature);
                });
            },
            vec![(Step::Signature, Cause::Signature)],
        ),
        refused(
            "the response signed without the request",
            |s| {
                s.signed = Box::new(|bytes| {
                    let leaf = &Gpu::new("made").unwrap().keys[0];
                    let signature = leaf.sign_report(&bytes[37..SIGNATURE]).unwrap();
                    bytes[SIGNATURE..].copy_from_slice(&signature);
                });
            },
            vec![(Step::Signature, Cause::Signature)],
        ),
        refused(
            "a signature of zeros",
            |s| s.signed = Box::new(|bytes| bytes[SIGNATURE..].fill(0)),
            vec![(Step::Signature, Cause::Signature)],
        ),
    ]
}

fn versions() -> Vec<Case> {
    let version = |wanted: &str, found: &str| Cause::Version {
        wanted: wanted.to_owned(),
        found: found.to_owned(),
    };
    let unknown = |found: &str| Cause::Unknown {
        found: found.to_owned(),
    };
    let missing = |wanted: &str| Cause::NoGoldenValues {
        wanted: wanted.to_owned(),
    };
    let pair = || unknown(&format!("{DRIVER} with VBIOS {VBIOS}"));
    vec![
        accepted("the driver and the VBIOS that run", |s| {
            s.driver = Some(DRIVER);
            s.vbios = Some("96.00.9F.00.01");
        }),
        refused(
            "another driver than the one that runs",
            |s| s.driver = Some("550.90.08"),
            vec![(Step::Driver, version("550.90.08", DRIVER))],
        ),
        refused(
            "another VBIOS than the one that runs",
            |s| s.vbios = Some("96.00.9f.00.02"),
            vec![(Step::Vbios, version("96.00.9f.00.02", VBIOS))],
        ),
        refused(
            "a driver without golden values",
            |s| s.golden = Some(scene::golden("580.159.03", VBIOS)),
            vec![
                (Step::Driver, unknown(DRIVER)),
                (Step::Vbios, unknown(VBIOS)),
                (Step::Measurements, pair()),
            ],
        ),
        refused(
            "a VBIOS without golden values",
            |s| s.golden = Some(scene::golden(DRIVER, "96.00.9f.00.02")),
            vec![(Step::Vbios, unknown(VBIOS)), (Step::Measurements, pair())],
        ),
        refused(
            "no golden values",
            |s| s.golden = None,
            vec![
                (Step::Driver, missing("NV_GPU_DRIVER_GH100_550.90.07")),
                (
                    Step::Vbios,
                    missing("NV_GPU_VBIOS_1010_0200_882_96009F0001"),
                ),
                (Step::Measurements, missing("golden-values")),
            ],
        ),
    ]
}

/// A number that no field has stands in the place of one: the report says the same of everything else.
fn absent() -> Vec<Case> {
    let unnamed = |at: usize| {
        move |s: &mut scene::Scene| {
            s.unsigned = Box::new(move |bytes| bytes[at..at + 2].copy_from_slice(&[200, 0]));
        }
    };
    let unknown = Cause::Unknown {
        found: VBIOS.to_owned(),
    };
    vec![
        refused(
            "no driver in the report",
            unnamed(DRIVER_FIELD),
            vec![
                (Step::Driver, Cause::NoVersion),
                (Step::Vbios, unknown),
                (Step::Measurements, Cause::NoVersion),
            ],
        ),
        refused(
            "no VBIOS in the report",
            unnamed(VBIOS_FIELD),
            vec![
                (Step::Vbios, Cause::NoVersion),
                (Step::Measurements, Cause::NoVersion),
            ],
        ),
    ]
}

fn modes() -> Vec<Case> {
    let feature = |name: &str, flag, found| {
        refused(
            name,
            move |s| s.report.feature = Some(flag),
            vec![(Step::FeatureFlag, Cause::Feature { found })],
        )
    };
    vec![
        accepted("older drivers: no FEATURE_FLAG", |s| {
            s.report.feature = None
        }),
        accepted("older drivers: no PROTECTED_PCIE_STATUS", |s| {
            s.report.protected_pcie = None;
        }),
        feature("MPT", 1, Feature::MultiPassthrough),
        feature("PPCIE", 2, Feature::ProtectedPcie),
        refused(
            "protected PCIe enabled",
            |s| s.report.protected_pcie = Some(0xaa),
            vec![(Step::ProtectedPcie, Cause::ProtectedPcie)],
        ),
        refused(
            "everything at once",
            |s| {
                s.report.nonce = [0; 32];
                s.report.feature = Some(2);
                s.report.protected_pcie = Some(0xaa);
                s.signed = Box::new(|bytes| bytes[SIGNATURE] ^= 1);
            },
            vec![
                (Step::Nonce, Cause::Nonce { found: [0; 32] }),
                (Step::Signature, Cause::Signature),
                (
                    Step::FeatureFlag,
                    Cause::Feature {
                        found: Feature::ProtectedPcie,
                    },
                ),
                (Step::ProtectedPcie, Cause::ProtectedPcie),
            ],
        ),
    ]
}

/// Measurements that are `[0xbb; 48]` and should not be.
fn wrong(indices: &[u8], compared: usize) -> Vec<(Step, Cause)> {
    let mismatch = |&index: &u8| mismatch(index, [0xbb; 48]);
    differ(indices.iter().map(mismatch).collect(), compared)
}

fn mismatch(index: u8, found: Digest) -> Mismatch {
    Mismatch {
        index,
        wanted: [usual(index), other(index)].into(),
        found,
    }
}

fn differ(mismatches: Vec<Mismatch>, compared: usize) -> Vec<(Step, Cause)> {
    let cause = Cause::Measurements {
        mismatches,
        compared,
    };
    vec![(Step::Measurements, cause)]
}

pub(super) fn measurements() -> Vec<Case> {
    let measure = |nvdec0: Option<u8>, indices: &'static [u8]| {
        move |s: &mut scene::Scene| {
            s.report.nvdec0 = nvdec0;
            let wrong = indices.iter().map(|index| (*index, [0xbb; 48]));
            s.report.measurements.extend(wrong);
        }
    };
    let mut cases = vec![
        accepted("the other alternatives", |s| {
            for (index, value) in &mut s.report.measurements {
                *value = other(*index);
            }
        }),
        accepted("what no RIM pins", measure(Some(0xaa), &[13, 20, 41, 63])),
        accepted("NVDEC0 disabled: 35", measure(Some(0x55), &[35])),
        accepted("NVDEC0 disabled: all hold", measure(Some(0x55), &[])),
        accepted("no NVDEC0_STATUS: all hold", measure(None, &[])),
        refused(
            "NVDEC0 enabled: 35",
            measure(Some(0xaa), &[35]),
            wrong(&[35], 33),
        ),
        refused(
            "no NVDEC0_STATUS: 35",
            measure(None, &[35]),
            wrong(&[35], 33),
        ),
        refused(
            "NVDEC0 disabled: 34 and 36 as well",
            measure(Some(0x55), &[34, 35, 36]),
            wrong(&[34, 36], 32),
        ),
        refused(
            "two values exchanged",
            exchanged,
            differ(vec![mismatch(2, usual(3)), mismatch(3, usual(2))], 33),
        ),
    ];
    // Every index that a RIM pins, alone.
    for index in scene::indices().concat() {
        let edit = move |s: &mut scene::Scene| {
            s.report.measurements.insert(index, [0xbb; 48]);
        };
        cases.push(refused(format!("index {index}"), edit, wrong(&[index], 33)));
    }
    cases
}

fn exchanged(s: &mut scene::Scene) {
    s.report.measurements.insert(2, usual(3));
    s.report.measurements.insert(3, usual(2));
}
