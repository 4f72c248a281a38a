//! Trees as JSON, in which they are kept, and as YAML, in which they are exported.

use std::fmt::Write as _;

use serde_json::{Map, Number};

use super::{
    problem::Position,
    yaml::{Node, Value},
};

/// Longest list or map that is written on a line of its own, in characters.
const LINE: usize = 100;

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

impl From<Value> for Node {
    /// Something that stands nowhere.
    fn from(value: Value) -> Self {
        Self { at: Position::default(), value }
    }
}

impl Node {
    /// A map.
    pub(super) fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let entry = |(key, value): (&str, Value)| (Value::text(key).into(), value.into());
        Value::Map(entries.into_iter().map(entry).collect()).into()
    }

    /// Sets a key of a map.
    pub(super) fn set(&mut self, key: &str, value: Value) {
        let Value::Map(entries) = &mut self.value else { return };
        entries.retain(|(found, _)| found.text() != Some(key));
        entries.push((Value::text(key).into(), value.into()));
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Unsigned(value) => Json::Number((*value).into()),
            Value::Signed(value) => Json::Number((*value).into()),
            Value::Float(value) => Number::from_f64(*value).map_or(Json::Null, Json::Number),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(entries) => {
                let entry = |(key, value): &(Self, Self)| (scalar(key), value.to_json());
                Json::Object(entries.iter().map(entry).collect::<Map<_, _>>())
            }
        }
    }

    /// Everything of it stands at one place.
    pub(super) fn from_json(json: &serde_json::Value, at: Position) -> Self {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => Value::Unsigned(value),
                (None, Some(value)) => Value::Signed(value),
                (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Value::text(text),
            Json::Array(items) => Value::List(items.iter().map(|item| Self::from_json(item, at)).collect()),
            Json::Object(entries) => {
                let entry =
                    |(key, value): (&String, &Json)| (Self { at, value: Value::text(key) }, Self::from_json(value, at));
                let mut entries: Vec<_> = entries.iter().map(entry).collect();
                // JSON keeps no order: what tells a service or a backend apart comes first, what is long last.
                entries.sort_by_key(|(key, _)| rank(key.text().unwrap_or_default()));
                Value::Map(entries)
            }
        };
        Self { at, value }
    }

    /// As a YAML document.
    pub(super) fn to_yaml(&self) -> String {
        let mut out = String::new();
        self.block(&mut out, 0);
        out
    }

    fn block(&self, out: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        match &self.value {
            Value::Map(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    let _ = write!(out, "{indent}{}:", scalar_text(key));
                    value.behind(out, depth + 1);
                }
            }
            Value::List(items) if !items.is_empty() => {
                for item in items {
                    let _ = write!(out, "{indent}-");
                    item.behind(out, depth + 1);
                }
            }
            _ => {
                let _ = writeln!(out, "{indent}{}", self.flow());
            }
        }
    }

    /// Behind a key or a dash: on that line if it is short, else below.
    fn behind(&self, out: &mut String, depth: usize) {
        if self.is_leaf() {
            let flow = self.flow();
            if flow.len() <= LINE || !matches!(self.value, Value::Map(_) | Value::List(_)) {
                let _ = writeln!(out, " {flow}");
                return;
            }
        }
        out.push('\n');
        self.block(out, depth);
    }

    /// Whether it holds no list or map of lists or maps.
    fn is_leaf(&self) -> bool {
        let is_scalar = |node: &Self| !matches!(node.value, Value::Map(_) | Value::List(_));
        match &self.value {
            Value::Map(entries) => entries.iter().all(|(_, value)| is_scalar(value)),
            Value::List(items) => items.iter().all(is_scalar),
            _ => true,
        }
    }

    pub(super) fn flow(&self) -> String {
        match &self.value {
            Value::List(items) => format!("[{}]", items.iter().map(Self::flow).collect::<Vec<_>>().join(", ")),
            Value::Map(entries) => {
                let entry = |(key, value): &(Self, Self)| format!("{}: {}", scalar_text(key), value.flow());
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
            _ => scalar_text(self),
        }
    }
}

fn rank(key: &str) -> usize {
    const FIRST: [&str; 6] = ["type", "name", "address", "vip", "port", "protocol"];
    const LAST: &str = "backends";
    FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len() + usize::from(key == LAST))
}

/// What a scalar says, without quotes.
fn scalar(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => text.clone(),
        _ => scalar_text(node),
    }
}

fn scalar_text(node: &Node) -> String {
    match &node.value {
        Value::Bool(value) => value.to_string(),
        Value::Unsigned(value) => value.to_string(),
        Value::Signed(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Text(text) if is_plain(text) => text.clone(),
        Value::Text(text) => quoted(text),
        Value::Null | Value::List(_) | Value::Map(_) => "null".to_owned(),
    }
}

/// Whether a text needs no quotes. Many that do not need them get them all the same.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 12] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan", "infinity"];
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let is_address = text.parse::<std::net::Ipv4Addr>().is_ok();
    (is_word || is_address) && text.chars().all(letter) && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            ' '..='~' => out.push(letter),
            // What YAML takes for a line end, a mark or nothing printable is among these.
            letter if letter.is_alphanumeric() => out.push(letter),
            letter => {
                let _ = write!(out, "\\U{:08X}", u32::from(letter));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{problem::Findings, yaml};

    fn same(text: &str, findings: &mut Findings) -> Option<(serde_json::Value, serde_json::Value)> {
        let node = yaml::read(text, 0, findings)?;
        let again = yaml::read(&node.to_yaml(), 0, findings)?;
        Some((node.to_json(), again.to_json()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn texts_come_back(text in "\\PC{0,12}|[\\x00-\\x7f\u{85}\u{2028}\u{feff}]{0,8}", key in "[a-z:# ]{1,5}") {
            let node = Node::map([(key.as_str(), Value::List(vec![Value::text(text.clone()).into()]))]);
            let yaml = node.to_yaml();
            let mut findings = Findings::default();
            let again = yaml::read(&yaml, 0, &mut findings);
            let again = again.ok_or_else(|| TestCaseError::fail(format!("{yaml}: {:?}", findings.into_problems())))?;
            prop_assert_eq!(again.to_json(), node.to_json(), "{}", yaml);
        }
    }

    #[test]
    fn documents_come_back() {
        let text = "a: 1\nb: -2\nc: [x, 'true', \"1\", '', 1.5, true, {d: 'a: b', e: [], f: {}}]\ng:\n  - h: 10.0.0.1\n    \
                    i: 2001:db8::1\n    j: '010'\n    k: 0x1f\n    l: [{m: n}, [o]]\n";
        let mut findings = Findings::default();
        let (one, other) = same(text, &mut findings).unwrap_or_else(|| panic!("{:?}", findings.into_problems()));
        assert_eq!(one, other);
    }
}
