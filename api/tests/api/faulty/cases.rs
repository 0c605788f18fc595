//! Bad bodies, made from a good one and its schema.

use serde_json::{Map, Value, json};

const JSON: Option<&str> = Some("application/json");

/// A body that is refused.
pub(crate) struct Bad {
    pub(crate) what: String,
    /// The content type it comes with.
    pub(crate) kind: Option<&'static str>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expected: Expected,
}

/// What is answered.
#[derive(Clone)]
pub(crate) enum Expected {
    /// This status and code.
    Error(u16, &'static str),
    /// A refusal that names this field.
    Field(String),
}

/// Everything that can be wrong with a body.
pub(crate) fn bad_bodies(schema: &Value, good: &Value, document: &Value, most: usize) -> Vec<Bad> {
    let mut bad = unreadable(good, most);
    let mut fields = Fields { document, root: good, bad: &mut bad };
    fields.walk(&Place::default(), schema, good);
    bad
}

/// Bodies that are no JSON, or not as they were announced.
fn unreadable(good: &Value, most: usize) -> Vec<Bad> {
    let text = good.to_string();
    let padded = |size: usize| {
        let mut bytes = text.clone().into_bytes();
        bytes.resize(size, b' ');
        bytes
    };
    let invalid_json = Expected::Error(400, "invalid_json");
    let unsupported = Expected::Error(415, "unsupported_media_type");
    let body = Expected::Field("body".into());
    let json = [
        ("no body", Vec::new(), invalid_json.clone()),
        ("white space", b" \r\n\t ".to_vec(), invalid_json.clone()),
        ("cut off", text.as_bytes()[..text.len() - 1].to_vec(), invalid_json.clone()),
        ("trailing garbage", format!("{text} x").into_bytes(), invalid_json.clone()),
        ("two bodies", format!("{text}{text}").into_bytes(), invalid_json.clone()),
        ("a byte order mark", format!("\u{feff}{text}").into_bytes(), invalid_json.clone()),
        ("invalid UTF-8", b"{\"\xff\":1}".to_vec(), invalid_json.clone()),
        ("invalid UTF-8 within a string", b"{\"a\":\"\xc3\x28\"}".to_vec(), invalid_json.clone()),
        ("half a surrogate pair", br#"{"a":"\ud800"}"#.to_vec(), invalid_json.clone()),
        ("a NUL byte", b"{\"a\":\"\0\"}".to_vec(), invalid_json.clone()),
        ("NaN", b"{\"a\":NaN}".to_vec(), invalid_json.clone()),
        ("infinity", b"{\"a\":-Infinity}".to_vec(), invalid_json.clone()),
        ("a number without end", b"{\"a\":1e400}".to_vec(), invalid_json.clone()),
        ("a comment", b"{/* */}".to_vec(), invalid_json.clone()),
        ("a comma too many", b"{\"a\":1,}".to_vec(), invalid_json),
        ("null", b"null".to_vec(), body.clone()),
        ("a number", b"17".to_vec(), body.clone()),
        ("a string", b"\"x\"".to_vec(), body.clone()),
        ("a million brackets", vec![b'['; most / 2], Expected::Error(400, "invalid_json")),
        ("too many values", format!("[{}0]", "0,".repeat(30_000)).into_bytes(), body),
        ("too large", padded(most + 1), Expected::Error(413, "payload_too_large")),
    ];
    let json = json.map(|(what, bytes, expected)| (what, JSON, bytes, expected));
    let other = [
        ("no content type", None),
        ("text", Some("text/plain")),
        ("a form", Some("application/x-www-form-urlencoded")),
        ("another charset", Some("application/json; charset=utf-16")),
        ("something like JSON", Some("application/jsonp")),
        ("nonsense", Some(";;")),
    ];
    let other = other.map(|(what, kind)| (what, kind, text.clone().into(), unsupported.clone()));
    let all = json.into_iter().chain(other);
    all.map(|(what, kind, bytes, expected)| Bad { what: what.into(), kind, bytes, expected })
        .collect()
}

/// Where a value stands: for looking it up, and as a caller is told.
#[derive(Clone, Default)]
struct Place {
    pointer: String,
    field: String,
}

impl Place {
    fn named(&self, name: &str) -> Self {
        let dot = if self.field.is_empty() { "" } else { "." };
        Self {
            pointer: format!("{}/{name}", self.pointer),
            field: format!("{}{dot}{name}", self.field),
        }
    }

    fn first(&self) -> Self {
        Self { pointer: format!("{}/0", self.pointer), field: format!("{}[0]", self.field) }
    }

    fn field(&self) -> &str {
        if self.field.is_empty() { "body" } else { &self.field }
    }
}

struct Fields<'a> {
    document: &'a Value,
    root: &'a Value,
    bad: &'a mut Vec<Bad>,
}

impl Fields<'_> {
    /// Every way in which the value at `place` can be wrong, and all within it.
    fn walk(&mut self, place: &Place, schema: &Value, good: &Value) {
        let schema = resolved(schema, self.document);
        let deep =
            |open: &str, close: &str| format!("{}1{}", open.repeat(9_999), close.repeat(9_999));
        let (lists, objects) = (deep("[", "]"), deep("{\"a\":", "}"));
        match schema["type"].as_str() {
            Some("object") if schema["properties"].is_object() => {
                self.wrong_types(place, &["\"x\"", "1", "true", "[]"]);
                self.object(place, &schema, good.as_object().unwrap());
            }
            Some("object") => {
                self.wrong_types(place, &["\"x\"", "1", "true", "[]"]);
                // Names to strings; or to anything, and then nothing within can be wrong.
                if schema["additionalProperties"]["type"] == "string" {
                    self.replaced(place, r#"{"k":1}"#, "a number inside", &place.named("k"));
                    self.replaced(place, r#"{"k":[]}"#, "a list inside", &place.named("k"));
                    let twice = r#"{"k":"1","k":"2"}"#;
                    self.replaced(place, twice, "a name given twice", &place.named("k"));
                } else {
                    let inside = format!("{{\"k\":{lists}}}");
                    self.replaced(place, &inside, "thousands deep inside", &place.named("k"));
                    let twice = r#"{"k":{"l":1,"l":1}}"#;
                    let blamed = place.named("k").named("l");
                    self.replaced(place, twice, "a name given twice inside", &blamed);
                }
            }
            Some("array") => {
                self.wrong_types(place, &["\"x\"", "1", "true", "{}"]);
                let good = good.get(0).cloned().unwrap_or_else(|| self.example(&schema["items"]));
                self.walk_within(place, &schema["items"], &good);
            }
            Some("string") => self.wrong_types(place, &["1", "1.5", "true", "[]", "{}"]),
            Some("integer" | "number") => {
                let wrong = ["\"1\"", "1.5", "-1", "1e300", "18446744073709551616", "true", "[]"];
                self.wrong_types(place, &wrong);
            }
            Some("boolean") => self.wrong_types(place, &["\"true\"", "1", "0", "[]", "{}"]),
            other => panic!("a type that is not known here: {other:?} at {}", place.field()),
        }
        if !place.pointer.is_empty() {
            let deep = if schema["type"] == "array" { objects } else { lists };
            self.replaced(place, &deep, "thousands deep", place);
        }
    }

    fn object(&mut self, place: &Place, schema: &Value, good: &Map<String, Value>) {
        assert_eq!(schema["additionalProperties"], false, "{} is open", place.field());
        let properties = schema["properties"].as_object().unwrap();
        for (name, property) in properties {
            let inner = place.named(name);
            let value = good.get(name).cloned().unwrap_or_else(|| self.example(property));
            self.walk(&inner, property, &value);
            let twice = |value: &Value| {
                let mut text = Value::Object(good.clone()).to_string();
                text.pop();
                let comma = if good.is_empty() { "" } else { "," };
                let again = format!("{}:{value}", Value::from(name.as_str()));
                let first = if good.contains_key(name) { "" } else { &*format!("{again},") };
                format!("{text}{comma}{first}{again}}}")
            };
            self.replaced(place, &twice(&value), "given twice", &inner);
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            let mut without = good.clone();
            without.remove(name);
            let text = Value::Object(without).to_string();
            self.replaced(place, &text, "missing", &place.named(name));
        }
        let mut more = good.clone();
        more.insert("unheardOf".into(), json!(null));
        let text = Value::Object(more).to_string();
        self.replaced(place, &text, "unknown", &place.named("unheardOf"));
    }

    /// An array's first item, in an array that has it.
    fn walk_within(&mut self, place: &Place, items: &Value, good: &Value) {
        let mut root = self.root.clone();
        put(&mut root, &place.pointer, json!([good]));
        let mut inner = Fields { document: self.document, root: &root, bad: &mut *self.bad };
        inner.walk(&place.first(), items, good);
    }

    fn wrong_types(&mut self, place: &Place, values: &[&str]) {
        for value in values {
            // A root that is no object or no list has no field.
            self.replaced(place, value, value, place);
        }
    }

    /// The good body with another value at a place, written as text: it need not be good JSON.
    fn replaced(&mut self, place: &Place, value: &str, what: &str, blamed: &Place) {
        const MARK: &str = "\u{1}here\u{1}";
        let mut root = self.root.clone();
        put(&mut root, &place.pointer, MARK.into());
        let text = root.to_string().replace(&Value::from(MARK).to_string(), value);
        self.bad.push(Bad {
            what: format!("{} is {what}", place.field()),
            kind: JSON,
            bytes: text.into_bytes(),
            expected: Expected::Field(blamed.field().to_owned()),
        });
    }

    fn example(&self, schema: &Value) -> Value {
        let schema = resolved(schema, self.document);
        match (schema.get("example"), schema["type"].as_str()) {
            (Some(example), _) => example.clone(),
            (None, Some("object")) => json!({}),
            (None, Some("array")) => json!([]),
            (None, Some("string")) => json!("x"),
            (None, _) => json!(1),
        }
    }
}

/// Sets the value at a pointer, making what is missing on the way.
fn put(root: &mut Value, pointer: &str, value: Value) {
    let Some((parent, name)) = pointer.rsplit_once('/') else {
        *root = value;
        return;
    };
    if root.pointer(parent).is_none_or(Value::is_null) {
        put(root, parent, json!({}));
    }
    match root.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.insert(name.to_owned(), value)),
        Value::Array(items) => {
            let index: usize = name.parse().unwrap();
            if index == items.len() { items.push(value) } else { items[index] = value }
        }
        other => panic!("{pointer} in {other}"),
    }
}

/// A schema behind its references.
fn resolved(schema: &Value, document: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        return resolved(document.pointer(name.strip_prefix('#').unwrap()).unwrap(), document);
    }
    match schema["allOf"].as_array() {
        Some(parts) => resolved(parts.iter().find(|p| p.get("$ref").is_some()).unwrap(), document),
        None => schema.clone(),
    }
}
