//! What a cloud demands of an image, each demand by name.

use std::collections::BTreeSet;
use std::io;

use cloister_evidence::guest::{CommandLine, GpuPolicy, GuestConfiguration, Network};
use cloister_measure::pe::Pe;
use cloister_measure::reference::ReferenceValues;
use serde::Serialize;

use super::disk_view::DiskView;
use super::{Cloud, Image, guest_configuration};
use crate::disk::MIB;
use crate::gcp_tar::{self, Form, FormError};
use crate::golden::NO_VALUES;
use crate::gpt::SECTOR;
use crate::output::MANIFEST;
use crate::store::Digest;
use crate::uki::BOOT_PATH;
use crate::vhd::{self, FOOTER, Footer, Geometry};

/// The serial console of both clouds.
const CONSOLE: &str = "console=ttyS0";

/// One demand, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Check {
    /// Name.
    pub(crate) name: &'static str,
    /// Whether it holds.
    pub(crate) pass: bool,
    /// What is demanded.
    pub(crate) wanted: String,
    /// What there is.
    pub(crate) found: String,
}

/// Checks in the order in which they were made.
struct Checks(Vec<Check>);

impl Checks {
    fn add(
        &mut self,
        name: &'static str,
        pass: bool,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) {
        let (wanted, found) = (wanted.into(), found.into());
        self.0.push(Check {
            name,
            pass,
            wanted,
            found,
        });
    }
}

/// Every demand of `cloud`, held against `image`. What cannot be looked into any further ends the list with a failed check.
pub(crate) fn check(image: &Image, cloud: Cloud) -> Vec<Check> {
    let mut checks = Checks(Vec::new());
    platform(image, cloud, &mut checks);
    reference_values(image, cloud, &mut checks);
    if !disk_file(image, cloud, &mut checks) {
        return checks.0;
    }
    let view = match cloud {
        Cloud::Azure => azure_disk(image, &mut checks),
        Cloud::Gcp => google_disk(image, &mut checks),
    };
    match view {
        Ok(view) => disk(image, cloud, &view, &mut checks),
        Err(error) => checks.add("disk", false, "a disk that can be read", error),
    }
    checks.0
}

fn platform(image: &Image, cloud: Cloud, checks: &mut Checks) {
    let wanted = format!("a platform `{}...`", cloud.prefix());
    let pass = !image.platforms(cloud).is_empty();
    checks.add("platform", pass, wanted, list(&image.manifest.platforms));
}

/// The reference values that a verifier will need lie beside the image and are those of the manifest.
fn reference_values(image: &Image, cloud: Cloud, checks: &mut Checks) {
    for platform in image.platforms(cloud) {
        let name = format!("measurements/{platform}.json");
        let found = std::fs::read(image.directory.join(&name));
        let bytes = found.unwrap_or_default();
        let listed = image.manifest.outputs.get(&name);
        let same = listed.is_some_and(|output| output.sha256 == Digest::of(&bytes));
        let found = match ReferenceValues::from_json(&bytes) {
            Err(error) => error.to_string(),
            Ok(_) if !same => format!("`{name}` differs from `{MANIFEST}`"),
            Ok(values) if values.platform != platform => format!("values of `{}`", values.platform),
            Ok(values) => format!("`{name}`, {} registers", values.registers.len()),
        };
        let pass = same && found.starts_with('`');
        let wanted = format!("values of `{platform}` as in `{MANIFEST}`");
        checks.add("reference-values", pass, wanted, found);
    }
}

/// The file is there and is what the manifest says; without it there is nothing more to say.
fn disk_file(image: &Image, cloud: Cloud, checks: &mut Checks) -> bool {
    let name = cloud.disk_format().file_name();
    let Some(wanted) = image.manifest.outputs.get(name) else {
        let wanted = format!("`{name}` in `{MANIFEST}`");
        checks.add("disk-file", false, wanted, "none");
        return false;
    };
    let file = image.open_disk(cloud);
    let found = file.and_then(|mut file| Digest::of_reader(&mut file));
    let (pass, found) = match found {
        Ok((sha256, size)) => (
            sha256 == wanted.sha256 && size == wanted.size,
            format!("{size} bytes, SHA-256 {sha256}"),
        ),
        Err(error) => (false, error.to_string()),
    };
    let wanted = format!("{} bytes, SHA-256 {}", wanted.size, wanted.sha256);
    checks.add("disk-file", pass, wanted, found);
    image.open_disk(cloud).is_ok()
}

