//! Paths, the tiles of a tree, bundles, and proofs read from tiles.

use std::cell::Cell;
use std::collections::HashMap;

use super::*;
use crate::log::hash::{Hash, LogIndex, leaf_hash};
use crate::log::merkle::{self, HashReader, MemoryTree};
use std::sync::Arc;

#[test]
fn the_paths_of_the_specification() {
    for (index, path) in [
        (0, "000"),
        (5, "005"),
        (256, "256"),
        (999, "999"),
        (1_000, "x001/000"),
        (1_234_067, "x001/x234/067"),
        (1_000_000, "x001/x000/000"),
        (u64::MAX, "x018/x446/x744/x073/x709/x551/615"),
    ] {
        for (width, suffix) in [(256, ""), (1, ".p/1"), (255, ".p/255")] {
            let tile = TileId { level: 3, index, width };
            assert_eq!(tile.path(), format!("tile/3/{path}{suffix}"));
            assert_eq!(TileId::parse(&tile.path()), Ok(tile));
            let bundle = BundleId { index, width };
            assert_eq!(bundle.path(), format!("tile/entries/{path}{suffix}"));
            assert_eq!(BundleId::parse(&bundle.path()), Ok(bundle));
        }
        assert_eq!(sealed_path(index), format!("sealed/{path}"));
    }
    assert_eq!(TileId::parse("tile/63/000").map(|id| id.level), Ok(63));
}

#[test]
fn any_other_path_is_refused() {
    for bad in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/0/000/",
        "tile/64/000",
        "tile/00/000",
        "tile/-1/000",
        "tile/8/0/000",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000",
        "tile/0/x000/000",
        "tile/0/x000/x001/000",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/x01/000",
        "tile/0/X001/000",
        "tile/0/x001//000",
        "tile/0/+01",
        "tile/0/٣٣٣",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/1/2",
        "tile/0/000.p/1.p/1",
        "tile/0/000 ",
        "tile/0/../000",
        "tile/data/000",
        "tile/entries/000",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x001/x018/x446/x744/x073/x709/x551/615",
    ] {
        assert_eq!(TileId::parse(bad), Err(TileError::Path { bytes: bad.len() }), "{bad:?}");
        let bundle = bad.replacen("tile/0/", "tile/entries/", 1);
        if bundle != "tile/entries/000" {
            assert!(BundleId::parse(&bundle).is_err(), "{bundle:?}");
        }
    }
}

