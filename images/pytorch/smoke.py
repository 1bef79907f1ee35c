"""Smoke test of the PyTorch image: the target's device computes, and a Llama's numbers are those of the reference.

Imports stand inside the checks, so that a library that cannot be imported is a failed check and not a missing report.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from functools import cache
from typing import Any

from guarding import check_guard
from probe import MODEL, agree, compare, compare_tokens, load_reference, require, run_checks

TARGET = os.environ["HALLMARK_TARGET"]
DEVICE = "cpu" if TARGET == "cpu" else "cuda"

FLOAT64_TOLERANCE = 1e-9
# The largest error accepted of a kernel, relative to its largest output: well above rounding, far below a wrong result.
KERNEL_TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2}


def main() -> None:
    """Run every check; none keeps the others from reporting."""
    checks = (check_guard, check_device, check_load, check_float64, check_forward, check_generate, check_kernels)
    run_checks({check.__name__.removeprefix("check_"): check for check in checks})


def check_device(measured: dict[str, Any]) -> None:
    """The device is the target's, and what is computed there stays there."""
    import torch

    measured |= {"torch": torch.__version__, "cuda": torch.version.cuda}
    if DEVICE == "cuda":
        require(torch.cuda.is_available(), "torch sees no CUDA device")
        found = "{}.{}".format(*torch.cuda.get_device_capability())
        measured |= {"device": torch.cuda.get_device_name(), "compute": found, "built_for": torch.cuda.get_arch_list()}
        wanted = os.environ["HALLMARK_COMPUTE"]
        require(found == wanted, f"the device has compute capability {found}, the target {TARGET} has {wanted}")
    else:
        measured |= {"device": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}
    product = torch.ones(64, 64, device=DEVICE) @ torch.ones(64, 64, device=DEVICE)
    require(product.device.type == DEVICE, f"a product was computed on {product.device}, not on {DEVICE}")
    require(bool((product == 64).all()), "a product of ones is wrong")


def check_load(measured: dict[str, Any]) -> None:
    """The weights are those of the reference, and transformers loads every tensor, and no other, onto the device."""
    found = hashlib.sha256((MODEL / "model.safetensors").read_bytes()).hexdigest()
    require(found == load_reference()["weights_sha256"], f"the weights are not the reference's: SHA-256 {found}")
    model, loading = load_model()
    complaints = {kind: sorted(map(str, names)) for kind, names in loading.items() if names}
    require(not complaints, f"the weights do not fit the model: {complaints}")
    measured["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    placed = {(parameter.device.type, parameter.dtype) for parameter in model.parameters()}
    require(placed == {(DEVICE, working_dtype())}, f"the parameters are {placed}, not {working_dtype()} on {DEVICE}")


def check_float64(measured: dict[str, Any]) -> None:
    """A Llama written out in torch's own operators, rounding nothing below float64, agrees with the reference."""
    differences = []
    for prompt in load_reference()["prompts"]:
        values = prompt_logprobs(exact_logits(prompt["token_ids"]), prompt)
        differences.append(compare(values, prompt["prompt_logprobs"], FLOAT64_TOLERANCE))
    measured["max_difference_nats"] = max(differences)


def check_forward(measured: dict[str, Any]) -> None:
    """The prompts' log-probabilities from transformers, in the working precision, agree with the reference."""
    import torch

    model, _ = load_model()
    texts = []
    for prompt in load_reference()["prompts"]:
        with torch.inference_mode():
            logits = model(torch.tensor([prompt["token_ids"]], device=DEVICE)).logits[0]
        require(logits.device.type == DEVICE, f"the logits lie on {logits.device}, not on {DEVICE}")
        texts.append((prompt_logprobs(logits, prompt), prompt["prompt_logprobs"]))
    agree(texts, measured)


def check_generate(measured: dict[str, Any]) -> None:
    """Greedy decoding with the key-value cache chooses the reference's tokens."""
    import torch

    model, _ = load_model()
    for prompt in load_reference()["prompts"]:
        tokens = torch.tensor([prompt["token_ids"]], device=DEVICE)
        expected = prompt["greedy_token_ids"]
        options = {"attention_mask": torch.ones_like(tokens), "do_sample": False, "pad_token_id": 0}
        output = model.generate(tokens, max_new_tokens=len(expected), **options)
        compare_tokens(output[0, tokens.shape[1] :].tolist(), expected)
        measured["tokens"] = measured.get("tokens", 0) + len(expected)


def check_kernels(measured: dict[str, Any]) -> None:
    """A few operators, each by the library that serves it on the device, agree with float64 on the CPU."""
    import torch
    from torch.nn import functional

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    generator = torch.Generator().manual_seed(0)

    def noise(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    operators = {
        "matmul": (torch.matmul, noise(256, 512), noise(512, 128)),
        "conv2d": (functional.conv2d, noise(2, 16, 32, 32), noise(32, 16, 3, 3)),
        "scaled_dot_product_attention": (functional.scaled_dot_product_attention, *noise(3, 1, 4, 128, 64)),
        "sort": (lambda values: torch.sort(values).values, noise(64, 1024)),
    }
    for dtype in (torch.float32, torch.bfloat16):
        kind = str(dtype).removeprefix("torch.")
        for name, (operator, *inputs) in operators.items():
            rounded = [value.to(dtype) for value in inputs]
            exact = operator(*(value.double() for value in rounded))
            result = operator(*(value.to(DEVICE) for value in rounded))
            require(result.device.type == DEVICE, f"{name} ran on {result.device}, not on {DEVICE}")
            error = float((result.cpu().double() - exact).abs().max() / exact.abs().max())
            measured[f"{name}_{kind}_error"] = error
            require(error <= KERNEL_TOLERANCE[kind], f"{name} in {kind} is off by {error:.3g} of its largest value")
    if importlib.util.find_spec("torchvision"):  # its kernels are built apart from torch's, and may lack the target's
        from torchvision.ops import nms

        boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], device=DEVICE)
        kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7], device=DEVICE), 0.5).tolist()
        require(kept == [0, 2], f"torchvision's nms kept boxes {kept}, expected [0, 2]")


