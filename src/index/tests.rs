//! Tests of the whole module.

/// A bijection that spreads `i` over 64 bits (`SplitMix64`'s finaliser).
pub(super) fn scramble(i: u64) -> u64 {
    let mut z = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

mod behaviour;
mod damage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    // A test's own hook; the ledger gives the one of `store::durable`.
    #[allow(clippy::disallowed_methods, reason = "the hook under test needs one that works")]
    std::fs::rename(from, to)
}

pub(super) fn open(dir: &Path) -> (Index, OpenReport) {
    Index::open(dir, IndexOptions::new(rename)).unwrap()
}

pub(super) fn term(facet: u8, fp: u64) -> Term {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&fp.to_be_bytes());
    Term { facet, key }
}

/// A seeded generator: every failure repeats.
pub(super) struct Draw(pub(super) u64);

impl Draw {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        scramble(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)) % bound
    }
}

impl Draw {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let bound = u64::try_from(from.len()).unwrap();
        from[usize::try_from(self.below(bound)).unwrap()]
    }
}

type Model = BTreeMap<(u8, u64), BTreeSet<u64>>;

/// Every term of the model, and some absent ones, read every way.
fn check(index: &Index, model: &Model, draw: &mut Draw) {
    let empty = BTreeSet::new();
    let absent = (0..5).map(|_| (draw.pick(&[0, 3, 77, 131, 255]), scramble(draw.below(1 << 40))));
    let terms: Vec<_> = model.keys().copied().chain(absent).collect();
    for (facet, fp) in terms {
        let expected = model.get(&(facet, fp)).unwrap_or(&empty);
        let wanted = term(facet, fp);
        let ascending: Vec<u64> = expected.iter().copied().collect();
        assert_eq!(index.find(&wanted).unwrap(), ascending);
        let mut cursor = index.lookup(&wanted).unwrap();
        let mut walked = Vec::new();
        while let Some(value) = cursor.next_asc().unwrap() {
            walked.push(value);
        }
        assert_eq!(walked, ascending, "facet {facet}");
        walked.clear();
        while let Some(value) = cursor.next_desc().unwrap() {
            walked.push(value);
        }
        walked.reverse();
        assert_eq!(walked, ascending);
        for _ in 0..4 {
            let at = draw.below(5000);
            assert_eq!(cursor.ceil(at).unwrap(), expected.range(at..).next().copied());
            assert_eq!(cursor.floor(at).unwrap(), expected.range(..=at).next_back().copied());
            cursor.seek(at);
            assert_eq!(cursor.next_desc().unwrap(), expected.range(..=at).next_back().copied());
            cursor.seek(at);
            let up: Vec<u64> = std::iter::from_fn(|| cursor.next_asc().unwrap()).take(3).collect();
            assert_eq!(up, expected.range(at..).take(3).copied().collect::<Vec<_>>());
        }
    }
}

#[test]
fn agrees_with_a_map_of_sets_through_flushes_merges_and_reopens() {
    for seed in 0..4 {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("index");
        let mut draw = Draw(seed << 32);
        let mut model = Model::new();
        let (mut index, report) = open(&dir);
        assert!(report.rebuilt.is_none() && report.watermark == 0 && !report.unclean);
        let mut next = 0;
        for step in 0..400 {
            let batch: Vec<(u64, Term)> = (0..draw.below(60))
                .map(|_| {
                    let facet = draw.pick(&[0, 1, 2, 130, 255]);
                    let fp = match draw.below(3) {
                        0 => scramble(draw.below(4)),
                        1 => draw.below(3).wrapping_sub(1),
                        _ => scramble(draw.below(200)),
                    };
                    // Mostly ascending, sometimes not: the index promises sets, not an order of arrival.
                    let value =
                        if draw.below(8) == 0 { draw.below(5000) } else { next + draw.below(10) };
                    model.entry((facet, fp)).or_default().insert(value);
                    (value, term(facet, fp))
                })
                .collect();
            index.add(next, &batch).unwrap();
            next += 10;
            index.advance(next);
            if draw.below(3) == 0 {
                index.flush().unwrap();
                assert_eq!(index.watermark(), next);
            }
            if draw.below(4) == 0 {
                index.maintain(1 + draw.below(400)).unwrap();
            }
            if step % 100 == 37 {
                index.close().unwrap();
                assert!(matches!(index.find(&term(0, 1)), Err(IndexError::Closed)));
                drop(index);
                let (again, report) = open(&dir);
                assert!(report.rebuilt.is_none() && !report.unclean, "{report:?}");
                assert_eq!((report.watermark, again.next_index()), (next, next));
                index = again;
            }
            if step % 50 == 49 {
                check(&index, &model, &mut draw);
            }
        }
        while index.maintain(u64::MAX).unwrap().more {}
        check(&index, &model, &mut draw);
        let stats = index.stats().unwrap();
        assert!(stats.runs <= 7 * 3 && stats.dead_runs == 0, "{stats:?}");
    }
}
