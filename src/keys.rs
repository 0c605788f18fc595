//! The keys that seal: the master key, and the ring that it opens.

use eventlog::{MasterKey, Vault};

use crate::{Failure, config::Config};

/// The vault of the data directory; the master key is made when there is none.
pub fn vault(config: &Config) -> Result<Vault, Failure> {
    let file = config.master_key_file();
    let master = MasterKey::load_or_create(&file).map_err(Failure::usage)?;
    Vault::load_or_create(&config.log_dir(), &file, &master).map_err(Failure::usage)
}
