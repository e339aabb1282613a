//! Threads that help a caller. A caller never waits for a helper that has not begun: kernels take tens of
//! microseconds, and waking a thread may take as long.

use std::any::Any;
use std::collections::BTreeMap;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, Thread};

use smallvec::SmallVec;

/// How often a thread looks before it sleeps: some tens of microseconds, about what lies between two kernels.
const LOOKS: usize = 2000;

/// In how many runs a thread would take its share of the blocks that are left.
const SHARES: usize = 8;

/// What a caller asks for, on its stack: it stays there until no helper is active.
struct Job {
    /// Takes blocks until none is left.
    work: *const (dyn Fn() + Sync),
    /// Helpers that were invited and have not come to an end.
    active: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    caller: Thread,
}

/// What stands in place of a job while a helper is at work.
const BUSY: *mut Job = ptr::without_provenance_mut(1);

/// A thread that helps whoever invites it.
struct Helper {
    /// The job it is invited to, [`BUSY`], or null.
    job: AtomicPtr<Job>,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Helper {
    /// Takes the next job, and sleeps where there is none for a while.
    fn next(&self) -> *mut Job {
        let mut looks = 0;
        loop {
            let job = self.job.load(Ordering::Acquire);
            let take = |job| self.job.compare_exchange(job, BUSY, Ordering::Acquire, Ordering::Relaxed);
            if !job.is_null() && take(job).is_ok() {
                return job;
            }
            looks += 1;
            if looks < LOOKS {
                spin_loop();
                continue;
            }
            // Whoever invites writes the job first and then reads this; here it is the other way round. So one of
            // the two sees the other.
            self.asleep.store(true, Ordering::SeqCst);
            if self.job.load(Ordering::SeqCst).is_null() {
                thread::park();
            }
            self.asleep.store(false, Ordering::Relaxed);
            looks = 0;
        }
    }

    fn serve(&self) -> ! {
        loop {
            let job = self.next();
            // SAFETY: the caller keeps the job until this helper, which took its invitation, is no longer active.
            let (work, caller) = unsafe { ((*job).work, (*job).caller.clone()) };
            // SAFETY: as above; what `work` borrows outlives the job.
            let result = catch_unwind(AssertUnwindSafe(|| unsafe { (*work)() }));
            if let Err(panic) = result {
                // SAFETY: as above.
                let mut first = unsafe { &(*job).panic }.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                first.get_or_insert(panic);
            }
            self.job.store(ptr::null_mut(), Ordering::Release);
            // SAFETY: as above; this is the last look at the job.
            if unsafe { &(*job).active }.fetch_sub(1, Ordering::Release) == 1 {
                caller.unpark();
            }
        }
    }
}

/// Helpers of the calling thread, which works along.
pub(super) struct Pool {
    pub(super) threads: usize,
    helpers: Vec<Arc<Helper>>,
}

impl Pool {
    /// `None` for one thread, or where the system grants no more.
    fn new(threads: usize) -> Option<Arc<Pool>> {
        let start = |i: usize| {
            let (job, asleep) = (AtomicPtr::new(ptr::null_mut()), AtomicBool::new(false));
            let helper = Arc::new(Helper { job, asleep, thread: OnceLock::new() });
            let own = helper.clone();
            let thread = thread::Builder::new().name(format!("wengert-{i}")).spawn(move || own.serve()).ok()?;
            helper.thread.get_or_init(|| thread.thread().clone());
            Some(helper)
        };
        let helpers: Vec<_> = (1..threads).map_while(start).collect();
        (!helpers.is_empty()).then(|| Arc::new(Pool { threads: helpers.len() + 1, helpers }))
    }

