//! Builds service tables: a choice of size and salt with which no bucket overflows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    filter,
    key::{Key, single},
};
use crate::{
    abi::{AddressKind, Entry, MAX_SHAPES, SERVICE_BUCKET_ENTRIES, ServiceBucket, Shape, TableHeader, Word32},
    hash::{HashKey, finish},
    memory::Slices,
    parse::Family,
    steady,
    wire::ip::Protocol,
};

/// Salts that are tried for a size before the size is doubled.
const SALTS: u64 = 16;

/// A service, as far as finding it goes. One of both protocols has two rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its index, from 1.
    pub index: u32,
    /// Address family.
    pub family: Family,
    /// VIP as in memory, without host bits.
    pub prefix: [u32; 4],
    /// Bits of the VIP that count.
    pub prefix_length: u8,
    /// Transport protocol.
    pub protocol: Protocol,
    /// First port.
    pub first_port: u16,
    /// Last port; 0 to 65 535 stands for any.
    pub last_port: u16,
    /// Whether it gets the fragments of its VIP and protocol that lack their first.
    pub hashes_fragments: bool,
}

/// A table that is ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Buckets of (tag, service index); a power of two.
    pub buckets: Vec<[(u64, u32); SERVICE_BUCKET_ENTRIES]>,
    /// The salt that makes them fit.
    pub salt: u64,
    /// Shapes in use by family, most specific first.
    pub shapes: [Vec<Shape>; 2],
    /// What it was built from.
    rules: Vec<Rule>,
}

/// Why there is no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// More different prefix lengths and port ranges than [`MAX_SHAPES`] allows.
    TooManyShapes {
        /// How many there are for one family.
        shapes: usize,
    },
    /// No table of at most so many buckets holds the services.
    TooLarge {
        /// The bound.
        buckets: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyShapes { shapes } => write!(
                f,
                "{shapes} different combinations of prefix length and port range, of {MAX_SHAPES} at most; \
                 use fewer prefix lengths, or port ranges that begin and end at powers of two"
            ),
            Self::TooLarge { buckets } => {
                write!(f, "the services do not fit into {buckets} buckets; raise `node.limits.services`")
            }
        }
    }
}

impl std::error::Error for BuildError {}

/// Builds a table of at most `max_buckets` buckets.
///
/// # Errors
///
/// [`BuildError`].
pub fn build(rules: &[Rule], key: &HashKey, max_buckets: usize) -> Result<Table, BuildError> {
    let entries = entries(rules);
    let shapes = [Family::V4, Family::V6].map(|family| shapes(&entries, family));
    if let Some(shapes) = shapes.iter().map(Vec::len).find(|shapes| *shapes > MAX_SHAPES) {
        return Err(BuildError::TooManyShapes { shapes });
    }
    let mut size = (entries.len() / 2).next_power_of_two();
    while size <= max_buckets {
        for attempt in 1..=SALTS {
            let salt = finish(attempt);
            if let Some(buckets) = fill(&entries, key, salt, size) {
                return Ok(Table { buckets, salt, shapes, rules: rules.to_vec() });
            }
        }
        size *= 2;
    }
    Err(BuildError::TooLarge { buckets: max_buckets })
}

/// What each key stands for. Where an exact port and a block of a range coincide, the service with fewer ports wins.
fn entries(rules: &[Rule]) -> BTreeMap<Sortable, u32> {
    let mut order: Vec<&Rule> = rules.iter().collect();
    order.sort_by_key(|rule| (rule.last_port - rule.first_port, rule.index));
    let mut entries = BTreeMap::new();
    // Addresses alone stand for the service that fragments without their ports go to, if there is one.
    let mut by_address = order.clone();
    by_address.sort_by_key(|rule| !rule.hashes_fragments);
    for rule in by_address {
        for protocol in [0, rule.protocol as u8] {
            let shape = Shape { address_bits: rule.prefix_length, port_bits: 0, kind: AddressKind::Address };
            let key = Key { family: rule.family, address: rule.prefix, protocol, port: 0, shape };
            entries.entry(Sortable(key)).or_insert(rule.index);
        }
    }
    for rule in order {
        for (port, port_bits) in blocks(rule.first_port, rule.last_port) {
            let shape = Shape { address_bits: rule.prefix_length, port_bits, kind: AddressKind::Service };
            let key = Key { family: rule.family, address: rule.prefix, protocol: rule.protocol as u8, port, shape };
            entries.entry(Sortable(key)).or_insert(rule.index);
        }
    }
    entries
}

