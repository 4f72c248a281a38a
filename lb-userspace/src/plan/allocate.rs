//! Free places: slot ranges, buckets of service tables, ids.

use std::collections::BTreeMap;

/// Used ranges of a flat array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u32, u32>);

impl Ranges {
    /// Marks a range as used.
    pub fn insert(&mut self, offset: u32, size: u32) {
        if size > 0 {
            self.0.insert(offset, size);
        }
    }

    /// Marks the range that begins at `offset` as free.
    pub fn remove(&mut self, offset: u32) {
        self.0.remove(&offset);
    }

    /// The first gap that holds `size`, below `capacity`; it is not marked.
    #[must_use]
    pub fn find(&self, size: u32, capacity: u32) -> Option<u32> {
        let mut at = 0_u32;
        for (offset, used) in &self.0 {
            if offset.saturating_sub(at) >= size {
                return Some(at);
            }
            at = at.max(offset.saturating_add(*used));
        }
        (capacity.saturating_sub(at) >= size).then_some(at)
    }
}

/// Used places of a table whose first place is never used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    used: Vec<bool>,
    next: usize,
}

impl Places {
    /// All free.
    #[must_use]
    pub fn new(places: usize) -> Self {
        let mut used = vec![false; places];
        if let Some(first) = used.first_mut() {
            *first = true;
        }
        Self { used, next: 1 }
    }

    /// Marks a place as used; the search for the next one goes on behind it, so that a place rests as long as possible
    /// before it is used again.
    pub fn insert(&mut self, place: u32) {
        self.used[place as usize] = true;
        self.next = place as usize + 1;
    }

    /// Marks a place as free.
    pub fn remove(&mut self, place: u32) {
        self.used[place as usize] = false;
    }

    /// A free place; it is not marked.
    #[must_use]
    pub fn find(&self) -> Option<u32> {
        let count = self.used.len();
        (0..count).map(|i| (self.next + i) % count).find(|place| !self.used[*place]).map(|place| place as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_filled_first_fit() {
        let mut ranges = Ranges::default();
        for size in [10, 20, 30] {
            let offset = ranges.find(size, 100).expect("room");
            ranges.insert(offset, size);
        }
        ranges.remove(10);
        assert_eq!(ranges.find(20, 100), Some(10));
        assert_eq!(ranges.find(21, 100), Some(60));
        assert_eq!(ranges.find(41, 100), None);
    }

    #[test]
    fn a_place_rests_before_it_is_used_again() {
        let mut places = Places::new(4);
        for expected in [1, 2] {
            assert_eq!(places.find(), Some(expected));
            places.insert(expected);
        }
        places.remove(1);
        assert_eq!(places.find(), Some(3));
        places.insert(3);
        assert_eq!(places.find(), Some(1));
        places.insert(1);
        assert_eq!(places.find(), None);
    }
}
