"""The user's rows on the host: loaded, typed as the device would, and split."""

from __future__ import annotations

from packager.samples.load import load_samples
from packager.samples.rows import Samples
from packager.samples.split import Split, split_samples

__all__ = ["Samples", "Split", "load_samples", "split_samples"]
