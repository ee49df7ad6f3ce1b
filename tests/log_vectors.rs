//! The log's formats against vectors that others made: the worked examples of the C2SP
//! specifications, the proof probes of transparency-dev/merkle, the Ed25519 edge cases of C2SP/CCTV
//! and a small log written by Tessera. Where each comes from stands in the README beside it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test that cannot read its vectors has to fail"
)]

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil::log::checkpoint::{self, Checkpoint};
use counterfoil::log::cosignature::{self, CosigningKey};
use counterfoil::log::hash::{Hash, LogIndex, TreeSize, leaf_hash};
use counterfoil::log::merkle::{
    HashReader, MemoryTree, consistency_proof, inclusion_proof, root, verify_consistency,
    verify_inclusion,
};
use counterfoil::log::note::{KeyError, KeyType, Note, SigningKey, VerifierKey};
use counterfoil::log::proof::TlogProof;
use counterfoil::log::tile::{
    BundleId, TileHashReader, TileId, TileSource, bundle_entries, bundles_of, encode_bundle, tiles_of,
};
use serde::Deserialize;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn read(path: &str) -> Vec<u8> {
    fs::read(vectors().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

// ---- worked examples ----

/// The worked examples, one line each or, for texts, several lines after a heading.
struct Examples(String);

impl Examples {
    fn load() -> Self {
        Self(String::from_utf8(read("transparency-logs.txt")).unwrap())
    }

    /// What follows `name` on its line.
    fn field(&self, name: &str) -> &str {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name:?}")).trim()
    }

    /// The lines after the line `heading` up to, not including, the line `end`; with newlines.
    fn block(&self, heading: &str, end: &str) -> &str {
        let start = self.0.find(&format!("\n{heading}\n")).expect(heading) + heading.len() + 2;
        let rest = &self.0[start..];
        &rest[..rest.find(&format!("\n{end}")).expect(end)]
    }

    fn seed(&self, name: &str) -> [u8; 32] {
        hex::decode(self.field(name)).unwrap().try_into().unwrap()
    }
}

fn tree(size: u64) -> MemoryTree {
    (0..size).map(|n| leaf_hash(format!("entry-{n}").as_bytes())).collect()
}

fn hashes(text: &str) -> Vec<Hash> {
    text.split_whitespace().map(|hash| hash.parse().unwrap()).collect()
}

#[test]
fn example_keys() {
    let examples = Examples::load();
    let log =
        SigningKey::generate_from_seed("ledger.example/audit", &examples.seed("log seed")).unwrap();
    assert_eq!(log.to_go_string().as_str(), examples.field("log skey"));
    assert_eq!(log.verifier().to_string(), examples.field("log vkey"));
    assert_eq!(hex::encode(log.verifier().public_bytes()), examples.field("log pub"));
    assert_eq!(format!("{:08x}", log.verifier().key_id()), examples.field("log keyID"));
    let again = SigningKey::from_go_string(examples.field("log skey")).unwrap();
    assert_eq!(again.verifier(), examples.field("log vkey").parse().unwrap());

    let witness =
        CosigningKey::generate_from_seed("witness.example/w1", &examples.seed("wit seed")).unwrap();
    assert_eq!(witness.verifier().to_string(), examples.field("wit vkey"));
    assert_eq!(format!("{:08x}", witness.verifier().key_id()), examples.field("wit keyID"));
    let parsed: VerifierKey = examples.field("wit vkey").parse().unwrap();
    assert_eq!((&parsed, parsed.key_type()), (&witness.verifier(), KeyType::CosignatureV1));
}

#[test]
fn example_of_the_signed_note_specification() {
    let vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    let note = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv\
                1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    let keys: [VerifierKey; 1] = [vkey.parse().unwrap()];
    let parsed = Note::parse(note).unwrap();
    assert_eq!(parsed.text(), "This is an example message.\n");
    assert_eq!(parsed.verify(&keys).unwrap()[0].key, &keys[0]);
    let changed = Note::parse(note.replacen("an example", "AN example", 1)).unwrap();
    assert!(changed.verify(&keys).is_err());
}

#[test]
fn example_roots_and_proofs() {
    let examples = Examples::load();
    let whole = tree(300);
    let (mut roots, mut inclusions, mut consistencies) = (0, 0, 0);
    assert_eq!(examples.field("leaf(\"entry-0\")"), leaf_hash(b"entry-0").to_string());
    let root_of = |size| root(TreeSize(size), &whole).unwrap();
    assert_eq!(
        root_of(300).to_string(),
        "aebb027d5c3dd08871ee52577a61fc83122d0d14352791943639bd4c12d36943"
    );
    for line in examples.0.lines() {
        if let Some(rest) = line.strip_prefix("root ") {
            let (size, expected) = rest.split_once(' ').unwrap();
            assert_eq!(root_of(size.parse().unwrap()).to_string(), expected);
            roots += 1;
        } else if let Some(rest) = line.strip_prefix("inclusion index=") {
            let (index, rest) = rest.split_once(" size=").unwrap();
            let (size, proof) = rest.split_once(' ').unwrap_or((rest, ""));
            let (index, size): (u64, u64) = (index.parse().unwrap(), size.parse().unwrap());
            let (i, n, expected) = (LogIndex(index), TreeSize(size), hashes(proof));
            assert_eq!(inclusion_proof(i, n, &whole).unwrap(), expected);
            let leaf = leaf_hash(format!("entry-{index}").as_bytes());
            assert_eq!(verify_inclusion(i, n, &leaf, &expected, &root_of(size)), Ok(()));
            inclusions += 1;
        } else if let Some(rest) = line.strip_prefix("consistency ") {
            let (sizes, proof) = rest.split_once(' ').unwrap();
            let (from, to) = sizes.split_once("->").unwrap();
            let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
            let (m, n, expected) = (TreeSize(from), TreeSize(to), hashes(proof));
            assert_eq!(consistency_proof(m, n, &whole).unwrap(), expected);
            let (old, new) = (root_of(from), root_of(to));
            assert_eq!(verify_consistency(m, n, &expected, &old, &new), Ok(()));
            consistencies += 1;
        }
    }
    assert_eq!((roots, inclusions, consistencies), (11, 4, 6));
    // A complete subtree is a node, an incomplete one the root of its own leaves. Their proofs in a
    // larger tree (plants-MTC) are not among the functions here.
    assert_eq!(whole.read(2, 1).unwrap().to_string(), examples.field("subtree [4,8) hash "));
    let leaves = (8..13).map(|n| leaf_hash(format!("entry-{n}").as_bytes()));
    let subtree = leaves.collect::<MemoryTree>().root();
    assert_eq!(subtree.to_string(), examples.field("subtree [8,13) hash "));
}

#[test]
fn example_checkpoint_and_cosignature() {
    let examples = Examples::load();
    let log = SigningKey::from_go_string(examples.field("log skey")).unwrap();
    let origin = "ledger.example/audit".to_owned();
    let checkpoint = Checkpoint { origin, size: TreeSize(7), root: tree(7).root() };
    let note = checkpoint.sign(&log).unwrap();
    let expected = examples.block("checkpoint (size 7):", "\ncosigned checkpoint adds line:");
    assert_eq!(note, format!("{expected}\n"));
    assert_eq!(checkpoint::open(&note, &log.verifier()), Ok(checkpoint.clone()));

    let witness =
        CosigningKey::generate_from_seed("witness.example/w1", &examples.seed("wit seed")).unwrap();
    let time_s = 1_700_000_000;
    let text = checkpoint.text();
    let message = cosignature::message(time_s, text.as_bytes());
    assert_eq!(hex::encode(message), examples.field("cosignature signed message (hex):"));
    let line = witness.cosign(&text, time_s);
    let heading = "cosigned checkpoint adds line:";
    let expected = examples.block(heading, "\ncosignature signed message (hex):");
    assert_eq!(line, format!("{expected}\n"));

    let keys = [log.verifier(), witness.verifier()];
    let cosigned = Note::parse(format!("{note}{line}")).unwrap();
    let stamps: Vec<Option<u64>> =
        cosigned.verify(&keys).unwrap().iter().map(|verified| verified.time_s).collect();
    assert_eq!(stamps, [None, Some(time_s)]);
    assert_eq!(checkpoint::open(format!("{note}{line}"), &log.verifier()), Ok(checkpoint));
}

#[test]
fn example_tile_and_bundle() {
    let examples = Examples::load();
    let bundle = encode_bundle([b"entry-0".as_slice(), b"entry-1", b"entry-2"].into_iter()).unwrap();
    let expected = examples.field("entry bundle for size 3 (path tile/entries/000.p/3):");
    assert_eq!(hex::encode(bundle), expected);
    assert_eq!(BundleId { index: 0, width: 3 }.path(), "tile/entries/000.p/3");
    let tile: String = (0..3).map(|n| tree(3).read(0, n).unwrap().to_string()).collect();
    assert_eq!(tile, examples.field("level-0 tile for size 3 (path tile/0/000.p/3):"));
    assert_eq!(TileId { level: 0, index: 0, width: 3 }.path(), "tile/0/000.p/3");
}

#[test]
fn example_proof_file_and_witness_request() {
    let examples = Examples::load();
    let log: VerifierKey = examples.field("log vkey").parse().unwrap();
    let file = format!("{}\n", examples.block("tlog-proof:", "\nadd-checkpoint body:"));
    let proof = TlogProof::parse(&file).unwrap();
    assert_eq!((proof.index, proof.extra.clone()), (LogIndex(2), None));
    assert_eq!(proof.hashes, inclusion_proof(LogIndex(2), TreeSize(7), &tree(7)).unwrap());
    assert_eq!(proof.encode(), file);
    assert_eq!(proof.verify(&leaf_hash(b"entry-2"), &log).unwrap().size, TreeSize(7));
    assert!(proof.verify(&leaf_hash(b"entry-3"), &log).is_err());
    let witness: VerifierKey = examples.field("wit vkey").parse().unwrap();
    let signed = Note::parse(&proof.checkpoint).unwrap();
    assert_eq!(signed.verify(&[log, witness]).unwrap().len(), 2);

    let consistency = consistency_proof(TreeSize(3), TreeSize(7), &tree(7)).unwrap();
    let lines: String = consistency.iter().map(|hash| hash.to_base64() + "\n").collect();
    let body = examples.block("add-checkpoint body:", "\nML-DSA-44");
    assert!(body.starts_with(&format!("old 3\n{lines}\nledger.example/audit\n7\n")), "{body}");
}

// ---- transparency-dev/merkle ----

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    leaf_idx: Option<u64>,
    tree_size: Option<u64>,
    size1: Option<u64>,
    size2: Option<u64>,
    start: Option<u64>,
    end: Option<u64>,
    size: Option<u64>,
    root: Option<String>,
    root1: Option<String>,
    root2: Option<String>,
    leaf_hash: Option<String>,
    proof: Option<Vec<String>>,
    want_err: bool,
}

