//! Free places: slot ranges, buckets of service tables, ids.

use imbl::OrdMap;

/// Used ranges of a flat array.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    used: OrdMap<u32, u32>,
    /// There is no gap below: the search begins here, so that filling an array takes no look at all that is in it.
    dense: u32,
}

impl Ranges {
    /// Marks a range as used.
    pub fn insert(&mut self, offset: u32, size: u32) {
        if size > 0 {
            self.used.insert(offset, size);
            while let Some(size) = self.used.get(&self.dense) {
                self.dense = self.dense.saturating_add(*size);
            }
        }
    }

    /// Marks the range that begins at `offset` as free.
    pub fn remove(&mut self, offset: u32) {
        if self.used.remove(&offset).is_some() {
            self.dense = self.dense.min(offset);
        }
    }

    /// A place for `size`, below `capacity`; it is not marked. What is smaller than `small` goes to the end: it would leave gaps
    /// between larger ranges that hold none of those.
    #[must_use]
    pub fn find_apart(&self, size: u32, small: u32, capacity: u32) -> Option<u32> {
        if size >= small {
            return self.find(size, capacity);
        }
        let mut end = capacity;
        for (offset, used) in self.used.iter().rev() {
            let behind = offset.saturating_add(*used);
            if end.saturating_sub(behind) >= size {
                break;
            }
            end = *offset;
        }
        end.checked_sub(size)
    }

    /// The first gap that holds `size`, below `capacity`; it is not marked.
    #[must_use]
    pub fn find(&self, size: u32, capacity: u32) -> Option<u32> {
        let mut at = self.dense;
        for (offset, used) in self.used.range(self.dense..) {
            if offset.saturating_sub(at) >= size {
                return Some(at);
            }
            at = at.max(offset.saturating_add(*used));
        }
        (capacity.saturating_sub(at) >= size).then_some(at)
    }
}

impl PartialEq for Ranges {
    fn eq(&self, other: &Self) -> bool {
        self.used == other.used
    }
}

impl Eq for Ranges {}

/// Used places of a table whose first place is never used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// A bit for each place; those behind the last one are set.
    used: Vec<u64>,
    places: usize,
    next: usize,
}

impl Places {
    /// All free.
    #[must_use]
    pub fn new(places: usize) -> Self {
        let mut used = vec![0; places.div_ceil(64)];
        if let Some(first) = used.first_mut() {
            *first = 1;
        }
        if let Some(last) = used.last_mut().filter(|_| !places.is_multiple_of(64)) {
            *last |= u64::MAX << (places % 64);
        }
        Self { used, places, next: 1 }
    }

    /// Marks a place as used; the search for the next one goes on behind it, so that a place rests as long as possible
    /// before it is used again.
    pub fn insert(&mut self, place: u32) {
        self.used[place as usize / 64] |= 1 << (place % 64);
        self.next = place as usize + 1;
    }

    /// Marks a place as free.
    pub fn remove(&mut self, place: u32) {
        self.used[place as usize / 64] &= !(1 << (place % 64));
    }

    /// A free place; it is not marked.
    #[must_use]
    pub fn find(&self) -> Option<u32> {
        let next = if self.next < self.places { self.next } else { 0 };
        self.find_in(next..self.places).or_else(|| self.find_in(0..next))
    }

    fn find_in(&self, places: std::ops::Range<usize>) -> Option<u32> {
        let words = self.used.get(places.start / 64..places.end.div_ceil(64))?;
        let mut free = words.iter().enumerate().map(|(i, word)| (places.start / 64 + i, !word));
        let first = free.next().map(|(i, free)| (i, free & u64::MAX << (places.start % 64)));
        let found = first.into_iter().chain(free).find(|(_, free)| *free != 0);
        found.map(|(i, free)| i * 64 + free.trailing_zeros() as usize).filter(|at| *at < places.end).map(|at| at as u32)
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
        ranges.remove(0);
        assert_eq!(ranges.find(30, 100), Some(0));
    }

    #[test]
    fn small_ranges_are_filled_from_the_end() {
        let mut ranges = Ranges::default();
        for (size, expected) in [(50, Some(0)), (3, Some(97)), (4, Some(93)), (43, Some(50)), (1, None)] {
            let found = ranges.find_apart(size, 10, 100);
            assert_eq!(found, expected, "{size}");
            found.into_iter().for_each(|offset| ranges.insert(offset, size));
        }
        ranges.remove(97);
        assert_eq!(ranges.find_apart(2, 10, 100), Some(98));
        ranges.remove(0);
        assert_eq!([3, 4].map(|size| ranges.find_apart(size, 10, 100)), [Some(97), Some(46)]);
    }

    #[test]
    fn places_are_found_beyond_a_word_and_not_behind_the_last() {
        let mut places = Places::new(130);
        for expected in 1..130 {
            assert_eq!(places.find(), Some(expected));
            places.insert(expected);
        }
        assert_eq!(places.find(), None);
        for freed in [129, 64, 3] {
            places.remove(freed);
            assert_eq!(places.find(), Some(freed));
        }
        assert_eq!(Places::new(0).find(), None);
        assert_eq!(Places::new(1).find(), None);
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
