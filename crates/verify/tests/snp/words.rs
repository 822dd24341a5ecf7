//! What the verdict says of a report: names that a policy has, levels, bits, platform and recipe.

use cloister_verify::policy::PolicyFile;

use crate::scene::{Scene, reference};

/// Wanted and found of a check.
fn said(scene: &Scene, check: &str) -> (String, String) {
    let verdict = scene.verdict();
    let check = verdict.check(check).unwrap();
    (check.wanted.clone(), check.found.clone())
}

/// Has the policy of a file with this line in its table.
fn set_policy(scene: &mut Scene, line: &str) {
    let text = format!("schema-version = 1\n[snp]\n{line}\n");
    scene.policy = PolicyFile::from_toml(&text).unwrap().snp;
}

#[test]
fn verdict_has_platform_and_recipe_of_the_reference_values() {
    let mut scene = Scene::genoa();
    let verdict = scene.verdict();
    assert_eq!((verdict.platform.as_str(), verdict.recipe), ("snp", None));
    scene.reference = Some(reference(None));
    let verdict = scene.verdict();
    assert!(verdict.accepted, "{verdict}");
    assert_eq!(verdict.platform, "qemu-snp");
    assert_eq!(verdict.recipe.as_deref(), Some("demo"));
    let first = "accepted: recipe `demo` on `qemu-snp`, evidence, confidential";
    assert_eq!(verdict.to_string().lines().next(), Some(first));
}

#[test]
fn features_and_demands_have_the_names_of_the_policy_file() {
    let features = [
        "tsme",
        "ecc",
        "rapl-off",
        "ciphertext-hiding",
        "alias-check",
        "sev-tio",
    ];
    let demands = [
        "single-socket",
        "aes-256-xts",
        "rapl-off",
        "ciphertext-hiding",
        "page-swap-off",
    ];
    let mut checked = 0;
    for (key, check, bits, names) in [
        (
            "platform-info-required",
            "platform-info",
            "0x0",
            &features[..],
        ),
        (
            "guest-policy-required",
            "policy-required",
            "0x30000",
            &demands[..],
        ),
    ] {
        for name in names {
            let mut scene = Scene::genoa();
            scene.report.set(0x40, &[0]);
            set_policy(&mut scene, &format!("{key} = [\"{name}\"]"));
            let found = format!("{bits}, without {name}");
            assert_eq!(said(&scene, check), ((*name).to_owned(), found));
            checked += 1;
        }
    }
    assert_eq!(checked, 11);
    // Two of them, one of which is there.
    let mut scene = Scene::genoa();
    set_policy(&mut scene, "platform-info-required = [\"ecc\", \"tsme\"]");
    let wanted = ("ecc, tsme".to_owned(), "0x25, without tsme".to_owned());
    scene.report.set(0x40, &[0x25]);
    assert_eq!(said(&scene, "platform-info"), wanted);
}

/// The change, the check, and what it then wants and finds.
type Case = (fn(&mut Scene), &'static str, &'static str, &'static str);

const CASES: [Case; 11] = [
    (|_| {}, "signing-key", "vcek", "vcek"),
    (
        |s| set_policy(s, "signing-keys = [\"vlek\", \"vcek\"]"),
        "signing-key",
        "vlek or vcek",
        "vcek",
    ),
    (
        |_| {},
        "vek-extensions",
        "extensions of a vcek of Genoa",
        "extensions of a vcek of Genoa",
    ),
    (
        |_| {},
        "chain",
        "a chain to the pinned ARK of Genoa",
        "a chain to the pinned ARK of Genoa",
    ),
    (
        |_| {},
        "tcb-vek",
        "fmc 0 bootloader 10 tee 0 snp 23 microcode 84",
        "fmc 0 bootloader 10 tee 0 snp 23 microcode 84",
    ),
    (
        |s| s.report.set(0x1f6, &[22]),
        "tcb-floor-launch",
        "fmc 0 bootloader 0 tee 0 snp 23 microcode 0 or later (2025-02-03, AMD-SB-3019, CVE-2024-56161 (EntrySign): microcode signatures could be forged)",
        "fmc 0 bootloader 10 tee 0 snp 22 microcode 84",
    ),
    (|_| {}, "platform-info", "alias-check", "0x25"),
    (
        |s| s.report.set(0x40, &[0xbf]),
        "platform-info",
        "alias-check",
        "0xbf",
    ),
    (
        |s| s.report.set(0x40, &[0x65]),
        "platform-info",
        "alias-check",
        "0x65 (bits 0x40 have no known meaning)",
    ),
    (
        |s| s.report.set(0x40, &[0x25, 3]),
        "platform-info",
        "alias-check",
        "0x325 (bits 0x300 have no known meaning)",
    ),
    (
        |s| {
            s.report.set(0x40, &[0x40]);
            set_policy(s, "platform-info-required = []")
        },
        "platform-info",
        "nothing in particular",
        "0x40 (bits 0x40 have no known meaning)",
    ),
];

#[test]
fn checks_tell_levels_names_and_bits() {
    for (change, check, wanted, found) in CASES {
        let mut scene = Scene::genoa();
        change(&mut scene);
        let told = said(&scene, check);
        assert_eq!(told, (wanted.to_owned(), found.to_owned()), "{check}");
    }
    let vlek = said(&Scene::vlek(), "signing-key");
    assert_eq!(vlek, ("vlek".to_owned(), "vlek".to_owned()));
    let (wanted, _) = said(&Scene::vlek(), "vek-extensions");
    assert_eq!(wanted, "extensions of a vlek of Genoa");
    let (_, found) = said(&Scene::turin(), "tcb-vek");
    assert_eq!(found, "fmc 1 bootloader 1 tee 1 snp 4 microcode 200");
}
