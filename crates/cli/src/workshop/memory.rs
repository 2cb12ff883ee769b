//! How much memory a child may take where nobody has said.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// More is not taken by a child without being told, nor where it is not known what there is.
const MAX: u64 = 4 << 30;

/// What a default is a multiple of: what a machine says of its memory is a little different at each start, and a pair that was
/// given up is tried again when its limits are others.
const STEP: u64 = 64 << 20;

/// How much a child may take of which `jobs` work at a time.
pub(super) fn default_max(jobs: usize) -> u64 {
    share(half_of_all(), jobs)
}

fn share(all: u64, jobs: usize) -> u64 {
    let share = (all / jobs.max(1) as u64).min(MAX);
    share - share % STEP
}

/// Half of what the machine has, or the container or the unit that this runs in.
pub(super) fn half_of_all() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_machine(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").map(|text| groups(&text)).unwrap_or_default();
    let limit = |group: PathBuf| fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok();
    half(machine, groups.into_iter().filter_map(limit).min())
}

/// The control groups that limit this process: its own and those around it, of version 2.
fn groups(text: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let own = Path::new(own);
    if own.components().any(|part| !matches!(part, Component::Normal(_))) {
        return vec![root.to_owned()];
    }
    own.ancestors().map(|group| root.join(group)).collect()
}

fn of_machine(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

fn half(machine: Option<u64>, container: Option<u64>) -> u64 {
    let there = [machine, container].into_iter().flatten().min();
    there.map_or(MAX, |there| there / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_any_group_around_counts() {
        let paths =
            ["system.slice/updraft.service", "system.slice", ""].map(|path| Path::new("/sys/fs/cgroup").join(path));
        assert_eq!(groups("1:name=systemd:/x\n0::/system.slice/updraft.service\n"), paths);
        for odd in ["0::/\n", "0::/../../x\n", ""] {
            assert_eq!(groups(odd), [Path::new("/sys/fs/cgroup")], "{odd}");
        }
    }

    #[test]
    fn all_jobs_together_take_no_more_than_one() {
        assert_eq!(share(8 << 30, 0), 4 << 30);
        assert_eq!(share(8 << 30, 1), 4 << 30);
        assert_eq!(share(8 << 30, 4), 2 << 30);
        assert_eq!(share((2 << 30) + 12_345_678, 1), 2 << 30, "also after the next start");
    }

    #[test]
    fn half_of_what_there_is() {
        let text = "MemFree: 1 kB\nMemTotal:        8388608 kB\n";
        assert_eq!(of_machine(text), Some(8 << 30));
        assert_eq!(of_machine("nothing"), None);
        assert_eq!(half(Some(6 << 30), None), 3 << 30);
        assert_eq!(half(Some(64 << 30), None), 32 << 30);
        assert_eq!(half(Some(64 << 30), Some(1 << 30)), 512 << 20);
        assert_eq!(half(Some(64 << 30), Some(128 << 20)), 64 << 20, "more would end the whole unit");
        assert_eq!(half(None, None), MAX);
    }
}
