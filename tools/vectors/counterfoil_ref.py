#!/usr/bin/env python3
"""Counterfoil's own formats, written a second time with nothing but the standard library.

In scope: identifiers and keyed hashes, commitments, log entries and their chain, RFC 6962 roots and
proofs, the removed set and its file, what an erasure certificate's signature covers, postings, their
mini-logs, and the trie of the completeness index. Out of scope: the C2SP formats, which have vectors
of their own, signing and encryption.

    counterfoil_ref.py             checks itself, then writes tests/vectors/counterfoil/vectors.json
    counterfoil_ref.py --check     checks itself, then compares that file with what it would write

It shares no code with the Rust crate on purpose: whoever changes a format changes it twice.
"""

import datetime
import hashlib
import hmac
import json
import pathlib
import random
import struct
import sys

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "tests/vectors/counterfoil/vectors.json"
ZEROS = bytes(32)


# --- hashes -------------------------------------------------------------------------------------

def sha256(*pieces):
    return hashlib.sha256(b"".join(pieces)).digest()


def mac(key, *pieces):
    return hmac.new(key, b"".join(pieces), hashlib.sha256).digest()


def label(name):
    return b"counterfoil/v1/" + name.encode() + b"\0"


def text(value):
    """A text with its length in bytes before it."""
    raw = value.encode()
    return struct.pack(">I", len(raw)) + raw


def ledger_id(origin):
    return sha256(origin.encode())[:16]


def event_key(key, ledger, source, ident):
    return mac(key, label("event-key"), ledger, text(source), text(ident))


def open_facet_key(key, ledger, facet, value):
    return mac(key, label("open-facet"), ledger, bytes([facet]), text(value))


def person_facet_secret(secret, facet):
    return mac(secret, label("person-facet-secret"), bytes([facet]))


def person_facet_key(secret, ledger, period):
    return mac(secret, label("person-facet"), ledger, struct.pack(">H", period))


def directory_key(key, namespace, ident):
    return mac(key, label("directory"), bytes([namespace]), text(ident))


def person_leaf(facet, salt, secret):
    assert len(salt) == 32 and len(secret) == 32
    return sha256(b"\0", label("person"), bytes([facet]), salt, secret)


def person_commitment(facets):
    assert len({facet for facet, _, _ in facets}) == len(facets)
    return root([person_leaf(*facet) for facet in sorted(facets)])


def part_commitment(ledger, event, role, salt, body):
    assert len(salt) == 64
    return sha256(label("part"), ledger, event, bytes([role]), salt, body)


def key_commitment(use, epoch, key):
    return sha256(label("key"), bytes([use]), struct.pack(">I", epoch), key)


def period_of(time_us):
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=time_us)
    return moment.year * 12 + moment.month - 1


# --- RFC 6962 trees -----------------------------------------------------------------------------

def leaf_hash(data):
    return sha256(b"\0", data)


def node_hash(left, right):
    return sha256(b"\1", left, right)


def largest_power_below(count):
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def root(leaves):
    if not leaves:
        return sha256()
    if len(leaves) == 1:
        return leaves[0]
    split = largest_power_below(len(leaves))
    return node_hash(root(leaves[:split]), root(leaves[split:]))


def range_proof(leaves, begin, end, low=0, high=None):
    """Hashes of the largest subtrees outside of [begin, end), left to right."""
    high = len(leaves) if high is None else high
    if high <= begin or low >= end:
        return [root(leaves[low:high])]
    if high - low == 1:
        return []
    middle = low + largest_power_below(high - low)
    return (range_proof(leaves, begin, end, low, middle)
            + range_proof(leaves, begin, end, middle, high))


def audit_path(leaves, at):
    """The audit path of RFC 6962 section 2.1.1, the leaf's sibling first."""
    if len(leaves) == 1:
        return []
    split = largest_power_below(len(leaves))
    if at < split:
        return audit_path(leaves[:split], at) + [root(leaves[split:])]
    return audit_path(leaves[split:], at - split) + [root(leaves[:split])]


