"""The shipped profiles as data: sound each by itself, and sound beside each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from edge_runtime.contract.bundle.manifest import MAX_VARIANTS
from packager.config import DEFAULT_TARGETS
from packager.target import CEILINGS, CPU, RULES, load_profile, profiles_directory

PATHS = sorted(profiles_directory().glob("*.toml"))
PROFILES = [load_profile(path.stem) for path in PATHS]
DOCS = Path(__file__).parents[2] / "docs" / "targets.md"

each = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)


def test_these_four_profiles_are_shipped():
    assert [path.stem for path in PATHS] == [
        "arm64-cpu",
        "arm64-cuda",
        "x86-64-cpu",
        "x86-64-cuda",
    ]


def test_the_default_targets_are_shipped():
    assert set(DEFAULT_TARGETS) <= {profile.name for profile in PROFILES}


@each
def test_a_profile_is_called_as_its_file_and_its_platform(profile):
    assert (profiles_directory() / f"{profile.name}.toml").is_file()
    assert profile.name.startswith(profile.architecture)


@each
def test_a_gpu_profile_wins_over_the_cpu_profile_of_its_architecture(profile):
    (cpu,) = (
        other
        for other in PROFILES
        if other.architecture == profile.architecture and other.providers == (CPU,)
    )
    assert profile.priority > cpu.priority or profile == cpu


def test_no_two_profiles_of_one_platform_have_one_priority():
    ranks = [(profile.os, profile.architecture, profile.priority) for profile in PROFILES]
    assert len(set(ranks)) == len(ranks)


@each
def test_the_ladder_ends_with_float32_and_is_short(profile):
    assert profile.precisions[-1] == "float32"
    assert len(profile.precisions) + profile.cpu_rung <= MAX_VARIANTS


@each
def test_float16_is_for_gpus_and_int8_for_cpus(profile):
    on_cpu = profile.providers[0] == CPU
    assert ("float16" in profile.precisions) != on_cpu
    assert any(rung.startswith("int8") for rung in profile.precisions) == on_cpu


@each
def test_int8_takes_seven_bits_because_a_building_cpu_may_saturate(profile):
    int8 = any(rung.startswith("int8") for rung in profile.precisions)
    assert profile.reduce_range == int8


@each
def test_every_engine_from_the_minimum_on_loads_the_graphs(profile):
    opset, ir = CEILINGS[profile.min_engine]
    assert profile.opset[""] <= opset
    assert profile.ir <= ir


@each
def test_the_promised_cpus_are_of_the_architecture(profile):
    arm = [
        model.qemu.startswith(("cortex-", "neoverse-", "max")) for model in profile.cpu_models
    ]
    assert set(arm) == {profile.architecture == "arm64"}


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


def test_the_four_profiles_have_their_keys_in_one_order():
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
