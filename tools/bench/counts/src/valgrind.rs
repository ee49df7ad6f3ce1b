//! Counting the instructions of a case, by running it under valgrind.
//!
//! In scope: how this program is run under `callgrind`, and what is read from its report. Out of scope: what
//! is done with the counts. Invariants: one operation is what a run of twice the repetitions takes more than
//! one of the simple number, divided by that number, so that starting and preparing do not count; the
//! environment is empty, so that it neither moves the stack nor sets the allocator otherwise.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::cases::Case;
use crate::{Fallible, cases};

/// The line of callgrind's report with the number of instructions.
const COLLECTED: &str = "Collected :";

/// A valgrind that runs this program.
#[derive(Debug)]
pub(crate) struct Valgrind {
    program: PathBuf,
    pub(crate) version: String,
}

impl Valgrind {
    /// The one on `PATH`.
    pub(crate) fn find() -> Fallible<Self> {
        let output = Command::new("valgrind").arg("--version").output().map_err(|error| {
            format!("valgrind was not started ({error}): install the package `valgrind`")
        })?;
        let version = String::from_utf8(output.stdout)?;
        let version = version.trim().trim_start_matches("valgrind-").to_owned();
        Ok(Self { program: env::current_exe()?, version })
    }

    fn start(&self, tool: &[&str], arguments: &[&str]) -> Fallible<Child> {
        let kept = |name: &'static str| env::var_os(name).map(|value: OsString| (name, value));
        let mut command = Command::new("valgrind");
        command
            .args(["--command-line-only=yes", "--error-exitcode=0"])
            .args(tool)
            .arg(&self.program)
            .args(arguments)
            .env_clear()
            .envs(["PATH", "VALGRIND_LIB"].into_iter().filter_map(kept))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(command.spawn()?)
    }

    /// What programs see of the processor under this valgrind, which hides what it cannot translate.
    pub(crate) fn cpu(&self) -> Fallible<String> {
        let child = self.start(&["--tool=none", "--quiet"], &["cpu"])?;
        let output = child.wait_with_output()?;
        let seen = String::from_utf8(output.stdout)?.trim().to_owned();
        if !output.status.success() || seen.is_empty() {
            return Err(format!("valgrind: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
        }
        Ok(seen)
    }

    /// Instructions of one operation of a case.
    pub(crate) fn count(&self, case: &Case) -> Fallible<u64> {
        let tool = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];
        let run = |repetitions: u32| self.start(&tool, &["case", case.name, &repetitions.to_string()]);
        // Two at a time: the count of each is its own, whatever else the machine does.
        let (once, twice) = (run(case.repetitions)?, run(case.repetitions * 2)?);
        let (once, twice) = (collected(once, case)?, collected(twice, case)?);
        let more = twice.checked_sub(once).ok_or("twice the work took fewer instructions")?;
        Ok((more + u64::from(case.repetitions) / 2) / u64::from(case.repetitions))
    }
}

fn collected(child: Child, case: &Case) -> Fallible<u64> {
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{} failed under valgrind:\n{}", case.name, said.trim()).into());
    }
    read_count(&said)
        .ok_or_else(|| format!("{}: valgrind gave no count:\n{}", case.name, said.trim()).into())
}

/// The count in callgrind's report.
fn read_count(report: &str) -> Option<u64> {
    let (_, rest) = report.split_once(COLLECTED)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Runs a case, as this program does under valgrind.
pub(crate) fn run(name: &str, repetitions: u32) -> Fallible<()> {
    let case = cases::find(name).ok_or_else(|| format!("there is no case `{name}`"))?;
    let mut operation = (case.prepare)()?;
    for _ in 0..repetitions {
        operation()?;
    }
    Ok(())
}

/// Names those of the listed features that the processor claims to have.
#[cfg(target_arch = "x86_64")]
macro_rules! features {
    ($($name:tt)*) => {
        [$(($name, std::arch::is_x86_feature_detected!($name))),*]
    };
}

/// The processor as this process sees it: the features by which libraries choose among versions of their
/// code, vectors for signatures, instructions for hashes, widths for copying.
pub(crate) fn features() -> String {
    let arch = env::consts::ARCH;
    #[cfg(target_arch = "x86_64")]
    {
        let known = features!(
            "ssse3" "sse4.1" "sse4.2" "popcnt" "pclmulqdq" "aes" "avx" "avx2" "fma" "bmi1" "bmi2" "lzcnt"
            "sha" "ermsb" "avx512f" "avx512vl" "avx512ifma"
        );
        let seen = known.iter().filter(|(_, seen)| *seen).map(|(name, _)| *name);
        [arch].into_iter().chain(seen).collect::<Vec<_>>().join(" ")
    }
    #[cfg(not(target_arch = "x86_64"))]
    arch.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_the_report() {
        let report =
            "==7== Events    : Ir\n==7== Collected : 927090\n==7== \n==7== I   refs:      927,090\n";
        assert_eq!(read_count(report), Some(927_090));
        assert_eq!(read_count("==7== Events    : Ir\n"), None);
        assert_eq!(read_count("==7== Collected : many\n"), None);
    }

    #[test]
    fn the_processor_is_named() {
        assert!(features().starts_with(env::consts::ARCH));
    }

    #[test]
    fn an_unknown_case_is_an_error() {
        assert!(run("no-such-case", 1).is_err());
    }
}
