//! URL paths and keys of the store: nothing that is private, or no key, is public.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::layout::{self, Key, Public};
use updraft_core::trust::Role;

fuzz_target!(|text: &str| {
    if let Some(place) = layout::public(text) {
        assert!(text.starts_with("apps/") && !text.split('/').any(|segment| segment.is_empty() || segment == ".."));
        if let Public::Immutable(_, key) = place {
            assert_eq!(key.as_str(), text);
        }
    }
    if let Some(key) = Key::parse(text) {
        layout::private_name(&key, "tokens");
    }
    assert_eq!(layout::private_name(&layout::private("room", text), "room").as_deref(), Some(text));
    let role = layout::role_file_name(&Role::from_name(text));
    assert!(!role.contains(['/', '\\', '\0']) && role.is_ascii(), "{role}");
});
