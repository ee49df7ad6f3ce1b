package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Kinds of entries, docs/format.md section 3. Kinds 3, 8 and 9 are reserved and opaque.
const (
	kindEvent    = 1
	kindSettings = 2
	kindPersons  = 4
	kindErased   = 5
	kindShred    = 6
	kindPrune    = 7
	kindConflict = 10
)

const (
	headBytes  = 70
	keysMax    = 32
	partsMax   = 16
	personsMax = 1022
	erasedMax  = 1000

	flagSequence  = 1
	flagSignature = 2
)

// entry is a log entry, decoded as docs/format.md section 3 says and no other way.
type entry struct {
	kind   byte
	ledger [16]byte
	index  uint64
	timeUs uint64
	prev   [32]byte
	body   []byte
	event  *eventBody
}

// eventBody is the body of an event, section 3.1.
type eventBody struct {
	eventKey [32]byte
	class    uint16
	keys     []labelled
	parts    []labelled
	producer uint32
	sequence *uint64
}

// labelled is an index key under its facet, or a commitment under its role.
type labelled struct {
	label byte
	value [32]byte
}

func ledgerID(origin string) (id [16]byte) {
	hash := sha256.Sum256([]byte(origin))
	copy(id[:], hash[:16])
	return id
}

// cursor takes bytes off the front and remembers when there were too few.
type cursor struct {
	rest  []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if len(c.rest) < n {
		c.short = true
		return make([]byte, n)
	}
	taken := c.rest[:n]
	c.rest = c.rest[n:]
	return taken
}

func (c *cursor) u8() byte         { return c.take(1)[0] }
func (c *cursor) u16() uint16      { return binary.BigEndian.Uint16(c.take(2)) }
func (c *cursor) u32() uint32      { return binary.BigEndian.Uint32(c.take(4)) }
func (c *cursor) u64() uint64      { return binary.BigEndian.Uint64(c.take(8)) }
func (c *cursor) hash() [32]byte   { return [32]byte(c.take(32)) }
func (c *cursor) ledger() [16]byte { return [16]byte(c.take(16)) }

// end is an error unless exactly everything was taken.
func (c *cursor) end() error {
	if c.short {
		return fmt.Errorf("the entry ends too early")
	}
	if len(c.rest) > 0 {
		return fmt.Errorf("%d bytes follow the entry's body", len(c.rest))
	}
	return nil
}

func decodeEntry(raw []byte) (*entry, error) {
	if len(raw) < headBytes {
		return nil, fmt.Errorf("%d bytes are no entry", len(raw))
	}
	c := &cursor{rest: raw}
	if magic := c.take(4); !bytes.Equal(magic, []byte("CFL1")) {
		return nil, fmt.Errorf("it does not begin with CFL1")
	}
	e := &entry{kind: c.u8()}
	flags := c.u8()
	e.ledger, e.index, e.timeUs, e.prev, e.body = c.ledger(), c.u64(), c.u64(), c.hash(), c.rest
	if e.kind == 0 || e.kind > kindConflict {
		return nil, fmt.Errorf("kind %d is unknown", e.kind)
	}
	if flags != 0 && (e.kind != kindEvent || flags > flagSequence|flagSignature) {
		return nil, fmt.Errorf("flags %d are unknown for kind %d", flags, e.kind)
	}
	var err error
	switch e.kind {
	case kindEvent:
		e.event, err = decodeEvent(e.body, flags)
	case kindPersons:
		err = checkPersons(e.body)
	case kindErased:
		err = checkErased(e.body)
	case kindShred:
		err = checkShred(e.body)
	case kindPrune:
		err = checkPrune(e.body)
	case kindConflict:
		if len(e.body) != 32+8+32 {
			err = fmt.Errorf("a conflict of %d bytes", len(e.body))
		}
	}
	return e, err
}

func decodeEvent(body []byte, flags byte) (*eventBody, error) {
	c := &cursor{rest: body}
	event := &eventBody{eventKey: c.hash(), class: c.u16()}
	var err error
	if event.keys, err = decodeLabelled(c, keysMax, compareBoth); err != nil {
		return nil, fmt.Errorf("index keys: %w", err)
	}
	if event.parts, err = decodeLabelled(c, partsMax, compareLabels); err != nil {
		return nil, fmt.Errorf("parts: %w", err)
	}
	event.producer = c.u32()
	if flags&flagSequence != 0 {
		sequence := c.u64()
		event.sequence = &sequence
	}
	if flags&flagSignature != 0 {
		c.take(64)
	}
	return event, c.end()
}

func compareLabels(a, b labelled) int { return int(a.label) - int(b.label) }

func compareBoth(a, b labelled) int {
	if a.label != b.label {
		return compareLabels(a, b)
	}
	return bytes.Compare(a.value[:], b.value[:])
}

func decodeLabelled(c *cursor, most int, compare func(a, b labelled) int) ([]labelled, error) {
	count := int(c.u8())
	if count > most {
		return nil, fmt.Errorf("%d of them, at most %d", count, most)
	}
	list := make([]labelled, 0, count)
	for i := range count {
		next := labelled{label: c.u8(), value: c.hash()}
		if i > 0 && compare(list[i-1], next) >= 0 {
			return nil, fmt.Errorf("they do not ascend at number %d", i)
		}
		list = append(list, next)
	}
	return list, nil
}

func checkPersons(body []byte) error {
	c := &cursor{rest: body}
	c.u64()
	count := int(c.u16())
	if count > personsMax {
		return fmt.Errorf("%d persons, at most %d", count, personsMax)
	}
	var last [32]byte
	for i := range count {
		person := c.hash()
		c.hash()
		if i > 0 && bytes.Compare(last[:], person[:]) >= 0 {
			return fmt.Errorf("persons do not ascend at number %d", i)
		}
		last = person
	}
	return c.end()
}

// commitment of one part, section 4.
func commitment(ledger [16]byte, eventKey [32]byte, role byte, salt, body []byte) [32]byte {
	hash := sha256.New()
	hash.Write([]byte("counterfoil/v1/part\x00"))
	hash.Write(ledger[:])
	hash.Write(eventKey[:])
	hash.Write([]byte{role})
	hash.Write(salt)
	hash.Write(body)
	return [32]byte(hash.Sum(nil))
}
