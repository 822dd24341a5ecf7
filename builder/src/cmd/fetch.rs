//! `cloister fetch`: fill the store with everything a lock names.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use super::{CommandError, Context, ambient};
use crate::fetch::{Came, Fetcher, Place, Wanted};
use crate::lock::Lock;
use crate::locking::{LockError, Locking, locate};
use crate::progress::size;
use crate::recipe::Recipe;
use crate::source::{Client, Locations, Settings};
use crate::store::Store;

/// Fill the store with everything a lock names
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Recipe: a name under `recipes/` or a path
    recipe: String,
    /// Also copy everything into another store, for machines without a network
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Take bytes from another store first
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    #[command(flatten)]
    locations: Locations,
}

/// Runs the verb.
pub(crate) fn run(args: Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let started = Instant::now();
    let (recipe, directory) = ctx.recipe(&args.recipe)?;
    let lock = Lock::load(&recipe, &directory)?;
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
    let wanted = wanted(&locking, &recipe, &lock, args.from.as_deref())?;
    let missing: u64 = wanted
        .iter()
        .filter(|item| !ctx.store.contains(&item.sha256))
        .filter_map(|item| item.size)
        .sum();
    let task = ctx.progress.task("fetch", missing);
    let came = locking.fetcher.all(&wanted, ctx.jobs, &task)?;
    let moved: u64 = came
        .iter()
        .map(|came| {
            if let Came::Brought { bytes } = came {
                *bytes
            } else {
                0
            }
        })
        .sum();
    let brought = came
        .iter()
        .filter(|came| matches!(came, Came::Brought { .. }))
        .count();
    task.done(&format!(
        "{brought} of {} contents brought, {}",
        wanted.len(),
        size(moved)
    ));
    if let Some(to) = &args.to {
        export(&wanted, &ctx.store, to)?;
    }
    let total: u64 = wanted.iter().filter_map(|item| item.size).sum();
    if ctx.json {
        let value = serde_json::json!({
            "contents": wanted.len(), "bytes": total, "brought": brought, "brought-bytes": moved,
            "seconds": started.elapsed().as_secs_f64(), "store": ctx.store.dir(),
        });
        println!("{value:#}");
    } else {
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{} contents, {}, in the store; {brought} brought ({}) in {seconds:.1} s",
            wanted.len(),
            size(total),
            size(moved)
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Every content of the lock, with its places.
fn wanted(
    locking: &Locking<'_>,
    recipe: &Recipe,
    lock: &Lock,
    from: Option<&Path>,
) -> Result<Vec<Wanted>, LockError> {
    let store = locking.fetcher.store;
    let from = from.and_then(|from| Store::open(from).ok());
    let places = |sha256| {
        from.iter()
            .map(|from| Place::File(from.path(sha256)))
            .collect::<Vec<_>>()
    };
    let mut all = Vec::new();
    for package in &lock.packages {
        let mut places = places(&package.sha256);
        let url = |archive: &String| Place::Url(format!("{archive}/{}", package.path));
        places.extend(locking.settings.archives.iter().map(url));
        let (sha256, size) = (package.sha256, Some(package.size));
        all.push(Wanted {
            name: format!("{} {}", package.name, package.version),
            sha256,
            size,
            places,
        });
    }
    if let Some(package) = all
        .iter()
        .find(|item| item.places.is_empty() && !store.contains(&item.sha256))
    {
        let _named = package;
        locking.settings.archives()?;
    }
    for wheel in &lock.wheels {
        let mut places = places(&wheel.sha256);
        let found_beside = places
            .iter()
            .any(|place| matches!(place, Place::File(path) if path.exists()));
        if !found_beside && store.open_verified(&wheel.sha256).is_err() {
            places.extend(locate(locking, wheel)?);
            if places.is_empty() {
                return Err(crate::fetch::FetchError::Superseded {
                    name: wheel.file.clone(),
                    recipe: recipe.name.clone(),
                }
                .into());
            }
        }
        all.push(Wanted {
            name: wheel.file.clone(),
            sha256: wheel.sha256,
            size: Some(wheel.size),
            places,
        });
    }
    for input in &recipe.inputs {
        let mut places = places(&input.sha256);
        places.push(Place::Url(input.url.clone()));
        all.push(Wanted {
            name: input.path.clone(),
            sha256: input.sha256,
            size: None,
            places,
        });
    }
    Ok(all)
}

/// Copies contents into the store at `to`.
fn export(wanted: &[Wanted], store: &Store, to: &Path) -> Result<(), CommandError> {
    let target = Store::open(to)?;
    for item in wanted {
        if target.open_verified(&item.sha256).is_err() {
            target.remove(&item.sha256)?;
            target.put_reader(&mut store.open_verified(&item.sha256)?)?;
        }
    }
    Ok(())
}
