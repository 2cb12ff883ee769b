//! For tests of what a process without rights may not do, also when the tests themselves run as root.

use std::thread;

use rustix::fs::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Runs `run` on a thread that is nobody. On Linux rights belong to a thread, and those that it starts inherit them.
pub(crate) fn as_nobody<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let nobody = || {
        if rustix::process::geteuid().is_root() {
            let (user, group) = (Uid::from_raw(65_534), Gid::from_raw(65_534));
            set_thread_groups(&[]).unwrap();
            set_thread_res_gid(group, group, group).unwrap();
            set_thread_res_uid(user, user, user).unwrap();
        }
        run()
    };
    thread::scope(|scope| scope.spawn(nobody).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
