//! The bench still works: it loads the program that was built last and prints its tables.
//!
//! In scope: a second of load on Counterfoil and the bare server, checks of receipts included. Out of scope:
//! speed, and the peers that have to be installed. Needs `counterfoil` beside the bench's own programs;
//! `tools/test` builds it first.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

fn bench(arguments: &[&str], dir: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_counterfoil-bench"));
    let programs = program.parent().expect("a directory");
    assert!(
        programs.join("counterfoil").exists(),
        "{} is missing: build it with `cargo build --bin counterfoil`",
        programs.join("counterfoil").display()
    );
    let mut command = Command::new(program);
    command.args(arguments).arg("--programs").arg(programs).arg("--dir").arg(dir);
    let output = command.output().expect("the bench runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The cells of the only row of a table that begins with these.
fn row(text: &str, begins: &[&str]) -> Vec<String> {
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let mut rows: Vec<Vec<String>> = text.lines().map(cells).collect();
    rows.retain(|row| {
        row.iter().zip(begins).filter(|(cell, wanted)| cell == wanted).count() == begins.len()
    });
    assert_eq!(rows.len(), 1, "{begins:?} in\n{text}");
    rows.remove(0)
}

/// A figure that was measured: not a dash, not nought.
fn measured(row: &[String], at: usize) {
    let cell = row.get(at).expect("a cell");
    assert!(cell.chars().any(|c| ('1'..='9').contains(&c)), "cell {at} of {row:?}");
}

#[test]
fn appends_are_measured_and_their_receipts_checked() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("appends");
    let cells = ["--cells", "singles-64,batch-100", "--peers", "counterfoil,axum, typed"];
    let length = ["--seconds", "1", "--warm-seconds", "0.2"];
    let text = bench(&[&["quick"], &cells[..], &length].concat(), &dir);
    for cell in ["singles-64", "batch-100"] {
        for peer in ["Counterfoil", "bare axum, typed"] {
            let row = row(&text, &[cell, peer]);
            for at in [3, 5, 6, 7] {
                measured(&row, at);
            }
        }
        // disk, memory, bytes of the answer
        for at in [10, 13, 14] {
            measured(&row(&text, &[cell, "Counterfoil"]), at);
        }
    }
    assert!(row(&text, &["single events, 64 connections: × bare axum, typed"]).concat().contains("met"));
    assert!(row(&text, &["from kill -9 to ready, s"]).concat().contains("not measured"));
}

#[test]
fn the_open_loop_keeps_its_rate() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("open");
    let text = bench(&["open", "--rates", "50", "--connections", "16", "--seconds", "2"], &dir);
    let row = row(&text, &["Counterfoil", "50.0"]);
    measured(&row, 3);
    measured(&row, 5);
}
