#!/usr/bin/env python3
"""Checks a bundle of evidence with nothing but the instance's public key.

    verify_evidence.py BUNDLE.json 'NAME+ID+KEY'

Needs Python 3.8 and its standard library. docs/evidence.md describes what is checked. Prints one
line and ends with 0 when the bundle holds, with 1 when it does not, with 2 when used wrongly.
"""

import base64
import datetime
import hashlib
import json
import struct
import sys

# --- Ed25519 (RFC 8032, section 5.1), checking only ---------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)


def add(a, b):
    """Adds two points in extended coordinates."""
    m = (a[1] - a[0]) * (b[1] - b[0]) % P
    n = (a[1] + a[0]) * (b[1] + b[0]) % P
    c = 2 * a[3] * b[3] * D % P
    d = 2 * a[2] * b[2] % P
    e, f, g, h = n - m, d - c, d + c, n + m
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def x_of(y, sign):
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if square == 0:
        return None if sign else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P:
        return None
    return P - x if x & 1 != sign else x


def point_of(encoded):
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    x = x_of(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def bytes_of(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (x_of(BASE_Y, 0), BASE_Y, 1, x_of(BASE_Y, 0) * BASE_Y % P)


def ed25519_verifies(public, message, signature):
    point = point_of(public)
    if point is None or len(signature) != 64:
        return False
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    if s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % ORDER
    negated = (P - point[0], point[1], 1, P - point[3])
    return bytes_of(add(times(s, BASE), times(k, negated))) == r


# --- the checkpoint (C2SP signed-note, tlog-checkpoint) ------------------------------------------


class Flaw(Exception):
    """The first thing that does not hold."""


def unbase64(text):
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise Flaw("something is not base 64") from None


def read_key(text):
    """The name, id and public key of a verifier key."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3:
        raise SystemExit("the key must be NAME+ID+KEY, as `lumora log key` prints it")
    name, key = parts[0], base64.b64decode(parts[2])
    identity = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    if len(key) != 33 or key[0] != 1 or identity.hex() != parts[1]:
        raise SystemExit("the key is damaged, or not an Ed25519 key")
    return name, identity, key[1:]


def read_checkpoint(note, key):
    """The size and root that the key signed."""
    name, identity, public = key
    body, found, signatures = note.partition("\n\n")
    body += "\n"
    signed = False
    for line in signatures.splitlines():
        mark, _, rest = line.partition(" ")
        signer, _, signature = rest.partition(" ")
        if mark == "\u2014" and signer == name:
            raw = unbase64(signature)
            signed |= raw[:4] == identity and ed25519_verifies(public, body.encode(), raw[4:])
    lines = body.splitlines()
    if not found or not signed or len(lines) < 3 or lines[0] != name:
        raise Flaw(f"the checkpoint was not signed by {name}")
    return int(lines[1]), unbase64(lines[2])


# --- the tree (RFC 6962, section 2.1) ------------------------------------------------------------


def leaf_hash(data):
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_by(leaf, index, size, proof):
    """The root that a proof leads to; None when it is no proof for this place."""
    if index >= size:
        return None
    place, last, result = index, size - 1, leaf_hash(leaf)
    for step in proof:
        if last == 0:
            return None
        if place & 1 or place == last:
            result = node_hash(step, result)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            result = node_hash(result, step)
        place, last = place >> 1, last >> 1
    return result if last == 0 else None


# --- events ---------------------------------------------------------------------------------------

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
KINDS = {1: "ten", 2: "dom", 3: "msg", 4: "usr", 5: "tpl", 6: "sup"}


def written_id(prefix, raw):
    """A prefix and 16 bytes in Crockford's base 32."""
    number = int.from_bytes(raw, "big")
    digits = [ALPHABET[number >> 5 * place & 31] for place in range(25, -1, -1)]
    return prefix + "_" + "".join(digits)


def written_time(millis):
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=millis)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{millis % 1000:03}Z"


def read_event(leaf):
    """What the canonical bytes of an event say."""
    try:
        position, kind, owner = struct.unpack_from("<QB16s", leaf, 0)
        version, event_id, millis, records = struct.unpack_from("<Q16sQH", leaf, 25)
        start = 59 + 48 * records
        (length,) = struct.unpack_from("<I", leaf, start)
        data = leaf[start + 4 :]
        if len(data) != length:
            raise Flaw("the leaf is not an event")
        return {
            "position": position,
            "stream": written_id(KINDS[kind], owner),
            "version": version,
            "id": written_id("evt", event_id),
            "at": written_time(millis),
            "event": json.loads(data.decode()),
        }
    except (struct.error, KeyError, ValueError, OverflowError):
        raise Flaw("the leaf is not an event") from None


def check(bundle, key):
    """Checks a bundle; the number of its events."""
    if not isinstance(bundle, dict) or bundle.get("format") != "lumora-evidence-1":
        raise Flaw("not a bundle of evidence")
    size, root = read_checkpoint(bundle["checkpoint"], key)
    version, position = 0, 0
    for shown in bundle["events"]:
        leaf = unbase64(shown["leaf"])
        event = read_event(leaf)
        place = f"event {version + 1}: "
        proof = [unbase64(step) for step in shown["proof"]]
        if root_by(leaf, event["position"] - 1, size, proof) != root:
            raise Flaw(place + "it is not in the signed tree")
        if any(shown[name] != event[name] for name in event):
            raise Flaw(place + "what is shown is not what is proved")
        if event["stream"] != bundle["message"]:
            raise Flaw(place + "it is not of this message")
        if event["version"] != version + 1:
            raise Flaw(place + "an event before it is left out")
        if event["position"] <= position:
            raise Flaw(place + "it stands before the one before it")
        version, position = event["version"], event["position"]
    if version == 0:
        raise Flaw("there is no event")
    return version


def main(arguments):
    if len(arguments) != 3:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    key = read_key(arguments[2])
    try:
        with open(arguments[1], encoding="utf-8") as file:
            bundle = json.load(file)
        events = check(bundle, key)
    except Flaw as flaw:
        print(f"does not hold: {flaw}")
        return 1
    except (KeyError, TypeError, ValueError) as error:
        print(f"does not hold: not a bundle of evidence ({error!r})")
        return 1
    replies = sum("reply" in event for event in bundle["events"])
    print(f"holds: {bundle['message']}, {events} events ({replies} texts of replies not checked)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
