//! What a configuration is put together from: the file, what it includes, its drop-ins, and services that were applied at run
//! time.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize as _;

use super::{
    MAX_FILE,
    check::{self, ReadSecret},
    field, finish,
    model::Config,
    problem::{ConfigError, Findings, Position},
    raw, read_text, reader,
    yaml::{self, Node, Value},
};

/// Services that were applied at run time, by name: each a map as under `services` of the file.
pub type AppliedServices = BTreeMap<String, serde_json::Value>;

/// The texts of a configuration: that of the main file first, then what it includes and its drop-ins.
///
/// They are kept as they were read: what is in force stays known when the files change.
#[derive(Clone, Debug)]
pub struct Sources {
    texts: Vec<Text>,
    /// What was wrong with includes.
    findings: Findings,
}

#[derive(Clone, Debug)]
struct Text {
    name: String,
    text: String,
}

/// Where services and backends stand.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    names: Vec<String>,
    services: HashMap<String, Origin>,
}

#[derive(Clone, Debug, Default)]
struct Origin {
    at: Position,
    backends: HashMap<IpAddr, Position>,
}

/// A document that is to be applied, beside what is there already.
#[derive(Debug)]
pub struct Proposal {
    /// What is configured with it: the file's services that it does not name, those applied before, and its own.
    pub config: Config,
    /// Its own services, in its order.
    pub services: Vec<(String, serde_json::Value)>,
}

