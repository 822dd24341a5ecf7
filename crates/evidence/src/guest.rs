//! The guest's measured configuration: `/cloister/guest.conf` and the kernel command line.
//!
//! Both are written by the host tool and read by PID 1, so one type with one writer and one
//! strict parser stands here. Format: `docs/guest-configuration.md`.
//! Units: blocks of 4096 bytes, memory in bytes, ports and prefixes as decimal numbers.
//! Every value has exactly one spelling: the parsers write what they read again and refuse the
//! input if it differs, so the digest of the file and its meaning cannot part.
//! Not covered: what the host may suggest while the guest runs (DHCP); that never comes here.

mod command_line;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

pub use command_line::{CommandLine, CommandLineError, is_kernel_word};

/// Path of the encoded [`GuestConfiguration`] inside the initrd.
pub const GUEST_CONFIGURATION_PATH: &str = "/cloister/guest.conf";

/// Path of the golden values of [`GpuPolicy::H100`] inside the initrd: canonical JSON.
pub const GOLDEN_VALUES_PATH: &str = "/cloister/gpu-golden.json";

/// User and group of `serve`; the workload may have neither.
pub const SERVE_ID: u32 = 65533;

/// Key of the size of the workload's `/tmp`.
const TMP_MAX: &str = "workload-tmp-max";
/// Key of the size of its `/dev/shm`.
const SHM_MAX: &str = "workload-shm-max";

/// Everything PID 1 is told by the image. Host-supplied data can add nothing to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestConfiguration {
    /// Recipe name: lower-case letters, digits and `-`.
    pub recipe: String,
    /// Kernel modules as absolute paths in the initrd, in load order.
    pub modules: Vec<String>,
    /// How the first network device gets its address.
    pub network: Network,
    /// Where the root file system lies.
    pub root: RootPartitions,
    /// TCP port of the attested listener, not 0.
    pub listen: u16,
    /// What accelerator the guest must have.
    pub gpu: GpuPolicy,
    /// The program that answers requests.
    pub workload: Workload,
    /// A question whose answer is known, asked before the guest is ready; with a GPU there must be one.
    pub canary: Option<Canary>,
}

/// Source of the guest's IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// DHCPv4.
    Dhcp,
    /// Fixed by the recipe.
    Static {
        /// The guest's address.
        address: Ipv4Addr,
        /// Length of the network prefix in bits, at most 32.
        prefix: u8,
        /// Default router.
        gateway: Ipv4Addr,
    },
}

/// The dm-verity pair, found by GPT partition GUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootPartitions {
    /// Unique partition GUID of the data, lower case, as in `PARTUUID`.
    pub data: String,
    /// Unique partition GUID of the hash tree (no superblock, first block is the top level).
    pub hash: String,
    /// Length of the data in blocks of 4096 bytes, not 0.
    pub data_blocks: u64,
}

/// What accelerator the guest must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuPolicy {
    /// None; PID 1 refuses to go on when it sees one.
    None,
    /// Exactly one H100 in confidential mode.
    H100 {
        /// SHA-256 of the golden values at [`GOLDEN_VALUES_PATH`].
        golden_sha256: [u8; 32],
    },
}

impl GpuPolicy {
    /// The word for the `gpu` event of the log: it stands there only where the hardware was found to be so.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::H100 { .. } => "h100",
        }
    }
}

/// A question whose answer is known: a GPU that computes wrongly, as in confidential mode some software makes it do, gives another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// Path that is asked with POST, absolute.
    pub path: String,
    /// JSON that is sent.
    pub body: String,
    /// What the text of the first choice begins with, not empty.
    pub answer: String,
    /// Seconds for the right answer to come, not 0: until then the model may still be loading.
    pub seconds: u32,
}

/// The program that answers requests, started from the verity root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// User, neither 0 nor [`SERVE_ID`].
    pub uid: u32,
    /// Group, neither 0 nor [`SERVE_ID`].
    pub gid: u32,
    /// Working directory, absolute.
    pub directory: String,
    /// Absolute path of the program, then its arguments.
    pub exec: Vec<String>,
    /// The whole environment.
    pub environment: BTreeMap<String, String>,
    /// File name of the Unix socket it listens on, inside its `/run/workload`.
    pub socket: String,
    /// `memory.max` of its control group in bytes; 0 for no limit.
    pub memory_max: u64,
    /// Size of its `/tmp` in bytes; 0 for half of the guest's memory.
    pub tmp_max: u64,
    /// Size of its `/dev/shm` in bytes; 0 for half of the guest's memory.
    pub shm_max: u64,
}

