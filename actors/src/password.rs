//! Passwords: what is taken for one, and how it is kept.
//!
//! # Why
//! - **argon2id with 19 MiB, two passes and one lane**: what the OWASP Password Storage Cheat Sheet
//!   asks for. A hash with other parameters is made anew when its password is shown again.
//! - **8 to 128 characters, and none that everybody tries first**: OWASP ASVS 5.0 (6.2.1, 6.2.4)
//!   and NIST SP 800-63B ask for a length and a list, and against rules of composition. zxcvbn knows
//!   the list and what people do to its words; beyond the first ten thousand guesses it has no say.
//! - **NFKC**: the same keys pressed on two systems give the same password.
//! - **A bounded number at once**: each takes 19 MiB and tens of milliseconds of a core, so a flood
//!   of sign-ins is told to come back and holds up nobody else.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use icu_normalizer::ComposingNormalizerBorrowed;
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use crate::{entropy, machine::Blocking};

/// Fewest characters.
pub const MIN_PASSWORD_CHARACTERS: usize = 8;
/// Most characters.
pub const MAX_PASSWORD_CHARACTERS: usize = 128;
/// A password that is found in fewer guesses is one that everybody tries first.
const MOST_GUESSES: u64 = 10_000;
/// Passwords that wait for their turn.
const MOST_WAITING: usize = 64;

/// Memory, in KiB, passes and lanes.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// A hash that belongs to no password, with the same parameters: an unknown user takes as long.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmU$\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password, as it was typed. Gone from memory when it is dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Why a text is not taken for a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Fewer than [`MIN_PASSWORD_CHARACTERS`].
    #[error("must have at least 8 characters")]
    TooShort,
    /// More than [`MAX_PASSWORD_CHARACTERS`].
    #[error("must have at most 128 characters")]
    TooLong,
    /// Everybody tries it first.
    #[error("is among the first that anybody would try")]
    Common,
}

impl Password {
    /// What somebody typed to sign in. Whether it may be a new password: [`Password::check`].
    pub fn new(typed: &str) -> Self {
        // One that is far too long belongs to nobody: not worth the work of normalizing.
        let most = 4 * MAX_PASSWORD_CHARACTERS;
        let cut = typed
            .char_indices()
            .nth(most)
            .map_or(typed, |(end, _)| typed.get(..end).unwrap_or_default());
        let nfkc = const { ComposingNormalizerBorrowed::new_nfkc() };
        Self(Zeroizing::new(nfkc.normalize(cut).into_owned()))
    }

    /// Whether it may be a new password of somebody of whom these words are known.
    pub fn check(&self, known: &[&str]) -> Result<(), WeakPassword> {
        let characters = self.0.chars().count();
        if characters < MIN_PASSWORD_CHARACTERS {
            return Err(WeakPassword::TooShort);
        }
        if characters > MAX_PASSWORD_CHARACTERS {
            return Err(WeakPassword::TooLong);
        }
        let estimate = zxcvbn::zxcvbn(&self.0, known);
        if estimate.guesses() < MOST_GUESSES { Err(WeakPassword::Common) } else { Ok(()) }
    }
}

/// Why a password was not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotLookedAt {
    /// Too many wait.
    Overloaded,
    /// A fault of ours.
    Internal,
}

/// What came of comparing a password with a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    /// They do not belong together, or there is nobody.
    Different,
    /// They do; `outdated` when the hash is of another cost than new ones.
    Same { outdated: bool },
}

/// Where passwords are looked at, a bounded number at once.
pub(crate) struct Passwords {
    turns: Semaphore,
    waiting: Semaphore,
    blocking: Blocking,
    /// How many were made or compared.
    hashed: AtomicU64,
}

impl Passwords {
    pub(crate) fn new(blocking: Blocking) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            turns: Semaphore::new(cores),
            waiting: Semaphore::new(MOST_WAITING),
            blocking,
            hashed: AtomicU64::new(0),
        }
    }

    /// How many hashes were made or compared, of all times: all of them cost the same.
    pub(crate) fn hashed(&self) -> u64 {
        self.hashed.load(Ordering::Relaxed)
    }

    /// The PHC string of a password, with a new salt.
    pub(crate) async fn hash(&self, password: &Password) -> Result<String, NotLookedAt> {
        let salt: [u8; 16] = entropy::bytes().map_err(|_| NotLookedAt::Internal)?;
        let password = password.clone();
        self.at_work(move || {
            let hash: PasswordHash =
                argon2()?.hash_password_with_salt(password.0.as_bytes(), &salt).ok()?;
            Some(hash.to_string())
        })
        .await
    }

    /// Compares a password with the hash of whoever is meant, if there is somebody: it takes as
    /// long either way.
    pub(crate) async fn compare(
        &self,
        password: &Password,
        hash: Option<&str>,
    ) -> Result<Compared, NotLookedAt> {
        let (password, hash) = (password.clone(), hash.unwrap_or(NOBODY).to_owned());
        self.at_work(move || {
            let hash = PasswordHash::new(&hash).ok()?;
            let same = argon2()?.verify_password(password.0.as_bytes(), &hash).is_ok();
            Some(if same {
                Compared::Same { outdated: is_outdated(&hash) }
            } else {
                Compared::Different
            })
        })
        .await
    }

    async fn at_work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Option<T> + Send + 'static,
    ) -> Result<T, NotLookedAt> {
        let _waiting = self.waiting.try_acquire().map_err(|_| NotLookedAt::Overloaded)?;
        let _turn: SemaphorePermit<'_> =
            self.turns.acquire().await.map_err(|_| NotLookedAt::Internal)?;
        self.hashed.fetch_add(1, Ordering::Relaxed);
        let done = self.blocking.run(work).await.ok_or(NotLookedAt::Internal)?;
        done.ok_or(NotLookedAt::Internal)
    }
}

