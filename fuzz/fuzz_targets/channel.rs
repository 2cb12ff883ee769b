//! Channel documents, and the pick from them: never older than what a device has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::channel::{Channel, Device, Pick, pick};
use updraft_core::name::{ChannelName, Platform};
use updraft_core::release::ReleaseName;

fuzz_target!(|bytes: &[u8]| {
    let Ok(channel) = serde_json::from_slice::<Channel>(bytes) else { return };
    let (platform, have) = (Platform::this(), "1.1.0".parse().expect("a version"));
    if let Pick::Release(picked) = pick(&channel, &Device { platform: &platform, version: Some(&have) }) {
        assert!(picked.version > have);
    }
    let name = ReleaseName { platform, version: have };
    if let Ok(next) = channel.promote(&ChannelName::stable(), &name) {
        assert!(next.releases().any(|release| release == name));
    }
});
