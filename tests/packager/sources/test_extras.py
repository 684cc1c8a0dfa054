"""Libraries that only some models need."""

from __future__ import annotations

import pytest

from packager.errors import HostExtraMissing
from packager.sources.extras import need


def test_a_library_that_is_there_is_imported() -> None:
    assert need("numpy.linalg", "torch").__name__ == "numpy.linalg"


def test_a_library_that_is_not_names_the_extra_that_brings_it() -> None:
    with pytest.raises(HostExtraMissing, match="needs absent_library, which") as caught:
        need("absent_library.part", "torch")

    assert "'edgepack[host,torch]'" in caught.value.hint
