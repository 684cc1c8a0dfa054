"""What a build is asked to do: flags over ``packager.toml`` over defaults."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.contract.errors import InputUnreadable, UsageError
from packager.budgets import DEFAULT_DROP, Budgets, Drop
from packager.errors import ConfigInvalid, ConfigUnknownKey, nearest
from packager.options import OPTIONS, Option

DEFAULT_VERSION = "1.0.0"
DEFAULT_TARGETS = ("x86-64-cpu", "arm64-cpu")
DEFAULT_OUT = Path("dist")
DEFAULT_KEY = Path("keys/release.key")
DEFAULT_LAYOUT = "nchw"

# A version's parts, and the number that all but the first stay below.
_PARTS = 3
_BELOW = 1000


@dataclass(frozen=True)
class BuildConfig:
    """Everything that decides a build; each field but ``model`` is a flag of ``build``.

    Attributes:
        model: the source model.
        name: what the bundle is called.
        version: for people.
        release: a rising integer, for machines; a device never goes below it.
        targets: names or paths of target profiles.
        data: rows that calibrate and judge.
        label: the column of ``data`` that holds the truth.
        holdout: rows that judge alone.
        split_by: a column of ``data`` whose groups must not be parted.
        key: the signing key.
        passphrase_file: a file whose first line opens the key.
        unsigned: leave the signature to ``packager sign``.
        out: where the bundle and the report go.
        replay: a report whose measured values this build must reproduce.
        trust_pickle: whether a pickle may run in the child.
        golden: ``synthetic``, ``real``, or a file of rows.
        metric: a metric's name; None lets the labels decide.
        max_drop: how much of the metric a variant may lose against float32.
        max_size: bytes that a variant may have; None for any.
        max_latency_ms: milliseconds that one call with one row may take; None for any.
        max_memory: bytes that a variant may take beyond an engine without one; None for any.
        effort: how many recipes are tried, one of ``EFFORTS``.
        jobs: how many candidates are worked on at once; None for one a processor.
        single: ship one variant a target, not a ladder.
        description: one line for people.
        license: the model's licence, as an SPDX expression.
        path: directories whose modules a saved model needs.
        converter: Python files that register converters with skl2onnx.
        from_step: how many steps of a pipeline the application computes itself.
        allow_version_skew: open a model with other library versions than wrote it.
        weights: the state_dict of a model that a function makes.
        input: the inputs of such a model, as ``name:dtype[axis,…]``.
        show_rows: whether errors and the report show values of the worst rows.
        labels: names of the classes, in the order of the model's outputs.
        threshold: from which score on the second of two classes is answered.
        image: height, width and channels of the images that the application hands over.
        mean: what is subtracted from each channel, once its values are within 0…1.
        std: what each channel is then divided by.
        layout: where the model wants the channels, one of ``LAYOUTS``.
    """

    model: Path
    name: str
    version: str
    release: int
    targets: tuple[str, ...] = DEFAULT_TARGETS
    data: Path | None = None
    label: str | None = None
    holdout: Path | None = None
    split_by: str | None = None
    key: Path = DEFAULT_KEY
    passphrase_file: Path | None = None
    unsigned: bool = False
    out: Path = DEFAULT_OUT
    replay: Path | None = None
    trust_pickle: bool = False
    golden: str | Path = "synthetic"
    metric: str | None = None
    max_drop: Drop = DEFAULT_DROP
    max_size: int | None = None
    max_latency_ms: float | None = None
    max_memory: int | None = None
    effort: str = "normal"
    jobs: int | None = None
    single: bool = False
    description: str = ""
    license: str = ""
    path: tuple[Path, ...] = ()
    converter: tuple[Path, ...] = ()
    from_step: int | None = None
    allow_version_skew: bool = False
    weights: Path | None = None
    input: tuple[str, ...] = ()
    show_rows: bool = False
    labels: tuple[str, ...] = ()
    threshold: float | None = None
    image: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: str = DEFAULT_LAYOUT

    @property
    def budgets(self) -> Budgets:
        """What every variant that ships must keep."""
        return Budgets(self.max_drop, self.max_size, self.max_latency_ms, self.max_memory)


def load_config(path: Path) -> dict[str, Any]:
    """Read ``packager.toml`` into fields of ``BuildConfig``; its paths are relative to it.

    Raises:
        InputUnreadable: when the file cannot be read.
        ConfigUnknownKey: when a key is no flag.
        ConfigInvalid: when it is no TOML, a value cannot be, or a secret stands in it.
    """
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise InputUnreadable(
            f"{path} cannot be read: {error.strerror or error}",
            hint="Write one with packager init.",
            path=str(path),
            reason=error.strerror,
        ) from None
    except ValueError as error:
        raise ConfigInvalid(
            f"{path.name} must be TOML in UTF-8: {error}",
            hint="Mend the line, or write the file anew with packager init.",
            path=str(path),
            reason=str(error),
        ) from None
    known = {option.key: option for option in OPTIONS}
    for key in document:
        if key not in known:
            raise ConfigUnknownKey(
                f"{path.name} has the key {key!r}, which is no flag{nearest(key, known)}",
                hint="Use the names of the flags of packager build, without the dashes before.",
                path=str(path),
                expected=list(known),
                found=key,
            )
    return {
        known[key].field: _value(known[key], value, path.parent)
        for key, value in document.items()
    }


def resolve(flags: Mapping[str, Any], file: Mapping[str, Any]) -> BuildConfig:
    """Let flags stand over the file and the file over defaults.

    Args:
        flags: fields of ``BuildConfig``; None, False and () are flags that were not given.
        file: what ``load_config`` returned, or nothing.

    Raises:
        UsageError: when no model is named.
        ConfigInvalid: when a value cannot be, or one needs another that is not there.
    """
    options = {option.field: option for option in OPTIONS}
    given = {
        field: _value(options[field], value, Path())
        for field, value in flags.items()
        if value is not None and value is not False and value != ()
    }
    chosen = {**file, **given}
    if "model" not in chosen:
        raise UsageError(
            "a build needs a model, none is named",
            hint="Name one: packager build MODEL, or model = … in packager.toml.",
            expected="model",
            found=None,
        )
    for field in ("label", "holdout", "split_by", "metric"):
        if field in chosen and "data" not in chosen:
            raise _invalid(
                options[field], "left out, or given together with data", chosen[field]
            )
    if chosen.get("golden") == "real" and "data" not in chosen:
        raise _invalid(options["golden"], "synthetic where no data is given", "real")
    version = chosen.get("version", DEFAULT_VERSION)
    for field in ("mean", "std"):
        if field in chosen and len(chosen[field]) != chosen.get("image", (0, 0, 0))[-1]:
            raise _invalid(
                options[field], "as many numbers as --image has channels", chosen[field]
            )
    defaults = {"name": legal_name(chosen["model"].stem), "version": version}
    if "release" not in chosen:
        defaults["release"] = release_of(version)
    return BuildConfig(**{**defaults, **chosen})


def legal_name(stem: str) -> str:
    """Make a file's stem a bundle's name: ``My Model (v2)`` → ``my-model-v2``."""
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:64]
    return name or "model"


def release_of(version: str) -> int:
    """Turn ``1.4.0`` into 1004000, so that later versions count higher.

    Raises:
        ConfigInvalid: when it is not one to three numbers, the last two below 1000.
    """
    parts = version.split(".")
    if len(parts) <= _PARTS and all(re.fullmatch("[0-9]{1,6}", part) for part in parts):
        major, minor, patch = (*map(int, parts), 0, 0)[:_PARTS]
        if max(minor, patch) < _BELOW:
            return (major * _BELOW + minor) * _BELOW + patch
    raise ConfigInvalid(
        f"version {version!r} gives no release number; 1.4.0 would give 1004000",
        hint="Give --release, an integer greater than that of any version before.",
        key="release",
        expected="MAJOR.MINOR.PATCH",
        found=version,
    )


def config_template(config: BuildConfig) -> str:
    """Render a commented ``packager.toml`` that asks for the same build."""
    lines = [
        "# What packager build does: every flag is a key. The command line wins.",
        "# Paths are relative to this file. No secret stands here, only paths to them.",
    ]
    plain = BuildConfig(config.model, config.name, config.version, _usual_release(config))
    for option in OPTIONS:
        value = getattr(config, option.field)
        asked = option.key in ("model", "name", "version") or value != getattr(
            plain, option.field
        )
        setting = f"{option.key} = {_toml(value) if asked else option.example}"
        lines += ["", f"# {option.help}", setting if asked else f"# {setting}"]
    return "\n".join(lines) + "\n"


def _usual_release(config: BuildConfig) -> int:
    try:
        return release_of(config.version)
    except ConfigInvalid:
        return -1  # no release is usual for such a version


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Drop):
        return _toml(value.text() if value.relative else value.amount)
    return json.dumps(str(value), ensure_ascii=False)


def _value(option: Option, value: Any, base: Path) -> Any:
    read = option.kind.read(value, base)
    if read is None:
        raise _invalid(option, option.kind.wanted, value)
    return read


def _invalid(option: Option, wanted: str, found: Any) -> ConfigInvalid:
    # What was meant as a path may be the key itself: it must not reach a log.
    secret = isinstance(found, str) and "PRIVATE KEY" in found
    shown = "a private key itself" if secret else repr(found)[:60]
    return ConfigInvalid(
        f"{option.key} must be {wanted}, found {shown}",
        hint=f"Mend --{option.key}, or {option.key} in packager.toml: {option.help}.",
        key=option.key,
        expected=wanted,
        found=shown,
    )