fn azure_disk(image: &Image, checks: &mut Checks) -> Result<DiskView, String> {
    let text = |error: io::Error| error.to_string();
    let file = image.open_disk(Cloud::Azure).map_err(text)?;
    let length = file.metadata().map_err(text)?.len();
    let size = length.saturating_sub(FOOTER as u64);
    let mut bytes = [0; FOOTER];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, size).map_err(text)?;
    let wanted = format!(
        "fixed disk of {size} bytes, {}, time 0",
        shown(Geometry::of(size))
    );
    match Footer::parse(&bytes) {
        Err(error) => checks.add("footer", false, wanted, error.to_string()),
        Ok(footer) => {
            let pass = footer == Footer::new(size, footer.id);
            let found = format!(
                "fixed disk of {} bytes, {}, time {}",
                footer.size,
                shown(footer.geometry),
                footer.time
            );
            checks.add("footer", pass, wanted, found);
        }
    }
    whole("disk-size", size, vhd::ALIGNMENT, "MiB", checks);
    DiskView::of_file(&file, size).map_err(text)
}

fn shown(geometry: Geometry) -> String {
    let Geometry {
        cylinders,
        heads,
        sectors,
    } = geometry;
    format!("CHS {cylinders}/{heads}/{sectors}")
}

fn google_disk(image: &Image, checks: &mut Checks) -> Result<DiskView, String> {
    let file = image.open_disk(Cloud::Gcp).map_err(|e| e.to_string())?;
    let wanted = Form {
        gzip_time: 0,
        name: gcp_tar::MEMBER.to_owned(),
        kind: 'S',
        old_gnu: true,
        mode: gcp_tar::MODE,
        uid: 0,
        gid: 0,
        mtime: image.manifest.epoch,
        stored: 0,
        size: 0,
    };
    let read = gcp_tar::read(file, |disk, form| DiskView::of_stream(disk, form.size));
    let (form, view) = match read {
        Ok(read) => read,
        Err(error) => {
            let found = describe(&error);
            checks.add("archive", false, form_text(&wanted), found.clone());
            return Err(found);
        }
    };
    let (stored, size) = (form.stored, form.size);
    let wanted = Form {
        stored,
        size,
        ..wanted
    };
    let pass = form == wanted;
    checks.add("archive", pass, form_text(&wanted), form_text(&form));
    whole("disk-size", size, gcp_tar::UNIT, "GiB", checks);
    Ok(view)
}

