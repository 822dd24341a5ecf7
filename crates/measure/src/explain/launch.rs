//! Which inputs give a launch digest that nobody expected.
//!
//! The space is what hosts and people vary without noticing (research 6: most digest mismatches reported to the known tools
//! are one of these): number and model of vCPUs, `SEV_FEATURES`, the host's kernel, whether the page of kernel hashes is
//! filled, white space around the command line. All counts of vCPUs come from one chain.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Serialize, Serializer};

use crate::snp::{
    HOSTS, HostProfile, KernelHashes, LaunchDigest, LaunchError, LaunchInputs, Ovmf, VcpuSignature,
    launch_digests,
};

/// vCPUs tried at most.
const VCPUS: u32 = 256;
/// `SEV_FEATURES` of hosts: SNP alone, and with the debug swap that Linux 6.6 to 6.8 turned on.
const FEATURES: [u64; 2] = [0x1, 0x21];
/// One model for each signature that QEMU has.
const MODELS: [&str; 5] = [
    "EPYC",
    "EPYC-Rome",
    "EPYC-Milan",
    "EPYC-Genoa",
    "EPYC-Turin",
];

/// What is known of the launch.
#[derive(Debug, Clone, Copy)]
pub struct Guess<'a> {
    /// The firmware, which is taken as given.
    pub firmware: &'a Ovmf,
    /// SHA-256 of kernel and initrd; `None` when firmware boots from disk.
    pub kernel: Option<([u8; 32], Option<[u8; 32]>)>,
    /// The command line that was meant.
    pub command_line: &'a [u8],
}

/// Inputs that give the digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Match {
    /// Number of vCPUs.
    pub vcpus: u32,
    /// Host profile.
    pub host_profile: &'static str,
    /// vCPU model; `None` when the host makes no difference between models.
    pub vcpu_model: Option<&'static str>,
    /// `SEV_FEATURES`; in JSON as `0x` and hexadecimal digits.
    #[serde(serialize_with = "hexadecimal")]
    pub guest_features: u64,
    /// Whether the page of kernel hashes is filled.
    pub kernel_hashes: bool,
    /// How the command line differs from the one given; `None` without kernel hashes.
    pub cmdline: Option<&'static str>,
}

fn hexadecimal<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:#x}"))
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Match {
            vcpus,
            host_profile,
            vcpu_model,
            guest_features,
            ..
        } = self;
        let model = vcpu_model.unwrap_or("any");
        write!(
            f,
            "--vcpus {vcpus} --vcpu-model {model} --guest-features {guest_features:#x} --host-profile {host_profile}"
        )?;
        match self.cmdline {
            Some(cmdline) => write!(f, ", command line {cmdline}"),
            None => f.write_str(", no kernel hashes"),
        }
    }
}

/// Lists all inputs in the space that give `wanted`, sorted by the number of vCPUs.
pub fn search(guess: &Guess<'_>, wanted: &LaunchDigest) -> Vec<Match> {
    let mut matches = Vec::new();
    for (cmdline, kernel) in kernels(guess) {
        for host in HOSTS {
            for guest_features in FEATURES {
                let inputs = LaunchInputs {
                    firmware: guess.firmware,
                    kernel,
                    host,
                    vcpu: VcpuSignature(0),
                    sev_features: guest_features,
                };
                for (vcpus, vcpu_model) in models(&inputs, wanted) {
                    matches.push(Match {
                        vcpus,
                        host_profile: HostProfile::named(host.name).map_or("", |host| host.name),
                        vcpu_model,
                        guest_features,
                        kernel_hashes: kernel.is_some(),
                        cmdline,
                    });
                }
            }
        }
    }
    matches.sort();
    matches
}

/// Tries every model and count; models that all match at one count are one match without a name.
fn models(inputs: &LaunchInputs<'_>, wanted: &LaunchDigest) -> Vec<(u32, Option<&'static str>)> {
    let mut by_count: BTreeMap<u32, Vec<&'static str>> = BTreeMap::new();
    for model in MODELS {
        let Ok(vcpu) = model.parse() else { continue };
        for count in counts(&LaunchInputs { vcpu, ..*inputs }, wanted) {
            by_count.entry(count).or_default().push(model);
        }
    }
    let names = |(count, models): (u32, Vec<&'static str>)| -> Vec<_> {
        if models == MODELS {
            return vec![(count, None)];
        }
        models
            .into_iter()
            .map(|model| (count, Some(model)))
            .collect()
    };
    by_count.into_iter().flat_map(names).collect()
}

/// Counts of vCPUs with the digest; firmware without code for more than one is tried with one.
fn counts(inputs: &LaunchInputs<'_>, wanted: &LaunchDigest) -> Vec<u32> {
    let all = |most: u32| launch_digests(inputs, &(1..=most).collect::<BTreeSet<u32>>());
    let digests = match all(VCPUS) {
        Err(LaunchError::NoApReset { .. }) => all(1),
        digests => digests,
    };
    let digests = digests.unwrap_or_default().into_iter();
    let equal = digests.filter(|(_, digest)| digest == wanted);
    equal.map(|(count, _)| count).collect()
}

/// Command lines that people end up with when they meant the one given, each once, and no kernel at all.
fn kernels(guess: &Guess<'_>) -> Vec<(Option<&'static str>, Option<KernelHashes>)> {
    let mut kernels = vec![(None, None)];
    let Some((kernel, initrd)) = guess.kernel else {
        return kernels;
    };
    let given = guess.command_line;
    let trimmed = given.trim_ascii();
    let without = given.strip_suffix(b"\n").unwrap_or(given);
    let variants = [
        ("as given", given.to_vec()),
        ("with a newline at the end", [given, b"\n"].concat()),
        ("without the newline at the end", without.to_vec()),
        ("without outer white space", trimmed.to_vec()),
        (
            "without outer white space, with a newline",
            [trimmed, b"\n"].concat(),
        ),
        ("with a space at the end", [given, b" "].concat()),
        ("empty", Vec::new()),
    ];
    let mut seen = BTreeSet::new();
    for (name, cmdline) in variants {
        if seen.insert(cmdline.clone()) {
            let hashes = KernelHashes::new(kernel, initrd, &cmdline);
            kernels.push((Some(name), Some(hashes)));
        }
    }
    kernels
}
