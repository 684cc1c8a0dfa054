"""Write the golden bundle of the present format, once, for every later version to read.

    python tests/tools/make-golden-bundle.py tests/data/bundles/format-1
    python tests/tools/make-golden-bundle.py tests/data/bundles/format-1-packed

A new format, or a new feature of one, gets a new directory; an existing one is never written
again, so that what was shipped years ago still opens.  A directory whose name ends with
``packed`` gets a forest, whose graph stands packed in the bundle.  The private key is thrown
away with the temporary directory.

It leaves the bundle, ``release.pub``, ``rows.csv`` (rows that the model has not seen) and
``expected.csv``: what scikit-learn itself answers to them, in the device's form.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests" / "support")]

import pandas as pd  # noqa: E402
import skops.io  # noqa: E402
from host import LABEL, NUMBERS, TEXT_COLUMN, cancer, packager  # noqa: E402
from sklearn.base import BaseEstimator  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: E402

from packager.bundle_file import read_bundle  # noqa: E402

NAME, VERSION = "breast-cancer", "1.0.0"
ROWS = 40
FOREST = RandomForestClassifier(n_estimators=30, max_depth=5, random_state=0)
MAX_BYTES = 60_000


def main(directory: Path) -> None:
    """Train, build, and keep what a reader needs."""
    directory.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        desk = Path(name)
        packed = directory.name.endswith("packed")
        rows, expected = train(desk, FOREST if packed else LogisticRegression())
        packager("keygen", cwd=desk)
        packager(
            *("build", f"{NAME}.skops", "--version", VERSION, "--license", "CC-BY-4.0"),
            *("--data", "rows.csv", "--label", LABEL),
            *("--description", "Benign or malignant, from measurements of cell nuclei."),
            cwd=desk,
        )
        bundle = desk / "dist" / f"{NAME}-{VERSION}.oci.tar"
        assert bundle.stat().st_size < MAX_BYTES, bundle.stat().st_size
        files = [file for target in read_bundle(bundle) for file in target.manifest.files]
        assert any(file.packed for file in files) == packed
        shutil.copy(bundle, directory)
        shutil.copy(desk / "keys" / "release.pub", directory)
    rows.to_csv(directory / "rows.csv", index=False)
    expected.to_csv(directory / "expected.csv", index=False)


def train(desk: Path, last: BaseEstimator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Save a pipeline and rows to judge it by; return other rows and its answers to them."""
    seen, unseen = train_test_split(cancer(), test_size=0.5, random_state=0)
    numbers = ("numbers", StandardScaler(), list(NUMBERS))
    columns = ColumnTransformer([numbers, ("words", OneHotEncoder(), [TEXT_COLUMN])])
    model = make_pipeline(columns, last).fit(seen.drop(columns=LABEL), seen[LABEL])
    skops.io.dump(model, desk / f"{NAME}.skops")
    unseen[ROWS:].to_csv(desk / "rows.csv", index=False)
    rows = unseen[:ROWS].drop(columns=LABEL)
    expected = pd.DataFrame({"label": model.predict(rows)})
    shares = model.predict_proba(rows)
    for index, label in enumerate(model.classes_):
        expected[f"probability_{label}"] = shares[:, index]
    return rows, expected


if __name__ == "__main__":
    main(Path(sys.argv[1]))
