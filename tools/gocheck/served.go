package main

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// served compares the proofs that the API gives with those that x/mod computes from the tiles, hash by
// hash, at the newest size and at older ones.
func (c *logCheck) served(sample []int64) error {
	compared := 0
	for _, index := range sample {
		for _, size := range []int64{c.tree.N, index + 1, index + (c.tree.N-index+1)/2} {
			if err := c.servedInclusion(index, size); err != nil {
				return err
			}
			compared++
		}
	}
	for _, old := range c.oldSizes() {
		if err := c.servedConsistency(old); err != nil {
			return err
		}
		compared++
	}
	c.ok("api proofs", "%d proofs are those of the tiles", compared)
	return nil
}

func (c *logCheck) servedInclusion(index, size int64) error {
	document, err := c.source.api.get(c.ctx, fmt.Sprintf("proofs/inclusion?index=%d&size=%d", index, size))
	if err != nil {
		return err
	}
	place := func(err error) error {
		return failed("api proofs", "inclusion of %d in %d: %w", index, size, err)
	}
	leaf, err := c.leaf(index)
	if err != nil {
		return err
	}
	root, err := tlog.TreeHash(size, c.hashes)
	if err != nil {
		return c.tiles.wrong("tiles", err)
	}
	path, err := tlog.ProveRecord(size, index, c.hashes)
	if err != nil {
		return c.tiles.wrong("tiles", err)
	}
	if err := sameNumbers(document, map[string]int64{"index": index, "size": size}); err != nil {
		return place(err)
	}
	if err := sameHashes(document, map[string]tlog.Hash{"leaf_hash": leaf, "root": root}); err != nil {
		return place(err)
	}
	if err := c.sameProof(document, path, tlog.Tree{N: size, Hash: root}); err != nil {
		return place(err)
	}
	return nil
}

func (c *logCheck) servedConsistency(old int64) error {
	document, err := c.source.api.get(c.ctx, fmt.Sprintf("proofs/consistency?from=%d&to=%d", old, c.tree.N))
	if err != nil {
		return err
	}
	place := func(err error) error { return failed("api proofs", "consistency from %d: %w", old, err) }
	root, err := tlog.TreeHash(old, c.hashes)
	if err != nil {
		return c.tiles.wrong("tiles", err)
	}
	path, err := tlog.ProveTree(c.tree.N, old, c.hashes)
	if err != nil {
		return c.tiles.wrong("tiles", err)
	}
	if err := sameNumbers(document, map[string]int64{"from": old, "to": c.tree.N}); err != nil {
		return place(err)
	}
	if err := sameHashes(document, map[string]tlog.Hash{"root_from": root, "root_to": c.tree.Hash}); err != nil {
		return place(err)
	}
	if err := c.sameProof(document, path, c.tree.Tree); err != nil {
		return place(err)
	}
	return nil
}

func sameNumbers(document object, expected map[string]int64) error {
	for name, number := range expected {
		said, err := takeNumber(document, name)
		if err != nil {
			return err
		}
		if said != uint64(number) {
			return fmt.Errorf("%q says another number than was asked for", name)
		}
	}
	return nil
}

func sameHashes(document object, expected map[string]tlog.Hash) error {
	for name, hash := range expected {
		said, err := takeHash(document, name)
		if err != nil {
			return err
		}
		if said != hash {
			return fmt.Errorf("%q is not what the tiles say", name)
		}
	}
	return nil
}

// sameProof compares a proof, and checks that the checkpoint beside it signs the tree it leads to.
func (c *logCheck) sameProof(document object, path []tlog.Hash, tree tlog.Tree) error {
	said, err := takeHashes(document, "proof")
	if err != nil {
		return err
	}
	if !slices.Equal(said, path) {
		return errors.New("the proof is not the one that the tiles give")
	}
	text, err := take[string](document, "checkpoint")
	if err != nil {
		return err
	}
	signed, err := openCheckpoint([]byte(text), c.verifier)
	if err != nil {
		return fmt.Errorf("its checkpoint: %w", err)
	}
	if signed.Tree != tree {
		return errors.New("its checkpoint signs another tree")
	}
	return document.end()
}

// servedReceipts fetches the receipts of the sampled events and checks them as if they had come by post.
func (c *logCheck) servedReceipts(sample []int64) error {
	if c.source.api.authorization == "" {
		return nil
	}
	var total receiptCount
	for _, index := range sample {
		document, err := c.source.api.get(c.ctx, fmt.Sprintf("events/%d/receipt", index))
		var status *statusError
		if errors.As(err, &status) && status.code == 404 {
			continue // an entry of the ledger's own: it has no receipt
		}
		if err != nil {
			return err
		}
		found, err := parseReceipt(document)
		if err != nil {
			return failed("api receipts", "of %d: %w", index, err)
		}
		if found.index != uint64(index) {
			return failed("api receipts", "of %d: it is of another index", index)
		}
		count, err := found.check(c.verifier, c.reader)
		if err != nil {
			return failed("api receipts", "of %d: %w", index, err)
		}
		leaf, err := c.leaf(index)
		if err != nil {
			return err
		}
		if leaf != found.leafHash {
			return failed("api receipts", "of %d: the log holds another entry there", index)
		}
		total.add(count)
	}
	c.ok("api receipts", "%v", total)
	return nil
}
