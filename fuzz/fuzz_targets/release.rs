//! Release documents, and the names of releases.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::release::{Release, ReleaseName};

fuzz_target!(|bytes: &[u8]| {
    let name = ReleaseName::from_target_path("releases/any/1.0.0.json").expect("the name of a release");
    let app = "demo".parse().expect("the name of an app");
    if let Ok(release) = Release::decode(bytes, &app, &name) {
        assert_eq!(release.name(), name);
        assert_eq!(Release::decode(&release.encode(), &app, &name).expect("it was one before"), release);
        release.notes.for_locales(["zh-TW", "en", ""]);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(name) = ReleaseName::from_target_path(text) {
        assert_eq!(name.target_path(), text);
    }
});