impl Sources {
    /// Reads a file, what it includes and its drop-ins. What is wrong with an include is a problem of [`Self::config`].
    ///
    /// # Errors
    ///
    /// If the main file cannot be read.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let mut findings = Findings::default();
        let text = match read_text(path, MAX_FILE) {
            Ok(text) => text,
            Err(reason) => {
                let reason = format!("cannot be read: {reason}");
                findings.add(Position::default(), reason, "name a readable YAML file");
                return Err(ConfigError { file: name, problems: findings.into_problems() });
            }
        };
        let more = included(path, &text, &mut findings);
        let mut sources = Self { texts: vec![Text { name, text }], findings };
        for (file, at) in more {
            match read_text(&file, MAX_FILE) {
                Ok(text) => sources.texts.push(Text { name: file.display().to_string(), text }),
                Err(reason) => {
                    let reason = format!("included file {} cannot be read: {reason}", file.display());
                    sources.findings.add(at, reason, "make it readable, or remove it from `include`");
                }
            }
        }
        Ok(sources)
    }

    /// A single text. What it includes is left out.
    #[must_use]
    pub fn of(text: &str, name: &str) -> Self {
        let text = Text { name: name.to_owned(), text: text.to_owned() };
        Self { texts: vec![text], findings: Findings::default() }
    }

    /// The configuration that they make with services that were applied at run time.
    ///
    /// # Errors
    ///
    /// All problems.
    pub fn config(
        &self,
        applied: &AppliedServices,
        read_secret: Option<ReadSecret<'_>>,
    ) -> Result<Config, ConfigError> {
        let mut findings = self.findings.clone();
        let mut names = self.names();
        let tree = self.tree(0, &mut findings).map(|mut tree| {
            add_applied(&mut tree, applied.iter(), &mut names);
            tree
        });
        checked(tree, findings, &names, read_secret)
    }

    /// Reads a document that is to be applied and checks it beside what is there.
    ///
    /// # Errors
    ///
    /// All problems, those of the document and those that what is there has with it.
    pub fn propose(
        &self,
        applied: &AppliedServices,
        text: &str,
        file: &str,
        read_secret: Option<ReadSecret<'_>>,
    ) -> Result<Proposal, ConfigError> {
        let mut findings = Findings::default();
        let mut names: Vec<String> = [file.to_owned()].into_iter().chain(self.names()).collect();
        let Some(document) = yaml::read(text, 0, &mut findings) else {
            return Err(ConfigError { file: file.to_owned(), problems: findings.into_problems() });
        };
        let mut running = self.tree(1, &mut Findings::default()).unwrap_or_else(|| Value::Map(Vec::new()).into());
        let own: Vec<(String, serde_json::Value)> =
            named(&document).map(|(name, node)| (name, node.to_json())).collect();
        let taken: HashSet<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
        let others = applied.iter().filter(|(name, _)| !taken.contains(name.as_str()));
        if let Some(Value::List(services)) = value_mut(&mut running, "services") {
            services.retain(|service| name_of(service).is_none_or(|name| !taken.contains(name)));
        }
        add_applied(&mut running, others, &mut names);
        let tree = beside(running, document, &mut findings);
        let config = checked(Some(tree), findings, &names, read_secret)?;
        Ok(Proposal { config, services: own })
    }

    /// What is written of each service, by its name.
    #[must_use]
    pub fn services(&self, applied: &AppliedServices) -> HashMap<String, serde_json::Value> {
        let tree = self.tree(0, &mut Findings::default());
        let written = tree.iter().flat_map(named).map(|(name, service)| (name, service.to_json()));
        applied.iter().map(|(name, service)| (name.clone(), service.clone())).chain(written).collect()
    }

    /// Where everything stands.
    #[must_use]
    pub fn origins(&self) -> Origins {
        let tree = self.tree(0, &mut Findings::default());
        let services = tree.iter().flat_map(named).map(|(name, service)| {
            let backends = service.get("backends").map_or(&[][..], Node::items).iter();
            let place = |item: &Node| Some((address_of(item)?, item.at));
            (name, Origin { at: service.at, backends: backends.filter_map(place).collect() })
        });
        Origins { services: services.collect(), names: self.names() }
    }

    /// Tells other texts apart.
    #[must_use]
    pub fn digest(&self) -> String {
        use sha2::Digest as _;
        let mut hasher = sha2::Sha256::new();
        for text in &self.texts {
            hasher.update((text.text.len() as u64).to_le_bytes());
            hasher.update(&text.text);
        }
        hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    fn names(&self) -> Vec<String> {
        self.texts.iter().map(|text| text.name.clone()).collect()
    }

    /// All texts as one tree; they are numbered from `first`.
    pub(super) fn tree(&self, first: u16, findings: &mut Findings) -> Option<Node> {
        let mut texts = self.texts.iter().zip(first..);
        let (main, number) = texts.next()?;
        let tree = yaml::read(&main.text, number, findings);
        // All of them are read: one reading shows all problems.
        let parts: Vec<Node> = texts.filter_map(|(text, number)| yaml::read(&text.text, number, findings)).collect();
        let mut tree = tree?;
        let names = self.names();
        parts.into_iter().for_each(|part| join(&mut tree, part, &names, first, findings));
        Some(tree)
    }
}

/// What is different between two services as they are written, backends aside: `key old -> new`. Of what may be a secret only the
/// key is told.
#[must_use]
pub fn differences(before: &serde_json::Value, after: &serde_json::Value) -> Vec<String> {
    const LONGEST: usize = 48;
    let show = |value: Option<&serde_json::Value>| {
        let text = value.map_or("unset".to_owned(), |value| Node::from_json(value, Position::default()).flow());
        let mut shown: String = text.chars().take(LONGEST).collect();
        shown.push_str(if text.chars().nth(LONGEST).is_some() { "…" } else { "" });
        shown
    };
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default()
    };
    let all: std::collections::BTreeSet<String> = keys(before).into_iter().chain(keys(after)).collect();
    let differ = all.into_iter().filter(|key| key != "backends" && before.get(key) != after.get(key));
    differ
        .map(|key| match key.as_str() {
            "quic" => format!("{key} changed"),
            _ => format!("{key} {} -> {}", show(before.get(&key)), show(after.get(&key))),
        })
        .collect()
}

impl Origins {
    /// Whether a service stands in a file.
    #[must_use]
    pub fn has(&self, service: &str) -> bool {
        self.services.contains_key(service)
    }

    /// Where a service stands, as `file:line`; `None`: in no file.
    #[must_use]
    pub fn service(&self, service: &str) -> Option<String> {
        self.services.get(service).map(|origin| self.place(origin.at))
    }

