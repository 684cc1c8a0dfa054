"""Environments made of a wheel that the test makes: no network, no trace of what failed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from packager.errors import HelperEnvFailed
from packager.sources.environments import helper_env
from packager.sources.environments.helper_env import NO_DEPS, environment

VERSION = ".".join(map(str, sys.version_info[:2]))
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(directory: Path, name: str, requires: str = "") -> None:
    """Write a wheel of one module that names itself."""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{name}.py": f"NAME = {name!r}\n",
        f"{name}-1.0.dist-info/METADATA": metadata,
        f"{name}-1.0.dist-info/WHEEL": WHEEL,
    }
    record = f"{name}-1.0.dist-info/RECORD"
    files[record] = "".join(f"{file},,\n" for file in [*files, record])
    with zipfile.ZipFile(directory / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)


def offline(patch: pytest.MonkeyPatch, cache: Path, wheels: Path) -> None:
    """Let pip see these wheels and nothing else, and keep environments here."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        patch.delenv(name)
    patch.setenv("PIP_CONFIG_FILE", os.devnull)
    patch.setenv("PIP_NO_INDEX", "1")
    patch.setenv("PIP_FIND_LINKS", str(wheels))
    patch.setenv(helper_env.CACHE, str(cache))
    patch.delenv(helper_env.PYTHON, raising=False)


class Said(list[str]):
    """What a step told."""

    def __call__(self, name: str, text: str) -> None:
        assert name == "environment"
        self.append(text)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheels")
    write_wheel(directory, "tinylib")
    write_wheel(directory, "needy", requires="absent-library==9.9")
    return directory


@pytest.fixture(scope="module")
def made(
    wheels: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Path, Said]]:
    """A cache with an environment, made while the user has pip install elsewhere."""
    cache, own = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("own")
    said = Said()
    with pytest.MonkeyPatch.context() as patch:
        offline(patch, cache, wheels)
        patch.setenv("PIP_TARGET", str(own))
        patch.setenv("PIP_USER", "1")
        python = environment(["tinylib==1.0", f"needy==1.0{NO_DEPS}"], said)
    assert list(own.iterdir()) == []
    yield cache, python, said


def names_in(python: Path) -> set[str]:
    """Return what libraries an environment holds beside pip."""
    listed = subprocess.run(
        [str(python), "-I", "-m", "pip", "list", "--format=freeze"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return set(listed.split()) - {line for line in listed.split() if line[:3] in {"pip", "set"}}


def test_it_holds_what_was_asked_for_apart_from_what_we_run_in(
    made: tuple[Path, Path, Said],
) -> None:
    cache, python, said = made

    assert python.is_relative_to(cache / "environments")
    assert names_in(python) == {"tinylib==1.0", "needy==1.0"}
    with pytest.raises(ModuleNotFoundError):
        __import__("tinylib")
    assert said[0] == "making one with tinylib 1.0: once, it is kept"
    assert " MB" in said[-2]
    assert said[-1] == f"the model opens with tinylib 1.0, kept in {python.parents[1]}"


def test_it_is_used_again_without_pip_or_a_network(
    made: tuple[Path, Path, Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, python, _ = made
    offline(monkeypatch, cache, tmp_path)
    said = Said()
    shutil.move(python.parents[1] / "lib" / f"python{VERSION}" / "site-packages/pip", tmp_path)

    assert environment([f"needy==1.0{NO_DEPS}", "tinylib==1.0"], said) == python
    assert len(said) == 1


def test_what_pip_cannot_get_is_told_and_leaves_nothing(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline(monkeypatch, tmp_path, wheels)

    with pytest.raises(HelperEnvFailed) as failed:
        environment(["tinylib==2.0"], Said())

    assert f"an environment with tinylib 2.0 must be made for Python {VERSION}" in str(
        failed.value
    )
    assert "No matching distribution found for tinylib==2.0" in str(failed.value)
    assert "--allow-version-skew" in failed.value.hint
    assert failed.value.values["expected"] == ["tinylib==2.0"]
    assert [path.name for path in (tmp_path / "environments").iterdir()] == [".lock"]


MAKER = """
import sys
from packager.sources.environments.helper_env import environment
environment(["tinylib==1.0"], lambda name, text: print(text, flush=True))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such lock")
def test_what_a_killed_run_left_goes_and_two_at_once_make_one(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline(monkeypatch, tmp_path, wheels)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    killed = subprocess.Popen([sys.executable, "-c", MAKER], start_new_session=True)
    root = tmp_path / "environments"
    end = time.monotonic() + 60
    while not list(root.glob(".making-*/pyvenv.cfg")) and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert list(root.glob(".making-*"))

    said, found = [Said(), Said()], []
    makers = [
        threading.Thread(
            target=lambda one=one: found.append(environment(["tinylib==1.0"], one))
        )
        for one in said
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()

    assert found[0] == found[1]
    assert names_in(found[0]) == {"tinylib==1.0"}
    assert sorted(len([t for t in one if t.startswith("making")]) for one in said) == [0, 1]
    assert {path.name for path in root.iterdir()} == {".lock", found[0].parents[1].name}


def test_one_whose_python_is_gone_is_made_anew(
    made: tuple[Path, Path, Said], wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, python, _ = made
    offline(monkeypatch, cache, wheels)
    python.unlink()

    assert environment(["tinylib==1.0", f"needy==1.0{NO_DEPS}"], Said()) == python
    assert names_in(python) == {"tinylib==1.0", "needy==1.0"}


def test_a_python_of_the_user_s_choice_must_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(helper_env.CACHE, str(tmp_path))
    monkeypatch.setenv(helper_env.PYTHON, "/no/python")

    with pytest.raises(HelperEnvFailed, match="EDGEPACK_PYTHON must name a Python, /no/python"):
        environment(["tinylib==1.0"], Said())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv(helper_env.CACHE, str(tmp_path / "cache"))

    with pytest.raises(HelperEnvFailed, match="Permission denied"):
        environment(["tinylib==1.0"], Said())


def test_keys_tell_apart_what_differs() -> None:
    keys = {
        helper_env._key(["a==1"], "3.11"),
        helper_env._key(["a==1"], "3.12"),
        helper_env._key(["a==2"], "3.11"),
        helper_env._key(["a==1", "b==1"], "3.11"),
    }

    assert len(keys) == 4


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "  Downloading scikit_learn-1.5.2-cp311-cp311-linux.whl (13.3 MB)\n",
            "fetching scikit_learn 1.5.2 (13.3 MB)",
        ),
        (
            "Downloading https://x.test/p/torch-2.1-py3-none-any.whl (1.2 GB)",
            "fetching torch 2.1 (1.2 GB)",
        ),
        ("Downloading six-1.16.0-py2.py3-none-any.whl (11 kB)", None),
        ("Installing collected packages: a, b, c", "installing 3 libraries"),
        ("Installing collected packages: a", None),
        ("Collecting numpy", None),
    ],
)
def test_only_long_steps_of_pip_are_told(line: str, told: str | None) -> None:
    assert helper_env._long_step(line) == told
