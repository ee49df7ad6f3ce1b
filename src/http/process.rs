//! What the operating system says of this process.
//!
//! In scope: `/proc/self`, where there is one. Out of scope: other processes. Invariant: what cannot be
//! read is absent, never zero.

use std::fs;

/// Numbers of the running process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Process {
    /// Bytes of memory it holds.
    pub(crate) resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub(crate) open_fds: Option<u64>,
    /// Descriptors it may open.
    pub(crate) max_fds: Option<u64>,
}

impl Process {
    /// Reads them now. Blocks for some tens of microseconds.
    pub(crate) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        Self {
            resident_bytes: after(&status, "VmRSS:").and_then(|kib: u64| kib.checked_mul(1024)),
            // Reading the directory takes a descriptor itself.
            open_fds: open.and_then(|count| u64::try_from(count.saturating_sub(1)).ok()),
            max_fds: after(&limits, "Max open files"),
        }
    }
}

/// The first number of the line that starts with `name`.
fn after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_follows_its_name() {
        let text = "Name:\tx\nVmRSS:\t    1234 kB\nMax open files            1024      4096  files\n";
        assert_eq!(after(text, "VmRSS:"), Some(1_234));
        assert_eq!(after(text, "Max open files"), Some(1_024));
        assert_eq!(after(text, "VmSwap:"), None);
    }
}
