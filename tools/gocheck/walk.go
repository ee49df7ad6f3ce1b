package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
)

// walk reads every entry and follows the chain through them.
type walk struct {
	*logCheck
	ledger   [16]byte
	next     uint64
	last     tlog.Hash
	timeUs   uint64
	settings uint64 // index of the newest settings entry, from entry 0 on
	kinds    map[byte]uint64
	tree     *compact.Range
	receipts map[uint64]*receipt
}

// walk checks each entry's bytes, its place in the tree and in the chain, and what it may say; then that
// the tree over the entries alone has the signed root.
func (c *logCheck) walk() error {
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	w := &walk{
		logCheck: c, ledger: ledgerID(c.tree.origin), kinds: map[byte]uint64{},
		tree: factory.NewEmptyRange(0), receipts: map[uint64]*receipt{},
	}
	for _, one := range c.receipts {
		w.receipts[one.index] = one
	}
	size := uint64(c.tree.N)
	for bundle := uint64(0); bundle*256 < size; bundle++ {
		if err := w.bundle(bundle); err != nil {
			return err
		}
	}
	root, err := w.tree.GetRootHash(nil)
	if err != nil {
		return err
	}
	if size == 0 {
		empty := sha256.Sum256(nil)
		root = empty[:]
	}
	if !bytes.Equal(root, c.tree.Hash[:]) {
		return failed("root", "the tree over the entries has another root than the signed one")
	}
	if len(w.receipts) > 0 {
		return failed("receipts", "%d receipts are for entries beyond size %d", len(w.receipts), size)
	}
	c.ok("entries", "%d entries, %s, hash to the signed root", size, w.counted())
	c.ok("chain", "each entry names its place, its ledger, its predecessor's hash and a time not before it")
	if len(c.receipts) > 0 {
		c.ok("receipts", "%d receipts are for what the log holds at their indexes", len(c.receipts))
	}
	return nil
}

func (w *walk) counted() string {
	names := map[byte]string{
		kindEvent: "events", kindSettings: "settings", kindPersons: "registrations", kindConflict: "conflicts",
	}
	var parts []string
	for kind := range byte(kindConflict + 1) {
		if count := w.kinds[kind]; count > 0 {
			name, known := names[kind]
			if !known {
				name = fmt.Sprintf("of kind %d", kind)
			}
			parts = append(parts, fmt.Sprintf("%d %s", count, name))
		}
	}
	return strings.Join(parts, ", ")
}

func (w *walk) bundle(number uint64) error {
	entries, err := w.source.entries(w.ctx, number, uint64(w.logCheck.tree.N))
	if err != nil {
		return err
	}
	places := make([]int64, 0, len(entries))
	for i := range entries {
		places = append(places, tlog.StoredHashIndex(0, int64(number*256)+int64(i)))
	}
	leaves, err := w.hashes.ReadHashes(places)
	if err != nil {
		return w.tiles.wrong("tiles", err)
	}
	for i, raw := range entries {
		leaf := tlog.RecordHash(raw)
		if leaf != leaves[i] {
			return failed("leaves", "entry %d is not what its tile says", w.next)
		}
		if err := w.entry(raw, leaf); err != nil {
			return failed("chain", "entry %d: %w", w.next, err)
		}
		if err := w.tree.Append(leaf[:], nil); err != nil {
			return err
		}
		w.next++
	}
	return nil
}

func (w *walk) entry(raw []byte, leaf tlog.Hash) error {
	e, err := decodeEntry(raw)
	if err != nil {
		return err
	}
	switch {
	case e.ledger != w.ledger:
		return errors.New("it is of another ledger")
	case e.index != w.next:
		return fmt.Errorf("it says that it is entry %d", e.index)
	case e.prev != [32]byte(w.last):
		return errors.New("it does not name the hash of the entry before it")
	case e.timeUs < w.timeUs:
		return errors.New("its time is before that of the entry before it")
	}
	w.last, w.timeUs = leaf, e.timeUs
	w.kinds[e.kind]++
	if e.kind == kindConflict {
		err = w.conflict(e)
	}
	if e.kind == kindSettings || e.index == 0 {
		err = w.settingsEntry(e)
	}
	if one := w.receipts[e.index]; one != nil && err == nil {
		if one.leafHash != leaf {
			return errors.New("a receipt was given for another entry")
		}
		delete(w.receipts, e.index)
	}
	return err
}

// conflict names the entry that stands, which must be there and before it.
func (w *walk) conflict(e *entry) error {
	c := &cursor{rest: e.body}
	c.hash()
	first, hash := c.u64(), c.hash()
	if first >= e.index {
		return errors.New("a conflict with a later entry")
	}
	leaf, err := w.leaf(int64(first))
	if err != nil {
		return err
	}
	if leaf != tlog.Hash(hash) {
		return errors.New("a conflict with an entry that is not there")
	}
	return nil
}

// settingsEntry follows the chain of settings; entry 0 names the log and commits to its keys.
func (w *walk) settingsEntry(e *entry) error {
	if e.kind != kindSettings {
		return errors.New("the first entry holds no settings")
	}
	body, err := parseObject(e.body)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if e.index > 0 {
		previous, err := takeNumber(body, "previous")
		if err != nil || previous != w.settings {
			return errors.New("settings do not name the ones before them")
		}
		w.settings = e.index
		return nil
	}
	origin, err := take[string](body, "origin")
	if err != nil || origin != w.logCheck.tree.origin {
		return errors.New("settings of another origin")
	}
	vkey, err := take[string](body, "log_key")
	if err != nil || vkey != w.vkey {
		return errors.New("settings name another verifier key")
	}
	return w.committedKeys(body)
}

// committedKeys holds the reader's keys against what the log committed to.
func (w *walk) committedKeys(body object) error {
	list, err := take[[]any](body, "keys")
	if err != nil {
		return err
	}
	committed := map[string][]string{}
	for _, item := range list {
		key, _ := item.(object)
		use, err := take[string](key, "use")
		if err != nil {
			return err
		}
		hash, err := take[string](key, "commitment")
		if err != nil {
			return err
		}
		committed[use] = append(committed[use], hash)
	}
	for use, keys := range w.reader {
		for _, key := range keys {
			hash := tlog.Hash(key.commitment(keyUses[use]))
			if key.epoch == 1 && !slices.Contains(committed[use], fmt.Sprintf("%x", hash[:])) {
				return fmt.Errorf("the log did not commit to the reader's %s key", use)
			}
		}
	}
	return nil
}
