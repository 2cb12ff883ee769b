//! The journal of an interrupted update: whatever it says, nothing around the installed directory is touched.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_fuzz::device::scene;

fuzz_target!(|bytes: &[u8]| {
    let scene = scene();
    std::fs::write(scene.home().join("journal"), bytes).expect("a file can be written");
    let _ = scene.open();
    scene.assert_untouched();
    scene.restore();
});
