//! Writes the configuration, and has it checked as `evenkeel check` does: what is refused is taken out and reported.

use std::fmt::Write as _;

use super::{
    Context, ImportError, Imported, Options, Problem,
    model::At,
    report::Place,
    values::{list, scalar},
};
use crate::config;

/// A configuration to be written; all values are YAML.
pub(super) struct Document {
    /// What it is made of, for its first line.
    pub(super) source: String,
    /// Times of `defaults.timeouts`.
    pub(super) timeouts: Vec<At<(&'static str, String)>>,
    pub(super) services: Vec<Entry>,
}

/// A service to be written.
pub(super) struct Entry {
    /// The line that it comes from.
    pub(super) at: Place,
    pub(super) name: String,
    pub(super) keys: Vec<At<(&'static str, String)>>,
    pub(super) backends: Vec<At<String>>,
}

/// What a written line is, so that a refusal finds it.
#[derive(Clone, Copy)]
enum Part {
    Other,
    Timeout(usize),
    Service(usize),
    Key(usize, usize),
    Backend(usize, usize),
}

/// Keys without which a service is another one, or none.
const NEEDED: [&str; 5] = ["vip", "port", "protocol", "mode", "scheduler"];

/// Writes what `evenkeel check` accepts, and the report.
///
/// # Errors
///
/// If what is not about one service is refused: an interface, a tunnel's source, or more than the tables can hold.
pub(super) fn finish(mut context: Context, mut document: Document, options: &Options) -> Result<Imported, ImportError> {
    if options.interfaces.is_empty() {
        context
            .ledger
            .added("interfaces: eth0 is assumed; name those that packets for VIPs arrive at with --interface");
    }
    loop {
        drop_empty(&mut context, &mut document);
        let (text, parts) = render(&document, options);
        let error = match config::parse(&text, "") {
            Ok(config) => {
                let backends = config.services.iter().map(|service| service.backends.len()).sum();
                let report = context.ledger.report(config.services.len(), backends);
                return Ok(Imported { configuration: text, report });
            }
            Err(error) => error,
        };
        let refused: Vec<_> = error.problems.iter().map(|problem| (part_of(&parts, problem.line), problem)).collect();
        if let Some((_, problem)) = refused.iter().find(|(part, _)| matches!(part, Part::Other)) {
            return Err(whole(&document, problem));
        }
        let mut refused: Vec<_> = refused.into_iter().map(|(part, problem)| (part, problem.to_string())).collect();
        // From the end, so that numbers stay right while parts go.
        refused.reverse();
        take_out(&mut context, &mut document, refused);
    }
}

fn whole(document: &Document, problem: &config::Problem) -> ImportError {
    let config::Problem { reason, remedy, .. } = problem.clone();
    ImportError { problems: vec![Problem { file: document.source.clone(), line: 0, column: 0, reason, remedy }] }
}

fn part_of(parts: &[Part], line: u32) -> Part {
    (line as usize).checked_sub(1).and_then(|index| parts.get(index)).copied().unwrap_or(Part::Other)
}

/// Takes out what was refused, the last first.
fn take_out(context: &mut Context, document: &mut Document, refused: Vec<(Part, String)>) {
    let mut lost = Vec::new();
    // One line may have several problems; it goes once, with all of them told.
    let (mut keys, mut backends) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for (part, why) in refused {
        match part {
            Part::Other => {}
            Part::Timeout(index) => {
                let At(at, _) = document.timeouts[index];
                context.ledger.no_counterpart(at, why);
                lost.push(index);
            }
            Part::Service(service) => {
                context.ledger.no_counterpart(document.services[service].at, why);
                document.services[service].backends.clear();
            }
            Part::Key(service, key) => {
                let entry = &mut document.services[service];
                let Some(At(at, (name, _))) = entry.keys.get(key).cloned() else { continue };
                context.ledger.no_counterpart(at, why);
                if NEEDED.contains(&name) {
                    entry.backends.clear();
                } else {
                    keys.insert((service, key));
                }
            }
            Part::Backend(service, backend) => {
                let Some(&At(at, _)) = document.services[service].backends.get(backend) else { continue };
                // A line may be a backend of several services, those of a group.
                let is_elsewhere = |(index, entry): (usize, &Entry)| {
                    index != service && entry.backends.iter().any(|other| other.0 == at)
                };
                if document.services.iter().enumerate().any(is_elsewhere) {
                    let name = &document.services[service].name;
                    context.ledger.changed(at, format!("no backend of service {name}: {why}"));
                } else {
                    context.ledger.no_counterpart(at, why);
                }
                backends.insert((service, backend));
            }
        }
    }
    for (service, key) in keys.into_iter().rev() {
        take_key(&mut document.services[service], key);
    }
    for (service, backend) in backends.into_iter().rev() {
        let entry = &mut document.services[service];
        if backend < entry.backends.len() {
            entry.backends.remove(backend);
        }
    }
    lost.sort_unstable();
    lost.dedup();
    for index in lost.into_iter().rev() {
        document.timeouts.remove(index);
    }
}

/// Without `probe` a service would have the default one.
fn take_key(entry: &mut Entry, key: usize) {
    let At(_, (name, value)) = &mut entry.keys[key];
    if *name == "probe" && value != "none" {
        *value = "none".to_owned();
    } else {
        entry.keys.remove(key);
    }
}

/// A service without backends is none.
fn drop_empty(context: &mut Context, document: &mut Document) {
    let ledger = &mut context.ledger;
    document.services.retain(|entry| {
        if entry.backends.is_empty() {
            ledger.no_counterpart(entry.at, "no backend is left: the service is not written");
        }
        !entry.backends.is_empty()
    });
}

/// The text, and what each of its lines is.
fn render(document: &Document, options: &Options) -> (String, Vec<Part>) {
    let (mut text, mut parts) = (String::new(), Vec::new());
    let mut line = |part: Part, line: &str| {
        writeln!(text, "{line}").expect("a string takes everything");
        parts.push(part);
    };
    let other = Part::Other;
    line(other, &format!("# Made by `evenkeel import` from {}.", super::values::shown(&document.source)));
    line(other, "version: 1");
    line(other, "node:");
    let eth0 = ["eth0".to_owned()];
    let interfaces = if options.interfaces.is_empty() { &eth0[..] } else { &options.interfaces[..] };
    line(other, &format!("  interfaces: {}", list(interfaces)));
    if !options.tunnel_sources.is_empty() {
        line(other, "  tunnel:");
    }
    for source in &options.tunnel_sources {
        let key = if source.addr().is_ipv4() { "source_ipv4" } else { "source_ipv6" };
        line(other, &format!("    {key}: {}", scalar(&source.to_string())));
    }
    let (services, backends) = sizes(document);
    if services > 1024 || backends > 16_384 {
        line(other, &format!("  limits: {{services: {}, backends: {}}}", services.max(1024), backends.max(16_384)));
    }
    if !document.timeouts.is_empty() {
        line(other, "defaults:");
        line(other, "  timeouts:");
    }
    for (index, At(_, (key, value))) in document.timeouts.iter().enumerate() {
        line(Part::Timeout(index), &format!("    {key}: {value}"));
    }
    line(other, if document.services.is_empty() { "services: []" } else { "services:" });
    for (service, entry) in document.services.iter().enumerate() {
        line(Part::Service(service), &format!("  - name: {}", scalar(&entry.name)));
        for (key, At(_, (name, value))) in entry.keys.iter().enumerate() {
            line(Part::Key(service, key), &format!("    {name}: {value}"));
        }
        line(Part::Service(service), "    backends:");
        for (backend, At(_, value)) in entry.backends.iter().enumerate() {
            line(Part::Backend(service, backend), &format!("      - {value}"));
        }
    }
    (text, parts)
}

fn sizes(document: &Document) -> (usize, usize) {
    (document.services.len(), document.services.iter().map(|entry| entry.backends.len()).sum())
}
