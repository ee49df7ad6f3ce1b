package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// receipt is a full receipt as docs/format.md section 11 describes it.
type receipt struct {
	origin     string
	index      uint64
	id         string
	leafHash   tlog.Hash
	recordedAt string
	checkpoint string
	inclusion  []tlog.Hash
	entry      []byte
	parts      []partOpening
	keys       []keyOpening
	removed    *removedProof
}

type partOpening struct {
	role  byte
	state string
	salt  []byte
	body  string
}

type keyOpening struct {
	facet  byte
	value  *string
	period string
}

// receiptCount says how much of the receipts could be looked at.
type receiptCount struct{ receipts, open, withheld, gone, keys int }

func (c *receiptCount) add(more receiptCount) {
	c.receipts += more.receipts
	c.open += more.open
	c.withheld += more.withheld
	c.gone += more.gone
	c.keys += more.keys
}

func (c receiptCount) String() string {
	return fmt.Sprintf("%d receipts; %d parts as committed, %d not shown, %d proven to be gone; %d keys recomputed",
		c.receipts, c.open, c.withheld, c.gone, c.keys)
}

func runReceipt(args []string, out, talk io.Writer) error {
	flags := newFlags("receipt FILE", talk)
	readerFile := flags.String("reader-key", "", "the ledger's reader.key, to recompute event keys and open index keys")
	files, err := flags.parse(args, 1)
	if err != nil {
		return err
	}
	verifier, _, err := flags.verifier()
	if err != nil {
		return err
	}
	var reader readerKeys
	if *readerFile != "" {
		if reader, err = readReaderKeys(*readerFile); err != nil {
			return err
		}
	}
	receipts, err := readReceipts(files[0])
	if err != nil {
		return err
	}
	var total receiptCount
	for _, one := range receipts {
		if one.entry == nil {
			return fmt.Errorf("the receipt of %d is brief and proves nothing by itself: "+
				"ask for it with `Prefer: receipt=full`", one.index)
		}
		count, err := one.check(verifier, reader)
		if err != nil {
			return failed("receipt", "of %d: %w", one.index, err)
		}
		total.add(count)
	}
	report{out}.ok("receipt", "%v", total)
	return nil
}

// readReceipts reads one receipt, or the answer to a batch whose refusals are skipped.
func readReceipts(path string) ([]*receipt, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	document, err := parseObject(text)
	if err != nil {
		return nil, failed("receipt", "%s: %w", path, err)
	}
	items := []any{document}
	if _, isBatch := document["receipts"]; isBatch {
		if items, err = take[[]any](document, "receipts"); err != nil {
			return nil, failed("receipt", "%s: %w", path, err)
		}
		if err := document.end(); err != nil {
			return nil, failed("receipt", "%s: %w", path, err)
		}
	}
	var receipts []*receipt
	for number, item := range items {
		members, _ := item.(object)
		if _, refused := members["error"]; refused {
			continue
		}
		one, err := parseReceipt(members)
		if err != nil {
			return nil, failed("receipt", "%s: number %d: %w", path, number, err)
		}
		receipts = append(receipts, one)
	}
	if len(receipts) == 0 {
		return nil, fmt.Errorf("%s holds no receipt", path)
	}
	return receipts, nil
}

