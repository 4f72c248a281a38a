//! `evenkeel apply`

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use clap::Args;
use hyper::Method;

use super::{Daemon, exit, output};
use crate::api::model::{AppliedChanges, ApplyRequest, ConfigChange};

/// Largest document, in bytes; what is sent escapes line ends and quotes.
const MOST: u64 = 100 << 20;
/// Widest output, in characters.
const WIDTH: usize = 80;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The document; `-`: standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Show what would change, and change nothing. Exits with 6 if there is
    /// something.
    #[arg(long)]
    dry_run: bool,
    /// Remove services and backends that were added at run time and are not in the
    /// file.
    #[arg(long)]
    prune: bool,
}

pub(super) fn main(arguments: &Arguments, daemon: &Daemon<'_>) -> anyhow::Result<u8> {
    let is_stdin = arguments.file == Path::new("-");
    let file = if is_stdin { "standard input".to_owned() } else { arguments.file.display().to_string() };
    let text =
        if is_stdin { read(std::io::stdin()) } else { File::open(&arguments.file).map_err(Into::into).and_then(read) };
    let text =
        text.map_err(|error| super::BadInput(format!("{file} cannot be read: {error:#}; name a YAML file, or `-`")))?;
    let request = ApplyRequest { file, text, dry_run: arguments.dry_run, prune: arguments.prune };
    let done: AppliedChanges = daemon.ask(Method::POST, "/v1/apply", Some(&request))?;
    if daemon.json {
        output::json(&done)?;
    } else {
        done.changes.iter().flat_map(lines).for_each(|line| output::print(&line));
        output::print(&sum(&done));
    }
    Ok(if arguments.dry_run && !done.changes.is_empty() { exit::DIFFERENT } else { 0 })
}

fn read(from: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    from.take(MOST + 1).read_to_string(&mut text).context("no text")?;
    ensure!(text.len() as u64 <= MOST, "larger than {MOST} bytes");
    Ok(text)
}

fn sum(done: &AppliedChanges) -> String {
    let count = |action: &str| done.changes.iter().filter(|change| change.action == action).count();
    if done.changes.is_empty() {
        return format!("nothing to change; version {}", done.version);
    }
    let (what, version) = if done.applied { ("applied", "version") } else { ("nothing done", "the version stays") };
    let [add, change, remove] = ["add", "change", "remove"].map(count);
    format!("{what}: {add} to add, {change} to change, {remove} to remove; {version} {}", done.version)
}

/// A change as lines: a detail that is too long for the line begins another one.
fn lines(change: &ConfigChange) -> Vec<String> {
    let sign = match change.action.as_str() {
        "add" => '+',
        "remove" => '-',
        _ => '~',
    };
    let head = match &change.backend {
        None => format!("{sign} service {}", change.service),
        Some(backend) => format!("  {sign} backend {backend} of {}", change.service),
    };
    let mut lines = vec![head];
    for (index, detail) in change.details.iter().enumerate() {
        let last = lines.last_mut().expect("the head at least");
        let separator = if index == 0 { ": " } else { ", " };
        if last.chars().count() + separator.len() + detail.chars().count() <= WIDTH {
            last.push_str(separator);
            last.push_str(detail);
        } else {
            last.push(if index == 0 { ':' } else { ',' });
            lines.push(format!("      {detail}"));
        }
    }
    lines
}
