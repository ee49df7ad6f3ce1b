//! Server processes: starting, ending, and what the kernel says of them.
//!
//! In scope: one child process and those it starts, their memory, processor time and bytes written, sizes
//! of directories. Out of scope: what they serve. Invariant: a server dies with its guard.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Fallible;

/// What a server gets to come up or to end.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

/// Ticks of `/proc/PID/stat`: `USER_HZ`, which Linux fixed at 100 for all it tells programs.
const TICKS_PER_S: f64 = 100.0;

/// A running server.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a server and waits for its first line on standard output.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Fallible<(Self, String)> {
        let stderr = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn()?;
        let stdout = child.stdout.take();
        let process = Self(child);
        let (sender, line) = mpsc::channel();
        std::thread::spawn(move || {
            let Some(stdout) = stdout else { return };
            let mut reader = BufReader::new(stdout);
            let mut first = String::new();
            let _ = reader.read_line(&mut first);
            let _ = sender.send(first);
            let _ = std::io::copy(&mut reader, &mut std::io::sink());
        });
        let first = line.recv_timeout(PATIENCE)?;
        if first.trim().is_empty() {
            let said = fs::read_to_string(log).unwrap_or_default();
            return Err(format!("{} ended at once: {said}", command.get_program().display()).into());
        }
        Ok((process, first.trim().to_owned()))
    }

    /// Starts a server that says nothing on standard output.
    pub(crate) fn spawn(command: &mut Command, log: &Path) -> Fallible<Self> {
        let stderr = fs::OpenOptions::new().create(true).append(true).open(log)?;
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn()?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Kills it at once, as a power cut would.
    pub(crate) fn kill(mut self) -> Fallible<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Asks it to end in good order and waits.
    pub(crate) fn end(mut self, signal: Signal) -> Fallible<()> {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            kill_process(pid, signal)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait()? {
                return if status.success() {
                    Ok(())
                } else {
                    Err(format!("it ended with {status}").into())
                };
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err("it did not end in time".into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command to its end; its output, or an error with what it said.
pub(crate) fn run(command: &mut Command) -> Fallible<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} {}: {said}{errors}", command.get_program().display(), output.status).into())
}

/// What a process and its children have used up to now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Seconds of processor time.
    pub(crate) cpu_s: f64,
    /// Peak resident memory in bytes; the sum over the processes, so shared pages count repeatedly.
    pub(crate) peak_bytes: u64,
}

/// Adds up what `/proc` says of a process and its children.
pub(crate) fn usage(pid: u32) -> Usage {
    let mut sum = Usage::default();
    for one in family(pid) {
        let read = |name: &str| fs::read_to_string(format!("/proc/{one}/{name}")).unwrap_or_default();
        // The parent's account holds the children that it waited for.
        let fields = if one == pid { 4 } else { 2 };
        let ticks = stat_fields(&read("stat")).iter().skip(11).take(fields).copied().sum();
        sum.cpu_s += crate::stats::ratio(ticks, 1) / TICKS_PER_S;
        sum.peak_bytes += named(&read("status"), "VmHWM:") * 1024;
    }
    sum
}

/// Bytes that were written to the device under `path`, by anybody. The kernel's account of a process
/// (`/proc/PID/io`) is of no use here: it counts the whole of a large folio for each page written again.
pub(crate) fn device_bytes(path: &Path) -> u64 {
    let Ok(found) = fs::metadata(path) else { return 0 };
    let (major, minor) = (rustix::fs::major(found.dev()), rustix::fs::minor(found.dev()));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).unwrap_or_default();
    // The seventh field is sectors written, which are of 512 bytes whatever the device's are.
    stat.split_whitespace().nth(6).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0) * 512
}

/// Processor seconds of this process alone.
pub(crate) fn own_cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    crate::stats::ratio(stat_fields(&stat).iter().skip(11).take(2).copied().sum(), 1) / TICKS_PER_S
}

/// Processor seconds that the whole machine has been busy or robbed of (steal), by everybody.
pub(crate) fn machine_cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq, steal
    let busy = ticks.iter().enumerate().filter(|(at, _)| matches!(at, 0..=2 | 5..=7)).map(|(_, n)| n);
    crate::stats::ratio(busy.sum(), 1) / TICKS_PER_S
}

fn named(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The fields behind the name, the state first; what is no number counts as 0.
fn stat_fields(stat: &str) -> Vec<u64> {
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect()
}

fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let Ok(entries) = fs::read_dir("/proc") else { return found };
    for entry in entries.flatten() {
        let Some(one) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if stat_fields(&stat).get(1).copied() == Some(u64::from(pid)) {
            found.push(one);
        }
    }
    found
}

/// Size of everything below a directory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    /// Bytes that the files say they hold.
    pub(crate) apparent: u64,
    /// Bytes of the blocks they take.
    pub(crate) allocated: u64,
    pub(crate) files: u64,
}

/// Adds up a directory.
pub(crate) fn size(path: &Path) -> Size {
    let mut sum = Size::default();
    let Ok(found) = fs::symlink_metadata(path) else { return sum };
    if found.is_dir() {
        sum.allocated += found.blocks() * 512;
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let inner = size(&entry.path());
            sum.apparent += inner.apparent;
            sum.allocated += inner.allocated;
            sum.files += inner.files;
        }
    } else {
        sum = Size { apparent: found.len(), allocated: found.blocks() * 512, files: 1 };
    }
    sum
}

/// A command without the settings that its caller's environment may hold.
pub(crate) fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("COUNTERFOIL_") || name.starts_with("PG")) {
            command.env_remove(name);
        }
    }
    command
}
