"""One file for whoever is not at the device: ``support``."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from edge_runtime.commands.common import store_of
from edge_runtime.console import heading, progress, table
from edge_runtime.contract.terminal import Outcome, harmless, note
from edge_runtime.contract.units import size
from edge_runtime.state.store import Store

STEM, ENDING = "edge-support", ".tar.gz"
DOCUMENT, TEXT = "support.json", "support.txt"
_MODE = 0o644


def support(options: argparse.Namespace) -> Outcome:
    """Gather all that helps to find a fault, and write it into one file."""
    from edge_runtime.outgoing import write_out
    from edge_runtime.support import collect

    store, out = store_of(options), Path(options.out)
    try:
        document = collect(store, progress)
    finally:
        progress("")
    text = support_text(document)
    data = packed({TEXT: text.encode(), DOCUMENT: json.dumps(document, indent=1).encode()})
    path = write_out(out, STEM, ENDING, data)
    if _on_one_disk(store, out):
        note(f"warning: {out} is on the disk of the store: is the stick mounted?")
    lines = [
        heading(f"written: {path}"),
        table([("size", size(len(data))), ("holds", f"{TEXT}, {DOCUMENT}")]),
        *(f"  {line}" for line in _problems(document)),
    ]
    facts = {"path": str(path), "bytes": len(data), "problems": _problems(document)}
    return Outcome("edgepack.support-file/1", facts, "\n".join(lines))


def _on_one_disk(store: Store, out: Path) -> bool:
    return store.root.is_dir() and out.stat().st_dev == store.root.stat().st_dev


def packed(files: dict[str, bytes]) -> bytes:
    """Return files as a gzipped tar that holds no time, no user and no machine."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            facts = tarfile.TarInfo(name)
            facts.size, facts.mode = len(data), _MODE
            archive.addfile(facts, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), mtime=0)


# --- what a person reads of it --------------------------------------------------------------


def support_text(document: dict[str, Any]) -> str:
    """Return the file's content for a person: what is wrong first, then all the rest."""
    problems = _problems(document) or ["nothing is known to be wrong"]
    lines = [f"edge-runtime {document['runtime']}: what it knows of its device", ""]
    lines += [f"! {problem}" for problem in problems]
    for name, value in document.items():
        if name not in ("schema", "runtime"):
            lines += ["", name.upper(), *_indented(value, "  ")]
    return "\n".join(harmless(line) for line in lines) + "\n"


def _indented(value: Any, indent: str) -> list[str]:
    """Return a JSON value as lines; what is flat stands on one."""
    if isinstance(value, dict):
        items = [(f"{key}:", item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [("-", item) for item in value]
    else:
        return [f"{indent}{_flat(value)}"]
    lines: list[str] = []
    for name, item in items:
        if isinstance(item, (dict, list)) and item and not _is_short(item):
            lines += [f"{indent}{name}", *_indented(item, f"{indent}  ")]
        else:
            lines.append(f"{indent}{name} {_flat(item)}")
    return lines


def _is_short(value: dict[str, Any] | list[Any]) -> bool:
    items = value.values() if isinstance(value, dict) else value
    return not any(isinstance(item, (dict, list)) and item for item in items)


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_flat(item) for item in value) or "none"
    return "none" if value is None or value == "" else str(value)


def _problems(document: dict[str, Any]) -> list[str]:
    """Return what is wrong, in sentences, as far as the parts tell."""
    found: list[str] = []
    for name, value in document.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict) and "error" in part:
                error = part["error"]
                found += error.get("values", {}).get("alarms") or [
                    f"{name}: {error['message']}"
                ]
    findings = document["check"].get("findings", [])
    return found + [f"{item['place']}: {item['message']}" for item in findings]
