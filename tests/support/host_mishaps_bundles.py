"""Ways to bring about each error of the host: keys, bundles and reports not in order."""

from __future__ import annotations

import json
from dataclasses import replace

import bundles
import trusts
from cryptography.hazmat.primitives import serialization
from host import packager
from host_mishaps import ROWS, Scene, brings_about

from edge_runtime.contract import errors as shared
from edge_runtime.contract.bundle.digests import sha256_hex
from edge_runtime.contract.bundle.trust_file import MAX_SERIAL
from packager import errors as own
from packager.stages.sign import generate_key

# --- keys ----------------------------------------------------------------------------------


@brings_about(own.KeyExists, "anew", "keys/release.key")
def a_key_that_is_there(_: Scene) -> str:
    return "keygen"


@brings_about(own.KeyUnreadable, "an EC P-256 private key", "No such file")
def an_absent_key(_: Scene) -> str:
    return "build line.onnx --key absent.key"


@brings_about(own.PassphraseWrong, "is encrypted", "does not open it")
def a_wrong_passphrase(scene: Scene) -> str:
    generate_key(scene.path / "safe", b"right")
    scene.write("pass.txt", "wrong\n")
    return "build line.onnx --key safe/release.key --passphrase-file pass.txt"


@brings_about(shared.KeyInvalid, "an EC P-256 public key", "found a private key")
def a_private_key_to_trust(scene: Scene) -> str:
    return f"verify {scene.bundle()} --trust keys/release.key"


@brings_about(own.SignerFailed, "a DER ECDSA P-256 signature", "exit status 1")
def a_program_that_does_not_sign(scene: Scene) -> str:
    return f"sign {scene.bundle()} --sign-with false --public-key keys/release.pub"


# --- what is there already -----------------------------------------------------------------


@brings_about(shared.OutputUnwritable, "is to be written", "numbers.csv is no directory")
def a_file_where_a_directory_must_be(_: Scene) -> str:
    return "build line.onnx --out numbers.csv/dist"


@brings_about(own.ReplayMismatch, "max-drop '0.01'", "with '0.5'")
def a_replay_with_another_option(scene: Scene) -> str:
    packager("build", "line.onnx", *ROWS.split(), cwd=scene.path)
    report = "dist/line-1.0.0.report.json"
    return f"build line.onnx {ROWS} --max-drop 0.5 --replay {report}"


@brings_about(own.ReplayMismatch, "a replay must make the report's packages", "'0000")
def a_replay_that_comes_out_otherwise(scene: Scene) -> str:
    packager("build", "line.onnx", cwd=scene.path)
    report = scene.path / "dist" / "line-1.0.0.report.json"
    document = json.loads(report.read_bytes())
    document["bundle"]["packages"]["arm64-cpu"] = "0" * 64
    report.write_text(json.dumps(document))
    return f"build line.onnx --replay {report}"


# --- bundles -------------------------------------------------------------------------------


@brings_about(shared.BundleUnreadable, "a readable .oci.tar", "No such file")
def an_absent_bundle(_: Scene) -> str:
    return "inspect absent.oci.tar"


@brings_about(shared.ArchiveCorrupt, "a header checksum in octal digits", "found")
def rows_as_a_bundle(_: Scene) -> str:
    return "verify line.joblib --trust keys/release.pub"


@brings_about(shared.JsonMalformed, "index.json", "is not strict JSON")
def an_index_that_is_no_json(scene: Scene) -> str:
    return scene.bent(lambda entries: entries.update({"index.json": b"{"}))


@brings_about(shared.BlobMissing, "refers to blobs/sha256/", "is not in the bundle")
def a_blob_that_is_not_there(scene: Scene) -> str:
    last = f"blobs/sha256/{sha256_hex(bundles.graph())}"
    return scene.bent(lambda entries: entries.pop(last) and None)


@brings_about(shared.DigestMismatch, "README.md must have 7 bytes", "found sha256")
def a_changed_file(scene: Scene) -> str:
    name = f"blobs/sha256/{sha256_hex(bundles.payload()['README.md'])}"
    return scene.bent(lambda entries: entries.update({name: b"# TINY\n"}))


@brings_about(shared.FilesMismatch, "the files of its table", "found others: README.md")
def a_file_less_than_signed(scene: Scene) -> str:
    document, *files = bundles.parts(bundles.manifest())
    image = bundles.image("x86-64-cpu", [document, *files[1:]])
    bundles.write_bundle(scene.path / "b.oci.tar", [image])
    return "sign b.oci.tar --key keys/release.key"


@brings_about(shared.ManifestInvalid, "a file of the signed table", "found 'absent.npz'")
def a_manifest_that_names_an_absent_file(scene: Scene) -> str:
    golden = replace(bundles.manifest().golden, file="absent.npz")
    return f"verify {scene.bundle(golden=golden)} {scene.trusted()}"