    /// Where a backend stands.
    #[must_use]
    pub fn backend(&self, service: &str, address: IpAddr) -> Option<String> {
        self.services.get(service)?.backends.get(&address).map(|at| self.place(*at))
    }

    fn place(&self, at: Position) -> String {
        format!("{}:{}", self.names.get(usize::from(at.file)).map_or("", String::as_str), at.line)
    }
}

fn checked(
    tree: Option<Node>,
    mut findings: Findings,
    names: &[String],
    read_secret: Option<ReadSecret<'_>>,
) -> Result<Config, ConfigError> {
    let config = tree.and_then(|tree| {
        let noted = RefCell::new(std::mem::take(&mut findings));
        // A document is read as a field so that whatever is wrong with it is noted like everything else.
        let document = field::Field::<raw::Document>::deserialize(reader::Reader::new(&tree, &noted));
        findings = noted.into_inner();
        let document = document.ok()?;
        check::document(&mut findings, document.get()?, document.at(), read_secret)
    });
    finish(config, findings.into_problems_of(names), names.first().map_or("", String::as_str))
}

/// The files that a main file includes and its drop-ins, each with where it is asked for.
fn included(path: &Path, text: &str, findings: &mut Findings) -> Vec<(PathBuf, Position)> {
    let mut found = Vec::new();
    let directory = path.parent().unwrap_or(Path::new(""));
    let tree = yaml::read(text, 0, &mut Findings::default());
    for item in tree.as_ref().and_then(|tree| tree.get("include")).map_or(&[][..], Node::items) {
        // Anything but text is noted when the document is read.
        let Some(pattern) = item.text() else { continue };
        match matches(directory, pattern) {
            Ok(files) if files.is_empty() => {
                let reason = format!("`include` `{pattern}` matches no file");
                findings.add(item.at, reason, "correct or remove it, or make the file");
            }
            Ok(files) => found.extend(files.into_iter().map(|file| (file, item.at))),
            Err(reason) => {
                findings.add(
                    item.at,
                    format!("`include` `{pattern}`: {reason}"),
                    "correct the pattern or its directory",
                );
            }
        }
    }
    let mut drop_ins = path.as_os_str().to_owned();
    drop_ins.push(".d");
    let drop_ins = PathBuf::from(drop_ins);
    if drop_ins.is_dir() {
        match matches(&drop_ins, "*.yaml") {
            Ok(files) => found.extend(files.into_iter().map(|file| (file, Position::default()))),
            Err(reason) => findings.add(
                Position::default(),
                format!("drop-ins of {}: {reason}", drop_ins.display()),
                "make the directory readable, or remove it",
            ),
        }
    }
    let mut seen = HashSet::new();
    let own = path.canonicalize().ok();
    for (file, at) in &found {
        let whole = file.canonicalize().unwrap_or_else(|_| file.clone());
        if Some(&whole) == own.as_ref() || !seen.insert(whole) {
            let reason = format!("{} is read twice", file.display());
            findings.add(*at, reason, "include it once; drop-ins are read without `include`");
        }
    }
    found
}

/// Files by a pattern, in the order of their names.
fn matches(directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let base = glob::Pattern::escape(&directory.display().to_string());
    let whole = if Path::new(pattern).is_absolute() || base.is_empty() {
        pattern.to_owned()
    } else {
        format!("{base}/{pattern}")
    };
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::default() };
    let paths = glob::glob_with(&whole, options).map_err(|error| error.to_string())?;
    let files: Result<Vec<PathBuf>, _> = paths.collect();
    let mut files = files.map_err(|error| error.to_string())?;
    files.sort();
    Ok(files)
}

