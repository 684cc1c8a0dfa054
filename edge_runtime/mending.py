"""Mending a store: damaged versions are put in place anew from bundles of the same digests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.checking import Finding, Report, check_store
from edge_runtime.contract.bundle.files import is_directory
from edge_runtime.contract.bundle.verify import BundledPackage, verify_bundle
from edge_runtime.contract.errors import BundleError
from edge_runtime.state.store import Store
from edge_runtime.stick_search import Search, is_layout, search_stick
from edge_runtime.sticks import word_of


@dataclass
class Mended:
    """What mending did.

    Attributes:
        before: what was wrong.
        after: what is wrong still.
        done: the versions that were put in place anew, each with the bundle it came from.
        search: the bundles that were asked; those that could not be used are skipped.
    """

    before: Report
    after: Report
    search: Search
    done: list[tuple[str, Path]] = field(default_factory=list)


def mend(store: Store, source: Path, tell: Callable[[str], None] = lambda _: None) -> Mended:
    """Mend what is damaged, as far as these bundles hold it.

    What is mended gets exactly the bytes that were signed under its digest, so nothing else
    changes: neither which version serves, nor what was proven of it.

    Args:
        store: the store.
        source: a bundle, or a directory with bundles.
        tell: is told what is being read.

    Raises:
        BundleError: when the one bundle that was named cannot be believed.
        DeviceError: when the store cannot be read or written.
        StoreBusy: when another process is writing to the store.
    """
    before = check_store(store, tell=tell)
    several = is_directory(source) and not is_layout(source)
    search = search_stick(source) if several else Search(source.parent, [source])
    mended = Mended(before, before, search)
    wanted = {finding.digest: finding for finding in before.findings if finding.digest}
    for path in search.paths:
        try:
            _mend_from(path, store, wanted, mended)
        except BundleError as error:
            if not several:
                raise
            search.skip(path, word_of(path, error), error)
    _mend_records(store)
    mended.after = check_store(store, tell=tell)
    return mended


def _mend_from(path: Path, store: Store, wanted: dict[str, Finding], mended: Mended) -> None:
    with verify_bundle(path, store.trust.keys()) as bundle:
        for package in bundle.packages:
            finding = wanted.get(package.digest)
            if finding is not None:
                _put_in_place(package, store, finding)
                del wanted[package.digest]
                mended.done.append((finding.place, path))


def _put_in_place(package: BundledPackage, store: Store, finding: Finding) -> None:
    with store.writing() as writer:
        writer.stage(
            finding.model,
            package.digest,
            package.extract,
            size=sum(entry.size for entry in package.manifest.files),
            mend=True,
        )


def _mend_records(store: Store) -> None:
    """Write a second copy where one of the two is bad; where both are, none can be guessed."""
    for name in store.models():
        reading = store.model(name).read()
        if reading.degraded and not reading.lost:
            with store.writing() as writer:
                writer.update(name, lambda state: state)
