//! `snp/`: launch digests and VMSA pages. The firmware's tables are [`super::firmware`]'s.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::debian_version;
use super::firmware;
use super::ledger::{Fate, Ledger, Place};
use crate::digest::{Bank, Digest};
use crate::snp::{
    HostProfile, KernelHashes, LaunchInputs, Ovmf, PAGE_SIZE, Vcpu, VcpuSignature, launch_digests,
    vmsa_page,
};

fn launched(
    firmware: &Ovmf,
    kernel: Option<KernelHashes>,
    host: &str,
    vcpu: VcpuSignature,
    sev_features: u64,
    vcpus: u64,
) -> String {
    let inputs = LaunchInputs {
        firmware,
        kernel,
        host: HostProfile::named(&host.to_lowercase()).unwrap(),
        vcpu,
        sev_features,
    };
    let vcpus = u32::try_from(vcpus).unwrap();
    let digests = launch_digests(&inputs, &BTreeSet::from([vcpus])).unwrap();
    digests[&vcpus].to_string()
}

fn signature(value: u64) -> VcpuSignature {
    VcpuSignature(u32::try_from(value).unwrap())
}

/// Computes the launch digest of a row that names host, features and count under the usual names.
fn row_launched(
    row: &Place<'_>,
    firmware: &Ovmf,
    kernel: Option<KernelHashes>,
    vcpu: VcpuSignature,
) {
    let (features, vcpus) = (
        row.get("guest_features").number(),
        row.get("vcpus").number(),
    );
    let host = row.get("vmm").text();
    let found = launched(firmware, kernel, host, vcpu, features, vcpus);
    row.get("launch_digest").equals(found);
}

fn hash32(place: &Place<'_>) -> [u8; 32] {
    let digest: Digest = place.peek_text().parse().unwrap();
    digest.as_bytes().try_into().unwrap()
}

/// Origin: sev-snp-measure 0.0.13; QEMU rows also by the `sev` crate 8.0.0.
pub(super) fn debian_amdsev(ledger: &Ledger) {
    let file = ledger.json("snp/launch-digests-debian-amdsev.json");
    file.get("tool").skip(Fate::Prose);
    let name = file.get("firmware").text();
    let row = ledger.json("snp/firmware-metadata.json").get(name);
    match firmware::debian_image(&row) {
        Some(image) => file
            .get("firmware_sha256")
            .equals(Bank::Sha256.hash(&[&image])),
        None => file.get("firmware_sha256").skip(Fate::Debian),
    }
    kernel_file(&file.get("kernel"));
    let initrd = file.get("initrd");
    initrd.get("what").skip(Fate::Prose);
    let zeros = vec![0; usize::try_from(initrd.get("size").number()).unwrap()];
    initrd.get("sha256").equals(Bank::Sha256.hash(&[&zeros]));
    let kernel = KernelHashes::new(
        hash32(&file.get("kernel").get("sha256")),
        Some(hash32(&initrd.get("sha256"))),
        file.get("cmdline").text().as_bytes(),
    );
    let firmware = firmware::load(ledger, name);
    for row in file.get("rows").list() {
        let model: VcpuSignature = row.get("vcpu_type").text().parse().unwrap();
        row.get("vcpu_sig").equals(model.0);
        let kernel = (row.get("kernel").input() == true).then_some(kernel);
        row_launched(&row, &firmware, kernel, model);
    }
}

/// The kernel of a direct boot: its hash is all that enters, so rows need no file; with the file the hash is compared.
fn kernel_file(kernel: &Place<'_>) {
    let what = kernel.get("what");
    let words = what.peek_text();
    let (package, path) = words.split_once(", ").unwrap();
    let package = package.split(' ').nth(1).unwrap();
    what.skip(Fate::Prose);
    let (size, sha256) = (kernel.get("size"), kernel.get("sha256"));
    match debian_version(package, path, sha256.peek_text()) {
        Some(bytes) => {
            size.equals(bytes.len());
            sha256.equals(Bank::Sha256.hash(&[&bytes]));
        }
        None => {
            size.skip(Fate::Debian);
            sha256.skip(Fate::Debian);
        }
    }
}

/// Origin: sev-snp-measure 0.0.13 over random-filled images made for the vectors.
pub(super) fn synthetic(ledger: &Ledger) {
    let file = ledger.json("snp/launch-digests-synthetic.json");
    for words in ["inputs", "tool"] {
        file.get(words).skip(Fate::Prose);
    }
    let files: BTreeMap<&str, [u8; 32]> = BTreeMap::from(
        [
            ("k1", b"synthetic kernel bytes ".repeat(1000)),
            ("i1", b"\0initrd".repeat(777)),
            ("i0", Vec::new()),
        ]
        .map(|(name, bytes)| (name, Sha256::digest(bytes).into())),
    );
    let hash = |place: &Place<'_>| place.input().as_str().map(|name| files[name]);
    for row in file.get("rows").list() {
        let image = ledger.bytes(&format!("snp/{}", row.get("firmware").text()));
        let firmware = Ovmf::from_image(&image).unwrap();
        let command_line = row.get("cmdline").input().as_str().unwrap_or_default();
        let initrd = hash(&row.get("initrd"));
        let kernel = hash(&row.get("kernel"));
        let kernel =
            kernel.map(|kernel| KernelHashes::new(kernel, initrd, command_line.as_bytes()));
        let vcpu = signature(row.get("vcpu_sig").number());
        row_launched(&row, &firmware, kernel, vcpu);
    }
}