/// What became of the probes of one kind.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    accepted: usize,
    refused: usize,
    /// Refused because a hash in it has not 32 bytes.
    unreadable: usize,
    /// Not a question that these functions can be asked.
    skipped: usize,
}

enum Outcome {
    Verified(bool),
    Unreadable,
    Skipped,
}

fn probes(kind: &str) -> Vec<(PathBuf, Probe)> {
    let mut found = Vec::new();
    let mut folders = vec![vectors().join("rfc6962-merkle").join(kind)];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(&folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let probe = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                found.push((path, probe));
            }
        }
    }
    found
}

fn tally(kind: &str, check: impl Fn(&Probe) -> Outcome) -> Tally {
    let mut tally = Tally::default();
    for (path, probe) in probes(kind) {
        match check(&probe) {
            Outcome::Verified(verified) => {
                assert_eq!(verified, !probe.want_err, "{}", path.display());
                *(if verified { &mut tally.accepted } else { &mut tally.refused }) += 1;
            }
            Outcome::Unreadable if probe.want_err => tally.unreadable += 1,
            Outcome::Unreadable | Outcome::Skipped => tally.skipped += 1,
        }
    }
    tally
}

fn inclusion_outcome(probe: &Probe, index: u64, size: u64, leaf: Option<&str>, top: &str) -> Outcome {
    let read = || Some((Hash::from_base64(leaf?)?, Hash::from_base64(top)?, proof_of(probe)?));
    let Some((leaf, top, proof)) = read() else { return Outcome::Unreadable };
    let verified = verify_inclusion(LogIndex(index), TreeSize(size), &leaf, &proof, &top);
    Outcome::Verified(verified.is_ok())
}

