//! Time limits without a timer per request: a coarse clock, and one guard per connection or stream.
//!
//! One sweep per [`PERIOD`] wakes every task whose guard is due; setting a guard is two stores. Limits are
//! therefore kept to within one period.

use slab::Slab;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Time between two sweeps.
pub(super) const PERIOD: Duration = Duration::from_millis(250);

/// The coarse clock and everything that waits on it.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    tick: Cell<u64>,
    entries: RefCell<Slab<Rc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    due: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

/// A time limit that belongs to one task.
#[derive(Debug)]
pub(super) struct Guard {
    clock: Rc<Clock>,
    entry: Rc<Entry>,
    index: usize,
}

impl Clock {
    /// A clock at zero.
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            started: Instant::now(),
            tick: Cell::new(0),
            entries: RefCell::new(Slab::new()),
        })
    }

    /// Periods since the start.
    pub(super) fn now(&self) -> u64 {
        self.tick.get()
    }

    /// A guard that is due after `limit`.
    pub(super) fn guard(self: &Rc<Self>, limit: Duration) -> Guard {
        let entry = Rc::new(Entry {
            due: Cell::new(0),
            waker: RefCell::new(None),
        });
        let index = self.entries.borrow_mut().insert(Rc::clone(&entry));
        let guard = Guard {
            clock: Rc::clone(self),
            entry,
            index,
        };
        guard.set(limit);
        guard
    }

    /// Advances the clock and wakes what is due.
    pub(super) fn sweep(&self) {
        let periods = self.started.elapsed().as_millis() / PERIOD.as_millis().max(1);
        self.tick.set(u64::try_from(periods).unwrap_or(u64::MAX));
        for (_, entry) in self.entries.borrow().iter() {
            if entry.due.get() <= self.tick.get()
                && let Some(waker) = entry.waker.borrow_mut().take()
            {
                waker.wake();
            }
        }
    }
}

/// `limit` in periods, rounded up, at least one.
pub(super) fn periods(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis().div_ceil(PERIOD.as_millis().max(1)))
        .unwrap_or(u64::MAX)
        .max(1)
}

impl Guard {
    /// Starts the limit anew.
    pub(super) fn set(&self, limit: Duration) {
        self.entry.due.set(
            self.clock
                .now()
                .saturating_add(periods(limit))
                .saturating_add(1),
        );
    }

    /// Whether the limit has passed; if not, the task is woken when it does.
    pub(super) fn is_due(&self, cx: &Context<'_>) -> bool {
        if self.entry.due.get() <= self.clock.now() {
            return true;
        }
        let mut waker = self.entry.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        false
    }

    /// Runs `poll` until it is ready or the limit passes (`None`).
    pub(super) async fn within<T>(
        &self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        std::future::poll_fn(|cx| match poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if self.is_due(cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.clock.entries.borrow_mut().try_remove(self.index);
    }
}
