"""A model of the zoo as transformers computes it, in float64 throughout. It needs torch and transformers.

Transformers computes norms, rotary angles, softmax and routing in float32 whatever the model's type. Here every request
for float32 is answered with float64, and a guard makes sure that nothing narrower was computed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from scripts.files import write_json
from scripts.smoke.models.quantised import BLOCK, Scheme
from scripts.smoke.models.tensors import LARGEST_F8
from scripts.smoke.models.zoo import MODELS, write_model


def load(name: str) -> tuple[Any, Any, str]:
    """A model, its tokenizer, and the SHA-256 of its weights. Call the model within `wide()` and `narrow_refused()`."""
    torch: Any = import_module("torch")
    transformers: Any = import_module("transformers")
    files: Any = import_module("safetensors.torch")
    scheme = MODELS[name].scheme
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        digest = write_model(name, folder)
        weights = dequantise(torch, files.load_file(folder / "model.safetensors"))
        files.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        plain = {key: value for key, value in MODELS[name].config.items() if key != "quantization_config"}
        write_json(folder / "config.json", plain)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        with wide():
            # "eager" is for experts, one after the other: grouped kernels know no float64.
            options = {"dtype": torch.float64, "experts_implementation": "eager"}
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, **options).eval()
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if narrow := sorted(key for key, value in tensors.items() if value.dtype != torch.float64):
        raise TypeError(f"not float64: {', '.join(narrow)}")
    if scheme is not None:
        quantise_activations(torch, model, scheme)
    return model, tokenizer, digest


def dequantise(torch: Any, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The weights in float64, each multiplied with its scale if it has one."""
    weights = {}
    for name, tensor in stored.items():
        if name.endswith("_scale"):
            continue
        weights[name] = tensor.to(torch.float64)
        if (scale := stored.get(f"{name}_scale")) is not None:
            scale = scale.to(torch.float64)
            for axis in range(scale.dim()):
                scale = scale.repeat_interleave(tensor.shape[axis] // scale.shape[axis], dim=axis)
            weights[name] *= scale
    return weights


def quantise_activations(torch: Any, model: Any, scheme: Scheme) -> None:
    """Make the layers that a scheme covers round their inputs as FP8 kernels do."""

    overrides: Any = import_module("torch.overrides")

    class Rounding(overrides.TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is torch.nn.functional.linear:
                group = BLOCK if scheme.blocks else args[0].shape[-1]
                args = (round_activations(torch, args[0], group), *args[1:])
            return function(*args, **(kwargs or {}))

    def rounding(forward: Any) -> Any:
        def replaced(*args: Any, **kwargs: Any) -> Any:
            with Rounding():
                return forward(*args, **kwargs)

        return replaced

    for name, module in model.named_modules():
        # Experts that a checkpoint has one by one are one module of transformers.
        if scheme.covers(f"{name}.weight") or scheme.covers(f"{name}.0.up_proj.weight"):
            module.forward = rounding(module.forward)


def round_activations(torch: Any, values: Any, group: int) -> Any:
    """Values rounded to the nearest F8_E4M3 multiple, ties to even, of the scale of their group of the last axis."""
    groups = values.unflatten(-1, (-1, group))
    scale = groups.abs().amax(-1, keepdim=True) / LARGEST_F8
    scaled = groups / scale
    exponent = (torch.frexp(scaled).exponent - 1).clamp(min=-6)
    step = torch.ldexp(torch.ones_like(scaled), exponent - 3)
    return ((scaled / step).round() * step * scale).flatten(-2)


@contextmanager
def wide() -> Iterator[None]:
    """Within this, torch takes float64 wherever it is asked for float32."""
    torch: Any = import_module("torch")
    overrides: Any = import_module("torch.overrides")

    def widen(value: Any) -> Any:
        return torch.float64 if value is torch.float32 else value

    class Wide(overrides.TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            function = torch.Tensor.double if function is torch.Tensor.float else function
            return function(*map(widen, args), **{key: widen(value) for key, value in (kwargs or {}).items()})

    with Wide():
        yield


@contextmanager
def narrow_refused() -> Iterator[None]:
    """Within this, an operation that gives floating-point numbers narrower than float64 raises TypeError."""
    torch: Any = import_module("torch")
    dispatch: Any = import_module("torch.utils._python_dispatch")
    narrow = {torch.float32, torch.float16, torch.bfloat16, torch.complex64}

    class Guard(dispatch.TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            for value in result if isinstance(result, (tuple, list)) else [result]:
                if isinstance(value, torch.Tensor) and value.dtype in narrow:
                    raise TypeError(f"{function} gives {value.dtype}")
            return result

    with Guard():
        yield
