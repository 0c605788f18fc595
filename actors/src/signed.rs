//! Signed names of messages: short enough for an address, and nobody else can make one.
//!
//! A token is a message's id, a recipient's index or "several", and a keyed BLAKE3 of both and of
//! what it is for, cut to 96 bits; in base 32 without regard to case (47 characters).

use eventlog::{HashPurpose, Vault};
use model::{MessageId, RecipientIndex};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// A message's id and a recipient's index.
const PAYLOAD_OCTETS: usize = 17;
/// 96 bits: 2^95 tries, each a command over a network.
const PROOF_OCTETS: usize = 12;
const TOKEN_OCTETS: usize = PAYLOAD_OCTETS + PROOF_OCTETS;
/// Length of a token.
pub(crate) const TOKEN_CHARACTERS: usize = (TOKEN_OCTETS * 8).div_ceil(5);
/// In the place of an index: several recipients.
const SEVERAL: u8 = u8::MAX;

const _: () = assert!(model::message::MAX_RECIPIENTS < SEVERAL as usize, "an index is no mark");

/// A message, and to whom it was on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// The message.
    pub message: MessageId,
    /// The only recipient; `None` when there were several.
    pub recipient: Option<RecipientIndex>,
}

impl Signed {
    /// The token that says this, for `purpose` and, within it, for `place` alone.
    pub(crate) fn token(self, vault: &Vault, purpose: HashPurpose, place: &str) -> String {
        let payload = self.payload();
        encode(&[&payload[..], &proof(vault, purpose, place, &payload)].concat())
    }

    /// What a token says, if this server made it for that.
    pub(crate) fn read(
        vault: &Vault,
        purpose: HashPurpose,
        place: &str,
        token: &str,
    ) -> Option<Self> {
        let token = decode(token)?;
        let (payload, found) = token.split_first_chunk::<PAYLOAD_OCTETS>()?;
        let expected = proof(vault, purpose, place, payload);
        let differing = expected.iter().zip(found).fold(0, |sum, (a, b)| sum | (a ^ b));
        let [message @ .., index] = *payload;
        (differing == 0).then_some(Self {
            message: MessageId::from_bytes(message),
            recipient: (index != SEVERAL).then_some(RecipientIndex(index)),
        })
    }

    fn payload(self) -> [u8; PAYLOAD_OCTETS] {
        let mut payload = [self.recipient.map_or(SEVERAL, |index| index.0); PAYLOAD_OCTETS];
        if let Some(id) = payload.first_chunk_mut::<16>() {
            *id = *self.message.as_bytes();
        }
        payload
    }
}

fn proof(
    vault: &Vault,
    purpose: HashPurpose,
    place: &str,
    payload: &[u8; PAYLOAD_OCTETS],
) -> [u8; PROOF_OCTETS] {
    let hash = vault.keyed_hash(purpose, &[&payload[..], place.as_bytes()].concat());
    *hash.first_chunk::<PROOF_OCTETS>().unwrap_or(&[0; PROOF_OCTETS])
}

fn encode(octets: &[u8]) -> String {
    let mut text = String::with_capacity(TOKEN_CHARACTERS);
    let (mut bits, mut held) = (0_u32, 0);
    for octet in octets {
        bits = bits << 8 | u32::from(*octet);
        held += 8;
        while held >= 5 {
            held -= 5;
            text.push(digit(bits >> held));
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        text.push(digit(bits << (5 - held)));
    }
    text
}

fn digit(bits: u32) -> char {
    ALPHABET.get((bits & 31) as usize).copied().map_or('0', char::from)
}

/// Reads what [`encode`] wrote, in any case, and nothing else.
fn decode(text: &str) -> Option<[u8; TOKEN_OCTETS]> {
    if text.len() != TOKEN_CHARACTERS {
        return None;
    }
    let mut octets = [0; TOKEN_OCTETS];
    let mut places = octets.iter_mut();
    let (mut bits, mut held) = (0_u32, 0);
    for character in text.bytes() {
        let character = character.to_ascii_lowercase();
        let value = ALPHABET.iter().position(|known| *known == character)?;
        bits = bits << 5 | u32::try_from(value).ok()?;
        held += 5;
        if held >= 8 {
            held -= 8;
            *places.next()? = u8::try_from(bits >> held & 0xff).ok()?;
            bits &= (1 << held) - 1;
        }
    }
    // One text for one token.
    (bits == 0 && places.next().is_none()).then_some(octets)
}
