//! Lets a hot thread sleep until somebody has work for it or its deadline comes.
//!
//! A producer pays one atomic load when the consumer is awake and one futex wake when it sleeps; no
//! thread of the daemon spins unless asked to, because trading hosts and laptops share cores.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering, fence},
    },
    thread::{self, Thread},
    time::Duration,
};

#[derive(Debug, Default)]
struct Shared {
    sleeper: OnceLock<Thread>,
    asleep: AtomicBool,
}

/// Shared by one sleeping thread and those who wake it.
#[derive(Clone, Debug, Default)]
pub struct Waker(Arc<Shared>);

impl Waker {
    /// Wakes the sleeper if it sleeps. Call it after publishing the work.
    pub fn wake(&self) {
        // Pairs with the fence in `sleep`: either the sleeper sees the work, or we see it asleep.
        fence(Ordering::SeqCst);
        if self.0.asleep.load(Ordering::Relaxed)
            && self.0.asleep.swap(false, Ordering::Relaxed)
            && let Some(thread) = self.0.sleeper.get()
        {
            thread.unpark();
        }
    }

    /// Sleeps until woken or until `timeout`, unless `has_work` says that there is work already.
    /// Only ever called by one thread.
    pub fn sleep(&self, timeout: Duration, has_work: impl Fn() -> bool) {
        self.0.sleeper.get_or_init(thread::current);
        self.0.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !has_work() {
            thread::park_timeout(timeout);
        }
        self.0.asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn no_wake_is_lost_between_looking_and_sleeping() {
        let (waker, work) = (Waker::default(), Arc::new(AtomicU32::new(0)));
        let (w, n) = (waker.clone(), work.clone());
        let consumer = thread::spawn(move || {
            let mut taken = 0;
            while taken < 20_000 {
                w.sleep(Duration::from_mins(1), || n.load(Ordering::Acquire) > taken);
                taken = n.load(Ordering::Acquire);
            }
        });
        for _ in 0..20_000 {
            work.fetch_add(1, Ordering::Release);
            waker.wake();
        }
        consumer.join().unwrap();
    }
}
