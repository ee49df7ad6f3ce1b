//! Proofs against a naive recursive model of RFC 6962 and against the `ct-merkle` crate.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::log::hash::{LogIndex, TreeSize, empty_root, leaf_hash, node_hash};

fn entry(n: u64) -> Vec<u8> {
    format!("entry-{n}").into_bytes()
}

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|n| leaf_hash(&entry(n))).collect()
}

/// MTH of RFC 6962 section 2.1, as it is written there.
fn model_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(model_split(leaves.len()));
            node_hash(&model_root(left), &model_root(right))
        }
    }
}

fn model_split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// PATH of RFC 6962 section 2.1.1.
fn model_path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = model_split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, sibling) = if m < k {
        (model_path(m, left), model_root(right))
    } else {
        (model_path(m - k, right), model_root(left))
    };
    path.push(sibling);
    path
}

/// SUBPROOF of RFC 6962 section 2.1.2.
fn model_subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![model_root(leaves)] };
    }
    let k = model_split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, sibling) = if m <= k {
        (model_subproof(m, left, whole), model_root(right))
    } else {
        (model_subproof(m - k, right, false), model_root(left))
    };
    proof.push(sibling);
    proof
}

/// Hashes of the maximal subtrees without a leaf of `begin..end`, in order.
fn model_range(begin: usize, end: usize, low: usize, leaves: &[Hash], out: &mut Vec<Hash>) {
    let high = low + leaves.len();
    if high <= begin || end <= low {
        out.push(model_root(leaves));
    } else if leaves.len() > 1 {
        let k = model_split(leaves.len());
        let (left, right) = leaves.split_at(k);
        model_range(begin, end, low, left, out);
        model_range(begin, end, low + k, right, out);
    }
}

fn flip(hash: &mut Hash) {
    hash.0[7] ^= 0x10;
}

/// Every way of spoiling a proof by truncation, surplus, exchange or a flipped bit.
fn spoiled(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..=proof.len() {
        let mut surplus = proof.to_vec();
        surplus.insert(at, Hash::ZERO);
        all.push(surplus);
    }
    for at in 0..proof.len() {
        let mut without = proof.to_vec();
        without.remove(at);
        all.push(without);
        let mut flipped = proof.to_vec();
        flip(&mut flipped[at]);
        all.push(flipped);
        if at > 0 {
            let mut swapped = proof.to_vec();
            swapped.swap(at - 1, at);
            all.push(swapped);
        }
    }
    all
}

#[test]
fn split_is_the_largest_smaller_power_of_two() {
    assert_eq!([2, 3, 4, 5, 8, 9].map(split), [1, 2, 2, 4, 4, 8]);
    assert_eq!(split(u64::MAX), 1 << 63);
}

#[test]
fn every_inclusion_proof_up_to_70_is_the_model_s_and_verifies_only_as_it_is() {
    let all = leaves(70);
    let tree: MemoryTree = all.iter().copied().collect();
    for size in 1..=70_usize {
        let root_hash = model_root(&all[..size]);
        let n = TreeSize(size as u64);
        assert_eq!(root(n, &tree), Ok(root_hash));
        for index in 0..size {
            let i = LogIndex(index as u64);
            let proof = inclusion_proof(i, n, &tree).unwrap();
            assert_eq!(proof, model_path(index, &all[..size]));
            assert_eq!(path_len(i.0, n.0) as usize, proof.len());
            assert_eq!(verify_inclusion(i, n, &all[index], &proof, &root_hash), Ok(()));
            for other in (0..=size).filter(|other| *other != index) {
                let other = LogIndex(other as u64);
                assert!(verify_inclusion(other, n, &all[index], &proof, &root_hash).is_err());
            }
            for bad in spoiled(&proof) {
                assert!(verify_inclusion(i, n, &all[index], &bad, &root_hash).is_err());
            }
        }
    }
}

#[test]
fn every_consistency_proof_up_to_70_is_the_model_s_and_verifies_only_as_it_is() {
    let all = leaves(70);
    let tree: MemoryTree = all.iter().copied().collect();
    let roots: Vec<Hash> = (0..=70).map(|size| model_root(&all[..size])).collect();
    for to in 0..=70_usize {
        for from in 0..=to {
            let (m, n) = (TreeSize(from as u64), TreeSize(to as u64));
            let proof = consistency_proof(m, n, &tree).unwrap();
            if from > 0 {
                assert_eq!(proof, model_subproof(from, &all[..to], true), "{from} {to}");
            }
            let (old, new) = (&roots[from], &roots[to]);
            assert_eq!(verify_consistency(m, n, &proof, old, new), Ok(()), "{from} {to}");
            for bad in spoiled(&proof) {
                assert!(verify_consistency(m, n, &bad, old, new).is_err(), "{from} {to}");
            }
            assert!(verify_consistency(m, n, &proof, &Hash::ZERO, new).is_err());
            if from > 0 {
                assert!(verify_consistency(m, n, &proof, old, &Hash::ZERO).is_err());
                for shifted in (0..from).filter(|_| from < to) {
                    let m = TreeSize(shifted as u64);
                    assert!(verify_consistency(m, n, &proof, old, new).is_err());
                }
            }
        }
    }
}

