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

from edge_runtime.contract.bundle.digests import sha256_hex
from packager import __version__
from packager.report.facts import BuildFacts, TargetFacts

FILE_NAME = "bom.cdx.json"


def render_bom(facts: BuildFacts, target: TargetFacts, files: Mapping[str, bytes]) -> bytes:
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
        "components": [*_data(facts), *_libraries(facts), *_files(files)],
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
                    {"type": facts.metric, "value": f"{item.quality:.6g}", "slice": item.name}
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


def _data(facts: BuildFacts) -> list[dict[str, Any]]:
    if facts.data is None:
        return []
    return [
        {
            "type": "data",
            "bom-ref": "data-samples",
            "name": facts.data.file,
            "description": "calibration and held-out rows; not part of the bundle",
            "hashes": [{"alg": "SHA-256", "content": facts.data.sha256}],
        }
    ]


def _libraries(facts: BuildFacts) -> list[dict[str, Any]]:
    return [
        {
            "type": "library",
            "bom-ref": f"library-{name}",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
        }
        for name, version in sorted(facts.versions.items())
    ]


def _files(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [
        {
            "type": "file",
            "bom-ref": f"file-{path}",
            "name": path,
            "hashes": [{"alg": "SHA-256", "content": sha256_hex(data)}],
        }
        for path, data in sorted(files.items())
    ]
