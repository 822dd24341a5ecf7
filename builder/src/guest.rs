//! What the guest is told by its image: the measured configuration file and the kernel command line.
//!
//! Translates the recipe's `[guest]` and `[kernel]` into `cloister_evidence::guest` (docs/guest-configuration.md), so
//! that PID 1 needs no TOML. Both are read back with the guest's own parser before they are used.

use std::io;

use cloister_evidence::guest::{
    Canary, CommandLine, CommandLineError, GOLDEN_VALUES_PATH, GpuPolicy, GuestConfiguration,
    GuestConfigurationError, Network, RootPartitions, Workload,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::guid::{Guid, Role};
use crate::initrd::{Member, Members};
use crate::recipe::{self, Recipe};
use crate::tree::Module;

/// Directory of kernel modules in the initrd.
const MODULES: &str = "cloister/modules";

/// The helper in the initrd.
const GPU_HELPER: &str = "cloister/gpu-helper";

/// Why the recipe cannot be told to a guest.
#[derive(Debug, Error)]
pub(crate) enum GuestError {
    /// The workload's user is not declared.
    #[error("workload user `{0}` is not a `[[user]]` of the recipe")]
    NoUser(String),
    /// The guest would refuse its configuration.
    #[error("guest configuration would be refused by the guest")]
    Configuration(#[from] GuestConfigurationError),
    /// The guest would refuse its command line.
    #[error("kernel command line would be refused by the guest")]
    CommandLine(#[from] CommandLineError),
    /// A value that no guest understands.
    #[error("`{field}` of `[guest]` is `{found}`, which the guest does not know")]
    Value {
        /// Key.
        field: &'static str,
        /// Value.
        found: String,
    },
    /// A number does not fit.
    #[error("`{field}` is {mib}, which is more bytes than 64 bits count")]
    Memory {
        /// Key.
        field: &'static str,
        /// Value.
        mib: u64,
    },
}

/// A kernel module as the initrd has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ModuleFile {
    /// File name, for example `virtio_blk.ko`.
    file_name: String,
    /// The ELF file.
    #[serde(with = "crate::json_bytes")]
    bytes: Vec<u8>,
}

impl ModuleFile {
    /// Reads `module`.
    ///
    /// # Errors
    /// Its archive cannot be read.
    pub(crate) fn read(module: &Module) -> io::Result<Self> {
        Ok(Self {
            file_name: module.file_name.clone(),
            bytes: module.content.read()?.into_owned(),
        })
    }
}

/// What a guest with a GPU has beside the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GpuFiles<'a> {
    /// The golden values, JSON.
    pub(crate) golden: &'a [u8],
    /// The program that loads NVIDIA's library.
    pub(crate) helper: &'a [u8],
}

/// The encoded configuration for a root of `data_blocks` blocks of 4096 bytes; `golden` are the golden values where there must be a GPU.
pub(crate) fn configuration(
    recipe: &Recipe,
    modules: &[ModuleFile],
    data_blocks: u64,
    golden: Option<&[u8]>,
) -> Result<Vec<u8>, GuestError> {
    let workload = &recipe.guest.workload;
    let user = recipe.users.iter().find(|user| user.name == workload.user);
    let user = user.ok_or_else(|| GuestError::NoUser(workload.user.clone()))?;
    let part = |role| Guid::derive(&recipe.name, role).to_string();
    let encoded = GuestConfiguration {
        recipe: recipe.name.clone(),
        modules: module_paths(modules)
            .map(|path| format!("/{path}"))
            .collect(),
        network: network(&recipe.guest.network)?,
        root: RootPartitions {
            data: part(Role::RootPartition),
            hash: part(Role::VerityPartition),
            data_blocks,
        },
        listen: recipe.guest.listen,
        gpu: match (recipe.guest.gpu.as_str(), golden) {
            ("none", None) => GpuPolicy::None,
            ("h100", Some(golden)) => GpuPolicy::H100 {
                golden_sha256: Sha256::digest(golden).into(),
            },
            (other, _) => {
                return Err(GuestError::Value {
                    field: "gpu",
                    found: other.to_owned(),
                });
            }
        },
        workload: Workload {
            uid: user.uid,
            gid: user.gid,
            directory: workload.directory.clone(),
            exec: workload.exec.clone(),
            environment: workload.environment.clone(),
            socket: workload.socket.clone(),
            memory_max: bytes("memory-max-mib", workload.memory_max_mib)?,
            tmp_max: bytes("tmp-max-mib", workload.tmp_max_mib)?,
            shm_max: bytes("shm-max-mib", workload.shm_max_mib)?,
        },
        canary: recipe.guest.canary.as_ref().map(|canary| Canary {
            path: canary.path.clone(),
            body: canary.body.clone(),
            answer: canary.answer.clone(),
            seconds: canary.seconds,
        }),
    }
    .encode();
    GuestConfiguration::parse(&encoded)?;
    Ok(encoded)
}

fn bytes(field: &'static str, mib: u64) -> Result<u64, GuestError> {
    let bytes = mib.checked_mul(1 << 20);
    bytes.ok_or(GuestError::Memory { field, mib })
}

/// The kernel command line with the root of the hash tree, without a trailing newline or NUL.
pub(crate) fn command_line(recipe: &Recipe, verity_root: [u8; 32]) -> Result<String, GuestError> {
    let text = CommandLine {
        verity_root,
        kernel: recipe.kernel.cmdline.clone(),
    }
    .encode();
    CommandLine::parse(&text)?;
    Ok(text)
}

fn network(network: &recipe::Network) -> Result<Network, GuestError> {
    let recipe::Network::Static { address, gateway } = network else {
        return Ok(Network::Dhcp);
    };
    let wrong = |field, found: &str| GuestError::Value {
        field,
        found: found.to_owned(),
    };
    let (host, prefix) = address
        .split_once('/')
        .ok_or_else(|| wrong("address", address))?;
    Ok(Network::Static {
        address: host.parse().map_err(|_| wrong("address", address))?,
        prefix: prefix.parse().map_err(|_| wrong("address", address))?,
        gateway: gateway.parse().map_err(|_| wrong("gateway", gateway))?,
    })
}

/// Everything that the initrd holds; directories are mount points and the parents of files.
pub(crate) fn members<'a>(
    init: &'a [u8],
    configuration: &'a [u8],
    modules: &'a [ModuleFile],
    gpu: Option<GpuFiles<'a>>,
) -> Members<'a> {
    let directories = ["cloister", MODULES, "dev", "proc", "root", "run", "sys"];
    let mut members: Members<'a> = directories
        .map(|path| (path.to_owned(), Member::Directory { mode: 0o755 }))
        .into();
    members.insert(
        "init".to_owned(),
        Member::File {
            mode: 0o755,
            bytes: init,
        },
    );
    members.insert(
        "cloister/guest.conf".to_owned(),
        Member::File {
            mode: 0o644,
            bytes: configuration,
        },
    );
    if let Some(GpuFiles { golden, helper }) = gpu {
        let golden_path = GOLDEN_VALUES_PATH.trim_start_matches('/').to_owned();
        let golden = Member::File {
            mode: 0o644,
            bytes: golden,
        };
        let helper = Member::File {
            mode: 0o755,
            bytes: helper,
        };
        members.insert(golden_path, golden);
        members.insert(GPU_HELPER.to_owned(), helper);
    }
    let files = modules.iter().map(|module| Member::File {
        mode: 0o644,
        bytes: &module.bytes,
    });
    members.extend(module_paths(modules).zip(files));
    members
}

