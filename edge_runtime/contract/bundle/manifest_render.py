"""``manifest.json`` as bytes to be signed: the same manifest gives the same bytes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edge_runtime.contract import strictjson
from edge_runtime.contract.bundle.manifest import (
    COMPONENT,
    FORMAT,
    OURS,
    VARIANT_DIRECTORY,
    FileEntry,
    Manifest,
    Target,
    Variant,
)
from edge_runtime.contract.tensors import TensorSpec


def render_manifest(manifest: Manifest) -> bytes:
    """Return the bytes to be signed; the same manifest gives the same bytes."""
    return strictjson.dumps(
        {
            "schema_version": "1.0",
            "package_name": manifest.name,
            "package_version": manifest.version,
            "description": manifest.description,
            "layout": "portable",
            "components": {
                COMPONENT: {"variants": {v.name: _variant_json(v) for v in manifest.variants}}
            },
            "additional_metadata": {OURS: _ours_json(manifest)},
        }
    )


def _variant_json(variant: Variant) -> dict[str, Any]:
    return {
        "variant_directory": VARIANT_DIRECTORY,
        "ep": variant.provider,
        "device": "cpu" if variant.provider == "CPUExecutionProvider" else "gpu",
        "executor_info": {
            "ort": {
                "model_file": variant.model_file.removeprefix(f"{VARIANT_DIRECTORY}/"),
                "session_options": dict(variant.session_options),
                "provider_options": dict(variant.provider_options),
            }
        },
        "additional_metadata": {
            OURS: {
                "precision": variant.precision,
                "tolerances": {
                    output: {"rtol": tolerance.rtol, "atol": tolerance.atol}
                    for output, tolerance in variant.tolerances.items()
                },
                **_weights_json(variant),
            }
        },
    }


def _weights_json(variant: Variant) -> dict[str, Any]:
    """Return the files beside the graph; a graph that holds its weights has no such key."""
    names = [path.removeprefix(f"{VARIANT_DIRECTORY}/") for path in variant.weights]
    return {"weights": names} if names else {}


def _ours_json(manifest: Manifest) -> dict[str, Any]:
    target, interface, golden = manifest.target, manifest.interface, manifest.golden
    return {
        "format": FORMAT,
        "min_runtime": manifest.min_runtime,
        "must_understand": list(manifest.must_understand),
        "release": manifest.release,
        "target": {
            "name": target.name,
            "os": target.os,
            "architecture": target.architecture,
            "priority": target.priority,
            "min_engine": target.min_engine,
            "opset": dict(target.opset),
            "ir": target.ir,
            "memory_bytes": target.memory_bytes,
            "threads": target.threads,
            **_cpu_flags_json(target),
        },
        "task": interface.task,
        "inputs": [_spec_json(spec) for spec in interface.inputs],
        "outputs": [_spec_json(spec) for spec in interface.outputs],
        "roles": dict(interface.roles),
        "labels": list(interface.labels),
        "columns": [
            {
                "name": column.name,
                "kind": column.kind,
                "input": column.input,
                "index": column.index,
                "missing": column.missing,
            }
            for column in interface.columns
        ],
        "table": {"missing_tokens": list(interface.table.missing_tokens)},
        "ladder": [variant.name for variant in manifest.variants],
        "golden": {"file": golden.file, "rows": golden.rows, "synthetic": golden.synthetic},
        "files": [_file_json(entry) for entry in manifest.files],
        "provenance": dict(manifest.provenance),
    }


def _cpu_flags_json(target: Target) -> dict[str, Any]:
    """Return what the processor must have; where that is nothing there is no such key."""
    groups = [list(group) for group in target.cpu_flags]
    return {"cpu_flags": groups} if groups else {}


def _file_json(entry: FileEntry) -> dict[str, Any]:
    plain = {"path": entry.path, "size": entry.size, "sha256": entry.sha256}
    return plain if entry.packed is None else {**plain, "packed": asdict(entry.packed)}


def _spec_json(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}