/// Why a guest configuration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuestConfigurationError {
    /// The file is not UTF-8.
    #[error("guest configuration is not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    /// A line is missing, misplaced or has a bad value.
    #[error("guest configuration line {line}: wanted {wanted}, found `{found}`")]
    Line {
        /// Line number from 1.
        line: usize,
        /// What may stand there.
        wanted: &'static str,
        /// What stands there, escaped and cut to 64 characters.
        found: String,
    },
    /// The lines parse but are not what [`GuestConfiguration::encode`] writes.
    #[error("guest configuration is not in its one canonical form")]
    NotCanonical,
}

impl GuestConfiguration {
    /// Writes the one canonical form, ending in a newline.
    ///
    /// Call [`GuestConfiguration::parse`] on the result to learn whether the values are allowed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("cloister-guest 1\nrecipe {}\n", self.recipe);
        let mut line = |key: &str, value: &str| {
            // Writing to a `String` cannot fail.
            let _ = writeln!(out, "{key} {value}");
        };
        for module in &self.modules {
            line("module", module);
        }
        match self.network {
            Network::Dhcp => line("network", "dhcp"),
            Network::Static {
                address,
                prefix,
                gateway,
            } => {
                line("network", &format!("static {address}/{prefix} {gateway}"));
            }
        }
        let RootPartitions {
            data,
            hash,
            data_blocks,
        } = &self.root;
        line("root", &format!("{data} {hash} {data_blocks}"));
        line("listen", &self.listen.to_string());
        match self.gpu {
            GpuPolicy::None => line("gpu", "none"),
            GpuPolicy::H100 { golden_sha256 } => {
                line("gpu", &format!("h100 {}", hex::encode(golden_sha256)));
            }
        }
        let workload = &self.workload;
        line(
            "workload-user",
            &format!("{} {}", workload.uid, workload.gid),
        );
        line("workload-directory", &percent_encode(&workload.directory));
        for argument in &workload.exec {
            line("workload-exec", &percent_encode(argument));
        }
        for (name, value) in &workload.environment {
            line(
                "workload-environment",
                &format!("{name} {}", percent_encode(value)),
            );
        }
        line("workload-socket", &percent_encode(&workload.socket));
        line("workload-memory-max", &workload.memory_max.to_string());
        for (key, size) in [(TMP_MAX, workload.tmp_max), (SHM_MAX, workload.shm_max)] {
            if size != 0 {
                line(key, &size.to_string());
            }
        }
        if let Some(canary) = &self.canary {
            line("canary-path", &percent_encode(&canary.path));
            line("canary-body", &percent_encode(&canary.body));
            line("canary-answer", &percent_encode(&canary.answer));
            line("canary-seconds", &canary.seconds.to_string());
        }
        out.into_bytes()
    }

    /// Reads the canonical form.
    ///
    /// # Errors
    ///
    /// [`GuestConfigurationError`] on anything that [`GuestConfiguration::encode`] would not
    /// have written for allowed values.
    pub fn parse(bytes: &[u8]) -> Result<Self, GuestConfigurationError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|e| GuestConfigurationError::NotUtf8(e.valid_up_to()))?;
        let mut lines = Lines {
            rest: text.lines(),
            number: 0,
            ahead: None,
        };
        lines.advance();
        lines.one("cloister-guest", "`cloister-guest 1`", |v| {
            (v == "1").then_some(())
        })?;
        let parsed = Self {
            recipe: lines.one("recipe", "`recipe NAME`", recipe_name)?,
            modules: lines.many("module", "`module /PATH`", module_path)?,
            network: lines.one(
                "network",
                "`network dhcp` or `network static A/P G`",
                network,
            )?,
            root: lines.one("root", "`root DATA HASH BLOCKS`", root_partitions)?,
            listen: lines.one("listen", "`listen PORT`", |v| {
                v.parse().ok().filter(|p| *p != 0)
            })?,
            gpu: lines.one("gpu", "`gpu none` or `gpu h100 SHA256`", gpu)?,
            workload: workload(&mut lines)?,
            canary: canary(&mut lines)?,
        };
        if parsed.gpu != GpuPolicy::None && parsed.canary.is_none() {
            return Err(lines.refuse("`canary-path /PATH`, as there is a GPU"));
        }
        lines.end()?;
        if parsed.encode() == bytes {
            Ok(parsed)
        } else {
            Err(GuestConfigurationError::NotCanonical)
        }
    }
}

