//! One target of `fuzz`, whose name stands in `LUMORA_FUZZ_TARGET`, driven by libFuzzer.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<&fuzz::Target> = OnceLock::new();

fuzz_target!(|octets: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("LUMORA_FUZZ_TARGET").unwrap_or_default();
        fuzz::target(&name).unwrap_or_else(|| panic!("no target {name:?}"))
    });
    (target.run)(octets);
});
