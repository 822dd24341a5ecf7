//! Launch digests and ID blocks against `sev-snp-measure`, an independent implementation.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::images;
use crate::program::{Said, repository, run, said, scratch, succeed};

/// A program of the environment that `scripts/test.sh` sets up.
fn tool(name: &str) -> PathBuf {
    let path = repository().join("target/venv/bin").join(name);
    assert!(
        path.exists(),
        "no {}: run scripts/test.sh once",
        path.display()
    );
    path
}

fn python(arguments: &[&str]) -> Said {
    let mut command = Command::new(tool("python"));
    command.args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
    said(command.output().expect("python starts"))
}

/// An empty folder that lasts until the next run.
fn folder(name: &str) -> PathBuf {
    let folder = scratch().join(name);
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).expect("folder");
    folder
}

/// Runs a script beside the vectors and returns the list that it writes.
fn made(folder: &Path, script: &str, arguments: &[&str]) -> Vec<Value> {
    let script = repository().join(format!("tests/vectors/snp/{script}.py"));
    let (script, to) = (script.to_str().unwrap(), folder.to_str().unwrap());
    let made = python(&[&[script], arguments, &[to]].concat());
    assert_eq!(made.code, 0, "{made:#?}");
    let list = folder
        .join(folder.file_name().unwrap())
        .with_extension("json");
    serde_json::from_slice(&fs::read(list).unwrap()).unwrap()
}

/// Random firmware with random tables, files, command lines, hosts, features and numbers of vCPUs. Inputs go in by file or by
/// hash, firmware whole or as its tail with the digest of its pages.
#[test]
fn launch_digests_of_random_launches_equal_those_of_sev_snp_measure() {
    const COUNT: usize = 200;
    let seed = "20261123";
    let cases = made(&folder("cases"), "cases", &[seed, &COUNT.to_string()]);
    let mut compared = BTreeMap::new();
    for (index, case) in cases.iter().enumerate() {
        let found = succeed(arguments(case, index)).stdout;
        assert_eq!(found, expected(case), "{case:#}");
        *compared.entry(text(case, "host")).or_default() +=
            case["digests"].as_array().unwrap().len();
    }
    println!("digests of {COUNT} launches, seed {seed}: {compared:?}");
    let each: Vec<usize> = compared.into_values().collect();
    assert!(
        each.len() == 3 && each.iter().all(|count| *count > 100),
        "{each:?}"
    );
}

/// The differences that `docs/measurement-snp.md` lists, one by one.
#[test]
fn launch_digests_differ_from_sev_snp_measure_where_the_documentation_says() {
    let cases = made(&folder("differences"), "differences", &[]);
    for case in &cases {
        let words = case["arguments"].as_array().unwrap().iter();
        let words = ["measure", "snp"]
            .into_iter()
            .chain(words.map(|word| word.as_str().unwrap()));
        let said = run(words);
        assert_ne!(case["tool"], case["here"], "{case:#}");
        match case["refusal"].as_str() {
            None => assert_eq!(said.stdout.trim(), text(case, "here"), "{case:#} {said:#?}"),
            Some(refusal) => {
                assert_eq!(
                    (said.code, said.stdout.as_str()),
                    (2, ""),
                    "{case:#} {said:#?}"
                );
                assert!(said.stderr.contains(refusal), "{case:#} {said:#?}");
            }
        }
    }
    assert_eq!(cases.len(), 15);
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap()
}

