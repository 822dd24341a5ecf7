//! The commands of `az`, `azcopy` and `gcloud` that bring an image to a cloud and start it, as a shell script.
//!
//! Sources: the reference of Azure's CLI (`az disk`, `az sig`, `az vm`) and of Google's (`gcloud compute`). Options were held
//! against the parsers of azure-cli and gcloud; nothing was run against a cloud.

use std::path::Path;

use thiserror::Error;

use super::{Cloud, Image, ImageError};
use crate::cmd::Hinted;
use crate::vhd::FOOTER;

/// Machine with one H100 in confidential mode, and one without a GPU.
const AZURE_SIZES: [&str; 2] = ["Standard_NCC40ads_H100_v5", "Standard_DC2as_v5"];

/// Names for what is made at Azure.
#[derive(Debug, clap::Args)]
pub(crate) struct Azure {
    /// Resource group, which must exist
    #[arg(long, value_name = "NAME", value_parser = resource_group)]
    resource_group: String,
    /// Region, such as `eastus2`
    #[arg(long, value_name = "REGION", value_parser = plain)]
    location: String,
    /// Name of disk, image and machine [default: the recipe's]
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Gallery for the image; made if there is none
    #[arg(long, value_name = "NAME", value_parser = gallery, default_value = "cloister")]
    gallery: String,
    /// Version of the image in the gallery
    #[arg(long, value_name = "X.Y.Z", value_parser = version, default_value = "1.0.0")]
    image_version: String,
    /// Machine [default: `Standard_NCC40ads_H100_v5` with a GPU, else `Standard_DC2as_v5`]
    #[arg(long, value_name = "SIZE", value_parser = plain)]
    size: Option<String>,
}

/// Names for what is made at Google.
#[derive(Debug, clap::Args)]
pub(crate) struct Gcp {
    /// Project
    #[arg(long, value_name = "PROJECT", value_parser = plain)]
    project: String,
    /// Zone, such as `us-central1-a`
    #[arg(long, value_name = "ZONE", value_parser = plain)]
    zone: String,
    /// Storage bucket that takes the archive, without `gs://`
    #[arg(long, value_name = "NAME", value_parser = bucket)]
    bucket: String,
    /// Name of image and machine [default: the recipe's]
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Platform to start, where the image is for both [default: `gcp-tdx`]
    #[arg(long, value_name = "PLATFORM", value_parser = ["gcp-snp", "gcp-tdx"])]
    platform: Option<String>,
    /// Machine [default: `a3-highgpu-1g` with a GPU, else `c3-standard-4` for TDX and `n2d-standard-4` for SEV-SNP]
    #[arg(long, value_name = "TYPE", value_parser = plain)]
    machine_type: Option<String>,
}

/// Why there are no commands for an image.
#[derive(Debug, Error)]
pub(crate) enum DeployError {
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A platform that the image has no reference values for.
    #[error("image of `{recipe}` has no platform `{wanted}`, it has {}", .found.join(", "))]
    Platform {
        /// Recipe.
        recipe: String,
        /// Platform asked for.
        wanted: String,
        /// Platforms of the image.
        found: Vec<String>,
    },
    /// The manifest's recipe has a name that no cloud takes.
    #[error("recipe has the name `{recipe}`, {wanted}")]
    Name {
        /// Recipe.
        recipe: String,
        /// What is taken.
        wanted: String,
    },
    /// No such machine.
    #[error("image of `{recipe}` needs a GPU, and machines of `{platform}` have none")]
    Gpu {
        /// Recipe.
        recipe: String,
        /// Platform.
        platform: String,
    },
}

impl Hinted for DeployError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Image(error) => error.hint(),
            Self::Platform { .. } => Some("name one that it has with `--platform`".to_owned()),
            Self::Name { .. } => Some("build the image again".to_owned()),
            Self::Gpu { .. } => Some("build it for `gcp-tdx`".to_owned()),
        }
    }
}

