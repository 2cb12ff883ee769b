//! Key files: what they keep, what they refuse, and who else reads them.

use std::path::Path;
use std::process::Command;

use updraft_publisher::keys::{Error, KeyName, Keystore, Known, Ring, Unlocked};

fn store() -> (tempfile::TempDir, Keystore) {
    let temp = tempfile::tempdir().unwrap();
    let keys = Keystore::at(temp.path().join("deep/keys"));
    (temp, keys)
}

#[test]
fn a_passphrase_locks_and_opens() {
    let (_temp, keys) = store();
    let made = keys.create_keys(1, &Known::new("correct horse")).unwrap();
    let opened = keys.open_key(KeyName::Targets, &Known::new("correct horse")).unwrap();
    assert_eq!(opened.public(), made.targets.public());
    assert_ne!(made.targets.public(), made.root[0].public());

    let wrong = keys.open_key(KeyName::Targets, &Known::new("battery staple")).unwrap_err();
    assert!(matches!(wrong, Error::WrongPassphrase { .. }), "{wrong}");
    let none = keys.open_key(KeyName::Targets, &Unlocked).unwrap_err();
    assert!(matches!(none, Error::NoPassphrase { .. }), "{none}");
    let empty = store().1.create_keys(1, &Known::new("")).unwrap_err();
    assert!(empty.to_string().contains("protects nothing"), "{empty}");
}

#[test]
fn making_keys_again_keeps_those_that_are_there() {
    let (_temp, keys) = store();
    let secret = Known::new("secret");
    let first = keys.create_keys(1, &secret).unwrap();
    let before = std::fs::read(keys.key_path(KeyName::Root)).unwrap();
    // An interruption left one of the two.
    std::fs::remove_file(keys.key_path(KeyName::Targets)).unwrap();
    let second = keys.create_keys(1, &secret).unwrap();
    assert_eq!(second.root[0].public(), first.root[0].public());
    assert_ne!(second.targets.public(), first.targets.public());
    assert_eq!(std::fs::read(keys.key_path(KeyName::Root)).unwrap(), before);
    // The one that was made anew is locked like the other, whoever asked for what.
    assert!(keys.open_key(KeyName::Targets, &Unlocked).is_err());
    assert_eq!(keys.create_keys(1, &secret).unwrap().targets.public(), second.targets.public());
}

#[test]
fn several_root_keys_lie_under_their_fingerprints() {
    let (_temp, keys) = store();
    let first = keys.create_keys(3, &Unlocked).unwrap();
    let held = |name| keys.held().unwrap().into_iter().filter(|held| held.name == name).collect::<Vec<_>>();
    assert_eq!((held(KeyName::Root).len(), held(KeyName::Targets).len()), (3, 1));
    assert!(!keys.key_path(KeyName::Root).exists());
    // An interruption left two.
    let lost = held(KeyName::Root).pop().unwrap();
    std::fs::remove_file(&lost.path).unwrap();
    let second = keys.create_keys(3, &Unlocked).unwrap();
    let kept = second.root.iter().filter(|key| first.root.iter().any(|other| other.public() == key.public()));
    assert_eq!((second.root.len(), kept.count()), (3, 2));
    let error = keys.create_keys(2, &Unlocked).unwrap_err();
    assert!(matches!(error, Error::TooMany { found: 3, wanted: 2, .. }), "{error}");
}

#[test]
fn a_key_under_the_name_of_another_is_not_used() {
    let (_temp, keys) = store();
    keys.create_keys(2, &Known::new("secret")).unwrap();
    let held = keys.held().unwrap();
    let (one, two) = (&held[0], &held[1]);
    assert!(one.locked && one.fingerprint.is_some());
    let secret = Known::new("secret");
    let named = Ring::new(&keys, &secret).open(one).unwrap().public();
    std::fs::rename(&two.path, &one.path).unwrap();
    let error = Ring::new(&keys, &secret).find(KeyName::Root, &[named], 1).unwrap_err();
    assert!(
        matches!(&error, Error::Foreign { reason, .. } if reason.contains("not the one that its name says")),
        "{error}"
    );
}

#[test]
fn keys_are_found_by_what_they_are_and_opened_only_where_they_must() {
    let (_temp, keys) = store();
    let secret = Known::new("secret");
    let made = keys.create_keys(1, &secret).unwrap();
    let new = Ring::new(&keys, &secret).make(KeyName::Targets).unwrap();
    // The name says it: no passphrase is needed for the other.
    let ring = Ring::new(&keys, &secret);
    let found = ring.find(KeyName::Targets, &[new.public()], 5).unwrap();
    assert_eq!(found.iter().map(|key| key.public()).collect::<Vec<_>>(), [new.public()]);
    // A plain name says nothing, and a key is found in whatever file of its role it lies.
    let both = [made.targets.public(), new.public()];
    assert_eq!(ring.find(KeyName::Targets, &both, 5).unwrap().len(), 2);
    assert_eq!(ring.find(KeyName::Targets, &both, 1).unwrap().len(), 1);
    assert_eq!(ring.find(KeyName::Targets, &[made.root[0].public()], 5).unwrap().len(), 0);
}

