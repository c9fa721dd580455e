//! Undo by whole values: settings are small, so a step is a copy of what was.

use std::collections::VecDeque;

/// How many steps are kept.
const DEPTH: usize = 200;

/// What was, and what was taken back.
///
/// Changes made while a gesture goes on (a slider is dragged, a key repeats) count as one step.
#[derive(Clone, Debug)]
pub struct UndoStack<T> {
    past: VecDeque<T>,
    future: Vec<T>,
    in_gesture: bool,
}

impl<T> Default for UndoStack<T> {
    fn default() -> Self {
        Self {
            past: VecDeque::new(),
            future: Vec::new(),
            in_gesture: false,
        }
    }
}

impl<T: Clone + PartialEq> UndoStack<T> {
    /// Remembers `before` when `after` differs from it. `dragging` says that the pointer is held down: all changes
    /// until it is let go are one step.
    pub fn record(&mut self, before: &T, after: &T, dragging: bool) {
        if before == after {
            return;
        }
        self.future.clear();
        if !self.in_gesture {
            if self.past.len() == DEPTH {
                self.past.pop_front();
            }
            self.past.push_back(before.clone());
        }
        self.in_gesture = dragging;
    }

    /// Says that the pointer was let go: the next change is a new step.
    pub fn end_gesture(&mut self) {
        self.in_gesture = false;
    }

    /// The value before the last step, given the present one.
    pub fn undo(&mut self, now: &T) -> Option<T> {
        let before = self.past.pop_back()?;
        self.future.push(now.clone());
        self.in_gesture = false;
        Some(before)
    }

    /// The value that was taken back last.
    pub fn redo(&mut self, now: &T) -> Option<T> {
        let after = self.future.pop()?;
        self.past.push_back(now.clone());
        self.in_gesture = false;
        Some(after)
    }

    /// Whether there is a step to take back.
    pub fn can_undo(&self) -> bool {
        !self.past.is_empty()
    }

    /// Whether there is a step to bring back.
    pub fn can_redo(&self) -> bool {
        !self.future.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_drag_is_one_step() {
        let mut undo = UndoStack::default();
        let mut now = 0;
        for next in 1..=5 {
            undo.record(&now, &next, true);
            now = next;
        }
        undo.end_gesture();
        undo.record(&now, &9, false);
        now = 9;
        now = undo.undo(&now).unwrap_or(now);
        assert_eq!(now, 5);
        now = undo.undo(&now).unwrap_or(now);
        assert_eq!(now, 0);
        assert!(!undo.can_undo());
        now = undo.redo(&now).unwrap_or(now);
        assert_eq!(now, 5);
        undo.record(&now, &6, false);
        assert!(!undo.can_redo(), "a new change drops what was taken back");
    }
}