/// The commands for Azure.
pub(crate) fn azure(image: &Image, to: &Azure) -> Result<String, DeployError> {
    let (vhd, length) = image.disk(Cloud::Azure)?;
    let platform = only_platform(image, Cloud::Azure)?;
    let port = image.configuration()?.listen;
    let recipe = checked(&image.manifest.recipe)?;
    let name = to.name.as_deref().unwrap_or(recipe);
    let size = machine(image, to.size.as_deref(), AZURE_SIZES);
    let data = length.saturating_sub(FOOTER as u64);
    let vhd = path_word(&vhd);
    let Azure {
        resource_group,
        location,
        gallery,
        image_version,
        ..
    } = to;
    let group = format!("--resource-group {}", quote(resource_group));
    let definition =
        format!("{group} \\\n  --gallery-name {gallery} --gallery-image-definition {name}");
    Ok(format!(
        r#"#!/bin/sh
set -eu

# `{recipe}` on Azure, platform `{platform}`

# Upload: {data} bytes of disk and {FOOTER} of footer. azcopy skips pages that are zero.
az disk create {group} --name {name}-upload --location {location} \
  --os-type Linux --hyper-v-generation V2 --architecture x64 --sku Standard_LRS \
  --upload-type Upload --upload-size-bytes {length}
sas=$(az disk grant-access {group} --name {name}-upload \
  --access-level Write --duration-in-seconds 86400 --query accessSAS --output tsv)
azcopy copy {vhd} "$sas" --blob-type PageBlob
az disk revoke-access {group} --name {name}-upload
disk=$(az disk show {group} --name {name}-upload --query id --output tsv)

# Image: may start confidential VMs, and brings no state of firmware along.
az sig create {group} --gallery-name {gallery} --location {location}
az sig image-definition create {definition} \
  --location {location} --publisher cloister --offer {recipe} --sku {platform} \
  --os-type Linux --os-state Specialized --hyper-v-generation V2 --architecture x64 \
  --features SecurityType=ConfidentialVmSupported
az sig image-version create {definition} \
  --gallery-image-version {image_version} --location {location} --target-regions {location} \
  --os-snapshot "$disk"
image=$(az sig image-version show {definition} \
  --gallery-image-version {image_version} --query id --output tsv)

# Machine: no user, no key, no agent. Secure Boot is off: the UKI is measured, not signed.
az vm create {group} --name {name} --location {location} \
  --image "$image" --specialized --size {size} \
  --security-type ConfidentialVM --os-disk-security-encryption-type VMGuestStateOnly \
  --enable-vtpm true --enable-secure-boot false --nsg {name}-nsg --nsg-rule NONE
az network nsg rule create {group} --nsg-name {name}-nsg --name guest \
  --priority 1000 --direction Inbound --access Allow --protocol Tcp --destination-port-ranges {port}
"#
    ))
}

/// The commands for Google Compute Engine.
pub(crate) fn gcp(image: &Image, to: &Gcp) -> Result<String, DeployError> {
    let (archive, length) = image.disk(Cloud::Gcp)?;
    let platform = google_platform(image, to.platform.as_deref())?;
    let port = image.configuration()?.listen;
    let recipe = checked(&image.manifest.recipe)?;
    let name = to.name.as_deref().unwrap_or(recipe);
    let archive = path_word(&archive);
    let features = guest_os_features(image);
    let machine = google_machine(image, to.machine_type.as_deref(), platform);
    let Gcp {
        project,
        zone,
        bucket,
        ..
    } = to;
    let object = format!("gs://{bucket}/{name}.tar.gz");
    Ok(format!(
        r#"#!/bin/sh
set -eu

# `{recipe}` on Google Compute Engine, platform `{platform}`

# Upload: {length} bytes.
gcloud storage cp {archive} {object} --project={project}

# Image: UEFI, gVNIC and each kind of confidential computing that it is for.
gcloud compute images create {name} --project={project} --source-uri={object} \
  --architecture=X86_64 --guest-os-features={features}

# Machine: no service account. Secure Boot is off: the UKI is measured, not signed.
gcloud compute instances create {name} --project={project} --zone={zone} \
  {machine} \
  --maintenance-policy=TERMINATE --image={name} --image-project={project} \
  --network-interface=nic-type=GVNIC --shielded-vtpm --no-shielded-secure-boot \
  --no-service-account --no-scopes --tags={name}

# Network: the port of the attested listener.
gcloud compute firewall-rules create {name}-guest --project={project} \
  --direction=INGRESS --allow=tcp:{port} --target-tags={name}
"#
    ))
}

/// Features of the image, one for each of its platforms among them.
fn guest_os_features(image: &Image) -> String {
    let known = image.platforms(Cloud::Gcp);
    let kinds = [("gcp-tdx", "TDX_CAPABLE"), ("gcp-snp", "SEV_SNP_CAPABLE")];
    let kinds = kinds.iter().filter(|(name, _)| known.contains(name));
    let features = kinds.map(|(_, feature)| *feature);
    let features = ["UEFI_COMPATIBLE", "GVNIC"].into_iter().chain(features);
    features.collect::<Vec<_>>().join(",")
}