/// The lines of the file, one ahead.
struct Lines<'a> {
    rest: std::str::Lines<'a>,
    number: usize,
    ahead: Option<&'a str>,
}

impl<'a> Lines<'a> {
    fn advance(&mut self) {
        self.ahead = self.rest.next();
        self.number = self.number.saturating_add(1);
    }

    fn refuse(&self, wanted: &'static str) -> GuestConfigurationError {
        let found = shown(self.ahead.unwrap_or("end of file"));
        GuestConfigurationError::Line {
            line: self.number,
            wanted,
            found,
        }
    }

    /// The value after `key` on the next line, if that line has this key.
    fn value(&self, key: &str) -> Option<&'a str> {
        self.ahead?.strip_prefix(key)?.strip_prefix(' ')
    }

    fn one<T>(
        &mut self,
        key: &str,
        wanted: &'static str,
        read: impl Fn(&'a str) -> Option<T>,
    ) -> Result<T, GuestConfigurationError> {
        let value = self
            .value(key)
            .and_then(read)
            .ok_or_else(|| self.refuse(wanted))?;
        self.advance();
        Ok(value)
    }

    fn many<T>(
        &mut self,
        key: &str,
        wanted: &'static str,
        read: impl Fn(&'a str) -> Option<T>,
    ) -> Result<Vec<T>, GuestConfigurationError> {
        let mut values = Vec::new();
        while self.value(key).is_some() {
            values.push(self.one(key, wanted, &read)?);
        }
        Ok(values)
    }

    fn end(&self) -> Result<(), GuestConfigurationError> {
        self.ahead
            .map_or(Ok(()), |_| Err(self.refuse("end of file")))
    }
}

fn workload(lines: &mut Lines<'_>) -> Result<Workload, GuestConfigurationError> {
    let (uid, gid) = lines.one(
        "workload-user",
        "`workload-user UID GID`, not 0, not 65533",
        ids,
    )?;
    let directory = lines.one("workload-directory", "`workload-directory /PATH`", |v| {
        percent_decode(v).filter(|d| d.starts_with('/'))
    })?;
    let wanted = "`workload-exec /PATH`, then one line for each argument";
    let program = lines.one("workload-exec", wanted, |v| {
        percent_decode(v).filter(|p| p.starts_with('/'))
    })?;
    let mut exec = vec![program];
    exec.extend(lines.many("workload-exec", wanted, percent_decode)?);
    let wanted = "`workload-environment NAME VALUE`";
    Ok(Workload {
        uid,
        gid,
        directory,
        exec,
        environment: lines
            .many("workload-environment", wanted, variable)?
            .into_iter()
            .collect(),
        socket: lines.one(
            "workload-socket",
            "`workload-socket FILE-NAME`",
            socket_name,
        )?,
        memory_max: lines.one("workload-memory-max", "`workload-memory-max BYTES`", |v| {
            v.parse().ok()
        })?,
        tmp_max: size(lines, TMP_MAX, "`workload-tmp-max BYTES`, not 0")?,
        shm_max: size(lines, SHM_MAX, "`workload-shm-max BYTES`, not 0")?,
    })
}

/// A line with a size, or none for 0.
fn size(
    lines: &mut Lines<'_>,
    key: &str,
    wanted: &'static str,
) -> Result<u64, GuestConfigurationError> {
    if lines.value(key).is_none() {
        return Ok(0);
    }
    lines.one(key, wanted, |v| v.parse().ok().filter(|size| *size != 0))
}

/// The four lines of a canary, or none of them.
fn canary(lines: &mut Lines<'_>) -> Result<Option<Canary>, GuestConfigurationError> {
    if lines.value("canary-path").is_none() {
        return Ok(None);
    }
    let text = |v: &str| percent_decode(v).filter(|text| !text.is_empty());
    Ok(Some(Canary {
        path: lines.one("canary-path", "`canary-path /PATH`", |v| {
            let plain = |path: &String| path.starts_with('/') && path.bytes().all(is_plain);
            percent_decode(v).filter(plain)
        })?,
        body: lines.one("canary-body", "`canary-body JSON`", text)?,
        answer: lines.one("canary-answer", "`canary-answer TEXT`", text)?,
        seconds: lines.one("canary-seconds", "`canary-seconds NUMBER`, not 0", |v| {
            v.parse().ok().filter(|seconds| *seconds != 0)
        })?,
    }))
}

fn gpu(value: &str) -> Option<GpuPolicy> {
    if value == "none" {
        return Some(GpuPolicy::None);
    }
    let mut golden_sha256 = [0; 32];
    hex::decode_to_slice(value.strip_prefix("h100 ")?, &mut golden_sha256).ok()?;
    Some(GpuPolicy::H100 { golden_sha256 })
}

fn recipe_name(value: &str) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (!value.is_empty() && value.len() <= 64 && value.bytes().all(allowed)).then(|| value.to_owned())
}