def verify_audit_path(leaf, at, size, path, expected):
    """RFC 9162 section 2.1.3.2."""
    if at >= size:
        return False
    first, last, found = at, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if first & 1 or first == last:
            found = node_hash(sibling, found)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and found == expected


def verify_range(begin, leaves, size, proof, expected):
    end = begin + len(leaves)
    if not leaves or end > size:
        return False
    left = list(proof)

    def subtree(low, high):
        if high <= begin or low >= end:
            if not left:
                raise IndexError
            return left.pop(0)
        if high - low == 1:
            return leaves[low - begin]
        middle = low + largest_power_below(high - low)
        first = subtree(low, middle)
        return node_hash(first, subtree(middle, high))

    try:
        return subtree(0, size) == expected and not left
    except IndexError:
        return False


# --- log entries --------------------------------------------------------------------------------

HEADER = ">4sBB16sQQ32s"


def entry(ledger, index, time_us, prev, body):
    kind, flags, rest = body
    return struct.pack(HEADER, b"CFL1", kind, flags, ledger, index, time_us, prev) + rest


def event_body(event, class_code, keys, parts, producer, sequence=None, signature=None):
    assert keys == sorted(set(keys)) and len(keys) <= 32
    assert [role for role, _ in parts] == sorted({role for role, _ in parts}) and len(parts) <= 16
    out = event + struct.pack(">H", class_code)
    out += bytes([len(keys)]) + b"".join(bytes([facet]) + key for facet, key in keys)
    out += bytes([len(parts)]) + b"".join(bytes([role]) + commitment for role, commitment in parts)
    out += struct.pack(">I", producer)
    flags = 0
    if sequence is not None:
        flags |= 1
        out += struct.pack(">Q", sequence)
    if signature is not None:
        flags |= 2
        assert len(signature) == 64
        out += signature
    return 1, flags, out


def settings_body(value):
    return 2, 0, canonical(value)


def registered_body(through_slot, persons):
    assert persons == sorted(persons) and len({d for d, _ in persons}) == len(persons)
    head = struct.pack(">QH", through_slot, len(persons))
    return 4, 0, head + b"".join(d + c for d, c in persons)


def conflict_body(event, first, refused):
    return 10, 0, event + struct.pack(">Q", first) + refused


def read_event(data):
    """Reads an event's entry back; None if a byte is missing, surplus or out of order."""
    size = struct.calcsize(HEADER)
    if len(data) < size:
        return None
    magic, kind, flags, ledger, index, time_us, prev = struct.unpack(HEADER, data[:size])
    if magic != b"CFL1" or kind != 1 or flags > 3:
        return None
    rest = data[size:]

    def take(count):
        nonlocal rest
        if len(rest) < count:
            raise EOFError
        taken, rest = rest[:count], rest[count:]
        return taken

    try:
        event, (class_code,) = take(32), struct.unpack(">H", take(2))
        keys = [(take(1)[0], take(32)) for _ in range(take(1)[0])]
        parts = [(take(1)[0], take(32)) for _ in range(take(1)[0])]
        (producer,) = struct.unpack(">I", take(4))
        sequence = struct.unpack(">Q", take(8))[0] if flags & 1 else None
        signature = take(64) if flags & 2 else None
    except EOFError:
        return None
    roles = [role for role, _ in parts]
    if rest or keys != sorted(set(keys)) or roles != sorted(set(roles)):
        return None
    if len(keys) > 32 or len(parts) > 16:
        return None
    return ledger, index, time_us, prev, (event, class_code, keys, parts, producer, sequence, signature)


# --- what was removed ---------------------------------------------------------------------------

def erased_body(erasure, persons):
    assert len(erasure) == 16 and persons == sorted(set(persons)) and 0 < len(persons) <= 1000
    return 5, 0, erasure + struct.pack(">H", len(persons)) + b"".join(persons)


