//! The `sev` crate on the same made-up machines: it checks signatures of report and chain, under whatever root it is given. What it refuses
//! we refuse; what it takes and we do not is counted by place, and each place is explained in `docs/verification.md`.

use std::collections::BTreeMap;

use cloister_verify::snp::Product;
use sev::certs::snp::{Certificate, Chain, Verifiable as _, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;

use crate::scene::{Scene, World, world};

/// Whether `sev` takes report and VCEK; both authorities are right.
fn peer(report: &[u8], vek: &[u8], authorities: &ca::Chain) -> bool {
    let judged = || {
        let report = AttestationReport::from_bytes(report).ok()?;
        let chain = Chain {
            ca: authorities.clone(),
            vek: Certificate::from_der(vek).ok()?,
        };
        (&authorities.ask, &chain.vek).verify().ok()?;
        (&chain.vek, &report).verify().ok()
    };
    judged().is_some()
}

fn authorities(world: &World) -> ca::Chain {
    let read = |der: &[u8]| Certificate::from_der(der).unwrap();
    let chain = ca::Chain {
        ark: read(&world.ark),
        ask: read(&world.ask),
    };
    chain.verify().unwrap();
    chain
}

/// Names the part of a report that `offset` lies in.
fn place(offset: usize) -> &'static str {
    match offset {
        0x38..0x40 | 0x180..0x188 | 0x1e0..0x1e8 | 0x1f0..0x1f8 => "TCB",
        0..0x2a0 => "other signed bytes",
        0x2a0..0x2d0 | 0x2e8..0x318 => "signature",
        0x2d0..0x2e8 | 0x318..0x330 => "padding of the signature",
        _ => "reserved bytes behind the signature",
    }
}

type Differences = BTreeMap<&'static str, usize>;

/// Flips a bit in every byte of the report; gives how many the peer took, by place.
fn reports(scene: &Scene, ca: &ca::Chain) -> Differences {
    let (report, vek) = (scene.signed_report(), scene.signed_vek());
    let mut taken = Differences::new();
    for at in 0..report.len() {
        let mut forged = report.clone();
        forged[at] ^= 1 << (at % 8);
        let ours = scene.judge(&forged, &vek).accepted;
        assert!(!ours, "byte {at:#x} of the report");
        if peer(&forged, &vek, ca) {
            *taken.entry(place(at)).or_default() += 1;
        }
    }
    taken
}

/// The same for the certificate.
fn certificates(scene: &Scene, ca: &ca::Chain) -> usize {
    let (report, vek) = (scene.signed_report(), scene.signed_vek());
    let flipped = (0..vek.len()).filter(|at| {
        let mut forged = vek.clone();
        forged[*at] ^= 1 << (at % 8);
        let ours = scene.judge(&report, &forged).accepted;
        assert!(!ours, "byte {at} of the VCEK");
        peer(&report, &forged, ca)
    });
    flipped.count()
}

#[test]
fn what_sev_refuses_is_refused_and_what_it_takes_beside_is_explained() {
    for (scene, product, reserved) in [
        (Scene::genoa(), Product::Genoa, 4),
        (Scene::turin(), Product::Turin, 3),
    ] {
        let ca = authorities(world(product));
        let (report, vek) = (scene.signed_report(), scene.signed_vek());
        assert!(peer(&report, &vek, &ca), "{product:?}");
        assert!(scene.judge(&report, &vek).accepted, "{product:?}");
        let wanted = [
            // Each of four has bytes of no component, which the peer zeroes before it hashes.
            ("TCB", 4 * reserved),
            // Those and the next the peer does not read.
            ("padding of the signature", 48),
            ("reserved bytes behind the signature", 368),
        ];
        assert_eq!(reports(&scene, &ca), wanted.into(), "{product:?}");
        // Parameters of the outer signature algorithm, and how many bits of the signature are unused.
        assert_eq!(certificates(&scene, &ca), 57 + 1, "{product:?}");
    }
}
