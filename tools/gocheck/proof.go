package main

import (
	"io"

	tlogproof "github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/tlog"
)

// runProof checks a C2SP .tlog-proof file with the entry it is for.
func runProof(args []string, out, talk io.Writer) error {
	flags := newFlags("proof FILE", talk)
	entryFile := flags.String("entry", "", "the entry that the proof is for")
	files, err := flags.parse(args, 1)
	if err != nil {
		return err
	}
	if *entryFile == "" {
		return &misuse{what: "--entry is needed: a proof file does not hold what it proves"}
	}
	verifier, _, err := flags.verifier()
	if err != nil {
		return err
	}
	text, err := readFile(files[0])
	if err != nil {
		return err
	}
	raw, err := readFile(*entryFile)
	if err != nil {
		return err
	}
	var parsed tlogproof.TLogProof
	if err := parsed.Unmarshal(text); err != nil {
		return failed("proof", "%w", err)
	}
	tree, err := openCheckpoint(parsed.Checkpoint, verifier)
	if err != nil {
		return failed("checkpoint", "%w", err)
	}
	path := make([]tlog.Hash, 0, len(parsed.Hashes))
	for _, hash := range parsed.Hashes {
		path = append(path, hash)
	}
	if err := includes(tree.Tree, parsed.Index, tlog.RecordHash(raw), path); err != nil {
		return failed("inclusion", "entry %d: %w", parsed.Index, err)
	}
	e, err := decodeEntry(raw)
	if err != nil {
		return failed("entry", "%w", err)
	}
	if e.index != parsed.Index || e.ledger != ledgerID(tree.origin) {
		return failed("entry", "it says another index or ledger")
	}
	report{out}.ok("proof", "entry %d of %d, %s", parsed.Index, tree.N, tree.origin)
	return nil
}
