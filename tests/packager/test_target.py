"""Reading target profiles: every key is needed, known and checked, and errors name it."""

from __future__ import annotations

import json
import tomllib

import pytest

from edge_runtime.contract.bundle.manifest import MAX_VARIANTS
from packager.errors import TargetInvalid, UnknownTarget
from packager.target import list_profiles, load_profile, profiles_directory
from packager.target_rules import RULES

SHIPPED = (profiles_directory() / "x86-64-cpu.toml").read_text()


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a profile, one setting changed, and returns its path."""

    def write(old="", new="", text=SHIPPED):
        assert old in text
        path = tmp_path / "my-box.toml"
        path.write_text(text.replace(old, new, 1))
        return str(path)

    return write


def test_a_profile_is_found_by_its_name():
    profile = load_profile("x86-64-cpu")
    assert profile.name == "x86-64-cpu"
    assert profile.opset == {"": 18, "ai.onnx.ml": 5}
    assert [cpu.qemu for cpu in profile.cpu_models] == ["Nehalem", "Haswell", "host"]
    assert profile.cpu_flags == ()
    assert profile.memory_bytes == profile.memory_mb * 1_000_000


def test_a_profile_of_ones_own_is_found_by_its_path(write):
    profile = load_profile(write('name = "x86-64-cpu"', 'name = "my-box"'))
    assert profile.name == "my-box"


@pytest.mark.parametrize(
    "name", ["x86-64-cup", "x86", "../x86-64-cpu", "none.toml", "", "a\0b"]
)
def test_an_unknown_target_lists_those_known(name):
    with pytest.raises(
        UnknownTarget, match="arm64-cpu, arm64-cuda, x86-64-cpu, x86-64-cuda, x86"
    ):
        load_profile(name)


def test_an_unknown_target_names_the_nearest():
    with pytest.raises(UnknownTarget, match="did you mean 'x86-64-cpu'"):
        load_profile("x86-64-cup")


def test_profiles_are_listed_cpu_before_gpu():
    names = [profile.name for profile in list_profiles()]
    assert names == ["arm64-cpu", "x86-64-cpu", "x86-64-vnni-cpu", "arm64-cuda", "x86-64-cuda"]


def inline(value):
    """Write a value as TOML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value)


@pytest.mark.parametrize("key", RULES)
def test_every_key_is_needed(write, key):
    document = tomllib.loads(SHIPPED)
    section, _, inner = key.rpartition(".")
    del (document[section] if section else document)[inner]
    text = "".join(f"{name} = {inline(value)}\n" for name, value in document.items())
    with pytest.raises(TargetInvalid, match=f"{key} must be .* found 'nothing'"):
        load_profile(write(text=text))


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('name = "x86-64-cpu"', 'name = "My Box"', "name"),
        ("priority = 10", "priority = -1", "priority"),
        ("priority = 10", "priority = true", "priority"),
        ('os = "linux"', 'os = "windows"', "platform.os"),
        ('"x86-64"', '"armv7"', "platform.architecture"),
        ('"manylinux_2_17_x86_64"', '"manylinux_2_28_x86_64"', "platform.wheel-tags"),
        ('qemu = "Nehalem"', 'qemu = ""', "platform.cpus"),
        ('qemu = "Nehalem"', 'chip = "Nehalem"', "platform.cpus"),
        ('"1.21"', "1.21", "engine.minimum"),
        ('"1.21"', '"1.19"', "engine.minimum"),
        ('"CPUExecutionProvider"', '"cpu"', "engine.providers"),
        ('["CPUExecutionProvider"]', "[]", "engine.providers"),
        ('"session.inter_op', '"session.optimized_model', "engine.session-options"),
        (
            "[engine.provider-options]",
            '[engine.provider-options]\n"x" = "1"',
            "engine.provider",
        ),
        ("opset = 18", "opset = 99", "graph.opset"),
        ("opset-ml = 5", "opset-ml = 6", "graph.opset-ml"),
        ('"int8-static"', '"int2"', "variants.precisions"),
        ('"int8-static"', '"int4"', "variants.precisions"),
        ("cpu-flags = []", 'cpu-flags = ["avx2"]', "platform.cpu-flags"),
        ("cpu-flags = []", "cpu-flags = [[]]", "platform.cpu-flags"),
        ("cpu-flags = []", 'cpu-flags = [["AVX2"]]', "platform.cpu-flags"),
        ("cpu-flags = []", "cpu-flags = [[2]]", "platform.cpu-flags"),
        ("cpu-flags = []", "cpu-flags = [" + '["avx2"], ' * 17 + "]", "platform.cpu-flags"),
        ("reduce-range = true", "reduce-range = 1", "variants.reduce-range"),
        ("memory-mb = 512", "memory-mb = 0.5", "budget.memory-mb"),
        ("intra-op = 1", "intra-op = 0", "threads.intra-op"),
    ],
)
def test_a_wrong_value_names_its_key(write, old, new, key):
    with pytest.raises(TargetInvalid) as caught:
        load_profile(write(old, new))
    assert caught.value.values["key"].startswith(key)
    assert "my-box.toml" in caught.value.message
    assert caught.value.values["expected"] in caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("opset = 18", "opset = 22", "graph.opset", "at most 21 for engine 1.21"),
        ("ir = 10", "ir = 11", "graph.ir", "at most 10 for engine 1.21"),
        ('"1.21"', '"1.20"', "graph.opset-ml", "at most 4 for engine 1.20"),
        (', "float32"]', "]", "variants.precisions", "ends with float32"),
        ('"int8-dynamic"', '"float16"', "variants.precisions", "without float16"),
        ('"CPUExecution', '"CUDAExecution', "variants.precisions", "without int4 or int8-dyn"),
        ("cpu-rung = false", "cpu-rung = true", "variants", "rung"),
    ],
)
def test_values_that_do_not_go_together_are_refused(write, old, new, key, words):
    with pytest.raises(TargetInvalid, match=words) as caught:
        load_profile(write(old, new))
    assert caught.value.values["key"].startswith(key)


def test_a_profile_may_try_more_families_than_a_ladder_has_rungs(write):
    assert len(load_profile(write()).precisions) > MAX_VARIANTS


def test_instruction_sets_are_alternatives_in_groups(write):
    flags = 'cpu-flags = [["avx2"], ["avx512_vnni", "avx_vnni"]]'
    profile = load_profile(write("cpu-flags = []", flags))
    assert profile.cpu_flags == (("avx2",), ("avx512_vnni", "avx_vnni"))


def test_a_newer_engine_may_use_newer_graphs(write):
    text = SHIPPED.replace("opset = 18", "opset = 22").replace('"1.21"', '"1.24"')
    assert load_profile(write(text=text)).opset[""] == 22


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "readable TOML"),
        ("name = 'a'\nname = 'b'", "readable TOML"),
        ("platform = 1", "platform must be a table"),
        (SHIPPED + "[budgets]\n", "key budgets"),
        (SHIPPED.replace("memory-mb", "memory-bm"), "did you mean 'budget.memory-mb'"),
    ],
)
def test_a_file_that_is_no_profile_is_refused(write, text, words):
    with pytest.raises(TargetInvalid, match=words):
        load_profile(write(text=text))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(TargetInvalid):
        load_profile(str(tmp_path / "a.toml"))


def test_the_rules_cover_exactly_the_shipped_keys():
    document = tomllib.loads(SHIPPED)
    keys = {
        f"{key}.{inner}" if isinstance(value, dict) else key
        for key, value in document.items()
        for inner in (value if isinstance(value, dict) else [key])
    }
    assert keys == set(RULES)
