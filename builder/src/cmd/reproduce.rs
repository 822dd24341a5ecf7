//! `cloister reproduce RECIPE`: two builds in environments that differ, compared byte by byte.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::{CommandError, DIFFERENT, StoreContext};
use crate::difference::{self, Change};
use crate::guest_binary::repository;
use crate::platform::Platform;
use crate::reproduce::checkout;
use crate::reproduce::compare::{self, Comparison};
use crate::reproduce::variant::{self, NotVaried, Variant};

/// What a child needs of this process to find compilers and their caches.
const KEPT: [&str; 1] = ["PATH"];

/// Build twice in environments that differ, and compare with the committed measurements
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Recipe: a name under `recipes/` or a path
    recipe: String,
    /// Take the recipe of the second build from here, to see where two checkouts part
    #[arg(long, value_name = "RECIPE")]
    against: Option<String>,
    /// Keep both builds in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// What was found, for `--json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    reproducible: bool,
    environments: Vec<String>,
    not_varied: Vec<String>,
    equal: Vec<Equal>,
    different: Vec<Different>,
    /// Why, down to the file in the image and where it came from.
    causes: Vec<Change>,
    committed: Vec<Committed>,
}

/// An output that came out the same.
#[derive(Debug, Serialize)]
struct Equal {
    output: PathBuf,
    size: u64,
}

/// An output that did not.
#[derive(Debug, Serialize)]
struct Different {
    output: PathBuf,
    reason: String,
}

/// A committed file of reference values against the first build.
#[derive(Debug, Serialize)]
struct Committed {
    file: PathBuf,
    equal: bool,
}

/// Runs the verb: 0 when everything is equal, 1 when something differs.
pub(crate) fn run(args: Args, ctx: &StoreContext) -> Result<ExitCode, CommandError> {
    let folder = |recipe: &str| -> Result<PathBuf, CommandError> {
        let (_, folder) = ctx.recipe(recipe)?;
        folder.canonicalize().map_err(CommandError::new)
    };
    let first = folder(&args.recipe)?;
    let second = match &args.against {
        Some(other) => folder(other)?,
        None => first.clone(),
    };
    let report = reproduce(&args, [&first, &second], ctx).map_err(CommandError::new)?;
    print(&report, ctx).map_err(CommandError::new)?;
    Ok(if report.reproducible {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DIFFERENT)
    })
}

fn reproduce(args: &Args, recipes: [&Path; 2], ctx: &StoreContext) -> anyhow::Result<Report> {
    let scratch = tempfile::Builder::new()
        .prefix("cloister-reproduce-")
        .tempdir()
        .context("no temporary directory")?;
    let place = args.keep.as_deref().unwrap_or(scratch.path());
    std::fs::create_dir_all(place).with_context(|| format!("`{}`", place.display()))?;
    let place = place.canonicalize()?;
    let (variants, not_varied) = variant::pair(is_root()?);
    for NotVaried { what, why } in &not_varied {
        ctx.progress.warn(&format!("not varied: {what}: {why}"));
    }
    let mut outputs = Vec::new();
    for (variant, recipe) in variants.iter().zip(recipes) {
        let (name, what) = (variant.name, variant.describe());
        ctx.progress.say(&format!("{name} build: {what}"));
        outputs.push(build(variant, recipe, &place, ctx)?);
    }
    let [first, second] = outputs.as_slice() else {
        bail!("two builds were wanted");
    };
    let mut report = compare_builds(first, second)?;
    report.environments = variants.iter().map(Variant::describe).collect();
    report.not_varied = not_varied
        .iter()
        .map(|entry| entry.what.to_owned())
        .collect();
    let [recipe, _] = recipes;
    report.committed = committed(recipe, first)?;
    report.reproducible &= report.committed.iter().all(|file| file.equal);
    Ok(report)
}

