"""Ways to bring about each error of trust: lists that are none or old, what they withdrew."""

from __future__ import annotations

import bundles
import trusts
from mishaps import HEADER, LOAN, Scene, brings_about

from edge_runtime.contract import errors
from edge_runtime.contract.bundle.trust_file import TRUST_NAME
from edge_runtime.state.trust import TrustStore

WITHDRAWN = {"keys": [trusts.SIGNER.fingerprint]}


def believing(scene: Scene, data: bytes | None = None) -> None:
    """Pin the root key, and put a list in force."""
    trust = TrustStore(scene.store / "trust")
    trust.list.pin(trusts.ROOT.public_key.pem)
    if data is not None:
        trust.list.update(data)


def update(scene: Scene, data: bytes) -> list[str]:
    return ["trust", "update", str(scene.write(TRUST_NAME, data))]


@brings_about(errors.TrustInvalid)
def list_that_is_none(scene: Scene) -> list[str]:
    believing(scene)
    return update(scene, b"hello")


@brings_about(errors.TrustInvalid)
def list_absent(scene: Scene) -> list[str]:
    believing(scene)
    return ["trust", "update", str(scene.path / "none.json")]


@brings_about(errors.TrustInvalid)
def list_where_no_root_is_pinned(scene: Scene) -> list[str]:
    return update(scene, trusts.sound())


@brings_about(errors.TrustInvalid)
def list_of_another_root(scene: Scene) -> list[str]:
    believing(scene)
    return update(scene, trusts.signed(trusts.document(9, trusts.grant()), trusts.NEXT))


@brings_about(errors.TrustInvalid)
def list_beside_the_bundle_that_was_cut_short(scene: Scene) -> list[str]:
    believing(scene, trusts.sound(1))
    scene.write(TRUST_NAME, trusts.sound(2)[:-7])
    return scene.install()


@brings_about(errors.TrustTooOld)
def list_with_a_lower_serial(scene: Scene) -> list[str]:
    believing(scene, trusts.sound(7))
    return update(scene, trusts.sound(6))


@brings_about(errors.TrustTooOld)
def other_list_with_the_same_serial(scene: Scene) -> list[str]:
    believing(scene, trusts.sound(7))
    return update(scene, trusts.sound(7, trusts.grant(trusts.STRANGER)))


@brings_about(errors.SignerRevoked)
def bundle_by_a_withdrawn_key(scene: Scene) -> list[str]:
    believing(scene, trusts.sound(1, **WITHDRAWN))
    return scene.install()


@brings_about(errors.SignerRevoked)
def installed_version_by_a_withdrawn_key(scene: Scene) -> list[str]:
    believing(scene, trusts.sound(1, **WITHDRAWN))
    return scene.predict("rows.csv", f"{HEADER}1,1,gold\n")


@brings_about(errors.SignerRevoked)
def withdrawn_key_added_again(scene: Scene) -> list[str]:
    believing(scene, trusts.sound(1, **WITHDRAWN))
    return ["trust", "add", str(scene.write("release.pub", trusts.SIGNER.pem))]


@brings_about(errors.ReleaseRevoked)
def bundle_of_a_withdrawn_release(scene: Scene) -> list[str]:
    believing(scene, trusts.sound(1, releases=[("loan", 1_005_000)]))
    return scene.install(name="loan")


@brings_about(errors.ReleaseRevoked)
def installed_version_that_was_withdrawn(scene: Scene) -> list[str]:
    (installed,) = (scene.store / "models/loan/versions").iterdir()
    believing(scene, trusts.sound(1, digests=[installed.name]))
    return scene.predict("rows.csv", f"{HEADER}1,1,gold\n")


@brings_about(errors.SignerUntrusted)
def bundle_by_a_key_for_other_models(scene: Scene) -> list[str]:
    trust = TrustStore(scene.store / "trust")
    trust.add(trusts.STRANGER.pem, ("vision-*",))
    return scene.install(subject=LOAN, signer=bundles.STRANGER)


@brings_about(errors.KeyInvalid)
def second_root_key(scene: Scene) -> list[str]:
    believing(scene)
    root = scene.write("root.pub", trusts.NEXT.public_key.pem)
    return ["trust", "add", "--root", str(root)]


@brings_about(errors.KeyInvalid)
def names_that_no_model_has(scene: Scene) -> list[str]:
    key = scene.write("release.pub", trusts.STRANGER.pem)
    return ["trust", "add", str(key), "--for", "Vision/*"]


@brings_about(errors.UsageError)
def root_key_for_some_names(scene: Scene) -> list[str]:
    root = scene.write("root.pub", trusts.ROOT.public_key.pem)
    return ["trust", "add", "--root", str(root), "--for", "vision-*"]


@brings_about(errors.StoreCorrupt)
def list_without_its_root(scene: Scene) -> list[str]:
    believing(scene, trusts.sound(1))
    (scene.store / "trust/root.pem").unlink()
    return ["trust", "list"]