fn numbers(case: &Value, key: &str) -> Vec<String> {
    case[key]
        .as_array()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn expected(case: &Value) -> String {
    let digests = case["digests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|digest| digest.as_str().unwrap());
    match case["vcpus"].as_array().unwrap().len() {
        1 => digests.map(|digest| format!("{digest}\n")).collect(),
        _ => numbers(case, "vcpus")
            .iter()
            .zip(digests)
            .map(|(count, digest)| format!("{count} {digest}\n"))
            .collect(),
    }
}

/// The command line of a case; `index` decides in which of the equal ways inputs are given.
fn arguments(case: &Value, index: usize) -> Vec<String> {
    let file = |name: &str| format!("{}.{name}", text(case, "base"));
    let mut words: Vec<String> = ["measure", "snp", "--vcpus"].map(str::to_owned).to_vec();
    words.push(numbers(case, "vcpus").join(","));
    let mut add = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    add("host-profile", text(case, "host").to_owned());
    add("guest-features", case["features"].to_string());
    match index % 2 {
        0 => add("vcpu-model", text(case, "model").to_owned()),
        _ => add(
            "vcpu-signature",
            format!("{:#x}", case["signature"].as_u64().unwrap()),
        ),
    }
    if case["direct"] == true {
        match index % 3 {
            0 => add("kernel", format!("sha256:{}", text(case, "kernel-sha256"))),
            _ => add("kernel", file("kernel")),
        }
        match index % 4 {
            0 => add("cmdline", fs::read_to_string(file("cmdline")).unwrap()),
            _ => add("cmdline-file", file("cmdline")),
        }
        if case["initrd"] == true {
            add("initrd", file("initrd"));
        }
    }
    let mut firmware = file("firmware");
    if index.is_multiple_of(5) {
        let whole = fs::read(&firmware).unwrap();
        firmware = file("tail");
        fs::write(&firmware, &whole[whole.len() - 4096..]).unwrap();
        add("firmware-digest", text(case, "firmware-digest").to_owned());
    }
    add("firmware", firmware);
    words
}

const DIGEST: &str = "609fbd51322dbdfe054754c8fca66ad1ebfce6496b3dd7d9ea46efb2ae89db6a5693eb0705167a4cb58cfe67666fb89b";

/// Prints as JSON what sev-snp-measure makes of the same keys, and fails unless both signatures in the ID authentication
/// information of `cloister` verify by `cryptography`, which is OpenSSL.
const ID_BLOCK: &str = r#"
import base64, json, sys
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from sevsnpmeasure import id_block as by
digest, id_key, author_key, block, auth = sys.argv[1:]
block, auth = base64.b64decode(block), base64.b64decode(auth)
def verify(key, at, data):
    r, s = (int.from_bytes(auth[i:i + 72], "little") for i in (at, at + 72))
    key = by.load_private_key_from_pem_file(key).public_key()
    key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA384()))
verify(id_key, 0x40, block)
verify(author_key, 0x680, auth[0x240:0x240 + 1028])
lines = by.snp_calc_id_block(bytes.fromhex(digest), id_key, author_key).splitlines()
one = dict(part.split("=", 1) for part in lines[0].split(","))
# Signatures are not the same twice: blank them on both sides.
def blank(data):
    data = bytearray(data)
    for at in (0x40, 0x680): data[at:at + 512] = bytes(512)
    return data.hex()
digests = [base64.b64decode(line.split(": ")[1]).hex() for line in lines[1:]]
print(json.dumps({"block": one["id-block"], "auth": blank(base64.b64decode(one["id-auth"])), "own": blank(auth), "digests": digests}))
"#;

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .expect("openssl starts");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

/// Makes a key pair: `NAME` in the form that `openssl ecparam` writes, `NAME.pub`.
fn key(folder: &Path, name: &str) -> (String, String) {
    let (private, public) = (path(folder, name), path(folder, &format!("{name}.pub")));
    openssl(&["ecparam", "-name", "secp384r1", "-genkey", "-out", &private]);
    openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]);
    (private, public)
}

fn id_block(words: &[&str]) -> Value {
    let words = ["measure", "id-block", "--json", "--digest", DIGEST]
        .iter()
        .chain(words);
    serde_json::from_str(&succeed(words).stdout).unwrap()
}

