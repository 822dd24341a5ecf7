//! The committed reference values, `measurements/<recipe>/<platform>.json` in the repository.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use cloister_measure::reference::ReferenceValues;

use super::plan::Plan;
use crate::cmd::{CommandError, StoreContext};
use crate::difference;

/// Where the values of `platform` are committed.
fn path(plan: &Plan, platform: &str) -> PathBuf {
    plan.repository
        .join("measurements")
        .join(&plan.recipe.name)
        .join(format!("{platform}.json"))
}

/// Warns of values that differ from the committed ones, and of which registers.
pub(super) fn compare(plan: &Plan, references: &[ReferenceValues], ctx: &StoreContext) {
    for reference in references {
        let path = path(plan, &reference.platform);
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        let committed = ReferenceValues::from_json(&bytes);
        if committed.as_ref() == Ok(reference) {
            continue;
        }
        let names = match committed {
            Ok(committed) => difference::registers(&committed, reference).join(", "),
            Err(error) => error.to_string(),
        };
        ctx.progress.warn(&format!(
            "reference values of `{}` differ from the committed ones ({names}); `cloister build {} \
             --update-measurements` replaces them",
            reference.platform, plan.recipe.name
        ));
    }
}

/// Replaces the committed values.
pub(super) fn update(plan: &Plan, references: &[ReferenceValues]) -> Result<(), CommandError> {
    for reference in references {
        let path = path(plan, &reference.platform);
        let text = reference
            .to_json()
            .context("reference values could not be written")?;
        let write = || {
            let directory = path.parent().unwrap_or(&path);
            std::fs::create_dir_all(directory)?;
            let mut file = tempfile::Builder::new()
                .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
                .tempfile_in(directory)?;
            file.write_all(text.as_bytes())?;
            file.persist(&path).map_err(|error| error.error)
        };
        write().with_context(|| format!("`{}` could not be written", path.display()))?;
    }
    Ok(())
}
