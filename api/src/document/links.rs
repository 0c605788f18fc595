//! What can be done next with what an answer names (OpenAPI 3.0, "Link Object"): poem-openapi has
//! none. Programs that read the document follow them, `.ci/contract` among them.

use serde_json::{Map, Value, json};

use super::object;

/// From an answer to another operation.
struct Link {
    /// The operation that answers, and the status of the answer.
    from: (&'static str, &'static str),
    /// Where the answer or its request names a thing, by the parameter that takes it.
    parameters: &'static [(&'static str, &'static str)],
    /// What takes it.
    to: &'static [&'static str],
}

const APP: (&str, &str) = ("appId", "$response.body#/id");
const OF_APP: (&str, &str) = ("appId", "$request.path.appId");
const DOMAIN: (&str, &str) = ("domainId", "$response.body#/id");
const TEMPLATE: (&str, &str) = ("idOrSlug", "$response.body#/id");
const MESSAGE: (&str, &str) = ("messageId", "$response.body#/messageId");

/// After something is made: what reads, changes and removes it. After it is removed: what then must
/// not find it.
const LINKS: &[Link] = &[
    Link {
        from: ("createApp", "201"),
        parameters: &[APP],
        to: &["getApp", "updateApp", "createApiKey", "listApiKeys"],
    },
    Link { from: ("updateApp", "200"), parameters: &[APP], to: &["getApp"] },
    Link {
        from: ("createApiKey", "201"),
        parameters: &[OF_APP, ("keyId", "$response.body#/id")],
        to: &["revokeApiKey"],
    },
    Link { from: ("createApiKey", "201"), parameters: &[OF_APP], to: &["listApiKeys"] },
    Link { from: ("revokeApiKey", "204"), parameters: &[OF_APP], to: &["listApiKeys"] },
    Link {
        from: ("addDomain", "201"),
        parameters: &[DOMAIN],
        to: &[
            "getDomain",
            "verifyDomain",
            "rotateDkim",
            "pauseDomain",
            "resumeDomain",
            "getCompliance",
            "listLetters",
            "removeDomain",
        ],
    },
    Link {
        from: ("removeDomain", "204"),
        parameters: &[("domainId", "$request.path.domainId")],
        to: &["getDomain"],
    },
    Link {
        from: ("createErasure", "202"),
        parameters: &[("erasureId", "$response.body#/id")],
        to: &["getErasure"],
    },
    Link {
        from: ("sendEmail", "202"),
        parameters: &[MESSAGE],
        to: &["getMessage", "cancelMessage", "getMessageEvidence"],
    },
    Link {
        from: ("createTemplate", "201"),
        parameters: &[TEMPLATE],
        to: &["getTemplate", "updateTemplate", "previewTemplate", "deleteTemplate"],
    },
    Link { from: ("updateTemplate", "200"), parameters: &[TEMPLATE], to: &["getTemplate"] },
    Link {
        from: ("deleteTemplate", "204"),
        parameters: &[("idOrSlug", "$request.path.idOrSlug")],
        to: &["getTemplate"],
    },
    Link {
        from: ("addSuppression", "201"),
        parameters: &[("email", "$response.body#/email")],
        to: &["removeSuppression"],
    },
];

/// Puts every link beside the answer that it starts from.
pub(super) fn complete(document: &mut Value) {
    let Some(paths) = object(document, &["paths"]) else { return };
    let operations = paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    for operation in operations {
        let id =
            operation.get("operationId").and_then(Value::as_str).unwrap_or_default().to_owned();
        for link in LINKS.iter().filter(|link| link.from.0 == id) {
            if let Some(answer) = object(operation, &["responses", link.from.1]) {
                let links = answer.entry("links").or_insert_with(|| json!({}));
                add(links, link);
            }
        }
    }
}

fn add(links: &mut Value, link: &Link) {
    let Some(links) = links.as_object_mut() else { return };
    let parameters: Map<String, Value> =
        link.parameters.iter().map(|(name, from)| ((*name).into(), (*from).into())).collect();
    for to in link.to {
        links.insert((*to).into(), json!({ "operationId": to, "parameters": parameters }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The operations of a document by their names.
    fn operations(document: &Value) -> Map<String, Value> {
        let paths = document["paths"].as_object().unwrap().values();
        let operations = paths.flat_map(|path| path.as_object().unwrap().values());
        let named = operations.filter_map(|operation| {
            Some((operation.get("operationId")?.as_str()?.to_owned(), operation.clone()))
        });
        named.collect()
    }

    #[test]
    fn every_link_leads_from_an_answer_there_is_to_all_that_an_operation_needs() {
        let operations = operations(&super::super::document());
        for link in LINKS {
            let (from, status) = link.from;
            let links = &operations[from]["responses"][status]["links"];
            for to in link.to {
                assert_eq!(links[to]["operationId"], *to, "{from} {status}");
                let parameters = operations[*to]["parameters"].as_array().unwrap();
                let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
                let mut needed: Vec<&str> =
                    in_path.map(|parameter| parameter["name"].as_str().unwrap()).collect();
                let mut given: Vec<&str> = link.parameters.iter().map(|(name, _)| *name).collect();
                needed.sort_unstable();
                given.sort_unstable();
                assert_eq!(given, needed, "{from} to {to}");
            }
        }
    }
}
