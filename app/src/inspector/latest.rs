//! A mailbox for one value: the newest wins.

use parking_lot::{Condvar, Mutex};

/// A slot between two threads. Putting a value replaces one that nobody took, so nothing queues up behind a slider.
pub struct Latest<T> {
    slot: Mutex<Slot<T>>,
    changed: Condvar,
}

struct Slot<T> {
    value: Option<T>,
    closed: bool,
    /// A thread waits for a value, so it has nothing to do.
    waiting: bool,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self {
            slot: Mutex::new(Slot {
                value: None,
                closed: false,
                waiting: true,
            }),
            changed: Condvar::new(),
        }
    }
}

impl<T> Latest<T> {
    /// Puts a value and gives back the one it replaced.
    pub fn put(&self, value: T) -> Option<T> {
        let old = self.slot.lock().value.replace(value);
        self.changed.notify_one();
        old
    }

    /// Takes the value if there is one.
    pub fn take(&self) -> Option<T> {
        self.slot.lock().value.take()
    }

    /// Waits for a value; none once the slot is closed.
    pub fn wait(&self) -> Option<T> {
        let mut slot = self.slot.lock();
        loop {
            if slot.closed {
                return None;
            }
            if let Some(value) = slot.value.take() {
                slot.waiting = false;
                return Some(value);
            }
            slot.waiting = true;
            self.changed.wait(&mut slot);
        }
    }

    /// Whether a value waits, or the slot is closed: a worker between two steps of something optional asks this.
    pub fn interrupts(&self) -> bool {
        let slot = self.slot.lock();
        slot.closed || slot.value.is_some()
    }

    /// Ends every wait, now and later.
    pub fn close(&self) {
        self.slot.lock().closed = true;
        self.changed.notify_all();
    }

    /// Whether nothing waits here and nothing is being worked on.
    pub fn is_idle(&self) -> bool {
        let slot = self.slot.lock();
        slot.value.is_none() && slot.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn the_newest_value_wins() {
        let slot = Latest::default();
        assert_eq!(slot.put(1), None);
        assert_eq!(slot.put(2), Some(1));
        assert!(slot.interrupts() && !slot.is_idle());
        assert_eq!(slot.wait(), Some(2));
        assert!(!slot.is_idle(), "the value is being worked on");
        assert_eq!(slot.take(), None);
    }

    #[test]
    fn closing_ends_a_wait() {
        let slot = Arc::new(Latest::<u8>::default());
        let waiting = std::thread::Builder::new()
            .spawn({
                let slot = slot.clone();
                move || slot.wait()
            })
            .unwrap();
        std::thread::sleep(Duration::from_millis(10));
        slot.close();
        assert_eq!(waiting.join().unwrap(), None);
        slot.put(3);
        assert_eq!(slot.wait(), None);
    }
}
