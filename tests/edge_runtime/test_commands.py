"""What each command says and does, for people and for machines."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import bundles
import devices
import pytest
import trusts

from edge_runtime.probe import probe

FINGERPRINT = bundles.SIGNER.public_key.fingerprint
ROWS = "income (k€),visits,plan\n4.5,1,basic\n,2,gold\n30,3,basic\n"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("device")
    devices.installed(directory, devices.packed(directory / "b.oci.tar", devices.loan()))
    (directory / "rows.csv").write_text(ROWS)
    return directory


@pytest.fixture
def place(prepared: Path, tmp_path: Path) -> Path:
    """A directory with a bundle, rows, and a store in which the bundle is installed."""
    shutil.copytree(prepared, tmp_path / "device")
    return tmp_path / "device"


def ask(place: Path, *arguments: Path | str) -> devices.Said:
    said = devices.run("--store", place / "store", *arguments)
    assert said.code == 0, said.err
    return said


# --- trust ---------------------------------------------------------------------------------


def test_a_key_is_trusted_once(tmp_path: Path) -> None:
    key = devices.trust_file(tmp_path)
    assert ask(tmp_path, "trust", "list").out == (
        f"no key is trusted in {tmp_path / 'store'} (named by --store)\n"
    )
    said = ask(tmp_path, "trust", "add", key)
    assert said.out.splitlines()[0] == f"trusted from now on: {FINGERPRINT}"
    again = ask(tmp_path, "trust", "add", key, "--json").json
    assert (again["fingerprint"], again["changed"]) == (FINGERPRINT, False)
    assert ask(tmp_path, "trust", "list").out == f"{FINGERPRINT}\n"


def test_a_key_is_removed_by_the_start_of_its_fingerprint(place: Path) -> None:
    said = ask(place, "trust", "remove", FINGERPRINT[:8])
    assert FINGERPRINT in said.out
    assert ask(place, "trust", "list", "--json").json["fingerprints"] == []


def test_a_key_for_some_models_is_listed_with_their_names(tmp_path: Path) -> None:
    key = devices.trust_file(tmp_path)
    said = ask(tmp_path, "trust", "add", key, "--for", "vision-*", "--for", "fraud")
    assert said.out.splitlines()[0] == f"trusted from now on: {FINGERPRINT} for fraud, vision-*"
    assert ask(tmp_path, "trust", "list").out == f"{FINGERPRINT}  for fraud, vision-*\n"
    (listed,) = ask(tmp_path, "trust", "list", "--json").json["keys"]
    names = ["fraud", "vision-*"]
    assert listed == {"fingerprint": FINGERPRINT, "for": names, "origin": "by hand"}


def test_a_list_is_shown_with_its_root_its_serial_and_what_it_withdrew(tmp_path: Path) -> None:
    root, path = tmp_path / "root.pub", tmp_path / "trust.json"
    root.write_bytes(trusts.ROOT.public_key.pem)
    fingerprint = trusts.ROOT.public_key.fingerprint
    said = ask(tmp_path, "trust", "add", "--root", root)
    assert said.out.splitlines()[0] == f"trusted from now on as root key: {fingerprint}"
    assert "none yet" in ask(tmp_path, "trust", "list").out
    gone = trusts.STRANGER.fingerprint
    path.write_bytes(trusts.sound(7, keys=[gone], releases=[("fraud", 1_004_000)]))
    assert ask(tmp_path, "trust", "update", path).out == (
        "in force from now on: trust.json serial 7, 1 keys, withdrawn: 1 keys, 1 releases\n"
    )
    assert not ask(tmp_path, "trust", "update", path, "--json").json["changed"]
    assert ask(tmp_path, "trust", "list").out.splitlines() == [
        f"{FINGERPRINT}  (trust.json)",
        f"root {fingerprint}",
        "  trust.json  serial 7",
        f"  withdrawn   {gone}",
        "  withdrawn   fraud@1004000",
    ]
    shown = ask(tmp_path, "trust", "list", "--json").json
    assert (shown["root"], shown["serial"]) == (fingerprint, 7)
    assert shown["revoked_keys"] == [gone]
    assert shown["revoked_releases"] == [{"name": "fraud", "release": 1_004_000}]


@pytest.mark.parametrize("what", ["keys", "releases", "digests"])
def test_status_says_of_an_installed_version_that_it_was_withdrawn(
    place: Path, what: str
) -> None:
    (installed,) = (place / "store/models/tiny/versions").iterdir()
    gone = {"keys": FINGERPRINT, "releases": ("tiny", 1_004_000), "digests": installed.name}
    root, path = place / "root.pub", place / "trust.json"
    root.write_bytes(trusts.ROOT.public_key.pem)
    path.write_bytes(trusts.sound(7, **{what: [gone[what]]}))
    ask(place, "trust", "add", "--root", root)
    ask(place, "trust", "update", path)
    (model,) = ask(place, "status", "--json").json["models"]
    assert "was withdrawn by trust.json, serial 7" in model["degraded"]


# --- bundles -------------------------------------------------------------------------------


def test_probe_tells_what_this_device_is(place: Path) -> None:
    facts = ask(place, "probe", "--json").json
    assert facts["schema"] == "edgepack.passport/1"
    assert facts["architecture"] == probe(engine=False).architecture
    assert facts["telemetry"] == "off"
    text = ask(place, "probe").out
    assert facts["engine"]["version"] in text
    assert "telemetry    off" in text


def test_verify_names_targets_files_and_signer(place: Path) -> None:
    said = ask(place, "verify", place / "b.oci.tar")
    assert said.out.startswith("verified: tiny 1.4.0 (1004000)\n")
    assert f"signed by {FINGERPRINT}" in said.out
    document = ask(place, "verify", place / "b.oci.tar", "--json").json
    (target,) = document["targets"]
    assert (target["target"], target["variants"]) == (devices.TARGET, ["float32"])
    assert target["files"] == 2


def test_verify_with_a_key_needs_no_store(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_STORE", raising=False)
    monkeypatch.delenv("HOME")
    said = devices.run("verify", place / "b.oci.tar", "--trust", place / "release.pub")
    assert said.code == 0, said.err


def test_verify_takes_only_the_keys_that_are_named(place: Path) -> None:
    stranger = place / "stranger.pub"
    stranger.write_bytes(bundles.STRANGER.public_key.pem)
    arguments = ("--store", place / "store", "verify", place / "b.oci.tar", "--trust", stranger)
    assert devices.run(*arguments).code == 4
    assert devices.run(*arguments, "--trust", place / "release.pub").code == 0


def test_install_says_what_it_did(place: Path, tmp_path: Path) -> None:
    subject = devices.loan()
    wrong = devices.answers_of(subject)
    wrong["label"] = wrong["label"][::-1]
    path = devices.packed(
        tmp_path / "next.oci.tar",
        subject,
        {"int8": subject.model, "float32": subject.model},
        answers={"int8": wrong, "float32": devices.answers_of(subject)},
        version="1.5.0",
        release=1_005_000,
    )
    said = ask(place, "install", path)
    assert said.out.startswith("installed: tiny 1.5.0\n")
    assert "variant    float32 on CPUExecutionProvider" in said.out
    assert "tried int8: int8 must answer" in said.out
    again = ask(place, "install", path, "--json").json
    assert (again["changed"], again["variant"], again["target"]) == (
        False,
        "float32",
        devices.TARGET,
    )
    assert [verdict["code"] for verdict in again["verdicts"]] == ["golden-mismatch", ""]
    assert ask(place, "install", path).out.startswith("already active: tiny 1.5.0\n")


def test_install_says_which_targets_it_left_aside(place: Path, tmp_path: Path) -> None:
    path = bundles.bundle(tmp_path / "two.oci.tar", version="2.0.0", release=2_000_000)
    said = ask(place, "install", path, "--new-interface")
    assert f"left aside: {devices.ELSEWHERE} is for linux" in said.out


# --- status --------------------------------------------------------------------------------


def test_status_says_what_serves_and_by_what_right(place: Path) -> None:
    said = ask(place, "status")
    for text in (
        f"{place / 'store'} (named by --store)",
        "keys       1 trusted",
        "telemetry  off",
        "tiny 1.4.0",
        "state      sound",
        "serves     float32 on CPUExecutionProvider",
        f"proven     on {probe().identity}",
        "metrics    recorded",
    ):
        assert text in said.out
    document = ask(place, "status", "tiny", "--json").json
    assert document["trusted_keys"] == [FINGERPRINT]
    assert document["models"][0]["active"]["variant"] == "float32"


def test_status_of_an_empty_store_says_so(tmp_path: Path) -> None:
    assert "no model is installed" in ask(tmp_path, "status").out


def test_status_of_a_model_that_awaits_its_trial_says_so(place: Path) -> None:
    shutil.rmtree(place / "store/models/tiny/local")
    said = ask(place, "status")
    assert "serves     by what its trial finds at the next load" in said.out
    assert "proven     not on this engine and processor" in said.out


def test_status_of_a_damaged_store_says_what_is_wrong(place: Path) -> None:
    for name in ("state-a.json", "state-b.json"):
        (place / "store/models/tiny" / name).unlink()
    said = ask(place, "status")
    assert "tiny: none active" in said.out
    assert "both copies of the record are missing" in said.out


# --- predict and metrics -------------------------------------------------------------------


def predict(place: Path, *arguments: str) -> devices.Said:
    files = ("--input", place / "rows.csv", "--output", place / "a.csv")
    return ask(place, "predict", *files, *arguments)


def test_predict_says_what_answered(place: Path) -> None:
    said = predict(place)
    assert said.out == "3 rows answered by tiny 1.4.0 (float32 on CPUExecutionProvider)\n"
    assert said.err == ""
    document = predict(place, "tiny@1.4.0", "--json").json
    assert (document["rows"], document["output"]) == (3, str(place / "a.csv"))
    assert (document["metrics"], document["telemetry"]) == ("recorded", "off")


def test_predict_warns_where_nothing_is_recorded(place: Path) -> None:
    said = predict(place, str(place / "b.oci.tar"))
    assert said.err == "warning: metrics: not recorded: it is in no store\n"


def test_predict_warns_where_the_store_is_degraded(place: Path) -> None:
    (place / "store/models/tiny/state-a.json").unlink()
    said = predict(place)
    assert said.err.startswith(
        "warning: degraded: one of state-a.json and state-b.json is missing"
    )
    assert said.code == 0


def test_metrics_add_up_what_was_predicted_and_refused(place: Path) -> None:
    predict(place)
    predict(place)
    wrong = place / "wrong.csv"
    wrong.write_text("income (k€),visits,plan\nx,1,gold\n")
    assert (
        devices.run(
            *("--store", place / "store", "predict"),
            *("--input", wrong, "--output", place / "b.csv"),
        ).code
        == 3
    )
    for arguments in ((), ("tiny",)):
        document = ask(place, "metrics", *arguments, "--json").json
        assert document["schema"] == "edgepack.metrics/1"
        assert (document["predictions"], document["rows"]) == (2, 6)
        assert document["errors"] == {"input-value": 1}
    text = ask(place, "metrics").out
    assert "predictions  2 (rows 6" in text
    assert "input-value 1" in text


def test_metrics_of_an_empty_store_say_so(tmp_path: Path) -> None:
    assert ask(tmp_path, "metrics").out == "no model is installed\n"
    assert ask(tmp_path, "metrics", "--json").json["predictions"] == 0


def test_a_file_name_that_is_no_text_is_taken(place: Path) -> None:
    odd = place / os.fsdecode(b"rows-\xff.csv")
    shutil.copy(place / "rows.csv", odd)
    said = ask(place, "predict", "--input", odd, "--output", place / "a.csv", "--json")
    assert json.loads(said.out)["rows"] == 3