#[test]
fn every_range_proof_up_to_40_is_the_model_s_and_verifies_only_as_it_is() {
    let all = leaves(40);
    let tree: MemoryTree = all.iter().copied().collect();
    for size in 1..=40_usize {
        let root_hash = model_root(&all[..size]);
        let n = TreeSize(size as u64);
        for begin in 0..size {
            for end in begin + 1..=size {
                let (b, e) = (begin as u64, end as u64);
                let proof = range_proof(b, e, n, &tree).unwrap();
                let mut expected = Vec::new();
                model_range(begin, end, 0, &all[..size], &mut expected);
                assert_eq!(proof, expected, "{begin}..{end} of {size}");
                let range = &all[begin..end];
                assert_eq!(verify_range(b, range, n, &proof, &root_hash), Ok(()));
                assert!(verify_range(b, &range[1..], n, &proof, &root_hash).is_err());
                assert!(verify_range(b, &range[..range.len() - 1], n, &proof, &root_hash).is_err());
                assert!(verify_range(b + 1, range, n, &proof, &root_hash).is_err());
                for bad in spoiled(&proof) {
                    assert!(verify_range(b, range, n, &bad, &root_hash).is_err());
                }
            }
        }
    }
}

#[test]
fn proofs_are_refused_outside_the_tree() {
    let tree: MemoryTree = leaves(5).into_iter().collect();
    let out = |begin, end, size| BuildError::OutOfRange { begin, end, size };
    assert_eq!(inclusion_proof(LogIndex(5), TreeSize(5), &tree), Err(out(5, 6, 5)));
    assert_eq!(inclusion_proof(LogIndex(0), TreeSize(0), &tree), Err(out(0, 1, 0)));
    assert_eq!(consistency_proof(TreeSize(6), TreeSize(5), &tree), Err(out(0, 6, 5)));
    assert_eq!(range_proof(2, 2, TreeSize(5), &tree), Err(out(2, 2, 5)));
    assert_eq!(range_proof(3, 6, TreeSize(5), &tree), Err(out(3, 6, 5)));
    let missing = NoSuchNode { level: 0, index: 5, size: 5 };
    assert_eq!(root(TreeSize(6), &tree), Err(NoSuchNode { level: 1, index: 2, size: 5 }));
    assert_eq!(root(TreeSize(7), &tree), Err(NoSuchNode { level: 0, index: 6, size: 5 }));
    assert_eq!(inclusion_proof(LogIndex(4), TreeSize(6), &tree), Err(BuildError::Reader(missing)));

    let (zero, max) = (Hash::ZERO, TreeSize(u64::MAX));
    assert!(verify_inclusion(LogIndex(5), TreeSize(5), &zero, &[], &zero).is_err());
    assert!(verify_inclusion(LogIndex(0), TreeSize(0), &zero, &[], &zero).is_err());
    assert!(verify_range(0, &[], TreeSize(5), &[], &zero).is_err());
    assert!(verify_range(6, &[zero], TreeSize(5), &[], &zero).is_err());
    assert!(verify_range(u64::MAX, &[zero, zero], max, &[], &zero).is_err());
}

#[test]
fn the_largest_numbers_neither_overflow_nor_loop() {
    let max = TreeSize(u64::MAX);
    let last = LogIndex(u64::MAX - 1);
    let hashes = vec![Hash::ZERO; 64];
    let mismatch = Err(ProofError::RootMismatch { size: u64::MAX });
    assert_eq!(path_len(0, u64::MAX), 64);
    assert_eq!(verify_inclusion(LogIndex(0), max, &Hash::ZERO, &hashes, &Hash::ZERO), mismatch);
    let short = &hashes[..path_len(last.0, max.0) as usize];
    assert_eq!(verify_inclusion(last, max, &Hash::ZERO, short, &Hash::ZERO), mismatch);
    let short = &hashes[..last.0.count_ones() as usize];
    assert_eq!(verify_range(last.0, &[Hash::ZERO], max, short, &Hash::ZERO), mismatch);
    let from = TreeSize(u64::MAX - 1);
    assert!(verify_consistency(from, max, &hashes, &Hash::ZERO, &Hash::ZERO).is_err());
    let mut full = Frontier::from_parts(max, hashes.clone()).unwrap();
    full.push(Hash::ZERO, &mut |_, _, _| panic!("a full log takes no entry"));
    assert_eq!(full.size(), max);
    assert_eq!(Frontier::from_parts(max, hashes[1..].to_vec()), None);
}

