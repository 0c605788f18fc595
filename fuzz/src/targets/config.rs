//! The configuration file.

use std::cell::RefCell;

use lumora::config::Config;

pub(super) const WORDS: &[&str] = &[
    "[http]\n",
    "[delivery]\n",
    "[inbound]\n",
    "[retention]\n",
    "[[delivery.shaping]]\n",
    "[[delivery.routes]]\n",
    "[delivery.pools.a]\n",
    "[delivery.smarthosts.a]\n",
    "= ",
    "\"\"\n",
    "[\"a\", \"b\"]\n",
    "retry_schedule = [\"1s\"]\n",
    "expire_after = \"48h\"\n",
    "true\n",
    "9223372036854775807\n",
    "-1\n",
    "\"18446744073709551615d\"\n",
    "smarthost = \"smtp://u:p@h:25\"\n",
    "addresses = [{ ip = \"::1\", helo_name = \"a.example\" }]\n",
    "mx = \"*.example.com\"\n",
    "ways = [\"direct\"]\n",
    "per_minute = 1\n",
    "domain = \"*\"\n",
    "1979-05-27T07:32:00Z\n",
];

thread_local! {
    static FILE: RefCell<tempfile::NamedTempFile> =
        RefCell::new(tempfile::Builder::new().suffix(".toml").tempfile().unwrap());
}

pub(super) fn run(octets: &[u8]) {
    let read = FILE.with_borrow(|file| {
        std::fs::write(file.path(), octets).unwrap();
        Config::load(Some(file.path()))
    });
    match read {
        Ok(config) => {
            // What was checked can be used.
            let policy = config.retry_policy().expect("a checked schedule");
            drop((policy, config.shaping_rules().expect("checked rules")));
            config.routes().expect("checked routes");
            assert!(!config.public_url().ends_with('/'));
            assert!(config.log_dir().starts_with(&config.data_dir));
        }
        Err(error) => assert!(error.to_string().starts_with("configuration: ")),
    }
}
