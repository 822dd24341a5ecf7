//! What verbs read from their surroundings: environment, clock, current directory. Nothing below `cmd` reads them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// The environment, UTF-8 entries only.
pub(super) fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The user's cache directory, by the XDG base directory specification.
pub(super) fn cache(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let set = |name: &str| environment.get(name).filter(|value| value.starts_with('/'));
    set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")))
}

/// Seconds since 1970; 0 if the clock stands before that.
#[expect(
    clippy::disallowed_methods,
    reason = "validity of signed lists is judged by the clock of this machine"
)]
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The current directory; `.` where it has no name.
pub(super) fn directory() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
}
