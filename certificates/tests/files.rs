//! Files as certificate programs write them, and as they go wrong.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests fail loudly"
)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use certificates::{Certificate, Files, Looked, Unusable};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

/// A certificate for 2025 to 2031, and its key, each in PEM.
fn made(name: &str) -> (String, String) {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn write(files: &Files, (certificate, key): &(String, String)) {
    fs::write(&files.certificate, certificate).unwrap();
    write_secret(&files.key, key);
}

fn in_dir(dir: &Path) -> Files {
    Files { certificate: dir.join("c.pem"), key: dir.join("k.pem") }
}

#[test]
fn changed_files_are_shown_and_broken_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let files = in_dir(dir.path());
    assert!(Certificate::load(files.clone()).unwrap_err().is_missing());
    let (one, two) = (made("one.test"), made("two.test"));
    write(&files, &one);
    let certificate = Certificate::load(files.clone()).unwrap();
    assert!(matches!(certificate.look(), Looked::Unchanged));
    // Half of a renewal: the key does not belong to the certificate that is there.
    write_secret(&files.key, &two.1);
    let refused = certificate.look();
    assert!(matches!(refused, Looked::Refused(Unusable::NotAPair { .. })), "{refused:?}");
    fs::write(&files.certificate, &two.0).unwrap();
    assert!(matches!(certificate.look(), Looked::Renewed));
    for (certificate_text, key_text) in
        [("", two.1.as_str()), (&two.0, ""), (&two.0, "nothing"), ("-----BEGIN", &two.1)]
    {
        fs::write(&files.certificate, certificate_text).unwrap();
        write_secret(&files.key, key_text);
        let refused = certificate.look();
        assert!(matches!(refused, Looked::Refused(Unusable::NotPem { .. })), "{refused:?}");
    }
    write(&files, &two);
    fs::remove_file(&files.key).unwrap();
    assert!(matches!(certificate.look(), Looked::Refused(unusable) if unusable.is_missing()));
    write(&files, &one);
    assert!(matches!(certificate.look(), Looked::Renewed));
}

#[test]
fn a_link_that_moves_to_an_older_pair_is_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    for place in [&old, &new] {
        fs::create_dir(place).unwrap();
        write(&in_dir(place), &made("one.test"));
    }
    let live = dir.path().join("live");
    symlink(&new, &live).unwrap();
    let certificate = Certificate::load(in_dir(&live)).unwrap();
    fs::remove_file(&live).unwrap();
    symlink(&old, &live).unwrap();
    assert!(matches!(certificate.look(), Looked::Renewed));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let files = in_dir(dir.path());
    write(&files, &made("one.test"));
    let certificate = Certificate::load(files.clone()).unwrap();
    fs::set_permissions(&files.key, Permissions::from_mode(0o640)).unwrap();
    let refused = Certificate::load(files.clone()).unwrap_err();
    assert!(matches!(refused, Unusable::Exposed { mode: 0o640, .. }), "{refused}");
    assert!(matches!(certificate.look(), Looked::Refused(Unusable::Exposed { .. })));
    // A directory is no key, and nothing is read from it.
    fs::remove_file(&files.key).unwrap();
    fs::create_dir(&files.key).unwrap();
    assert!(matches!(Certificate::load(files).unwrap_err(), Unusable::NotAFile { .. }));
}

#[test]
fn how_long_it_holds_is_read_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let files = in_dir(dir.path());
    write(&files, &made("one.test"));
    let validity = Certificate::load(files).unwrap().validity().unwrap();
    // 2025-01-01 and 2031-01-01.
    assert_eq!((validity.not_before_s, validity.not_after_s), (1_735_689_600, 1_924_992_000));
}