fn describe(error: &FormError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn form_text(form: &Form) -> String {
    let header = if form.old_gnu { "old GNU" } else { "other" };
    format!(
        "one member `{}` of type {}, {header} header, mode {:04o}, owner {}:{}, time {}, gzip time {}",
        form.name, form.kind, form.mode, form.uid, form.gid, form.mtime, form.gzip_time
    )
}

fn whole(name: &'static str, size: u64, unit: u64, title: &str, checks: &mut Checks) {
    let pass = size > 0 && size.is_multiple_of(unit);
    let found = format!("{size} bytes, {} {title} and {}", size / unit, size % unit);
    checks.add(name, pass, format!("whole {title}"), found);
}

/// What the disk holds, and what its guest will do.
fn disk(image: &Image, cloud: Cloud, view: &DiskView, checks: &mut Checks) {
    tables(view, checks);
    let listed = image.manifest.outputs.get("uki.efi");
    let wanted = listed.map_or("a UKI in the manifest".to_owned(), |output| {
        format!("`{BOOT_PATH}`, SHA-256 {}", output.sha256)
    });
    let uki = match &view.boot {
        Ok(uki) => uki,
        Err(reason) => return checks.add("boot-file", false, wanted, reason.as_str()),
    };
    let sha256 = Digest::of(uki);
    let pass = listed.is_some_and(|output| output.sha256 == sha256);
    let found = format!("`{BOOT_PATH}`, SHA-256 {sha256}");
    checks.add("boot-file", pass, wanted, found);
    let section = |name: &str| {
        let pe = Pe::parse(uki).ok()?;
        let contents = pe.section(name)?.contents().ok()?;
        Some(contents.into_owned())
    };
    command_line(&section(".cmdline").unwrap_or_default(), checks);
    let encoded = section(".initrd").and_then(|initrd| guest_configuration(&initrd));
    let parsed = GuestConfiguration::parse(&encoded.unwrap_or_default());
    let wanted = "a configuration that the guest takes";
    match parsed {
        Err(error) => checks.add("guest-configuration", false, wanted, error.to_string()),
        Ok(guest) => {
            let found = format!("recipe `{}`, port {}", guest.recipe, guest.listen);
            checks.add("guest-configuration", true, wanted, found);
            self::guest(image, cloud, &guest, checks);
        }
    }
}

fn tables(view: &DiskView, checks: &mut Checks) {
    let sectors = view.size / SECTOR as u64;
    let wanted = format!("GPT of {sectors} sectors");
    let table = match &view.table {
        Ok(table) => table,
        Err(error) => return checks.add("partition-table", false, wanted, error.to_string()),
    };
    let found = format!("GPT of {} sectors", table.sectors);
    checks.add("partition-table", table.sectors == sectors, wanted, found);
    let wanted = format!("the same table, its header in sector {}", sectors - 1);
    let found = match &view.backup {
        Ok(backup) if backup == table => wanted.clone(),
        Ok(_) => "another table".to_owned(),
        Err(error) => error.to_string(),
    };
    checks.add("backup-table", found == wanted, wanted, found);
    let odd = |first: &u64| !(first * SECTOR as u64).is_multiple_of(MIB);
    let first = table.partitions.iter().map(|partition| partition.first);
    let odd: Vec<String> = first.filter(odd).map(|first| first.to_string()).collect();
    let wanted = "partitions that start at whole MiB";
    let found = if odd.is_empty() {
        format!("{} partitions, all do", table.partitions.len())
    } else {
        format!("partitions at sectors {}", odd.join(", "))
    };
    checks.add("partition-alignment", odd.is_empty(), wanted, found);
}

fn command_line(section: &[u8], checks: &mut Checks) {
    let text = String::from_utf8_lossy(section);
    let text = text.trim_end_matches('\0');
    let parsed = CommandLine::parse(text);
    let wanted = "words that the guest takes, with a root hash and `panic=`";
    let (pass, found) = match &parsed {
        Ok(line) => (
            line.kernel.iter().any(|word| word.starts_with("panic=")),
            text.to_owned(),
        ),
        Err(error) => (false, error.to_string()),
    };
    checks.add("command-line", pass, wanted, found);
    let consoles: Vec<&str> = text
        .split_ascii_whitespace()
        .filter(|word| word.starts_with("console="))
        .collect();
    let last = consoles.last().copied().unwrap_or("no console");
    // The last one is `/dev/console`, on which PID 1 speaks; a speed may stand behind it.
    let pass = last == CONSOLE || last.starts_with("console=ttyS0,");
    let wanted = format!("`{CONSOLE}`, as the last console");
    checks.add("console", pass, wanted, last);
}

fn guest(image: &Image, cloud: Cloud, guest: &GuestConfiguration, checks: &mut Checks) {
    let found = match guest.network {
        Network::Dhcp => "DHCP".to_owned(),
        Network::Static { address, .. } => format!("fixed address {address}"),
    };
    let dhcp = guest.network == Network::Dhcp;
    checks.add("network", dhcp, "DHCP", found);
    let gpu = guest.gpu != GpuPolicy::None;
    for (name, choices) in drivers(cloud, gpu) {
        driver(image, guest, name, choices, checks);
    }
    self::gpu(image, cloud, guest, checks);
}

/// Sets of drivers by demand; one set of each must be complete.
fn drivers(cloud: Cloud, gpu: bool) -> Vec<(&'static str, &'static [&'static [&'static str]])> {
    let mut wanted: Vec<(&str, &[&[&str]])> = vec![("drivers-root", &[&["dm_verity", "erofs"]])];
    match cloud {
        Cloud::Azure => {
            wanted.push(("drivers-disk", &[&["hv_vmbus", "hv_storvsc", "sd_mod"]]));
            wanted.push(("drivers-network", &[&["hv_vmbus", "hv_netvsc"]]));
        }
        Cloud::Gcp => {
            wanted.push(("drivers-disk", &[&["nvme"], &["virtio_scsi", "sd_mod"]]));
            wanted.push(("drivers-network", &[&["gve"]]));
        }
    }
    if gpu {
        wanted.push(match cloud {
            // The GPU is a PCI device that comes over the VMBus.
            Cloud::Azure => ("drivers-gpu", &[&["pci_hyperv", "nvidia", "nvidia_uvm"]]),
            Cloud::Gcp => ("drivers-gpu", &[&["nvidia", "nvidia_uvm"]]),
        });
    }
    wanted
}

