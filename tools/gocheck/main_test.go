package main

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const testOrigin = "gocheck.test/log"

// testLog signs whatever entries it is given, as an operator who lies would.
type testLog struct {
	t      *testing.T
	signer note.Signer
	vkey   string
	dir    string
}

func newTestLog(t *testing.T) *testLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return &testLog{t: t, signer: signer, vkey: vkey, dir: t.TempDir()}
}

// entries are settings and events, well-formed and chained; change may spoil entry `at` before it is hashed.
func (l *testLog) entries(count int, at int, change func(raw []byte) []byte) [][]byte {
	ledger := ledgerID(testOrigin)
	var entries [][]byte
	var prev tlog.Hash
	for i := range count {
		kind := byte(kindEvent)
		if i == 0 {
			kind = kindSettings
		}
		raw := append([]byte("CFL1"), kind, 0)
		raw = append(raw, ledger[:]...)
		raw = binary.BigEndian.AppendUint64(raw, uint64(i))
		raw = binary.BigEndian.AppendUint64(raw, 1_000_000+uint64(i))
		raw = append(raw, prev[:]...)
		if i == 0 {
			settings, _ := json.Marshal(map[string]any{"origin": testOrigin, "log_key": l.vkey, "keys": []any{}})
			raw = append(raw, settings...)
		} else {
			raw = append(raw, bytes.Repeat([]byte{byte(i)}, 32)...) // event key
			raw = append(raw, 0, 1, 2)                              // class, two keys
			raw = append(append(raw, 1), bytes.Repeat([]byte{7}, 32)...)
			raw = append(append(raw, 2), bytes.Repeat([]byte{6}, 32)...)
			raw = append(raw, 0, 0, 0, 0, 1) // no parts, producer
		}
		if i == at {
			raw = change(raw)
		}
		entries = append(entries, raw)
		prev = tlog.RecordHash(raw)
	}
	return entries
}

// write lays the log out as tlog-tiles and signs its root.
func (l *testLog) write(entries [][]byte) {
	l.t.Helper()
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var found []tlog.Hash
		for _, index := range indexes {
			found = append(found, stored[index])
		}
		return found, nil
	})
	var bundle []byte
	for i, raw := range entries {
		hashes, err := tlog.StoredHashes(int64(i), raw, reader)
		if err != nil {
			l.t.Fatal(err)
		}
		stored = append(stored, hashes...)
		bundle = append(binary.BigEndian.AppendUint16(bundle, uint16(len(raw))), raw...)
	}
	size := int64(len(entries))
	for _, tile := range tlog.NewTiles(8, 0, size) {
		data, err := tlog.ReadTileData(tile, reader)
		if err != nil {
			l.t.Fatal(err)
		}
		l.file("tile/"+strings.TrimPrefix(tile.Path(), "tile/8/"), data)
	}
	l.file(fmt.Sprintf("tile/entries/000.p/%d", size), bundle)
	root, err := tlog.TreeHash(size, reader)
	if err != nil {
		l.t.Fatal(err)
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", testOrigin, size, root)
	signed, err := note.Sign(&note.Note{Text: text}, l.signer)
	if err != nil {
		l.t.Fatal(err)
	}
	l.file("checkpoint", signed)
}

func (l *testLog) file(name string, data []byte) {
	l.t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		l.t.Fatal(err)
	}
}

func (l *testLog) check(more ...string) (int, string) {
	var out bytes.Buffer
	args := append([]string{"log", "--dir", l.dir, "--key", l.vkey}, more...)
	return run(args, &out, &out), out.String()
}

func same(raw []byte) []byte { return raw }

func TestAGoodLogIsVerified(t *testing.T) {
	for _, size := range []int{1, 2, 3, 255} {
		log := newTestLog(t)
		log.write(log.entries(size, -1, same))
		if code, said := log.check(); code != exitGood {
			t.Errorf("size %d: %d\n%s", size, code, said)
		}
	}
}

