//! One file for each verb, and what they share: context, exit codes, errors as people read them.

use std::io::{self, ErrorKind};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;

use crate::progress::Progress;
use crate::recipe::{self, Recipe, RecipeError};
use crate::store::Store;

mod ambient;
pub(crate) mod boot;
pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod collateral;
pub(crate) mod connect;
mod deferred;
pub(crate) mod deploy;
pub(crate) mod diff;
pub(crate) mod fetch;
pub(crate) mod gpu;
pub(crate) mod inspect;
pub(crate) mod lock;
pub(crate) mod measure;
pub(crate) mod model;
pub(crate) mod reproduce;
pub(crate) mod store;
pub(crate) mod verify;

pub(crate) use deferred::Deferred;

/// Exit code for a difference or a rejection.
pub(crate) const DIFFERENT: u8 = 1;
/// Exit code for work that could not be done: usage, input, I/O.
pub(crate) const FAILED: u8 = 2;

/// Exit code for a verdict that waits for collateral.
pub(crate) const MISSING: u8 = 3;

/// What every verb is given.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// Where progress goes.
    pub(crate) progress: Progress,
    /// Whether results go to stdout as JSON.
    pub(crate) json: bool,
    /// How many threads may work, if somebody said; never changes a byte of output.
    pub(crate) jobs: Option<NonZeroUsize>,
}

/// What the verbs are given that use the store; the others neither open nor make it.
#[derive(Debug, Clone)]
pub(crate) struct StoreContext {
    /// What every verb is given.
    context: Context,
    /// Inputs and derived files.
    pub(crate) store: Store,
}

impl StoreContext {
    /// Adds the opened `store` to `context`.
    pub(crate) fn new(context: Context, store: Store) -> Self {
        Self { context, store }
    }
}

impl std::ops::Deref for StoreContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

impl Context {
    /// How many threads may work: as many as were asked for, or one for each processor.
    pub(crate) fn jobs(&self) -> NonZeroUsize {
        let processors = || available_parallelism().ok();
        let jobs = self.jobs.or_else(processors);
        jobs.unwrap_or(NonZeroUsize::MIN)
    }

    /// Finds and reads a recipe, and names its directory: `argument` is a name under `recipes/` (here or in a directory
    /// above), a directory, or the path of a recipe file.
    pub(crate) fn recipe(&self, argument: &str) -> Result<(Recipe, PathBuf), RecipeError> {
        recipe::find(argument, &ambient::directory())
    }

    /// Names of all recipes under the nearest `recipes/`.
    pub(crate) fn recipe_names(&self) -> Result<Vec<String>, RecipeError> {
        recipe::names(&ambient::directory())
    }
}

/// An error of a build stage, with what to do next.
pub(crate) trait Hinted: std::error::Error + Send + Sync + 'static {
    /// The next step for a person, without a full stop.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// What to do about a file that cannot be read.
pub(crate) fn read_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "check the path; a relative one starts at the current directory",
        ErrorKind::PermissionDenied => "run as a user who may read it",
        ErrorKind::IsADirectory => "name a file, not a directory",
        ErrorKind::NotADirectory => "name a directory, not a file",
        _ => "copy it to an ordinary file, and name that",
    }
}

/// An error as a verb ends with it.
#[derive(Debug)]
pub(crate) struct CommandError {
    error: anyhow::Error,
    hint: Option<String>,
    code: u8,
}

impl<E: Hinted> From<E> for CommandError {
    fn from(error: E) -> Self {
        let hint = error.hint();
        Self {
            error: error.into(),
            hint,
            code: FAILED,
        }
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        Self::new(error)
    }
}

impl CommandError {
    /// An error that says all by itself.
    pub(crate) fn new(error: impl Into<anyhow::Error>) -> Self {
        Self {
            error: error.into(),
            hint: None,
            code: FAILED,
        }
    }

    /// The same error with a next step.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with another exit code.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Prints `error:`, the causes and `hint:` to stderr and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let mut last = self.error.to_string();
        match last.starts_with("error: ") {
            // Several mistakes, each with its own heading.
            true => eprintln!("{last}"),
            false => eprintln!("error: {last}"),
        }
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            // Errors that show what is below them as their own end are not repeated.
            if !last.ends_with(&cause) {
                eprintln!("  caused by: {cause}");
            }
            last = cause;
        }
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(self.code)
    }
}
