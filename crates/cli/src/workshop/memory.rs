//! How much memory a child may take where nobody has said.

use std::fs;

/// More is not taken without being told.
const MAX: u64 = 4 << 30;
/// Less is of no use.
const MIN: u64 = 256 << 20;

/// Half of what the machine has, or the container that this runs in.
pub(super) fn default_max() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_machine(&text));
    let container = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    half(machine, container)
}

fn of_machine(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

fn half(machine: Option<u64>, container: Option<u64>) -> u64 {
    let there = [machine, container].into_iter().flatten().min();
    there.map_or(MAX, |there| there / 2).clamp(MIN, MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_there_is() {
        let text = "MemFree: 1 kB\nMemTotal:        8388608 kB\n";
        assert_eq!(of_machine(text), Some(8 << 30));
        assert_eq!(of_machine("nothing"), None);
        assert_eq!(half(Some(6 << 30), None), 3 << 30);
        assert_eq!(half(Some(64 << 30), None), MAX);
        assert_eq!(half(Some(64 << 30), Some(1 << 30)), 512 << 20);
        assert_eq!(half(Some(64 << 30), Some(1)), MIN);
        assert_eq!(half(None, None), MAX);
    }
}