fn module_path(value: &str) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
    let plain = value.starts_with('/') && value.bytes().all(allowed);
    (plain && !value.split('/').any(|part| part == "..")).then(|| value.to_owned())
}

fn network(value: &str) -> Option<Network> {
    if value == "dhcp" {
        return Some(Network::Dhcp);
    }
    let (address, gateway) = value.strip_prefix("static ")?.split_once(' ')?;
    let (address, prefix) = address.split_once('/')?;
    Some(Network::Static {
        address: address.parse().ok()?,
        prefix: prefix.parse().ok().filter(|p| *p <= 32)?,
        gateway: gateway.parse().ok()?,
    })
}

fn root_partitions(value: &str) -> Option<RootPartitions> {
    let (data, rest) = value.split_once(' ')?;
    let (hash, blocks) = rest.split_once(' ')?;
    let data_blocks = blocks.parse().ok().filter(|b| (1..1 << 48).contains(b))?;
    let distinct = is_part_uuid(data) && is_part_uuid(hash) && data != hash;
    distinct.then(|| RootPartitions {
        data: data.to_owned(),
        hash: hash.to_owned(),
        data_blocks,
    })
}

/// Whether `text` is a GUID as Linux prints it in `PARTUUID`: 8-4-4-4-12 lower-case hex digits.
#[must_use]
pub fn is_part_uuid(text: &str) -> bool {
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.split('-').all(|group| group.bytes().all(hex))
}

fn ids(value: &str) -> Option<(u32, u32)> {
    let (uid, gid) = value.split_once(' ')?;
    let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
    // The last two are the kernel's "overflow" and "no change" values.
    let allowed = |id: u32| ![0, SERVE_ID, 65534, u32::MAX].contains(&id);
    (allowed(uid) && allowed(gid)).then_some((uid, gid))
}

fn variable(value: &str) -> Option<(String, String)> {
    let (name, value) = value.split_once(' ')?;
    let first = name.bytes().next()?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let plain = !first.is_ascii_digit() && name.bytes().all(allowed);
    plain.then_some(())?;
    Some((name.to_owned(), percent_decode(value)?))
}

/// A file name that fits `sun_path` behind `/run/workload/`.
fn socket_name(value: &str) -> Option<String> {
    let name = percent_decode(value)?;
    let plain =
        !name.is_empty() && name.len() <= 64 && !name.contains('/') && !name.starts_with('.');
    plain.then_some(name)
}

/// Bytes that stand for themselves; all others are `%XX`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-:=,+@".contains(&byte)
}

fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Undoes [`percent_encode`]; NUL cannot be passed to a program and is refused.
fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        out.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(out).ok().filter(|s| !s.contains('\0'))
}

/// `text` for a message: escaped, at most 64 characters.
fn shown(text: &str) -> String {
    text.escape_debug().take(64).collect()
}

#[cfg(test)]
mod tests;
