//! A least-recently-used cache with a budget in bytes.

use crate::Result;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

/// Bytes that a value keeps alive.
pub(crate) trait Footprint {
    fn footprint(&self) -> usize;
}

pub(crate) struct Cache<K, V> {
    budget: usize,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Key by the moment of its last use.
    order: BTreeMap<u64, K>,
    clock: u64,
    bytes: usize,
}

struct Entry<V> {
    value: Arc<V>,
    bytes: usize,
    used: u64,
}

impl<K: Clone + Eq + Hash, V: Footprint> Cache<K, V> {
    /// A cache that holds at most `budget` bytes of values.
    pub(crate) fn new(budget: usize) -> Self {
        let state = State {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            clock: 0,
            bytes: 0,
        };
        Self {
            budget,
            state: Mutex::new(state),
        }
    }

    /// The value of `key`, made by `make` when it is not there. `make` runs without the lock, so a slow one does not
    /// hold up other keys; two threads may then make the same value, and the later one is kept.
    pub(crate) fn get_or_try(&self, key: K, make: impl FnOnce() -> Result<V>) -> Result<Arc<V>> {
        if let Some(value) = self.state.lock().get(&key) {
            return Ok(value);
        }
        let value = Arc::new(make()?);
        self.state.lock().put(key, Arc::clone(&value), self.budget);
        Ok(value)
    }
}

impl<K: Clone + Eq + Hash, V: Footprint> State<K, V> {
    fn get(&mut self, key: &K) -> Option<Arc<V>> {
        let entry = self.entries.get_mut(key)?;
        self.order.remove(&entry.used);
        self.clock += 1;
        entry.used = self.clock;
        self.order.insert(self.clock, key.clone());
        Some(Arc::clone(&entry.value))
    }

    fn put(&mut self, key: K, value: Arc<V>, budget: usize) {
        let bytes = value.footprint();
        if bytes > budget {
            return;
        }
        self.clock += 1;
        let used = self.clock;
        if let Some(old) = self
            .entries
            .insert(key.clone(), Entry { value, bytes, used })
        {
            self.order.remove(&old.used);
            self.bytes -= old.bytes;
        }
        self.order.insert(used, key);
        self.bytes += bytes;
        while self.bytes > budget
            && let Some((_, oldest)) = self.order.pop_first()
            && let Some(entry) = self.entries.remove(&oldest)
        {
            self.bytes -= entry.bytes;
        }
    }
}

impl Footprint for crate::Image {
    fn footprint(&self) -> usize {
        size_of::<Self>() + self.rgb.capacity()
    }
}

impl Footprint for crate::Signals {
    fn footprint(&self) -> usize {
        size_of::<Self>() + 4 * (self.actions.capacity() + self.states.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Image;

    #[test]
    fn keeps_the_recently_used_within_its_budget() {
        let one = Image::filled(10, 10, [0; 3]).footprint();
        let cache = Cache::new(2 * one + 1);
        let fill = |key: u32| {
            cache
                .get_or_try(key, || Ok(Image::filled(10, 10, [key as u8; 3])))
                .unwrap()
        };
        let is_kept = |key: u32| cache.state.lock().entries.contains_key(&key);
        fill(1);
        fill(2);
        fill(1);
        fill(3);
        assert!(is_kept(1) && !is_kept(2) && is_kept(3));
        assert!(cache.state.lock().bytes <= cache.budget);

        cache
            .get_or_try(9, || Ok(Image::filled(100, 100, [0; 3])))
            .unwrap();
        assert!(
            !is_kept(9) && is_kept(1),
            "a value over the budget pushes nothing out"
        );
    }
}
