"""Smoke test of the vLLM image: the server that users start answers, and its numbers are those of the reference.

Standard library only: what is tested is the `vllm` command as it stands on the image's PATH.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from caches import measure_caches
from guarding import check_guard
from probe import (
    MODEL,
    Server,
    agree,
    compare_tokens,
    find_likeliest,
    load_reference,
    requested_checks,
    require,
    run_checks,
    serve_arguments,
    tolerance,
)
from serving import Answer, answer, check_kernels, check_libraries, press, read_kernels, start
from sweeping import sweep
from upstream import check_upstream

NAME = "hallmark"
PORT = 8000
STOP_S = 30.0
PROFILE = Path(tempfile.gettempdir()) / "profile"


def main() -> None:
    """Run every check against one server; once it has died, those that are left fail with the reason."""
    # A gibibyte of key-value cache: by default the server claims most of the memory it sees, on the CPU too.
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    with Server(command(), PORT) as server:
        without_server = {"guard": check_guard, "upstream": check_upstream}
        run_checks(without_server | {name: partial(check, server) for name, check in CHECKS.items()})


def command() -> list[str]:
    """`vllm serve` as users call it, with what the scenario adds."""
    address = ["--host", "127.0.0.1", "--port", str(PORT)]
    model = [str(MODEL), "--served-model-name", NAME, "--dtype", os.environ["HALLMARK_DTYPE"]]
    config = {"profiler": "torch", "torch_profiler_dir": str(PROFILE)}
    profile = ["--profiler-config", json.dumps(config)] if "kernels" in requested_checks() else []
    return ["vllm", "serve", *model, *address, *profile, *serve_arguments()]


def check_health(server: Server, measured: dict[str, Any]) -> None:
    """The server starts and says that it is well, within the scenario's time."""
    start(server, measured)


def check_models(server: Server, _: dict[str, Any]) -> None:
    """The model is listed under its served name, and no other is."""
    body = answer(server.request("GET", "/v1/models"))
    names = [model["id"] for model in body["data"]]
    require(names == [NAME], f"/v1/models lists {names}, expected [{NAME!r}]")


def check_completions(server: Server, _: dict[str, Any]) -> None:
    """A text is tokenized as the reference has it, and continued with the reference's greedy tokens."""
    for prompt in load_reference()["prompts"]:
        choice = complete(server, prompt)["choices"][0]
        compare_tokens(choice["prompt_token_ids"], prompt["token_ids"])
        compare_tokens(choice["token_ids"], prompt["greedy_token_ids"])


def check_logprobs(server: Server, measured: dict[str, Any]) -> None:
    """The log-probabilities of prompts, answers, and the likeliest tokens of each position agree with the reference."""
    texts = []
    for prompt in load_reference()["prompts"]:
        choice = complete(server, prompt, logprobs=0, prompt_logprobs=len(prompt["top"]["token_ids"][0]))["choices"][0]
        # One entry a token: null for the first, else log-probabilities by token id, the prompt's own token among them.
        entries = zip(prompt["token_ids"][1:], choice["prompt_logprobs"][1:])  # noqa: B905 (compare sees a short list)
        values = [entry[str(token)]["logprob"] for token, entry in entries]
        texts.append((values, prompt["prompt_logprobs"]))
        texts.append((choice["logprobs"]["token_logprobs"], prompt["greedy_logprobs"]))
        listed = [
            {int(token): entry["logprob"] for token, entry in each.items()} for each in choice["prompt_logprobs"][1:]
        ]
        texts.append(find_likeliest(listed, prompt["top"], tolerance()))
    agree(texts, measured)


def check_chat(server: Server, _: dict[str, Any]) -> None:
    """A chat is rendered as the reference has it and answered with its tokens, and the usage counts them."""
    chat = load_reference()["chat"]
    expected = chat["greedy_token_ids"]
    request = {"messages": chat["messages"], "max_tokens": len(expected), "return_token_ids": True}
    body = answer(server.request("POST", "/v1/chat/completions", {"model": NAME, "temperature": 0, **request}))
    choice = body["choices"][0]
    compare_tokens(body["prompt_token_ids"], chat["token_ids"])
    compare_tokens(choice["token_ids"], expected)
    require(bool(choice["message"]["content"]), "the answer has no content")
    require(choice["finish_reason"] == "length", f"it finished for {choice['finish_reason']!r}, expected 'length'")
    counts = [body["usage"][kind] for kind in ("prompt_tokens", "completion_tokens", "total_tokens")]
    wanted = [len(chat["token_ids"]), len(expected), len(chat["token_ids"]) + len(expected)]
    require(counts == wanted, f"usage counts {counts} tokens (prompt, completion, total), expected {wanted}")


