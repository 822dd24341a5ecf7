//! Two workers over a list.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, anyhow};

/// As many as the machine has processors, which is what CI has.
const WORKERS: usize = 2;

/// Calls `work` with the number of the worker, the place in the list and the item, for each item; ends at the first error.
pub(crate) fn each<T: Sync>(
    items: &[T],
    work: impl Fn(usize, usize, &T) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let one = |worker: usize| {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else {
                return Ok(());
            };
            if let Err(error) = work(worker, at, item) {
                next.store(items.len(), Ordering::Relaxed);
                return Err(error);
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|w| scope.spawn(move || one(w))).collect();
        let mut result = Ok(());
        for worker in workers {
            let ended = worker.join().map_err(|_| anyhow!("a worker broke"));
            result = result.and(ended.and_then(|ended| ended));
        }
        result
    })
}
