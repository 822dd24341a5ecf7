//! `cloister verify cert`: a certificate that carries evidence, or a conceptual message wrapper, in a file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use cloister_gpu::RootKey;
use cloister_measure::reference::ReferenceValues;
use cloister_verify::azure::MICROSOFT;
use cloister_verify::cert::{Form, Leaf, ccc, form, privasys, wrapped};
use cloister_verify::collateral::{Der, SnpCollateral, TdxCollateral};
use cloister_verify::policy::PolicyFile;
use cloister_verify::snp::{AMD, Endorsements, Image};
use cloister_verify::tdx::{Carried, INTEL};
use cloister_verify::{Policy, Verdict, layers, x509};

use super::collateral::{Given, given, sorted};
use super::evidence::{At, Nonce, conclude, read, read_all};
use super::{AZURE, reference_values, snp};
use crate::cmd::{CommandError, Context};

/// What a leaf of Cloister's takes; all but the first two on Azure alone.
const ON_AZURE: [&str; 5] = ["--bundle", "--expect", "--collateral", "--crl", "--policy"];

/// Judge a certificate that carries evidence: one of Cloister's own, CMW, CCC RA-TLS or Privasys
///
/// What the file is, is told by its content. The verdict is about the file: only the TLS connection on which the
/// certificate was shown says who holds its key.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The certificate, PEM (certificates behind it count as `--issuer`) or DER; or a CMW by itself, JSON or CBOR
    file: PathBuf,
    /// Own leaf: the bundle that the guest serves with it
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Certificates of the leaf's signer, PEM or DER; they show that the leaf is whole, and add no trust
    #[arg(long, value_name = "FILE")]
    issuer: Vec<PathBuf>,
    /// VCEK or VLEK where the certificate does not carry it, PEM or DER, its chain, revocation lists; or what
    /// `verify tdx --collateral` takes, for a TD quote
    #[arg(long, value_name = "FILE|DIR")]
    collateral: Vec<PathBuf>,
    /// Revocation list of AMD's root, PEM or DER
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    /// Reference values of the image: a file `measurements/RECIPE/PLATFORM.json`
    #[arg(long, value_name = "FILE", conflicts_with = "expect_measurement")]
    expect: Option<PathBuf>,
    /// The launch digest of an SNP guest, 48 bytes in hex
    #[arg(long, value_name = "HEX", value_parser = snp::bytes::<48>)]
    expect_measurement: Option<[u8; 48]>,
    /// MRTD of a TD, 48 bytes in hex; alone it pins the firmware, and not what the firmware booted
    #[arg(long, value_name = "HEX", value_parser = snp::bytes::<48>)]
    expect_mrtd: Option<[u8; 48]>,
    /// Nonce that the claims of CCC evidence must hold, in hex
    #[arg(long, value_name = "HEX", value_parser = nonce)]
    nonce: Option<Nonce>,
    /// Policy in TOML, table `snp` or `tdx`
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

/// What evidence inside a certificate of others is held against.
struct Demands {
    policy: PolicyFile,
    reference: Option<ReferenceValues>,
    mrtd: Option<[u8; 48]>,
    of_amd: SnpCollateral,
    of_intel: Option<TdxCollateral>,
}

impl Demands {
    fn of_td(&self) -> Carried<'_> {
        Carried {
            collateral: self.of_intel.as_ref(),
            reference: self.reference.as_ref(),
            mrtd: self.mrtd,
            policy: &self.policy.tdx,
            roots: &INTEL,
        }
    }
}

/// Runs the verb: 0 accepted, 1 rejected, 2 nothing known, 3 collateral missing.
pub(crate) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let input = read(&args.file)?;
    if is_wrapper(&input) {
        args.refuse("a CMW by itself", &[])?;
        return conclude(wrapped::appraise_file(&input), &args.at, ctx);
    }
    let file = || format!("`{}` cannot be used", args.file.display());
    let certificates = x509::certificates(&input).with_context(file)?;
    let (first, behind) = certificates.split_first().ok_or_else(|| args.unknown())?;
    let form = form(first).ok_or_else(|| args.unknown())?;
    let given = read_all(&args.issuer)?;
    let issuers: Vec<&[u8]> = behind.iter().chain(&given).map(Vec::as_slice).collect();
    let leaf = Leaf {
        der: first,
        issuers: &issuers,
    };
    let at = args.at.seconds();
    let verdict = match form {
        Form::Cloister => args.own(first, at)?,
        Form::Wrapped => {
            args.refuse("a CMW", &["--issuer"])?;
            wrapped::appraise(&leaf, at)
        }
        Form::Ccc => args.ccc(&leaf, at)?,
        Form::Privasys => args.privasys(&leaf, at)?,
    };
    conclude(verdict, &args.at, ctx)
}

impl Args {
    /// One of Cloister's own leaves.
    fn own(&self, leaf: &[u8], at: u64) -> Result<Verdict, CommandError> {
        let (Some(bundle), Some(expect)) = (&self.bundle, &self.expect) else {
            let error = anyhow::anyhow!("`{}` is a leaf of Cloister's", self.file.display());
            return Err(CommandError::new(error)
                .with_hint("give `--bundle`, what the guest serves at `/.well-known/attestation`, and `--expect`"));
        };
        let (bundle, reference) = (read(bundle)?, reference_values(expect)?);
        match reference.platform.as_str() {
            AZURE => self.refuse("a leaf of Cloister's", &ON_AZURE)?,
            _ => self.refuse("a leaf of Cloister's", &ON_AZURE[..2])?,
        }
        let platform = self.policy.as_deref().map(snp::policy).transpose()?;
        let (of_amd, _) = self.collateral()?;
        let expected = layers::Expected {
            reference: &reference,
            policy: &Policy::default(),
            platform: &platform.unwrap_or_default(),
            roots: &MICROSOFT,
            collateral: Some(&of_amd),
            gpu_roots: &[RootKey::nvidia()],
        };
        Ok(layers::appraise_leaf(leaf, &bundle, &expected, at))
    }