def check_repeatable(server: Server, _: dict[str, Any]) -> None:
    """The same request, whose prefix the server may have kept, is answered with the same tokens again."""
    prompt = max(load_reference()["prompts"], key=lambda prompt: len(prompt["token_ids"]))
    first, second = (complete(server, prompt)["choices"][0]["token_ids"] for _ in range(2))
    compare_tokens(second, first)


def check_sizes(server: Server, measured: dict[str, Any]) -> None:
    """Prompts of 2 to 4,096 tokens have the reference's log-probabilities, alone and with others at once."""

    def read(tokens: Sequence[int]) -> list[float]:
        request = {"prompt": tokens, "max_tokens": 1, "prompt_logprobs": 0}
        body = answer(server.request("POST", "/v1/completions", {"model": NAME, "temperature": 0, **request}))
        entries = zip(tokens[1:], body["choices"][0]["prompt_logprobs"][1:])  # noqa: B905 (agree sees a short list)
        return [entry[str(token)]["logprob"] for token, entry in entries]

    sweep(read, load_reference(), measured)


def check_load(server: Server, measured: dict[str, Any]) -> None:
    """Under load the answers are those of alone, none is empty, memory is steady, and the server is well afterwards."""

    def ask(tokens: Sequence[int], count: int) -> Answer:
        request = {"prompt": tokens, "max_tokens": count, "ignore_eos": True, "logprobs": 0, "return_token_ids": True}
        body = {"model": NAME, "temperature": 0, **request}
        choice = answer(server.request("POST", "/v1/completions", body))["choices"][0]
        return Answer(choice["token_ids"], choice["logprobs"]["token_logprobs"])

    press(server, ask, tolerance(), measured)


def check_libraries_in_use(server: Server, measured: dict[str, Any]) -> None:
    """What the server's processes have loaded is of one kind each, and of the image's CUDA."""
    check_libraries(server, os.environ.get("HALLMARK_CUDA", ""), measured)


def check_kernels_in_use(server: Server, measured: dict[str, Any]) -> None:
    """The kernels that serve a request are those that the scenario wants, by the server's own profile."""
    for act in ("start", "stop"):
        status, body = server.request("POST", f"/{act}_profile")
        require(status == 200, f"/{act}_profile is answered with {status}: {str(body)[:300]}")
        if act == "start":
            for prompt in load_reference()["prompts"]:
                complete(server, prompt)
    check_kernels(read_kernels(PROFILE), measured)


def check_unknown_model(server: Server, _: dict[str, Any]) -> None:
    """A model that is not served is refused with 404, and the server lives on."""
    status, _ = server.request("POST", "/v1/completions", {"model": "no-such-model", "prompt": "a", "max_tokens": 1})
    require(status == 404, f"a request for an unknown model was answered with {status}, expected 404")
    server.require_alive()


def check_shutdown(server: Server, measured: dict[str, Any]) -> None:
    """After SIGTERM the server ends with 0. What it leaves in the caches is recorded."""
    status = server.stop(STOP_S)
    measured |= measure_caches()
    require(status == 0, f"exit code {status} after SIGTERM; {server.excerpt()}")


def complete(server: Server, prompt: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The body of a greedy completion of a reference prompt's text."""
    request = {"prompt": prompt["text"], "max_tokens": len(prompt["greedy_token_ids"]), "return_token_ids": True}
    return answer(server.request("POST", "/v1/completions", {"model": NAME, "temperature": 0, **request, **options}))


CHECKS = {
    "health": check_health,
    "models": check_models,
    "completions": check_completions,
    "logprobs": check_logprobs,
    "chat": check_chat,
    "repeatable": check_repeatable,
    "sizes": check_sizes,
    "load": check_load,
    "libraries": check_libraries_in_use,
    "kernels": check_kernels_in_use,
    "unknown-model": check_unknown_model,
    "shutdown": check_shutdown,
}

if __name__ == "__main__":
    main()
