//! Whether some process still lives in a directory: it runs from there, stands there, or has a directory open there.
//!
//! A directory that was exchanged away is where the old program still is, and it finds its files by that. So nothing is
//! removed under it. Linux tells; of processes that are not ours to ask, and elsewhere, nothing is known, and then nobody
//! is in the way.

use std::path::Path;

#[cfg(target_os = "linux")]
pub(super) fn is_in_use(dir: &Path) -> bool {
    use std::fs;
    use std::path::PathBuf;

    let Ok(processes) = fs::read_dir("/proc") else { return false };
    let inside = |link: PathBuf| fs::read_link(link).is_ok_and(|target| target.starts_with(dir));
    let own = std::process::id();
    processes.flatten().any(|process| {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { return false };
        let at = process.path();
        if ["exe", "cwd", "root"].iter().any(|name| inside(at.join(name))) {
            return true;
        }
        // Of our own handles, those in it are the updater's, which is about to close them.
        let handles = if pid == own { None } else { fs::read_dir(at.join("fd")).ok() };
        let is_dir = |link: &PathBuf| fs::metadata(link).is_ok_and(|meta| meta.is_dir());
        handles.is_some_and(|handles| {
            handles.flatten().map(|handle| handle.path()).any(|link| inside(link.clone()) && is_dir(&link))
        })
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_in_use(_dir: &Path) -> bool {
    false
}