/// The shapes of a family that are not tried first anyway.
fn shapes(entries: &BTreeMap<Sortable, u32>, family: Family) -> Vec<Shape> {
    let shapes: BTreeSet<Shape> = entries
        .keys()
        .filter(|key| key.0.family == family && key.0.shape != single(family, key.0.shape.kind))
        .map(|key| key.0.shape)
        .collect();
    // Shapes sort by address bits, then port bits.
    shapes.into_iter().rev().collect()
}

fn fill(
    entries: &BTreeMap<Sortable, u32>,
    key: &HashKey,
    salt: u64,
    size: usize,
) -> Option<Vec<[(u64, u32); SERVICE_BUCKET_ENTRIES]>> {
    let mut buckets = vec![[(0, Entry::NONE); SERVICE_BUCKET_ENTRIES]; size];
    for (entry, index) in entries {
        let tag = entry.0.hash_with(|i| key[i], salt);
        let bucket = &mut buckets[tag as u32 as usize & (size - 1)];
        // A look-up proves one entry only. The tag of unused ones is 0.
        if tag == 0 || bucket.iter().any(|place| place.0 == tag) {
            return None;
        }
        *bucket.iter_mut().find(|place| place.1 == Entry::NONE)? = (tag, *index);
    }
    Some(buckets)
}

/// Cuts a range of ports into aligned blocks: (first port, bits that count).
#[must_use]
pub fn blocks(first: u16, last: u16) -> Vec<(u16, u8)> {
    let (mut at, end) = (u32::from(first), u32::from(last) + 1);
    let mut blocks = Vec::new();
    while at < end {
        let aligned = if at == 0 { 16 } else { at.trailing_zeros() };
        let fits = (end - at).ilog2();
        let free = aligned.min(fits);
        blocks.push((at as u16, 16 - free as u8));
        at += 1 << free;
    }
    blocks
}

/// Marks the services that the table in force lists: for tables whose writer was stopped between staging and switching.
pub fn relist(tables: &Slices<'_>) {
    let (_, offset, mask) = tables.control.active().place();
    let buckets = tables.service_buckets.iter().skip(offset as usize).take(mask as usize + 1);
    list(tables, buckets.flat_map(|bucket| &bucket.entries).map(Entry::service));
}

/// Marks these services as listed, and no others.
fn list(tables: &Slices<'_>, indexes: impl Iterator<Item = u32>) {
    let mut listed = vec![false; tables.services.len()];
    for index in indexes {
        if let Some(listed) = listed.get_mut(index as usize) {
            *listed = index != Entry::NONE;
        }
    }
    for (service, listed) in tables.services.iter().zip(listed) {
        service.set_listed(listed);
    }
}

impl Table {
    /// Whether this very table is in force already, wherever it lies.
    #[must_use]
    pub fn is_in_force(&self, tables: &Slices<'_>) -> bool {
        let header = tables.control.active();
        let (salt, offset, mask) = header.place();
        let same_shapes = [Family::V4, Family::V6].into_iter().zip(&self.shapes).all(|(family, shapes)| {
            let (count, words) = header.shapes_of(family);
            words[..(count as usize).min(MAX_SHAPES)]
                .iter()
                .map(Word32::load)
                .eq(shapes.iter().map(|shape| shape.pack()))
        });
        let Some(buckets) = tables.service_buckets.get(offset as usize..offset as usize + mask as usize + 1) else {
            return false;
        };
        let held =
            |bucket: &ServiceBucket| std::array::from_fn(|i| (bucket.entries[i].tag(), bucket.entries[i].service()));
        salt == self.salt && same_shapes && buckets.iter().map(held).eq(self.buckets.iter().copied())
    }

