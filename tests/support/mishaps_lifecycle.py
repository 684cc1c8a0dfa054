"""Ways to bring about each error over the life of installed versions."""

from __future__ import annotations

import shutil

import devices
from mishaps import Scene, brings_about

from edge_runtime.contract import errors


@brings_about(errors.NothingProven)
def nothing_to_go_back_to(scene: Scene) -> list[str]:
    del scene
    return ["rollback", "loan"]


@brings_about(errors.NothingProven)
def nothing_active_to_be_called_good(scene: Scene) -> list[str]:
    for copy in (scene.store / "models" / "loan").glob("state-*.json"):
        copy.unlink()
    return ["mark-good"]


@brings_about(errors.VersionServes)
def removal_of_what_serves(scene: Scene) -> list[str]:
    del scene
    return ["remove", "loan@1.4.0"]


@brings_about(errors.SettingInvalid)
def more_threads_than_were_signed(scene: Scene) -> list[str]:
    del scene
    return ["set", "loan", "threads=512"]


@brings_about(errors.SettingInvalid)
def setting_that_is_none(scene: Scene) -> list[str]:
    del scene
    return ["set", "loan", "speed=9"]


@brings_about(errors.InterfaceChanged)
def another_model_under_the_same_name(scene: Scene) -> list[str]:
    return scene.install(subject=devices.lookup(), name="loan")


@brings_about(errors.HealthAlarm)
def proof_that_is_gone(scene: Scene) -> list[str]:
    shutil.rmtree(scene.store / "models/loan/local")
    return ["health"]


@brings_about(errors.HealthAlarm)
def store_without_a_model(scene: Scene) -> list[str]:
    return ["health", "--store", str(scene.path / "empty")]
