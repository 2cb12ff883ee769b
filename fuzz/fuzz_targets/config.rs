//! The server's configuration file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Write;
use std::path::Path;
use updraft_server::config::Config;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    file.write_all(bytes).expect("it can be written");
    let flags = [("config".to_owned(), file.path().display().to_string())];
    let _ = Config::load(flags, [], Path::new("/nowhere"));
});