func parseReceipt(o object) (*receipt, error) {
	r := &receipt{}
	var errs [13]error
	_, errs[0] = take[string](o, "ledger")
	r.origin, errs[1] = take[string](o, "origin")
	r.index, errs[2] = takeNumber(o, "index")
	r.id, errs[3] = take[string](o, "id")
	r.leafHash, errs[4] = takeHash(o, "leaf_hash")
	r.recordedAt, errs[5] = take[string](o, "recorded_at")
	_, errs[6] = take[bool](o, "replayed")
	delete(o, "compared")
	if _, full := o["entry"]; full {
		r.checkpoint, errs[7] = take[string](o, "checkpoint")
		r.inclusion, errs[8] = takeHashes(o, "inclusion")
		r.entry, errs[9] = takeHex(o, "entry")
		openings, err := take[object](o, "openings")
		errs[10] = err
		if err == nil {
			errs[11] = r.openings(openings)
		}
		if _, isRemoved := o["removed"]; isRemoved {
			removed, err := take[object](o, "removed")
			if errs[12] = err; err == nil {
				r.removed, errs[12] = parseRemoved(removed)
			}
		}
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return r, o.end()
}

func takeHex(o object, name string) ([]byte, error) {
	text, err := take[string](o, name)
	if err != nil {
		return nil, err
	}
	return parseHex(text)
}

func (r *receipt) openings(o object) error {
	parts, err := take[[]any](o, "parts")
	if err != nil {
		return err
	}
	keys, err := take[[]any](o, "keys")
	if err != nil {
		return err
	}
	for _, item := range parts {
		members, _ := item.(object)
		part, err := parsePart(members)
		if err != nil {
			return err
		}
		r.parts = append(r.parts, part)
	}
	for _, item := range keys {
		members, _ := item.(object)
		key, err := parseKey(members)
		if err != nil {
			return err
		}
		r.keys = append(r.keys, key)
	}
	return o.end()
}

func parsePart(o object) (partOpening, error) {
	var part partOpening
	name, err := take[string](o, "role")
	if err != nil {
		return part, err
	}
	var known bool
	if part.role, known = roleCode(name); !known {
		return part, errors.New("a role that is not known")
	}
	if part.state, err = take[string](o, "state"); err != nil {
		return part, err
	}
	switch part.state {
	case "open":
		if part.salt, err = takeHex(o, "salt"); err != nil {
			return part, err
		}
		if part.body, err = take[string](o, "body"); err != nil {
			return part, err
		}
	case "withheld", "erased", "pruned", "lost":
	default:
		return part, errors.New("a part in no known state")
	}
	return part, o.end()
}

func parseKey(o object) (keyOpening, error) {
	var key keyOpening
	name, err := take[string](o, "facet")
	if err != nil {
		return key, err
	}
	if key.facet = facets[name]; key.facet == 0 {
		return key, errors.New("a facet that is not known")
	}
	if _, isOpen := o["value"]; isOpen {
		value, err := take[string](o, "value")
		if err != nil {
			return key, err
		}
		key.value = &value
	} else if key.period, err = take[string](o, "period"); err != nil {
		return key, err
	}
	return key, o.end()
}

// check verifies everything a receipt promises.
func (r *receipt) check(verifier note.Verifier, reader readerKeys) (receiptCount, error) {
	count := receiptCount{receipts: 1}
	tree, err := openCheckpoint([]byte(r.checkpoint), verifier)
	if err != nil {
		return count, fmt.Errorf("checkpoint: %w", err)
	}
	if r.origin != tree.origin {
		return count, errors.New("its checkpoint is of another log")
	}
	leaf := tlog.RecordHash(r.entry)
	if leaf != r.leafHash {
		return count, errors.New("its entry has another leaf hash")
	}
	if err := includes(tree.Tree, r.index, leaf, r.inclusion); err != nil {
		return count, fmt.Errorf("inclusion: %w", err)
	}
	e, err := decodeEntry(r.entry)
	if err != nil {
		return count, fmt.Errorf("entry: %w", err)
	}
	recorded := time.UnixMicro(int64(e.timeUs)).UTC().Format("2006-01-02T15:04:05.000000Z")
	switch {
	case e.event == nil:
		return count, errors.New("its entry is no event")
	case e.index != r.index, e.ledger != ledgerID(tree.origin), recorded != r.recordedAt:
		return count, errors.New("its entry says another index, ledger or time")
	}
	if err := r.checkParts(e, reader, &count); err != nil {
		return count, err
	}
	if err := r.checkGone(tree, e, &count); err != nil {
		return count, fmt.Errorf("removed: %w", err)
	}
	return count, r.checkKeys(e, reader, &count)
}

// includes checks a proof with two implementations.
func includes(tree tlog.Tree, index uint64, leaf tlog.Hash, path []tlog.Hash) error {
	if index >= uint64(tree.N) {
		return errors.New("the index is beyond the signed size")
	}
	if err := tlog.CheckRecord(path, tree.N, tree.Hash, int64(index), leaf); err != nil {
		return err
	}
	hashes := make([][]byte, 0, len(path))
	for _, hash := range path {
		hashes = append(hashes, hash[:])
	}
	size := uint64(tree.N)
	return proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf[:], hashes, tree.Hash[:])
}

