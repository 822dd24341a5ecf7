//! Compiled into the copy of the package: which of its mutants is alive in this process.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::{Mutex, OnceLock};

/// What the environment asks for.
enum Wanted {
    /// The original.
    Nothing,
    /// One mutant.
    One(u32),
    /// The original, and the number of each mutant that is reached, once.
    Record(Mutex<(BTreeSet<u32>, std::fs::File)>),
}

fn wanted() -> &'static Wanted {
    static WANTED: OnceLock<Wanted> = OnceLock::new();
    WANTED.get_or_init(|| {
        if let Ok(number) = std::env::var("MUTANT") {
            return Wanted::One(number.parse().expect("MUTANT is a number"));
        }
        match std::env::var("MUTANTS_REACHED") {
            Ok(path) => {
                let file = std::fs::File::create(path).expect("MUTANTS_REACHED is a file");
                Wanted::Record(Mutex::new((BTreeSet::new(), file)))
            }
            Err(_) => Wanted::Nothing,
        }
    })
}

/// Whether mutant `number` is alive.
pub(crate) fn active(number: u32) -> bool {
    match wanted() {
        Wanted::Nothing => false,
        Wanted::One(one) => *one == number,
        Wanted::Record(record) => {
            let mut record = record.lock().unwrap_or_else(|broken| broken.into_inner());
            if record.0.insert(number) {
                writeln!(record.1, "{number}").expect("MUTANTS_REACHED can be written");
            }
            false
        }
    }
}
