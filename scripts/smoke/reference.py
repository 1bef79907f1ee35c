"""Makes reference.json: what the tiny Llama answers when nothing is rounded. `python -m scripts.smoke.reference`.

It needs torch and transformers, which Hallmark itself does not: it is run by hand, when the model or a prompt changes.
"""

from __future__ import annotations

import math
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from scripts.files import write_json
from scripts.smoke.tiny_llama import BOS_ID, SEED, Shape, write_model

REFERENCE = Path(__file__).with_name("reference.json")
GREEDY_TOKENS = 16

# The numbers in the prompts were searched for: with them, each greedy token leads the next by far more than bfloat16
# blurs a margin (0.05 nats on average, 0.2 at worst), so that engines of every precision must choose the same tokens.
PROMPTS = [
    "Lot 230: sterling silver, ",
    "A hallmark is struck only after the assay: it says who made a piece, where and when it was tested, and how pure it"
    " is. Whoever reads it need not trust the seller, for the mark was earned. Entry 490 of the book",
    "Größe 522 µm, geprüft ✓ 品質",
]
CHAT = [{"role": "user", "content": "Is lot 386 genuine?"}]


def make_reference() -> dict[str, Any]:
    """Compute every number of the reference, in float64 throughout."""
    torch: Any = import_module("torch")
    transformers: Any = import_module("transformers")
    with tempfile.TemporaryDirectory() as folder:
        digest = write_model(Path(folder))
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    _widen(torch, model)
    margins: list[float] = []

    def answer(tokens: list[int]) -> dict[str, Any]:
        greedy: list[int] = []
        greedy_logprobs: list[float] = []
        with torch.inference_mode():
            logprobs = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
            for _ in range(GREEDY_TOKENS):
                best = model(torch.tensor([tokens + greedy])).logits[0, -1].log_softmax(-1).topk(2)
                greedy.append(int(best.indices[0]))
                greedy_logprobs.append(float(best.values[0]))
                margins.append(float(best.values[0] - best.values[1]))
        return {
            "token_ids": tokens,
            "prompt_logprobs": [float(row[token]) for row, token in zip(logprobs[:-1], tokens[1:], strict=True)],
            "greedy_token_ids": greedy,
            "greedy_logprobs": greedy_logprobs,
        }

    prompts = [{"text": text, **answer(tokenizer(text)["input_ids"])} for text in PROMPTS]
    rendered = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=True)
    chat = {"messages": CHAT, **answer(rendered["input_ids"])}
    if any(token >= BOS_ID for entry in [*prompts, chat] for token in entry["greedy_token_ids"]):
        raise ValueError("a greedy token is special, and servers stop there: choose another prompt")
    return {
        "seed": SEED,
        "weights_sha256": digest,
        "prompts": prompts,
        "chat": chat,
        "min_margin_nats": min(margins),
    }


def _widen(torch: Any, model: Any) -> None:
    """Replace the parts that transformers computes in float32 whatever the model's type: norms and rotary angles."""
    shape = Shape()

    def norm(narrow: Any) -> Any:
        wide = torch.nn.RMSNorm(shape.hidden, shape.norm_epsilon, dtype=torch.float64)
        wide.weight = narrow.weight
        return wide

    def rotary(_hidden: Any, position_ids: Any) -> tuple[Any, Any]:
        exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim
        angles = position_ids[..., None] * torch.exp(-math.log(shape.rope_theta) * exponents)
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()

    for layer in model.model.layers:
        layer.input_layernorm = norm(layer.input_layernorm)
        layer.post_attention_layernorm = norm(layer.post_attention_layernorm)
    model.model.norm = norm(model.model.norm)
    model.model.rotary_emb.forward = rotary


if __name__ == "__main__":
    write_json(REFERENCE, make_reference())
