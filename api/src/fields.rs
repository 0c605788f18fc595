//! The fields of an object, taken out one by one; what is wrong with them is noted, not thrown.

use std::{borrow::Cow, ops::RangeInclusive};

use crate::{
    json::{Json, MAX_VALUES, Unreadable},
    problem::{Code, Findings, Problem},
};

/// Reads a body with `read`, which gives `None` only when a finding says why.
pub(crate) fn read_body<T>(
    bytes: &[u8],
    read: impl FnOnce(Fields<'_>, &mut Findings) -> Option<T>,
) -> Result<T, Problem> {
    let tree = read_tree(bytes, MAX_VALUES)?;
    let mut findings = Findings::default();
    let done = Fields::of(tree, "", &mut findings).and_then(|fields| read(fields, &mut findings));
    done.filter(|_| findings.is_empty()).ok_or_else(|| findings.into_problem())
}

/// Reads a body of at most so many values.
pub(crate) fn read_tree(bytes: &[u8], most: usize) -> Result<Json<'_>, Problem> {
    Json::read(bytes, most).map_err(|error| match error {
        Unreadable::TooMany => Problem::field("body", "has more values than any request needs"),
        _ => Problem::new(Code::InvalidJson).saying(error.to_string()),
    })
}

/// An object whose fields are being read.
pub(crate) struct Fields<'a> {
    path: String,
    entries: Vec<(Cow<'a, str>, Json<'a>)>,
}

impl<'a> Fields<'a> {
    /// The fields of `json`, which stands at `path`; empty for the body itself.
    pub(crate) fn of(json: Json<'a>, path: &str, findings: &mut Findings) -> Option<Self> {
        match json {
            Json::Object(entries) => Some(Self { path: path.to_owned(), entries }),
            other => {
                let path = if path.is_empty() { "body" } else { path };
                findings.add(path, expected("an object", &other));
                None
            }
        }
    }

    /// Where the field of this name stands.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Whether a field is there; `null` counts as absent.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, value)| key == name && *value != Json::Null)
    }

    /// Takes a field out. `null` counts as absent: many programs write it for an empty value.
    pub(crate) fn take(&mut self, name: &str, findings: &mut Findings) -> Option<Json<'a>> {
        let mut found = self.entries.extract_if(.., |(key, _)| key == name);
        let (_, value) = found.next()?;
        if found.count() > 0 {
            findings.add(self.path(name), "is given more than once");
            return None;
        }
        (value != Json::Null).then_some(value)
    }

    /// Takes out a field of which `null` means something: `Some(None)`.
    #[expect(clippy::option_option, reason = "absent, null, or a value")]
    pub(crate) fn take_nullable(
        &mut self,
        name: &str,
        findings: &mut Findings,
    ) -> Option<Option<Json<'a>>> {
        let given = self.entries.iter().filter(|(key, _)| key == name).count();
        let value = self.take(name, findings);
        (given == 1).then_some(value)
    }

    /// Takes out true or false.
    pub(crate) fn flag(&mut self, name: &str, findings: &mut Findings) -> Option<bool> {
        match self.take(name, findings)? {
            Json::Bool(value) => Some(value),
            other => {
                findings.add(self.path(name), expected("true or false", &other));
                None
            }
        }
    }

    /// Takes out a whole number that lies within bounds.
    pub(crate) fn whole(
        &mut self,
        name: &str,
        bounds: RangeInclusive<u32>,
        findings: &mut Findings,
    ) -> Option<u32> {
        let value = self.take(name, findings)?;
        let (least, most) = (*bounds.start(), *bounds.end());
        let number = match &value {
            Json::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            other => {
                findings.add(self.path(name), expected("a number", other));
                return None;
            }
        };
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            let words = format!("must be a whole number from {least} to {most}");
            findings.add(self.path(name), words);
        }
        number
    }

    /// Takes a string out.
    pub(crate) fn text(&mut self, name: &str, findings: &mut Findings) -> Option<Cow<'a, str>> {
        let value = self.take(name, findings)?;
        text(value, || self.path(name), findings)
    }

    /// Takes out a string that must be there.
    pub(crate) fn required_text(
        &mut self,
        name: &str,
        findings: &mut Findings,
    ) -> Option<Cow<'a, str>> {
        let value = self.required(name, findings)?;
        text(value, || self.path(name), findings)
    }

    /// Takes out a field that must be there.
    pub(crate) fn required(&mut self, name: &str, findings: &mut Findings) -> Option<Json<'a>> {
        if !self.entries.iter().any(|(key, value)| key == name && *value != Json::Null) {
            self.entries.retain(|(key, _)| key != name);
            findings.add(self.path(name), "is required");
            return None;
        }
        self.take(name, findings)
    }

    /// Takes out a list of at most `most` values, each with the place where it stands.
    pub(crate) fn list(
        &mut self,
        name: &str,
        most: usize,
        findings: &mut Findings,
    ) -> Vec<(String, Json<'a>)> {
        let Some(value) = self.take(name, findings) else { return Vec::new() };
        entries(value, &self.path(name), most, findings)
    }

    /// Takes out an object from names to strings, of at most `most` entries.
    pub(crate) fn texts(
        &mut self,
        name: &str,
        most: usize,
        findings: &mut Findings,
    ) -> Vec<(String, Cow<'a, str>, Cow<'a, str>)> {
        let Some(value) = self.take(name, findings) else { return Vec::new() };
        let path = self.path(name);
        let Some(inner) = Self::of(value, &path, findings) else { return Vec::new() };
        if inner.entries.len() > most {
            findings.add(path, format!("has more than {most} entries"));
            return Vec::new();
        }
        let mut texts: Vec<(String, Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for (key, value) in inner.entries {
            let path = format!("{path}.{key}");
            if texts.iter().any(|(_, other, _)| *other == key) {
                findings.add(path, "is given more than once");
            } else if let Some(value) = text(value, || path.clone(), findings) {
                texts.push((path, key, value));
            }
        }
        texts
    }

    /// What is left is unknown, and refused: a misspelt field must not be lost in silence.
    pub(crate) fn finish(self, findings: &mut Findings) {
        for (name, _) in &self.entries {
            findings.add(self.path(name), "is not a known field");
        }
    }
}

/// The entries of a list of at most `most`, each with the place where it stands.
pub(crate) fn entries<'a>(
    value: Json<'a>,
    path: &str,
    most: usize,
    findings: &mut Findings,
) -> Vec<(String, Json<'a>)> {
    match value {
        Json::List(list) if list.len() > most => {
            findings.add(path, format!("has more than {most} entries"));
            Vec::new()
        }
        Json::List(list) => list
            .into_iter()
            .enumerate()
            .map(|(index, value)| (format!("{path}[{index}]"), value))
            .collect(),
        other => {
            findings.add(path, expected("a list", &other));
            Vec::new()
        }
    }
}

/// A string, or a note of what it is instead.
pub(crate) fn text<'a>(
    value: Json<'a>,
    path: impl FnOnce() -> String,
    findings: &mut Findings,
) -> Option<Cow<'a, str>> {
    match value {
        Json::Text(text) => Some(text),
        other => {
            findings.add(path(), expected("a string", &other));
            None
        }
    }
}

fn expected(what: &str, found: &Json<'_>) -> String {
    format!("must be {what}, not {}", found.kind())
}