/// Paths of the modules in the initrd without a leading slash, numbered in load order.
fn module_paths(modules: &[ModuleFile]) -> impl Iterator<Item = String> {
    modules
        .iter()
        .enumerate()
        .map(|(number, module)| format!("{MODULES}/{number:02}-{}", module.file_name))
}

#[cfg(test)]
mod tests {
    use super::*;
    fn demo() -> Recipe {
        toml::from_str(include_str!("../../recipes/demo/recipe.toml")).unwrap()
    }

    fn modules() -> Vec<ModuleFile> {
        let module = |name: &str| ModuleFile {
            file_name: format!("{name}.ko"),
            bytes: name.as_bytes().to_vec(),
        };
        vec![module("dm_mod"), module("dm_verity")]
    }

    #[test]
    fn configuration_of_demo_is_what_the_guest_reads() {
        let encoded = configuration(&demo(), &modules(), 56108, None).unwrap();
        let read = GuestConfiguration::parse(&encoded).unwrap();
        assert_eq!(
            read.modules,
            [
                "/cloister/modules/00-dm_mod.ko",
                "/cloister/modules/01-dm_verity.ko"
            ]
        );
        assert_eq!((read.root.data_blocks, read.listen), (56108, 443));
        assert_eq!(
            read.root.data,
            Guid::derive("demo", Role::RootPartition).to_string()
        );
        assert_eq!((read.workload.uid, read.workload.memory_max), (1000, 0));
        let members = members(b"init", &encoded, &[], None);
        assert_eq!(
            members["cloister/guest.conf"],
            Member::File {
                mode: 0o644,
                bytes: &encoded
            }
        );
        assert_eq!(
            members["init"],
            Member::File {
                mode: 0o755,
                bytes: b"init"
            }
        );
    }

