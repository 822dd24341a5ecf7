//! Chains that are none, or do not hold. The report is right in all of them.

use cloister_test_pki::gpu::Gpu;
use cloister_test_pki::{Extension, Key, Parameters};
use x509_cert::der::Decode as _;

use super::scene::{AT, Scene};
use super::{Case, accepted, refused};
use crate::chain::{
    CertificateError, ChainError, FwidError, LinkError, MAX_INPUT, Model, PLACES, RootKey,
    ValidityError,
};
use crate::{Cause, Step};

/// The least that is PEM: 28, 5 and 26 bytes.
const SMALL: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn unread(error: ChainError) -> Vec<(Step, Cause)> {
    vec![(Step::Structure, Cause::Certificates(error))]
}

fn pem() -> String {
    Gpu::new("made").unwrap().chain_pem().unwrap()
}

/// The chain of the scene's GPU, signed anew, in PEM that is changed.
fn text(change: fn(String) -> String) -> impl Fn(&mut Scene) {
    move |s| s.chain = Box::new(move |bytes| *bytes = change(pem()).into_bytes())
}

/// Another input.
fn input(bytes: impl Into<Vec<u8>>) -> impl Fn(&mut Scene) {
    let input = bytes.into();
    move |s| {
        let input = input.clone();
        s.chain = Box::new(move |bytes| bytes.clone_from(&input));
    }
}

fn certificates_are(change: fn(&mut Vec<Vec<u8>>)) -> impl Fn(&mut Scene) {
    move |s| s.certificates = Box::new(change)
}

pub(super) fn containers() -> Vec<Case> {
    let count = |found| unread(ChainError::Count { found });
    let stray = |offset| unread(ChainError::Stray { offset });
    let broken = |number| unread(ChainError::Pem { number });
    let found = MAX_INPUT + 1;
    let twice = |text: String| text.clone() + &text;
    vec![
        accepted("PEM", text(|text| text)),
        accepted(
            "PEM with white space",
            text(|text| format!("\r\n {text}\t\n")),
        ),
        accepted("PEM in a buffer", text(|text| text + &"\0".repeat(600))),
        refused(
            "a byte too long",
            input(vec![0; found]),
            unread(ChainError::TooLarge { found }),
        ),
        refused("nothing", input([]), count(0)),
        refused("four", certificates_are(|all| drop(all.pop())), count(4)),
        refused(
            "six",
            certificates_are(|all| all.push(all[4].clone())),
            count(6),
        ),
        refused("ten in PEM", text(twice), count(6)),
        refused("two in PEM", input(SMALL.repeat(2)), count(2)),
        refused(
            "the last not closed",
            text(|text| text.trim_end().trim_end_matches('-').to_owned()),
            broken(5),
        ),
        refused(
            "not base64",
            input(SMALL.replace("AAAA", "A?AA")),
            broken(1),
        ),
        refused(
            "the second not base64",
            input([SMALL, &SMALL.replace("AAAA", "AAA")].concat()),
            broken(2),
        ),
        refused("text behind", input(SMALL.to_owned() + "abc"), stray(59)),
        refused(
            "a key behind",
            input(SMALL.to_owned() + "-----BEGIN EC PRIVATE KEY-----"),
            stray(59),
        ),
        refused("text before", input("leaf\n".to_owned() + SMALL), stray(0)),
        refused(
            "a byte behind a sequence",
            input([0x30, 1, 0, 0xff]),
            stray(3),
        ),
        refused(
            "a sequence that passes the end",
            input([0x30, 3, 0, 0]),
            stray(0),
        ),
        refused("a set", input([0x31, 0]), stray(0)),
    ]
}

