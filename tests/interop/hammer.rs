//! Tessera's load generator `hammer`, unmodified, against a live server, also through its death.
//!
//! In scope: that `POST …/add` is what the tool expects, that it finds no inconsistent tree while it
//! reads and writes, that every acknowledged index holds what was sent. Out of scope: speed.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::common::{
    Client, DataDir, MAIN, PATIENCE, Ran, fsck_files, fsck_http, run_tool, tool, wait_until,
};
use super::{gocheck, published};

/// Runs `hammer` until the log has grown by `goal` leaves. It fails by itself after two minutes.
fn hammer(data: &DataDir, client: &Client, goal: u64) -> Ran {
    let mut command = Command::new(tool("hammer"));
    command
        .arg(format!("--log_public_key={}", data.verifier_key()))
        .arg(format!("--log_url=http://{}{MAIN}/", client.address))
        .arg(format!("--bearer_token={}", client.key.as_ref().unwrap()))
        .arg(format!("--leaf_write_goal={goal}"))
        .args(["--num_writers=64", "--max_write_ops=1024", "--leaf_min_size=100", "--dup_chance=0.1"])
        .args(["--num_readers_random=8", "--num_readers_full=1", "--max_read_ops=256"])
        .args(["--max_runtime=120s", "--show_ui=false"]);
    run_tool(&mut command, 2 * PATIENCE, |_| false)
}

/// Adds bytes and returns the index that the server gave them; nothing where it was not there.
fn add(client: &Client, bytes: &[u8]) -> Option<u64> {
    let headers = [("content-type", "application/octet-stream")];
    let answer = client.try_send("POST", &format!("{MAIN}/add"), &headers, bytes).ok()?;
    match answer.status {
        200 => Some(answer.text().trim().parse().expect("a decimal index")),
        429 | 503 => None,
        status => panic!("{status}: {}", answer.text()),
    }
}

#[test]
fn it_reaches_its_goal_and_leaves_a_log_that_verifies() {
    let data = DataDir::new();
    let server = data.serve();
    let client = server.client();
    hammer(&data, &client, 4_000).expect(0, "Reached tree size goal");
    fsck_http(&data, &client).unwrap_or_else(|said| panic!("{said}"));
    gocheck::server(&data, &client);
    assert!(server.terminate().success());
    data.verify();
}

#[test]
fn it_goes_on_through_a_kill_and_finds_every_index_it_was_given() {
    let data = DataDir::new();
    data.init("hammer.example/log");
    let server = data.serve();
    let (client, key) = (server.client(), data.verifier_key().parse().unwrap());
    let address = server.address.clone();
    let ended = AtomicBool::new(false);
    // An ended hammer's readers and writers say what failed; only a fork is fatal to it.
    let (ran, given, server) = std::thread::scope(|scope| {
        let hammered = scope.spawn(|| {
            let ran = hammer(&data, &client, 6_000);
            ended.store(true, Ordering::Release);
            ran
        });
        let given = scope.spawn(|| {
            let mut given = Vec::new();
            for n in 0_u64.. {
                if ended.load(Ordering::Acquire) {
                    break;
                }
                let bytes = format!("the other client's bytes {n}");
                match add(&client, bytes.as_bytes()) {
                    Some(index) => given.push((index, bytes)),
                    None => std::thread::sleep(Duration::from_millis(50)),
                }
            }
            given
        });
        wait_until("a third of the leaves", || published(&client, &key) >= 2_000);
        server.kill();
        let server = data.serve_on(&address);
        (hammered.join().unwrap(), given.join().unwrap(), server)
    });
    ran.expect(0, "Reached tree size goal");
    assert!(given.len() > 20, "{} answers", given.len());
    for (index, bytes) in &given {
        assert_eq!(add(&client, bytes.as_bytes()), Some(*index), "the same bytes, the same index");
    }
    gocheck::server(&data, &client);
    assert!(server.terminate().success());
    fsck_files(&data).unwrap_or_else(|said| panic!("{said}"));
    data.verify();
}
