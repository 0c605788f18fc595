//! Changed copies of a corpus, by a seed: the same on every machine.

/// Numbers that follow from a seed (`SplitMix64`, by Sebastiano Vigna).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.roll() % end).unwrap_or(0)
    }

    /// One of some things.
    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> Option<&'a T> {
        of.get(self.below(of.len())).copied()
    }
}

/// Octets that bounds and parsers care for.
const EDGES: [u8; 14] = [0, 1, 9, 10, 13, 32, 34, 44, 46, 61, 0x7f, 0x80, 0xe2, 0xff];

/// Changes octets in one to eight places. `other` lends pieces; nothing grows beyond `max_octets`.
pub fn mutate(
    dice: &mut Dice,
    octets: &mut Vec<u8>,
    other: &[u8],
    words: &[&str],
    max_octets: usize,
) {
    for _ in 0..=dice.below(8) {
        change(dice, octets, other, words);
    }
    octets.truncate(max_octets);
}

fn change(dice: &mut Dice, octets: &mut Vec<u8>, other: &[u8], words: &[&str]) {
    let place = dice.below(octets.len() + 1);
    let few = dice.below(16) + 1;
    let end = (place + few).min(octets.len());
    match dice.below(9) {
        0 => {
            if let Some(octet) = octets.get_mut(place) {
                *octet ^= 1 << dice.below(8);
            }
        }
        1 => {
            if let Some(octet) = octets.get_mut(place) {
                *octet = EDGES[dice.below(EDGES.len())];
            }
        }
        2 => octets.insert(place, EDGES[dice.below(EDGES.len())]),
        3 => drop(octets.drain(place..end)),
        4 => {
            let piece = octets[place..end].to_vec();
            let times = 1 << dice.below(8);
            octets.splice(place..place, piece.repeat(times));
        }
        5 | 6 => {
            if let Some(word) = dice.pick(words) {
                octets.splice(place..end.min(place + dice.below(few)), word.bytes());
            }
        }
        7 => {
            let from = dice.below(other.len() + 1);
            let to = (from + few * 8).min(other.len());
            octets.splice(place..end, other[from..to].iter().copied());
        }
        _ => octets.truncate(place),
    }
}
