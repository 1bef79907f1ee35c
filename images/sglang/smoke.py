"""Smoke test of the SGLang image on a GPU: the server that users start answers, and its numbers are the reference's.

Standard library only: what is tested is the `serve-sglang` command as it stands on the image's PATH. Tokens and
log-probabilities are asked of SGLang's own /generate: its OpenAI API counts tokens and, in older releases, shows none.
"""

from __future__ import annotations

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
    require,
    run_checks,
    serve_arguments,
    tolerance,
)
from serving import Answer, answer, check_kernels, check_libraries, press, read_kernels, start
from sweeping import sweep

NAME = "hallmark"
PORT = 30000
# SGLang looks every 5 s whether it was told to end, and then gives its scheduler 15 s.
STOP_S = 60.0
PROFILE = Path(tempfile.gettempdir()) / "profile"
# What SGLang logs once it has answered all requests and ends by its own will; 0.5.9 then kills itself by SIGKILL.
FAREWELL = "Gracefully exiting"
KILLED = (-9, 137)
# A prefix that nothing else begins with: texts and chats begin with `<s>`, the server's own health check is token 0.
# 510 tokens are more than a page of the key-value cache has.
PREFIX = [*range(1, 256)] * 2


def main() -> None:
    """Run every check against one server; once it has died, those that are left fail with the reason."""
    with Server(command(), PORT) as server:
        run_checks({"guard": check_guard} | {name: partial(check, server) for name, check in CHECKS.items()})


def command() -> list[str]:
    """`serve-sglang` as users call it, with what the scenario adds."""
    model = ["--model-path", str(MODEL), "--served-model-name", NAME, "--dtype", os.environ["HALLMARK_DTYPE"]]
    address = ["--host", "127.0.0.1", "--port", str(PORT)]
    return ["serve-sglang", *model, *address, "--enable-cache-report", *serve_arguments()]


def check_health(server: Server, measured: dict[str, Any]) -> None:
    """The server starts and says that it is well, within the scenario's time."""
    start(server, measured)


def check_models(server: Server, _: dict[str, Any]) -> None:
    """The model is listed under its served name, and no other is."""
    body = answer(server.request("GET", "/v1/models"))
    names = [model["id"] for model in body["data"]]
    require(names == [NAME], f"/v1/models lists {names}, expected [{NAME!r}]")


def check_completions(server: Server, _: dict[str, Any]) -> None:
    """A text is tokenized and continued greedily as the reference has it; the OpenAI API says the same, and counts."""
    for prompt in load_reference()["prompts"]:
        native = generate(server, prompt, text=prompt["text"], return_logprob=True, logprob_start_len=0)
        compare_tokens([entry[1] for entry in native["meta_info"]["input_token_logprobs"]], prompt["token_ids"])
        compare_tokens(native["output_ids"], prompt["greedy_token_ids"])
        body = complete(server, prompt["text"], len(prompt["greedy_token_ids"]))
        choice = body["choices"][0]
        check_openai(body, choice["text"], native["text"], prompt)


def check_logprobs(server: Server, measured: dict[str, Any]) -> None:
    """The log-probabilities of prompts, answers, and the likeliest tokens of each position agree with the reference."""
    texts = []
    for prompt in load_reference()["prompts"]:
        likeliest = len(prompt["top"]["token_ids"][0])
        options = {"return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": likeliest}
        meta = generate(server, prompt, input_ids=prompt["token_ids"], **options)["meta_info"]
        # One entry a token: log-probability, id, text. The first token has no log-probability.
        for_prompt = [entry[0] for entry in meta["input_token_logprobs"]]
        for_answer = [entry[0] for entry in meta["output_token_logprobs"]]
        texts += [(for_prompt[1:], prompt["prompt_logprobs"]), (for_answer, prompt["greedy_logprobs"])]
        listed = [{token: logprob for logprob, token, _ in each} for each in meta["input_top_logprobs"][1:]]
        texts.append(find_likeliest(listed, prompt["top"], tolerance()))
    agree(texts, measured)


def check_chat(server: Server, _: dict[str, Any]) -> None:
    """A chat is answered like the tokens that the reference renders it to, and the usage counts those tokens."""
    chat = load_reference()["chat"]
    native = generate(server, chat, input_ids=chat["token_ids"])
    compare_tokens(native["output_ids"], chat["greedy_token_ids"])
    request = {"model": NAME, "messages": chat["messages"], "max_tokens": len(chat["greedy_token_ids"])}
    body = answer(server.request("POST", "/v1/chat/completions", {"temperature": 0, **request}))
    check_openai(body, body["choices"][0]["message"]["content"], native["text"], chat)


def check_repeatable(server: Server, _: dict[str, Any]) -> None:
    """The same request, whose prefix the server has kept, is answered with the same tokens again."""
    prompt = max(load_reference()["prompts"], key=lambda prompt: len(prompt["token_ids"]))
    first, second = (generate(server, prompt, input_ids=prompt["token_ids"])["output_ids"] for _ in range(2))
    compare_tokens(first, prompt["greedy_token_ids"])
    compare_tokens(second, first)


def check_radix_cache(server: Server, measured: dict[str, Any]) -> None:
    """Of a prefix that is sent twice, nothing is cached the first time and something the second."""
    first, second = (cached_tokens(complete(server, PREFIX, 1)) for _ in range(2))
    measured |= {"prefix_tokens": len(PREFIX), "cached_first": first, "cached_second": second}
    require(first == 0, f"{first} tokens of a prefix were cached before it was ever sent")
    require(0 < second < len(PREFIX), f"{second} of {len(PREFIX)} tokens were cached when a prefix was sent again")


