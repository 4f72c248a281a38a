//! Trees to raw types: a serde deserializer that notes a problem and goes on.
//!
//! Serde stops at the first error. Here every `Field` is a place to go on from: what is wrong inside it is noted with
//! its place, the field is left without a value, and its neighbours are still read. Unknown keys are noted and skipped.

use std::{cell::RefCell, fmt};

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor},
    forward_to_deserialize_any,
};

use super::{
    problem::{Findings, Position},
    suggest::{either, nearest},
    yaml::{Node, Value},
};

/// Why a value could not be read. The place is that of the innermost value.
#[derive(Debug)]
pub(super) struct Fault {
    at: Option<Position>,
    reason: String,
    remedy: String,
}

impl Fault {
    fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { at: None, reason: reason.into(), remedy: remedy.into() }
    }

    fn at(mut self, at: Position) -> Self {
        self.at.get_or_insert(at);
        self
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.remedy)
    }
}

impl de::Error for Fault {
    /// A message in the form `reason; remedy`.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        let (reason, remedy) = message.split_once("; ").unwrap_or((&message, ""));
        Self::new(reason, remedy)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        let remedy = match expected.as_str() {
            "a string" => "put it in quotes".to_owned(),
            _ => format!("give {expected}"),
        };
        Self::new(format!("expected {expected}, found {found}"), remedy)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown value `{variant}`"), meant(variant, expected))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown key `{field}`"), meant(field, expected))
    }
}

fn meant(word: &str, expected: &[&str]) -> String {
    match nearest(word, expected) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("use {}", either(expected)),
    }
}

/// Reads one node.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    node: &'a Node,
    findings: &'a RefCell<Findings>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(node: &'a Node, findings: &'a RefCell<Findings>) -> Self {
        Self { node, findings }
    }

    fn over(self, node: &'a Node) -> Self {
        Self { node, ..self }
    }

    fn note(self, fault: Fault) {
        self.findings.borrow_mut().add(fault.at.unwrap_or(self.node.at), fault.reason, fault.remedy);
    }

    /// Whether a struct knows this key; if not, that is noted.
    fn is_one_of(self, fields: &'static [&'static str]) -> bool {
        let fault = match &self.node.value {
            Value::Text(key) if fields.contains(&key.as_str()) => return true,
            Value::Text(key) => de::Error::unknown_field(key, fields),
            _ => Fault::new("a key that is not text", format!("use {}", either(fields))),
        };
        self.note(fault);
        false
    }

    fn wrong(self, expected: &'static str) -> Fault {
        de::Error::invalid_type(self.unexpected(), &expected)
    }

    fn unexpected(self) -> Unexpected<'a> {
        match &self.node.value {
            Value::Null => Unexpected::Unit,
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Unsigned(value) => Unexpected::Unsigned(*value),
            Value::Signed(value) => Unexpected::Signed(*value),
            Value::Float(value) => Unexpected::Float(*value),
            Value::Text(text) => Unexpected::Str(text),
            Value::List(_) => Unexpected::Other("a list"),
            Value::Map(_) => Unexpected::Other("a map"),
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Signed(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(nodes) => visitor.visit_seq(List { reader: self, rest: nodes.iter() }),
            Value::Map(entries) => {
                let all: Vec<_> = entries.iter().collect();
                visitor.visit_map(Map { reader: self, rest: all.into_iter(), value: None })
            }
        }
        .map_err(|fault| fault.at(self.node.at))
    }

    /// Only `Field` asks for an option: it gets line, column, file and, if it could be read, its value.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(FieldParts { reader: self, part: 0 })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::List(_) => self.deserialize_any(visitor),
            _ => Err(self.wrong("a list")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Value::Map(entries) = &self.node.value else { return Err(self.wrong("a map")) };
        let known: Vec<_> = entries.iter().filter(|(key, _)| self.over(key).is_one_of(fields)).collect();
        visitor
            .visit_map(Map { reader: self, rest: known.into_iter(), value: None })
            .map_err(|fault| fault.at(self.node.at))
    }

    /// Only `ShortOrMap` asks for a newtype: it gets a string, or itself something to read the map from.
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Text(text) => visitor.visit_str(text).map_err(|fault: Fault| fault.at(self.node.at)),
            Value::Map(_) => visitor.visit_some(self),
            _ => Err(self.wrong("text or a map")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => Err(de::Error::invalid_type(self.unexpected(), &either(variants).as_str())),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct map identifier ignored_any
    }
}

struct List<'a> {
    reader: Reader<'a>,
    rest: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for List<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        self.rest.next().map(|node| seed.deserialize(self.reader.over(node))).transpose()
    }
}

struct Map<'a> {
    reader: Reader<'a>,
    rest: std::vec::IntoIter<&'a (Node, Node)>,
    value: Option<&'a Node>,
}

impl<'de> MapAccess<'de> for Map<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(self.reader.over(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let node = self.value.take().ok_or_else(|| Fault::new("a value without a key", ""))?;
        seed.deserialize(self.reader.over(node))
    }
}

struct FieldParts<'a> {
    reader: Reader<'a>,
    part: u8,
}

impl<'de> SeqAccess<'de> for FieldParts<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Position { file, line, column } = self.reader.node.at;
        self.part += 1;
        match self.part {
            1 => seed.deserialize(line.into_deserializer()).map(Some),
            2 => seed.deserialize(column.into_deserializer()).map(Some),
            3 => seed.deserialize(file.into_deserializer()).map(Some),
            4 if matches!(self.reader.node.value, Value::Null) => {
                self.reader.note(Fault::new("no value is given", "give one or remove the key"));
                Ok(None)
            }
            4 => match seed.deserialize(self.reader) {
                Ok(value) => Ok(Some(value)),
                Err(fault) => {
                    self.reader.note(fault);
                    Ok(None)
                }
            },
            _ => Ok(None),
        }
    }
}
