//! Wrappers in CBOR.

use std::collections::BTreeMap;

use minicbor::Decoder;
use minicbor::data::Type;

use super::{
    COLLECTION_TYPE, Cmw, CmwError, Collection, ContentType, Fault, Label, MAX_DEPTH, MAX_ENTRIES,
    Record, collection_type, format_of_tag, indicator, media_type, name,
};

/// Reads one wrapper that fills `input`.
pub(super) fn read(input: &[u8]) -> Result<Cmw, CmwError> {
    let mut decoder = Decoder::new(input);
    let mut parse = || {
        let cmw = wrapper(&mut decoder, 0)?;
        match decoder.position() == input.len() {
            true => Ok(cmw),
            false => Err(Fault::Trailing),
        }
    };
    parse().map_err(|fault| CmwError::Cbor {
        fault,
        offset: decoder.position(),
    })
}

fn wrapper(decoder: &mut Decoder<'_>, depth: usize) -> Result<Cmw, Fault> {
    match decoder.datatype() {
        Ok(Type::Array) => record(decoder).map(Cmw::Record),
        Ok(Type::Tag) => tagged(decoder).map(Cmw::Record),
        Ok(Type::Map) if depth < MAX_DEPTH => collection(decoder, depth + 1).map(Cmw::Collection),
        Ok(Type::Map) => Err(Fault::Depth),
        _ => Err(Fault::Unexpected {
            wanted: "an array, a tag or a map",
        }),
    }
}

fn record(decoder: &mut Decoder<'_>) -> Result<Record, Fault> {
    let items = item(decoder, "an array of 2 or 3 items", Decoder::array)?;
    let with_indicator = match items {
        Some(2) => false,
        Some(3) => true,
        _ => {
            let wanted = "an array of 2 or 3 items";
            return Err(Fault::Unexpected { wanted });
        }
    };
    let content_type = match decoder.datatype() {
        Ok(Type::String) => media_type(item(decoder, "a media type", Decoder::str)?)?,
        _ => ContentType::Format(item(
            decoder,
            "a media type or a content format",
            Decoder::u16,
        )?),
    };
    let value = item(decoder, "a byte string", Decoder::bytes)?.to_vec();
    let indicator = match with_indicator {
        true => Some(indicator(item(decoder, "an indicator", Decoder::u64)?)?),
        false => None,
    };
    Ok(Record {
        content_type,
        value,
        indicator,
        tagged: false,
    })
}

fn tagged(decoder: &mut Decoder<'_>) -> Result<Record, Fault> {
    let tag = item(decoder, "a tag", Decoder::tag)?;
    let content_type = ContentType::Format(format_of_tag(tag.as_u64())?);
    let value = item(decoder, "a byte string", Decoder::bytes)?.to_vec();
    Ok(Record {
        content_type,
        value,
        indicator: None,
        tagged: true,
    })
}

fn collection(decoder: &mut Decoder<'_>, depth: usize) -> Result<Collection, Fault> {
    let wanted = "a map of known size";
    let found = item(decoder, wanted, Decoder::map)?.ok_or(Fault::Unexpected { wanted })?;
    let mut kind = None;
    let mut entries = BTreeMap::new();
    for index in 0..found {
        // Also bounds the loop where a map claims more entries than bytes.
        if index > MAX_ENTRIES as u64 {
            return Err(Fault::Entries { found });
        }
        let label = label(decoder)?;
        if label == Label::Text(COLLECTION_TYPE.to_owned()) {
            let text = item(decoder, "a collection type", Decoder::str)?;
            if kind.replace(collection_type(text)?).is_some() {
                let label = label.to_string();
                return Err(Fault::Twice { label });
            }
            continue;
        }
        let shown = label.to_string();
        if entries.insert(label, wrapper(decoder, depth)?).is_some() {
            return Err(Fault::Twice { label: shown });
        }
    }
    match (1..=MAX_ENTRIES).contains(&entries.len()) {
        true => Ok(Collection { kind, entries }),
        false => Err(Fault::Entries {
            found: entries.len() as u64,
        }),
    }
}

fn label(decoder: &mut Decoder<'_>) -> Result<Label, Fault> {
    let wanted = "a label: text or a number";
    match decoder.datatype() {
        Ok(Type::String) => Ok(Label::Text(name(item(decoder, wanted, Decoder::str)?)?)),
        _ => item(decoder, wanted, Decoder::i64).map(Label::Integer),
    }
}

/// The next item; where it is another, the decoder stays in front of it.
fn item<'b, T>(
    decoder: &mut Decoder<'b>,
    wanted: &'static str,
    read: impl FnOnce(&mut Decoder<'b>) -> Result<T, minicbor::decode::Error>,
) -> Result<T, Fault> {
    let offset = decoder.position();
    read(decoder).map_err(|_| {
        decoder.set_position(offset);
        Fault::Unexpected { wanted }
    })
}
