"""The shipped profiles as data: sound each by itself, and sound beside each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from packager.config import DEFAULT_TARGETS
from packager.recipes import FAMILIES
from packager.target import load_profile, profiles_directory
from packager.target_rules import CEILINGS, CPU, RULES

PATHS = sorted(profiles_directory().glob("*.toml"))
PROFILES = [load_profile(path.stem) for path in PATHS]
DOCS = Path(__file__).parents[2] / "docs" / "targets.md"

each = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)


def test_these_profiles_are_shipped():
    assert [path.stem for path in PATHS] == [
        "arm64-cpu",
        "arm64-cuda",
        "x86-64-cpu",
        "x86-64-cuda",
        "x86-64-vnni-cpu",
    ]


def test_the_default_targets_are_shipped():
    assert set(DEFAULT_TARGETS) <= {profile.name for profile in PROFILES}


@each
def test_a_profile_is_called_as_its_file_and_its_platform(profile):
    assert (profiles_directory() / f"{profile.name}.toml").is_file()
    assert profile.name.startswith(profile.architecture)


@each
def test_what_asks_for_more_wins_over_what_asks_for_less(profile):
    for other in PROFILES:
        if other.architecture == profile.architecture and other != profile:
            assert (demands(profile) > demands(other)) == (profile.priority > other.priority)


def demands(profile):
    """Return how much a profile asks of a machine: a GPU more than any instruction set."""
    return (profile.providers[0] != CPU, len(profile.cpu_flags))


def test_no_two_profiles_of_one_platform_have_one_priority():
    ranks = [(profile.os, profile.architecture, profile.priority) for profile in PROFILES]
    assert len(set(ranks)) == len(ranks)


@each
def test_families_stand_in_their_own_order_and_end_with_float32(profile):
    ranks = [FAMILIES.index(family) for family in profile.precisions]
    assert ranks == sorted(ranks)
    assert profile.precisions[-1] == "float32"


@each
def test_float16_is_for_gpus_and_integers_for_cpus(profile):
    on_cpu = profile.providers[0] == CPU
    assert ("float16" in profile.precisions) != on_cpu
    assert any(family.startswith("int") for family in profile.precisions) == on_cpu


@each
def test_int8_takes_seven_bits_unless_vnni_is_there_for_certain(profile):
    int8 = any(family.startswith("int8") for family in profile.precisions)
    vnni = any(all("vnni" in flag for flag in group) for group in profile.cpu_flags)
    assert profile.reduce_range == (int8 and not vnni)


@each
def test_every_engine_from_the_minimum_on_loads_the_graphs(profile):
    newest = CEILINGS[profile.min_engine]
    assert profile.opset[""] <= newest.opset
    assert profile.opset["ai.onnx.ml"] <= newest.opset_ml
    assert profile.ir <= newest.ir


@each
def test_the_promised_cpus_are_of_the_architecture(profile):
    named = [cpu.qemu for cpu in profile.cpu_models if cpu.qemu != "host"]
    arm = {cpu.startswith(("cortex-", "neoverse-", "max")) for cpu in named}
    assert arm <= {profile.architecture == "arm64"}
    assert profile.architecture == "x86-64" or arm


@each
def test_wheel_tags_are_of_the_architecture_and_newest_first(profile):
    machine = {"x86-64": "x86_64", "arm64": "aarch64"}[profile.architecture]
    assert all(tag.endswith(f"_{machine}") for tag in profile.wheel_tags)
    numbered = [re.match(r"manylinux_2_(\d+)_", tag) for tag in profile.wheel_tags]
    versions = [int(match[1]) for match in numbered if match]
    assert versions == sorted(versions, reverse=True)


@each
def test_threads_are_stated_and_do_not_spin(profile):
    assert profile.threads == 1
    assert profile.session_options["session.intra_op.allow_spinning"] == "0"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_setting_of_a_profile_is_explained(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# Target profile: ")
    comments = sum(line.startswith("#") for line in lines)
    assert comments >= 15


def test_all_profiles_have_their_keys_in_one_order():
    orders = [
        [
            (section, list(value) if isinstance(value, dict) else ())
            for section, value in tomllib.loads(path.read_text()).items()
        ]
        for path in PATHS
    ]
    assert all(order == orders[0] for order in orders)


def test_the_documentation_names_every_profile_and_key():
    text = DOCS.read_text()
    for profile in PROFILES:
        assert f"`{profile.name}`" in text
    for key in RULES:
        assert f"`{key}`" in text