#[test]
fn keys_are_copied_before_they_are_removed() {
    let ((_a, there), (_b, here)) = (store(), store());
    let made = there.create_keys(1, &Unlocked).unwrap();
    let secret = Known::new("secret");
    let copies = here.copy_from(&Ring::new(&there, &Unlocked), &secret).unwrap();
    assert_eq!((copies.len(), there.held().unwrap().len()), (2, 2), "nothing is removed by copying");
    assert!(here.held().unwrap().iter().all(|held| held.locked));
    assert_eq!(here.open_key(KeyName::Root, &secret).unwrap().public(), made.root[0].public());
    // Again is success; another key under the name is not.
    here.copy_from(&Ring::new(&there, &Unlocked), &secret).unwrap();
    std::fs::copy(here.key_path(KeyName::Targets), here.key_path(KeyName::Root)).unwrap();
    let error = here.copy_from(&Ring::new(&there, &Unlocked), &secret).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    there.remove_keys().unwrap();
    assert!(there.held().unwrap().is_empty());
    let error = here.copy_from(&Ring::new(&there, &Unlocked), &secret).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

#[test]
fn what_is_wrong_with_a_key_file_is_said() {
    let (_temp, keys) = store();
    let missing = keys.open_key(KeyName::Root, &Unlocked).unwrap_err();
    assert!(matches!(missing, Error::Missing { .. }) && missing.to_string().contains("root.pem"), "{missing}");
    std::fs::create_dir_all(keys.dir()).unwrap();
    let long = "x".repeat(20 << 10);
    for content in ["", "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", &long] {
        std::fs::write(keys.key_path(KeyName::Root), content).unwrap();
        let error = keys.open_key(KeyName::Root, &Unlocked).unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
        // Nor is it taken for an empty place.
        assert!(keys.create_keys(1, &Unlocked).is_err());
        assert_eq!(std::fs::read_to_string(keys.key_path(KeyName::Root)).unwrap(), content);
    }
}

#[cfg(unix)]
#[test]
fn nobody_else_reads_them() {
    use std::os::unix::fs::PermissionsExt;
    let (_temp, keys) = store();
    keys.create_keys(1, &Unlocked).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&keys.key_path(KeyName::Root)), 0o600);
    assert_eq!(mode(&keys.key_path(KeyName::Targets)), 0o600);
    assert_eq!(mode(keys.dir()), 0o700);
    let names: Vec<_> = std::fs::read_dir(keys.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing is left lying about: {names:?}");
}

/// Runs OpenSSL; `None`, and a line that says so, when this machine has none.
fn openssl(arguments: &[&str]) -> Option<String> {
    let output = match Command::new("openssl").args(arguments).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: openssl cannot be run here: {error}");
            return None;
        }
    };
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn openssl_reads_what_we_write() {
    let (_temp, keys) = store();
    let made = keys.create_keys(1, &Known::new("correct horse")).unwrap();
    let path = keys.key_path(KeyName::Root);
    let path = path.to_str().unwrap();
    let Some(text) = openssl(&["pkey", "-in", path, "-passin", "pass:correct horse", "-noout", "-text"]) else {
        return;
    };
    let public = hex::encode(made.root[0].public().key_bytes().unwrap());
    let digits: String = text.split("pub:").nth(1).unwrap().chars().filter(char::is_ascii_hexdigit).collect();
    assert_eq!(digits, public);

    let (_temp, plain) = store();
    plain.create_keys(1, &Unlocked).unwrap();
    openssl(&["pkey", "-in", plain.key_path(KeyName::Targets).to_str().unwrap(), "-noout"]);
}

#[test]
fn we_read_what_openssl_writes() {
    let (_temp, keys) = store();
    std::fs::create_dir_all(keys.dir()).unwrap();
    let path = keys.key_path(KeyName::Targets);
    let out = path.to_str().unwrap();
    let locked = ["genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:theirs", "-out", out];
    if openssl(&locked).is_none() {
        return;
    }
    let locked = keys.open_key(KeyName::Targets, &Known::new("theirs")).unwrap();
    let wrong = keys.open_key(KeyName::Targets, &Known::new("ours")).unwrap_err();
    assert!(matches!(wrong, Error::WrongPassphrase { .. }), "{wrong}");
    let public =
        openssl(&["pkey", "-in", out, "-passin", "pass:theirs", "-pubout", "-outform", "PEM", "-text", "-noout"]);
    let digits: String =
        public.unwrap().split("pub:").nth(1).unwrap().chars().filter(char::is_ascii_hexdigit).collect();
    assert_eq!(digits, hex::encode(locked.public().key_bytes().unwrap()));
    // Another algorithm is named, not misread.
    openssl(&["genpkey", "-algorithm", "x25519", "-out", out]);
    assert!(matches!(keys.open_key(KeyName::Targets, &Unlocked), Err(Error::Foreign { .. })));
}

/// A key file of the first release, as somebody has it in a drawer. Never edited: it must open for ever.
const GOLDEN: &str = include_str!("golden/targets.pem");

#[test]
fn a_key_file_of_the_first_release_opens() {
    let (_temp, keys) = store();
    std::fs::create_dir_all(keys.dir()).unwrap();
    std::fs::write(keys.key_path(KeyName::Targets), GOLDEN).unwrap();
    let key = keys.open_key(KeyName::Targets, &Known::new("golden passphrase")).unwrap();
    assert_eq!(key.public(), updraft_testkit::keys::named("golden").public());
}
