"""The bill of materials of one target as CycloneDX 1.6 ML-BOM.

Source: CycloneDX specification 1.6, JSON, components of type ``machine-learning-model``,
``data``, ``library`` and ``file``. There is no timestamp, and the serial number is derived from
the content, so that equal builds are equal bytes.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from edge_runtime.contract.bundle.content import Content, digest_of
from edge_runtime.contract.bundle.digests import sha256_hex
from packager import __version__
from packager.report.facts import BuildFacts, TargetFacts

FILE_NAME = "bom.cdx.json"
_NO_PACKAGES = ("python", "zlib")


def render_bom(facts: BuildFacts, target: TargetFacts, files: Mapping[str, Content]) -> bytes:
    """Return the document.

    Args:
        facts: the build.
        target: the target that it describes.
        files: the target's other files by path.
    """
    body: dict[str, Any] = {
        "metadata": {
            "tools": {
                "components": [
                    {"type": "application", "name": "edgepack packager", "version": __version__}
                ]
            },
            "component": _model(facts, target),
        },
        "components": [*_data(facts, target), *_software(facts), *_files(files)],
    }
    content = json.dumps(body, sort_keys=True).encode()
    serial = uuid.uuid5(uuid.NAMESPACE_OID, sha256_hex(content))
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        **body,
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def _model(facts: BuildFacts, target: TargetFacts) -> dict[str, Any]:
    identity = facts.identity
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"model-{identity.name}",
        "name": identity.name,
        "version": identity.version,
        "description": identity.description,
        "modelCard": {
            "modelParameters": {
                "task": facts.interface.task,
                "architectureFamily": facts.source.framework,
                "modelArchitecture": facts.source.kind,
                "inputs": [{"format": spec.text()} for spec in facts.interface.inputs],
                "outputs": [{"format": spec.text()} for spec in facts.interface.outputs],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [
                    {
                        "type": facts.metric_name,
                        "value": f"{item.quality:.6g}",
                        "slice": item.name,
                    }
                    for item in target.measured
                    if item.quality is not None
                ]
            },
        },
        "properties": [
            {"name": "edgepack:release", "value": str(identity.release)},
            {"name": "edgepack:target", "value": target.profile.name},
            {"name": "edgepack:source-sha256", "value": facts.source.sha256},
        ],
    }
    if identity.license:
        model["licenses"] = [{"license": {"name": identity.license}}]
    return model


def _data(facts: BuildFacts, target: TargetFacts) -> list[dict[str, Any]]:
    """Return the files of rows by their digests; their names are the maker's own business."""
    if facts.data is None:
        return []
    digests = {"data": facts.data.sha256, "holdout": facts.data.holdout_sha256}
    inside = "none of them" if target.golden_synthetic else "some real rows, as golden vectors,"
    return [
        {
            "type": "data",
            "bom-ref": f"rows-{use}",
            "name": f"rows ({use})",
            "description": f"calibrate or judge; {inside} in the bundle",
            "hashes": _hashes(digest),
        }
        for use, digest in digests.items()
        if digest
    ]


def _software(facts: BuildFacts) -> list[dict[str, Any]]:
    """Return the libraries; Python and what it brings along are on no package index."""
    found = []
    for name, version in sorted(facts.versions.items()):
        kind = "platform" if name == "python" else "library"
        component = {"type": kind, "bom-ref": f"library-{name}", "name": name}
        if name not in _NO_PACKAGES:
            component["purl"] = f"pkg:pypi/{name}@{quote(version, safe='')}"
        found.append({**component, "version": version})
    return found


def _files(files: Mapping[str, Content]) -> list[dict[str, Any]]:
    return [
        {
            "type": "file",
            "bom-ref": f"file-{path}",
            "name": path,
            "hashes": _hashes(digest_of(content)),
        }
        for path, content in sorted(files.items())
    ]


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]
