//! `evenkeel import`

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use thiserror::Error;

use super::output::{Rows, Tone, plain};
use crate::import::{self, ImportError, Imported, Options, Outcome, Report, Row};

pub(super) const EXAMPLES: &str = "\
Examples:
  evenkeel import ipvsadm --interface eth0 -o evenkeel.yaml
  ipvsadm -S -n | evenkeel import ipvsadm - --interface eth0 > evenkeel.yaml
  evenkeel import keepalived /etc/keepalived/keepalived.conf \\
    --interface eth0 --interface eth1 -o evenkeel.yaml
  evenkeel import keepalived keepalived.conf --tunnel-source 10.66.0.0/16 \\
    --strict -o evenkeel.yaml

Exit codes:
  0  the configuration was written
  1  it could not be read or written
  2  what was read is wrong
  4  with --strict: it was written, and a line was changed or has no counterpart";

/// Largest input from a pipe, in bytes.
const MOST: u64 = 16 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Read IPVS's rules.
    ///
    /// Without FILE it runs `ipvsadm -S -n` and `ipvsadm -L -n --thresholds`, which read the kernel's table and need root.
    #[command(after_help = EXAMPLES)]
    Ipvsadm(Ipvsadm),
    /// Read keepalived's configuration, with the files that it includes.
    ///
    /// Takes virtual_server and virtual_server_group. Keep keepalived for VRRP.
    #[command(after_help = EXAMPLES)]
    Keepalived(Keepalived),
}

#[derive(Debug, Args)]
pub(super) struct Ipvsadm {
    /// What `ipvsadm -S -n` wrote; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Keepalived {
    /// Its main file, usually /etc/keepalived/keepalived.conf.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Take lines with `@NAME` in front, as `keepalived -i NAME` does.
    #[arg(long, value_name = "NAME")]
    config_id: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// An interface that packets for VIPs arrive at; may be repeated. Default: eth0, which the report says.
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,
    /// Outer source of tunnels: an address or a prefix of this node; one for IPv4, one for IPv6.
    #[arg(long, value_name = "PREFIX", value_parser = source)]
    tunnel_source: Vec<IpNet>,
    /// Write the configuration to this file, which must not be there, in place of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file of --output if it is there.
    #[arg(long, requires = "output")]
    force: bool,
    /// Exit with 4 if a line was changed or has no counterpart.
    #[arg(long)]
    strict: bool,
}

/// A line was changed or has no counterpart, and nobody wanted that.
#[derive(Debug, Error)]
#[error("{changed} lines were changed and {lost} have no counterpart; see the report, or leave --strict out")]
pub(super) struct Losses {
    changed: usize,
    lost: usize,
}

fn source(text: &str) -> Result<IpNet, String> {
    let address = |_| text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(address).map_err(|_| "it is no address and no prefix; write 10.66.0.0/16".to_owned())
}

pub(super) fn main(command: &Command, json: bool) -> anyhow::Result<()> {
    let (common, imported) = match command {
        Command::Ipvsadm(arguments) => (&arguments.common, ipvsadm(arguments)),
        Command::Keepalived(arguments) => {
            let options = Options { config_id: arguments.config_id.clone(), ..arguments.common.options() };
            (&arguments.common, import::keepalived::import(&arguments.file, &options).map_err(Into::into))
        }
    };
    let imported = match imported {
        Ok(imported) => imported,
        Err(error) => {
            if let (true, Some(error)) = (json, error.downcast_ref::<ImportError>()) {
                super::output::json(error)?;
            }
            return Err(error);
        }
    };
    common.write(&imported.configuration)?;
    let report = if json { serde_json::to_string_pretty(&imported.report)? } else { table(&imported.report) };
    // Nobody is left to tell if this fails.
    drop(writeln!(io::stderr(), "{report}"));
    if common.strict && imported.report.has_losses() {
        let counts = imported.report.counts;
        return Err(Losses { changed: counts.changed, lost: counts.no_counterpart }.into());
    }
    Ok(())
}

fn ipvsadm(arguments: &Ipvsadm) -> anyhow::Result<Imported> {
    let (text, name) = match &arguments.file {
        None => (saved()?, "ipvsadm -S -n".to_owned()),
        Some(file) if file == Path::new("-") => (read(io::stdin(), "standard input")?, "-".to_owned()),
        Some(file) => {
            let name = file.display().to_string();
            let opened = fs::File::open(file)
                .with_context(|| format!("{name} cannot be read; give what `ipvsadm -S -n` wrote"))?;
            (read(opened, &name)?, name)
        }
    };
    Ok(import::ipvsadm::import(&text, &name, &arguments.common.options())?)
}

fn read(from: impl io::Read, name: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    from.take(MOST + 1).read_to_end(&mut bytes).with_context(|| format!("{name} cannot be read"))?;
    ensure!(bytes.len() as u64 <= MOST, "{name} is larger than {MOST} bytes; give what `ipvsadm -S -n` wrote");
    String::from_utf8(bytes).with_context(|| format!("{name} is no text; give what `ipvsadm -S -n` wrote"))
}