/// Options that decide machine and kind of confidential computing.
fn google_machine(image: &Image, wanted: Option<&str>, platform: &str) -> String {
    if platform == "gcp-snp" {
        let machine = machine(image, wanted, ["n2d-standard-4"; 2]);
        return format!(
            "--machine-type={machine} --confidential-compute-type=SEV_SNP --min-cpu-platform='AMD Milan'"
        );
    }
    let machine = machine(image, wanted, ["a3-highgpu-1g", "c3-standard-4"]);
    // Machines of this size with a GPU are to be had as spot or flex-start ones.
    let spot = match image.manifest.gpu {
        Some(_) => " --provisioning-model=SPOT",
        None => "",
    };
    format!("--machine-type={machine} --confidential-compute-type=TDX{spot}")
}

fn only_platform(image: &Image, cloud: Cloud) -> Result<&str, ImageError> {
    let found = image.platforms(cloud).first().copied();
    found.ok_or_else(|| ImageError::OtherPlatform {
        recipe: image.manifest.recipe.clone(),
        cloud: cloud.title(),
        found: image.manifest.platforms.clone(),
    })
}

/// The platform asked for, or the one that the image has; of two the one that can have a GPU.
fn google_platform<'a>(image: &'a Image, wanted: Option<&str>) -> Result<&'a str, DeployError> {
    let known = image.platforms(Cloud::Gcp);
    let recipe = image.manifest.recipe.clone();
    let platform = match wanted {
        None => known.last().copied(),
        Some(wanted) => known.iter().find(|name| **name == wanted).copied(),
    };
    let Some(platform) = platform else {
        let Some(wanted) = wanted else {
            return Ok(only_platform(image, Cloud::Gcp)?);
        };
        return Err(DeployError::Platform {
            recipe,
            wanted: wanted.to_owned(),
            found: image.manifest.platforms.clone(),
        });
    };
    if image.manifest.gpu.is_some() && platform != "gcp-tdx" {
        let platform = platform.to_owned();
        return Err(DeployError::Gpu { recipe, platform });
    }
    Ok(platform)
}

/// The machine asked for, or the first of `usual` with a GPU and the second without.
fn machine<'a>(image: &Image, wanted: Option<&'a str>, usual: [&'a str; 2]) -> &'a str {
    let [with_gpu, without] = usual;
    wanted.unwrap_or(if image.manifest.gpu.is_some() {
        with_gpu
    } else {
        without
    })
}

/// The recipe's name, which is a name in the cloud too; a manifest may say anything.
fn checked(recipe: &str) -> Result<&str, DeployError> {
    match name(recipe) {
        Ok(_) => Ok(recipe),
        Err(wanted) => Err(DeployError::Name {
            recipe: recipe.to_owned(),
            wanted,
        }),
    }
}

/// A path as a word of a shell that no program takes for an option.
fn path_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.starts_with('-') {
        true => quote(&format!("./{text}")),
        false => quote(&text),
    }
}

/// One word of a shell.
fn quote(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn plain(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    accept(
        text,
        first && text.chars().all(known),
        "letters, digits, `-` and `_`",
    )
}

/// A name that both clouds take for images and machines.
fn name(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.ends_with('-');
    let fits = text.len() <= 50 && text.chars().all(known) && ends;
    let wanted = "at most 50 of `a-z`, `0-9` and `-`, beginning with a letter, not ending in `-`";
    accept(text, fits, wanted)
}

fn resource_group(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "-_.()".contains(c);
    let ends = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && !text.ends_with('.');
    let fits = text.len() <= 90 && text.chars().all(known) && ends;
    let wanted = "at most 90 letters, digits and `-_.()`, beginning with a letter or digit, not ending in `.`";
    accept(text, fits, wanted)
}

fn gallery(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    let inner = |c: char| c.is_ascii_alphanumeric();
    let ends = text.starts_with(inner) && text.ends_with(inner);
    let fits = text.len() <= 80 && text.chars().all(known) && ends;
    accept(
        text,
        fits,
        "at most 80 letters, digits, `_` and `.`, with a letter or digit at both ends",
    )
}

fn bucket(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let known = |c: char| inner(c) || "-_.".contains(c);
    let ends = text.starts_with(inner) && text.ends_with(inner);
    let fits = (3..=222).contains(&text.len()) && text.chars().all(known) && ends;
    accept(
        text,
        fits,
        "3 to 222 of `a-z`, `0-9` and `-_.`, with a letter or digit at both ends",
    )
}

fn version(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('.').collect();
    let number = |part: &&str| part.parse::<i32>().is_ok_and(|n| n.to_string() == **part);
    accept(
        text,
        parts.len() == 3 && parts.iter().all(number),
        "three numbers such as `1.0.0`",
    )
}

fn accept(text: &str, fits: bool, wanted: &str) -> Result<String, String> {
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("wanted {wanted}"))
}

#[cfg(test)]
mod tests;
