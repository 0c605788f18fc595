//! JSON from strangers: read into a tree that is bounded in depth and size and keeps repeated keys.
//!
//! # Why
//! serde's derive stops at the first error, names no path, takes the last of repeated keys and
//! cannot say how much it may build. A caller deserves every mistake at once, and two readers of
//! one body must never disagree on which `to` counts.

use std::{borrow::Cow, cell::Cell, fmt};

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Deepest nesting that is looked into. What lies deeper is skipped and marked.
pub(crate) const MAX_DEPTH: u8 = 16;
/// Most values in one body: fifty recipients, a hundred files and all else need a tenth of it; the
/// rest is for what is put into a template.
pub(crate) const MAX_VALUES: usize = 20_000;

/// A value as it was written.
#[derive(Debug, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    /// In the order written, with keys that are repeated.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
    /// A list or object below [`MAX_DEPTH`].
    TooDeep,
}

/// Why bytes are no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("The body is not JSON: line {line}, column {column}.")]
    Syntax { line: usize, column: usize },
    #[error("The body is empty.")]
    Empty,
    #[error("The body has too many values.")]
    TooMany,
}

impl<'a> Json<'a> {
    /// Reads all of `bytes`, at most so many values.
    pub(crate) fn read(bytes: &'a [u8], most: usize) -> Result<Self, Unreadable> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(Unreadable::Empty);
        }
        let left = Cell::new(most);
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        Seed { depth: 0, left: &left }
            .deserialize(&mut reader)
            .and_then(|tree| reader.end().map(|()| tree))
            .map_err(|error| match error.classify() {
                // Every well-formed value is taken, so only the bound ends here.
                serde_json::error::Category::Data if left.get() == 0 => Unreadable::TooMany,
                _ => Unreadable::Syntax { line: error.line(), column: error.column() },
            })
    }

    /// What it is, in words.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
            Self::TooDeep => "something nested too deeply",
        }
    }
}

#[derive(Clone, Copy)]
struct Seed<'c> {
    depth: u8,
    left: &'c Cell<usize>,
}

impl Seed<'_> {
    fn deeper(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    fn spend<E: serde::de::Error>(self) -> Result<(), E> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| E::custom("too many values"))?;
        self.left.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Json<'de>, D::Error> {
        self.spend()?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json<'de>, E> {
        serde_json::Number::from_f64(value)
            .map(Json::Number)
            .ok_or_else(|| E::custom("not a number of JSON"))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        if self.depth == MAX_DEPTH {
            // Skipping does not recurse, however deep it goes.
            while access.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Json::TooDeep);
        }
        let mut list = Vec::new();
        while let Some(value) = access.next_element_seed(self.deeper())? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        if self.depth == MAX_DEPTH {
            while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Json::TooDeep);
        }
        let mut object = Vec::new();
        while let Some(Key(key)) = access.next_key()? {
            object.push((key, access.next_value_seed(self.deeper())?));
        }
        Ok(Json::Object(object))
    }
}

struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        reader.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Json<'_>, Unreadable> {
        Json::read(bytes, MAX_VALUES)
    }

    fn text(text: &str) -> Json<'_> {
        Json::Text(text.into())
    }

    #[test]
    fn repeated_keys_and_their_order_are_kept() {
        let tree = read(br#" {"b":"1","a":[null,true,-1,2.5],"b":"\n"} "#).unwrap();
        let half = serde_json::Number::from_f64(2.5).unwrap();
        let numbers = [Json::Number((-1).into()), Json::Number(half)];
        let list = [Json::Null, Json::Bool(true)].into_iter().chain(numbers).collect();
        let list = Json::List(list);
        let expected = vec![("b".into(), text("1")), ("a".into(), list), ("b".into(), text("\n"))];
        assert_eq!(tree, Json::Object(expected));
    }

    #[test]
    fn syntax_errors_name_their_place_and_nothing_else() {
        for (bytes, line, column) in [
            (&b"{\n  \"to\": [secret]}"[..], 2, 10),
            (b"{} x", 1, 4),
            (b"{\"a\":1", 1, 6),
            (b"\xff", 1, 1),
            (b"{\"a\":\"\xff\"}", 1, 7),
            (b"{\"a\":\"\\ud800\"}", 1, 13),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(
                matches!(error, Unreadable::Syntax { line: l, .. } if l == line),
                "{error} for {}, expected {line}:{column}",
                String::from_utf8_lossy(bytes)
            );
            assert!(!error.to_string().contains("secret"));
        }
        assert_eq!(read(b" \n"), Err(Unreadable::Empty));
    }

    #[test]
    fn depth_is_bounded_without_recursion() {
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        let mut tree = &read(deep.as_bytes()).unwrap();
        let mut depth = 0;
        while let Json::List(list) = tree {
            tree = &list[0];
            depth += 1;
        }
        assert_eq!((depth, tree), (usize::from(MAX_DEPTH), &Json::TooDeep));
        let objects = "{\"a\":".repeat(50_000) + "1" + &"}".repeat(50_000);
        assert!(read(objects.as_bytes()).is_ok());
    }

    #[test]
    fn the_number_of_values_is_bounded() {
        let many = format!("[{}1]", "1,".repeat(MAX_VALUES));
        assert_eq!(read(many.as_bytes()), Err(Unreadable::TooMany));
        let few = format!("[{}1]", "1,".repeat(MAX_VALUES - 2));
        assert!(read(few.as_bytes()).is_ok());
    }
}
