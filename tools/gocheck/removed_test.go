package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// removalVectors are those of tools/vectors/counterfoil_ref.py, written by a third implementation.
type removalVectors struct {
	Removal struct {
		Parts []struct {
			EventKey string `json:"event_key"`
			Role     byte
			State    byte
			Key      string
		}
		Roots  []string
		Proofs []struct {
			Key      string
			State    byte
			Position uint64
			Path     []string
		}
		Entries []string
		Refused []struct{ Why, Entry string }
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func readRemovalVectors(t *testing.T) removalVectors {
	t.Helper()
	text, err := os.ReadFile("../../tests/vectors/counterfoil/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors removalVectors
	if err := json.Unmarshal(text, &vectors); err != nil || len(vectors.Removal.Parts) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	return vectors
}

func TestRemovedSet(t *testing.T) {
	v := readRemovalVectors(t).Removal
	for _, part := range v.Parts {
		key := removedKey([32]byte(unhex(t, part.EventKey)), part.Role)
		if hex.EncodeToString(key[:]) != part.Key {
			t.Errorf("role %d has another key", part.Role)
		}
	}
	root := unhex(t, v.Roots[len(v.Roots)-1])
	for _, one := range v.Proofs {
		var path [][]byte
		for _, text := range one.Path {
			path = append(path, unhex(t, text))
		}
		for _, state := range []byte{one.State, 3 - one.State} {
			leaf := removedLeaf([32]byte(unhex(t, one.Key)), state)
			size := uint64(len(v.Proofs))
			err := proof.VerifyInclusion(rfc6962.DefaultHasher, one.Position, size, leaf[:], path, root)
			if (err == nil) != (state == one.State) {
				t.Errorf("item %d in state %d: %v", one.Position, state, err)
			}
		}
	}
}

func TestEntriesAboutRemoval(t *testing.T) {
	v := readRemovalVectors(t).Removal
	for _, text := range v.Entries {
		if _, err := decodeEntry(unhex(t, text)); err != nil {
			t.Errorf("%s: %v", text[8:10], err)
		}
	}
	for _, one := range v.Refused {
		if _, err := decodeEntry(unhex(t, one.Entry)); err == nil {
			t.Errorf("%s: was read", one.Why)
		}
	}
	prune := &entry{kind: kindPrune, body: make([]byte, 56)}
	prune.body[7] = 5
	items, root, err := prune.committed()
	if items != 5 || root != [32]byte{} || err != nil {
		t.Errorf("%d %x %v", items, root, err)
	}
}
