"""A model of the zoo as transformers computes it, in float64 throughout. It needs torch and transformers.

Transformers computes norms, rotary angles, softmax and routing in float32 whatever the model's type. Here every request
for float32 is answered with float64, and a guard makes sure that nothing narrower was computed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from scripts.files import write_json
from scripts.smoke.models import nvfp4
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
    """The weights in float64, each multiplied with its scale if it has one, and unpacked if it was packed."""
    weights = {}
    for name, tensor in stored.items():
        if name.endswith("_scale"):
            continue
        if name.endswith("_packed"):
            name, tensor = name.removesuffix("_packed"), unpack(torch, tensor)
        weights[name] = tensor.to(torch.float64)
        if (scale := stored.get(f"{name}_scale")) is not None:
            scale = scale.to(torch.float64)
            for axis in range(scale.dim()):
                scale = scale.repeat_interleave(tensor.shape[axis] // scale.shape[axis], dim=axis)
            weights[name] *= scale
        if (factor := stored.get(f"{name}_global_scale")) is not None:
            weights[name] /= factor.to(torch.float64)
    return weights


def unpack(torch: Any, packed: Any) -> Any:
    """E2M1 numbers in float64, two for each byte: first its lower half."""
    levels = torch.tensor([sign * level for sign in (1, -1) for level in nvfp4.LEVELS], dtype=torch.float64)
    return levels[torch.stack([packed & 15, packed >> 4], -1).flatten(-2).long()]


def quantise_activations(torch: Any, model: Any, scheme: Scheme) -> None:
    """Make the layers that a scheme covers round their inputs as FP8 or FP4 kernels do."""

    overrides: Any = import_module("torch.overrides")

    class Rounding(overrides.TorchFunctionMode):  # type: ignore[misc]
        def __init__(self, rounded: Callable[[Any], Any]) -> None:
            super().__init__()
            self.rounded = rounded

        def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is torch.nn.functional.linear:
                args = (self.rounded(args[0]), *args[1:])
            return function(*args, **(kwargs or {}))

    def rounding(name: str, module: Any) -> Any:
        forward = module.forward

        def rounded(values: Any) -> Any:
            if scheme.nvfp4:
                projection = name_projection(name, module, values.shape[-1])
                return round_to_fp4(torch, values, nvfp4.global_scales(projection)[1])
            return round_to_fp8(torch, values, BLOCK if scheme.blocks else values.shape[-1])

        def replaced(*args: Any, **kwargs: Any) -> Any:
            with Rounding(rounded):
                return forward(*args, **kwargs)

        return replaced

    for name, module in model.named_modules():
        # Experts that a checkpoint has one by one are one module of transformers.
        if scheme.covers(f"{name}.weight") or scheme.covers(f"{name}.0.up_proj.weight"):
            module.forward = rounding(name, module)


def name_projection(name: str, module: Any, inputs: int) -> str:
    """The projection of a module that reads so many inputs: the module, or one of the first expert's."""
    down = getattr(module, "down_proj", None)
    return name if down is None else f"{name}.0.{'down' if down.shape[-1] == inputs else 'up'}_proj"


def round_to_fp8(torch: Any, values: Any, group: int) -> Any:
    """Values rounded to the nearest F8_E4M3 multiple of the scale of their group of the last axis."""
    groups = values.unflatten(-1, (-1, group))
    scale = groups.abs().amax(-1, keepdim=True) / LARGEST_F8
    return (nearest(torch, groups / scale, least=-6, bits=3) * scale).flatten(-2)


def round_to_fp4(torch: Any, values: Any, global_scale: float) -> Any:
    """Values rounded to the nearest E2M1 multiple of their group's scale, which is itself E4M3 over the global one."""
    groups = values.unflatten(-1, (-1, nvfp4.GROUP))
    largest = groups.abs().amax(-1, keepdim=True)
    scale = nearest(torch, largest * global_scale / nvfp4.LEVELS[-1], least=-6, bits=3).clamp(max=LARGEST_F8)
    scaled = groups * global_scale / scale.clamp(min=2.0**-9)
    levels = nearest(torch, scaled.clamp(-nvfp4.LEVELS[-1], nvfp4.LEVELS[-1]), least=0, bits=1)
    return (levels * scale / global_scale).flatten(-2)


def nearest(torch: Any, values: Any, least: int, bits: int) -> Any:
    """The nearest numbers, ties to even, with so many bits of mantissa, where the least normal one is 2^least."""
    exponent = (torch.frexp(values).exponent - 1).clamp(min=least)
    step = torch.ldexp(torch.ones_like(values), exponent - bits)
    return (values / step).round() * step


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
