//! Channel documents, and the pick from them: never older than what a device has, and the same every time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::Timestamp;
use updraft_core::channel::{Channel, Device, DeviceId, pick};
use updraft_core::name::{ChannelName, Platform};
use updraft_core::release::{Live, ReleaseName, Terms};

fuzz_target!(|bytes: &[u8]| {
    let Ok(channel) = serde_json::from_slice::<Channel>(bytes) else { return };
    let (stable, platform) = (ChannelName::stable(), Platform::this());
    let have = "1.1.0".parse().expect("a version");
    let id: DeviceId = "000102030405060708090a0b0c0d0e0f".parse().expect("an id");
    let live: Live = channel.releases().map(|release| (release, Terms::default())).collect();
    let device = Device { id: Some(&id), ..Device::new(&stable, &platform, Some(&have)) };
    for secs in [0, 1_900_000_000, 253_402_207_200] {
        let now = Timestamp::from_second(secs).expect("a time");
        let picked = pick(&channel, &live, &device, now);
        assert_eq!(picked, pick(&channel, &live, &device, now));
        assert!(picked.take.is_none_or(|release| release.version > have));
    }
    let name = ReleaseName { platform, version: have };
    if let Ok(next) = channel.promote(&stable, &name) {
        assert!(next.releases().any(|release| release == name));
    }
});
