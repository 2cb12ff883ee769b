//! JSON as metadata needs it: strict to read, canonical to sign.
//!
//! Two readers that disagree about a document are a hole in a signature scheme, so [`parse`] refuses what readers
//! disagree about: duplicate keys, and numbers that are not integers of at most 53 bits. It refuses what costs more to read
//! than it is worth: nesting past [`JSON_DEPTH_MAX`], more values than [`JSON_VALUES_MAX`]. [`canonical`] writes OLPC
//! canonical JSON, the form that TUF signs.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::limits::{JSON_DEPTH_MAX, JSON_INT_MAX, JSON_VALUES_MAX};

/// Why some bytes are not JSON that metadata may be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// The value that `bytes` spell.
///
/// # Errors
/// On anything that is not one strict JSON value, white space around it allowed.
pub fn parse(bytes: &[u8]) -> Result<Value, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let left = Cell::new(JSON_VALUES_MAX);
    let value = Strict { depth: 0, left: &left }.deserialize(&mut deserializer).map_err(|e| Error(e.to_string()))?;
    deserializer.end().map_err(|e| Error(e.to_string()))?;
    Ok(value)
}

/// The canonical bytes of `value`: keys sorted, no white space, only `"` and `\` escaped.
///
/// Strings hold control characters as they are, as the format demands, so the result is for signing and hashing, not for
/// a JSON reader.
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_canonical(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_by(|a, b| a.0.cmp(b.0));
            out.push(b'{');
            for (n, (key, item)) in keys.into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write_canonical(item, out);
            }
            out.push(b'}');
        }
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' || byte == b'\\' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// The beginning of a text that somebody else wrote, for a message: as much as fits into a sentence.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    /// How many more values there may be.
    left: &'a Cell<usize>,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == JSON_DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {JSON_DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| D::Error::custom(format_args!("more than {JSON_VALUES_MAX} values")))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without floats or duplicate keys")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > JSON_INT_MAX as u64 {
            return Err(E::custom("an integer is over 53 bits"));
        }
        Ok(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.visit_i64(i64::try_from(value).map_err(|_| E::custom("an integer is over 53 bits"))?)
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Value, E> {
        Err(E::custom("numbers with a fraction or an exponent are not allowed"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut out = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if out.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key '{}' appears twice", shown(&key))));
            }
            out.insert(key, entries.next_value_seed(inner)?);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_readers_disagree_about() {
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            "1.0",
            "1e3",
            "9007199254740992",
            "-9007199254740992",
            "{} {}",
            "",
            "{",
            "nul",
            "\"\u{1}\"",
            "01",
            "[1,]",
            "18446744073709551616",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(deep(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert!(parse(deep(JSON_DEPTH_MAX + 1).as_bytes()).is_err());
        assert!(parse(b"\"\xff\"").is_err());
        let many = |n: usize| format!("[{}0]", "0,".repeat(n - 1));
        assert!(parse(many(JSON_VALUES_MAX - 1).as_bytes()).is_ok());
        assert!(parse(many(JSON_VALUES_MAX).as_bytes()).is_err());
        let long = format!("{{\"{0}\":1,\"{0}\":1}}", "k".repeat(5_000));
        assert!(parse(long.as_bytes()).unwrap_err().to_string().len() < 200);
        assert_eq!(parse(b" 9007199254740991 ").unwrap(), Value::from(JSON_INT_MAX));
    }

    #[test]
    fn canonical_form() {
        let value = parse(br#"{ "b" : [ true, null, -1 ], "a" : "q\"\\\n\u00e9" }"#).unwrap();
        assert_eq!(canonical(&value), "{\"a\":\"q\\\"\\\\\n\u{e9}\",\"b\":[true,null,-1]}".as_bytes());
    }
}
