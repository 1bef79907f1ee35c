"""What the smoke scripts of servers share: prompts of every size, alone and side by side, against the reference.

Standard library only: it runs inside the candidate, as `probe` does, and stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from probe import Failed, agree

# Where numbers have gone wrong for others: short, at the edges of graphs and tiles, and past a chunk of prefill.
SIZES = (2, 7, 64, 512, 2048, 3072, 4096)
AT_ONCE = (1, 8, 64)

# The log-probabilities that a server gives to the tokens of a prompt after its first, in nats.
Read = Callable[[Sequence[int]], Sequence[float]]


def sweep(read: Read, reference: Mapping[str, Any], measured: dict[str, Any]) -> None:
    """The beginnings of the reference's long prompt have its log-probabilities, whatever else is asked at that time.

    No token depends on what follows it: one reference serves for every size. Raises Failed, with size and company.
    """
    tokens, expected = reference["long"]["token_ids"], reference["long"]["prompt_logprobs"]
    sizes = [size for size in SIZES if size <= len(tokens)]
    for at_once in AT_ONCE:
        asked = [sizes[place % len(sizes)] for place in range(max(at_once, len(sizes)))]
        with ThreadPoolExecutor(at_once) as pool:
            answers = list(pool.map(lambda size: read(tokens[:size]), asked))
        texts = [(values, expected[: size - 1]) for size, values in zip(asked, answers)]  # noqa: B905 (of one list)
        for (values, wanted), size in zip(texts, asked):  # noqa: B905
            found: dict[str, Any] = {}
            try:
                agree([(values, wanted)], found)
            except Failed as failure:
                raise Failed(f"{size} tokens, {at_once} at once: {failure}", **failure.measured) from None
            worst = measured.setdefault(f"{size}_tokens", {})
            largest = max(found["max_difference_nats"], worst.get("max_difference_nats", 0.0))
            mean = max(found["mean_difference_nats"], worst.get("mean_difference_nats", 0.0))
            worst |= {"max_difference_nats": largest, "mean_difference_nats": mean}