// checkParts recomputes the commitment of every part that is shown.
func (r *receipt) checkParts(e *entry, reader readerKeys, count *receiptCount) error {
	if len(r.parts) != len(e.event.parts) {
		return fmt.Errorf("%d parts are opened, the entry has %d", len(r.parts), len(e.event.parts))
	}
	for i, part := range r.parts {
		committed := e.event.parts[i]
		if part.role != committed.label {
			return errors.New("a part is opened that the entry does not have")
		}
		switch part.state {
		case "open":
		case "lost":
			return fmt.Errorf("part %d is lost", part.role)
		case "withheld":
			count.withheld++
			continue
		default:
			continue // checkGone
		}
		if len(part.salt) != 64 {
			return errors.New("a salt that is not 64 bytes")
		}
		made := commitment(e.ledger, e.event.eventKey, part.role, part.salt, []byte(part.body))
		if !bytes.Equal(made[:], committed.value[:]) {
			return fmt.Errorf("part %d is not what was committed", part.role)
		}
		body, err := parseObject([]byte(part.body))
		if err != nil {
			return fmt.Errorf("part %d: %w", part.role, err)
		}
		if part.role == roles["open"] {
			if err := r.checkIdentity(e, body, reader); err != nil {
				return err
			}
		}
		count.open++
	}
	return nil
}

// checkGone asks for a proof of every part that is said to be erased or pruned.
func (r *receipt) checkGone(tree signedTree, e *entry, count *receiptCount) error {
	claims := map[byte]string{}
	for _, part := range r.parts {
		if _, isGone := removedStates[part.state]; isGone {
			claims[part.role] = part.state
		}
	}
	count.gone = len(claims)
	switch {
	case r.removed != nil:
		return r.removed.check(tree, e.event.eventKey, claims)
	case len(claims) > 0:
		return errors.New("parts are said to be gone, and nothing proves it")
	}
	return nil
}

// checkIdentity holds the receipt's id, and with the reader's keys the event key, against the open part.
func (r *receipt) checkIdentity(e *entry, open object, reader readerKeys) error {
	id, err := take[string](open, "id")
	if err != nil {
		return err
	}
	source, err := take[string](open, "source")
	if err != nil {
		return err
	}
	if id != r.id {
		return errors.New("its id is not that of the committed event")
	}
	for _, key := range reader["event"] {
		if key.eventKey(e.ledger, source, id) == e.event.eventKey {
			return nil
		}
	}
	if len(reader["event"]) > 0 {
		return errors.New("its event key is not that of the committed source and id")
	}
	return nil
}

// checkKeys recomputes the open index keys from the values that the receipt states. Keys of one facet
// come in any order, so each is looked up among those of the entry that are left.
func (r *receipt) checkKeys(e *entry, reader readerKeys, count *receiptCount) error {
	if len(r.keys) == 0 && count.withheld > 0 {
		return nil // a reader who may not see every part is not told the keys either
	}
	if len(r.keys) != len(e.event.keys) {
		return fmt.Errorf("%d keys are opened, the entry has %d", len(r.keys), len(e.event.keys))
	}
	month := time.UnixMicro(int64(e.timeUs)).UTC().Format("2006-01")
	left := slices.Clone(e.event.keys)
	for i, key := range r.keys {
		if key.facet != e.event.keys[i].label {
			return errors.New("a key is opened that the entry does not have")
		}
		if key.value == nil && key.period != month {
			return errors.New("a person's key of another month than the entry's")
		}
		if key.value == nil || len(reader["read"]) == 0 {
			continue
		}
		at := slices.IndexFunc(left, func(committed labelled) bool {
			return committed.label == key.facet && reader.opens(e.ledger, key.facet, *key.value, committed.value)
		})
		if at < 0 {
			return fmt.Errorf("the key of facet %d is not that of the value stated", key.facet)
		}
		left = slices.Delete(left, at, at+1)
		count.keys++
	}
	return nil
}
