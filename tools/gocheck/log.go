package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// logCheck is one run of `gocheck log`.
type logCheck struct {
	report
	ctx      context.Context
	source   *source
	verifier note.Verifier
	vkey     string
	tree     signedTree
	tiles    *tiles
	hashes   tlog.HashReader
	reader   readerKeys
	receipts []*receipt
}

func runLog(args []string, out, talk io.Writer) error {
	flags := newFlags("log", talk)
	base := flags.String("url", "", "the ledger's prefix, such as http://127.0.0.1:7423/v1/ledgers/main/")
	dir := flags.String("dir", "", "a directory with the log's files instead")
	tokenFile := flags.String("token-file", "", "file with an API key that may verify; bundles need one unless they are public")
	static := flags.Bool("static", false, "the URL serves files only: leave out the proofs and receipts of the API")
	hashesOnly := flags.Bool("hashes-only", false, "leave out the entries: check what is public")
	indexes := flags.String("index", "", "check these indexes, separated by commas")
	random := flags.Int("random", 16, "check this many random indexes besides")
	seed := flags.Uint64("seed", 0, "seed of the random indexes; 0 takes a new one")
	readerFile := flags.String("reader-key", "", "the ledger's reader.key, to recompute event keys and open index keys")
	receiptFile := flags.String("receipts", "", "receipts whose entries the log must hold at their indexes")
	if _, err := flags.parse(args, 0); err != nil {
		return err
	}
	verifier, vkey, err := flags.verifier()
	if err != nil {
		return err
	}
	ctx, cancel := flags.context()
	defer cancel()
	source, err := openSource(*base, *dir, *tokenFile, *static)
	if err != nil {
		return err
	}
	c := &logCheck{report: report{out}, ctx: ctx, source: source, verifier: verifier, vkey: vkey}
	if *readerFile != "" {
		if c.reader, err = readReaderKeys(*readerFile); err != nil {
			return err
		}
	}
	if *receiptFile != "" {
		if c.receipts, err = readReceipts(*receiptFile); err != nil {
			return err
		}
	}
	if err := c.checkpoint(); err != nil {
		return err
	}
	given, err := parseIndexes(*indexes)
	if err != nil {
		return err
	}
	sample := c.sample(given, *random, *seed, flags.FlagSet)
	if !*hashesOnly {
		if err := c.walk(); err != nil {
			return err
		}
	}
	if err := c.inclusion(sample, !*hashesOnly); err != nil {
		return err
	}
	if err := c.consistency(); err != nil {
		return err
	}
	if source.api == nil {
		return nil
	}
	if err := c.served(sample); err != nil {
		return err
	}
	return c.servedReceipts(sample)
}

// checkpoint is read by Tessera's client and once more by x/mod.
func (c *logCheck) checkpoint() error {
	raw, err := c.source.ReadCheckpoint(c.ctx)
	if err != nil {
		return err
	}
	if c.tree, err = openCheckpoint(raw, c.verifier); err != nil {
		return failed("checkpoint", "%w", err)
	}
	again := func(context.Context) ([]byte, error) { return raw, nil }
	parsed, _, _, err := client.FetchCheckpoint(c.ctx, again, c.verifier, c.verifier.Name())
	if err != nil {
		return failed("checkpoint", "%w", err)
	}
	if parsed.Size != uint64(c.tree.N) || tlog.Hash(parsed.Hash) != c.tree.Hash {
		return failed("checkpoint", "two readers of it disagree")
	}
	c.tiles = newTiles(c.ctx, c.source)
	c.hashes = tlog.TileHashReader(c.tree.Tree, c.tiles)
	c.ok("checkpoint", "%s, size %d, root %v", c.tree.origin, c.tree.N, c.tree.Hash)
	return nil
}

