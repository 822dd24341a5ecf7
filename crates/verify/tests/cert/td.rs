//! TD quotes of a made-up Intel inside certificates of the CCC's form and of Privasys': accepted with everything right, and not otherwise.

use cloister_test_pki::tdx::{Made as Platform, Scene as Unsigned};
use cloister_verify::cert::privasys::{self, ENVIRONMENT, TDX};
use cloister_verify::cert::{Leaf, ccc};
use cloister_verify::collateral::TdxCollateral;
use cloister_verify::snp::{AMD, Endorsements};
use cloister_verify::tdx::{Carried, INTEL, Policy, Roots};
use cloister_verify::verdict::{Conclusion, Outcome, Verdict};
use sha2::{Digest as _, Sha256, Sha512};

use crate::ccc::{claims, tagged};
use crate::intel::intel;
use crate::leaf::{Made, NOW, fails, outcome, plain, spki_sha256};
use crate::published::collateral;

/// Where REPORTDATA stands in the body.
const REPORT_DATA: usize = 520;

/// Has an appraisal hold a TD quote against nothing: none passes.
pub(crate) fn against_nothing<T>(appraise: impl FnOnce(&Carried<'_>) -> T) -> T {
    appraise(&Carried {
        collateral: None,
        reference: None,
        mrtd: None,
        policy: &Policy::default(),
        roots: &INTEL,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Ccc,
    Privasys,
}

/// What is appraised, before anything is signed.
struct Scene {
    form: Form,
    unsigned: Unsigned,
    /// Stands in REPORTDATA instead of what the form wants.
    report_data: Option<[u8; 64]>,
    collateral: bool,
    mrtd: Option<[u8; 48]>,
    policy: Policy,
    /// Intel's own root instead of the one that signed.
    genuine_root: bool,
}

fn scenes() -> [Scene; 4] {
    [
        (Form::Ccc, Unsigned::new()),
        (Form::Ccc, Unsigned::v5()),
        (Form::Privasys, Unsigned::new()),
        (Form::Privasys, Unsigned::v5()),
    ]
    .map(|(form, unsigned)| Scene {
        form,
        unsigned,
        report_data: None,
        collateral: true,
        mrtd: Some([0x3e; 48]),
        policy: Policy::default(),
        genuine_root: false,
    })
}

impl Scene {
    /// What the form has the quote commit to.
    fn wanted(&self) -> [u8; 64] {
        match self.form {
            Form::Ccc => {
                let digest: [u8; 32] = Sha256::digest(claims()).into();
                let mut data = [0; 64];
                data[..32].copy_from_slice(&digest);
                data
            }
            Form::Privasys => {
                Sha512::digest([&spki_sha256()[..], b"2026-11-22T00:00Z"].concat()).into()
            }
        }
    }

    fn platform(&self) -> Platform {
        let mut unsigned = self.unsigned.clone();
        let data = self.report_data.unwrap_or_else(|| self.wanted());
        unsigned.body[REPORT_DATA..REPORT_DATA + 64].copy_from_slice(&data);
        unsigned.make(intel()).unwrap()
    }

    fn leaf(&self, quote: &[u8]) -> Made {
        match self.form {
            Form::Ccc => Made::own(vec![plain(ccc::EXTENSION, tagged(60000, quote, &claims()))]),
            Form::Privasys => Made::own(vec![plain(TDX, quote), plain(ENVIRONMENT, "production")]),
        }
    }

    fn of(&self, platform: &Platform, leaf: &Leaf<'_>) -> Verdict {
        let collateral: Option<TdxCollateral> = self.collateral.then(|| collateral(platform));
        let root = Roots {
            root: &platform.root,
        };
        let carried = Carried {
            collateral: collateral.as_ref(),
            reference: None,
            mrtd: self.mrtd,
            policy: &self.policy,
            roots: if self.genuine_root { &INTEL } else { &root },
        };
        match self.form {
            Form::Ccc => ccc::appraise(leaf, Some(&[0x01, 0x23]), &carried, NOW),
            Form::Privasys => {
                let expected = privasys::Expected {
                    image: None,
                    endorsements: Endorsements::default(),
                    policy: &cloister_verify::snp::Policy::default(),
                    roots: &AMD,
                    tdx: carried,
                };
                privasys::appraise(leaf, &expected, NOW)
            }
        }
    }

    fn verdict(&self) -> Verdict {
        let platform = self.platform();
        let made = self.leaf(&platform.quote);
        made.with(&made.der(), |leaf| self.of(&platform, leaf))
    }
}

#[test]
fn a_genuine_quote_over_the_key_is_accepted() {
    for scene in scenes() {
        let verdict = scene.verdict();
        assert_eq!(verdict.conclusion, Conclusion::Accepted, "{verdict}");
        assert!(verdict.confidential);
        for name in ["td-quote-signature", "tcb-level", "debug", "mrtd"] {
            assert_eq!(outcome(&verdict, name), Outcome::Pass, "{name}\n{verdict}");
        }
        assert!(verdict.check("quote").is_none(), "{verdict}");
        if scene.form == Form::Ccc {
            let version = scene.unsigned.header[0];
            let found = &verdict.check("quote-format").unwrap().found;
            assert_eq!(found, &format!("TDX quote of version {version}"));
        }
    }
}

/// Changes a scene in one place.
type Edit = fn(&mut Scene);

#[test]
fn each_demand_rejects() {
    let cases: [(Edit, &[&str]); 6] = [
        (|s| s.mrtd = Some([0x3f; 48]), &["mrtd"]),
        (|s| s.mrtd = None, &["mrtd", "rtmr"]),
        (|s| s.unsigned.body[120] |= 1, &["debug"]),
        (|s| s.policy.tcb_statuses.clear(), &["tcb-status"]),
        (|s| s.policy.mr_owner.0 = [1; 48], &["mr-owner"]),
        (|s| s.genuine_root = true, &["pck-chain"]),
    ];
    let mut checked = 0;
    for (edit, names) in cases {
        for mut scene in scenes() {
            edit(&mut scene);
            fails(&scene.verdict(), names);
            checked += 1;
        }
    }
    assert_eq!(checked, 24);
}

#[test]
fn the_quote_must_commit_to_this_certificate() {
    for mut scene in scenes() {
        let mut data = scene.wanted();
        // The last byte is zero in one form, and of a hash in the other.
        data[63] ^= 1;
        scene.report_data = Some(data);
        let name = match scene.form {
            Form::Ccc => "quote-claims-binding",
            Form::Privasys => "binding",
        };
        fails(&scene.verdict(), &[name]);
    }
}

#[test]
fn without_collateral_it_is_missing_unless_something_is_wrong() {
    for mut scene in scenes() {
        scene.collateral = false;
        let verdict = scene.verdict();
        let found = verdict.conclusion;
        assert_eq!(found, Conclusion::CollateralMissing, "{verdict}");
        scene.mrtd = None;
        assert_eq!(scene.verdict().conclusion, Conclusion::Rejected);
    }
}

#[test]
fn anything_but_a_td_quote_fails_its_format() {
    let [ccc, _, privasys, _] = scenes();
    let platform = privasys.platform();
    let mut sgx = vec![0; 436];
    sgx[0] = 3;
    for quote in [&sgx[..], &platform.quote[..700], &[]] {
        let made = privasys.leaf(quote);
        let verdict = made.with(&made.der(), |leaf| privasys.of(&platform, leaf));
        fails(&verdict, &["td-quote-format"]);
        // What could not be looked at is said, and required.
        for name in ["td-quote-signature", "tcb-level", "debug", "mrtd", "rtmr"] {
            let check = verdict.check(name).unwrap();
            assert_eq!(check.outcome, Outcome::Skipped, "{name}\n{verdict}");
            assert!(check.required, "{name}\n{verdict}");
        }
    }
    // Long enough for its user data, and no further.
    let platform = ccc.platform();
    let made = ccc.leaf(&platform.quote[..700]);
    let verdict = made.with(&made.der(), |leaf| ccc.of(&platform, leaf));
    fails(&verdict, &["td-quote-format"]);
}

#[test]
fn every_changed_byte_of_the_certificate_is_rejected() {
    let mut checked = 0;
    let [ccc, _, privasys, _] = scenes();
    for scene in [ccc, privasys] {
        let platform = scene.platform();
        let made = scene.leaf(&platform.quote);
        let der = made.der();
        for at in 0..der.len() {
            let mut changed = der.clone();
            changed[at] ^= 1 << (at % 8);
            let verdict = made.with(&changed, |leaf| scene.of(&platform, leaf));
            assert!(!verdict.accepted, "byte {at}\n{verdict}");
            checked += 1;
        }
    }
    assert!(checked > 8000, "{checked}");
}
