//! Everything that an updater reads from its own folder on a device. The first byte chooses the file.
//!
//! Garbage in what is remembered of metadata never keeps a device from recovering by itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_client::Verdict;
use updraft_fuzz::device::{FILES, RECOVERING, scene};
use updraft_testkit::clock;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let choice = usize::from(*choice) % FILES.len();
    let name = FILES[choice];
    let scene = scene();
    let file = scene.home().join(name);
    std::fs::create_dir_all(file.parent().expect("a file lies in a folder")).expect("a folder can be made");
    std::fs::write(&file, bytes).expect("a file can be written");
    let checked = scene.open().and_then(|mut updater| updater.check(clock::now()));
    if choice < RECOVERING {
        let verdict = checked.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(matches!(verdict, Verdict::Available(_)), "{name}: {verdict:?}");
    }
    scene.assert_untouched();
    scene.restore();
});