#[test]
fn a_tree_has_the_tiles_that_the_specification_counts() {
    let size = TreeSize(70_000);
    assert_eq!([0, 1, 2, 3, 8, 63].map(|level| partial_width(level, size)), [112, 17, 1, 0, 0, 0]);
    let tiles: Vec<TileId> = tiles_of(size).collect();
    assert_eq!(tiles.len(), 273 + 1 + 1 + 1 + 1);
    assert_eq!(tiles[273].path(), "tile/0/273.p/112");
    assert_eq!(tiles[274].path(), "tile/1/000");
    assert_eq!(tiles[275].path(), "tile/1/001.p/17");
    assert_eq!(tiles[276].path(), "tile/2/000.p/1");
    assert_eq!(bundles_of(size).count(), 274);
    assert_eq!(bundles_of(size).last().map(|id| id.path()), Some("tile/entries/273.p/112".into()));

    let paths = |size| tiles_of(TreeSize(size)).map(|id| id.path()).collect::<Vec<_>>();
    assert!(paths(0).is_empty());
    assert_eq!(bundles_of(TreeSize(0)).count(), 0);
    assert_eq!(paths(256), ["tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(paths(257), ["tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1"]);
    let last = tiles_of(TreeSize(u64::MAX)).next();
    assert_eq!(last, Some(TileId { level: 0, index: 0, width: 256 }));
}

#[test]
fn bundles_round_trip_and_name_the_byte_that_is_wrong() {
    let long = vec![7; ENTRY_BYTES_MAX];
    let entries: [&[u8]; 4] = [b"entry-0", b"", &long, b"x"];
    let bundle = encode_bundle(entries.into_iter()).unwrap();
    let read: Vec<&[u8]> = bundle_entries(&bundle).map(Result::unwrap).collect();
    assert_eq!(read, entries);
    let too_long = vec![7; ENTRY_BYTES_MAX + 1];
    let refused = encode_bundle([b"a".as_slice(), &too_long].into_iter());
    assert_eq!(refused, Err(TileError::EntryTooLong { entry: 1, bytes: 65_536 }));

    let full = encode_bundle((0..256).map(|_| b"a".as_slice())).unwrap();
    assert_eq!(bundle_entries(&full).flatten().count(), 256);
    let refused = encode_bundle((0..257).map(|_| b"a".as_slice()));
    assert_eq!(refused, Err(TileError::TooManyEntries { offset: 768 }));
    let over: Vec<u8> = [full, vec![0, 0]].concat();
    let last = bundle_entries(&over).last();
    assert_eq!(last, Some(Err(TileError::TooManyEntries { offset: 768 })));

    let small = encode_bundle([b"ab".as_slice(), b"cde".as_slice()].into_iter()).unwrap();
    for cut in 1..small.len() {
        let last = bundle_entries(&small[..cut]).last().unwrap();
        let offset = if cut < 4 { 0 } else { 4 };
        let expected =
            if cut == 4 { Ok(b"ab".as_slice()) } else { Err(TileError::Truncated { offset }) };
        assert_eq!(last, expected, "{cut}");
    }
}

/// Tiles written from a frontier's reports, as a fold writes them.
#[derive(Default)]
struct Tiles {
    nodes: HashMap<u8, Vec<u8>>,
    asked: Cell<usize>,
    /// Give the whole tile where a partial one is asked for and there are more hashes.
    only_full: bool,
    surplus: usize,
}

impl Tiles {
    fn of(leaves: &[Hash]) -> Self {
        let mut tiles = Self::default();
        let mut frontier = merkle::Frontier::new();
        for leaf in leaves {
            frontier.push(*leaf, &mut |level, _, hash| {
                if level % 8 == 0 {
                    tiles.nodes.entry(level / 8).or_default().extend(hash.0);
                }
            });
        }
        tiles
    }
}

impl TileSource for Tiles {
    type Error = TileId;

    fn tile(&self, id: TileId) -> Result<Arc<[u8]>, TileId> {
        self.asked.set(self.asked.get() + 1);
        let begin = usize::try_from(id.index).unwrap() * 8192;
        let id_read = if self.only_full { id.full() } else { id };
        let nodes = self.nodes.get(&id.level).and_then(|nodes| nodes.get(begin..)).ok_or(id)?;
        nodes.get(..id_read.len_bytes() + self.surplus).map(Arc::from).ok_or(id)
    }
}

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

#[test]
fn proofs_read_from_tiles_are_those_of_the_tree_in_memory() {
    let all = leaves(66_100);
    let tiles = Tiles::of(&all);
    let tree: MemoryTree = all.into_iter().collect();
    for size in [1, 2, 255, 256, 257, 511, 513, 1_000, 65_535, 65_536, 65_537, 66_100] {
        let n = TreeSize(size);
        let reader = TileHashReader::new(n, &tiles);
        assert_eq!(merkle::root(n, &reader), Ok(merkle::root(n, &tree).unwrap()));
        for index in [0, 1, 127, 128, 255, 256, 300, 65_534, 65_535, 65_536, size - 1] {
            if index < size {
                let i = LogIndex(index);
                let proof = merkle::inclusion_proof(i, n, &reader).unwrap();
                assert_eq!(proof, merkle::inclusion_proof(i, n, &tree).unwrap());
            }
        }
    }
}

#[test]
fn every_complete_node_is_readable_and_no_other() {
    let all = leaves(600);
    let tiles = Tiles::of(&all);
    let tree: MemoryTree = all.into_iter().collect();
    for size in [0, 1, 255, 256, 257, 600] {
        let reader = TileHashReader::new(TreeSize(size), &tiles);
        for level in 0..70_u8 {
            let complete = size.checked_shr(u32::from(level)).unwrap_or(0);
            for index in 0..complete {
                assert_eq!(reader.read(level, index), Ok(tree.read(level, index).unwrap()));
            }
            for index in [complete, complete + 1, u64::MAX] {
                let outside = TileReadError::OutsideTree { level, index, size };
                assert_eq!(reader.read(level, index), Err(outside));
            }
        }
    }
}

#[test]
fn one_proof_asks_for_each_tile_once() {
    let tiles = Tiles::of(&leaves(66_100));
    let reader = TileHashReader::new(TreeSize(66_100), &tiles);
    merkle::inclusion_proof(LogIndex(0), TreeSize(66_100), &reader).unwrap();
    // Level 0: the leaf's tile and the last one. Level 1: the first tile and the last one.
    assert_eq!(tiles.asked.get(), 4);
}

#[test]
fn a_full_tile_serves_for_a_partial_one_and_no_other_length_does() {
    let all = leaves(512);
    let root = merkle::root(TreeSize(300), &all.iter().copied().collect::<MemoryTree>()).unwrap();
    let mut tiles = Tiles { only_full: true, ..Tiles::of(&all) };
    tiles.nodes.get_mut(&1).unwrap().resize(8192, 0);
    let n = TreeSize(300);
    assert_eq!(merkle::root(n, &TileHashReader::new(n, &tiles)), Ok(root));
    tiles.only_full = false;
    tiles.surplus = 32;
    let id = TileId { level: 0, index: 1, width: 44 };
    let wrong = Err(TileReadError::Length { id, bytes: 45 * 32 });
    assert_eq!(merkle::root(n, &TileHashReader::new(n, &tiles)), wrong);
    tiles.nodes.remove(&0);
    assert_eq!(merkle::root(n, &TileHashReader::new(n, &tiles)), Err(TileReadError::Source(id)));
}
