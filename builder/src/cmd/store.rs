//! `cloister store`: look after the content-addressed store.

use std::collections::BTreeSet;
use std::process::ExitCode;

use super::{CommandError, DIFFERENT, StoreContext};
use crate::digest::Digest;
use crate::lock::Lock;
use crate::model;
use crate::progress::size;

/// Look after the content-addressed store
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print the store's directory, or where a content is
    Path {
        /// SHA-256 of a content
        digest: Option<Digest>,
    },
    /// List every content with its size in bytes
    List,
    /// Hash every content again; damaged ones are listed and the exit code is 1
    Verify,
    /// Remove what the locks of the given recipes do not need
    Gc {
        /// Recipes to keep: names under `recipes/` or paths [default: every recipe under `recipes/`]
        recipes: Vec<String>,
        /// Keep no recipe's inputs
        #[arg(long, conflicts_with = "recipes")]
        all: bool,
        /// Also remove derived data, unpacked tools and caches; builds make them again
        #[arg(long)]
        derived: bool,
    },
}

/// Runs the verb.
pub(crate) fn run(args: Args, ctx: &StoreContext) -> Result<ExitCode, CommandError> {
    match args.action {
        Action::Path { digest: None } => println!("{}", ctx.store.dir().display()),
        Action::Path {
            digest: Some(digest),
        } => {
            ctx.store.open_verified(&digest)?;
            println!("{}", ctx.store.path(&digest).display());
        }
        Action::List => list(ctx)?,
        Action::Verify => return verify(ctx),
        Action::Gc {
            recipes,
            all,
            derived,
        } => collect(&recipes, all, derived, ctx)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(ctx: &StoreContext) -> Result<(), CommandError> {
    let contents = ctx.store.contents()?;
    if ctx.json {
        let value: Vec<_> = contents
            .iter()
            .map(|(digest, size)| serde_json::json!({ "sha256": digest, "size": size }))
            .collect();
        println!("{:#}", serde_json::Value::from(value));
    } else {
        for (digest, size) in &contents {
            println!("{digest} {size}");
        }
    }
    Ok(())
}

fn verify(ctx: &StoreContext) -> Result<ExitCode, CommandError> {
    let contents = ctx.store.contents()?;
    let task = ctx
        .progress
        .task("verify", contents.iter().map(|(_, size)| size).sum());
    let mut damaged = Vec::new();
    for (digest, size) in &contents {
        if ctx.store.open_verified(digest).is_err() {
            damaged.push(digest);
        }
        task.add(*size);
    }
    task.done(&format!(
        "{} contents, {} damaged",
        contents.len(),
        damaged.len()
    ));
    if ctx.json {
        println!(
            "{:#}",
            serde_json::json!({ "contents": contents.len(), "damaged": damaged })
        );
    } else {
        for digest in &damaged {
            println!("damaged: {}", ctx.store.path(digest).display());
        }
        println!("{} contents, {} damaged", contents.len(), damaged.len());
    }
    Ok(if damaged.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DIFFERENT)
    })
}

fn collect(
    recipes: &[String],
    all: bool,
    derived: bool,
    ctx: &StoreContext,
) -> Result<(), CommandError> {
    let names = if recipes.is_empty() && !all {
        ctx.recipe_names()?
    } else {
        recipes.to_vec()
    };
    let mut keep = BTreeSet::new();
    for name in &names {
        let (recipe, directory) = ctx.recipe(name)?;
        let lock = Lock::read(&directory.join(Lock::FILE), &recipe.name)?;
        keep.extend(lock.digests());
        keep.extend(model::digests(&model::of_recipe(
            &recipe, &directory, &lock,
        )?));
        keep.extend(recipe.inputs.iter().map(|input| input.sha256));
    }
    let collected = ctx.store.gc(&keep, derived)?;
    if ctx.json {
        println!("{:#}", serde_json::json!(collected));
    } else {
        println!(
            "removed {} contents ({}), kept {} ({})",
            collected.removed,
            size(collected.removed_bytes),
            collected.kept,
            size(collected.kept_bytes)
        );
    }
    Ok(())
}