/// Copies the sources, builds in them with this very program, and gives the output directory.
fn build(
    variant: &Variant,
    recipe: &Path,
    place: &Path,
    ctx: &StoreContext,
) -> anyhow::Result<PathBuf> {
    let folder = place.join(variant.folder);
    let sources = folder.join("sources");
    let starts = [recipe.to_owned(), std::env::current_dir()?];
    let copied = checkout::copy(&repository(&starts)?, recipe, &sources, variant.style)?;
    let out = folder.join("out");
    let program = std::env::current_exe().context("this program cannot be found")?;
    let store = ctx.store.directory().canonicalize().context("no store")?;
    let mut arguments: Vec<OsString> = vec!["--store".into(), store.into()];
    arguments.extend(["--jobs".into(), variant.jobs.to_string().into()]);
    arguments.extend(["--quiet".into(), "build".into(), copied.into()]);
    arguments.extend(["--no-cache".into(), "--out".into(), out.clone().into()]);
    let status = variant
        .command(&program, &arguments, &sources, &kept())
        .stdout(std::process::Stdio::null())
        .status()
        .with_context(|| format!("the {} build cannot be started", variant.name))?;
    if !status.success() {
        bail!("the {} build failed: {status}", variant.name);
    }
    Ok(out)
}

/// Variables a child keeps; the caches of cargo and rustup stay where they are although `HOME` changes.
fn kept() -> BTreeMap<&'static str, OsString> {
    let mut kept: BTreeMap<&'static str, OsString> = KEPT
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
        .collect();
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        let value = std::env::var_os(name).unwrap_or_else(|| home.join(folder).into());
        kept.insert(name, value);
    }
    kept
}

/// Whether this process is root, as the owner of its own entry in `/proc` says.
fn is_root() -> anyhow::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let own = std::fs::metadata("/proc/self").context("/proc is not mounted")?;
    Ok(own.uid() == 0)
}

/// Compares two output directories, and names the file inside of an image that differs.
fn compare_builds(first: &Path, second: &Path) -> anyhow::Result<Report> {
    let mut report = Report {
        reproducible: true,
        environments: Vec::new(),
        not_varied: Vec::new(),
        equal: Vec::new(),
        different: Vec::new(),
        causes: Vec::new(),
        committed: Vec::new(),
    };
    for (output, comparison) in compare::directories(first, second)? {
        let reason = match comparison {
            Comparison::Equal { size } => {
                report.equal.push(Equal { output, size });
                continue;
            }
            Comparison::Differs { offset } => format!("differs from byte {offset} on"),
            Comparison::OnlyIn(build) => format!("only the {build} build has it"),
        };
        report.different.push(Different { output, reason });
    }
    report.reproducible = report.different.is_empty();
    if !report.reproducible {
        report.causes = difference::compare(first, second)?;
    }
    Ok(report)
}

/// Committed reference values of the recipe against those of the first build.
fn committed(recipe: &Path, built: &Path) -> anyhow::Result<Vec<Committed>> {
    let Some(root) = recipe.parent().and_then(Path::parent) else {
        return Ok(Vec::new());
    };
    let name = recipe.file_name().unwrap_or_default();
    let folder = root.join("measurements").join(name);
    let mut found = Vec::new();
    for platform in Platform::names() {
        let file = folder.join(format!("{platform}.json"));
        let fresh = built.join("measurements").join(format!("{platform}.json"));
        if file.is_file() && fresh.is_file() {
            let equal = matches!(compare::files(&file, &fresh)?, Comparison::Equal { .. });
            found.push(Committed { file, equal });
        }
    }
    Ok(found)
}

/// Prints the report: JSON, or the outputs line by line and then why they differ.
fn print(report: &Report, ctx: &StoreContext) -> anyhow::Result<()> {
    let text = if ctx.json {
        serde_json::to_string_pretty(report)? + "\n"
    } else {
        report.to_string()
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Equal { output, size } in &self.equal {
            writeln!(f, "equal    {} ({size} bytes)", output.display())?;
        }
        for Different { output, reason } in &self.different {
            writeln!(f, "DIFFERS  {}: {reason}", output.display())?;
        }
        for Committed { file, equal } in &self.committed {
            let word = if *equal { "equal   " } else { "DIFFERS " };
            writeln!(f, "{word} {} (committed)", file.display())?;
        }
        f.write_str(&difference::render(&self.causes))?;
        let word = if self.reproducible {
            "reproducible"
        } else {
            "NOT reproducible"
        };
        writeln!(f, "{word}")
    }
}
