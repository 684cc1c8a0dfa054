"""What a build is asked to do: flags over file over defaults, and no secrets in the file."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.bundle.manifest import is_name
from edge_runtime.contract.errors import InputUnreadable, UsageError
from packager.budgets import Budgets, Drop
from packager.config import (
    BuildConfig,
    config_template,
    legal_name,
    load_config,
    release_of,
    resolve,
)
from packager.errors import ConfigInvalid, ConfigUnknownKey
from packager.options import OPTIONS
from packager.recipes import EFFORTS


@pytest.fixture
def load(tmp_path):
    """Return a function that writes a packager.toml and reads it."""

    def load(text):
        path = tmp_path / "packager.toml"
        path.write_text(text)
        return load_config(path)

    return load


def test_three_flags_are_enough():
    config = resolve({"model": "models/Fraud.joblib", "data": "rows.csv", "label": "fraud"}, {})
    assert config == BuildConfig(
        model=Path("models/Fraud.joblib"),
        name="fraud",
        version="1.0.0",
        release=1_000_000,
        targets=("x86-64-cpu", "arm64-cpu"),
        data=Path("rows.csv"),
        label="fraud",
        key=Path("keys/release.key"),
        out=Path("dist"),
        golden="synthetic",
    )


def test_budgets_are_those_of_the_flags():
    flags = {"max_drop": "2%", "max_size": "5MB", "max_latency_ms": 1.5, "max_memory": "64MB"}
    config = resolve({"model": "m.skops", **flags}, {})
    assert config.budgets == Budgets(Drop(0.02, True), 5_000_000, 1.5, 64_000_000)
    assert resolve({"model": "m.skops"}, {}).budgets == Budgets(Drop(0.01))


def test_a_flag_stands_over_the_file_and_the_file_over_the_default(load):
    file = load('version = "2.0.0"\nname = "of-file"\ntrust-pickle = true\nmax-drop = 0.05\n')
    config = resolve({"model": "m.skops", "name": "of-flag", "max_drop": "0"}, file)
    assert (config.name, config.version, config.trust_pickle) == ("of-flag", "2.0.0", True)
    assert (config.max_drop, config.golden) == (Drop(0.0), "synthetic")
    assert config.release == 2_000_000


def test_flags_that_were_not_given_leave_the_file_alone(load):
    file = load('model = "m.skops"\nunsigned = true\ntarget = ["arm64-cpu"]\n')
    flags = {option.field: None for option in OPTIONS} | {"unsigned": False, "targets": ()}
    config = resolve(flags, file)
    assert config.unsigned
    assert config.targets == ("arm64-cpu",)


def test_every_option_is_a_field_and_every_field_an_option():
    fields = [field.name for field in dataclasses.fields(BuildConfig)]
    assert fields == [option.field for option in OPTIONS]


def test_paths_in_the_file_are_relative_to_it(load, tmp_path):
    file = load(
        'model = "m.skops"\ndata = "/srv/rows.csv"\nkey = "k/a.key"\ngolden = "rows.npz"\n'
        'target = ["x86-64-cpu", "my.toml"]\n'
    )
    assert file == {
        "model": tmp_path / "m.skops",
        "data": Path("/srv/rows.csv"),
        "key": tmp_path / "k" / "a.key",
        "golden": tmp_path / "rows.npz",
        "targets": ("x86-64-cpu", str(tmp_path / "my.toml")),
    }


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("split_by", "split-by"), ("versoin", "version"), ("targets", "target"), ("colour", "")],
)
def test_an_unknown_key_names_the_nearest(load, key, nearest):
    with pytest.raises(ConfigUnknownKey) as caught:
        load(f'{key} = "x"\n')
    assert repr(key) in caught.value.message
    assert (f"did you mean {nearest!r}" in caught.value.message) == bool(nearest)


# --- secrets -------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["passphrase", "password", "key-passphrase"])
def test_a_passphrase_has_no_key(load, key):
    with pytest.raises(ConfigUnknownKey) as caught:
        load(f'{key} = "hunter2"\n')
    assert "hunter2" not in str(caught.value.as_json())


@pytest.mark.parametrize("key", ["key", "passphrase-file", "label"])
@pytest.mark.parametrize("quote", ['"""', "'''"])
def test_a_key_in_the_file_is_refused_and_not_shown(load, key, quote):
    pem = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\n-----END PRIVATE KEY-----\n"
    with pytest.raises(ConfigInvalid) as caught:
        load(f"{key} = {quote}{pem}{quote}\n")
    assert "MIGHAgEAMBMG" not in str(caught.value.as_json())
    assert "BEGIN" not in str(caught.value.as_json())


