"""What a certificate is called: its fingerprint, and those of its twins.

Of a signature by an elliptic curve anybody can make a second one that holds as well: (r, s) and
(r, n - s). So whoever has a certificate can give it another fingerprint, and would slip through
a withdrawal by name. Therefore a certificate goes by the names of both, and is taken only in
the one strict form that the rest of its bytes have (ITU-T X.690, section 10; RFC 5480).
"""

from __future__ import annotations

import hashlib

# The orders n of the curves that may sign certificates: P-256, P-384, P-521 (FIPS 186-4, D.1).
_ORDERS = (
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    0x01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409,
)
_INTEGER, _BITS, _SEQUENCE = 0x02, 0x03, 0x30
_LONG = 0x80
_MAX_LENGTH_BYTES = 4


def certificate_names(der: bytes) -> tuple[str, ...]:
    """Return the fingerprints, sha256 in hex, that a certificate may have; its own comes first.

    Raises:
        ValueError: when it is not of the strict form that leaves no other.
    """
    ((kind, body),) = _parts(der)
    (_, signed), (_, algorithm), (bits, signature) = _parts(body)
    if kind != _SEQUENCE or bits != _BITS or not signature.startswith(b"\0"):
        raise ValueError("it is no certificate, or its signature has bits to spare")
    head = _made(_SEQUENCE, signed) + _made(_SEQUENCE, algorithm)
    if _made(_SEQUENCE, algorithm) not in signed:
        raise ValueError("its signature is of another kind than it says")
    forms = [signature[1:], *_twins(signature[1:])]
    ders = [_made(_SEQUENCE, head + _made(_BITS, b"\0" + form)) for form in forms]
    if ders[0] != der:
        raise ValueError("its bytes have another form as well")
    return tuple(hashlib.sha256(item).hexdigest() for item in ders)


def _twins(signature: bytes) -> list[bytes]:
    """Return what else holds where this signature does; of RSA, nothing."""
    if signature[:1] != bytes([_SEQUENCE]):
        return []
    ((_, body),) = _parts(signature)
    (first, r), (second, s) = _parts(body)
    number = int.from_bytes(s, "big")
    if (first, second) != (_INTEGER, _INTEGER) or s != _integer(number):
        raise ValueError("its signature has another form as well")
    return [
        _made(_SEQUENCE, _made(_INTEGER, r) + _made(_INTEGER, _integer(order - number)))
        for order in _ORDERS
        if 0 < number < order
    ]


def _integer(value: int) -> bytes:
    """Return a positive number in as few bytes as it takes."""
    return value.to_bytes(value.bit_length() // 8 + 1, "big")


def _parts(data: bytes) -> list[tuple[int, bytes]]:
    """Return tags and contents of what stands one after the other."""
    parts, at = [], 0
    while at < len(data):
        tag, size, at = data[at], *_length(data, at + 1)
        if at + size > len(data):
            raise ValueError("it ends early")
        parts.append((tag, data[at : at + size]))
        at += size
    return parts


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Return a length and where what it is of begins."""
    first = data[at] if at < len(data) else _LONG
    if first < _LONG:
        return first, at + 1
    count = first - _LONG
    if not 1 <= count <= _MAX_LENGTH_BYTES:
        raise ValueError("it has a length that is none")
    return int.from_bytes(data[at + 1 : at + 1 + count], "big"), at + 1 + count


def _made(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < _LONG:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, _LONG | len(length)]) + length + body
