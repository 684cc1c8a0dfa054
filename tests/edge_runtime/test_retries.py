"""What fails is tried ever more rarely, and at once when something has changed."""

from __future__ import annotations

from edge_runtime.retries import Retries


def test_attempts_come_further_and_further_apart() -> None:
    retries = Retries()
    tried = [look for look in range(40) if retries.due("a")]
    assert tried == [0, 2, 5, 10, 19, 36]


def test_attempts_never_end() -> None:
    retries = Retries()
    assert sum(retries.due("a") for _ in range(10_000)) > 40


def test_a_change_or_a_success_is_followed_by_an_attempt_at_once() -> None:
    retries = Retries()
    assert [retries.due(key) for key in "aabba"] == [True, False, True, False, True]
    retries.succeeded()
    assert retries.due("a")