    fn ccc(&self, leaf: &Leaf<'_>, at: u64) -> Result<Verdict, CommandError> {
        const MEANT: [&str; 6] = [
            "--issuer",
            "--nonce",
            "--collateral",
            "--expect",
            "--expect-mrtd",
            "--policy",
        ];
        self.refuse("a CCC certificate", &MEANT)?;
        let demands = self.demands()?;
        let nonce = self.nonce.as_ref().map(|nonce| nonce.0.as_slice());
        Ok(ccc::appraise(leaf, nonce, &demands.of_td(), at))
    }

    fn privasys(&self, leaf: &Leaf<'_>, at: u64) -> Result<Verdict, CommandError> {
        const MEANT: [&str; 7] = [
            "--issuer",
            "--collateral",
            "--crl",
            "--expect",
            "--expect-measurement",
            "--expect-mrtd",
            "--policy",
        ];
        self.refuse("a Privasys certificate", &MEANT)?;
        let demands = self.demands()?;
        let of_amd = &demands.of_amd;
        let chain: Vec<&[u8]> = of_amd.chain.iter().map(|Der(der)| der.as_slice()).collect();
        let crls: Vec<&[u8]> = of_amd.crls.iter().map(|Der(der)| der.as_slice()).collect();
        let measurement = self.expect_measurement.map(Image::Measurement);
        let image = demands.reference.as_ref().map(Image::Reference);
        let expected = privasys::Expected {
            image: image.or(measurement),
            endorsements: Endorsements {
                vek: of_amd.vek.as_ref().map(|Der(der)| der.as_slice()),
                chain: &chain,
                crls: &crls,
            },
            policy: &demands.policy.snp,
            roots: &AMD,
            tdx: demands.of_td(),
        };
        Ok(privasys::appraise(leaf, &expected, at))
    }

    fn demands(&self) -> Result<Demands, CommandError> {
        let policy = self.policy.as_deref().map(snp::policy).transpose()?;
        let (of_amd, of_intel) = self.collateral()?;
        Ok(Demands {
            policy: policy.unwrap_or_default(),
            reference: self.expect.as_deref().map(reference_values).transpose()?,
            mrtd: self.expect_mrtd,
            of_amd,
            of_intel,
        })
    }

    /// What `--collateral` and `--crl` name. Of certificates, the first is the VCEK or VLEK unless a bundle has one.
    fn collateral(&self) -> Result<(SnpCollateral, Option<TdxCollateral>), CommandError> {
        let Given { files, bundle } = given(&self.collateral)?;
        let (certificates, crls) = sorted(&files);
        let mut certificates = certificates.into_iter().map(|der| Der(der.to_vec()));
        let mut of_amd = bundle.snp.unwrap_or_default();
        of_amd.vek = of_amd.vek.or_else(|| certificates.next());
        of_amd.chain.extend(certificates);
        let crls = crls.into_iter().map(<[u8]>::to_vec);
        of_amd
            .crls
            .extend(crls.chain(read_all(&self.crl)?).map(Der));
        Ok((of_amd, bundle.tdx))
    }

    /// An option that the file's form has no use for would be silently ignored.
    fn refuse(&self, form: &str, meant: &[&str]) -> Result<(), CommandError> {
        let given = [
            ("--bundle", self.bundle.is_some()),
            ("--issuer", !self.issuer.is_empty()),
            ("--collateral", !self.collateral.is_empty()),
            ("--crl", !self.crl.is_empty()),
            ("--expect", self.expect.is_some()),
            ("--expect-measurement", self.expect_measurement.is_some()),
            ("--expect-mrtd", self.expect_mrtd.is_some()),
            ("--nonce", self.nonce.is_some()),
            ("--policy", self.policy.is_some()),
        ];
        let stray = given
            .iter()
            .find(|(name, given)| *given && !meant.contains(name));
        let Some((name, _)) = stray else {
            return Ok(());
        };
        let error = anyhow::anyhow!(
            "`{}` is {form}, for which `{name}` means nothing",
            self.file.display()
        );
        let hint = match meant {
            [] => "leave it out".to_owned(),
            meant => format!("it takes {}", meant.join(", ")),
        };
        Err(CommandError::new(error).with_hint(&hint))
    }

    fn unknown(&self) -> CommandError {
        let error = anyhow::anyhow!(
            "`{}` is a certificate without evidence of a known form",
            self.file.display()
        );
        CommandError::new(error).with_hint(
            "known are the extensions 1.3.6.1.5.5.7.1.35 (CMW), 2.23.133.5.4.9 (CCC) and Privasys' 1.3.6.1.4.1.65230.4.1 and 1.2.840.113741.1.5.5.1.6",
        )
    }
}

/// A CMW in JSON begins with a bracket, one in CBOR with an array, a map or a tag; no certificate does.
fn is_wrapper(input: &[u8]) -> bool {
    let json = matches!(input.trim_ascii_start().first(), Some(b'[' | b'{'));
    json || matches!(input.first(), Some(0x80..=0xdf))
}

fn nonce(text: &str) -> Result<Nonce, String> {
    match hex::decode(text) {
        Ok(bytes) if !bytes.is_empty() => Ok(Nonce(bytes)),
        _ => Err("wanted bytes in hex".to_owned()),
    }
}