fn consistency_outcome(probe: &Probe, from: u64, to: u64) -> Outcome {
    let read = || {
        let old = Hash::from_base64(probe.root1.as_deref()?)?;
        Some((old, Hash::from_base64(probe.root2.as_deref()?)?, proof_of(probe)?))
    };
    let Some((old, new, proof)) = read() else { return Outcome::Unreadable };
    let verified = verify_consistency(TreeSize(from), TreeSize(to), &proof, &old, &new);
    Outcome::Verified(verified.is_ok())
}

fn proof_of(probe: &Probe) -> Option<Vec<Hash>> {
    probe.proof.as_deref().unwrap_or_default().iter().map(|hash| Hash::from_base64(hash)).collect()
}

#[test]
fn inclusion_probes() {
    let tally = tally("inclusion", |probe| {
        let (index, size) = (probe.leaf_idx.unwrap(), probe.tree_size.unwrap());
        let top = probe.root.as_deref().unwrap_or_default();
        inclusion_outcome(probe, index, size, probe.leaf_hash.as_deref(), top)
    });
    assert_eq!(tally, Tally { accepted: 6, refused: 66, unreadable: 26, skipped: 0 });
}

/// Skipped is one probe that wants two equal roots accepted which are no hashes. The probes that
/// want the empty tree refused as an older tree all have roots that are no hashes, too; C2SP
/// witnesses accept it with an empty proof, and so does `verify_consistency`.
#[test]
fn consistency_probes() {
    let tally = tally("consistency", |probe| {
        consistency_outcome(probe, probe.size1.unwrap(), probe.size2.unwrap())
    });
    assert_eq!(tally, Tally { accepted: 5, refused: 66, unreadable: 26, skipped: 1 });
}

