//! The forms that values take in YAML: text as written, numbers that may stand without quotes, maps without a key
//! twice.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use powerdev_protocol::service::rules::{self, schema};
use schemars::JsonSchema;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A number, or text.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum NumberOrText {
    /// A number, such as 1.5.
    Number(f64),
    /// Text, such as 16g.
    Text(String),
}

/// Text, a number, or a truth value: what a variable can be set to.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is of use")]
pub enum Scalar {
    /// Text as it is.
    Text(#[schemars(transform = schema::by(rules::VALUE))] String),
    /// A number, which becomes text as it is written.
    Number(f64),
    /// true or false, which become text as well.
    Truth(bool),
}

/// Text or a number, or a list of them.
#[derive(JsonSchema)]
#[serde(untagged)]
pub enum WordsOrText {
    /// Text, which may have commas.
    Text(String),
    /// A number alone.
    Number(u32),
    /// A list in place of commas.
    Words(Vec<NumberOrText>),
}

/// Text as it stands, or a list of it, joined with commas.
pub struct JoinedText(pub Option<String>);

impl<'de> Deserialize<'de> for JoinedText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JoinedTextVisitor;
        impl<'de> Visitor<'de> for JoinedTextVisitor {
            type Value = JoinedText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word, or a list of ids")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<JoinedText, E> {
                Ok(JoinedText(Some(text.to_owned())))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<JoinedText, E> {
                Ok(JoinedText(Some(number.to_string())))
            }

            fn visit_unit<E: de::Error>(self) -> Result<JoinedText, E> {
                Ok(JoinedText(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<JoinedText, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element::<String>()? {
                    words.push(word);
                }
                Ok(JoinedText(Some(words.join(","))))
            }
        }
        deserializer.deserialize_any(JoinedTextVisitor)
    }
}

/// A map in which no key stands twice. Nothing at all is an empty one. Values of text are as written: `1.10` stays
/// `1.10`.
pub struct UniqueMap<V>(pub BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UniqueMapVisitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueMapVisitor<V> {
            type Value = UniqueMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys with values")
            }

            fn visit_unit<E: de::Error>(self) -> Result<UniqueMap<V>, E> {
                Ok(UniqueMap(BTreeMap::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueMap<V>, A::Error> {
                let mut all = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if all.contains_key(&key) {
                        return Err(de::Error::custom(format_args!("`{key}` stands here twice")));
                    }
                    let value = map.next_value()?;
                    all.insert(key, value);
                }
                Ok(UniqueMap(all))
            }
        }
        deserializer.deserialize_any(UniqueMapVisitor(PhantomData))
    }
}