#[test]
fn id_block_signed_here_equals_that_of_sev_snp_measure_and_verifies() {
    let folder = folder("id-block");
    let ((id, _), (author, _)) = (key(&folder, "id"), key(&folder, "author"));
    let made = id_block(&["--id-key", &id, "--author-key", &author]);
    let (block, auth) = (text(&made, "id-block"), text(&made, "id-auth"));
    let oracle = python(&["-c", ID_BLOCK, DIGEST, &id, &author, block, auth]);
    assert_eq!(oracle.code, 0, "{oracle:#?}");
    let oracle: Value = serde_json::from_str(&oracle.stdout).unwrap();
    assert_eq!(oracle["block"], made["id-block"]);
    assert_eq!(oracle["auth"], oracle["own"]);
    assert_eq!(oracle["digests"][0], made["id-key-digest"]);
    assert_eq!(oracle["digests"][1], made["author-key-digest"]);
}

#[test]
fn id_block_signed_by_openssl_is_taken_back() {
    let folder = folder("id-block-elsewhere");
    let ((id, id_public), (author, author_public)) = (key(&folder, "id"), key(&folder, "author"));
    let out = path(&folder, "out");
    let policy = ["--policy", "smt,single-socket,abi=1.55", "--guest-svn", "3"];
    id_block(&[&policy[..], &["--public-key", &id_public, "--out", &out]].concat());
    let sign = |key: &str, file: &str| {
        let (bytes, signature) = (format!("{out}/{file}"), format!("{out}/{file}.sig"));
        openssl(&["dgst", "-sha384", "-sign", key, "-out", &signature, &bytes]);
        signature
    };
    let (by_id, by_author) = (sign(&id, "id-block.bin"), sign(&author, "id-key.bin"));
    let back = [
        "--signature",
        &by_id,
        "--public-key",
        &id_public,
        "--author-signature",
        &by_author,
        "--author-public-key",
        &author_public,
    ];
    let made = id_block(&[&policy[..], &back].concat());
    let here = id_block(&[&policy[..], &["--id-key", &id, "--author-key", &author]].concat());
    for key in [
        "id-block",
        "id-key-digest",
        "author-key-digest",
        "author-key-enabled",
    ] {
        assert_eq!(made[key], here[key], "{key}");
    }
    assert_eq!(
        made["policy-bits"],
        serde_json::json!(["smt", "single-socket"])
    );
    // The same signature under another policy is refused.
    let words = ["measure", "id-block", "--digest", DIGEST];
    let refused = run(words.iter().chain(&back[..4]));
    assert_eq!(
        (refused.code, refused.stdout.as_str()),
        (2, ""),
        "{refused:#?}"
    );
    assert!(
        refused.stderr.contains("is not of these 96 bytes"),
        "{refused:#?}"
    );
}

#[test]
fn launch_digests_equal_those_of_sev_snp_measure() {
    let out = &images::demo().out;
    let text = std::fs::read(out.join("measurements/qemu-snp.json")).expect("reference values");
    let reference =
        cloister_measure::reference::ReferenceValues::from_json(&text).expect("reference values");
    let tool = tool("sev-snp-measure");
    let command_line = std::fs::read_to_string(out.join("cmdline")).expect("command line");
    let models = ["EPYC-v4", "EPYC-Milan-v2", "EPYC-Genoa"];
    for (model, vcpus) in models
        .into_iter()
        .flat_map(|model| [1, 2, 64].map(|vcpus| (model, vcpus)))
    {
        let output = Command::new(&tool)
            .args([
                "--mode",
                "snp",
                "--vcpu-type",
                model,
                "--vcpus",
                &vcpus.to_string(),
            ])
            .arg("--ovmf")
            .arg(out.join("firmware/OVMF.amdsev.fd"))
            .arg("--kernel")
            .arg(out.join("kernel"))
            .arg("--initrd")
            .arg(out.join("initrd"))
            .args([
                "--append",
                command_line.trim_end_matches(['\n', '\0']),
                "--guest-features",
                "0x1",
            ])
            .output()
            .expect("sev-snp-measure starts");
        let oracle = said(output);
        assert_eq!(oracle.code, 0, "{oracle:#?}");
        let own = reference
            .launch_digest(model, vcpus)
            .unwrap_or_else(|| panic!("no value for {model}, {vcpus}"));
        assert_eq!(
            oracle.stdout.trim(),
            own.to_string(),
            "{model}, {vcpus} vCPUs"
        );
        println!("{model} {vcpus} {own}");
    }
}