/// A subtree `[start, end)` that is valid in the sense of plants-MTC is a tree of its own, so an
/// inclusion in it is an ordinary one. Skipped are ranges that are not valid, and leaves before the
/// subtree, about neither of which an ordinary verifier can be asked.
#[test]
fn subtree_inclusion_probes() {
    let tally = tally("subtreeinclusion", |probe| {
        let (index, start, end) = (probe.leaf_idx.unwrap(), probe.start.unwrap(), probe.end.unwrap());
        let size = end.checked_sub(start);
        let aligned = |size: u64| size.checked_next_power_of_two().is_some_and(|unit| start % unit == 0);
        let Some(size) = size.filter(|size| aligned(*size)) else { return Outcome::Skipped };
        let Some(index) = index.checked_sub(start) else { return Outcome::Skipped };
        let top = probe.root.as_deref().unwrap_or_default();
        inclusion_outcome(probe, index, size, probe.leaf_hash.as_deref(), top)
    });
    assert_eq!(tally, Tally { accepted: 12, refused: 135, unreadable: 52, skipped: 5 });
}

/// A subtree that starts at 0 is an older tree, one of a single leaf is that leaf. Skipped are the
/// others, and probes that want roots accepted which are no hashes.
#[test]
fn subtree_consistency_probes() {
    let tally = tally("subtreeconsistency", |probe| {
        let (start, end, size) = (probe.start.unwrap(), probe.end.unwrap(), probe.size.unwrap());
        match (start, end) {
            (0, _) => consistency_outcome(probe, end, size),
            _ if end == start + 1 => {
                let top = probe.root2.as_deref().unwrap_or_default();
                inclusion_outcome(probe, start, size, probe.root1.as_deref(), top)
            }
            _ => Outcome::Skipped,
        }
    });
    assert_eq!(tally, Tally { accepted: 6, refused: 67, unreadable: 27, skipped: 18 });
}