pub(super) fn certificates() -> Vec<Case> {
    let reason = x509_cert::Certificate::from_der(&[0x30, 0]).unwrap_err();
    let reason = reason.to_string();
    let oid = |oid: &str| oid.to_owned();
    let mut cases = vec![
        refused(
            "an empty sequence",
            certificates_are(|all| all[3] = vec![0x30, 0]),
            wrong("identity", CertificateError::Der { reason }),
        ),
        // BOOLEAN FALSE, which DER leaves out where it is the default.
        refused(
            "not strict",
            certificates_are(|all| {
                let critical = [0x55, 0x1d, 0x0f, 1, 1, 0xff];
                let mut places = all[0].windows(6);
                let place = places.position(|bytes| bytes == critical).unwrap();
                all[0][place + 5] = 0;
            }),
            wrong("leaf", CertificateError::NotStrict),
        ),
        refused(
            "version 1",
            |s| s.gpu.certificates[4].version = 0,
            wrong("root", CertificateError::Version),
        ),
        refused(
            "a P-256 key",
            |s| s.gpu.keys[1] = Key::p256().unwrap(),
            wrong("BROM", CertificateError::Key),
        ),
        refused(
            "a critical extension that is not known",
            |s| {
                let extension = Extension::critical("1.2.3.4", vec![5, 0]);
                s.gpu.certificates[2].extensions.push(extension);
            },
            wrong(
                "provisioner",
                CertificateError::Critical {
                    oid: oid("1.2.3.4"),
                },
            ),
        ),
        refused(
            "FWID twice",
            |s| {
                let extensions = &mut s.gpu.certificates[0].extensions;
                extensions.push(extensions[1].clone());
            },
            wrong(
                "leaf",
                CertificateError::Twice {
                    oid: oid("2.23.133.5.4.1"),
                },
            ),
        ),
    ];
    cases.extend(algorithms());
    cases
}

fn wrong(place: &'static str, error: CertificateError) -> Vec<(Step, Cause)> {
    unread(ChainError::Certificate { place, error })
}

fn algorithms() -> [Case; 4] {
    let algorithm = |found: &str| CertificateError::Algorithm {
        found: found.to_owned(),
    };
    let sha384 = "1.2.840.10045.4.3.3";
    let sha256 = "1.2.840.10045.4.3.2";
    let signed = |place: usize, inner, outer| {
        move |s: &mut Scene| {
            s.gpu.certificates[place].inner = inner;
            s.gpu.certificates[place].outer = outer;
        }
    };
    [
        refused(
            "SHA-256",
            signed(1, Parameters::EcdsaSha256, Parameters::EcdsaSha256),
            wrong("BROM", algorithm(sha256)),
        ),
        refused(
            "two algorithms",
            signed(0, Parameters::EcdsaSha384, Parameters::EcdsaSha256),
            wrong("leaf", algorithm(&format!("{sha384} and {sha256}"))),
        ),
        refused(
            "parameters",
            signed(2, Parameters::EcdsaSha384Null, Parameters::EcdsaSha384Null),
            wrong("provisioner", algorithm(sha384)),
        ),
        refused(
            "parameters in one place",
            signed(2, Parameters::EcdsaSha384, Parameters::EcdsaSha384Null),
            wrong("provisioner", algorithm(sha384)),
        ),
    ]
}

fn broken(error: LinkError) -> Vec<(Step, Cause)> {
    vec![(Step::Chain, Cause::Chain(error))]
}

fn named(common_name: &str) -> String {
    format!("CN={common_name},O=Cloister Tests")
}

pub(super) fn links() -> Vec<Case> {
    let mut cases = vec![
        refused(
            "a leaf with the CA flag",
            |s| {
                let extensions = &mut s.gpu.certificates[0].extensions;
                extensions.push(Extension::authority(None));
            },
            broken(LinkError::LeafIsAuthority),
        ),
        refused(
            "the wrong way round",
            certificates_are(|all| all.reverse()),
            vec![
                (
                    Step::Model,
                    Cause::Model {
                        found: Model::Unknown,
                    },
                ),
                (Step::Chain, Cause::Chain(LinkError::LeafIsAuthority)),
                (Step::Fwid, Cause::LeafFwid(FwidError::Absent)),
                (Step::Signature, Cause::Signature),
            ],
        ),
        refused(
            "the leaf of another GPU",
            certificates_are(|all| {
                all[0] = Gpu::new("other").unwrap().chain().unwrap().remove(0);
            }),
            vec![
                (
                    Step::Chain,
                    Cause::Chain(LinkError::Signature { place: "leaf" }),
                ),
                (Step::Fwid, Cause::LeafFwid(FwidError::Form)),
                (Step::Signature, Cause::Signature),
            ],
        ),
    ];
    cases.extend(roots());
    cases.extend((0..5).flat_map(issued));
    cases.extend((1..5).flat_map(authority));
    cases.extend(usages());
    cases.extend(path_lengths());
    cases
}

fn roots() -> Vec<Case> {
    let root = || {
        broken(LinkError::Root {
            found: named("NVIDIA Device Identity CA"),
        })
    };
    vec![
        refused(
            "another root with the same name",
            |s| s.gpu = Gpu::under("other root", "made").unwrap(),
            root(),
        ),
        refused(
            "NVIDIA's root alone",
            |s| s.roots = vec![RootKey::nvidia()],
            root(),
        ),
        refused("no root", |s| s.roots.clear(), root()),
    ]
}

