//! Wrappers in JSON.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{
    COLLECTION_TYPE, Cmw, CmwError, Collection, ContentType, Fault, Label, MAX_DEPTH, MAX_ENTRIES,
    Record, collection_type, indicator, media_type, name,
};

/// Reads one wrapper that fills `input`, but for white space.
pub(super) fn read(input: &[u8]) -> Result<Cmw, CmwError> {
    let mut reader = serde_json::Deserializer::from_slice(input);
    let parsed = Wrapper { depth: 0 }.deserialize(&mut reader);
    let parsed = parsed.and_then(|cmw| reader.end().map(|()| cmw));
    parsed.map_err(|error| CmwError::Json {
        reason: error.to_string(),
    })
}

struct Wrapper {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Wrapper {
    type Value = Cmw;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cmw, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Wrapper {
    type Value = Cmw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record `[type, value, indicator]` or a collection")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Cmw, A::Error> {
        let wanted = |wanted| Error::custom(Fault::Unexpected { wanted });
        let content_type = items.next_element::<Type>()?;
        let Type(content_type) =
            content_type.ok_or_else(|| wanted("a media type or a content format"))?;
        let value = items.next_element::<String>()?;
        let value = value.ok_or_else(|| wanted("a value in base64url"))?;
        let value = URL_SAFE_NO_PAD.decode(value);
        let value = value.map_err(|_| wanted("base64url without padding"))?;
        let indicator = items.next_element::<u64>()?.map(indicator).transpose();
        let indicator = indicator.map_err(Error::custom)?;
        if items.next_element::<serde::de::IgnoredAny>()?.is_some() {
            return Err(wanted("an array of 2 or 3 items"));
        }
        Ok(Cmw::Record(Record {
            content_type,
            value,
            indicator,
            tagged: false,
        }))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cmw, A::Error> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::custom(Fault::Depth));
        }
        let depth = self.depth + 1;
        let mut kind = None;
        let mut entries = BTreeMap::new();
        while let Some(label) = map.next_key::<String>()? {
            let twice = || {
                Error::custom(Fault::Twice {
                    label: label.clone(),
                })
            };
            if label == COLLECTION_TYPE {
                let text = map.next_value::<String>()?;
                let text = collection_type(&text).map_err(Error::custom)?;
                if kind.replace(text).is_some() {
                    return Err(twice());
                }
                continue;
            }
            let key = Label::Text(name(&label).map_err(Error::custom)?);
            if entries
                .insert(key, map.next_value_seed(Wrapper { depth })?)
                .is_some()
            {
                return Err(twice());
            }
            if entries.len() > MAX_ENTRIES {
                break;
            }
        }
        let found = entries.len() as u64;
        match (1..=MAX_ENTRIES as u64).contains(&found) {
            true => Ok(Cmw::Collection(Collection { kind, entries })),
            false => Err(Error::custom(Fault::Entries { found })),
        }
    }
}

/// The type of a record: a number or text.
struct Type(ContentType);

impl<'de> serde::Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Type;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a media type or a content format")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Type, E> {
                media_type(text).map(Type).map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Type, E> {
                let wanted = "a content format below 65536";
                let number = u16::try_from(number);
                let number = number.map_err(|_| E::custom(Fault::Unexpected { wanted }))?;
                Ok(Type(ContentType::Format(number)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