fn argon2() -> Option<Argon2<'static>> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn is_outdated(hash: &PasswordHash) -> bool {
    let (memory, passes, lanes) = COST;
    let params = Params::try_from(hash);
    hash.algorithm.as_str() != "argon2id"
        || params.is_ok_and(|params| {
            (params.m_cost(), params.t_cost(), params.p_cost()) != (memory, passes, lanes)
        })
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::phc::Output;

    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash() {
        let passwords = Passwords::new(Blocking::OnThreads);
        let right = Password::new("correct horse battery");
        let hash = passwords.hash(&right).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash(&right).await.unwrap(), "each has a salt of its own");
        let compare = async |text, hash| passwords.compare(&Password::new(text), hash).await;
        let same = Ok(Compared::Same { outdated: false });
        assert_eq!(compare("correct horse battery", Some(&hash)).await, same);
        assert_eq!(compare("correct horse", Some(&hash)).await, Ok(Compared::Different));
        assert_eq!(compare("", None).await, Ok(Compared::Different), "nobody");
    }

    #[test]
    fn nobody_s_hash_costs_what_everybody_s_does() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        assert!(!is_outdated(&nobody));
        let somebody: PasswordHash =
            argon2().unwrap().hash_password_with_salt(b"correct horse battery", &[7; 16]).unwrap();
        let octets = |hash: &PasswordHash| hash.hash.as_ref().map(Output::len);
        assert_eq!(octets(&nobody), octets(&somebody));
    }

    #[tokio::test]
    async fn a_flood_is_told_to_come_back_and_few_are_at_work() {
        use std::sync::atomic::AtomicUsize;
        let passwords = Passwords::new(Blocking::OnThreads);
        let cores = passwords.turns.available_permits();
        let now = std::sync::Arc::new(AtomicUsize::new(0));
        let flood = (0..MOST_WAITING + 10).map(|_| {
            let now = std::sync::Arc::clone(&now);
            passwords.at_work(move || {
                let at_once = now.fetch_add(1, Ordering::SeqCst) + 1;
                std::thread::sleep(std::time::Duration::from_millis(1));
                now.fetch_sub(1, Ordering::SeqCst);
                Some(at_once)
            })
        });
        let done = futures_util::future::join_all(flood).await;
        let refused = done.iter().filter(|one| **one == Err(NotLookedAt::Overloaded)).count();
        assert_eq!(refused, 10);
        assert!(done.iter().flatten().all(|at_once| *at_once <= cores));
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_told() {
        let cheap =
            Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).unwrap());
        let hash: PasswordHash =
            cheap.hash_password_with_salt(b"correct horse battery", &[7; 16]).unwrap();
        let password = Password::new("correct horse battery");
        let compared =
            Passwords::new(Blocking::OnThreads).compare(&password, Some(&hash.to_string())).await;
        assert_eq!(compared, Ok(Compared::Same { outdated: true }));
    }

    #[test]
    fn the_same_keys_give_the_same_password() {
        // é as one character and as two, a ligature, full-width letters.
        assert_eq!(Password::new("caf\u{e9}"), Password::new("cafe\u{301}"));
        assert_eq!(Password::new("\u{fb01}sh"), Password::new("fish"));
        assert_eq!(format!("{:?}", Password::new("secret")), "Password(…)");
    }

    #[test]
    fn a_new_password_is_long_and_not_everybody_s_first_guess() {
        let check = |text: &str| Password::new(text).check(&["ada@acme.example", "Acme"]);
        for common in ["password", "password123", "1234567890", "aaaaaaaaaa", "qwertyuiop"] {
            assert_eq!(check(common), Err(WeakPassword::Common), "{common}");
        }
        assert_eq!(check("ada@acme.example"), Err(WeakPassword::Common));
        assert_eq!(check("kT9!x2#"), Err(WeakPassword::TooShort));
        assert_eq!(check(&"kT9!x2#q".repeat(17)), Err(WeakPassword::TooLong));
        for good in ["Correct-Horse-9-Battery", "Sup3rSecret!", "пароль длинный и свой"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        // Far beyond every bound it is cut, not worked on.
        assert_eq!(check(&"a".repeat(10_000_000)), Err(WeakPassword::TooLong));
    }
}