def working_dtype() -> Any:
    """The type that users run models in."""
    import torch

    return torch.float32 if DEVICE == "cpu" else torch.bfloat16


@cache
def load_model() -> tuple[Any, dict[str, Any]]:
    """The model on the device, and what transformers says of its loading."""
    from transformers import AutoModelForCausalLM

    model, loading = AutoModelForCausalLM.from_pretrained(MODEL, dtype=working_dtype(), output_loading_info=True)
    return model.to(DEVICE).eval(), loading


def prompt_logprobs(logits: Any, prompt: dict[str, Any]) -> list[float]:
    """The log-probability, in nats, of each of the prompt's tokens after the first."""
    logprobs = logits.double().log_softmax(-1)
    return [float(logprobs[position, token]) for position, token in enumerate(prompt["token_ids"][1:])]


def exact_logits(tokens: list[int]) -> Any:
    """The logits of one sequence, computed on the device in float64."""
    import torch
    from safetensors.torch import load_file
    from torch.nn import functional

    config = json.loads((MODEL / "config.json").read_bytes())
    weights = {name: value.to(DEVICE, torch.float64) for name, value in load_file(MODEL / "model.safetensors").items()}
    width = config["head_dim"]
    exponents = torch.arange(0, width, 2, device=DEVICE, dtype=torch.float64) / width
    angles = torch.arange(len(tokens), device=DEVICE)[:, None] * config["rope_theta"] ** -exponents
    turn = torch.polar(torch.ones_like(angles), angles)

    def linear(values: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(values, weights[f"{name}.weight"])

    def norm(values: torch.Tensor, name: str) -> torch.Tensor:
        return functional.rms_norm(values, values.shape[-1:], weights[f"{name}.weight"], config["rms_norm_eps"])

    def heads(values: torch.Tensor) -> torch.Tensor:
        return values.unflatten(-1, (-1, width)).transpose(0, 1)

    def rotate(values: torch.Tensor) -> torch.Tensor:
        turned = torch.complex(*values.chunk(2, dim=-1)) * turn
        return torch.cat([turned.real, turned.imag], dim=-1)

    hidden = functional.embedding(torch.tensor(tokens, device=DEVICE), weights["model.embed_tokens.weight"])
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        inner = norm(hidden, f"{prefix}.input_layernorm")
        query, key, value = (heads(linear(inner, f"{prefix}.self_attn.{name}_proj")) for name in "qkv")
        shared = query.shape[0] // key.shape[0]
        key, value = rotate(key).repeat_interleave(shared, 0), value.repeat_interleave(shared, 0)
        attended = functional.scaled_dot_product_attention(rotate(query), key, value, is_causal=True)
        hidden = hidden + linear(attended.transpose(0, 1).flatten(1), f"{prefix}.self_attn.o_proj")
        inner = norm(hidden, f"{prefix}.post_attention_layernorm")
        gate = functional.silu(linear(inner, f"{prefix}.mlp.gate_proj"))
        hidden = hidden + linear(gate * linear(inner, f"{prefix}.mlp.up_proj"), f"{prefix}.mlp.down_proj")
    return linear(norm(hidden, "model.norm"), "lm_head")


if __name__ == "__main__":
    main()
