"""What ships for models of the kinds that people have, and whether it was the right choice.

    python benchmarks/variants.py --work DIR [--only NAME…] [--fresh] [--write docs/variants.md]

Every model is made here, from scikit-learn's data or generated ones, and built twice: as a user
builds it, for x86-64 and ARM, and with all recipes. What ships is then timed against float32 in
this process. Models and figures stay in DIR, so that an interrupted run goes on where it was.
The exit code is 1 where a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path

from variants_checks import Row, broken, checks
from variants_models import Model, make, models
from variants_page import page, summary
from variants_row import make_row

from edge_runtime.contract.errors import EdgepackError


def main() -> None:
    """Work on the models, print a line for each, check, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where all of it stays")
    parser.add_argument("--only", nargs="+", default=(), help="models by name")
    parser.add_argument("--fresh", action="store_true", help="build and time again")
    parser.add_argument("--write", type=Path, help="a page to write the tables to")
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write takes all models: leave out --only")
    listed = models()
    unknown = set(options.only) - {model.name for model in listed}
    if unknown:
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    warnings.simplefilter("ignore")
    chosen = [one for one in listed if not options.only or one.name in options.only]
    rows = [_row(model, options.work, fresh=options.fresh) for model in chosen]
    found = checks(rows, whole=not options.only)
    for check in found:
        print(check)
    if options.write:
        options.write.write_text(page(rows, found), encoding="utf-8")
    sys.exit(1 if broken(found) else 0)


def _row(model: Model, work: Path, *, fresh: bool) -> Row:
    """Return a model's figures, those of an earlier run if there are any, and print them."""
    room = work / model.name
    kept = room / "row.json"
    made = make(model, room)
    if fresh or not kept.exists():
        try:
            row = make_row(model, made, room)
        except EdgepackError as error:
            row = {"name": model.name, "what": model.what, "error": f"{error.code}: {error}"}
            print(summary(row), flush=True)
            return row
        kept.write_text(json.dumps(row, indent=1), "utf-8")
    row = json.loads(kept.read_text("utf-8"))
    print(summary(row), flush=True)
    return row


if __name__ == "__main__":
    main()