/// Origin: sev-snp-measure 0.0.13 on Debian firmware without a hash page.
pub(super) fn other_firmware(ledger: &Ledger) {
    let mut loaded: BTreeMap<&str, Ovmf> = BTreeMap::new();
    for row in ledger.json("snp/launch-digests-other-firmware.json").list() {
        assert_eq!(row.get("kernel").input(), false);
        let name = row.get("firmware").text();
        let firmware = loaded
            .entry(name)
            .or_insert_with(|| firmware::load(ledger, name));
        let vcpu = row.get("vcpu_type").text().parse().unwrap();
        row_launched(&row, firmware, None, vcpu);
    }
}

/// The tests of sev-snp-measure itself. Rows are calls of a Python function; launches of SEV, SEV-ES and under an SVSM are
/// none that this crate computes, and their fixtures are not in the vectors.
pub(super) fn upstream(ledger: &Ledger) {
    let file = ledger.json("snp/upstream-expected.json");
    for words in ["source", "licence", "note"] {
        file.get(words).skip(Fate::Prose);
    }
    let firmware = firmware::load(ledger, "sev-snp-measure-AmdSev-202405");
    let empty: [u8; 32] = Sha256::digest([]).into();
    for row in file.get("rows").list() {
        row.get("test").skip(Fate::Prose);
        let call = row.get("arguments");
        let words: Vec<&str> = call.peek_text().split(", ").collect();
        let [
            mode,
            vcpus,
            model,
            _,
            kernel,
            _,
            command_line,
            features,
            rest @ ..,
        ] = &words[..]
        else {
            panic!("{words:?}")
        };
        if *mode != "SevMode.SEV_SNP" {
            call.skip(Fate::Upstream);
            row.get("expected").skip(Fate::Upstream);
            continue;
        }
        call.input();
        let model = model.split('"').nth(1).unwrap_or("EPYC");
        let host = rest
            .iter()
            .find_map(|word| word.strip_prefix("vmm_type=vmm_types.VMMType."));
        let kernel = (*kernel != "None").then(|| {
            KernelHashes::new(
                empty,
                Some(empty),
                command_line.trim_matches('"').as_bytes(),
            )
        });
        let features = u64::from_str_radix(features.trim_start_matches("0x"), 16).unwrap();
        let found = launched(
            &firmware,
            kernel,
            host.unwrap_or("QEMU"),
            model.parse().unwrap(),
            features,
            vcpus.parse().unwrap(),
        );
        row.get("expected").equals(found);
    }
}

/// Origin: sev-snp-measure 0.0.13; GCE also as google/gce-tcb-verifier lists its registers.
pub(super) fn vmsa_pages(ledger: &Ledger) {
    let file = ledger.json("snp/vmsa-pages.json");
    file.get("tool").skip(Fate::Prose);
    let inputs = file.get("inputs");
    let number = |key| {
        let text = inputs.get(key).text().trim_start_matches("0x");
        u64::from_str_radix(text.split(' ').next().unwrap(), 16).unwrap()
    };
    let ap_reset = u32::try_from(number("ap_reset_eip")).unwrap();
    let (signature, sev_features) = (signature(number("vcpu_sig")), number("sev_features"));
    for (name, page) in file.get("pages").members() {
        let (host, role) = name.rsplit_once('-').unwrap();
        let boot = role == "bsp";
        let vcpu = Vcpu {
            boot,
            eip: if boot { 0xffff_fff0 } else { ap_reset },
            signature,
            sev_features,
        };
        let found = vmsa_page(HostProfile::named(&host.to_lowercase()).unwrap(), &vcpu);
        page.get("sha384").equals(Bank::Sha384.hash(&[&found]));
        page.get("nonzero").equals(runs(&found));
    }
}

/// Lists the runs of bytes that are not zero: offset in hex, bytes in hex.
fn runs(page: &[u8; PAGE_SIZE]) -> Vec<[String; 2]> {
    let mut runs: Vec<(usize, Vec<u8>)> = Vec::new();
    for (at, byte) in page.iter().enumerate().filter(|(_, byte)| **byte != 0) {
        match runs.last_mut() {
            Some((start, bytes)) if *start + bytes.len() == at => bytes.push(*byte),
            _ => runs.push((at, vec![*byte])),
        }
    }
    let line = |(start, bytes): (usize, Vec<u8>)| [format!("{start:#x}"), hex::encode(bytes)];
    runs.into_iter().map(line).collect()
}