// ---- C2SP/CCTV ed25519 ----

#[derive(Deserialize)]
struct Ed25519Vector {
    number: u64,
    key: String,
    sig: String,
    msg: String,
    flags: Option<Vec<String>>,
}

/// Strict verification refuses every vector with a point of small order, with a second encoding of
/// a point, or that holds only when multiplied by the cofactor. What is left are points that merely
/// have a component of small order.
#[test]
fn ed25519_edge_cases() {
    let json = read("cctv-ed25519/ed25519vectors.json");
    let vectors: Vec<Ed25519Vector> = serde_json::from_slice(&json).unwrap();
    let (mut accepted, mut refused, mut refused_keys) = (0, 0, 0);
    for vector in &vectors {
        let flags = vector.flags.as_deref().unwrap_or_default();
        let has = |flag: &str| flags.iter().any(|given| given == flag);
        let harmless = ["low_order_component_A", "low_order_component_R"];
        let expected = flags.iter().all(|flag| harmless.contains(&flag.as_str()));
        let public: [u8; 32] = hex::decode(&vector.key).unwrap().try_into().unwrap();
        let key = VerifierKey::from_public("vector", KeyType::Ed25519, &public);
        assert_eq!(key.is_err(), has("low_order_A") || has("non_canonical_A"), "{}", vector.number);
        let signature = hex::decode(&vector.sig).unwrap();
        let verified = match &key {
            Ok(key) => key.verify(vector.msg.as_bytes(), &signature).is_ok(),
            Err(error) => {
                assert_eq!(*error, KeyError::Point);
                refused_keys += 1;
                false
            }
        };
        assert_eq!(verified, expected, "vector {} {flags:?}", vector.number);
        *(if verified { &mut accepted } else { &mut refused }) += 1;
    }
    assert_eq!((accepted, refused, refused_keys), (43, 871, 526));
}

// ---- a log written by Tessera ----

/// The key that Tessera's scripts publish for their test log.
const TESSERA_VKEY: &str =
    "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";
const TESSERA_LOG: &str = "tlog-tiles/tessera-log/log";

struct TesseraTiles;

impl TileSource for TesseraTiles {
    type Error = Infallible;

    fn tile(&self, id: TileId) -> Result<Arc<[u8]>, Infallible> {
        Ok(read(&format!("{TESSERA_LOG}/{}", id.path())).into())
    }
}

#[test]
fn a_log_written_by_tessera() {
    let key: VerifierKey = TESSERA_VKEY.parse().unwrap();
    let open = |name: &str| checkpoint::open(read(&format!("{TESSERA_LOG}/{name}")), &key).unwrap();
    let newest = open("checkpoint");
    assert_eq!((newest.origin.as_str(), newest.size), ("example.com/log/testdata", TreeSize(15)));
    let newest_tiles = TileHashReader::new(newest.size, TesseraTiles);
    let mut opened = 0;
    for n in 0..=15 {
        let older = open(&format!("checkpoint.{n}"));
        assert_eq!(older.size, TreeSize(n));
        let tiles = TileHashReader::new(older.size, TesseraTiles);
        assert_eq!(root(older.size, &tiles), Ok(older.root));
        let proof = consistency_proof(older.size, newest.size, &newest_tiles).unwrap();
        let consistent = verify_consistency(older.size, newest.size, &proof, &older.root, &newest.root);
        assert_eq!(consistent, Ok(()));

        // The bundles alone give the same tree.
        let mut entries = Vec::new();
        for bundle in bundles_of(older.size) {
            let bytes = read(&format!("{TESSERA_LOG}/{}", bundle.path()));
            entries.extend(bundle_entries(&bytes).map(|entry| leaf_hash(entry.unwrap())));
        }
        assert_eq!(entries.into_iter().collect::<MemoryTree>().root(), older.root);
        assert_eq!(tiles_of(older.size).count(), usize::from(n > 0));
        opened += 1;
    }
    assert_eq!(opened, 16);
}
