//! Which test reaches which mutants, and how long it takes: each test once, in a process of its own, without a mutant alive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::compile::Binary;
use crate::process::{Ended, Place, run, tests};
use crate::queue::each;

/// No test of the original takes as long.
const LIMIT: Duration = Duration::from_secs(300);

/// A test of a program.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    /// Its place in the list of programs.
    pub(crate) binary: usize,
    pub(crate) name: String,
    pub(crate) takes: Duration,
    pub(crate) reaches: BTreeSet<u32>,
}

/// Runs every test once.
///
/// # Errors
/// When a test of the original fails: nothing could be said of mutants then.
pub(crate) fn measure(place: &Place, binaries: &[Binary]) -> Result<Vec<Test>> {
    let mut names = Vec::new();
    for (number, binary) in binaries.iter().enumerate() {
        names.extend(tests(binary)?.into_iter().map(|name| (number, name)));
    }
    let found = Mutex::new(BTreeMap::new());
    each(&names, |worker, at, (number, name)| {
        let binary = binaries.get(*number).context("no such program")?;
        let suffix = format!("{worker}");
        let reached = place.output.with_extension(format!("{suffix}.reached"));
        let place = Place {
            output: place.output.with_extension(suffix),
            ..place.clone()
        };
        let _ = fs::remove_file(&reached);
        let path = reached.to_str().context("a path that is not UTF-8")?;
        let variable = Some(("MUTANTS_REACHED", path));
        let began = Instant::now();
        let ended = run(&place, binary, std::slice::from_ref(name), variable, LIMIT)?;
        if ended != Ended::Passed {
            bail!("without a mutant, {} {name}: {ended:?}", binary.name);
        }
        let numbers = fs::read_to_string(&reached).unwrap_or_default();
        let test = Test {
            binary: *number,
            name: name.clone(),
            takes: began.elapsed(),
            reaches: numbers.lines().map(str::parse).collect::<Result<_, _>>()?,
        };
        if let Ok(mut found) = found.lock() {
            found.insert(at, test);
        }
        Ok(())
    })?;
    let found = found
        .into_inner()
        .map_err(|_| anyhow::anyhow!("a worker broke"))?;
    Ok(found.into_values().collect())
}
