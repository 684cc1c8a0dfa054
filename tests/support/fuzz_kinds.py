"""What is fuzzed, and by which measure each input must be refused or be without effect.

Every kind bends sound things at random and hands them to the code that a device has for them.
It may refuse them with a typed error; whatever it takes must be what was signed, or hold by a
second judgement that shares no code with the first.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import bent
import bundles
import devices
import fuzz_graphs
import numpy as np
import shrunk
import trusts
from certificates import certified, leaf, middle, root
from fuzz_bend import Bender

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.archive import write_layout
from edge_runtime.contract.bundle.content import chunks_of
from edge_runtime.contract.bundle.digests import checked, sha256_hex
from edge_runtime.contract.bundle.manifest import (
    MANIFEST_NAME,
    PROVIDER_OPTIONS,
    SESSION_OPTIONS,
    SIGNATURE_NAME,
    FileEntry,
    Packed,
    is_bundle_path,
)
from edge_runtime.contract.bundle.manifest_json import parse_manifest
from edge_runtime.contract.bundle.oci import layout_entries
from edge_runtime.contract.bundle.packing import unpacked
from edge_runtime.contract.bundle.signature import verify_signature
from edge_runtime.contract.bundle.trust_file import verify_trust
from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.npz import read_npz
from edge_runtime.engine import frames
from edge_runtime.state import record
from edge_runtime.state.loads import Loads, standing

Once = Callable[[Bender], None]


class GotThroughError(AssertionError):
    """Something was taken that must not be."""


def require(held: bool, what: str) -> None:
    """Raise unless what was taken is what may be taken."""
    if not held:
        raise GotThroughError(what)


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        name: for the command line.
        what: in words, for people.
        measure: by what an input that is taken is judged.
        share: how many of a thousand inputs are of this kind.
        make: prepares it in an empty directory; what it returns makes one input, tries it,
            and raises a typed error where it is refused.
    """

    name: str
    what: str
    measure: str
    share: int
    make: Callable[[Path], Once]


# --- bundles -------------------------------------------------------------------------------


def _archive(room: Path) -> Once:
    """Bend the tar itself: every package that comes out must be one that was signed."""
    sounds = [
        bundles.bundle(room / "plain.oci.tar").read_bytes(),
        shrunk.write(room / "packed.oci.tar", shrunk.parts()).read_bytes(),
    ]
    signed = _packages(room, sounds)
    path = room / "bent.oci.tar"

    def once(bender: Bender) -> None:
        data = bender.choice(sounds)
        path.write_bytes(bender.tar(data) if bender.often(0.8) else bender.bytes(data))
        _take(path, signed)

    return once


def _documents(room: Path) -> Once:
    """Bend index and manifests that nobody signed, with digests that hold."""
    images = bundles.images()
    path = bundles.bundle(room / "plain.oci.tar")
    signed = _packages(room, [path.read_bytes()])
    entries = dict(layout_entries(images))
    stored = [data for name, data in entries.items() if name.startswith("blobs/")]
    manifests = [data for data in stored if b'"layers":[' in data]

    def once(bender: Bender) -> None:
        if bender.often(0.8):
            documents = [bender.json(bender.choice(manifests)) for _ in range(2)]
            made = bent.assemble(documents, stored)
        else:
            made = [
                (name, bender.json(data) if name == "index.json" else data)
                for name, data in entries.items()
            ]
        write_layout(path, made)
        _take(path, signed)

    return once


def _packages(room: Path, sounds: list[bytes]) -> dict[str, dict[str, str]]:
    """Return the files of every package in sound bundles, by the package's digest."""
    found = {}
    for data in sounds:
        (room / "sound.oci.tar").write_bytes(data)
        with verify_bundle(room / "sound.oci.tar", bundles.KEYS) as verified:
            for package in verified.packages:
                files = [entry.path for entry in package.manifest.files]
                found[package.digest] = {name: sha256_hex(package.read(name)) for name in files}
    (room / "sound.oci.tar").unlink()
    return found


def _take(path: Path, signed: Mapping[str, Mapping[str, str]]) -> None:
    with verify_bundle(path, bundles.KEYS) as verified:
        require(bool(verified.packages), "a bundle of nothing")
        for package in verified.packages:
            files = [entry.path for entry in package.manifest.files]
            taken = {name: sha256_hex(package.read(name)) for name in files}
            require(signed.get(package.digest) == taken, "a package that nobody signed")
            package.check()


