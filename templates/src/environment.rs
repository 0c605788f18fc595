//! The language: what a template may call, how values are printed.

use std::sync::LazyLock;

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, escape_formatter,
    value::{Value, ValueKind},
};

use crate::{FUEL, Field};

mod lists;

/// Calls within calls, of macros and of loops.
const MAX_RECURSION: usize = 50;

/// What templates may call is the same for all of them, and kept once.
static WITHOUT_TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(language);

/// An environment without templates.
pub(crate) fn new() -> Environment<'static> {
    WITHOUT_TEMPLATES.clone()
}

fn language() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(MAX_RECURSION);
    // Gives the place of a failure, by which a missing variable is named.
    environment.set_debug(true);
    environment.set_auto_escape_callback(|name| {
        if name == Field::Html.as_str() { AutoEscape::Html } else { AutoEscape::None }
    });
    environment.set_formatter(print);
    // It would print everything there is.
    environment.remove_global("debug");
    environment.remove_filter("pprint");
    // What has a name must not hold what the template made: see `check`.
    for maker in ["namespace", "dict"] {
        environment.remove_global(maker);
    }
    lists::put_into(&mut environment);
    environment.add_filter("times", times);
    environment
}

fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined
        | ValueKind::None
        | ValueKind::Bool
        | ValueKind::Number
        | ValueKind::String
        | ValueKind::Bytes => escape_formatter(out, state, value),
        _ => Err(Error::new(
            ErrorKind::InvalidOperation,
            "a list or an object cannot be printed: join it, or name one of its fields",
        )),
    }
}

/// The product of two numbers.
fn times(left: &Value, right: &Value) -> Result<Value, Error> {
    let number = |value: &Value| value.kind() == ValueKind::Number;
    if !number(left) || !number(right) {
        return Err(Error::new(ErrorKind::InvalidOperation, "times multiplies two numbers"));
    }
    let whole = |value: &Value| value.is_integer().then(|| i64::try_from(value.clone()).ok());
    if let (Some(Some(left)), Some(Some(right))) = (whole(left), whole(right)) {
        let product = left.checked_mul(right);
        return product
            .map(Value::from)
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the product is too large"));
    }
    let (left, right) = (f64::try_from(left.clone())?, f64::try_from(right.clone())?);
    Ok(Value::from(left * right))
}