    /// Writes the table at `offset`, where the one in force is not, and lets its VIPs through the filter.
    ///
    /// # Panics
    ///
    /// If the buckets end before the table does; the caller chose the offset.
    pub fn stage(&self, tables: &Slices<'_>, offset: u32) {
        self.write(tables.control.inactive(), tables.service_buckets, offset);
        filter::widen(tables.vip_filter, &self.rules);
        list(tables, self.rules.iter().map(|rule| rule.index));
        // Packets of services that it does not list, or that it gives a more specific neighbour, are looked up from now on.
        steady::void_where_due(tables);
    }

    /// Puts the staged table in force and takes from the filter what it does not have.
    pub fn switch(&self, tables: &Slices<'_>) {
        tables.control.switch();
        filter::narrow(tables.vip_filter, &self.rules);
        steady::publish_all(tables);
    }

    fn write(&self, header: &TableHeader, buckets: &[ServiceBucket], offset: u32) {
        for (bucket, values) in buckets[offset as usize..][..self.buckets.len()].iter().zip(&self.buckets) {
            for (entry, (tag, service)) in bucket.entries.iter().zip(values) {
                entry.set(*tag, *service);
            }
        }
        header.offset.store(offset);
        header.mask.store(self.buckets.len() as u32 - 1);
        header.salt.store(self.salt);
        for (family, shapes) in self.shapes.iter().enumerate() {
            header.counts[family].store(shapes.len() as u32);
            for (word, shape) in header.shapes[family].iter().zip(shapes) {
                word.store(shape.pack());
            }
        }
    }
}

/// A key that sorts, for an order of entries that does not depend on the order of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sortable(Key);

impl Sortable {
    fn parts(&self) -> (Family, Shape, [u32; 4], u8, u16) {
        (self.0.family, self.0.shape, self.0.address, self.0.protocol, self.0.port)
    }
}

impl Ord for Sortable {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for Sortable {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_of_well_known_ranges() {
        assert_eq!(blocks(80, 80), [(80, 16)]);
        assert_eq!(blocks(0, 65535), [(0, 0)]);
        assert_eq!(blocks(8000, 8099), [(8000, 10), (8064, 11), (8096, 14)]);
    }

    proptest! {
        #[test]
        fn blocks_cover_exactly_the_range(a: u16, b: u16) {
            let (first, last) = (a.min(b), a.max(b));
            let mut next = u32::from(first);
            for (port, bits) in blocks(first, last) {
                prop_assert_eq!(u32::from(port), next);
                let size = 1_u32 << (16 - bits);
                prop_assert_eq!(next % size, 0);
                next += size;
            }
            prop_assert_eq!(next, u32::from(last) + 1);
        }
    }

    #[test]
    fn ten_thousand_services_fit_whatever_their_order() {
        let rules: Vec<Rule> = (0..10_000_u32)
            .map(|i| Rule {
                index: i + 1,
                family: Family::V4,
                prefix: [(0xcb00_7100 + i / 40).to_be(), 0, 0, 0],
                prefix_length: 32,
                protocol: Protocol::Tcp,
                first_port: 1000 + (i % 40) as u16,
                last_port: 1000 + (i % 40) as u16,
                hashes_fragments: false,
            })
            .collect();
        let key = std::array::from_fn(|i| 0x9e37_79b9_u32.wrapping_mul(i as u32 + 1));
        let table = build(&rules, &key, 1 << 20).expect("fits");
        let reversed: Vec<Rule> = rules.iter().rev().cloned().collect();
        assert_eq!(build(&reversed, &key, 1 << 20).map(|table| table.buckets), Ok(table.buckets.clone()));
        let used = table.buckets.iter().flatten().filter(|entry| entry.1 != Entry::NONE).count();
        assert_eq!(used, 10_000 + 2 * 250);
    }

    #[test]
    fn too_many_shapes_are_refused() {
        let rules: Vec<Rule> = (1..=40)
            .map(|i| Rule {
                index: u32::from(i),
                family: Family::V6,
                prefix: [0x2001_0db8_u32.to_be(), 0, 0, 0],
                prefix_length: 40 + i,
                protocol: Protocol::Udp,
                first_port: 53,
                last_port: 53,
                hashes_fragments: false,
            })
            .collect();
        assert!(matches!(build(&rules, &[7; 20], 1 << 20), Err(BuildError::TooManyShapes { shapes: 80 })));
    }
}
