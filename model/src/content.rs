//! Content: everything about a message that can be forgotten.
//!
//! A message's content is two records. The [`Head`] is small and is what lists and pages show; the
//! [`Body`] is what only a delivery needs. Each is sealed on its own, so showing a subject never
//! decrypts an attachment.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::address::Mailbox;

/// How a recipient is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecipientKind {
    /// In the `To` header.
    To,
    /// In the `Cc` header.
    Cc,
    /// In no header.
    Bcc,
}

/// One recipient with its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// How it is addressed.
    pub kind: RecipientKind,
    /// Who it is.
    pub mailbox: Mailbox,
}

/// The small part: who, and about what.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The author, as in the `From` header.
    pub from: Mailbox,
    /// `to`, then `cc`, then `bcc`; a [`crate::RecipientIndex`] counts in this order.
    pub recipients: Vec<Recipient>,
    /// Where answers go, when not to the author.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reply_to: Vec<Mailbox>,
    /// The subject line.
    pub subject: String,
    /// The caller's own values; shown again, never sent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The key that opens the reply texts in this message's events: without the head they can be
    /// read no more.
    pub reply_key: [u8; 32],
}

/// The large part: what is sent.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// The text alternative.
    pub text: Option<String>,
    /// The HTML alternative.
    pub html: Option<String>,
    /// Extra header fields, checked: no control characters, no field that the server owns.
    pub headers: Vec<(String, String)>,
    /// Files.
    pub attachments: Vec<Attachment>,
}

/// A file in a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The name that the receiver sees.
    pub filename: String,
    /// The media type, such as `application/pdf`.
    pub content_type: String,
    /// For an inline image: the id that the HTML names as `cid:…`.
    pub content_id: Option<String>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The bytes are not a body record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the content record cannot be read")]
pub struct UnreadableContent;

#[derive(Serialize, Deserialize)]
struct BodyIndex {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    html: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<AttachmentIndex>,
}

#[derive(Serialize, Deserialize)]
struct AttachmentIndex {
    filename: String,
    content_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_id: Option<String>,
    len: usize,
}

impl Head {
    /// The record's bytes: JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads [`Head::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableContent> {
        serde_json::from_slice(bytes).map_err(|_| UnreadableContent)
    }
}

impl Body {
    /// The record's bytes: the length of an index as four big-endian bytes, the index as JSON, the
    /// attachments one after another. Base64 would make every attachment a third larger.
    pub fn to_bytes(&self) -> Vec<u8> {
        let index = BodyIndex {
            text: self.text.clone(),
            html: self.html.clone(),
            headers: self.headers.clone(),
            attachments: self
                .attachments
                .iter()
                .map(|attachment| AttachmentIndex {
                    filename: attachment.filename.clone(),
                    content_type: attachment.content_type.clone(),
                    content_id: attachment.content_id.clone(),
                    len: attachment.bytes.len(),
                })
                .collect(),
        };
        let json = serde_json::to_vec(&index).unwrap_or_default();
        let files: usize = self.attachments.iter().map(|attachment| attachment.bytes.len()).sum();
        let mut bytes = Vec::with_capacity(4 + json.len() + files);
        bytes.extend_from_slice(&u32::try_from(json.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&json);
        for attachment in &self.attachments {
            bytes.extend_from_slice(&attachment.bytes);
        }
        bytes
    }

    /// Reads [`Body::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableContent> {
        let (len, rest) = bytes.split_first_chunk::<4>().ok_or(UnreadableContent)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| UnreadableContent)?;
        let (json, mut files) = rest.split_at_checked(len).ok_or(UnreadableContent)?;
        let index: BodyIndex = serde_json::from_slice(json).map_err(|_| UnreadableContent)?;
        let mut attachments = Vec::with_capacity(index.attachments.len());
        for entry in index.attachments {
            let (file, after) = files.split_at_checked(entry.len).ok_or(UnreadableContent)?;
            files = after;
            attachments.push(Attachment {
                filename: entry.filename,
                content_type: entry.content_type,
                content_id: entry.content_id,
                bytes: file.to_vec(),
            });
        }
        if !files.is_empty() {
            return Err(UnreadableContent);
        }
        Ok(Self { text: index.text, html: index.html, headers: index.headers, attachments })
    }
}

// Printed by mistake, content must not become a leak.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({} recipients)", self.recipients.len())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} attachments)", self.attachments.len())
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attachment({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_body_round_trips_with_its_files() {
        let file = |bytes: &[u8]| Attachment {
            filename: "résumé.pdf".into(),
            content_type: "application/pdf".into(),
            content_id: Some("logo".into()),
            bytes: bytes.to_vec(),
        };
        let body = Body {
            text: Some("text".into()),
            html: Some("<p>html".into()),
            headers: vec![("X-A".into(), "b".into())],
            attachments: vec![file(&[0, 1, 2, 255]), file(&[]), file(&[9; 1000])],
        };
        assert_eq!(Body::from_bytes(&body.to_bytes()), Ok(body));
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_refused_not_believed(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ignored = Body::from_bytes(&bytes);
            let _ignored = Head::from_bytes(&bytes);
        }
    }

    #[test]
    fn a_cut_body_is_refused() {
        let body = Body { text: Some("hello".into()), ..Body::default() };
        let bytes = body.to_bytes();
        assert!(Body::from_bytes(&bytes[..bytes.len() - 1]).is_err());
        assert!(Body::from_bytes(&[&bytes[..], b"x"].concat()).is_err());
    }
}
