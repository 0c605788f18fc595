//! Texts that the instance signs, in the form of a C2SP signed-note: the text, an empty line, and
//! a line for each signature.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::vault::{InstanceKey, VerifierKey};

/// Longest note, in bytes; leaves room for the signatures of witnesses.
pub(crate) const MAX_NOTE_BYTES: usize = 8 * 1024;
pub(crate) const SIGNATURE_MARK: &str = "\u{2014} ";

/// Signs a text, which ends with a line feed and has no empty line: the note. Its first line should
/// say what kind of text it is, for one key signs several.
pub fn sign_note(key: &InstanceKey, text: &str) -> String {
    format!("{text}\n{}", signature(key, text))
}

/// The text of a note that this key signed; `None` for anything else.
pub fn verify_note<'a>(note: &'a str, key: &VerifierKey) -> Option<&'a str> {
    if note.len() > MAX_NOTE_BYTES {
        return None;
    }
    let end = note.find("\n\n")? + 1;
    let (text, signatures) = note.split_at_checked(end)?;
    is_signed(text, signatures.strip_prefix('\n')?, key).then_some(text)
}

/// The line of a key's signature.
pub(crate) fn signature(key: &InstanceKey, text: &str) -> String {
    let mut signed = key.verifier().id().to_vec();
    signed.extend_from_slice(&key.sign(text.as_bytes()));
    format!("{SIGNATURE_MARK}{} {}\n", key.verifier().name(), STANDARD.encode(signed))
}

/// Whether one of the lines is this key's signature of the text.
pub(crate) fn is_signed(text: &str, signatures: &str, key: &VerifierKey) -> bool {
    signatures.lines().any(|line| {
        let name = line.strip_prefix(SIGNATURE_MARK).and_then(|line| line.split_once(' '));
        let Some((name, signed)) = name else { return false };
        let Ok(signed) = STANDARD.decode(signed) else { return false };
        let Some((id, signature)) = signed.split_first_chunk::<4>() else { return false };
        name == key.name() && *id == key.id() && key.verifies(text.as_bytes(), signature)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_holds_for_its_key_and_text_alone() {
        let key = InstanceKey::from_seed(&[7; 32]).unwrap();
        let note = sign_note(&key, "what\nit says\n");
        assert_eq!(verify_note(&note, key.verifier()), Some("what\nit says\n"));
        let other = InstanceKey::from_seed(&[8; 32]).unwrap();
        assert_eq!(verify_note(&note, other.verifier()), None);
        for wrong in
            ["", "\n\n", "what\n", &note.replace("says", "sais"), &note.replace("\n\n", "\n")]
        {
            assert_eq!(verify_note(wrong, key.verifier()), None, "{wrong}");
        }
    }
}
