package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	tessera "github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// answerBytesMax bounds an answer: the largest bundle is 256 entries of 65,535 bytes and their lengths.
const answerBytesMax = 256*(2+65_535) + 4096

// fetcher is what Tessera's clients for HTTP and for files have in common.
type fetcher interface {
	ReadCheckpoint(ctx context.Context) ([]byte, error)
	ReadTile(ctx context.Context, level, index uint64, partial uint8) ([]byte, error)
	ReadEntryBundle(ctx context.Context, index uint64, partial uint8) ([]byte, error)
}

// source is where a log is read from; api is nil where there is only a tree of files.
type source struct {
	fetcher
	api *api
}

// openSource opens exactly one of a URL and a directory.
func openSource(base, dir, tokenFile string, static bool) (*source, error) {
	switch {
	case (base == "") == (dir == ""):
		return nil, &misuse{what: "give one of --url and --dir"}
	case dir != "":
		return &source{fetcher: client.FileFetcher{Root: dir}}, nil
	}
	if !strings.HasSuffix(base, "/") {
		base += "/"
	}
	root, err := url.Parse(base)
	if err != nil || root.Host == "" {
		return nil, &misuse{what: "--url is not an absolute URL"}
	}
	web := &http.Client{Transport: bounded{http.DefaultTransport}}
	files, err := client.NewHTTPFetcher(root, web)
	if err != nil {
		return nil, err
	}
	found := &source{fetcher: files}
	authorization := ""
	if tokenFile != "" {
		token, err := readFile(tokenFile)
		if err != nil {
			return nil, err
		}
		authorization = "Bearer " + strings.TrimSpace(string(token))
		files.SetAuthorizationHeader(authorization)
	}
	if !static {
		found.api = &api{web: web, root: root, authorization: authorization}
	}
	return found, nil
}

// bounded cuts answers off, because Tessera's client reads them whole.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(request)
	if err == nil {
		response.Body = &boundedBody{ReadCloser: response.Body, left: answerBytesMax}
	}
	return response, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("the answer is longer than %d bytes", answerBytesMax)
	}
	return n, err
}

// api is the ledger's own API, whose answers are checked against what the tiles say.
type api struct {
	web           *http.Client
	root          *url.URL
	authorization string
}

// statusError is an answer other than 200.
type statusError struct {
	path string
	code int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s: answered with %d %s", e.path, e.code, http.StatusText(e.code))
}

func (a *api) get(ctx context.Context, path string) (object, error) {
	at, err := a.root.Parse(path)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	if a.authorization != "" {
		request.Header.Set("Authorization", a.authorization)
	}
	request.Header.Set("Accept", "application/json")
	response, err := a.web.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, &statusError{path: path, code: response.StatusCode}
	}
	document, err := parseObject(body)
	if err != nil {
		return nil, failed("api", "%s: %w", path, err)
	}
	return document, nil
}

// signedTree is what a checkpoint's signature vouches for.
type signedTree struct {
	tlog.Tree
	origin string
}

// openCheckpoint verifies a signed note of the three lines that this ledger's checkpoints have.
func openCheckpoint(raw []byte, verifier note.Verifier) (signedTree, error) {
	signed, err := note.Open(raw, note.VerifierList(verifier))
	if err != nil {
		return signedTree{}, err
	}
	// tlog's checkpoints begin with another first line; size and root are read the same way.
	origin, rest, _ := strings.Cut(signed.Text, "\n")
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + rest))
	if err != nil {
		return signedTree{}, err
	}
	if strings.Count(rest, "\n") != 2 {
		return signedTree{}, errors.New("it has extension lines")
	}
	if origin != verifier.Name() {
		return signedTree{}, errors.New("its origin is not the key's name")
	}
	return signedTree{Tree: tree, origin: origin}, nil
}

// entries reads one bundle with Tessera's decoder: exactly those entries that the signed size covers.
func (s *source) entries(ctx context.Context, number, size uint64) ([][]byte, error) {
	raw, err := s.ReadEntryBundle(ctx, number, layout.PartialTileSize(0, number, size))
	if err != nil {
		return nil, missing("entries", err)
	}
	var bundle tessera.EntryBundle
	if err := bundle.UnmarshalText(raw); err != nil {
		return nil, failed("entries", "bundle %d: %w", number, err)
	}
	found, width := uint64(len(bundle.Entries)), min(256, size-number*256)
	if found != width && found != 256 {
		return nil, failed("entries", "bundle %d has %d entries, expected %d", number, found, width)
	}
	return bundle.Entries[:width], nil
}

// tiles gives x/mod the tiles that Tessera's client fetches. Upper tiles are kept: every tile is
// authenticated along the path to the root.
type tiles struct {
	ctx  context.Context
	from fetcher
	kept map[tlog.Tile][]byte
	// unread is why a tile could not be read, where that happened
	unread error
}

func newTiles(ctx context.Context, from fetcher) *tiles {
	return &tiles{ctx: ctx, from: from, kept: map[tlog.Tile][]byte{}}
}

func (t *tiles) Height() int { return 8 }

func (t *tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, 0, len(wanted))
	for _, tile := range wanted {
		data, err := t.read(tile)
		if err != nil {
			t.unread = err
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func (t *tiles) read(tile tlog.Tile) ([]byte, error) {
	if kept, known := t.kept[tile]; known {
		return kept, nil
	}
	data, err := t.from.ReadTile(t.ctx, uint64(tile.L), uint64(tile.N), uint8(tile.W%256))
	if err != nil {
		return nil, missing("tiles", err)
	}
	length := tile.W * tlog.HashSize
	if len(data) < length || (len(data) != length && len(data) != 256*tlog.HashSize) {
		return nil, failed("tiles", "tile %d/%d has %d bytes, expected %d", tile.L, tile.N, len(data), length)
	}
	return data[:length], nil
}

// SaveTiles is called by x/mod with tiles that it has authenticated.
func (t *tiles) SaveTiles(saved []tlog.Tile, data [][]byte) {
	for i, tile := range saved {
		if tile.L > 0 {
			t.kept[tile] = data[i]
		}
	}
}

// missing tells a file that the signed size says must exist from one that could not be asked for.
func missing(check string, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return failed(check, "missing although the signed size covers it: %w", err)
	}
	return err
}

// wrong tells x/mod's refusal of a tile from a tile that could not be read.
func (t *tiles) wrong(check string, err error) error {
	if t.unread != nil {
		return t.unread
	}
	return failed(check, "%w", err)
}

func takeHash(o object, name string) (tlog.Hash, error) {
	text, err := take[string](o, name)
	if err != nil {
		return tlog.Hash{}, err
	}
	return parseHash(text)
}

func takeHashes(o object, name string) ([]tlog.Hash, error) {
	list, err := take[[]any](o, name)
	if err != nil {
		return nil, err
	}
	hashes := make([]tlog.Hash, 0, len(list))
	for _, item := range list {
		text, isText := item.(string)
		if !isText {
			return nil, fmt.Errorf("%q holds something that is no text", name)
		}
		hash, err := parseHash(text)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, hash)
	}
	return hashes, nil
}

func parseHash(text string) (tlog.Hash, error) {
	raw, err := parseHex(text)
	if err != nil || len(raw) != tlog.HashSize {
		return tlog.Hash{}, errors.New("not the hex of a hash")
	}
	return tlog.Hash(raw), nil
}

// parseHex reads lower-case hex, the only case the ledger writes.
func parseHex(text string) ([]byte, error) {
	if text != strings.ToLower(text) {
		return nil, errors.New("not lower-case hex")
	}
	return hex.DecodeString(text)
}