# --- values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('name = "My Model"', "name must be lower-case"),
        ("version = 1.4", "version must be .* found 1.4"),
        ('version = "1/4"', "version must be"),
        ('release = "14"', "release must be an integer"),
        ("release = -1", "release must be an integer from 0"),
        ("release = true", "release must be an integer"),
        ('target = "x86-64-cpu"', "target must be a list"),
        ("target = []", "target must be a list"),
        ('target = ["a", "a"]', "target must be a list of different"),
        ("target = [1]", "target must be a list"),
        ('data = ""', "data must be a path"),
        ('unsigned = "yes"', "unsigned must be true or false"),
        ("max-drop = 2", "max-drop must be a number from 0 to 1"),
        ("max-drop = nan", "max-drop must be a number"),
        ("max-drop = true", "max-drop must be a number"),
        ('max-drop = "101%"', "max-drop must be a number from 0 to 1, or a share"),
        ('metric = "Balanced Accuracy"', "metric must be the name of a metric"),
        ('max-size = "5 MiB"', "max-size must be bytes, or a size as 5MB"),
        ("max-size = 0", "max-size must be bytes"),
        ("max-latency-ms = 0", "max-latency-ms must be a number above 0"),
        ('max-memory = "much"', "max-memory must be bytes"),
        ('effort = "most"', "effort must be one of quick, normal, full"),
        ("jobs = 0", "jobs must be a whole number from 1"),
        ('single = "yes"', "single must be true or false"),
        ("[label]", "label must be one line of text"),
        ("golden = 3", "golden must be synthetic, real"),
    ],
)
def test_a_wrong_value_names_its_key_and_what_it_takes(load, setting, words):
    with pytest.raises(ConfigInvalid, match=words):
        load(setting + "\n")


def test_a_wrong_flag_is_the_same_error():
    with pytest.raises(ConfigInvalid, match="name must be lower-case") as caught:
        resolve({"model": "m.skops", "name": "My Model"}, {})
    assert "--name" in caught.value.hint


def test_a_build_needs_a_model():
    with pytest.raises(UsageError, match="needs a model"):
        resolve({"name": "a"}, {})


@pytest.mark.parametrize(
    "flags",
    [
        {"label": "y"},
        {"holdout": "h.csv"},
        {"split_by": "id"},
        {"metric": "r2"},
        {"golden": "real"},
    ],
)
def test_what_needs_rows_is_refused_without_data(flags):
    with pytest.raises(ConfigInvalid):
        resolve({"model": "m.skops", **flags}, {})
    resolve({"model": "m.skops", "data": "rows.csv", **flags}, {})


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputUnreadable, match=r"packager\.toml cannot be read"):
        load_config(tmp_path / "packager.toml")


@pytest.mark.parametrize("data", [b"name = ", b"a = 1\na = 2", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_refused(tmp_path, data):
    (tmp_path / "packager.toml").write_bytes(data)
    with pytest.raises(ConfigInvalid, match="must be TOML"):
        load_config(tmp_path / "packager.toml")


# --- names and releases --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("fraud", "fraud"),
        ("My Model (v2)", "my-model-v2"),
        ("Ärger", "rger"),
        ("模型", "model"),
    ],
)
def test_a_stem_becomes_a_name(stem, name):
    assert legal_name(stem) == name


@given(st.text(max_size=200))
def test_every_stem_becomes_a_legal_name(stem):
    assert is_name(legal_name(stem))


@pytest.mark.parametrize(
    ("version", "release"),
    [("1.4.0", 1_004_000), ("2", 2_000_000), ("0.1", 1000), ("10.20.30", 10_020_030)],
)
def test_a_version_makes_a_release(version, release):
    assert release_of(version) == release


@pytest.mark.parametrize(
    "version", ["1.4.0-rc1", "2026-11-22", "1.1000.0", "1.2.3.4", "v1", ""]
)
def test_a_version_that_is_no_three_numbers_asks_for_a_release(version):
    with pytest.raises(ConfigInvalid, match="gives no release") as caught:
        release_of(version)
    assert "--release" in caught.value.hint


def test_a_release_of_ones_own_goes_with_any_version():
    config = resolve({"model": "m.skops", "version": "2026-11", "release": 14}, {})
    assert (config.version, config.release) == ("2026-11", 14)


# --- the template --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {
            "data": "rows.csv",
            "label": 'the "label" \\ ü',
            "targets": ("arm64-cpu", "./my.toml"),
        },
        {"version": "1.4.0", "release": 7, "trust_pickle": True, "max_drop": "0.5"},
        {"version": "2026-11", "release": 7, "golden": "rows.csv", "description": "One line."},
    ],
)
def test_the_template_asks_for_the_same_build(tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    config = resolve({"model": "Fraud Model.skops", **flags}, {})
    Path("packager.toml").write_text(config_template(config))
    assert resolve({}, load_config(Path("packager.toml"))) == config


BUDGETS = st.fixed_dictionaries(
    {},
    optional={
        "metric": st.from_regex("[a-z0-9_]{1,64}", fullmatch=True),
        "max_drop": st.floats(0, 1).map(repr) | st.floats(0, 1).map(lambda x: f"{x!r}%"),
        "max_size": st.integers(1, 10**14) | st.sampled_from(["5MB", "1.5GB", "800kB"]),
        "max_latency_ms": st.floats(1e-6, 1e6),
        "max_memory": st.integers(1, 10**14),
        "effort": st.sampled_from(EFFORTS),
        "jobs": st.integers(1, 999),
        "single": st.booleans(),
    },
)


@given(BUDGETS)
def test_the_template_asks_for_the_same_budgets(tmp_path_factory, flags):
    config = resolve({"model": "/m.skops", "data": "/rows.csv", **flags}, {})
    path = tmp_path_factory.mktemp("config") / "packager.toml"
    path.write_text(config_template(config))
    assert resolve({}, load_config(path)) == config


def test_the_template_shows_every_key_with_an_example_that_is_legal(tmp_path):
    template = config_template(resolve({"model": "fraud.skops"}, {}))
    settings = "\n".join(
        line.removeprefix("# ") for line in template.splitlines()[2:] if " = " in line
    )
    assert list(tomllib.loads(settings)) == [option.key for option in OPTIONS]
    (tmp_path / "packager.toml").write_text(settings)
    load_config(tmp_path / "packager.toml")
