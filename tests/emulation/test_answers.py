"""What models answer on the CPU models that targets promise, held against this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import odd_graphs
import pytest
from odd_graphs import of

from packager.emulation.answers import Job, Ran, Setting, answers_on
from packager.emulation.machines import HOST, find_machines
from packager.target import CpuModel

pytestmark = pytest.mark.usefixtures("emulators")

ARCHITECTURES = {
    "Nehalem": "x86-64",
    "Haswell": "x86-64",
    "cortex-a53": "arm64",
    "cortex-a72": "arm64",
    "cortex-a76": "arm64",
}
WORDS = ["", "größe", "a longer text"]
ROWS = {"x": odd_graphs.unit_rows(256)}
TEXT = {"x": np.array(WORDS * 3, dtype=object)}

Run: TypeAlias = Callable[[str], dict[str, Ran]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Give what every model answers on a CPU, asked once."""
    directory = tmp_path_factory.mktemp("weights")
    product = odd_graphs.product()
    settings = (Setting(None), Setting(1, optimisation="disabled"), Setting(32, threads=2))
    models = {
        "float32": of(product),
        "beside": odd_graphs.beside(directory),
        "fixed": of(odd_graphs.product(rows=16)),
        "int8": of(odd_graphs.quantized(product, reduce_range=True)),
        "saturating": of(odd_graphs.saturating(reduce_range=False)),
        "reduced": of(odd_graphs.saturating(reduce_range=True)),
    }
    jobs = [Job(name, model, {}, settings) for name, model in models.items()]
    known: dict[str, dict[str, Ran]] = {}

    def ask(cpu: str) -> dict[str, Ran]:
        if cpu not in known:
            architecture = ARCHITECTURES.get(cpu, "x86-64")
            (machine,), _ = find_machines(architecture, [CpuModel(cpu, cpu)])
            known[cpu] = answers_on(machine, jobs, ROWS)
        return known[cpu]

    return ask


def furthest(found: Ran, expected: Ran) -> float:
    """Return how far the answers stand apart, as a share of the largest."""
    assert found.problem == expected.problem == ""
    pairs = list(zip(found.answers, expected.answers, strict=True))
    assert len(pairs) == 3
    largest = max(float(np.abs(one["y"]).max()) for _, one in pairs)
    return max(float(np.abs(one["y"] - other["y"]).max()) for one, other in pairs) / largest


@pytest.mark.parametrize("cpu", ARCHITECTURES)
@pytest.mark.parametrize("name", ["float32", "beside", "fixed", "int8", "reduced"])
def test_an_emulated_cpu_answers_as_this_machine_does(run: Run, cpu: str, name: str) -> None:
    assert furthest(run(cpu)[name], run(HOST)[name]) < 1e-5


def test_sums_of_eight_bits_saturate_on_avx2_without_vnni_alone(run: Run) -> None:
    exact = run("cortex-a53")["saturating"]
    apart = {cpu: furthest(run(cpu)["saturating"], exact) for cpu in ARCHITECTURES}
    assert apart.pop("Haswell") > 0.05
    assert max(apart.values()) < 1e-5


def test_emulated_machines_tell_nothing_that_only_a_chip_could_tell(run: Run) -> None:
    assert {ran.peak_bytes for cpu in ARCHITECTURES for ran in run(cpu).values()} == {None}


@pytest.mark.parametrize("cpu", ["Haswell", "cortex-a72"])
def test_text_goes_in_and_comes_out(cpu: str) -> None:
    (machine,), _ = find_machines(ARCHITECTURES[cpu], [CpuModel(cpu, cpu)])
    job = Job("text", of(odd_graphs.translating(WORDS)), {}, (Setting(2),))
    (answers,) = answers_on(machine, [job], TEXT)["text"].answers
    assert answers["turned"].tolist() == [word[::-1] for word in WORDS * 3]


def test_an_instruction_that_a_cpu_has_not_is_the_problem_of_its_job() -> None:
    (machine,), _ = find_machines("x86-64", [CpuModel("no SSE4", "Conroe")])
    job = Job("one", of(odd_graphs.product()), {}, (Setting(None),))
    assert "instruction" in answers_on(machine, [job], ROWS)["one"].problem


def test_a_cpu_whose_instructions_qemu_has_not_is_not_run_as_another() -> None:
    names = ("Cascadelake-Server", "Haswell", "none", "Nehalem")
    machines, missing = find_machines("x86-64", [CpuModel(name, name) for name in names])
    assert [one.cpu for one in machines] == ["Haswell", "Nehalem"]
    assert "Cascadelake-Server: QEMU cannot do its instructions avx512f" in missing[0]
    assert "none: QEMU cannot run a Python on it" in missing[1]
