//! `cloister fetch`: fill the store with everything a lock names.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use super::{CommandError, StoreContext, ambient};
use crate::digest::Digest;
use crate::fetch::{CONNECTIONS, Came, FetchError, Fetcher, Place, Wanted};
use crate::lock::Lock;
use crate::locking::{Locking, locate};
use crate::model;
use crate::parallel::each;
use crate::progress::size;
use crate::recipe::Recipe;
use crate::source::{Client, Locations, Settings};
use crate::store::{Store, StoreError};

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
pub(crate) fn run(args: Args, ctx: &StoreContext) -> Result<ExitCode, CommandError> {
    let started = Instant::now();
    let (recipe, directory) = ctx.recipe(&args.recipe)?;
    let lock = Lock::load(&recipe, &directory)?;
    let models = model::of_recipe(&recipe, &directory, &lock)?;
    let contents = contents(&recipe, &models, &lock, args.from.as_deref());
    let (missing, total) = missing(&contents, &ctx.store)?;
    let came = bring(missing, &recipe, &lock, &args, ctx)?;
    if let Some(to) = &args.to {
        export(&contents, &ctx.store, to)?;
    }
    let moved: u64 = came.iter().map(moved).sum();
    let seconds = started.elapsed().as_secs_f64();
    if ctx.json {
        let value = serde_json::json!({
            "contents": contents.len(), "bytes": total, "brought": came.len(), "brought-bytes": moved,
            "seconds": seconds, "store": ctx.store.dir(),
        });
        println!("{value:#}");
    } else {
        println!(
            "{} contents, {}, in the store; {} brought ({}) in {seconds:.1} s",
            contents.len(),
            size(total),
            came.len(),
            size(moved)
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn moved(came: &Came) -> u64 {
    match came {
        Came::Present => 0,
        Came::Brought { bytes } => *bytes,
    }
}

/// Brings what is missing; asks the machine where to, only if something is.
fn bring(
    mut missing: Vec<Wanted>,
    recipe: &Recipe,
    lock: &Lock,
    args: &Args,
    ctx: &StoreContext,
) -> Result<Vec<Came>, CommandError> {
    if missing.is_empty() {
        return Ok(Vec::new());
    }
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
    let places = each(&missing, CONNECTIONS, |item| places(item, lock, &locking));
    for (item, places) in missing.iter_mut().zip(places) {
        item.places.extend(places?);
    }
    let bytes = missing.iter().filter_map(|item| item.size).sum();
    let task = ctx.progress.task("fetch", bytes);
    let came = locking.fetcher.all(&missing, ctx.jobs(), &task)?;
    let moved = came.iter().map(moved).sum();
    task.done(&format!("{} contents, {}", came.len(), size(moved)));
    Ok(came)
}

/// Every content of the lock and the recipe, with the places that are known without asking anybody.
fn contents(
    recipe: &Recipe,
    models: &[model::Placed],
    lock: &Lock,
    from: Option<&Path>,
) -> Vec<Wanted> {
    let wanted = |name: String, sha256: Digest, size: Option<u64>| {
        let place = from.map(|from| Place::File(path_in(from, &sha256)));
        Wanted {
            name,
            sha256,
            size,
            places: place.into_iter().collect(),
        }
    };
    let mut all: Vec<_> = lock
        .packages
        .iter()
        .map(|p| wanted(format!("{} {}", p.name, p.version), p.sha256, Some(p.size)))
        .collect();
    all.extend(
        lock.wheels
            .iter()
            .map(|wheel| wanted(wheel.file.clone(), wheel.sha256, Some(wheel.size))),
    );
    all.extend(recipe.inputs.iter().map(|input| {
        let mut wanted = wanted(input.url.clone(), input.sha256, None);
        wanted.places.push(Place::Url(input.url.clone()));
        wanted
    }));
    for model::Placed { list, .. } in models {
        let files = list.files.iter();
        all.extend(files.map(|file| {
            let name = format!("{} of model {}", file.path, list.name);
            wanted(name, file.sha256, Some(file.size))
        }));
    }
    all
}

/// Where a store has, or would have, a content.
fn path_in(store: &Path, digest: &Digest) -> PathBuf {
    let name = digest.to_string();
    let shelf: String = name.chars().take(2).collect();
    store.join("sha256").join(shelf).join(name)
}

/// Contents that the store lacks or has damaged, each once, and the size of all.
fn missing(contents: &[Wanted], store: &Store) -> Result<(Vec<Wanted>, u64), CommandError> {
    let (mut missing, mut total) = (Vec::<Wanted>::new(), 0);
    for item in contents {
        match store.open_verified(&item.sha256) {
            Ok(file) => {
                let length = file.metadata().map(|metadata| metadata.len());
                total += item.size.or(length.ok()).unwrap_or_default();
            }
            Err(StoreError::Missing(_) | StoreError::Damaged { .. }) => {
                total += item.size.unwrap_or_default();
                if !missing.iter().any(|known| known.sha256 == item.sha256) {
                    missing.push(item.clone());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((missing, total))
}

/// The archives' and indexes' places of a content.
fn places(item: &Wanted, lock: &Lock, locking: &Locking<'_>) -> Result<Vec<Place>, CommandError> {
    if item
        .places
        .iter()
        .any(|place| matches!(place, Place::File(path) if path.is_file()))
    {
        return Ok(Vec::new());
    }
    let package = lock
        .packages
        .iter()
        .find(|package| package.sha256 == item.sha256);
    let wheel = lock.wheels.iter().find(|wheel| wheel.sha256 == item.sha256);
    if let Some(package) = package {
        let url = |archive: &String| Place::Url(format!("{archive}/{}", package.path));
        return Ok(locking.settings.archives()?.iter().map(url).collect());
    }
    if let Some(wheel) = wheel {
        let places = locate(locking, wheel)?;
        if places.is_empty() && item.places.is_empty() {
            return Err(FetchError::Superseded {
                name: wheel.file.clone(),
                recipe: lock.recipe.clone(),
            }
            .into());
        }
        return Ok(places);
    }
    Ok(Vec::new())
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
