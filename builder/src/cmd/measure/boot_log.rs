//! PCR 15 of a built image: Cloister's own log, predicted from the guest configuration in the initrd.

use std::io::Read as _;

use cloister_evidence::guest::GuestConfiguration;
use cloister_evidence::log::boot_events;
use cloister_measure::Bank;
use cloister_measure::pcr::Extension;
use cloister_measure::transcript::Register;

use crate::initrd;

/// Where the guest configuration lies in the initrd.
const CONFIGURATION: &str = "cloister/guest.conf";
/// What the guest logs for the model: it lies in the root image, there is no other place.
const MODEL: &str = "root";
/// Bytes of an unpacked initrd that are searched, one after the other.
const UNPACKED_LIMIT: u64 = 1 << 30;

/// Predicts PCR 15 in `bank` from a zstd-compressed initrd; `None` for one that is not Cloister's. PID 1 has the TPM hash each
/// event for each of its banks.
pub(super) fn pcr15(compressed: &[u8], bank: Bank) -> Option<Extension> {
    let archive = zstd::Decoder::new(compressed).ok()?;
    let bytes = initrd::find(archive.take(UNPACKED_LIMIT), CONFIGURATION)?;
    let gpu = GuestConfiguration::parse(&bytes).ok()?.gpu.word();
    let mut pcr = Extension::new(Register::Pcr(15), bank);
    for event in boot_events(&bytes, gpu, MODEL).ok()? {
        pcr.measure(&event.framed(), event.name(), "guest configuration");
    }
    Some(pcr)
}

#[cfg(test)]
mod tests {
    use cloister_evidence::log::predict_pcr15;
    use cloister_measure::Digest;

    use super::*;

    const GUEST: &str = "cloister-guest 1
recipe demo
network dhcp
root 11111111-2222-3333-4444-555555555555 11111111-2222-3333-4444-666666666666 7
listen 443
gpu none
workload-user 1000 1000
workload-directory /
workload-exec /usr/bin/python3
workload-socket http.sock
workload-memory-max 0
";

    fn initrd_with(path: &str, configuration: &[u8]) -> Vec<u8> {
        let directory = initrd::Member::Directory { mode: 0o755 };
        let file = initrd::Member::File {
            mode: 0o644,
            bytes: configuration,
        };
        let members = [("cloister".to_owned(), directory), (path.to_owned(), file)].into();
        initrd::compress(&initrd::archive(&members, 1).unwrap(), 1).unwrap()
    }

    #[test]
    fn pcr15_is_that_of_the_configuration_in_the_initrd() {
        let events = boot_events(GUEST.as_bytes(), "none", "root").unwrap();
        let wanted = Some(Digest::Sha256(predict_pcr15(&events)));
        let of = |initrd: &[u8], bank| pcr15(initrd, bank).map(|pcr| pcr.value());
        let own = initrd_with("cloister/guest.conf", GUEST.as_bytes());
        assert_eq!(of(&own, Bank::Sha256), wanted);
        let sha384 = events
            .iter()
            .fold(Digest::zero(Bank::Sha384), |value, event| {
                cloister_measure::pcr::extend(&value, &Bank::Sha384.hash(&[&event.framed()]))
            });
        assert_eq!(of(&own, Bank::Sha384), Some(sha384));
        let other = initrd_with("cloister/other", GUEST.as_bytes());
        assert_eq!(of(&other, Bank::Sha256), None);
        assert_eq!(
            of(&initrd_with("cloister/guest.conf", b"no"), Bank::Sha256),
            None
        );
        assert_eq!(of(b"initrd", Bank::Sha256), None);
    }
}
