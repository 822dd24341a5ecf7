//! `cloister measure id-block`: the launch that a guest's owner agrees to, signed here or elsewhere.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloister_measure::snp::{GuestPolicy, IdAuth, IdBlock, LaunchDigest};
use serde_json::{Value, json};

use super::error::MeasureError;
use super::files::read;
use super::numbers::{launch_digest, number32};
use super::{print, print_json};
use crate::cmd::{CommandError, Context};

mod keys;

use keys::{KeyError, Signed};

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  cloister measure snp ... | cloister measure id-block --id-key id.pem
  # signed elsewhere
  cloister measure id-block --digest HEX --public-key id.pub --out DIR
  openssl dgst -sha384 -sign id.pem -out sig DIR/id-block.bin
  cloister measure id-block --digest HEX --public-key id.pub --signature sig --out DIR
";

/// Make the ID block and ID authentication information of an SEV-SNP guest, as QEMU takes them
///
/// With `--id-key` it is signed here. Without keys the 96 bytes to be signed come out; their signature comes back with
/// `--signature` and `--public-key`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Launch digest of the guest [default: the one line on stdin]
    #[arg(long, value_name = "HEX", value_parser = launch_digest)]
    digest: Option<LaunchDigest>,
    /// Family of the guest: 32 hexadecimal digits, reported as they are
    #[arg(long, value_name = "HEX", value_parser = id, default_value = "00000000000000000000000000000000")]
    family_id: [u8; 16],
    /// Image of the guest: 32 hexadecimal digits, reported as they are
    #[arg(long, value_name = "HEX", value_parser = id, default_value = "00000000000000000000000000000000")]
    image_id: [u8; 16],
    /// Version of the guest's security
    #[arg(long, value_name = "N", value_parser = number32, default_value = "0")]
    guest_svn: u32,
    /// Guest policy: a number, or names such as `smt,debug,abi=1.55`; must equal the policy of the launch
    #[arg(long, value_name = "POLICY", default_value = "0x30000")]
    policy: GuestPolicy,
    /// Private key on P-384 that signs the ID block
    #[arg(long, value_name = "PEM", conflicts_with_all = ["signature", "public_key"])]
    id_key: Option<PathBuf>,
    /// Signature of the ID block made elsewhere: DER, or 96 bytes of r and s
    #[arg(long, value_name = "FILE", requires = "public_key")]
    signature: Option<PathBuf>,
    /// Public key of the signature made elsewhere
    #[arg(long, value_name = "PEM")]
    public_key: Option<PathBuf>,
    /// Private key on P-384 that signs the ID key
    #[arg(long, value_name = "PEM", conflicts_with_all = ["author_signature", "author_public_key"])]
    author_key: Option<PathBuf>,
    /// Signature of the ID key's 1028 bytes made elsewhere
    #[arg(long, value_name = "FILE", requires = "author_public_key")]
    author_signature: Option<PathBuf>,
    /// Public key of the author's signature made elsewhere
    #[arg(long, value_name = "PEM", requires = "author_signature")]
    author_public_key: Option<PathBuf>,
    /// Write `id-block.bin`, `id-block.base64`, and as far as keys are known `id-key.bin` and `id-auth.base64` there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let launch_digest = match args.digest {
        Some(digest) => digest,
        None => from_stdin()?,
    };
    let block = IdBlock {
        launch_digest,
        family_id: args.family_id,
        image_id: args.image_id,
        guest_svn: args.guest_svn,
        policy: args.policy,
    };
    let made = Made::new(block, args)?;
    if let Some(directory) = &args.out {
        made.write(directory)?;
    }
    let document = made.json();
    if ctx.json {
        print_json(&document)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.policy.names().any(|name| name == "debug") {
        eprintln!("note: this policy lets the host read the guest's memory");
    }
    if made.auth.is_none() {
        eprintln!(
            "note: not signed; sign the 96 bytes of the ID block with ECDSA P-384 and SHA-384"
        );
    }
    print(&made.text(&document))?;
    Ok(ExitCode::SUCCESS)
}

/// An ID block with as many signatures as there are keys.
struct Made {
    block: IdBlock,
    /// The ID key, also when it has not signed yet.
    id_key: Option<cloister_measure::snp::IdKey>,
    auth: Option<IdAuth>,
}

