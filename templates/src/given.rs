//! What a template is given, and how much of it may be looked at.
//!
//! # Why
//! To compare two lists costs one unit of fuel for each entry of the shorter one, whatever lies in
//! the entries: two lists of one list of nine thousand numbers, compared in a loop, took a minute
//! and a half of what fuel was to end in milliseconds. So what is given counts itself how often it
//! is looked at, and shows nothing any more once that is enough.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use minijinja::value::{Enumerator, Object, ObjectRepr, Serde, Value};
use serde_json::{Map, Value as Json};

/// How often entries may be looked at while a field is rendered. A table of a thousand rows of ten
/// columns looks twenty thousand times.
const MAX_LOOKS: u64 = 1_000_000;

/// Looks that are left.
#[derive(Debug)]
pub(crate) struct Looks(AtomicU64);

impl Looks {
    /// Whether something was not shown any more.
    pub(crate) fn are_over(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    fn spend(&self, many: usize) -> bool {
        let many = u64::try_from(many).unwrap_or(u64::MAX);
        let left = self.0.load(Relaxed).saturating_sub(many);
        self.0.store(left, Relaxed);
        left > 0
    }
}

/// A list or an object that was given.
#[derive(Debug)]
pub(crate) struct Given {
    entries: Entries,
    looks: Arc<Looks>,
}

#[derive(Debug)]
enum Entries {
    List(Vec<Value>),
    Object(BTreeMap<Arc<str>, Value>),
}

/// The variables of one field, and the looks at them.
pub(crate) fn given(variables: &Map<String, Json>) -> (Value, Arc<Looks>) {
    let looks = Arc::new(Looks(AtomicU64::new(MAX_LOOKS)));
    (object(variables, &looks), looks)
}

/// How many octets of text there are, names included.
pub(crate) fn octets(variables: &Map<String, Json>) -> usize {
    variables.iter().map(|(name, value)| name.len() + octets_of(value)).sum()
}

fn octets_of(json: &Json) -> usize {
    match json {
        Json::String(text) => text.len(),
        Json::Array(list) => list.iter().map(octets_of).sum(),
        Json::Object(map) => octets(map),
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
    }
}

fn value(json: &Json, looks: &Arc<Looks>) -> Value {
    match json {
        Json::Array(list) => {
            let entries = Entries::List(list.iter().map(|entry| value(entry, looks)).collect());
            Value::from_object(Given { entries, looks: Arc::clone(looks) })
        }
        Json::Object(map) => object(map, looks),
        plain => Value::from(Serde(plain)),
    }
}

fn object(map: &Map<String, Json>, looks: &Arc<Looks>) -> Value {
    let entries = map.iter().map(|(name, json)| (Arc::from(name.as_str()), value(json, looks)));
    let entries = Entries::Object(entries.collect());
    Value::from_object(Given { entries, looks: Arc::clone(looks) })
}

impl Object for Given {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match &self.entries {
            Entries::List(_) => ObjectRepr::Seq,
            Entries::Object(_) => ObjectRepr::Map,
        }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        if !self.looks.spend(1) {
            return None;
        }
        match &self.entries {
            Entries::List(list) => list.get(key.as_usize()?).cloned(),
            Entries::Object(map) => map.get(key.as_str()?).cloned(),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match &self.entries {
            Entries::List(list) if self.looks.spend(1) => Enumerator::Seq(list.len()),
            Entries::Object(map) if self.looks.spend(map.len()) => {
                Enumerator::Values(map.keys().map(|name| Value::from(Arc::clone(name))).collect())
            }
            _ => Enumerator::Empty,
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(match &self.entries {
            Entries::List(list) => list.len(),
            Entries::Object(map) => map.len(),
        })
    }
}
