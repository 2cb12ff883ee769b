//! The tools as people use them: real processes, real files, loopback.
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods, clippy::print_stderr, clippy::unwrap_used)]

mod bundle;
mod crash;
mod docs;
mod doctor;
mod keys;
mod main_job;
mod maker;
mod patch;
mod patch_large;
mod patch_updates;
mod python_tuf;
mod real_software;
mod rollout;
mod seed;
mod support;
mod threats;
mod trust;
mod walkthrough;
