"""Checks what the ledger serves with metamorphic-log, a verifier whose core is written in Rust by others.

Arguments: a directory with verifier.key, checkpoint, inclusion.json and consistency.json as the ledger
wrote them. Prints "accepted" if all of it verifies and every changed copy of it is refused; fails otherwise.
"""

import json
import pathlib
import sys

from metamorphic_log import metamorphic_log as verifier

given = pathlib.Path(sys.argv[1])
vkey = (given / "verifier.key").read_text().strip()
note = (given / "checkpoint").read_text()
inclusion = json.loads((given / "inclusion.json").read_text())
consistency = json.loads((given / "consistency.json").read_text())


def from_hex(hashes):
    return [bytes.fromhex(text) for text in hashes]


def changed(hash_bytes):
    return bytes([hash_bytes[0] ^ 1]) + hash_bytes[1:]


def check_inclusion(checkpoint, index, leaf, path):
    verifier.checkpoint_verify_inclusion(checkpoint, [vkey], index, leaf, path)


def check_consistency(old, new, path, old_root, new_root):
    verifier.verify_consistency(old, new, path, old_root, new_root)


def refused(check, *arguments):
    try:
        check(*arguments)
    except verifier.VerifyError:
        return
    sys.exit(f"{check.__name__} took what was changed")


leaf = bytes.fromhex(inclusion["leaf_hash"])
path = from_hex(inclusion["proof"])
index = inclusion["index"]
old_root, new_root = bytes.fromhex(consistency["root_from"]), bytes.fromhex(consistency["root_to"])
growth = (consistency["from"], consistency["to"], from_hex(consistency["proof"]))

verifier.checkpoint_verify(note, [vkey])
check_inclusion(inclusion["checkpoint"], index, leaf, path)
check_consistency(*growth, old_root, new_root)

lines = note.split("\n")
lines[1] = str(int(lines[1]) + 1)
refused(verifier.checkpoint_verify, "\n".join(lines), [vkey])
refused(check_inclusion, inclusion["checkpoint"], index + 1, leaf, path)
refused(check_inclusion, inclusion["checkpoint"], index, changed(leaf), path)
refused(check_inclusion, inclusion["checkpoint"], index, leaf, [changed(path[0]), *path[1:]])
refused(check_consistency, *growth, changed(old_root), new_root)
refused(check_consistency, *growth, old_root, changed(new_root))
print("accepted")
