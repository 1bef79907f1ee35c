"""Makes references/NAME.json: what a model answers when nothing is rounded. `python -m scripts.smoke.models.reference`.

It needs torch and transformers, which Hallmark itself does not: it is run by hand, when a model or a prompt changes.

The number in a prompt is the first with which every greedy token leads the next by the model's margin, so that engines
of every precision must choose the same tokens.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import takewhile
from string import ascii_uppercase
from typing import Any

from scripts.files import write_atomic
from scripts.smoke.models.float64 import load, narrow_refused, wide
from scripts.smoke.models.tensors import draws
from scripts.smoke.models.tokenizer import BOS_ID
from scripts.smoke.models.zoo import MODELS, REFERENCES, SEED

PROMPTS = [
    "Sterling silver, lot {}",
    "A hallmark is struck only after the assay: it says who made a piece, where and when it was tested, and how pure it"
    " is. Whoever reads it need not trust the seller, for the mark was earned. It is entry {}",
    "Größe geprüft ✓ 品質 {}",
]
CHAT = "Is lot {} genuine?"
# Letters last: what follows depends most on the last token, and ten digits would lead to few continuations.
NUMBERS = [f"{number}{letter}" for number in range(10, 100) for letter in ascii_uppercase]
BATCH = 130
TOP = 5


class Reference:
    """One model in float64, and its answers."""

    def __init__(self, name: str) -> None:
        self.torch: Any = import_module("torch")
        self.wanted = MODELS[name]
        self.model, self.tokenizer, self.digest = load(name)

    def make(self) -> dict[str, Any]:
        """Every number of the reference, those beyond nine decimals left out."""
        prompts = []
        for template in PROMPTS:
            text = self.find(template, self.encode)
            prompts.append({"text": text, **self.answer(self.encode(text))})
        question = self.find(CHAT, self.encode_chat)
        chat = {"messages": _messages(question), **self.answer(self.encode_chat(question))}
        margin = min(entry.pop("margin") for entry in [*prompts, chat])
        long = {"long": self.read_long(draw_tokens(self.wanted.long))} if self.wanted.long else {}
        return {
            "seed": SEED,
            "weights_sha256": self.digest,
            "prompts": prompts,
            "chat": chat,
            **long,
            "min_margin_nats": margin,
        }

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text)["input_ids"])

    def encode_chat(self, text: str) -> list[int]:
        rendered = self.tokenizer.apply_chat_template(_messages(text), add_generation_prompt=True, return_dict=True)
        return list(rendered["input_ids"])

    def find(self, template: str, encode: Callable[[str], list[int]]) -> str:
        """The template with the first number whose greedy tokens are neither special nor contested."""
        for start in range(0, len(NUMBERS), BATCH):
            texts = [template.format(number) for number in NUMBERS[start : start + BATCH]]
            if (place := self.first_clear([encode(text) for text in texts])) is not None:
                return texts[place]
        raise ValueError(f"no number in {template!r} keeps the margin")

    def first_clear(self, prompts: Sequence[list[int]]) -> int | None:
        """The first of some prompts of equal length whose greedy tokens keep the margin. They share a cached prefix."""
        alike = (len(set(column)) == 1 for column in zip(*prompts, strict=True))
        shared = prompts[0][: len(list(takewhile(bool, alike)))]
        places = self.torch.arange(len(prompts))
        with self.torch.inference_mode(), wide(), narrow_refused():
            cache = self.model(self.torch.tensor([shared]), use_cache=True).past_key_values
            # Layers whose state is not keys and values know this way alone to repeat and to select.
            cache.reorder_cache(self.torch.zeros_like(places))
            tokens = self.torch.tensor([prompt[len(shared) :] for prompt in prompts])
            for _ in range(self.wanted.greedy_tokens):
                logits = self.model(tokens, past_key_values=cache, use_cache=True).logits[:, -1]
                best = logits.topk(2)
                clear = best.values[:, 0] - best.values[:, 1] >= self.wanted.margin
                clear &= best.indices[:, 0] < BOS_ID
                (kept,) = clear.nonzero(as_tuple=True)
                if not len(kept):
                    return None
                cache.reorder_cache(kept)
                places, tokens = places[kept], best.indices[kept, :1]
        return int(places[0])

    def answer(self, tokens: list[int]) -> dict[str, Any]:
        """What the model says of a prompt and after it, each step from scratch, so that no cache is trusted."""
        greedy: list[int] = []
        greedy_logprobs: list[float] = []
        margins: list[float] = []
        with self.torch.inference_mode(), wide(), narrow_refused():
            logprobs = self.logprobs(tokens)
            for _ in range(self.wanted.greedy_tokens):
                best = self.logprobs(tokens + greedy)[-1].topk(2)
                greedy.append(int(best.indices[0]))
                greedy_logprobs.append(float(best.values[0]))
                margins.append(float(best.values[0] - best.values[1]))
            top = logprobs[:-1].topk(TOP)
        if max(greedy) >= BOS_ID or min(margins) < self.wanted.margin:
            raise ValueError("the search found a prompt that is not clear: its cache is not to be trusted")
        known = [float(row[token]) for row, token in zip(logprobs[:-1], tokens[1:], strict=True)]
        return {
            "token_ids": tokens,
            "prompt_logprobs": _rounded(known, 9),
            "greedy_token_ids": greedy,
            "greedy_logprobs": _rounded(greedy_logprobs, 9),
            "top": {
                "token_ids": top.indices.tolist(),
                "logprobs": [_rounded(row, 6) for row in top.values.tolist()],
            },
            "margin": round(min(margins), 9),
        }

    def read_long(self, tokens: list[int]) -> dict[str, Any]:
        """The log-probabilities of a long prompt's tokens after its first."""
        with self.torch.inference_mode(), wide(), narrow_refused():
            logprobs = self.logprobs(tokens)
        known = [float(row[token]) for row, token in zip(logprobs[:-1], tokens[1:], strict=True)]
        return {"token_ids": tokens, "prompt_logprobs": _rounded(known, 6)}

    def logprobs(self, tokens: list[int]) -> Any:
        """Log-probabilities after each token, shape (tokens, vocabulary)."""
        return self.model(self.torch.tensor([tokens]), use_cache=False).logits[0].log_softmax(-1)


def draw_tokens(count: int) -> list[int]:
    """The tokens of a long prompt: bytes in no order, for in a pattern that repeats one fault may hide another."""
    return [BOS_ID, *draws(SEED, "long", count - 1)]


def _messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _rounded(values: Sequence[float], digits: int) -> list[float]:
    return [round(value, digits) for value in values]


def lay_out(value: Any, indent: str = "") -> str:
    """Indented JSON that keeps a list of numbers on one line."""
    inner = indent + "  "
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(key)}: {lay_out(entry, inner)}" for key, entry in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        return "[\n" + ",\n".join(inner + lay_out(entry, inner) for entry in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


if __name__ == "__main__":
    for name in sys.argv[1:] or MODELS:
        write_atomic(REFERENCES / f"{name}.json", (lay_out(Reference(name).make()) + "\n").encode())