def _manifest(room: Path) -> Once:
    """Bend what is signed: whatever is taken keeps to the allow-lists."""
    del room
    sounds = [bent.honest()[0].data, bent.named(shrunk.parts(), MANIFEST_NAME).data]

    def once(bender: Bender) -> None:
        found = parse_manifest(bender.json(bender.choice(sounds)))
        paths = {entry.path for entry in found.files}
        require(all(map(is_bundle_path, paths)), "a path that leads elsewhere")
        for variant in found.variants:
            require({variant.model_file, *variant.weights} <= paths, "a file nobody signed")
            require(set(variant.session_options) <= SESSION_OPTIONS, "a session option")
            require(set(variant.provider_options) <= PROVIDER_OPTIONS, "a provider option")

    return once


def _packed(room: Path) -> Once:
    """Bend a gzipped tar that is signed as it is: the file in it must be the signed one."""
    del room
    part = next(part for part in shrunk.parts() if part.packed is not None)
    blob, plain = b"".join(chunks_of(part.blob, part.path)), part.data

    def once(bender: Bender) -> None:
        made = bender.bytes(blob)
        if bender.often(0.3):
            made = shrunk.gzipped(part.path, bender.bytes(plain))
        packed = Packed(len(made), sha256_hex(made))
        entry = FileEntry(part.path, len(plain), sha256_hex(plain), packed)
        taken = b"".join(checked(unpacked(entry, lambda: iter([made])), entry))
        require(taken == plain, "another file than was signed")

    return once


# --- signatures and trust ------------------------------------------------------------------


def _signature(room: Path) -> Once:
    """Bend signatures: by a key, by certificates, and valid ones over nonsense."""
    del room
    authority = root()
    below = middle(authority)
    keys = [*bundles.KEYS, authority.authority()]
    sounds = [
        bent.named(bent.honest(), SIGNATURE_NAME).data,
        bent.named(certified(leaf(below), below), SIGNATURE_NAME).data,
    ]
    signed = [verify_signature(data, keys)[0] for data in sounds]
    claims = strictjson.dumps(bent.claims(bent.without(bent.honest(), SIGNATURE_NAME)))

    def once(bender: Bender) -> None:
        if bender.often(0.3):
            bent_claims = bender.json(claims)
            found, _ = verify_signature(bent.sign_claims(bent_claims), keys)
            require(all(len(digest) == 64 for digest in found.values()), "no digest")
            return
        data = _enveloped(bender, bender.choice(sounds))
        require(verify_signature(data, keys)[0] in signed, "other digests than were signed")

    return once


def _trust(room: Path) -> Once:
    """Bend lists of trust: whatever is taken is what the root signed."""
    del room
    rotations = [trusts.handover(trusts.ROOT, trusts.NEXT)]
    listed = trusts.document(7, trusts.grant(), trusts.grant(trusts.STRANGER, "vision-*"))
    sounds = [trusts.signed(listed), trusts.signed(listed, trusts.NEXT, rotations)]
    payload = trusts.render_document(listed)
    pinned = trusts.ROOT.public_key

    def once(bender: Bender) -> None:
        if bender.often(0.3):
            nonsense = trusts.enveloped(bender.json(payload), trusts.ROOT)
            verify_trust(trusts.render_trust_file([], nonsense), pinned)
            return
        data = _enveloped(bender, bender.choice(sounds))
        require(verify_trust(data, pinned).document == listed, "a list that nobody signed")

    return once


def _enveloped(bender: Bender, data: bytes) -> bytes:
    """Bend what was signed under its old signature, or the form around it."""
    if bender.often(0.4):
        document = json.loads(data)
        payload = base64.b64decode(document["dsseEnvelope"]["payload"])
        made = bender.json(payload, 1) if bender.often(0.7) else bender.bytes(payload)
        document["dsseEnvelope"]["payload"] = bent.base64_text(made)
        return json.dumps(document).encode()
    return bender.json(data) if bender.often(0.7) else bender.bytes(data)


# --- what the device keeps -----------------------------------------------------------------


