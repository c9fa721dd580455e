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
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { slot: Mutex::new(Slot { value: None, closed: false }), changed: Condvar::new() }
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

    /// Waits for a value; none once the slot is closed and empty of use.
    pub fn wait(&self) -> Option<T> {
        let mut slot = self.slot.lock();
        loop {
            if slot.closed {
                return None;
            }
            if let Some(value) = slot.value.take() {
                return Some(value);
            }
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

    /// Whether [`Latest::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.slot.lock().closed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn the_newest_value_wins() {
        let slot = Latest::default();
        assert_eq!(slot.put(1), None);
        assert_eq!(slot.put(2), Some(1));
        assert!(slot.interrupts());
        assert_eq!(slot.wait(), Some(2));
        assert_eq!(slot.take(), None);
    }

    #[test]
    fn closing_ends_a_wait() {
        let slot = Arc::new(Latest::<u8>::default());
        let waiting = std::thread::spawn({
            let slot = slot.clone();
            move || slot.wait()
        });
        std::thread::sleep(Duration::from_millis(10));
        slot.close();
        assert_eq!(waiting.join().unwrap(), None);
        slot.put(3);
        assert_eq!(slot.wait(), None);
    }
}
