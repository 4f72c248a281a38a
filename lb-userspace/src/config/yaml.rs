//! Text to a tree whose nodes know their place. The only user of the YAML crate.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Error, Location, Options, Spanned, budget::BudgetBreach, options::NonFiniteFloatPolicy};

use super::problem::{Findings, Position};

/// A value and where it stands; for an alias or a merged key, where it is used.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// What YAML's core schema makes of a node.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// Keys are nodes too: they need a place, and a key that is not text is refused later, with the others.
    Map(Vec<(Node, Node)>),
}

/// Deepest nesting that is read; the format itself needs 7. Reading recurses, so this also bounds the stack.
const MAX_DEPTH: usize = 24;

/// Most nodes of a file, aliases expanded: a configuration at the limits, with every key of a million backends given,
/// has 14 million.
const MAX_NODES: usize = 20_000_000;

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
        },
        emit_comments: false,
        // `on` and `no` are words here: an interface or a service may be called so.
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

/// Reads a text, the `file`-th of several. `None`: it could not be read and the reason was noted.
pub(super) fn read(text: &str, file: u16, findings: &mut Findings) -> Option<Node> {
    match serde_saphyr::from_str_with_options::<Node>(text, options()) {
        Ok(node) if matches!(node.value, Value::Null) => {
            findings.add(
                Position { file, ..Position::default() },
                "the file is empty",
                "start from configs/minimal.yaml",
            );
            None
        }
        Ok(mut node) => {
            if file > 0 {
                node.stamp(file);
            }
            Some(node)
        }
        Err(error) => {
            let at = Position { file, ..error.location().map(Position::from).unwrap_or_default() };
            let (reason, remedy) = explain(&error);
            findings.add(at, reason, remedy);
            None
        }
    }
}

fn explain(error: &Error) -> (String, &'static str) {
    match error.without_snippet() {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            (format!("`{key}` is given twice"), "remove one of the two")
        }
        Error::DuplicateMappingKey { .. } => ("a key is given twice".to_owned(), "remove one of the two"),
        Error::Eof { .. } => ("the file is empty".to_owned(), "start from configs/minimal.yaml"),
        Error::MultipleDocuments { .. } => {
            ("more than one YAML document in the file".to_owned(), "keep one document, without `---` between parts")
        }
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            (format!("nested deeper than {MAX_DEPTH} levels"), "look for a bracket or an indentation too many")
        }
        Error::Budget { .. } => ("more than any configuration needs".to_owned(), "split it over several nodes"),
        other => {
            // The place is shown in front of the reason: only the first line's text is wanted here.
            let text = other.to_string();
            let line = text.lines().next().unwrap_or_default();
            let reason = line.split(" at line ").next().unwrap_or(line).trim_start_matches("error: ");
            (format!("not YAML: {reason}"), "check indentation, brackets and quotes; quote IPv6 addresses")
        }
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        let clamp = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self { file: 0, line: clamp(location.line()), column: clamp(location.column()) }
    }
}

impl Node {
    /// Notes which text it is from.
    fn stamp(&mut self, file: u16) {
        self.at.file = file;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.stamp(file)),
            Value::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
                key.stamp(file);
                value.stamp(file);
            }),
            _ => {}
        }
    }

    /// The value of a key of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(found, _)| found.text() == Some(key)).map(|(_, value)| value)
    }

    /// What it says, if that is text.
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// The items of a list; of anything else none.
    pub(super) fn items(&self) -> &[Self] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { at: spanned.referenced.into(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Signed(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}