def shred_body(phase, items, root_hash, before, after):
    assert (phase, any(after)) in [(1, False), (2, True)] and len(before) == len(after) == 16
    return 6, 0, struct.pack(">BQ", phase, items) + root_hash + before + after


def prune_body(items, root_hash, settings, cutoff_us):
    return 7, 0, struct.pack(">Q", items) + root_hash + struct.pack(">QQ", settings, cutoff_us)


def root_key_id(key):
    return sha256(label("root-key-id"), key)[:16]


def removed_key(event, role):
    return sha256(label("removed-part"), event, bytes([role]))


def removed_leaf(key, state):
    assert state in (1, 2)
    return sha256(b"\0", label("removed"), key, bytes([state]))


def removed_root(items):
    assert [key for key, _ in items] == sorted({key for key, _ in items})
    return root([removed_leaf(*item) for item in items])


def removed_file(items):
    data = b"CFX1" + struct.pack(">Q", len(items)) + b"".join(key + bytes([s]) for key, s in items)
    return data + sha256(data)


def canonical(value):
    """RFC 8785 of a value with names in ASCII and integers only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def certificate_input(certificate):
    return label("certificate") + canonical({k: v for k, v in certificate.items() if k != "signature"})


# --- the completeness index ---------------------------------------------------------------------

def posting(index, time_us, class_code):
    return struct.pack(">QQH", index, time_us, class_code)


def trie_key(ledger, kind, facet, key):
    """kind 1: an index key of events; kind 4: a directory key of registrations and erasures."""
    return sha256(label("trie-key"), ledger, bytes([kind, facet]), key)


def trie_leaf(key, count, mini_root):
    return sha256(b"\2", key, struct.pack(">Q", count), mini_root)


def trie_node(left, right):
    return sha256(b"\3", left, right)


def bit(key, depth):
    return key[depth // 8] >> (7 - depth % 8) & 1


def trie_root(items, depth=0):
    """items: {key: (count, mini_root)}. One key alone is the leaf, no key is zeros."""
    if not items:
        return ZEROS
    if len(items) == 1:
        [(key, (count, mini_root))] = items.items()
        return trie_leaf(key, count, mini_root)
    sides = [{}, {}]
    for key, value in items.items():
        sides[bit(key, depth)][key] = value
    return trie_node(trie_root(sides[0], depth + 1), trie_root(sides[1], depth + 1))


def trie_proof(items, key):
    """Siblings from the root down, and what stands at the end of the way: None or a leaf."""
    siblings = []
    while len(items) > 1:
        depth = len(siblings)
        same = {k: v for k, v in items.items() if bit(k, depth) == bit(key, depth)}
        other = {k: v for k, v in items.items() if bit(k, depth) != bit(key, depth)}
        siblings.append(trie_root(other, depth + 1))
        items = same
    return siblings, next(iter(items.items()), None)


def verify_trie(key, siblings, end, expected):
    """("member", count, mini_root), ("absent",), or None if the proof does not hold."""
    if len(siblings) > 255 or (siblings and siblings[-1] == ZEROS):
        return None
    if end is None:
        current, answer = ZEROS, ("absent",)
    else:
        found, (count, mini_root) = end
        if count == 0 or any(bit(found, d) != bit(key, d) for d in range(len(siblings))):
            return None
        current = trie_leaf(found, count, mini_root)
        answer = ("member", count, mini_root) if found == key else ("absent",)
    for depth in reversed(range(len(siblings))):
        sibling = siblings[depth]
        current = trie_node(sibling, current) if bit(key, depth) else trie_node(current, sibling)
    return answer if current == expected else None


# --- checks of this file ------------------------------------------------------------------------

def check_self():
    # RFC 4231 test case 2 and the empty tree of RFC 6962.
    assert mac(b"Jefe", b"what do ya want for nothing?").hex().startswith("5bdcc146bf60754e6a04")
    assert root([]).hex().startswith("e3b0c44298fc1c14")
    for size in range(1, 40):
        leaves = [leaf_hash(posting(3 * n, 10 * n, 1)) for n in range(size)]
        whole = root(leaves)
        for at in range(size):
            path = audit_path(leaves, at)
            assert verify_audit_path(leaves[at], at, size, path, whole)
            assert not verify_audit_path(leaves[at], at, size, path + [ZEROS], whole)
            assert not verify_audit_path(leaves[at] + b"x", at, size, path, whole)
        for begin in range(size):
            for end in range(begin + 1, size + 1):
                proof = range_proof(leaves, begin, end)
                part = leaves[begin:end]
                assert verify_range(begin, part, size, proof, whole)
                assert not verify_range(begin, part[:-1], size, proof, whole)
                assert not verify_range(begin, part, size, proof + [ZEROS], whole)
                assert not (proof and verify_range(begin, part, size, proof[1:], whole))
                if end < size:
                    assert not verify_range(begin + 1, part, size, proof, whole)
    for count in (0, 1, 2, 3, 17, 300):
        items = {sha256(b"key %d" % n): (n + 1, sha256(b"root %d" % n)) for n in range(count)}
        whole = trie_root(items)
        for key, value in list(items.items())[:60]:
            siblings, end = trie_proof(items, key)
            assert verify_trie(key, siblings, end, whole) == ("member", *value)
            assert verify_trie(key, siblings, None, whole) is None
            forged = (key, (value[0] + 1, value[1]))
            assert verify_trie(key, siblings, forged, whole) is None
        for n in range(60):
            key = sha256(b"absent %d" % n)
            siblings, end = trie_proof(items, key)
            assert verify_trie(key, siblings, end, whole) == ("absent",)
            for present in list(items)[:3]:
                answer = verify_trie(present, siblings, end, whole)
                assert answer is None or answer == ("member", *items[present])
    rng = random.Random(1)
    body = (sha256(b"e"), 4, [(1, sha256(b"a")), (130, sha256(b"b"))], [(1, sha256(b"c"))], 7, 9, bytes(64))
    sample = entry(bytes(16), 3, 5, sha256(b"p"), event_body(*body))
    assert read_event(sample) == (bytes(16), 3, 5, sha256(b"p"), body)
    assert all(read_event(sample[:cut]) is None for cut in range(len(sample)))
    assert read_event(sample + b"\0") is None
    for at in range(len(sample)):
        changed = bytearray(sample)
        changed[at] ^= rng.randrange(1, 256)
        read = read_event(bytes(changed))
        assert read is None or entry(*read[:4], event_body(*read[4])) == bytes(changed)


# --- the vectors --------------------------------------------------------------------------------

ORIGIN = "ledger.example/main"
K_EVENT, K_READ, K_DIR = b"\x11" * 32, b"\x22" * 32, b"\x33" * 32
S_X = b"\x44" * 32
TIMES = [0, 1, 2678399999999, 2678400000000, 951782399999999, 951868799999999, 951868800000000,
         1709251199999999, 1709251200000000, 4107542399999999, 4107542400000000, 253402300799999999]


def key_vectors(ledger):
    sources = [("illuma/illuma.core", "e1"), ("illuma/illuma.coree", "1"), ("", ""), ("ü/😀", "é")]
    values = [(1, "data.transferred"), (3, "Amazon Web Services"), (4, "contact"), (6, "DE"), (5, "")]
    persons = [(2, "s1"), (3, "s1"), (5, "+441110000"), (6, "audioprint/ap_7Q2"), (2, "Grüße")]
    facets = [(130, b"\x55" * 32), (131, b"\x66" * 32), (134, b"\x77" * 32)]
    opened = [(facet, salt, person_facet_secret(S_X, facet)) for facet, salt in facets]
    bodies = [(1, b'{"id":"e1"}'), (2, b""), (16, '{"data":{"subject":"sé"}}'.encode()), (255, bytes(300))]
    event = event_key(K_EVENT, ledger, "illuma/illuma.core", "e1")
    return {
        "k_event": K_EVENT, "k_read": K_READ, "k_dir": K_DIR, "s_x": S_X,
        "origin": ORIGIN, "ledger_id": ledger,
        "event_keys": [{"source": s, "id": i, "key": event_key(K_EVENT, ledger, s, i)}
                       for s, i in sources],
        "open_facet_keys": [{"facet": f, "value": v, "key": open_facet_key(K_READ, ledger, f, v)}
                            for f, v in values],
        "directory_keys": [{"namespace": n, "id": i, "key": directory_key(K_DIR, n, i)}
                           for n, i in persons],
        "periods": [{"time_us": t, "period": period_of(t)} for t in TIMES],
        "person_facets": [{"facet": facet, "salt": salt, "secret": secret,
                           "leaf": person_leaf(facet, salt, secret),
                           "key": person_facet_key(secret, ledger, period_of(1709251200000000))}
                          for facet, salt, secret in opened],
        "person_facets_period": period_of(1709251200000000),
        "person_commitments": [person_commitment(opened[:n]) for n in (1, 2, 3)],
        "part_commitments": [{"role": role, "salt": bytes([role]) * 64, "body": body,
                              "commitment": part_commitment(ledger, event, role, bytes([role]) * 64, body)}
                             for role, body in bodies],
        "key_commitments": [{"use": use, "epoch": epoch, "key": key,
                             "commitment": key_commitment(use, epoch, key)}
                            for use, epoch, key in [(1, 0, K_EVENT), (2, 1, K_READ), (3, 2**32 - 1, K_DIR)]],
    }


def chain_vectors(ledger):
    """Eight entries of every typed kind, chained, with the root after each."""
    def event(number, class_code, facets, persons, **more):
        key = event_key(K_EVENT, ledger, "illuma/illuma.core", f"e{number}")
        keys = [(f, open_facet_key(K_READ, ledger, f, v)) for f, v in facets]
        period = period_of(time_of(number))
        keys += [(f, person_facet_key(person_facet_secret(S_X, f), ledger, period)) for f in persons]
        roles = [1] + [(f - 128) * 8 for f in persons]
        parts = [(r, part_commitment(ledger, key, r, bytes([number]) * 64, b"{}")) for r in roles]
        return event_body(key, class_code, sorted(keys), parts, 1, **more)

    def time_of(number):
        return 1709251199000000 + 400000 * number

    directory = sorted((directory_key(K_DIR, 2, f"s{n}"), sha256(b"C%d" % n)) for n in range(3))
    transfer = [(1, "data.transferred"), (2, "illuma/illuma.core"), (3, "AWS"), (4, "contact"), (6, "DE")]
    first = event_key(K_EVENT, ledger, "illuma/illuma.core", "e1")
    bodies = [
        settings_body({"version": 1, "keys": [key_commitment(1, 0, K_EVENT).hex()]}),
        event(1, 4, transfer, [130], sequence=1),
        event(2, 2, [(1, "data.accessed")], [130, 131], sequence=2, signature=bytes(range(64))),
        event(3, 29, [], []),
        registered_body(4, directory),
        conflict_body(first, 1, sha256(b"other content")),
        (3, 0, b"index head"),
        (9, 0, b""),
    ]
    entries, leaves, out = [], [], []
    prev = ZEROS
    for index, body in enumerate(bodies):
        data = entry(ledger, index, time_of(index), prev, body)
        prev = leaf_hash(data)
        entries.append(data)
        leaves.append(prev)
        out.append({"entry": data, "leaf_hash": prev, "root": root(leaves)})
    refused = {
        "truncated": entries[1][:-1],
        "surplus byte": entries[1] + b"\0",
        "wrong magic": b"CFL2" + entries[1][4:],
        "unknown kind": entries[7][:4] + b"\x0b" + entries[7][5:],
        "unknown flag": entries[1][:5] + b"\x05" + entries[1][6:],
        "flag of another kind": entries[0][:5] + b"\x01" + entries[0][6:],
        "prev at index 0": entries[1][:22] + bytes(8) + entries[1][30:],
        "no prev at index 1": entries[1][:38] + ZEROS + entries[1][70:],
        "keys out of order": entries[1][:105] + entries[1][138:171] + entries[1][105:138] + entries[1][171:],
        "key twice": entries[1][:138] + entries[1][105:138] + entries[1][171:],
        "facet 0": entries[1][:105] + b"\0" + entries[1][106:],
        "role 3": entries[3][:106] + b"\3" + entries[3][107:],
        "persons out of order": entries[4][:80] + entries[4][144:208] + entries[4][80:144] + entries[4][208:],
        "empty settings": entries[0][:70],
        "conflict with a byte more": entries[5] + b"\0",
    }
    return {"entries": out, "refused": [{"why": why, "entry": data} for why, data in refused.items()]}


def removal_vectors(ledger):
    events = [event_key(K_EVENT, ledger, "illuma/illuma.core", f"e{n}") for n in range(5)]
    parts = [(event, role, 1 + (n + role) % 2) for n, event in enumerate(events) for role in (1, 2, 16)]
    items = sorted((removed_key(event, role), state) for event, role, state in parts)
    leaves = [removed_leaf(*item) for item in items]
    proofs = [{"key": key, "state": state, "position": at, "path": audit_path(leaves, at)}
              for at, (key, state) in enumerate(items)]
    persons = sorted(directory_key(K_DIR, 2, f"s{n}") for n in range(3))
    before, after = root_key_id(b"\x88" * 32), root_key_id(b"\x99" * 32)
    whole, prev, time_us = removed_root(items), sha256(b"before"), 1709251199000000
    bodies = [
        erased_body(bytes(range(16)), persons),
        shred_body(1, len(items), whole, before, bytes(16)),
        shred_body(2, len(items), whole, before, after),
        prune_body(len(items), whole, 3, time_us - 1),
    ]
    entries = [entry(ledger, 5 + n, time_us, prev, body) for n, body in enumerate(bodies)]
    erased, begun, done, prune = entries
    refused = {
        "nobody erased": erased[:86] + bytes(2),
        "persons out of order": erased[:88] + erased[120:152] + erased[88:120] + erased[152:],
        "person twice": erased[:120] + erased[88:120] + erased[152:],
        "a person less": erased[:-32],
        "phase 0": begun[:70] + b"\0" + begun[71:],
        "phase 3": done[:70] + b"\3" + done[71:],
        "begun with a key after": begun[:-1] + b"\1",
        "done without a key after": done[:-16] + bytes(16),
        "shred with a byte more": done + b"\0",
        "prune with a byte less": prune[:-1],
    }
    proven = [{"index": 5 + n, "entry": data.hex(), "inclusion": [ZEROS.hex()]}
              for n, data in enumerate(entries)]
    certificate = {
        "format": "counterfoil erasure certificate 1", "id": bytes(range(16)).hex(), "state": "complete",
        "ledger": "main", "origin": ORIGIN,
        "asked": {"at": "2024-02-29T23:59:59Z", "by": {"key": 2, "label": "dpo \"é\""},
                  "reason": "Art. 17\n\u001f\u007f\u2028😀 \\/", "request": None},
        "persons": [{"namespace": "subject", "directory_key": person.hex()} for person in persons],
        "destroyed": {"at": "2024-02-29T23:59:59Z", "persons": 3, "parts": 15, "events": 5,
                      "by_role": [{"role": "open", "parts": 5}, {"role": "subject", "parts": 2**53}],
                      "by_type": [{"type": "data.accessed", "events": 5}]},
        "root_key": {"before": before.hex(), "after": after.hex(), "custody": "file", "statement": "gone"},
        "entries": {"erased": proven[0], "begun": proven[1], "done": proven[2], "signer": None},
        "checkpoint": f"{ORIGIN}\n9\nAAAA\n\n— {ORIGIN} x\n",
        "residual": [{"what": "backups", "until": "2024-03-31", "basis": "30 days"},
                     {"what": "exports", "until": None, "basis": "their holders"}],
        "told": [{"recipient": "AWS", "told_at": "2024-03-01T00:00:00Z", "confirmed_at": None,
                  "events": [7, 8]}],
        "alive": [{"facet": "request", "count": 1}], "also": [""],
        "signed_by": "example+00000000+AA==", "signature": bytes(range(64)).hex(),
    }
    return {
        "parts": [{"event_key": event, "role": role, "state": state, "key": removed_key(event, role)}
                  for event, role, state in parts],
        "items": [{"key": key, "state": state, "leaf": leaf} for (key, state), leaf in zip(items, leaves)],
        "roots": [removed_root(items[:n]) for n in range(len(items) + 1)],
        "proofs": proofs, "file": removed_file(items),
        "root_key_before": before, "root_key_after": after, "persons": persons,
        "erasure": bytes(range(16)), "settings": 3, "cutoff_us": time_us - 1,
        "entries": entries,
        "refused": [{"why": why, "entry": data} for why, data in refused.items()],
        "certificate": certificate, "certificate_signing_input": certificate_input(certificate),
    }


def index_vectors(ledger):
    postings = [posting(5 * n, 1709251200000000 + n, 4 if n % 2 else 2) for n in range(13)]
    leaves = [leaf_hash(p) for p in postings]
    roots = [root(leaves[:n]) for n in range(14)]
    ranges = [(0, 13, 13), (3, 9, 13), (12, 13, 13), (0, 1, 1), (0, 1, 8), (5, 6, 7)]
    proofs = [{"begin": b, "end": e, "size": n, "proof": range_proof(leaves[:n], b, e)} for b, e, n in ranges]
    keys = [open_facet_key(K_READ, ledger, 1, v) for v in ("data.transferred", "data.accessed")]
    keys = [trie_key(ledger, 1, 1, key) for key in keys]
    keys.append(trie_key(ledger, 4, 255, directory_key(K_DIR, 2, "s1")))
    keys += [sha256(b"filler %d" % n) for n in range(9)]
    items = {key: (n + 1, roots[n + 1]) for n, key in enumerate(keys)}
    absent = sha256(b"not there")
    walks = []
    for key in [keys[0], keys[2], keys[11], absent]:
        siblings, end = trie_proof(items, key)
        walk = {"key": key, "siblings": siblings, "end": "empty"}
        if end is not None:
            walk["end"] = {"key": end[0], "count": end[1][0], "mini_root": end[1][1]}
        walk["answer"] = verify_trie(key, siblings, end, trie_root(items))[0]
        walks.append(walk)
    return {
        "postings": postings, "mini_roots": roots, "range_proofs": proofs,
        "trie_leaves": [{"key": key, "count": count, "mini_root": mini, "hash": trie_leaf(key, count, mini)}
                        for key, (count, mini) in items.items()],
        "trie_roots": [trie_root(dict(list(items.items())[:n])) for n in range(len(items) + 1)],
        "trie_walks": walks,
    }


def plain(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def main(arguments):
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    check_self()
    ledger = ledger_id(ORIGIN)
    about = "Written by tools/vectors/counterfoil_ref.py; bytes are hexadecimal."
    vectors = {"about": about, "keys": key_vectors(ledger), "chain": chain_vectors(ledger),
               "removal": removal_vectors(ledger), "index": index_vectors(ledger)}
    written = json.dumps(plain(vectors), indent=1, ensure_ascii=False) + "\n"
    if arguments == ["--check"]:
        if not VECTORS.exists() or VECTORS.read_text(encoding="utf-8") != written:
            print("vectors.json is not what counterfoil_ref.py writes", file=sys.stderr)
            return 1
        print("vectors.json is what counterfoil_ref.py writes")
        return 0
    VECTORS.parent.mkdir(parents=True, exist_ok=True)
    VECTORS.write_text(written, encoding="utf-8")
    print(f"wrote {len(written)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
