//! `tdx/`: MRTD of Debian's firmware.

use super::firmware::debian_image;
use super::ledger::{Fate, Ledger};
use crate::digest::Bank;
use crate::tdx::{PageOrder, Tdvf};

/// Origin: own replay of google/gce-tcb-verifier's rule; values of the first order also by tdx-measure.
pub(super) fn check(ledger: &Ledger) {
    for (_, row) in ledger.json("tdx/mrtd-debian-ovmf.json").members() {
        match debian_image(&row) {
            Some(image) => {
                row.get("full_image_sha256")
                    .equals(Bank::Sha256.hash(&[&image]));
                let firmware = Tdvf::from_image(&image).unwrap();
                let mrtd = |name: &str, order| row.get(name).equals(firmware.mrtd(order));
                mrtd("mrtd_add_then_extend_per_page", PageOrder::AddThenExtend);
                let two_pass = "mrtd_two_pass_add_all_then_extend_per_section";
                mrtd(two_pass, PageOrder::TwoPass);
                row.get("cfv_sha384")
                    .equals(firmware.configuration_volume());
            }
            None => row.skip(Fate::Debian),
        }
        row.get("source").skip(Fate::Prose);
    }
}
