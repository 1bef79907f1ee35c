"""The parts of a comparison, and how often each measurement is made: what the command line has to know of it."""

from __future__ import annotations

from collections.abc import Mapping

PARTS: Mapping[str, str] = {
    "start": "from the command to the first answer, with the cache folder empty and filled",
    "load": "latency and throughput by requests in flight, memory, and a shared prefix",
    "no-prefix-cache": "the shared prefix again, with the prefix cache off",
    "models": "three models at once",
}
ONE_BY_ONE = frozenset({"start"})  # parts of which each run starts anew: each is evidence as it ends
RUNS = 3