/// The kernel's table, by the program that knows how to ask for it.
fn saved() -> anyhow::Result<String> {
    let saved = ipvsadm_says(&["-S", "-n"])?;
    let listed = ipvsadm_says(&["-L", "-n", "--thresholds"])?;
    Ok(import::ipvsadm::with_thresholds(&saved, &listed))
}

fn ipvsadm_says(words: &[&str]) -> anyhow::Result<String> {
    const INSTEAD: &str = "or give a FILE with what `ipvsadm -S -n` writes on the balancer";
    let output = match process::Command::new("ipvsadm").args(words).output() {
        Ok(output) => output,
        Err(error) => bail!("ipvsadm cannot be started: {error}; install it, {INSTEAD}"),
    };
    let name = format!("`ipvsadm {}`", words.join(" "));
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let why = why.lines().next().unwrap_or("it gave no reason").trim();
        bail!("{name} failed: {why}; run this as root where the kernel has IPVS (modprobe ip_vs), {INSTEAD}");
    }
    read(&output.stdout[..], &name)
}

impl Common {
    fn options(&self) -> Options {
        Options {
            interfaces: self.interface.clone(),
            tunnel_sources: self.tunnel_source.clone(),
            config_id: None,
            // Without it ports with names are refused, which says so.
            services: fs::read_to_string("/etc/services").unwrap_or_default(),
        }
    }

    /// Writes the whole configuration or nothing.
    fn write(&self, configuration: &str) -> anyhow::Result<()> {
        let Some(path) = &self.output else {
            return io::stdout().write_all(configuration.as_bytes()).context("the configuration cannot be written");
        };
        let cannot = || format!("{} cannot be written", path.display());
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // As any new file, or as the one that it replaces.
        let present = self.force.then(|| fs::metadata(path).ok()).flatten();
        let permissions = present.map_or_else(|| fs::Permissions::from_mode(0o666), |present| present.permissions());
        let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(directory).with_context(cannot)?;
        file.write_all(configuration.as_bytes()).with_context(cannot)?;
        if self.force {
            file.persist(path).with_context(cannot)?;
            return Ok(());
        }
        match file.persist_noclobber(path) {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("{} is there already; name another file, or add --force", path.display())
            }
            Err(error) => Err(error).with_context(cannot),
        }
    }
}

/// Longest text of a line in the table, in characters; its note says what matters.
const MOST_TEXT: usize = 34;

/// The report in 80 columns: lines that say nothing are left out, and those of one block that is not ours are one row.
fn table(report: &Report) -> String {
    let mut text = String::new();
    let mut rest = &report.rows[..];
    while let Some(first) = rest.first() {
        let length = rest.iter().take_while(|row| row.file == first.file).count();
        let (rows, others) = rest.split_at(length);
        text.push_str(&format!("{}\n", first.file));
        text.push_str(&of_file(rows));
        text.push('\n');
        rest = others;
    }
    for added in &report.added {
        text.push_str(&wrapped("added: ", added));
    }
    let counts = report.counts;
    text.push_str(&format!(
        "{} lines: {} taken, {} changed, {} without counterpart, {} not ours,\n{} blank; services: {}, backends: {}",
        counts.lines,
        counts.taken,
        counts.changed,
        counts.no_counterpart,
        counts.not_ours,
        counts.blank,
        report.services,
        report.backends
    ));
    text
}

fn of_file(rows: &[Row]) -> String {
    let mut table = Rows::new(&[">LINE", "OUTCOME", "TEXT", "NOTE"]);
    let said: Vec<&Row> = rows.iter().filter(|row| row.outcome != Outcome::Blank).collect();
    let same = |one: &&Row, other: &&Row| {
        one.outcome == Outcome::NotOurs && (one.outcome, &one.note) == (other.outcome, &other.note)
    };
    for run in said.chunk_by(same) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let lines = if run.len() == 1 { first.line.to_string() } else { format!("{}-{}", first.line, last.line) };
        let tone = match first.outcome {
            Outcome::NoCounterpart => Tone::Bad,
            Outcome::Changed => Tone::Notable,
            _ => Tone::Plain,
        };
        table.row([
            plain(lines),
            (first.outcome.name().to_owned(), tone),
            plain(shortened(&first.text)),
            plain(&first.note),
        ]);
    }
    format!("{}\n", table.text())
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= MOST_TEXT {
        return text.to_owned();
    }
    text.chars().take(MOST_TEXT - 1).chain(['…']).collect()
}

/// Words in lines of 80 columns.
fn wrapped(head: &str, text: &str) -> String {
    let (mut lines, mut line) = (String::new(), head.to_owned());
    for word in text.split(' ') {
        if line.chars().count() + word.chars().count() > 79 {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line = "  ".to_owned();
        }
        line.push_str(word);
        line.push(' ');
    }
    format!("{lines}{}\n", line.trim_end())
}
