//! What a program takes besides time: instructions, and memory for its flows.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context, Result, bail};
use aya::{
    maps::MapInfo,
    programs::{ProgramFd, ProgramInfo, loaded_programs},
};

use super::cases::SECTION;
use crate::{
    figure::{Figure, Name},
    subjects::subject::Subject,
};

/// An instruction of translated BPF, bytes.
const INSTRUCTION: u32 = 8;

/// The size of a program, as the kernel tells it.
pub(super) fn size(subject: &dyn Subject) -> Result<Vec<Figure>> {
    let info = info(&subject.program()?)?;
    let figures = [
        ("xlated-instructions", "", info.size_translated().map(|bytes| bytes / INSTRUCTION)),
        ("jited-bytes", "B", Some(info.size_jitted())),
        ("verified-instructions", "", info.verified_instruction_count()),
    ];
    let known = figures.into_iter().filter_map(|(quantity, unit, value)| Some((quantity, unit, value?)));
    Ok(known
        .map(|(quantity, unit, value)| figure("program", subject.name(), quantity, unit, f64::from(value)))
        .collect())
}

/// The memory of a subject whose flow table has a certain size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    subject: String,
    /// Flows that its table has places for.
    entries: u64,
    /// Of all its maps, bytes.
    bytes: u64,
}

impl Memory {
    /// `None` for a subject that remembers no flows.
    pub(super) fn of(subject: &dyn Subject) -> Result<Option<Self>> {
        let Some(entries) = subject.flow_entries() else { return Ok(None) };
        let maps = info(&subject.program()?)?.map_ids()?.context("this kernel does not tell a program's maps")?;
        let bytes = maps.into_iter().map(map_memory).sum::<Result<u64>>()?;
        Ok(Some(Self { subject: subject.name().to_owned(), entries, bytes }))
    }
}

/// What another place for a flow costs: all maps together, of the largest table over the smallest, so that neither what
/// is there anyway nor a second table for the same flows is overlooked.
pub(super) fn of_a_flow(memory: &[Memory]) -> Vec<Figure> {
    let mut figures: Vec<Figure> = Vec::new();
    for Memory { subject, .. } in memory {
        let own = || memory.iter().filter(|memory| memory.subject == *subject);
        let (Some(small), Some(large)) = (own().min_by_key(|m| m.entries), own().max_by_key(|m| m.entries)) else {
            continue;
        };
        if large.entries > small.entries && figures.iter().all(|figure| figure.subject != *subject) {
            let bytes = large.bytes as f64 - small.bytes as f64;
            figures.push(figure("memory", subject, "flow", "B", bytes / (large.entries - small.entries) as f64));
        }
    }
    figures
}

fn figure(case: &str, subject: &str, quantity: &str, unit: &str, value: f64) -> Figure {
    Figure::of(Name { section: SECTION.name, case, subject, quantity, flows: None }, unit, &[value])
}

fn info(program: &ProgramFd) -> Result<ProgramInfo> {
    let id = fdinfo(program.as_fd().as_raw_fd(), "prog_id")?;
    for info in loaded_programs() {
        let info = info?;
        if u64::from(info.id()) == id {
            return Ok(info);
        }
    }
    bail!("the kernel does not list program {id}")
}

fn map_memory(id: u32) -> Result<u64> {
    let map = MapInfo::from_id(id)?.fd()?;
    fdinfo(map.as_fd().as_raw_fd(), "memlock")
}

/// A number that the kernel tells about a descriptor.
fn fdinfo(descriptor: i32, key: &str) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{descriptor}");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    number(&text, key).with_context(|| format!("{path} has no {key}"))
}

fn number(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(subject: &str, entries: u64, bytes: u64) -> Memory {
        Memory { subject: subject.to_owned(), entries, bytes }
    }

    #[test]
    fn a_flow_costs_what_more_places_cost_in_all_maps() {
        let figures = of_a_flow(&[
            memory("a", 1000, 50_000 + 16_000),
            memory("b", 1000, 120_000),
            memory("a", 3000, 50_000 + 48_000),
            memory("b", 2000, 240_000),
            memory("c", 1000, 16_000),
        ]);
        let found: Vec<_> = figures.iter().map(|figure| (figure.subject.as_str(), figure.minimum)).collect();
        assert_eq!(found, [("a", 16.0), ("b", 120.0)], "one size says nothing about c");
    }

    #[test]
    fn a_number_is_found_by_its_whole_key() {
        let text = "pos:\t0\nprog_id:\t17\nmemlock:\t4096\nmemlock_limit:\t1\n";
        assert_eq!(number(text, "memlock"), Some(4096));
        assert_eq!(number(text, "prog_id"), Some(17));
        assert_eq!(number(text, "prog"), None);
    }
}
