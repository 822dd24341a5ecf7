//! `cloister lock`: resolve and pin every input of a recipe.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use super::{CommandError, DIFFERENT, StoreContext, ambient};
use crate::fetch::Fetcher;
use crate::lock::{LeftOutWheel, Lock, LockFileError};
use crate::locking::{LeftOut, Locked, Locking};
use crate::source::{Client, Locations, Settings};

/// Resolve and pin every input of a recipe in `recipe.lock`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Recipe: a name under `recipes/` or a path
    recipe: String,
    /// Write nothing; exit with 1 if the lock would change
    #[arg(long)]
    check: bool,
    /// Write the lock there instead of beside the recipe
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    output: Option<PathBuf>,
    #[command(flatten)]
    locations: Locations,
}

/// Runs the verb: 0 written or unchanged, 1 if `--check` finds a difference.
pub(crate) fn run(args: Args, ctx: &StoreContext) -> Result<ExitCode, CommandError> {
    let (recipe, directory) = ctx.recipe(&args.recipe)?;
    let settings = Settings::collect(&args.locations, &ambient::environment())?;
    let client = Client::new(settings.certificates.as_deref())?;
    let locking = Locking {
        fetcher: Fetcher {
            client: &client,
            store: &ctx.store,
            recipe: &recipe.name,
        },
        settings: &settings,
        progress: &ctx.progress,
        now: ambient::now(),
    };
    let locked = locking.make(&recipe, &directory)?;
    for (name, by) in &locked.left_out {
        ctx.progress.say(&format!(
            "left out: {name}, which {by} depends on (`base.exclude`)"
        ));
    }
    for line in left_out(&locked.wheels_left_out, &locked.lock) {
        ctx.progress.say(&line);
    }
    let path = args.output.unwrap_or_else(|| directory.join(Lock::FILE));
    let old = match Lock::read(&path, &recipe.name) {
        Ok(old) => Some(old),
        Err(LockFileError::Missing { .. }) => None,
        Err(error) if args.check => return Err(error.into()),
        Err(error) => {
            ctx.progress.warn(&format!("{error}: it is replaced"));
            None
        }
    };
    let changes = changes(old.as_ref(), &locked.lock);
    let changed = old.as_ref() != Some(&locked.lock);
    if changed && !args.check {
        locked.lock.write(&path)?;
    }
    report(ctx, &path, changed, args.check, &changes, &locked)?;
    Ok(if changed && args.check {
        ExitCode::from(DIFFERENT)
    } else {
        ExitCode::SUCCESS
    })
}

fn report(
    ctx: &StoreContext,
    path: &std::path::Path,
    changed: bool,
    check: bool,
    changes: &[String],
    locked: &Locked,
) -> Result<(), CommandError> {
    let lock = &locked.lock;
    if ctx.json {
        let value = serde_json::json!({
            "lock": path, "changed": changed, "written": changed && !check, "changes": changes,
            "left-out-wheels": left_out_json(&locked.wheels_left_out),
        });
        println!("{value:#}");
        return Ok(());
    }
    for change in changes {
        println!("{change}");
    }
    let word = match (changed, check) {
        (false, _) => "unchanged",
        (true, false) => "written",
        (true, true) => "would change",
    };
    let bytes = lock
        .packages
        .iter()
        .map(|p| p.size)
        .chain(lock.wheels.iter().map(|w| w.size))
        .sum();
    println!(
        "`{}` {word}: {} packages, {} wheels, {}",
        path.display(),
        lock.packages.len(),
        lock.wheels.len(),
        crate::progress::size(bytes)
    );
    Ok(())
}

/// What `python.exclude` saves and what would miss it, one line each.
fn left_out(left_out: &LeftOut, lock: &Lock) -> Vec<String> {
    if left_out.wheels.is_empty() {
        return Vec::new();
    }
    let saved: u64 = left_out.wheels.iter().filter_map(|wheel| wheel.size).sum();
    let taken: u64 = lock.wheels.iter().map(|wheel| wheel.size).sum();
    let one = |wheel| left_out_line(wheel, left_out);
    let mut lines: Vec<String> = left_out.wheels.iter().map(one).collect();
    lines.push(format!(
        "`python.exclude` saves {} of {} of wheels",
        crate::progress::size(saved),
        crate::progress::size(saved + taken)
    ));
    if left_out.unasked > 0 {
        lines.push(format!(
            "what {} wheels require is known only when they are built in: see `report` in manifest.json",
            left_out.unasked
        ));
    }
    lines
}

fn left_out_line(wheel: &LeftOutWheel, left_out: &LeftOut) -> String {
    let LeftOutWheel {
        name,
        version,
        size,
    } = wheel;
    let size = size.map_or_else(|| "no wheel of it fits".to_owned(), crate::progress::size);
    let by = left_out.required_by.get(name).map_or_else(
        || "no wheel is known to require it".to_owned(),
        |by| {
            let by: Vec<&str> = by.iter().map(String::as_str).collect();
            format!("required by {}", by.join(", "))
        },
    );
    format!("left out: {name} {version}, {size}, {by} (`python.exclude`)")
}

fn left_out_json(left_out: &LeftOut) -> serde_json::Value {
    let one = |wheel: &LeftOutWheel| {
        serde_json::json!({
            "name": wheel.name, "version": wheel.version, "bytes": wheel.size,
            "required-by": left_out.required_by.get(&wheel.name).cloned().unwrap_or_default(),
        })
    };
    left_out.wheels.iter().map(one).collect()
}

/// One line for each input that was added, removed or changed.
fn changes(old: Option<&Lock>, new: &Lock) -> Vec<String> {
    let before = old.map(inputs).unwrap_or_default();
    let after = inputs(new);
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let line = |name: &String| match (before.get(name), after.get(name)) {
        (None, Some((version, _))) => Some(format!("+ {name} {version}")),
        (Some((version, _)), None) => Some(format!("- {name} {version}")),
        (Some((old, _)), Some((new, _))) if old != new => Some(format!("~ {name} {old} -> {new}")),
        (Some((version, old)), Some((_, new))) if old != new => {
            Some(format!("~ {name} {version}: other bytes or roles"))
        }
        _ => None,
    };
    names.into_iter().filter_map(line).collect()
}

/// Every input by name: its version, and everything else that may change.
fn inputs(lock: &Lock) -> BTreeMap<String, (String, String)> {
    let packages = lock.packages.iter().map(|p| {
        let name = format!("{}:{} ({})", p.name, p.architecture, p.suite);
        (
            name,
            (p.version.clone(), format!("{} {:?}", p.sha256, p.roles)),
        )
    });
    let wheels = lock.wheels.iter().map(|w| {
        (
            format!("{} (wheel)", w.name),
            (w.version.clone(), w.sha256.to_string()),
        )
    });
    let releases = lock.releases.iter().map(|r| {
        (
            format!("suite {}", r.suite),
            (r.date.clone(), r.sha256.to_string()),
        )
    });
    let zstd = &lock.compression;
    let zstd = (
        "zstd".to_owned(),
        (zstd.zstd.clone(), zstd.level.to_string()),
    );
    packages
        .chain(wheels)
        .chain(releases)
        .chain([zstd])
        .collect()
}
