use clap::Parser;

use super::*;
use crate::cloud::tests::{Made, sound, write};

#[derive(Debug, Parser)]
struct OfAzure {
    #[command(flatten)]
    names: Azure,
}

#[derive(Debug, Parser)]
struct OfGcp {
    #[command(flatten)]
    names: Gcp,
}

const AZURE: [&str; 5] = [
    "x",
    "--resource-group",
    "my(group)",
    "--location",
    "eastus2",
];
const GCP: [&str; 7] = [
    "x",
    "--project",
    "p-1",
    "--zone",
    "us-central1-a",
    "--bucket",
    "images",
];

fn to_azure(more: &[&str]) -> Result<Azure, String> {
    let words = AZURE.iter().chain(more);
    let parsed = OfAzure::try_parse_from(words).map_err(|error| error.to_string());
    parsed.map(|parsed| parsed.names)
}

fn to_gcp(more: &[&str]) -> Result<Gcp, String> {
    let words = GCP.iter().chain(more);
    let parsed = OfGcp::try_parse_from(words).map_err(|error| error.to_string());
    parsed.map(|parsed| parsed.names)
}

/// An image in a directory whose name a shell would take apart.
fn image(dir: &Path, made: &Made) -> Image {
    let directory = dir.join("it's an image");
    std::fs::create_dir(&directory).unwrap();
    write(&directory, made);
    Image::open(&directory).unwrap()
}

/// The script with the place of the image taken out.
fn shown(script: &str, dir: &Path) -> String {
    script.replace(&*dir.to_string_lossy(), "/DIR")
}

#[test]
fn azure_is_told_all_this() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path(), &sound());
    let script = azure(&image, &to_azure(&[]).unwrap()).unwrap();
    insta::assert_snapshot!(shown(&script, dir.path()));
}

#[test]
fn google_is_told_all_this() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path(), &sound());
    let script = gcp(&image, &to_gcp(&[]).unwrap()).unwrap();
    // Compressed sizes belong to the deflater.
    let size = std::fs::metadata(image.directory.join("disk.tar.gz"))
        .unwrap()
        .len();
    let script = script.replace(&size.to_string(), "SIZE");
    insta::assert_snapshot!(shown(&script, dir.path()));
}

#[test]
fn machines_follow_platform_and_gpu() {
    let dir = tempfile::tempdir().unwrap();
    let made = Made {
        gpu: true,
        ..sound()
    };
    let with_gpu = image(dir.path(), &made);
    let script = azure(&with_gpu, &to_azure(&[]).unwrap()).unwrap();
    assert!(script.contains("--size Standard_NCC40ads_H100_v5 "));
    let script = gcp(&with_gpu, &to_gcp(&[]).unwrap()).unwrap();
    let words =
        "--machine-type=a3-highgpu-1g --confidential-compute-type=TDX --provisioning-model=SPOT";
    assert!(script.contains(words), "{script}");
    let snp = to_gcp(&["--platform", "gcp-snp"]).unwrap();
    let error = gcp(&with_gpu, &snp).unwrap_err();
    assert!(matches!(error, DeployError::Gpu { .. }), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let made = Made {
        platforms: vec!["gcp-snp"],
        ..sound()
    };
    let only_snp = image(dir.path(), &made);
    let script = gcp(&only_snp, &to_gcp(&[]).unwrap()).unwrap();
    assert!(script.contains("--guest-os-features=UEFI_COMPATIBLE,GVNIC,SEV_SNP_CAPABLE\n"));
    assert!(script.contains("--confidential-compute-type=SEV_SNP --min-cpu-platform='AMD Milan'"));
    let tdx = to_gcp(&["--platform", "gcp-tdx"]).unwrap();
    let error = gcp(&only_snp, &tdx).unwrap_err();
    let wanted = "image of `demo` has no platform `gcp-tdx`, it has gcp-snp";
    assert_eq!(error.to_string(), wanted);
    let error = azure(&only_snp, &to_azure(&[]).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "image of `demo` is for gcp-snp, not for Azure"
    );
    assert!(error.hint().unwrap().contains("platforms"));
}

#[test]
fn names_that_a_shell_or_a_cloud_would_misread_are_refused() {
    for bad in [
        "",
        "Demo",
        "9demo",
        "demo-",
        "de mo",
        "$(id)",
        &"a".repeat(51),
    ] {
        assert!(to_azure(&["--name", bad]).is_err(), "{bad}");
        assert!(to_gcp(&["--name", bad]).is_err(), "{bad}");
    }
    let azure = |option: &str, bad: &str| {
        let error = to_azure(&[option, bad]).unwrap_err();
        assert!(error.contains("wanted"), "{error}");
    };
    azure("--image-version", "1.0");
    azure("--image-version", "01.0.0");
    azure("--gallery", "my-gallery");
    azure("--size", "a;b");
    assert!(to_gcp(&["--machine-type", "`id`"]).is_err());
    assert!(to_gcp(&["--platform", "azure-snp"]).is_err());
    for bad in ["ab", "Images", "gs://images", "images/"] {
        let words = ["x", "--project", "p", "--zone", "z", "--bucket", bad];
        assert!(OfGcp::try_parse_from(words).is_err(), "{bad}");
    }
    for bad in ["group.", "a b", "-group"] {
        let option = format!("--resource-group={bad}");
        let words = ["x", &option, "--location", "l"];
        assert!(OfAzure::try_parse_from(words).is_err(), "{bad}");
    }
}

#[test]
fn manifest_with_another_name_or_length_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut image = image(dir.path(), &sound());
    image.manifest.recipe = "x; reboot".to_owned();
    let error = azure(&image, &to_azure(&[]).unwrap()).unwrap_err();
    assert!(matches!(error, DeployError::Name { .. }), "{error}");
    let path = image.directory.join("disk.vhd");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(512).unwrap();
    let error = azure(&image, &to_azure(&[]).unwrap()).unwrap_err();
    let length = matches!(
        error,
        DeployError::Image(ImageError::Length { found: 512, .. })
    );
    assert!(length, "{error}");
}
