"""Is it still what was signed? ``verify``, of a bundle or of all that is installed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.commands.bundles import skipped_lines
from edge_runtime.commands.common import store_of
from edge_runtime.console import heading, progress, table
from edge_runtime.contract.errors import UsageError
from edge_runtime.contract.terminal import Outcome, harmless, tell
from edge_runtime.contract.units import size

if TYPE_CHECKING:
    from edge_runtime.checking import Report
    from edge_runtime.mending import Mended


def verify(options: argparse.Namespace) -> Outcome:
    """Check a bundle, check the store, or mend it."""
    if options.bundle and options.repair:
        raise UsageError(
            f"a bundle is checked or a store is mended, both were asked for: {options.bundle} "
            f"and --repair {options.repair}",
            hint="Mend with edge-runtime verify --repair BUNDLE, check with verify BUNDLE.",
            found=[options.bundle, options.repair],
        )
    if options.repair:
        return _repaired(options)
    return _bundle(options) if options.bundle else _store(options)


def _bundle(options: argparse.Namespace) -> Outcome:
    from edge_runtime.contract.bundle.verify import verify_bundle
    from edge_runtime.keys import read_keys

    keys = read_keys(options.trust) if options.trust else store_of(options).trust.keys()
    with verify_bundle(Path(options.bundle), keys) as bundle:
        bundle.check()
        packages = bundle.packages
    manifest = packages[0].manifest
    targets: list[dict[str, Any]] = [
        {
            "target": package.manifest.target.name,
            "digest": package.digest,
            "signer": package.signer,
            "files": len(package.manifest.files),
            "bytes": sum(entry.size for entry in package.manifest.files),
            "variants": [variant.name for variant in package.manifest.variants],
        }
        for package in packages
    ]
    lines = [heading(f"verified: {manifest.name} {manifest.version} ({manifest.release})")]
    lines += [
        f"  {item['target']}: {item['files']} files, {size(item['bytes'])}, "
        f"{', '.join(item['variants'])}, signed by {item['signer']}"
        for item in targets
    ]
    document = {
        "name": manifest.name,
        "version": manifest.version,
        "release": manifest.release,
        "targets": targets,
    }
    return Outcome("edgepack.verify/1", document, "\n".join(lines))


def _store(options: argparse.Namespace) -> Outcome:
    from edge_runtime.checking import check_store
    from edge_runtime.keys import read_keys

    store = store_of(options)
    keys = read_keys(options.trust) if options.trust else None
    try:
        report = check_store(store, keys, progress)
    finally:
        progress("")
    place = ("store", f"{store.root} ({store.origin})")
    text = _report_text(report, place)
    _raise_worst(options, report, text)
    return Outcome("edgepack.verify-store/1", _report_json(report, str(store.root)), text)


def _repaired(options: argparse.Namespace) -> Outcome:
    from edge_runtime.mending import mend

    store = store_of(options)
    try:
        mended = mend(store, Path(options.repair), progress)
    finally:
        progress("")
    place = ("store", f"{store.root} ({store.origin})")
    text = "\n".join([*_mended_lines(mended), _report_text(mended.after, place)])
    _raise_worst(options, mended.after, text)
    document = _report_json(mended.after, str(store.root))
    document["mended"] = [{"version": title, "from": str(path)} for title, path in mended.done]
    return Outcome("edgepack.verify-store/1", document, text)


def _mended_lines(mended: Mended) -> list[str]:
    lines = [
        heading(f"mended: {title} from {harmless(str(path))}") for title, path in mended.done
    ]
    return [*(lines or [heading("nothing was mended")]), *skipped_lines(mended.search)]


def _raise_worst(options: argparse.Namespace, report: Report, text: str) -> None:
    """Let the worst finding be the command's error; a person reads all the others first."""
    if report.findings and not getattr(options, "json", False):
        tell(text)
    report.raise_worst()


def _report_json(report: Report, root: str) -> dict[str, Any]:
    return {
        "store": root,
        "trusted_keys": report.keys,
        "versions": [
            {
                "name": item.model,
                "version": item.version,
                "digest": item.digest,
                "role": item.role,
                "files": item.files,
                "bytes": item.size,
                "sound": item.sound,
            }
            for item in report.versions
        ],
        "notes": report.notes,
    }


def _report_text(report: Report, place: tuple[str, str]) -> str:
    total = sum(item.size for item in report.versions)
    count = len(report.versions)
    said = f"verified: {count} version{'s' * (count != 1)}, {size(total)}"
    if report.findings:
        wrong = len(report.findings)
        said = f"NOT as installed: {wrong} finding{'s' * (wrong != 1)}"
    rows = [place, ("keys", f"{report.keys} trusted")]
    rows += [
        (item.title, f"{'sound' if item.sound else 'DAMAGED'}, {item.role}, {size(item.size)}")
        for item in report.versions
    ]
    lines = [heading(said), table(rows)]
    if len(report.findings) > 1:  # a single one is the command's error
        lines += [f"  {item.place}: {harmless(item.error.message)}" for item in report.findings]
    lines += [f"  note: {harmless(note)}" for note in report.notes]
    return "\n".join(lines)
