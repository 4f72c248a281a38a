//! What raw types are made of: values with a place, and values with a short form.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::problem::Position;

/// A value as it was given: where, or that it was not.
///
/// From a configuration file it has its place, and a value that cannot be read leaves it `given` without a value; the
/// problem was noted. From elsewhere, such as JSON, it has no place and such a value is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<T> {
    value: Option<T>,
    given: bool,
    at: Position,
}

impl<T> Field<T> {
    /// Its value, if one was given and could be read.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Whether anything was given, readable or not.
    pub fn is_given(&self) -> bool {
        self.given
    }

    pub(super) fn at(&self) -> Position {
        self.at
    }
}

impl<T> Default for Field<T> {
    fn default() -> Self {
        Self { value: None, given: false, at: Position::default() }
    }
}

impl<T> From<T> for Field<T> {
    fn from(value: T) -> Self {
        Self { value: Some(value), given: true, at: Position::default() }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(FieldVisitor(PhantomData))
    }
}

struct FieldVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_none<E: de::Error>(self) -> Result<Field<T>, E> {
        Ok(Field::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field<T>, D::Error> {
        T::deserialize(deserializer).map(Field::from)
    }

    /// From a file: `reader::FieldParts`.
    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Field<T>, A::Error> {
        let line = parts.next_element()?.unwrap_or_default();
        let column = parts.next_element()?.unwrap_or_default();
        let file = parts.next_element()?.unwrap_or_default();
        Ok(Field { value: parts.next_element()?, given: true, at: Position { file, line, column } })
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// What can be given as one word instead of a map.
pub trait Short: Sized {
    /// Reads the short form; an error says `reason; remedy`.
    fn from_short<E: de::Error>(text: &str) -> Result<Self, E>;
}

/// A word or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortOrMap<T>(pub T);

impl<'de, T: Short + Deserialize<'de>> Deserialize<'de> for ShortOrMap<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct("ShortOrMap", ShortVisitor(PhantomData)).map(Self)
    }
}

struct ShortVisitor<T>(PhantomData<T>);

impl<'de, T: Short + Deserialize<'de>> Visitor<'de> for ShortVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a map")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_short(text)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }

    /// From a file, where what reads the map must learn the struct's keys.
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::deserialize(deserializer)
    }

    /// From elsewhere.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T: JsonSchema> JsonSchema for ShortOrMap<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("ShortOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, generator.subschema_for::<T>()] })
    }
}

/// A whole number of any size; the range is checked later, where a better reason can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole(pub i64);

/// A secret: never in a message, nor in what `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A length of time with its unit, such as `2s`, `500ms`, `1m 30s`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Time(pub(super) std::time::Duration);

/// Status codes of HTTP: a code, or codes and ranges of codes such as `200-299,301`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StatusSpec(pub(super) String);

/// A rate of new flows, or `auto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FloodSpec(pub(super) String);

/// Ports: a number, a range such as `8000-8099`, or `any`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortSpec(pub(super) String);

/// A number of backends, or percent of their weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LevelSpec(pub(super) String);

macro_rules! scalar {
    ($name:ident, $expecting:literal, $schema:tt, { $($method:item)* }) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ScalarVisitor;
                impl Visitor<'_> for ScalarVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    $($method)*
                }
                deserializer.deserialize_any(ScalarVisitor)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

scalar!(Whole, "a whole number", { "type": "integer" }, {
    fn visit_i64<E>(self, value: i64) -> Result<Whole, E> {
        Ok(Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Whole, E> {
        Ok(Whole(i64::try_from(value).unwrap_or(i64::MAX)))
    }
});

fn no_secret<E: de::Error>() -> Result<Secret, E> {
    Err(E::custom("expected a string, found another type; put it in quotes"))
}

scalar!(Secret, "a string", { "type": "string" }, {
    fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret(text.to_owned()))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        no_secret()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        no_secret()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        no_secret()
    }
});

scalar!(Time, "a duration such as `2s`", { "type": "string", "pattern": "^[0-9]+ *[a-z]+( *[0-9]+ *[a-z]+)*$" }, {
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
        humantime::parse_duration(text).map(Time).map_err(|error| {
            E::custom(format!("`{text}` is not a duration ({error}); write it as `2s`, `500ms` or `15m`"))
        })
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Time, E> {
        Err(E::custom(format!("a duration without a unit: `{number}`; add one, such as `{number}s` or `{number}ms`")))
    }
});

scalar!(PortSpec, "a port, a range of ports or `any`", {
    "anyOf": [
        { "type": "integer", "minimum": 1, "maximum": 65535 },
        { "type": "string", "pattern": "^([0-9]+|[0-9]+-[0-9]+|any)$" }
    ]
}, {
    fn visit_u64<E>(self, value: u64) -> Result<PortSpec, E> {
        Ok(PortSpec(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<PortSpec, E> {
        Ok(PortSpec(value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<PortSpec, E> {
        Ok(PortSpec(text.to_owned()))
    }
});

scalar!(FloodSpec, "a rate of new flows or `auto`", {
    "anyOf": [
        { "type": "integer", "minimum": 1, "maximum": 10_000_000 },
        { "const": "auto" }
    ]
}, {
    fn visit_u64<E>(self, value: u64) -> Result<FloodSpec, E> {
        Ok(FloodSpec(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<FloodSpec, E> {
        Ok(FloodSpec(value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<FloodSpec, E> {
        Ok(FloodSpec(text.to_owned()))
    }
});

scalar!(StatusSpec, "a code, or codes and ranges of codes such as `200-299,301`", {
    "anyOf": [
        { "type": "integer", "minimum": 100, "maximum": 599 },
        { "type": "string", "pattern": "^ *[0-9]{3}( *- *[0-9]{3})? *(, *[0-9]{3}( *- *[0-9]{3})? *)*$" }
    ]
}, {
    fn visit_u64<E>(self, value: u64) -> Result<StatusSpec, E> {
        Ok(StatusSpec(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<StatusSpec, E> {
        Ok(StatusSpec(value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<StatusSpec, E> {
        Ok(StatusSpec(text.to_owned()))
    }
});

scalar!(LevelSpec, "a number, or percent such as `50%`", {
    "anyOf": [
        { "type": "integer", "minimum": 1, "maximum": 65535 },
        { "type": "string", "pattern": "^([0-9]+|[0-9]+ *%)$" }
    ]
}, {
    fn visit_u64<E>(self, value: u64) -> Result<LevelSpec, E> {
        Ok(LevelSpec(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<LevelSpec, E> {
        Ok(LevelSpec(value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<LevelSpec, E> {
        Ok(LevelSpec(text.to_owned()))
    }
});
