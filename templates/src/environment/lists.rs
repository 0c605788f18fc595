//! Filters that make lists, and none of a list or an object that a filter made.

use minijinja::{
    Environment, Error, ErrorKind, State, filters,
    value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs, from_args},
};

use crate::given::Given;

/// What grouping costs for each entry, in fuel: it sorts them.
const GROUPING_FUEL: u64 = 16;

/// Puts them in the place of those that take any entry and give back any.
pub(super) fn put_into(environment: &mut Environment<'_>) {
    // They are lists that refer to the lists that they are made of.
    environment.remove_filter("chain");
    environment.remove_filter("zip");
    environment.add_filter("reverse", reverse);
    environment.add_filter("sum", sum);
    environment.add_filter("map", map);
    environment.add_filter("batch", batch);
    environment.add_filter("slice", slice);
    environment.add_filter("groupby", group_by);
}

fn wrong(words: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, words)
}

fn is_plain(value: &Value) -> bool {
    use ValueKind as V;
    matches!(value.kind(), V::Undefined | V::None | V::Bool | V::Number | V::String | V::Bytes)
}

/// The entries, none of which is a list.
fn entries(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    let entries = filters::list(state, value)?;
    let mut each = entries.try_iter()?;
    if each.all(|entry| is_plain(&entry) || entry.kind() == ValueKind::Map) {
        return Ok(entries);
    }
    Err(wrong("lists within a list cannot be divided or grouped"))
}

fn reverse(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.chars().rev().collect::<String>().into());
    }
    let mut entries: Vec<Value> = filters::list(state, value)?.try_iter()?.collect();
    entries.reverse();
    Ok(entries.into())
}

/// The sum of numbers. From a list on it would join lists.
fn sum(
    state: &State<'_, '_>,
    value: Value,
    attribute: Option<&str>,
    start: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let named: Option<Value> = options.peek("start")?;
    if [&start, &named].into_iter().flatten().any(|start| start.kind() != ValueKind::Number) {
        return Err(wrong("sum adds numbers"));
    }
    filters::sum(state, value, attribute, start, options)
}

fn map(
    state: &mut State<'_, '_>,
    value: Value,
    given: Rest<ValueOrKwargs>,
) -> Result<Vec<Value>, Error> {
    let values = given.into_values();
    let (arguments, options): (&[Value], Kwargs) = from_args(&values)?;
    let options = options.args().map(|name| options.peek::<Value>(name));
    for argument in arguments.iter().cloned().map(Ok).chain(options) {
        if !is_plain(&argument?) {
            return Err(wrong("map takes texts and numbers alone as arguments"));
        }
    }
    let values = values.into_iter().map(ValueOrKwargs::from).collect();
    let made = filters::map(state, value, Rest(values))?;
    if made.iter().all(|entry| is_plain(entry) || entry.downcast_object_ref::<Given>().is_some()) {
        return Ok(made);
    }
    Err(wrong("map makes texts and numbers, or picks out what was given"))
}

fn batch(
    state: &State<'_, '_>,
    value: Value,
    count: usize,
    filler: Option<Value>,
) -> Result<Value, Error> {
    filters::batch(state, entries(state, value)?, count, plain(filler)?)
}

fn slice(
    state: &State<'_, '_>,
    value: Value,
    count: usize,
    filler: Option<Value>,
) -> Result<Value, Error> {
    filters::slice(state, entries(state, value)?, count, plain(filler)?)
}

fn plain(filler: Option<Value>) -> Result<Option<Value>, Error> {
    match filler {
        Some(filler) if !is_plain(&filler) => Err(wrong("what fills up is a text or a number")),
        filler => Ok(filler),
    }
}

fn group_by(
    state: &State<'_, '_>,
    value: Value,
    attribute: Option<&str>,
    options: Kwargs,
) -> Result<Value, Error> {
    let entries = entries(state, value)?;
    let count = u64::try_from(entries.len().unwrap_or_default()).unwrap_or(u64::MAX);
    state.consume_fuel(count.saturating_mul(GROUPING_FUEL))?;
    filters::groupby(entries, attribute, options)
}
