//! Paths inside trees: what is allowed can exist anywhere, and leads nowhere else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::path::RelPath;

fuzz_target!(|text: &str| {
    let Ok(path) = text.parse::<RelPath>() else { return };
    assert_eq!(path.as_str(), text);
    assert!(!text.starts_with('/') && !text.contains(['\\', ':', '\0']));
    let ordinary = |component: std::path::Component<'_>| matches!(component, std::path::Component::Normal(_));
    assert!(std::path::Path::new(text).components().all(ordinary));
    assert_eq!(text.split('/').count(), std::path::Path::new(text).components().count());
});