@brings_about(shared.SignatureMissing, "every target carries model.sig", "found one with only")
def an_unsigned_bundle(scene: Scene) -> str:
    image = bundles.image("x86-64-cpu", bundles.parts(bundles.manifest()))
    bundles.write_bundle(scene.path / "b.oci.tar", [image])
    return f"verify b.oci.tar {scene.trusted()}"


@brings_about(shared.SignatureInvalid, "a signature by key", "one that fails")
def a_signature_over_other_bytes(scene: Scene) -> str:
    first, signature, *files = bundles.signed(bundles.parts(bundles.manifest()))
    envelope = json.loads(signature.data)
    sig = envelope["dsseEnvelope"]["signatures"][0]
    sig["sig"] = sig["sig"][:-8] + ("A" if sig["sig"][-8] != "A" else "B") + sig["sig"][-7:]
    data = json.dumps(envelope).encode()
    image = bundles.image("x86-64-cpu", [first, replace(signature, content=data), *files])
    bundles.write_bundle(scene.path / "b.oci.tar", [image])
    return f"verify b.oci.tar {scene.trusted()}"


@brings_about(shared.SignerUntrusted, "is signed by key", "trusted")
def a_bundle_of_a_stranger(scene: Scene) -> str:
    return f"verify {scene.bundle()} --trust keys/release.pub"


@brings_about(shared.MixedBundle, "share one name, version and release", "tiny 1.5.0")
def targets_of_two_releases(scene: Scene) -> str:
    mixed = [*bundles.images(["arm64-cpu"]), *bundles.images(["x86-64-cpu"], version="1.5.0")]
    bundles.write_bundle(scene.path / "b.oci.tar", mixed)
    return f"verify b.oci.tar {scene.trusted()}"


# --- trust ---------------------------------------------------------------------------------


def listed(scene: Scene, data: bytes) -> None:
    """Write a list, and the root key that signs lists of the tests."""
    (scene.path / "trust.json").write_bytes(data)
    (scene.path / "root.key").write_bytes(
        trusts.ROOT.private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (scene.path / "test.pub").write_bytes(bundles.SIGNER.public_key.pem)


OURS = "--file trust.json --root root.key"


@brings_about(shared.TrustInvalid, "is read from", "none.json", "cannot be read")
def no_list(_: Scene) -> str:
    return "trust show --file none.json"


@brings_about(shared.TrustInvalid, "must be signed by the root key", "it names")
def list_of_another_root(scene: Scene) -> str:
    listed(scene, trusts.signed(trusts.document(3), trusts.NEXT))
    return f"trust add test.pub {OURS}"


@brings_about(shared.TrustInvalid, "a serial is at most", "the next one would be")
def serials_spent(scene: Scene) -> str:
    listed(scene, trusts.sound(MAX_SERIAL))
    return f"trust add test.pub {OURS}"


@brings_about(shared.SignerRevoked, "must not be withdrawn", "serial 3")
def withdrawn_key_added_again(scene: Scene) -> str:
    gone = [bundles.SIGNER.public_key.fingerprint]
    listed(scene, trusts.sound(3, trusts.grant(trusts.STRANGER), keys=gone))
    return f"trust add test.pub {OURS}"


@brings_about(shared.KeyInvalid, "patterns of model names", "Fraud")
def pattern_that_is_none(scene: Scene) -> str:
    listed(scene, trusts.sound(3))
    return f"trust add test.pub --for Fraud {OURS}"


@brings_about(shared.KeyInvalid, "its file or its whole fingerprint", "'abc'")
def key_that_is_neither_file_nor_fingerprint(scene: Scene) -> str:
    listed(scene, trusts.sound(3))
    return f"trust revoke --key abc {OURS}"


@brings_about(shared.UsageError, "at least one thing", "none")
def nothing_to_withdraw(_: Scene) -> str:
    return "trust revoke"


@brings_about(shared.UsageError, "NAME@NUMBER", "'fraud@1.4.0'")
def release_by_its_version(_: Scene) -> str:
    return "trust revoke --release fraud@1.4.0"


@brings_about(shared.UsageError, "64 hex digits", "'abc'")
def digest_that_is_none(_: Scene) -> str:
    return "trust revoke --digest abc"


@brings_about(own.KeyExists, "written anew", "root.key")
def second_root_key(scene: Scene) -> str:
    listed(scene, trusts.sound(3))
    (scene.path / "trust.json").unlink()
    return "trust init --out ."


@brings_about(own.KeyExists, "written anew", "trust.json")
def second_list(scene: Scene) -> str:
    listed(scene, trusts.sound(3))
    return "trust init --out ."


@brings_about(shared.BundleUnreadable, "is signed as one file", "a directory")
def list_into_a_directory(scene: Scene) -> str:
    listed(scene, trusts.sound(3))
    return "trust carry . --file trust.json"
