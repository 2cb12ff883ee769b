//! Bodies of the API, both ways.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::api;

fuzz_target!(|bytes: &[u8]| {
    let _ = serde_json::from_slice::<api::FirstMetadata>(bytes);
    let _ = serde_json::from_slice::<api::NewTargets>(bytes);
    let _ = serde_json::from_slice::<api::NextRoot>(bytes);
    let _ = serde_json::from_slice::<api::Promotion>(bytes);
    let _ = serde_json::from_slice::<api::Have>(bytes);
    let _ = serde_json::from_slice::<api::Missing>(bytes);
    let _ = serde_json::from_slice::<api::Problem>(bytes);
    if let Ok(app) = serde_json::from_slice::<api::App>(bytes) {
        let written = serde_json::to_vec(&app).expect("it can be written");
        assert_eq!(serde_json::from_slice::<api::App>(&written).expect("it was one before"), app);
    }
});