/// Adds an included file to the main one.
fn join(tree: &mut Node, part: Node, names: &[String], first: u16, findings: &mut Findings) {
    let Value::Map(entries) = part.value else {
        findings.add(part.at, "expected a map", "give `services`, `node` or `defaults`");
        return;
    };
    let Value::Map(all) = &mut tree.value else { return };
    for (key, value) in entries {
        let name = key.text().unwrap_or_default().to_owned();
        let present = all.iter_mut().find(|(found, _)| found.text() == Some(&name));
        match (name.as_str(), present) {
            ("include", _) => {
                findings.add(
                    key.at,
                    "`include` in an included file",
                    "only the main file includes others; move it there",
                );
            }
            ("version", Some(_)) => {
                if !matches!(value.value, Value::Unsigned(1)) {
                    findings.add(
                        value.at,
                        "another `version` than the main file's",
                        "use `version: 1`, or leave it out",
                    );
                }
            }
            ("services", Some((_, services))) => match (&mut services.value, value.value) {
                (Value::List(services), Value::List(more)) => services.extend(more),
                (_, Value::List(_)) => {}
                _ => findings.add(value.at, "expected a list", "give a list of services"),
            },
            (_, Some((other, _))) => {
                let place = names.get(usize::from(other.at.file.saturating_sub(first))).map_or("", String::as_str);
                let reason = format!("`{name}` is given twice, first in {place}:{}", other.at.line);
                findings.add(key.at, reason, "remove one of the two");
            }
            (_, None) => all.push((key, value)),
        }
    }
}

/// The document that is to be applied, with what it does not say as it is.
fn beside(mut running: Node, document: Node, findings: &mut Findings) -> Node {
    let at = document.at;
    let Value::Map(entries) = document.value else { return Node { at, value: document.value } };
    let Value::Map(all) = &mut running.value else { return running };
    all.retain(|(key, _)| !matches!(key.text(), Some("version" | "include")));
    let says_services = entries.iter().any(|(key, _)| key.text() == Some("services"));
    for (key, value) in entries {
        let name = key.text().unwrap_or_default().to_owned();
        let present = all.iter_mut().find(|(found, _)| found.text() == Some(&name));
        match (name.as_str(), present) {
            ("include", _) => {
                findings.add(
                    key.at,
                    "`include` in what is applied",
                    "apply the files one by one, or one file with all of it",
                );
            }
            ("services", Some((_, services))) => {
                services.at = value.at;
                match (&mut services.value, value.value) {
                    (Value::List(services), Value::List(more)) => services.extend(more),
                    (services, other) => *services = other,
                }
            }
            ("node" | "defaults", present) => {
                if present.map(|(_, present)| present.to_json()) != Some(value.to_json()) {
                    let remedy = "leave it out, or edit the configuration file and reload the daemon";
                    findings.add(key.at, format!("`{name}` is not what the daemon runs with"), remedy);
                }
            }
            _ => all.push((key, value)),
        }
    }
    if !says_services {
        all.retain(|(key, _)| key.text() != Some("services"));
    }
    running.at = at;
    running
}

fn add_applied<'a>(
    tree: &mut Node,
    applied: impl Iterator<Item = (&'a String, &'a serde_json::Value)>,
    names: &mut Vec<String>,
) {
    for (name, service) in applied {
        let file = u16::try_from(names.len()).unwrap_or(u16::MAX);
        if let Some(Value::List(services)) = value_mut(tree, "services") {
            services.push(Node::from_json(service, Position { file, ..Position::default() }));
        }
        names.push(format!("service {name}, applied at run time"));
    }
}

fn value_mut<'a>(tree: &'a mut Node, key: &str) -> Option<&'a mut Value> {
    let Value::Map(entries) = &mut tree.value else { return None };
    entries.iter_mut().find(|(found, _)| found.text() == Some(key)).map(|(_, value)| &mut value.value)
}

/// The services of a document that have names.
fn named(tree: &Node) -> impl Iterator<Item = (String, &Node)> {
    let services = tree.get("services").map_or(&[][..], Node::items);
    services.iter().filter_map(|service| Some((name_of(service)?.to_owned(), service)))
}

pub(super) fn name_of(service: &Node) -> Option<&str> {
    service.get("name")?.text()
}

/// The address of a backend, in its short form or as a map.
pub(super) fn address_of(backend: &Node) -> Option<IpAddr> {
    backend.text().or_else(|| backend.get("address")?.text())?.parse().ok()
}
