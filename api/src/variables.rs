//! What is put into a template: values of any kind, bounded and unambiguous.

use serde_json::{Map, Value};

use crate::{
    fields::Fields,
    json::{Json, MAX_DEPTH},
    problem::Findings,
};

/// Above this, two whole numbers can be one floating-point number.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Takes `variables` out; none are no variables.
pub(crate) fn take(fields: &mut Fields<'_>, findings: &mut Findings) -> Map<String, Value> {
    let path = fields.path("variables");
    match fields.take("variables", findings) {
        None => Map::new(),
        Some(Json::Object(entries)) => object(entries, &path, findings),
        Some(other) => {
            findings.add(path, format!("must be an object, not {}", other.kind()));
            Map::new()
        }
    }
}

fn object(
    entries: Vec<(std::borrow::Cow<'_, str>, Json<'_>)>,
    path: &str,
    findings: &mut Findings,
) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, json) in entries {
        let path = format!("{path}.{name}");
        if map.contains_key(&*name) {
            findings.add(path, "is given more than once");
            continue;
        }
        let value = value(json, &path, findings);
        map.insert(name.into_owned(), value);
    }
    map
}

/// A bad value is noted, and counts as `null`.
fn value(json: Json<'_>, path: &str, findings: &mut Findings) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => value.into(),
        Json::Text(text) => text.into_owned().into(),
        Json::Number(number) => {
            // An order number of thirty digits must not arrive as another one.
            let inexact = number.is_f64() && number.as_f64().is_none_or(|n| n.abs() >= EXACT);
            if inexact {
                findings.add(path, "is a number too large to be exact: give it as a string");
            }
            Value::Number(number)
        }
        Json::List(list) => {
            let items = list.into_iter().enumerate();
            items.map(|(i, json)| value(json, &format!("{path}[{i}]"), findings)).collect()
        }
        Json::Object(entries) => Value::Object(object(entries, path, findings)),
        Json::TooDeep => {
            findings.add(path, format!("is nested more than {MAX_DEPTH} deep"));
            Value::Null
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{fields::read_body, problem::Problem};

    fn read(body: &str) -> Result<Map<String, Value>, Problem> {
        read_body(body.as_bytes(), |mut fields, findings| Some(take(&mut fields, findings)))
    }

    #[test]
    fn values_of_every_kind_arrive_as_they_were_written() {
        let given = json!({ "a": null, "b": true, "c": "x", "d": [1, -2, 0.5], "e": { "f": [] } });
        let body = json!({ "variables": given });
        assert_eq!(Value::Object(read(&body.to_string()).unwrap()), given);
        assert_eq!(read("{}").unwrap(), Map::new());
        let large = read(r#"{"variables":{"n":18446744073709551615}}"#).unwrap();
        assert_eq!(large["n"], json!(u64::MAX));
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        for bad in [
            r#"{"variables":{"a":1,"a":2}}"#,
            r#"{"variables":{"a":{"b":1,"b":2}}}"#,
            r#"{"variables":{"n":18446744073709551616}}"#,
            r#"{"variables":{"n":-1e300}}"#,
            r#"{"variables":[]}"#,
            r#"{"variables":"x"}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let deep = format!(r#"{{"variables":{{"a":{}1{}}}}}"#, "[".repeat(99), "]".repeat(99));
        assert!(read(&deep).is_err());
    }
}
