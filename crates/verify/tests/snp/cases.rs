//! The cases of [`crate::checks`]: one thing made right in another way, or wrong.

use cloister_test_pki::snp::{NOT_AFTER, NOT_BEFORE, Vek};
use cloister_test_pki::{Extension, Parameters};
use cloister_verify::policy::Hex;
use cloister_verify::snp::{Abi, GuestDemand, PlatformFeature, Product, SigningKey, Tcb};

use crate::scene::{NOW, Scene, genoa_vek, reference, stranger, turin_vek, world};

/// What a case changes, and which checks then fail.
pub(crate) type Case = (&'static str, fn(&mut Scene), &'static [&'static str]);

pub(crate) fn set_policy_bits(scene: &mut Scene, bits: u64) {
    scene.report.set(8, &(0x3_0000 | bits).to_le_bytes());
}

pub(crate) fn set_vek(scene: &mut Scene, edit: impl FnOnce(&mut Vek)) {
    let mut vek = match scene.product {
        Product::Turin => turin_vek(),
        _ => genoa_vek(),
    };
    edit(&mut vek);
    scene.vek = world(scene.product).amd.vcek_certificate(&vek);
}

pub(crate) fn set_crl(scene: &mut Scene, edit: impl FnOnce(&mut cloister_test_pki::Crl)) {
    let mut crl = world(scene.product).amd.crl();
    edit(&mut crl);
    scene.crl = Some(crl);
}

pub(crate) fn octets(bytes: &[u8]) -> Vec<u8> {
    [&[4, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

pub(crate) const ACCEPTED: &[Case] = &[
    ("as it is", |_| {}, &[]),
    (
        "hwid in an octet string",
        |s| set_vek(s, |vek| vek.hwid = Some(octets(&[0xc1; 64]))),
        &[],
    ),
    (
        "product name with a stepping",
        |s| set_vek(s, |vek| vek.product_name = "Genoa-B1".to_owned()),
        &[],
    ),
    (
        "pss parameters as der wants them",
        |s| {
            (s.vek.inner, s.vek.outer) =
                (Parameters::PssWithoutTrailer, Parameters::PssWithoutTrailer)
        },
        &[],
    ),
    ("last second", |s| s.at = NOT_AFTER, &[]),
    ("first second", |s| s.at = NOT_BEFORE, &[]),
    (
        "crl",
        |s| {
            set_crl(s, |_| {});
            s.policy.require_crl = true
        },
        &[],
    ),
    (
        "crl with others",
        |s| set_crl(s, |crl| crl.revoked = vec![vec![3], vec![9]]),
        &[],
    ),
    (
        "chip on the list",
        |s| s.policy.chip_ids = vec![Hex([1; 64]), Hex([0xc1; 64])],
        &[],
    ),
    (
        "id key",
        |s| {
            s.report.set(0xe0, &[7; 48]);
            s.policy.id_key_digests = vec![Hex([7; 48])]
        },
        &[],
    ),
    (
        "author key",
        |s| {
            s.report.set(0x110, &[8; 48]);
            s.policy.author_key_digests = vec![Hex([8; 48])]
        },
        &[],
    ),
    (
        "host data",
        |s| {
            s.report.set(0xc0, &[9; 32]);
            s.policy.host_data = Some(Hex([9; 32]))
        },
        &[],
    ),
    (
        "vmpl",
        |s| {
            s.report.set(0x30, &[2]);
            s.policy.vmpl = 2
        },
        &[],
    ),
    (
        "guest svn",
        |s| {
            s.report.set(4, &[2]);
            s.policy.minimum_guest_svn = 2
        },
        &[],
    ),
    (
        "abi",
        |s| {
            set_policy_bits(s, 0x0137);
            s.policy.minimum_abi = Abi {
                major: 1,
                minor: 55,
            }
        },
        &[],
    ),
    (
        "smt refused",
        |s| {
            s.report.set(8, &0x2_0000_u64.to_le_bytes());
            s.policy.allow_smt = false
        },
        &[],
    ),
    (
        "cxl allowed",
        |s| {
            set_policy_bits(s, 1 << 21);
            s.policy.allow_cxl = true
        },
        &[],
    ),
    (
        "demands",
        |s| {
            set_policy_bits(s, 0x1d << 20);
            s.policy.guest_policy_required = vec![
                GuestDemand::SingleSocket,
                GuestDemand::Aes256Xts,
                GuestDemand::RaplOff,
                GuestDemand::CiphertextHiding,
            ];
        },
        &[],
    ),
    (
        "page swap",
        |s| {
            set_policy_bits(s, 1 << 25);
            s.policy.guest_policy_required = vec![GuestDemand::PageSwapOff]
        },
        &[],
    ),
    (
        "platform info",
        |s| {
            s.report.set(0x40, &[0xbe]);
            s.policy.platform_info_required = vec![
                PlatformFeature::Tsme,
                PlatformFeature::Ecc,
                PlatformFeature::RaplOff,
                PlatformFeature::CiphertextHiding,
                PlatformFeature::AliasCheck,
                PlatformFeature::SevTio,
            ];
        },
        &[],
    ),
    (
        "own floor, lower",
        |s| {
            for offset in [0x38, 0x180, 0x1e0, 0x1f0] {
                s.report.set(offset, &[9, 0, 0, 0, 0, 0, 20, 70]);
            }
            set_vek(s, |vek| vek.spls = vec![(1, 9), (2, 0), (3, 20), (8, 70)]);
            s.policy.tcb_floor.insert(
                Product::Genoa,
                Tcb {
                    bootloader: 9,
                    snp: 20,
                    microcode: 70,
                    ..Tcb::default()
                },
            );
        },
        &[],
    ),
    (
        "reported below committed below current",
        |s| {
            s.report.set(0x38, &[10, 0, 0, 0, 0, 0, 25, 90]);
            s.report.set(0x1e0, &[10, 0, 0, 0, 0, 0, 24, 84]);
        },
        &[],
    ),
    (
        "reference values",
        |s| s.reference = Some(reference(None)),
        &[],
    ),
    (
        "reference values with id key",
        |s| {
            s.report.set(0xe0, &[7; 48]);
            s.reference = Some(reference(Some([7; 48])))
        },
        &[],
    ),
    (
        "given chain",
        |s| {
            let w = world(s.product);
            s.chain = vec![w.ask.clone(), w.ark.clone(), w.asvk.clone()]
        },
        &[],
    ),
];

pub(crate) const REJECTED: &[Case] = &[
    ("reserved byte", |s| s.report.set(0x4c, &[1]), &["format"]),
    (
        "reserved key bits",
        |s| s.report.set(0x48, &[0x20]),
        &["format"],
    ),
    (
        "reserved after cpuid",
        |s| s.report.set(0x18b, &[1]),
        &["format"],
    ),
    (
        "mitigations in version 3",
        |s| s.report.set(0x1f8, &[1]),
        &["format"],
    ),
    (
        "reserved before the signature",
        |s| s.report.set(0x29f, &[1]),
        &["format"],
    ),
    ("other algorithm", |s| s.report.set(0x34, &[2]), &["format"]),
    ("version 4", |s| s.report.set(0, &[4]), &["format"]),
    (
        "version not named",
        |s| s.policy.report_versions = vec![5],
        &["report-version"],
    ),
    (
        "venice",
        |s| s.report.set(0x188, &[0x1a, 0x50]),
        &["product"],
    ),
    (
        "family of nobody",
        |s| s.report.set(0x188, &[0x17, 0x11]),
        &["product"],
    ),
    (
        "line not named",
        |s| s.policy.products = vec![Product::Turin],
        &["product-allowed"],
    ),
    (
        "vcek where a vlek is wanted",
        |s| s.policy.signing_keys = vec![SigningKey::Vlek],
        &["signing-key"],
    ),
    (
        "unsigned",
        |s| s.report.set(0x48, &[7 << 2]),
        &["signing-key"],
    ),
    (
        "key of no kind",
        |s| s.report.set(0x48, &[3 << 2]),
        &["signing-key"],
    ),
    (
        "vlek claimed for a vcek",
        |s| s.report.set(0x48, &[1 << 2]),
        &["signing-key", "chain", "vek-extensions"],
    ),
    (
        "reserved tcb byte",
        |s| s.report.set(0x1f2, &[1]),
        &["tcb-format"],
    ),
    (
        "certificate of nothing",
        |s| s.vek_bytes = Some(b"hello".to_vec()),
        &["vek-format"],
    ),
    (
        "rsa certificate",
        |s| s.vek_bytes = Some(world(s.product).ask.clone()),
        &["vek-format"],
    ),
    (
        "version 1 certificate",
        |s| s.vek.version = 0,
        &["vek-format"],
    ),
    (
        "salt of 32 bytes",
        |s| (s.vek.inner, s.vek.outer) = (Parameters::PssSalt32, Parameters::PssSalt32),
        &["vek-format"],
    ),
    (
        "pss without parameters",
        |s| (s.vek.inner, s.vek.outer) = (Parameters::PssBare, Parameters::PssBare),
        &["vek-format"],
    ),
    (
        "other algorithm outside",
        |s| s.vek.outer = Parameters::RsaPkcs1Sha256,
        &["vek-format"],
    ),
    (
        "unknown critical extension",
        |s| {
            s.vek
                .extensions
                .push(Extension::critical("1.2.3.4", vec![5, 0]))
        },
        &["vek-format"],
    ),
    (
        "repeated extension",
        |s| s.vek.extensions.push(s.vek.extensions[0].clone()),
        &["vek-format"],
    ),
    (
        "certificate by a stranger",
        |s| s.issuer = Some(&stranger().0),
        &["chain"],
    ),
    (
        "certificate by the asvk",
        |s| s.issuer = Some(&world(s.product).amd.asvk),
        &["chain"],
    ),
    (
        "certificate by the ark",
        |s| s.issuer = Some(&world(s.product).amd.ark),
        &["chain"],
    ),
    (
        "issuer of another name",
        |s| s.vek.issuer = "SEV-Milan".to_owned(),
        &["chain"],
    ),
    (
        "wrong ark pinned",
        |s| {
            let amd = &world(s.product).amd;
            let ark = amd
                .ark_certificate()
                .sign(&stranger().0, &stranger().0)
                .unwrap();
            s.roots = Some([
                ark,
                world(s.product).ask.clone(),
                world(s.product).asvk.clone(),
            ]);
        },
        &["chain"],
    ),
    (
        "foreign root given",
        |s| {
            let amd = &world(s.product).amd;
            s.chain = vec![
                amd.ark_certificate()
                    .sign(&stranger().0, &stranger().0)
                    .unwrap(),
            ];
        },
        &["chain"],
    ),
    (
        "ask by a stranger given",
        |s| {
            let amd = &world(s.product).amd;
            s.chain = vec![
                amd.ask_certificate()
                    .sign(&stranger().0, &stranger().0)
                    .unwrap(),
            ];
            s.issuer = Some(&stranger().0);
        },
        &["chain"],
    ),
    (
        "ask without ca flag",
        |s| replace_ask(s, |ask| ask.extensions[0].value = vec![0x30, 0]),
        &["chain"],
    ),
    (
        "ask without constraints",
        |s| replace_ask(s, |ask| drop(ask.extensions.remove(0))),
        &["chain"],
    ),
    (
        "ask without key usage",
        |s| replace_ask(s, |ask| drop(ask.extensions.remove(1))),
        &["chain"],
    ),
    (
        "ask that signs crls only",
        |s| replace_ask(s, |ask| ask.extensions[1].value = vec![3, 2, 1, 2]),
        &["chain"],
    ),
    (
        "ark with path length 0",
        |s| {
            let w = world(s.product);
            let mut ark = w.amd.ark_certificate();
            ark.extensions[1] = Extension::authority(Some(0));
            let ark = ark.sign(&w.amd.ark, &w.amd.ark).unwrap();
            s.roots = Some([ark, w.ask.clone(), w.asvk.clone()]);
        },
        &["chain"],
    ),
    ("too late", |s| s.at = NOT_AFTER + 1, &["validity"]),
    ("too early", |s| s.at = NOT_BEFORE - 1, &["validity"]),
    (
        "expired certificate",
        |s| s.vek.validity.1 = NOW - 1,
        &["validity"],
    ),
    (
        "future certificate",
        |s| s.vek.validity.0 = NOW + 1,
        &["validity"],
    ),
    (
        "expired ask",
        |s| replace_ask(s, |ask| ask.validity.1 = NOW - 1),
        &["validity"],
    ),
    (
        "expired ark",
        |s| {
            let w = world(s.product);
            let mut ark = w.amd.ark_certificate();
            ark.validity.1 = NOW - 1;
            s.roots = Some([
                ark.sign(&w.amd.ark, &w.amd.ark).unwrap(),
                w.ask.clone(),
                w.asvk.clone(),
            ]);
        },
        &["validity"],
    ),
    (
        "ask revoked",
        |s| set_crl(s, |crl| crl.revoked = vec![vec![2]]),
        &["revocation"],
    ),
    (
        "crl too old",
        |s| set_crl(s, |crl| crl.next_update = Some(NOW - 1)),
        &["revocation"],
    ),
    (
        "crl of the future",
        |s| set_crl(s, |crl| crl.this_update = NOW + 1),
        &["revocation"],
    ),
    (
        "crl without end",
        |s| set_crl(s, |crl| crl.next_update = None),
        &["revocation"],
    ),
    (
        "crl of another issuer",
        |s| set_crl(s, |crl| crl.issuer = "ARK-Milan".to_owned()),
        &["revocation"],
    ),
    (
        "crl by a stranger",
        |s| {
            set_crl(s, |_| {});
            s.crl_signer = Some(&stranger().0)
        },
        &["revocation"],
    ),
    (
        "crl with a critical extension",
        |s| {
            set_crl(s, |crl| {
                crl.extensions = vec![Extension::critical("2.5.29.28", vec![0x30, 0])]
            })
        },
        &["revocation"],
    ),
    (
        "certificate of another line",
        |s| set_vek(s, |vek| vek.product_name = "Milan-B0".to_owned()),
        &["vek-extensions"],
    ),
    (
        "struct version of turin",
        |s| set_vek(s, |vek| vek.struct_version = 1),
        &["vek-extensions"],
    ),
    (
        "vcek without hwid",
        |s| set_vek(s, |vek| vek.hwid = None),
        &["vek-extensions"],
    ),
    (
        "vcek with csp id",
        |s| set_vek(s, |vek| vek.csp_id = Some("CN=x".to_owned())),
        &["vek-extensions"],
    ),
    (
        "short hwid",
        |s| set_vek(s, |vek| vek.hwid = Some(vec![0xc1; 8])),
        &["vek-extensions"],
    ),
    (
        "hwid in an octet string, one byte short",
        |s| set_vek(s, |vek| vek.hwid = Some(octets(&[0xc1; 63]))),
        &["vek-extensions"],
    ),
    (
        "hwid in an octet string, one byte more",
        |s| set_vek(s, |vek| vek.hwid = Some(octets(&[0xc1; 65]))),
        &["vek-extensions"],
    ),
    (
        "spare level",
        |s| set_vek(s, |vek| vek.spls[2].1 = 1),
        &["vek-extensions"],
    ),
    (
        "level missing",
        |s| set_vek(s, |vek| vek.spls.truncate(7)),
        &["vek-extensions"],
    ),
    (
        "another chip",
        |s| set_vek(s, |vek| vek.hwid = Some(vec![0xc2; 64])),
        &["hwid"],
    ),
    (
        "masked chip id",
        |s| s.report.set(0x1a0, &[0; 64]),
        &["hwid"],
    ),
    (
        "masked chip id and hwid of zeros",
        |s| {
            s.report.set(0x1a0, &[0; 64]);
            set_vek(s, |vek| vek.hwid = Some(vec![0; 64]))
        },
        &["hwid"],
    ),
    (
        "other levels in the certificate",
        |s| set_vek(s, |vek| vek.spls[0].1 = 11),
        &["tcb-vek"],
    ),
    (
        "reported above committed",
        |s| {
            s.report.set(0x180, &[11]);
            set_vek(s, |vek| vek.spls[0].1 = 11)
        },
        &["tcb-order"],
    ),
    (
        "committed above current",
        |s| s.report.set(0x38, &[9]),
        &["tcb-order"],
    ),
    (
        "launched by old firmware",
        |s| s.report.set(0x1f6, &[22]),
        &["tcb-floor-launch"],
    ),
    (
        "launched with old microcode",
        |s| s.report.set(0x1f7, &[83]),
        &["tcb-floor-launch"],
    ),
    (
        "floor of the policy",
        |s| {
            s.policy.tcb_floor = [(
                Product::Genoa,
                Tcb {
                    snp: 27,
                    ..Tcb::default()
                },
            )]
            .into()
        },
        &["tcb-floor-committed", "tcb-floor-launch"],
    ),
    (
        "committed to old firmware",
        |s| {
            for offset in [0x180, 0x1e0] {
                s.report.set(offset, &[10, 0, 0, 0, 0, 0, 22, 84]);
            }
            set_vek(s, |vek| vek.spls[6].1 = 22);
        },
        &["tcb-floor-committed"],
    ),
    (
        "mitigations of version 5",
        |s| s.policy.launch_mitigations = 1,
        &["mitigation-vector"],
    ),
    ("debug", |s| set_policy_bits(s, 1 << 19), &["debug"]),
    (
        "migration",
        |s| set_policy_bits(s, 1 << 18),
        &["policy-migration"],
    ),
    (
        "migration agent",
        |s| s.report.set(0x160, &[0; 32]),
        &["policy-migration"],
    ),
    (
        "bit 17 clear",
        |s| s.report.set(8, &0x1_0000_u64.to_le_bytes()),
        &["policy-reserved"],
    ),
    (
        "bit 26 set",
        |s| set_policy_bits(s, 1 << 26),
        &["policy-reserved"],
    ),
    (
        "bit 63 set",
        |s| set_policy_bits(s, 1 << 63),
        &["policy-reserved"],
    ),
    (
        "abi too low",
        |s| {
            set_policy_bits(s, 0x0136);
            s.policy.minimum_abi = Abi {
                major: 1,
                minor: 55,
            }
        },
        &["policy-abi"],
    ),
    ("smt", |s| s.policy.allow_smt = false, &["policy-smt"]),
    ("cxl", |s| set_policy_bits(s, 1 << 21), &["policy-cxl"]),
    (
        "demand",
        |s| s.policy.guest_policy_required = vec![GuestDemand::SingleSocket],
        &["policy-required"],
    ),
    (
        "no alias check",
        |s| s.report.set(0x40, &[0x05]),
        &["platform-info"],
    ),
    ("vmpl 1", |s| s.report.set(0x30, &[1]), &["vmpl"]),
    (
        "guest svn too low",
        |s| s.policy.minimum_guest_svn = 1,
        &["guest-svn"],
    ),
    (
        "no id key",
        |s| s.policy.id_key_digests = vec![Hex([7; 48])],
        &["id-key"],
    ),
    (
        "no author key",
        |s| s.policy.author_key_digests = vec![Hex([7; 48])],
        &["author-key"],
    ),
    (
        "other host data",
        |s| s.policy.host_data = Some(Hex([7; 32])),
        &["host-data"],
    ),
    (
        "chip not on the list",
        |s| s.policy.chip_ids = vec![Hex([7; 64])],
        &["chip-id"],
    ),
    (
        "other guest policy",
        |s| {
            s.reference = Some(reference(None));
            set_policy_bits(s, 1 << 20)
        },
        &["guest-policy"],
    ),
    (
        "id key not in the reference values",
        |s| {
            s.reference = Some(reference(None));
            s.report.set(0xe0, &[7; 48])
        },
        &["guest-policy"],
    ),
    (
        "id key missing",
        |s| s.reference = Some(reference(Some([7; 48]))),
        &["guest-policy"],
    ),
    (
        "vmpl of the reference values",
        |s| {
            s.reference = Some(reference(None));
            s.report.set(0x30, &[1]);
            s.policy.vmpl = 1
        },
        &["guest-policy"],
    ),
    (
        "other image",
        |s| s.report.set(0x90, &[1]),
        &["measurement"],
    ),
    (
        "other image than the reference values",
        |s| {
            s.reference = Some(reference(None));
            s.report.set(0x90, &[1])
        },
        &["measurement"],
    ),
    (
        "reference values without launch digests",
        |s| {
            let mut values = reference(None);
            (values.launch_digests, values.launch_policy) = (Vec::new(), None);
            s.reference = Some(values);
        },
        &["measurement"],
    ),
    (
        "no image wanted",
        |s| s.measurement = None,
        &["measurement"],
    ),
    (
        "first byte of the report data",
        |s| s.report.set(0x50, &[1]),
        &["report-data"],
    ),
    (
        "last byte of the report data",
        |s| s.report.set(0x8f, &[1]),
        &["report-data"],
    ),
    (
        "no report data wanted",
        |s| s.report_data = None,
        &["report-data"],
    ),
];

fn replace_ask(scene: &mut Scene, edit: impl FnOnce(&mut cloister_test_pki::Certificate)) {
    let world = world(scene.product);
    let mut ask = world.amd.ask_certificate();
    edit(&mut ask);
    scene.chain = vec![ask.sign(&world.amd.ask, &world.amd.ark).unwrap()];
}