impl Made {
    fn new(block: IdBlock, args: &Args) -> Result<Made, KeyError> {
        let bytes = block.to_bytes();
        let id = match (&args.id_key, &args.signature, &args.public_key) {
            (Some(key), ..) => Some(Signed::here(key, &bytes)?),
            (None, Some(signature), Some(key)) => Some(Signed::elsewhere(signature, key, &bytes)?),
            _ => None,
        };
        let Some(id) = id else {
            let public = args.public_key.as_deref().map(keys::public).transpose()?;
            return match args.author_key.is_some() || args.author_signature.is_some() {
                true => Err(KeyError::AuthorAlone),
                false => Ok(Made {
                    block,
                    id_key: public,
                    auth: None,
                }),
            };
        };
        let bytes = id.key.to_bytes();
        let author = match (
            &args.author_key,
            &args.author_signature,
            &args.author_public_key,
        ) {
            (Some(key), ..) => Some(Signed::here(key, &bytes)?),
            (None, Some(signature), Some(key)) => Some(Signed::elsewhere(signature, key, &bytes)?),
            _ => None,
        };
        let auth = IdAuth {
            block_signature: id.signature,
            id_key: id.key,
            author: author.map(|author| (author.signature, author.key)),
        };
        Ok(Made {
            block,
            id_key: Some(id.key),
            auth: Some(auth),
        })
    }

    /// The document of `docs/measurement-snp.md`.
    fn json(&self) -> Value {
        let author = self.auth.and_then(|auth| auth.author);
        json!({
            "author-key-digest": author.map(|(_, key)| key.digest()),
            "author-key-enabled": author.is_some(),
            "family-id": hex::encode(self.block.family_id),
            "guest-svn": self.block.guest_svn,
            "id-auth": self.auth.map(|auth| STANDARD.encode(auth.to_bytes())),
            "id-block": STANDARD.encode(self.block.to_bytes()),
            "id-key-digest": self.id_key.map(|key| key.digest()),
            "image-id": hex::encode(self.block.image_id),
            "launch-digest": self.block.launch_digest.to_string(),
            "policy": self.block.policy.to_string(),
            "policy-bits": self.block.policy.names().collect::<Vec<_>>(),
            "schema-version": 1,
        })
    }

    /// `name=value` lines, the first three as QEMU's `sev-snp-guest` object names them.
    fn text(&self, document: &Value) -> String {
        let enabled = self.auth.map(|auth| match auth.author {
            Some(_) => "author-key-enabled=on\n",
            None => "author-key-enabled=off\n",
        });
        let line = |name: &str| match document.get(name).and_then(Value::as_str) {
            Some(value) => format!("{name}={value}\n"),
            None => String::new(),
        };
        [
            line("id-block"),
            line("id-auth"),
            enabled.unwrap_or_default().to_owned(),
            line("id-key-digest"),
            line("author-key-digest"),
        ]
        .concat()
    }

    fn write(&self, directory: &Path) -> Result<(), MeasureError> {
        let block = self.block.to_bytes();
        let mut files = vec![
            ("id-block.bin", block.to_vec()),
            ("id-block.base64", STANDARD.encode(block).into_bytes()),
        ];
        if let Some(key) = self.id_key {
            files.push(("id-key.bin", key.to_bytes().to_vec()));
        }
        if let Some(auth) = self.auth {
            files.push((
                "id-auth.base64",
                STANDARD.encode(auth.to_bytes()).into_bytes(),
            ));
        }
        std::fs::create_dir_all(directory).map_err(|source| MeasureError::Create {
            path: directory.to_owned(),
            source,
        })?;
        for (name, bytes) in files {
            let path = directory.join(name);
            std::fs::write(&path, bytes).map_err(|source| MeasureError::Create { path, source })?;
        }
        Ok(())
    }
}

fn from_stdin() -> Result<LaunchDigest, CommandError> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(4096).read_to_string(&mut text);
    read.map_err(|source| MeasureError::Read {
        path: "/dev/stdin".into(),
        source,
    })?;
    launch_digest(text.trim_end()).map_err(|why| {
        let error = anyhow::anyhow!("stdin is not one launch digest: {why}");
        CommandError::new(error).with_hint(
            "give `--digest HEX`, or the output of `measure snp` for one number of vCPUs",
        )
    })
}

fn id(text: &str) -> Result<[u8; 16], String> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id).map_err(|_| "wanted 32 hexadecimal digits".to_owned())?;
    Ok(id)
}

#[cfg(test)]
mod tests;
