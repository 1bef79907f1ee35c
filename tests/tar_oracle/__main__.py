"""Compare how layers are read and laid over each other with what an engine unpacks: python -m tests.tar_oracle.

[--images N] [--first NUMBER] [--keep]. The measure is `unpack.go`, which needs Go (Debian: golang-go). Ends with 0
where nothing differs: an image that an engine unpacks has the same files here, under the same names and with the same
bytes, and one that engines disagree about is refused. `--keep` writes tests/data/layers.json anew: images for the unit
tests, with Go's answers.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.tar_oracle.compare import CORPUS, compare
from tests.tar_oracle.go import Engine, build, encode, has_go
from tests.tar_oracle.made import make_image

_KEPT = {"files": 120, "refused": 40, "odd": 20, "disagree": 8}  # images in the corpus: the first of each kind


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first image")
    parser.add_argument("--keep", action="store_true", help="write the corpus of the unit tests anew")
    options = parser.parse_args()
    if not has_go():
        sys.exit("Go is missing (Debian: apt-get install golang-go)")
    answers: Counter[str] = Counter()
    differences = 0
    kept: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hallmark-oracle-") as folder, Engine(build(Path(folder))) as engine:
        for number in range(options.first, options.first + options.images):
            layers = make_image(number)
            answer = engine.ask(layers)
            kind = find_kind(answer)
            answers[kind] += 1
            if found := compare(layers, answer):
                differences += 1
                print(f"image {number}: {found}", flush=True)
            if options.keep and sum(find_kind(each["answer"]) == kind for each in kept) < _KEPT[kind]:
                kept.append(
                    {
                        "number": number,
                        "layers": [encode(zlib.compress(layer, 9)) for layer in layers],
                        "answer": answer,
                    }
                )
    if options.keep:
        CORPUS.write_text(json.dumps(kept, separators=(",", ":")).replace('{"number"', '\n{"number"') + "\n")
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(answers.items()))
    print(f"{options.images} images ({told}): {differences} differences")
    return 1 if differences else 0


def find_kind(answer: Mapping[str, Any]) -> str:
    """What kind of answer Go gave."""
    return next((kind for kind in ("refused", "disagree", "odd") if kind in answer), "files")


if __name__ == "__main__":
    sys.exit(main())
