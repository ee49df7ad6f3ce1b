package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
)

// removedStates are the states of an item of the removed set, docs/format.md section 14.
var removedStates = map[string]byte{"erased": 1, "pruned": 2}

// removedProof shows that parts are gone because of a shred or a prune, section 11.
type removedProof struct {
	index     uint64
	entry     []byte
	inclusion []tlog.Hash
	members   map[byte]removedMember
}

type removedMember struct {
	position uint64
	path     []tlog.Hash
}

func parseRemoved(o object) (*removedProof, error) {
	r := &removedProof{members: map[byte]removedMember{}}
	var errs [4]error
	r.index, errs[0] = takeNumber(o, "index")
	r.entry, errs[1] = takeHex(o, "entry")
	r.inclusion, errs[2] = takeHashes(o, "inclusion")
	items, err := take[[]any](o, "members")
	errs[3] = err
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	for _, item := range items {
		members, _ := item.(object)
		name, err := take[string](members, "role")
		if err != nil {
			return nil, err
		}
		role, known := roleCode(name)
		if _, twice := r.members[role]; twice || !known {
			return nil, errors.New("a role that is not known, or is there twice")
		}
		var member removedMember
		if member.position, err = takeNumber(members, "position"); err != nil {
			return nil, err
		}
		if member.path, err = takeHashes(members, "path"); err != nil {
			return nil, err
		}
		if err := members.end(); err != nil {
			return nil, err
		}
		r.members[role] = member
	}
	return r, o.end()
}

// committed gives the size and the root of the removed set that a shred or prune entry commits to.
func (e *entry) committed() (items uint64, root [32]byte, err error) {
	c := &cursor{rest: e.body}
	switch e.kind {
	case kindShred:
		c.u8()
	case kindPrune:
	default:
		return 0, root, fmt.Errorf("entry %d is neither a shred nor a prune", e.index)
	}
	return c.u64(), c.hash(), nil
}

// check gives an error unless every part that is said to be gone is in the set.
func (r *removedProof) check(tree signedTree, eventKey [32]byte, claims map[byte]string) error {
	if err := includes(tree.Tree, r.index, tlog.RecordHash(r.entry), r.inclusion); err != nil {
		return err
	}
	e, err := decodeEntry(r.entry)
	if err != nil {
		return err
	}
	if e.index != r.index || e.ledger != ledgerID(tree.origin) {
		return errors.New("the entry says another index or ledger")
	}
	items, root, err := e.committed()
	if err != nil {
		return err
	}
	if len(claims) != len(r.members) {
		return fmt.Errorf("%d parts are said to be gone, %d are proven", len(claims), len(r.members))
	}
	for role, state := range claims {
		member, proven := r.members[role]
		if !proven || member.position >= items {
			return fmt.Errorf("part %d is lost", role)
		}
		leaf := removedLeaf(removedKey(eventKey, role), removedStates[state])
		path := make([][]byte, 0, len(member.path))
		for _, hash := range member.path {
			path = append(path, hash[:])
		}
		hasher := rfc6962.DefaultHasher
		if err := proof.VerifyInclusion(hasher, member.position, items, leaf[:], path, root[:]); err != nil {
			return fmt.Errorf("part %d: %w", role, err)
		}
	}
	return nil
}

func removedKey(eventKey [32]byte, role byte) [32]byte {
	label := []byte("counterfoil/v1/removed-part\x00")
	return sha256.Sum256(bytes.Join([][]byte{label, eventKey[:], {role}}, nil))
}

func removedLeaf(key [32]byte, state byte) [32]byte {
	label := []byte("counterfoil/v1/removed\x00")
	return sha256.Sum256(bytes.Join([][]byte{{0}, label, key[:], {state}}, nil))
}

// checkErased reads a body of kind 5, section 3.5.
func checkErased(body []byte) error {
	c := &cursor{rest: body}
	c.take(16)
	count := int(c.u16())
	if count == 0 || count > erasedMax {
		return fmt.Errorf("%d persons erased, 1 to %d", count, erasedMax)
	}
	var last [32]byte
	for i := range count {
		person := c.hash()
		if i > 0 && bytes.Compare(last[:], person[:]) >= 0 {
			return fmt.Errorf("persons do not ascend at number %d", i)
		}
		last = person
	}
	return c.end()
}

// checkShred reads a body of kind 6, section 3.6.
func checkShred(body []byte) error {
	c := &cursor{rest: body}
	phase := c.u8()
	c.u64()
	c.hash()
	c.take(16)
	after := c.take(16)
	if err := c.end(); err != nil {
		return err
	}
	named := !bytes.Equal(after, make([]byte, 16))
	if (phase != 1 || named) && (phase != 2 || !named) {
		return fmt.Errorf("a shred of phase %d with or without a key after it", phase)
	}
	return nil
}

// checkPrune reads a body of kind 7, section 3.7.
func checkPrune(body []byte) error {
	if len(body) != 8+32+8+8 {
		return fmt.Errorf("a prune of %d bytes", len(body))
	}
	return nil
}
