//! Checks of the machine under a data directory: file system, room, flushes, open files, clock.
//!
//! In scope: what the operating system says. Out of scope: what is in the files. Invariant: the file that
//! flushes are measured with is removed again, whatever happened.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;

use super::Findings;

/// Flushes whose times the median is taken of.
const FLUSHES: usize = 11;

/// Bytes written before each flush: about what one event puts into the journal.
const FLUSH_BYTES: usize = 4 << 10;

/// A median flush above this makes every append slow: a request waits for one.
const FLUSH_SLOW_US: u64 = 50_000;

/// A median flush below this is faster than any disk but one with a battery: it may not reach it.
const FLUSH_DOUBTFUL_US: u64 = 10;

/// Descriptors that a server needs besides connections: journal, index, tiles, listeners.
const DESCRIPTORS_BESIDES: u64 = 300;

/// 2025-01-01, before which no clock of a machine that runs this can rightly be.
const EARLIEST_US: u64 = 1_735_689_600_000_000;

/// What a file system is good for.
enum Fit {
    Good,
    Gone,
    Remote,
    Layer,
}

/// Magic numbers of file systems, as statfs(2) lists them.
const FILE_SYSTEMS: [(i64, &str, Fit); 17] = [
    (0xEF53, "ext4", Fit::Good),
    (0x5846_5342, "XFS", Fit::Good),
    (0x9123_683E, "Btrfs", Fit::Good),
    (0x2FC1_2FC1, "ZFS", Fit::Good),
    (0xF2F5_2010, "F2FS", Fit::Good),
    (0x0102_1994, "tmpfs", Fit::Gone),
    (0x8584_58F6, "ramfs", Fit::Gone),
    (0x6969, "NFS", Fit::Remote),
    (0x517B, "SMB", Fit::Remote),
    (0xFF53_4D42, "CIFS", Fit::Remote),
    (0xFE53_4D42, "SMB", Fit::Remote),
    (0x00C3_6400, "Ceph", Fit::Remote),
    (0x0102_1997, "9P", Fit::Remote),
    (0x5346_414F, "AFS", Fit::Remote),
    (0x0BD0_0BD0, "Lustre", Fit::Remote),
    (0x6573_5546, "FUSE", Fit::Remote),
    (0x794C_7630, "overlayfs", Fit::Layer),
];

/// Checks the machine. `held` is the process that has the directory, 0 where its number is unknown.
pub(super) fn check(data: &Path, config: &Config, held: Option<u32>, findings: &mut Findings) {
    file_system(data, findings);
    room(data, config.disk_reserve_bytes, findings);
    flushes(data, findings);
    open_files(config.connections_max, held, findings);
    let now_us = SystemClock::default().now_us();
    if now_us < EARLIEST_US {
        findings.fail("clock", "the clock is before 2025", "set it, and have it kept (chrony, ntpd)");
    }
}

fn file_system(data: &Path, findings: &mut Findings) {
    let Ok(found) = rustix::fs::statfs(data) else {
        return findings.warn("file-system", "its kind is not known", "use a local ext4 or XFS");
    };
    // The word may be signed; its low 32 bits are the number.
    let magic = found.f_type & 0xFFFF_FFFF;
    let known = FILE_SYSTEMS.iter().find(|(number, ..)| *number == magic);
    match known {
        Some((_, name, Fit::Good)) => findings.ok("file-system", *name),
        Some((_, name, Fit::Gone)) => findings.warn(
            "file-system",
            format!("{name} lives in memory: a restart of the machine loses the ledger"),
            "keep the data directory on a disk",
        ),
        Some((_, name, Fit::Remote)) => findings.warn(
            "file-system",
            format!("{name}: neither its locks nor its flushes are known to hold"),
            "keep the data directory on a local disk",
        ),
        Some((_, name, Fit::Layer)) => findings.warn(
            "file-system",
            format!("{name}, a container's own layer, which goes when the container does"),
            "mount a volume for the data directory",
        ),
        None => findings.warn(
            "file-system",
            format!("of a kind that is not known (0x{magic:X})"),
            "use a local ext4 or XFS, which this is written for",
        ),
    }
}

fn room(data: &Path, reserve_bytes: u64, findings: &mut Findings) {
    let Ok(disk) = rustix::fs::statvfs(data) else {
        return findings.warn("disk", "its free space is not known", "watch it in another way");
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let mib = |bytes: u64| bytes >> 20;
    let said = format!("{} MiB free, {} MiB kept in reserve", mib(free), mib(reserve_bytes));
    if free < reserve_bytes {
        findings.fail("disk", said, "make room: appends are refused with 507 until there is");
    } else if free / 4 < reserve_bytes {
        findings.warn("disk", said, "make room before appends are refused with 507");
    } else {
        findings.ok("disk", said);
    }
}

fn flushes(data: &Path, findings: &mut Findings) {
    let file = data.join(format!(".doctor-{}", std::process::id()));
    let measured = measure(&file);
    let _ = fs::remove_file(&file);
    let mut times = match measured {
        Ok(times) => times,
        Err(error) => {
            let said = format!("no file can be written and flushed in {}: {error}", data.display());
            let remedy = "run as the user that the server runs as; look at the disk and the mount";
            return findings.fail("flush", said, remedy);
        }
    };
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or(0);
    let slowest = times.last().copied().unwrap_or(0);
    let said = format!("fdatasync takes {median} us, the slowest of {FLUSHES} took {slowest} us");
    if median > FLUSH_SLOW_US {
        let remedy = "every append waits for one: use a disk of its own, or a faster one";
        findings.warn("flush", said, remedy);
    } else if median < FLUSH_DOUBTFUL_US {
        let remedy = "make sure that the disk or its virtual machine does not ignore flushes";
        findings.warn("flush", said, remedy);
    } else {
        findings.ok("flush", said);
    }
}

/// Microseconds of each flush.
fn measure(path: &Path) -> io::Result<Vec<u64>> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let clock = SystemClock::default();
    let mut times = Vec::new();
    for _ in 0..FLUSHES {
        file.write_all(&[0; FLUSH_BYTES])?;
        let from = clock.monotonic_us();
        file.sync_data()?;
        times.push(clock.monotonic_us().saturating_sub(from));
    }
    Ok(times)
}

/// The limit of the server where it runs, else of this process, which a server started here would get.
fn open_files(connections_max: u64, held: Option<u32>, findings: &mut Findings) {
    let pid = held.filter(|pid| *pid > 0).map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let remedy = "raise it (LimitNOFILE= in a systemd unit, ulimit -n) or lower connections_max";
    let Some(limit) = open_files_limit(&limits) else {
        return findings.warn("open-files", "the limit is not known", remedy);
    };
    let needed = connections_max.saturating_add(DESCRIPTORS_BESIDES);
    let said = format!("at most {limit}; connections_max and the rest need {needed}");
    if limit < needed {
        findings.warn("open-files", said, remedy);
    } else {
        findings.ok("open-files", said);
    }
}

/// The soft limit of open files in a `/proc/<pid>/limits`.
fn open_files_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_read() {
        let text =
            "Limit   Soft Limit  Hard Limit Units\nMax open files            1024      4096  files\n";
        assert_eq!(open_files_limit(text), Some(1024));
        assert_eq!(open_files_limit("Max open files unlimited unlimited"), Some(u64::MAX));
        assert_eq!(open_files_limit(""), None);
    }
}
