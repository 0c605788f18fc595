//! Password hashes: argon2id with the parameters that OWASP's password storage sheet recommends
//! (19 MiB, two passes, one lane).

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{Error, PasswordHasher as _},
};

/// The PHC string of a password with a new salt.
pub(crate) fn hash(password: &str) -> Result<String, Error> {
    let params = Params::new(19 * 1024, 2, 1, None).map_err(|_| Error::ParamsInvalid)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut salt = [0_u8; 16];
    getrandom::fill(&mut salt).map_err(|_| Error::Crypto)?;
    argon2.hash_password_with_salt(password.as_bytes(), &salt).map(|hash| hash.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_are_argon2id_and_never_twice_the_same() {
        let hash = super::hash("correct horse battery").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, super::hash("correct horse battery").unwrap());
    }
}