def check_sizes(server: Server, measured: dict[str, Any]) -> None:
    """Prompts of 2 to 4,096 tokens have the reference's log-probabilities, alone and with others at once."""

    def read(tokens: Sequence[int]) -> list[float]:
        sampling = {"temperature": 0, "max_new_tokens": 1}
        request = {"input_ids": tokens, "sampling_params": sampling, "return_logprob": True, "logprob_start_len": 0}
        meta = answer(server.request("POST", "/generate", request))["meta_info"]
        return [entry[0] for entry in meta["input_token_logprobs"]][1:]

    sweep(read, load_reference(), measured)


def check_load(server: Server, measured: dict[str, Any]) -> None:
    """Under load the answers are those of alone, none is empty, memory is steady, and the server is well afterwards."""

    def ask(tokens: Sequence[int], count: int) -> Answer:
        sampling = {"temperature": 0, "max_new_tokens": count, "ignore_eos": True}
        request = {"input_ids": tokens, "sampling_params": sampling, "return_logprob": True}
        body = answer(server.request("POST", "/generate", request))
        return Answer(body["output_ids"], [entry[0] for entry in body["meta_info"]["output_token_logprobs"]])

    press(server, ask, tolerance(), measured)


def check_libraries_in_use(server: Server, measured: dict[str, Any]) -> None:
    """What the server's processes have loaded is of one kind each, and of the image's CUDA."""
    check_libraries(server, os.environ.get("HALLMARK_CUDA", ""), measured)


def check_kernels_in_use(server: Server, measured: dict[str, Any]) -> None:
    """The kernels that serve a request are those that the scenario wants, by the server's own profile."""
    start = {"output_dir": str(PROFILE), "activities": ["GPU"]}
    status, body = server.request("POST", "/start_profile", start)
    require(status == 200, f"/start_profile is answered with {status}: {str(body)[:300]}")
    for prompt in load_reference()["prompts"]:
        generate(server, prompt, input_ids=prompt["token_ids"])
    status, body = server.request("POST", "/stop_profile")
    require(status == 200, f"/stop_profile is answered with {status}: {str(body)[:300]}")
    check_kernels(read_kernels(PROFILE), measured)


def check_unknown_model(server: Server, measured: dict[str, Any]) -> None:
    """Looking up a model that is not served gives 404, and a completion by it breaks nothing.

    SGLang (0.5.9 and 0.5.23) does not compare a completion's model with the one it serves: it answers under whatever
    name it is asked by. So both are accepted here, an answer and a refusal with 404, and which it was is recorded.
    """
    for name, expected in ((NAME, 200), ("no-such-model", 404)):
        status, _ = server.request("GET", f"/v1/models/{name}")
        require(status == expected, f"/v1/models/{name} was answered with {status}, expected {expected}")
    request = {"model": "no-such-model", "prompt": "a", "max_tokens": 1}
    measured["completion_status"], _ = server.request("POST", "/v1/completions", request)
    status = measured["completion_status"]
    require(status in (200, 404), f"a completion by an unknown model was answered with {status}, expected 200 or 404")
    server.require_alive()


def check_shutdown(server: Server, measured: dict[str, Any]) -> None:
    """After SIGTERM the server ends with 0, or by its own SIGKILL once it has said that it ends gracefully.

    What it leaves in the caches is recorded.
    """
    measured["exit_code"] = status = server.stop(STOP_S)
    measured |= measure_caches()
    said = any(FAREWELL in line for line in server.log_lines())
    ended = status == 0 or (status in KILLED and said)
    require(ended, f"exit code {status} after SIGTERM; {server.excerpt()}")


def generate(server: Server, expected: dict[str, Any], **request: Any) -> dict[str, Any]:
    """The body of SGLang's own answer: as many greedy tokens as the reference has for this prompt."""
    sampling = {"temperature": 0, "max_new_tokens": len(expected["greedy_token_ids"])}
    return answer(server.request("POST", "/generate", {"sampling_params": sampling, **request}))


def complete(server: Server, prompt: str | list[int], count: int) -> dict[str, Any]:
    """The body of a greedy completion of a text or of tokens."""
    request = {"model": NAME, "prompt": prompt, "max_tokens": count, "temperature": 0}
    return answer(server.request("POST", "/v1/completions", request))


def check_openai(body: dict[str, Any], text: str | None, expected: str, entry: dict[str, Any]) -> None:
    """The text is the one of the reference's tokens, it ended for its length, and the usage counts every token."""
    require(bool(text), "the answer has no content")
    require(text == expected, f"the answer is {text!r}, and /generate answered {expected!r}")
    reason = body["choices"][0]["finish_reason"]
    require(reason == "length", f"it finished for {reason!r}, expected 'length'")
    counts = [body["usage"][kind] for kind in ("prompt_tokens", "completion_tokens", "total_tokens")]
    prompt, generated = len(entry["token_ids"]), len(entry["greedy_token_ids"])
    wanted = [prompt, generated, prompt + generated]
    require(counts == wanted, f"usage counts {counts} tokens (prompt, completion, total), expected {wanted}")


def cached_tokens(body: dict[str, Any]) -> int:
    """How many of a prompt's tokens the server had in its cache. Releases differ in how they say none."""
    details = body["usage"].get("prompt_tokens_details") or {}
    return int(details.get("cached_tokens") or 0)


CHECKS = {
    "health": check_health,
    "models": check_models,
    "completions": check_completions,
    "logprobs": check_logprobs,
    "chat": check_chat,
    "repeatable": check_repeatable,
    "radix-cache": check_radix_cache,
    "sizes": check_sizes,
    "load": check_load,
    "libraries": check_libraries_in_use,
    "kernels": check_kernels_in_use,
    "unknown-model": check_unknown_model,
    "shutdown": check_shutdown,
}

if __name__ == "__main__":
    main()