    #[test]
    fn configuration_with_a_gpu_names_golden_values_and_canary() {
        let mut recipe = demo();
        recipe.guest.gpu = "h100".to_owned();
        let missing = configuration(&recipe, &[], 1, Some(b"{}\n")).unwrap_err();
        assert!(matches!(missing, GuestError::Configuration(_)));
        recipe.guest.canary = Some(recipe::Canary {
            path: "/v1/completions".to_owned(),
            body: r#"{"prompt":"x"}"#.to_owned(),
            answer: " Paris".to_owned(),
            seconds: 600,
        });
        let encoded = configuration(&recipe, &[], 1, Some(b"{}\n")).unwrap();
        let read = GuestConfiguration::parse(&encoded).unwrap();
        // Of `{}` and a newline, by `sha256sum`.
        let golden = "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356";
        let GpuPolicy::H100 { golden_sha256 } = read.gpu else {
            panic!("{:?}", read.gpu);
        };
        assert_eq!(hex::encode(golden_sha256), golden);
        let canary = read.canary.unwrap();
        assert_eq!((canary.answer.as_str(), canary.seconds), (" Paris", 600));
        // Golden values without a GPU have no reader.
        recipe.guest.gpu = "none".to_owned();
        let none = configuration(&recipe, &[], 1, Some(b"{}\n")).unwrap_err();
        assert!(matches!(none, GuestError::Value { field: "gpu", .. }));
    }

    #[test]
    fn configuration_refuses_what_no_guest_understands() {
        let with = |change: fn(&mut Recipe)| {
            let mut recipe = demo();
            change(&mut recipe);
            configuration(&recipe, &[], 1, None).unwrap_err()
        };
        let error = with(|recipe| recipe.guest.workload.user = "nobody".to_owned());
        assert!(matches!(error, GuestError::NoUser(name) if name == "nobody"));
        let error = with(|recipe| recipe.guest.gpu = "h100".to_owned());
        assert!(matches!(error, GuestError::Value { field: "gpu", .. }));
        let error = with(|recipe| {
            recipe.guest.network = recipe::Network::Static {
                address: "10.0.2.15".to_owned(),
                gateway: "10.0.2.2".to_owned(),
            };
        });
        assert!(matches!(
            error,
            GuestError::Value {
                field: "address",
                ..
            }
        ));
        let error = with(|recipe| recipe.guest.workload.memory_max_mib = u64::MAX);
        assert!(matches!(error, GuestError::Memory { mib: u64::MAX, .. }));
        let error = with(|recipe| recipe.guest.workload.exec = vec!["relative".to_owned()]);
        assert!(matches!(error, GuestError::Configuration(_)));
    }

    #[test]
    fn command_line_carries_the_root_hash_and_known_words_only() {
        let line = command_line(&demo(), [0xab; 32]).unwrap();
        assert_eq!(
            line,
            format!(
                "console=ttyS0 loglevel=4 panic=-1 cloister.verity={}",
                "ab".repeat(32)
            )
        );
        let mut recipe = demo();
        recipe.kernel.cmdline.push("init=/bin/sh".to_owned());
        assert!(matches!(
            command_line(&recipe, [0; 32]),
            Err(GuestError::CommandLine(_))
        ));
    }
}