func parseIndexes(text string) ([]int64, error) {
	var indexes []int64
	for _, one := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		index, err := strconv.ParseInt(one, 10, 64)
		if err != nil || index < 0 {
			return nil, &misuse{what: fmt.Sprintf("--index: %q is no index", one)}
		}
		indexes = append(indexes, index)
	}
	return indexes, nil
}

// sample adds the first, the last and random indexes to those that were asked for.
func (c *logCheck) sample(given []int64, count int, seed uint64, flags *flag.FlagSet) []int64 {
	if c.tree.N == 0 {
		return given
	}
	if seed == 0 {
		seed = rand.Uint64()
		fmt.Fprintf(flags.Output(), "random indexes with --seed=%d\n", seed)
	}
	source := rand.New(rand.NewPCG(seed, 0))
	sample := append(given, 0, c.tree.N-1)
	for range count {
		sample = append(sample, source.Int64N(c.tree.N))
	}
	slices.Sort(sample)
	return slices.Compact(sample)
}

// oldSizes are 1, the sizes around each power of two, and the whole.
func (c *logCheck) oldSizes() []int64 {
	if c.tree.N == 0 {
		return nil
	}
	sizes := []int64{1, c.tree.N}
	for k := range bits.Len64(uint64(c.tree.N)) {
		for _, size := range []int64{1<<k - 1, 1 << k, 1<<k + 1} {
			if 0 < size && size < c.tree.N {
				sizes = append(sizes, size)
			}
		}
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}

// inclusion proves each index twice: by x/mod from authenticated tiles, and by Tessera's proof builder
// from the entry itself.
func (c *logCheck) inclusion(sample []int64, entries bool) error {
	builder, err := client.NewProofBuilder(c.ctx, uint64(c.tree.N), c.source.ReadTile)
	if err != nil {
		return err
	}
	for _, index := range sample {
		if index >= c.tree.N {
			return failed("inclusion", "there is no entry %d among %d", index, c.tree.N)
		}
		leaf, err := c.leaf(index)
		if err != nil {
			return err
		}
		path, err := tlog.ProveRecord(c.tree.N, index, c.hashes)
		if err != nil {
			return c.tiles.wrong("inclusion", err)
		}
		if err := tlog.CheckRecord(path, c.tree.N, c.tree.Hash, index, leaf); err != nil {
			return failed("inclusion", "entry %d: %w", index, err)
		}
		if !entries {
			continue
		}
		if err := c.inclusionOfEntry(builder, uint64(index)); err != nil {
			return err
		}
	}
	c.ok("inclusion", "%d indexes", len(sample))
	return nil
}

func (c *logCheck) leaf(index int64) (tlog.Hash, error) {
	found, err := c.hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
	if err != nil {
		return tlog.Hash{}, c.tiles.wrong("tiles", err)
	}
	return found[0], nil
}

func (c *logCheck) inclusionOfEntry(builder *client.ProofBuilder, index uint64) error {
	entries, err := c.source.entries(c.ctx, index/256, uint64(c.tree.N))
	if err != nil {
		return err
	}
	path, err := builder.InclusionProof(c.ctx, index)
	if err != nil {
		return missing("inclusion", err)
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(entries[index%256])
	size := uint64(c.tree.N)
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf, path, c.tree.Hash[:]); err != nil {
		return failed("inclusion", "entry %d: %w", index, err)
	}
	return nil
}

// consistency proves every old size to the signed one.
func (c *logCheck) consistency() error {
	sizes := c.oldSizes()
	for _, old := range sizes {
		root, err := tlog.TreeHash(old, c.hashes)
		if err != nil {
			return c.tiles.wrong("consistency", err)
		}
		path, err := tlog.ProveTree(c.tree.N, old, c.hashes)
		if err != nil {
			return c.tiles.wrong("consistency", err)
		}
		if err := tlog.CheckTree(path, c.tree.N, c.tree.Hash, old, root); err != nil {
			return failed("consistency", "from size %d: %w", old, err)
		}
	}
	c.ok("consistency", "from %d older sizes", len(sizes))
	return nil
}
