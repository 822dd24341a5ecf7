//! `cloister model`: make a model an input of images.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::{CommandError, StoreContext};
use crate::model::{ExamineError, Examined, ModelFile, ModelList, examine};
use crate::progress::size;
use crate::store::write_atomically;

/// Make a model an input of images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Check a model's directory, copy its files into the store and write the list that a recipe names
    Add {
        /// Directory with the model: safetensors with `config.json`, or GGUF files
        directory: PathBuf,
        /// The list to write, beside the recipe: `recipes/NAME/models/MODEL.toml`
        #[arg(long, value_name = "FILE")]
        list: PathBuf,
        /// Name of the model [default: the directory's]
        #[arg(long)]
        name: Option<String>,
    },
}

/// Runs the verb.
pub(crate) fn run(args: Args, ctx: &StoreContext) -> Result<ExitCode, CommandError> {
    let Action::Add {
        directory,
        list,
        name,
    } = args.action;
    let examined = examine(&directory)?;
    let name = name.map_or_else(|| name_of(&directory), Ok)?;
    for note in &examined.notes {
        ctx.progress.warn(note);
    }
    let made = store(&examined, name, ctx)?;
    let text = made
        .encode()
        .context("the list cannot be written as TOML")?;
    if let Some(parent) = list.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("`{}` cannot be made", parent.display()))?;
    }
    write_atomically(&list, text.as_bytes())?;
    if ctx.json {
        let value = serde_json::json!({ "list": list, "name": made.name, "files": made.files.len(), "bytes": made.bytes() });
        println!("{value:#}");
    } else {
        let (files, bytes) = (made.files.len(), size(made.bytes()));
        println!(
            "`{}` written: model `{}`, {files} files, {bytes}",
            list.display(),
            made.name
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The last part of a directory's path.
fn name_of(directory: &Path) -> Result<String, CommandError> {
    let whole = directory
        .canonicalize()
        .with_context(|| format!("`{}` cannot be read", directory.display()))?;
    let name = whole.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        let error = anyhow::anyhow!(
            "`{}` does not say what the model is called",
            directory.display()
        );
        CommandError::new(error).with_hint("say it with `--name NAME`")
    })
}

/// Copies every file into the store.
fn store(examined: &Examined, name: String, ctx: &StoreContext) -> Result<ModelList, CommandError> {
    let read = |path: &Path, source| ExamineError::Read {
        path: path.to_owned(),
        source,
    };
    let mut total = 0_u64;
    for path in examined.files.values() {
        let length = path.metadata().map_err(|source| read(path, source))?.len();
        total = total.saturating_add(length);
    }
    let task = ctx.progress.task("model", total);
    let mut files = Vec::new();
    for (name, path) in &examined.files {
        let mut file = File::open(path).map_err(|source| read(path, source))?;
        let sha256 = ctx.store.put_reader(&mut file)?;
        let kept = ctx.store.path(&sha256);
        let size = kept.metadata().map_err(|source| read(&kept, source))?.len();
        task.add(size);
        files.push(ModelFile {
            path: name.clone(),
            size,
            sha256,
        });
    }
    task.done(&format!("{} files, {}", files.len(), size(total)));
    Ok(ModelList {
        schema_version: 1,
        name,
        format: examined.format,
        files,
    })
}
