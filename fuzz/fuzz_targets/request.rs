//! Requests to a server: path, query, headers and body are the fuzzer's. Nothing is an error of the server, and nothing
//! that is private is told.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_fuzz::service::{self, Request};

fuzz_target!(|request: Request| {
    service::answer(&request);
});