#[test]
fn the_empty_tree_is_a_prefix_by_the_empty_proof_only() {
    let (zero, one) = (TreeSize(0), TreeSize(1));
    let root_one = leaf_hash(b"x");
    assert_eq!(verify_consistency(zero, one, &[], &empty_root(), &root_one), Ok(()));
    assert_eq!(verify_consistency(zero, zero, &[], &empty_root(), &empty_root()), Ok(()));
    let surplus = verify_consistency(zero, one, &[Hash::ZERO], &empty_root(), &root_one);
    assert_eq!(surplus, Err(ProofError::Length { expected: 0, actual: 1 }));
    let mismatch = Err(ProofError::RootMismatch { size: 0 });
    assert_eq!(verify_consistency(zero, one, &[], &root_one, &root_one), mismatch);
    assert_eq!(verify_consistency(zero, zero, &[], &root_one, &root_one), mismatch);
}

#[test]
fn the_frontier_reports_each_complete_node_once_and_resumes_from_its_parts() {
    let all = leaves(300);
    let mut frontier = Frontier::new();
    let mut reported = Vec::new();
    for (size, leaf) in all.iter().enumerate() {
        assert_eq!(frontier.root(), model_root(&all[..size]));
        let parts = Frontier::from_parts(frontier.size(), frontier.hashes().to_vec());
        assert_eq!(parts.as_ref(), Some(&frontier));
        frontier.push(*leaf, &mut |level, index, hash| reported.push((level, index, hash)));
    }
    let mut expected = Vec::new();
    for level in 0..9_u8 {
        for (index, chunk) in all.chunks_exact(1 << level).enumerate() {
            expected.push((level, index as u64, model_root(chunk)));
        }
    }
    reported.sort_unstable();
    assert_eq!(reported, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn roots_and_proofs_agree_with_ct_merkle(
        size in 1_u64..600, a in any::<u64>(), b in any::<u64>()
    ) {
        let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        let mut ours = MemoryTree::new();
        let (low, high) = ((a % size).min(b % size), (a % size).max(b % size));
        let mut root_low = Hash::ZERO;
        for n in 0..size {
            theirs.push(entry(n));
            ours.push(leaf_hash(&entry(n)));
            if n == low {
                root_low = ours.root();
            }
        }
        let n = TreeSize(size);
        let their_root = Hash::from_slice(theirs.root().as_bytes());
        prop_assert_eq!(Some(ours.root()), their_root);

        let inclusion = inclusion_proof(LogIndex(high), n, &ours).unwrap();
        let index = usize::try_from(high).unwrap();
        let their_proof = theirs.prove_inclusion(index);
        prop_assert_eq!(inclusion.iter().flat_map(|h| h.0).collect::<Vec<_>>(), their_proof.as_bytes());
        let leaf = leaf_hash(&entry(high));
        prop_assert!(verify_inclusion(LogIndex(high), n, &leaf, &inclusion, &ours.root()).is_ok());

        let consistency = consistency_proof(TreeSize(low + 1), n, &ours).unwrap();
        if low + 1 < size {
            let added = usize::try_from(size - low - 1).unwrap();
            let their_proof = theirs.prove_consistency(added);
            let bytes: Vec<u8> = consistency.iter().flat_map(|h| h.0).collect();
            prop_assert_eq!(bytes.as_slice(), their_proof.as_bytes());
        }
        let (old, new) = (root_low, ours.root());
        prop_assert!(verify_consistency(TreeSize(low + 1), n, &consistency, &old, &new).is_ok());

        let range = range_proof(low, high + 1, n, &ours).unwrap();
        let inside: Vec<Hash> = (low..=high).map(|n| leaf_hash(&entry(n))).collect();
        prop_assert!(verify_range(low, &inside, n, &range, &ours.root()).is_ok());
        prop_assert!(u32::try_from(range.len()).unwrap() <= 2 * (size.ilog2() + 1));
    }

    #[test]
    fn arbitrary_proofs_are_refused_without_harm(
        index in any::<u64>(), size in any::<u64>(), hashes in 0_usize..130, count in 0_usize..5
    ) {
        let proof = vec![Hash::ZERO; hashes];
        let some = vec![Hash::ZERO; count];
        let zero = Hash::ZERO;
        prop_assert!(verify_inclusion(LogIndex(index), TreeSize(size), &zero, &proof, &zero).is_err()
            || (index, size) == (0, 1));
        prop_assert!(verify_range(index, &some, TreeSize(size), &proof, &zero).is_err());
        prop_assert!(verify_consistency(TreeSize(index), TreeSize(size), &proof, &zero, &zero).is_err()
            || (index == size && index != 0));
    }
}