    /// Runs `work` here and on the helpers that come before it is done; each takes blocks one by one, or some neighbours at
    /// a time.
    pub(super) fn share(&self, blocks: usize, in_runs: bool, work: &super::Work<'_>) {
        let next = AtomicUsize::new(0);
        // The last blocks go one by one, so that all threads end together.
        let parts = if in_runs { SHARES * self.threads } else { blocks };
        let take = || {
            let end = |first: usize| first + ((blocks - first) / parts).max(1);
            let after = |first: usize| (first < blocks).then(|| end(first));
            let first = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).ok()?;
            Some(first..end(first))
        };
        let work = || {
            let mut own = 0..0;
            work(&mut || {
                if own.is_empty() {
                    own = take()?;
                }
                own.next()
            });
        };
        let work: &(dyn Fn() + Sync) = &work;
        // SAFETY: only the lifetime changes. The job is on this stack, below what `work` borrows, and `Invited`
        // waits, also when `work` panics, until no helper can reach it.
        let erased = unsafe { std::mem::transmute::<*const (dyn Fn() + Sync), *const (dyn Fn() + Sync)>(work) };
        let mut job =
            Job { work: erased, active: AtomicUsize::new(0), panic: Mutex::new(None), caller: thread::current() };
        let invited = Invited::new(&raw mut job, &self.helpers[..self.helpers.len().min(blocks - 1)]);
        work();
        drop(invited);
        if let Some(panic) = job.panic.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            resume_unwind(panic);
        }
    }
}

/// The helpers that were invited to a job. When it goes, those that have not begun are asked no more, and the
/// others are waited for.
struct Invited<'a> {
    job: *mut Job,
    helpers: SmallVec<[&'a Helper; 8]>,
}

impl<'a> Invited<'a> {
    fn new(job: *mut Job, helpers: &'a [Arc<Helper>]) -> Invited<'a> {
        let mut invited = Invited { job, helpers: SmallVec::new() };
        for helper in helpers {
            // One that works for another caller stays there.
            invited.active().fetch_add(1, Ordering::Relaxed);
            let invite = helper.job.compare_exchange(ptr::null_mut(), job, Ordering::SeqCst, Ordering::Relaxed);
            if invite.is_err() {
                invited.active().fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            if helper.asleep.load(Ordering::SeqCst)
                && let Some(thread) = helper.thread.get()
            {
                thread.unpark();
            }
            invited.helpers.push(helper);
        }
        invited
    }

    fn active(&self) -> &AtomicUsize {
        // SAFETY: the job outlives this value, which the function that owns the job drops before it.
        unsafe { &(*self.job).active }
    }
}

impl Drop for Invited<'_> {
    fn drop(&mut self) {
        for helper in &self.helpers {
            let revoke = helper.job.compare_exchange(self.job, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
            if revoke.is_ok() {
                self.active().fetch_sub(1, Ordering::Relaxed);
            }
        }
        let mut looks = 0;
        while self.active().load(Ordering::Acquire) > 0 {
            looks += 1;
            if looks < LOOKS { spin_loop() } else { thread::park() }
        }
    }
}

/// All cores, or what `WENGERT_NUM_THREADS` says.
pub(super) fn all() -> Option<Arc<Pool>> {
    static ALL: OnceLock<Option<Arc<Pool>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let asked = std::env::var("WENGERT_NUM_THREADS").ok().and_then(|v| v.parse().ok()).filter(|&n| n > 0);
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        of(asked.unwrap_or_else(cores))
    })
    .clone()
}

pub(super) fn of(threads: usize) -> Option<Arc<Pool>> {
    static POOLS: Mutex<BTreeMap<usize, Option<Arc<Pool>>>> = Mutex::new(BTreeMap::new());
    let mut pools = POOLS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    pools.entry(threads).or_insert_with(|| Pool::new(threads.min(256))).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_callers_share_the_helpers() {
        let pool = Pool::new(3).expect("threads");
        let sum = AtomicUsize::new(0);
        thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    for _ in 0..500 {
                        pool.share(20, true, &|next| {
                            while let Some(i) = next() {
                                sum.fetch_add(i, Ordering::Relaxed);
                            }
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 8 * 500 * 190);
    }

    #[test]
    fn work_within_work_is_done() {
        let pool = Pool::new(4).expect("threads");
        let count = AtomicUsize::new(0);
        pool.share(6, false, &|next| {
            while next().is_some() {
                pool.share(5, true, &|next| {
                    while next().is_some() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 30);
    }

    #[test]
    fn sleeping_helpers_wake_up() {
        // Its own: helpers of a shared one may be at work for another test.
        let pool = Pool::new(2).expect("threads");
        for pause in [0, 1, 5, 20] {
            thread::sleep(std::time::Duration::from_millis(pause));
            // Both are needed: each waits for the other.
            let here = AtomicUsize::new(0);
            pool.share(2, false, &|next| {
                if next().is_some() {
                    here.fetch_add(1, Ordering::SeqCst);
                    while here.load(Ordering::SeqCst) < 2 {
                        thread::yield_now();
                    }
                }
            });
        }
    }
}
