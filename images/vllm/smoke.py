"""Smoke test of the vLLM image: the server that users start answers, and its numbers are those of the reference.

Standard library only: what is tested is the `vllm` command as it stands on the image's PATH.
"""

from __future__ import annotations

import os
import shlex
from typing import Any

from probe import MODEL, Report, Server, compare, compare_tokens, load_reference, require, tolerance

TARGET = os.environ["HALLMARK_TARGET"]
NAME = "hallmark"
PORT = 8000
# Generous to a first start that compiles, yet under the host's limit: a server can also hang after its engine has died.
START_S = float(os.environ.get("HALLMARK_START_S") or 420)
STOP_S = 30.0


def main() -> None:
    """Run every check against one server; once it has died, those that are left fail with the reason."""
    # A gibibyte of key-value cache: by default the server claims most of the memory it sees, on the CPU too.
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    report = Report.on_stdout()
    with Server(command(), PORT) as server:
        with report.check("health"):
            server.start(START_S)
        with report.check("models"):
            check_models(server)
        with report.check("completions"):
            check_completions(server)
        with report.check("logprobs") as measured:
            check_logprobs(server, measured)
        with report.check("chat"):
            check_chat(server)
        with report.check("repeatable"):
            check_repeatable(server)
        with report.check("unknown-model"):
            check_unknown_model(server)
        with report.check("shutdown"):
            status = server.stop(STOP_S)
            require(status == 0, f"exit code {status} after SIGTERM; {server.excerpt()}")


def command() -> list[str]:
    """`vllm serve` as users call it; HALLMARK_SERVE_ARGS adds arguments, as one shell-quoted string."""
    dtype = "float32" if TARGET == "cpu" else "bfloat16"
    extra = shlex.split(os.environ.get("HALLMARK_SERVE_ARGS", ""))
    address = ["--host", "127.0.0.1", "--port", str(PORT)]
    return ["vllm", "serve", str(MODEL), "--served-model-name", NAME, *address, "--dtype", dtype, *extra]


def check_models(server: Server) -> None:
    """The model is listed under its served name, and no other is."""
    body = answer(server.request("GET", "/v1/models"))
    names = [model["id"] for model in body["data"]]
    require(names == [NAME], f"/v1/models lists {names}, expected [{NAME!r}]")


def check_completions(server: Server) -> None:
    """A text is tokenized as the reference has it, and continued with the reference's greedy tokens."""
    for prompt in load_reference()["prompts"]:
        choice = complete(server, prompt)["choices"][0]
        compare_tokens(choice["prompt_token_ids"], prompt["token_ids"])
        compare_tokens(choice["token_ids"], prompt["greedy_token_ids"])


def check_logprobs(server: Server, measured: dict[str, Any]) -> None:
    """The log-probabilities of the prompt's and of the generated tokens agree with the reference."""
    of_prompts, of_answers = [], []
    for prompt in load_reference()["prompts"]:
        choice = complete(server, prompt, logprobs=0, prompt_logprobs=0)["choices"][0]
        # One entry a token: null for the first, else log-probabilities by token id, the prompt's own token among them.
        entries = zip(prompt["token_ids"][1:], choice["prompt_logprobs"][1:])  # noqa: B905 (compare sees a short list)
        values = [entry[str(token)]["logprob"] for token, entry in entries]
        of_prompts.append(compare(values, prompt["prompt_logprobs"], tolerance()))
        of_answers.append(compare(choice["logprobs"]["token_logprobs"], prompt["greedy_logprobs"], tolerance()))
    measured |= {
        "max_prompt_difference_nats": max(of_prompts),
        "max_generated_difference_nats": max(of_answers),
        "tolerance_nats": tolerance(),
    }


def check_chat(server: Server) -> None:
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


def check_repeatable(server: Server) -> None:
    """The same request, whose prefix the server may have kept, is answered with the same tokens again."""
    prompt = max(load_reference()["prompts"], key=lambda prompt: len(prompt["token_ids"]))
    first, second = (complete(server, prompt)["choices"][0]["token_ids"] for _ in range(2))
    compare_tokens(second, first)


def check_unknown_model(server: Server) -> None:
    """A model that is not served is refused with 404, and the server lives on."""
    status, _ = server.request("POST", "/v1/completions", {"model": "no-such-model", "prompt": "a", "max_tokens": 1})
    require(status == 404, f"a request for an unknown model was answered with {status}, expected 404")
    server.require_alive()


def complete(server: Server, prompt: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The body of a greedy completion of a reference prompt's text."""
    request = {"prompt": prompt["text"], "max_tokens": len(prompt["greedy_token_ids"]), "return_token_ids": True}
    return answer(server.request("POST", "/v1/completions", {"model": NAME, "temperature": 0, **request, **options}))


def answer(response: tuple[int, Any]) -> dict[str, Any]:
    """The body of a response whose status must be 200."""
    status, body = response
    require(status == 200, f"answered with {status}: {str(body)[:500]}")
    return dict(body)


if __name__ == "__main__":
    main()
