package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// keyUses numbers the uses of a ledger's keys, docs/format.md section 5.
var keyUses = map[string]byte{"event": 1, "read": 2, "directory": 3}

// readerKeys are the ledger's keys that are given to readers, by use; several epochs each.
type readerKeys map[string][]readerKey

type readerKey struct {
	epoch uint32
	bytes [32]byte
}

// readReaderKeys reads a reader.key file: lines of use, epoch and key (section 10).
func readReaderKeys(path string) (readerKeys, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	keys := readerKeys{}
	for number, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 || keyUses[fields[0]] == 0 {
			return nil, fmt.Errorf("%s: line %d is not `use epoch key`", path, number+1)
		}
		epoch, err := strconv.ParseUint(fields[1], 10, 32)
		if err != nil || epoch == 0 {
			return nil, fmt.Errorf("%s: line %d has no epoch", path, number+1)
		}
		key, err := hex.DecodeString(fields[2])
		if err != nil || len(key) != 32 {
			return nil, fmt.Errorf("%s: line %d has no key of 32 bytes", path, number+1)
		}
		keys[fields[0]] = append(keys[fields[0]], readerKey{epoch: uint32(epoch), bytes: [32]byte(key)})
	}
	return keys, nil
}

// commitment is what entry 0 says of a key.
func (k readerKey) commitment(use byte) [32]byte {
	hash := sha256.New()
	hash.Write([]byte("counterfoil/v1/key\x00"))
	hash.Write([]byte{use})
	hash.Write(binary.BigEndian.AppendUint32(nil, k.epoch))
	hash.Write(k.bytes[:])
	return [32]byte(hash.Sum(nil))
}

func (k readerKey) eventKey(ledger [16]byte, source, id string) [32]byte {
	message := append([]byte("counterfoil/v1/event-key\x00"), ledger[:]...)
	return k.mac(appendText(appendText(message, source), id))
}

func (k readerKey) openFacetKey(ledger [16]byte, facet byte, value string) [32]byte {
	message := append([]byte("counterfoil/v1/open-facet\x00"), ledger[:]...)
	return k.mac(appendText(append(message, facet), value))
}

// opens tells whether an open index key was made from a value with one of the reader's keys.
func (keys readerKeys) opens(ledger [16]byte, facet byte, value string, key [32]byte) bool {
	return slices.ContainsFunc(keys["read"], func(secret readerKey) bool {
		return secret.openFacetKey(ledger, facet, value) == key
	})
}

func (k readerKey) mac(message []byte) [32]byte {
	mac := hmac.New(sha256.New, k.bytes[:])
	mac.Write(message)
	return [32]byte(mac.Sum(nil))
}

func appendText(message []byte, text string) []byte {
	message = binary.BigEndian.AppendUint32(message, uint32(len(text)))
	return append(message, text...)
}

// facets are the codes of section 3.1.
var facets = map[string]byte{
	"type": 1, "source": 2, "recipient": 3, "category": 4, "purpose": 5, "country": 6, "request": 7,
	"outcome": 8, "correlation": 9, "trace": 10,
	"subject": 130, "actor": 131, "account": 132, "number": 133, "resource": 134,
}

// roles are the first role of each kind; `name.N` adds N to a person's.
var roles = map[string]byte{
	"open": 1, "raw": 2, "subject": 16, "actor": 24, "account": 32, "number": 40, "resource": 48,
}

func roleCode(name string) (byte, bool) {
	base, ordinal, several := strings.Cut(name, ".")
	code, known := roles[base]
	if !known || !several {
		return code, known
	}
	n, err := strconv.ParseUint(ordinal, 10, 3)
	if err != nil || n == 0 || code < 16 {
		return 0, false
	}
	return code + byte(n), true
}