// Each of these logs is consistent as a tree and signed by its key: only the rules of the format tell.
func TestALyingLogIsFound(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(raw []byte) []byte { raw[at] ^= 1; return raw }
	}
	cases := map[string]struct {
		at     int
		change func([]byte) []byte
		says   string
	}{
		"magic":             {3, flip(0), "does not begin with CFL1"},
		"kind":              {3, func(raw []byte) []byte { raw[4] = 11; return raw }, "kind 11 is unknown"},
		"flags":             {3, func(raw []byte) []byte { raw[5] = 4; return raw }, "flags 4 are unknown"},
		"ledger":            {3, flip(6), "of another ledger"},
		"index":             {3, flip(29), "says that it is entry"},
		"time":              {3, flip(34), "time is before"},
		"predecessor":       {3, flip(38), "hash of the entry before"},
		"trailing byte":     {3, func(raw []byte) []byte { return append(raw, 0) }, "bytes follow"},
		"missing byte":      {3, func(raw []byte) []byte { return raw[:len(raw)-1] }, "ends too early"},
		"keys out of order": {3, func(raw []byte) []byte { raw[105] = 9; return raw }, "do not ascend"},
		"too many keys":     {3, func(raw []byte) []byte { raw[104] = 33; return raw }, "at most 32"},
		"no settings first": {0, func(raw []byte) []byte { raw[4] = kindConflict; return raw }, "a conflict of"},
		"settings' key": {0, func(raw []byte) []byte {
			return bytes.Replace(raw, []byte(testOrigin+"+"), []byte(testOrigin+"-"), 1)
		}, "another verifier key"},
		"settings twice": {0, func(raw []byte) []byte {
			return bytes.Replace(raw, []byte(`{"keys"`), []byte(`{"keys":[],"keys"`), 1)
		}, "repeated"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			log := newTestLog(t)
			log.write(log.entries(6, c.at, c.change))
			code, said := log.check()
			if code != exitFailed || !strings.Contains(said, c.says) {
				t.Errorf("%d, expected %d and %q:\n%s", code, exitFailed, c.says, said)
			}
		})
	}
}

func TestADamagedLogIsFound(t *testing.T) {
	for _, name := range []string{"checkpoint", "tile/0/000.p/6", "tile/entries/000.p/6"} {
		log := newTestLog(t)
		log.write(log.entries(6, -1, same))
		path := filepath.Join(log.dir, name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(data); at += 7 {
			data[at] ^= 1
			log.file(name, data)
			if code, said := log.check(); code != exitFailed {
				t.Errorf("%s, byte %d: %d\n%s", name, at, code, said)
			}
			data[at] ^= 1
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		expected := exitFailed
		if name == "checkpoint" {
			expected = exitError // there is no log here
		}
		if code, said := log.check(); code != expected {
			t.Errorf("without %s: %d\n%s", name, code, said)
		}
	}
}

func TestAnotherKeyIsRefused(t *testing.T) {
	log, other := newTestLog(t), newTestLog(t)
	log.write(log.entries(3, -1, same))
	log.vkey = other.vkey
	if code, said := log.check(); code != exitFailed {
		t.Errorf("%d\n%s", code, said)
	}
}

func TestCommandLine(t *testing.T) {
	log := newTestLog(t)
	log.write(log.entries(3, -1, same))
	good := []string{"--dir", log.dir, "--key", log.vkey}
	cases := []struct {
		args []string
		code int
	}{
		{nil, exitUsage},
		{[]string{"frobnicate"}, exitUsage},
		{[]string{"log"}, exitUsage},
		{[]string{"log", "--dir", log.dir}, exitUsage},
		{[]string{"log", "--key", log.vkey}, exitUsage},
		{append([]string{"log", "--index", "x"}, good...), exitUsage},
		{append([]string{"log", "--index", "3"}, good...), exitFailed},
		{append([]string{"log", "--index", "2"}, good...), exitGood},
		{[]string{"log", "--dir", log.dir + "/none", "--key", log.vkey}, exitError},
		{[]string{"log", "--url", "http://127.0.0.1:1/", "--key", log.vkey}, exitError},
		{[]string{"receipt", log.dir + "/none", "--key", log.vkey}, exitError},
		{[]string{"proof", log.dir + "/checkpoint", "--key", log.vkey}, exitUsage},
	}
	for _, c := range cases {
		var out bytes.Buffer
		if code := run(c.args, &out, &out); code != c.code {
			t.Errorf("%v: %d, expected %d\n%s", c.args, code, c.code, out.String())
		}
	}
}

func TestStrictJSON(t *testing.T) {
	for _, bad := range []string{
		`{"a":1,"a":1}`, `{"a":1} x`, `{"a":1}{}`, `{`, ``, "{\"a\":\"\xff\"}",
		strings.Repeat("[", 40) + strings.Repeat("]", 40),
	} {
		if _, err := parseJSON([]byte(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
	o, err := parseObject([]byte(`{"Index":3,"index":18446744073709551615}`))
	if err != nil {
		t.Fatal(err)
	}
	if index, err := takeNumber(o, "index"); err != nil || index != 1<<64-1 {
		t.Errorf("%d, %v", index, err)
	}
	if o.end() == nil {
		t.Error("a member in another spelling was taken")
	}
}

// The commitment of docs/format.md section 4, with an input written out by hand.
func TestCommitment(t *testing.T) {
	made := commitment([16]byte{}, [32]byte{}, 1, make([]byte, 64), []byte("{}"))
	expected := "3056a9a04393cbbe48b46c67006b881dc255b30030792d843a2f50ed8dbb1034"
	if got := hex.EncodeToString(made[:]); got != expected {
		t.Errorf("%s, expected %s", got, expected)
	}
}
