//! One made-up platform and TD with everything right, to be made wrong in one place.

use cloister_measure::reference::ReferenceValues;
use cloister_test_pki::tdx::{Made, Scene as Unsigned};
use cloister_verify::Verdict;
use cloister_verify::collateral::TdxCollateral;
use cloister_verify::tdx::{Endorsed, Expected, Policy, Roots, appraise};
use cloister_verify::x509::X509;

use crate::intel::intel;
use crate::published::collateral;

/// 2026-11-22.
pub(crate) const NOW: u64 = 1_795_305_600;

/// What is appraised, before anything is signed.
pub(crate) struct Scene {
    pub(crate) unsigned: Unsigned,
    /// Changes what was made.
    pub(crate) after: fn(&mut Made),
    /// Changes the collateral; `None` for none at all.
    pub(crate) collateral: Option<fn(&mut TdxCollateral)>,
    pub(crate) policy: Policy,
    pub(crate) reference: Option<ReferenceValues>,
    pub(crate) mrtd: Option<[u8; 48]>,
    pub(crate) event_log: Option<Vec<u8>>,
    /// Google's endorsement, and the certificate of the root.
    pub(crate) endorsed: Option<(Vec<u8>, X509)>,
    pub(crate) report_data: Option<[u8; 64]>,
    pub(crate) signature_only: bool,
    /// Another root than the one that signed.
    pub(crate) root: Option<Vec<u8>>,
    pub(crate) at: u64,
}

impl Scene {
    pub(crate) fn v4() -> Self {
        Self::of(Unsigned::new())
    }

    pub(crate) fn v5() -> Self {
        Self::of(Unsigned::v5())
    }

    fn of(unsigned: Unsigned) -> Self {
        Self {
            unsigned,
            after: |_| {},
            collateral: Some(|_| {}),
            policy: Policy::default(),
            reference: None,
            mrtd: Some([0x3e; 48]),
            event_log: None,
            endorsed: None,
            report_data: Some([0x0d; 64]),
            signature_only: false,
            root: None,
            at: NOW,
        }
    }

    pub(crate) fn make(&self) -> Made {
        let mut made = self.unsigned.make(intel()).unwrap();
        (self.after)(&mut made);
        made
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let made = self.make();
        self.judge(&made, &made.quote)
    }

    /// Judges `quote` with the collateral of `made`.
    pub(crate) fn judge(&self, made: &Made, quote: &[u8]) -> Verdict {
        let collateral = self.collateral.map(|change| {
            let mut collateral = collateral(made);
            change(&mut collateral);
            collateral
        });
        let expected = Expected {
            reference: self.reference.as_ref(),
            mrtd: self.mrtd,
            event_log: self.event_log.as_deref(),
            endorsed: self
                .endorsed
                .as_ref()
                .map(|(endorsement, root)| Endorsed { endorsement, root }),
            report_data: self.report_data,
            signature_only: self.signature_only,
        };
        let roots = Roots {
            root: self.root.as_deref().unwrap_or(&made.root),
        };
        let collateral = collateral.as_ref();
        appraise(quote, collateral, &expected, &self.policy, &roots, self.at)
    }
}