/// The certificate of a place: another issuer, and a signature of nobody.
fn issued(place: usize) -> [Case; 2] {
    let name = PLACES[place];
    let subjects = [
        "GH100 A01 GSP BROM",
        "NVIDIA GH100 Provisioner ICA 1",
        "NVIDIA GH100 Identity",
        "NVIDIA Device Identity CA",
        "NVIDIA Device Identity CA",
    ];
    [
        refused(
            format!("{name}: issuer"),
            move |s| s.gpu.certificates[place].issuer = "nobody".to_owned(),
            broken(LinkError::Issuer {
                place: name,
                wanted: named(subjects[place]),
                found: named("nobody"),
            }),
        ),
        refused(
            format!("{name}: signature"),
            move |s| {
                s.certificates = Box::new(move |all| *all[place].last_mut().unwrap() ^= 1);
            },
            broken(LinkError::Signature { place: name }),
        ),
    ]
}

/// The certificate of a place as an authority: without the flag, and with a key that is not for certificates.
fn authority(place: usize) -> [Case; 4] {
    let name = PLACES[place];
    let no_flag = || broken(LinkError::NotAuthority { place: name });
    let usage = || {
        broken(LinkError::KeyUsage {
            place: name,
            wanted: "keyCertSign",
        })
    };
    [
        refused(
            format!("{name}: no constraints"),
            move |s| drop(s.gpu.certificates[place].extensions.remove(0)),
            no_flag(),
        ),
        refused(
            format!("{name}: CA flag off"),
            move |s| s.gpu.certificates[place].extensions[0].value = vec![0x30, 0],
            no_flag(),
        ),
        refused(
            format!("{name}: no key usage"),
            move |s| drop(s.gpu.certificates[place].extensions.remove(1)),
            usage(),
        ),
        refused(
            format!("{name}: signs all but certificates"),
            move |s| s.gpu.certificates[place].extensions[1].value = vec![3, 2, 1, 0xfa],
            usage(),
        ),
    ]
}

fn usages() -> [Case; 3] {
    let usage = || {
        broken(LinkError::KeyUsage {
            place: "leaf",
            wanted: "digitalSignature",
        })
    };
    let signs = |value: Vec<u8>| {
        move |s: &mut Scene| {
            s.gpu.certificates[0].extensions[0].value = value.clone();
        }
    };
    [
        refused(
            "leaf: no key usage",
            |s| drop(s.gpu.certificates[0].extensions.remove(0)),
            usage(),
        ),
        refused(
            "leaf: signs certificates alone",
            signs(vec![3, 2, 2, 4]),
            usage(),
        ),
        accepted("leaf: signs and agrees on keys", signs(vec![3, 2, 3, 0x88])),
    ]
}

/// As many authorities below as each allows, and one more.
fn path_lengths() -> Vec<Case> {
    let limit = |place: usize, limit: u8| {
        move |s: &mut Scene| {
            s.gpu.certificates[place].extensions[0] = Extension::authority(Some(limit));
        }
    };
    let mut cases: Vec<Case> = (1..5)
        .zip(0..)
        .map(|(place, below)| {
            accepted(
                format!("{}: path length {below}", PLACES[place]),
                limit(place, below),
            )
        })
        .collect();
    cases.extend((2..5).zip(1..).map(|(place, found)| {
        let error = LinkError::PathLength {
            place: PLACES[place],
            limit: found - 1,
            found,
        };
        let name = format!("{}: path length {}", PLACES[place], found - 1);
        refused(name, limit(place, found - 1), broken(error))
    }));
    cases
}

/// Each certificate by itself is valid for 20 seconds around a moment; the others are for decades.
pub(super) fn validity() -> Vec<Case> {
    let case = |(place, at): (usize, u64)| {
        let (not_before, not_after) = (AT - 10, AT + 10);
        let edit = move |s: &mut Scene| {
            s.gpu.certificates[place].validity = (not_before, not_after);
            s.at = at;
        };
        let name = format!("{}: {} s", PLACES[place], i128::from(at) - i128::from(AT));
        if (not_before..=not_after).contains(&at) {
            return accepted(name, edit);
        }
        let error = ValidityError {
            place: PLACES[place],
            not_before,
            not_after,
            at,
        };
        refused(name, edit, vec![(Step::Validity, Cause::Validity(error))])
    };
    let times = [AT - 11, AT - 10, AT + 10, AT + 11];
    let all = (0..5).flat_map(|place| times.map(|at| (place, at)));
    all.map(case).collect()
}