def _record(room: Path) -> Once:
    """Bend the two copies of a record, with sums that hold and with others."""
    old, new = (record.Version(mark * 64, f"{mark}.0.0", int(mark), "") for mark in "12")
    first = record.proven_good(record.activated(record.State(generation=3), old))
    states = [first, record.activated(record.State(4, first.active), new)]
    sounds = [record.render(state) for state in states]

    def once(bender: Bender) -> None:
        summed = bender.often(0.3)
        for name, data in zip(record.COPIES, sounds, strict=True):
            made = bender.bytes(data) if bender.often(0.7) else data
            if summed:
                made = _summed(bender.json(data))
            (room / name).write_bytes(made)
        found = record.read(room)
        if not summed:
            require(found.lost or found.state in states, "a record that nobody wrote")

    return once


def _summed(document: bytes) -> bytes:
    """Return a record that was bent, under a sum that holds."""
    rest = document.partition(b",")[2].lstrip()
    return b'{"crc32":"%08x",%s' % (zlib.crc32(rest), rest)


def _loads(room: Path) -> Once:
    """Bend what unprivileged processes may write: no version is taken but those recorded."""
    directory = room / "loads"
    directory.mkdir()
    old, new = (record.Version(mark * 64, f"{mark}.0.0", int(mark), "") for mark in "12")
    state = record.activated(record.proven_good(record.activated(record.State(), old)), new)
    names = [
        f"{digest}.{end}"
        for digest in (old.digest, new.digest)
        for end in ("0.load", "1.load", "255.load", "rows", "good", "failed", "x.load", "load")
    ]
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()

    def once(bender: Bender) -> None:
        for path in directory.iterdir():
            path.unlink()
        for name in {bender.choice(names) for _ in range(4)}:
            text = b"%d %b answered\n" % (bender.number(), boot.strip())
            (directory / name).write_bytes(bender.bytes(text) if bender.often(0.8) else text)
        loads = Loads(directory)
        taken = standing(state, loads)
        require(taken.version in (old, new), "a version that is not recorded")
        require(len(taken.reason) < 2000, "a reason without an end")
        require(loads.running() == [], "a load that nobody holds")

    return once


def _npz(room: Path) -> Once:
    """Bend golden vectors: never an object, never more than was allowed."""
    del room
    sounds = [bundles.golden(bundles.graph()), devices.write_npz(devices.loan().feed)]
    limit = 1 << 20

    def once(bender: Bender) -> None:
        for array in read_npz(
            bender.bytes(bender.choice(sounds)), what="x", limit=limit
        ).values():
            texts = array.dtype.kind != "O" or all(isinstance(item, str) for item in array.flat)
            require(texts, "an object out of a pickle")
            require(array.nbytes <= 8 * limit, "more than was allowed")

    return once


def _frames(room: Path) -> Once:
    """Bend what a worker answers, whose graph nobody vouches for: plain arrays, no more."""
    del room
    answers = devices.answers_of(devices.loan())
    whole = b"".join(frames.parts(frames.Frame("answers", {"rows": 3}, answers)))
    start, (size, _) = frames.LENGTHS.size, frames.LENGTHS.unpack_from(whole)
    head, body = whole[start : start + size], whole[start + size :]

    def once(bender: Bender) -> None:
        made = bender.json(head) if bender.often(0.7) else bender.bytes(head)
        data = bender.bytes(body) if bender.often(0.5) else body
        found = frames.unpack(made, np.frombuffer(data, np.uint8).copy())
        for array in found.arrays.values():
            if array.dtype.kind == "O":
                require(all(isinstance(item, str) for item in array.flat), "an object")
            require(array.size <= len(data), "more elements than bytes")

    return once


KINDS = (
    Kind("archive", "bundle: the tar", "each package is one that was signed", 150, _archive),
    Kind("documents", "bundle: index, OCI manifests", "the same", 90, _documents),
    Kind(
        "manifest", "signed manifest", "only allowed options and signed files", 140, _manifest
    ),
    Kind("packed", "packed file", "the signed bytes", 80, _packed),
    Kind("signature", "signature, certificates", "the signed digests", 120, _signature),
    Kind("trust", "trust.json", "the list that the root signed", 80, _trust),
    Kind("graph", "graph", "onnx's parser finds nothing forbidden", 160, fuzz_graphs.once),
    Kind("record", "record of a model", "one of the two states written", 40, _record),
    Kind("loads", "marks of loads", "a version that is recorded", 40, _loads),
    Kind("frames", "answers of a worker", "plain arrays within their bytes", 60, _frames),
    Kind("npz", "golden vectors", "plain arrays within the limit", 40, _npz),
)