fn driver(
    image: &Image,
    guest: &GuestConfiguration,
    name: &'static str,
    choices: &[&[&str]],
    checks: &mut Checks,
) {
    let loaded: BTreeSet<String> = guest.modules.iter().map(|path| module(path)).collect();
    let built_in = &image.manifest.report.built_in_modules;
    let lacking = |set: &&[&str]| -> Vec<String> {
        let lacks = |driver: &&&str| {
            !loaded.contains(**driver) && !built_in.iter().any(|known| known == **driver)
        };
        set.iter().filter(lacks).map(ToString::to_string).collect()
    };
    let wanted: Vec<String> = choices.iter().map(|set| set.join(", ")).collect();
    let wanted = format!("{} (in the initrd or built in)", wanted.join(" or "));
    let lacks = choices.iter().map(lacking).min_by_key(Vec::len);
    let lacks = lacks.unwrap_or_default();
    let found = match lacks.as_slice() {
        [] => "all".to_owned(),
        lacks => format!("no {}", lacks.join(", ")),
    };
    checks.add(name, lacks.is_empty(), wanted, found);
}

/// `hv_vmbus` from `/cloister/modules/03-hv_vmbus.ko`.
fn module(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = file.split_once('-').map_or(file, |(_, name)| name);
    name.trim_end_matches(".ko").replace('-', "_")
}

/// GPU, driver and machine go together.
fn gpu(image: &Image, cloud: Cloud, guest: &GuestConfiguration, checks: &mut Checks) {
    let wants = guest.gpu != GpuPolicy::None;
    // What a recipe without RIMs has is no golden value: the guest refuses every GPU with it.
    let refuses = GpuPolicy::H100 {
        golden_sha256: Digest::of(NO_VALUES.as_bytes()).0,
    };
    let described = image.manifest.gpu.is_some() && guest.gpu != refuses;
    let driver = guest.modules.iter().any(|path| module(path) == "nvidia");
    // Of Google's machines with confidential computing, only those on TDX have a GPU.
    let machine = cloud != Cloud::Gcp || image.platforms(cloud).contains(&"gcp-tdx");
    let word = |yes: bool| if yes { "yes" } else { "no" };
    let wanted = if wants {
        "GPU, golden values and driver, on a machine that has one"
    } else {
        "no GPU, no golden values, no driver"
    };
    let found = format!(
        "GPU {}, golden values {}, driver {}, machine with one {}",
        guest.gpu.word(),
        word(described),
        word(driver),
        word(machine)
    );
    let pass = wants == described && wants == driver && (machine || !wants);
    checks.add("gpu", pass, wanted, found);
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
