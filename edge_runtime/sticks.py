"""Installing from a stick: the newest release for this device, and a word on all the others.

What a stick says is only a hint. Which bundle is meant is told by manifests that a trusted key
signed, and the installation verifies all of it again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_runtime.contract.bundle.archive import BLOCK
from edge_runtime.contract.bundle.files import is_directory, open_plain
from edge_runtime.contract.bundle.manifest import Manifest
from edge_runtime.contract.bundle.signature import Trusted
from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.errors import (
    ArchiveCorrupt,
    BlobMissing,
    BundleError,
    BundleUnreadable,
    DigestMismatch,
    EdgepackError,
    EngineTooOld,
    ExecutionProviderMissing,
    FilesMismatch,
    JsonMalformed,
    MixedBundle,
    MustUnderstand,
    NoBundleFound,
    NoMatchingTarget,
    RefAmbiguous,
    ReleaseRevoked,
    RuntimeTooOld,
    SignatureInvalid,
    SignatureMissing,
    SignerRevoked,
    SignerUntrusted,
    TrustInvalid,
    VersionConflict,
)
from edge_runtime.contract.facts import DeviceFacts
from edge_runtime.installing import Installation, install
from edge_runtime.keys import newer_trust
from edge_runtime.loading import matched
from edge_runtime.probe import probe
from edge_runtime.state.store import Store
from edge_runtime.stick_search import Search, is_layout, search_stick

MAX_TOLD = 20

_END = bytes(2 * BLOCK)
_DAMAGE = (
    ArchiveCorrupt,
    BlobMissing,
    BundleUnreadable,
    DigestMismatch,
    FilesMismatch,
    JsonMalformed,
)
_WORDS: dict[type[EdgepackError], str] = {
    BlobMissing: "half-copied",
    BundleUnreadable: "unreadable",
    SignatureInvalid: "forged",
    SignatureMissing: "unsigned",
    SignerUntrusted: "untrusted",
    SignerRevoked: "revoked",
    TrustInvalid: "forged",
    ReleaseRevoked: "revoked",
    RuntimeTooOld: "newer",
    MustUnderstand: "newer",
    MixedBundle: "mixed",
    NoMatchingTarget: "elsewhere",
    EngineTooOld: "engine",
    ExecutionProviderMissing: "engine",
}


@dataclass(frozen=True)
class Fitting:
    """A bundle that a trusted key signed and that has a target for this device.

    Attributes:
        path: the bundle.
        manifest: of the target that fits best.
        digest: of that manifest.
    """

    path: Path
    manifest: Manifest
    digest: str


@dataclass(frozen=True)
class FromStick:
    """What was installed from a stick.

    Attributes:
        done: what the installation did.
        path: the bundle that was taken.
        search: what else lies on the stick.
    """

    done: Installation
    path: Path
    search: Search


def install_from(
    directory: Path,
    store: Store,
    *,
    name: str | None = None,
    new_interface: bool = False,
    stage_only: bool = False,
) -> FromStick:
    """Install the newest release for this device that lies whole on a stick.

    A bundle turns out to be damaged only when all of it is read: then its next copy is taken,
    or the next older release, as long as that is newer than what serves.

    Args:
        directory: where the stick is mounted.
        store: where it goes.
        name: the model; needed where bundles of several fit.
        new_interface: allow other inputs or outputs than those of the version that serves.
        stage_only: install and prove it, and let what serves now go on.

    Raises:
        NoBundleFound: when nothing on it can be installed.
        RefAmbiguous: when bundles of several models fit and none was named.
        EdgepackError: as installing the chosen bundle alone would.
    """
    facts = probe()
    search = search_stick(directory)
    notes = _believed_first(search, store)
    fitting = list(_fitting(search, store.trust.keys(), facts))
    damaged: list[EdgepackError] = []
    for found in _chosen(search, _of_one_model(search, fitting, store, name), store, facts):
        try:
            done = install(
                found.path, store, new_interface=new_interface, stage_only=stage_only
            )
        except _DAMAGE as error:
            damaged.append(error)
            search.skip(found.path, word_of(found.path, error), error)
        else:
            said = tuple(dict.fromkeys((*notes, *done.notes)))
            return FromStick(replace(done, notes=said), found.path, search)
    raise damaged[0]


def _believed_first(search: Search, store: Store) -> list[str]:
    """Put the newest ``trust.json`` of the stick in force, be it inside of a bundle."""
    said = list(newer_trust(store, *search.trust_files))
    for path in tuple(search.paths):
        try:
            said += newer_trust(store, path)
        except TrustInvalid as error:
            search.paths.remove(path)
            search.skip(path, word_of(path, error), error)
    return said


def _fitting(search: Search, keys: Sequence[Trusted], facts: DeviceFacts) -> Iterator[Fitting]:
    """Yield what is signed by a trusted key and has a target for this device."""
    for path in search.paths:
        try:
            with verify_bundle(path, keys) as bundle:
                packages = bundle.packages
            index, _ = matched([package.manifest for package in packages], facts)
        except (
            BundleError,
            EngineTooOld,
            ExecutionProviderMissing,
            NoMatchingTarget,
        ) as error:
            search.skip(path, word_of(path, error), error)
        else:
            yield Fitting(path, packages[index].manifest, packages[index].digest)


def word_of(path: Path, error: EdgepackError) -> str:
    """Return in a word why a bundle is not installed."""
    short = isinstance(error, ArchiveCorrupt) and not _is_ended(path)
    # A directory without its first files, which the system reads well.
    begun = isinstance(error, BundleUnreadable) and is_directory(path) and is_layout(path)
    return "half-copied" if short or begun else _WORDS.get(type(error), "damaged")


def _is_ended(path: Path) -> bool:
    """Tell whether a file ends as tars do."""
    try:
        with open_plain(path) as stream:
            stream.seek(-len(_END), os.SEEK_END)
            return stream.read() == _END
    except OSError:
        return False


def _of_one_model(
    search: Search, fitting: Sequence[Fitting], store: Store, name: str | None
) -> list[Fitting]:
    """Return the bundles of the model that is meant."""
    names = sorted({item.manifest.name for item in fitting})
    if name is None and len(names) > 1:
        raise _ambiguous(search, fitting, store)
    wanted = name or "".join(names)
    found = [item for item in fitting if item.manifest.name == wanted]
    if not found:
        raise _nothing(search, [item for item in fitting if item not in found])
    return found


def _chosen(
    search: Search, found: Sequence[Fitting], store: Store, facts: DeviceFacts
) -> list[Fitting]:
    """Return what to install, the newest release first, copies of the same behind each other.

    What is older than the version that serves is never chosen: that way back is ``rollback``.
    """
    serving = _serving_release(store, found[0].manifest.name)
    for item in found:
        if item.manifest.release < serving:
            text = f"release {item.manifest.release}, here serves {serving}"
            search.skip(item.path, "older", text)
    releases = sorted({item.manifest.release for item in found}, reverse=True)
    newer = [release for release in releases if release > serving]
    taken = newer or [release for release in releases if release == serving]
    if not taken:
        raise _nothing(search, [])
    groups = ([item for item in found if item.manifest.release == one] for one in taken)
    return [item for group in groups for item in _copies(group, facts)]


def _copies(group: Sequence[Fitting], facts: DeviceFacts) -> list[Fitting]:
    """Return the copies of the one that fits best among the bundles of one release.

    Raises:
        VersionConflict: when two of them are of the same target, and differ.
    """
    by_target: dict[str, Fitting] = {}
    for item in group:
        other = by_target.setdefault(item.manifest.target.name, item)
        if other.digest != item.digest:
            raise VersionConflict(
                f"{other.path} and {item.path} are both release {item.manifest.release} of "
                f"{item.manifest.name}, one holds {other.digest[:16]}…, the other "
                f"{item.digest[:16]}…",
                hint="Name the bundle that is meant: edge-runtime install FILE",
                version=item.manifest.version,
                expected=other.digest,
                found=item.digest,
            )
    ranked = list(by_target.values())
    index, _ = matched([item.manifest for item in ranked], facts)
    return [item for item in group if item.digest == ranked[index].digest]


def _serving_release(store: Store, name: str) -> int:
    """Return the release that serves; -1 where none does."""
    if name not in store.models():
        return -1
    version = store.model(name).standing().version
    return version.release if version else -1


def _ambiguous(search: Search, fitting: Sequence[Fitting], store: Store) -> RefAmbiguous:
    installed = store.models()
    newest = {
        item.manifest.name: item.manifest.version
        for item in sorted(fitting, key=lambda item: item.manifest.release)
    }
    told = [
        f"{name} {version} ({'' if name in installed else 'not '}installed here)"
        for name, version in sorted(newest.items())
    ]
    first = next((name for name in sorted(newest) if name in installed), min(newest))
    return RefAmbiguous(
        f"one model was meant, bundles of {len(newest)} on {search.directory} fit this device: "
        + ", ".join(told),
        hint=f"Name one of them: --name {first}",
        expected=1,
        found=sorted(newest),
    )


def _nothing(search: Search, others: Sequence[Fitting]) -> EdgepackError:
    """Return the error of a stick from which nothing can be installed.

    Where a single bundle lies on it, its own error says best what to do.
    """
    if len(search.skipped) == 1 and search.skipped[0].error and not others:
        return search.skipped[0].error
    told = [f"{item.manifest.name} {item.manifest.version}" for item in others]
    told += [f"{item.path} ({item.word})" for item in search.skipped]
    shown = told[:MAX_TOLD] + [f"{len(told) - MAX_TOLD} more"] * (len(told) > MAX_TOLD)
    shown += [f"{search.others} files that are no bundles"] * (search.others > 0)
    shown += [search.partial] * bool(search.partial)
    return NoBundleFound(
        f"a bundle to install was looked for in {search.directory}, found "
        + (", ".join(shown) or "nothing"),
        hint="Copy the bundle for this device there whole; verify FILE tells more about one.",
        path=str(search.directory),
        expected="a newer release for this device, whole, signed by a trusted key",
        found=[f"{item.manifest.name} {item.manifest.version}" for item in others],
        **search.to_json(),
    )
