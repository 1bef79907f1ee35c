"""A stand-in for a running SGLang: what the smoke script asks of it, answered by the reference, or wrong in one way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

BOS = 256
NAME = "hallmark"
FAREWELL = "[2026-11-22 22:00:00] Gracefully exiting... Remaining number of requests 0. Remaining requests []."
# The exit code after SIGTERM, and what the log then says: 0.5.23 ends, 0.5.9 kills itself once it has said so.
ENDINGS = {
    "kills itself": (-9, FAREWELL),
    "a shell says so": (137, FAREWELL),
    "is killed": (-9, "Killed"),
    "is terminated": (-15, ""),
    "fails at the end": (1, FAREWELL),
}


class FakeSGLang:
    """In place of probe's Server. It knows the reference's prompts; any other is continued with the letter A."""

    def __init__(self, reference: dict[str, Any], fault: str = "") -> None:
        self.known = {tuple(entry["token_ids"]): entry for entry in [*reference["prompts"], reference["chat"]]}
        self.fault = fault
        self.seen: list[list[int]] = []
        self.turn = 0
        self.log: list[str] = []

    # --- what the script calls

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        status, answer = self.get(path) if method == "GET" else self.post(path, json.loads(json.dumps(body)))
        return status, json.loads(json.dumps(answer))

    def stop(self, within_s: float) -> int:
        status, line = ENDINGS.get(self.fault, (0, FAREWELL))
        self.log.append(line)
        return status

    def require_alive(self) -> None:
        pass

    def log_lines(self) -> list[str]:
        return self.log

    def excerpt(self) -> str:
        return "\n".join(self.log)

    # --- what SGLang answers

    def get(self, path: str) -> tuple[int, Any]:
        if path == "/v1/models":
            return 200, {
                "data": [{"id": name} for name in ([NAME, "another"] if self.fault == "two models" else [NAME])]
            }
        known = path == f"/v1/models/{NAME}" or self.fault == "any name"
        return (200, {"id": NAME}) if known else (404, {"error": {"code": "model_not_found"}})

    def post(self, path: str, request: dict[str, Any]) -> tuple[int, Any]:
        if path == "/generate":
            tokens = request["input_ids"] if "input_ids" in request else self.tokenize(request["text"])
            return 200, self.generate(tokens, request["sampling_params"])
        if path == "/v1/chat/completions":
            lines = [f"{message['role']}: {message['content']}\n" for message in request["messages"]]
            tokens = [BOS] * (1 + (self.fault == "two starts")) + [*"".join([*lines, "assistant: "]).encode()]
            return 200, self.openai(tokens, request, lambda text: {"message": {"content": text}})
        if path != "/v1/completions":
            return 404, {"detail": "Not Found"}
        if request["model"] != NAME and self.fault in ("refusal", "error"):
            return (404 if self.fault == "refusal" else 500), {"error": {}}
        prompt = request["prompt"]
        tokens = prompt if isinstance(prompt, list) else self.tokenize(prompt)
        return 200, self.openai(tokens, request, lambda text: {"text": text})

    def tokenize(self, text: str) -> list[int]:
        return [BOS] * (1 + (self.fault == "another tokenizer")) + [*text.encode()]

    def generate(self, tokens: list[int], sampling: dict[str, Any]) -> dict[str, Any]:
        """What /generate answers; the OpenAI answers are made from it, as in SGLang."""
        assert sampling["temperature"] == 0, "anything but greedy could not be compared"
        count = sampling["max_new_tokens"]
        self.turn += 1
        entry = self.known.get(tuple(tokens), {})
        output = list(entry.get("greedy_token_ids", [65] * count)[:count])
        for_prompt = [None, *entry.get("prompt_logprobs", [-1.0] * (len(tokens) - 1))]
        for_answer = list(entry.get("greedy_logprobs", [-1.0] * count)[:count])
        if self.fault == "another token" or (self.fault == "drift" and self.turn % 2 == 0):
            output[-1] ^= 1
        if self.fault == "far prompt":
            for_prompt[-1] -= 1
        if self.fault == "far answer":
            for_answer[-1] -= 1
        if self.fault == "one too few":
            del for_prompt[-1]
        meta = {
            "prompt_tokens": len(tokens),
            "completion_tokens": len(output),
            "cached_tokens": self.cached(tokens),
            "input_token_logprobs": triples(for_prompt, tokens),
            "output_token_logprobs": triples(for_answer, output),
            "input_top_logprobs": [None, *self.likeliest(entry.get("top"))],
        }
        return {"text": bytes(output).decode(errors="replace"), "output_ids": output, "meta_info": meta}

    def likeliest(self, top: dict[str, Any] | None) -> list[list[list[Any]]]:
        """For each position after the first token, what is likeliest there."""
        if not top:
            return []
        moved = 1.0 if self.fault == "far likeliest" else 0.0
        columns = zip(top["logprobs"], top["token_ids"], strict=True)
        return [triples([logprobs[0] - moved, *logprobs[1:]], tokens) for logprobs, tokens in columns]

    def cached(self, tokens: list[int]) -> int:
        """As many tokens as an earlier prompt begins with too; the last one is always computed."""
        common = max((shared(tokens[:-1], earlier) for earlier in self.seen), default=0)
        self.seen.append(tokens)
        return {"no cache": 0, "always cached": len(tokens) - 1}.get(self.fault, common)

    def openai(self, tokens: list[int], request: dict[str, Any], shape: Callable[[str], Any]) -> dict[str, Any]:
        native = self.generate(
            tokens, {"temperature": request.get("temperature", 0), "max_new_tokens": request["max_tokens"]}
        )
        meta = native["meta_info"]
        text = {"another text": "text", "no text": ""}.get(self.fault, native["text"])
        # Where nothing was cached, 0.5.9 has null and 0.5.23 a zero.
        details = {"cached_tokens": meta["cached_tokens"]} if meta["cached_tokens"] or self.fault == "zero" else None
        usage = {kind: meta[kind] for kind in ("prompt_tokens", "completion_tokens")}
        usage["total_tokens"] = sum(usage.values()) + (self.fault == "one too many")
        return {
            "model": request["model"],
            "choices": [shape(text) | {"finish_reason": "stop" if self.fault == "stop" else "length"}],
            "usage": usage | ({} if self.fault == "no details" else {"prompt_tokens_details": details}),
        }


def triples(logprobs: Sequence[float | None], tokens: Sequence[int]) -> list[list[Any]]:
    """SGLang's entries: log-probability, id, and a text that it leaves out unless asked."""
    return [[logprob, token, None] for logprob, token in zip(logprobs, tokens, strict=False)]


def shared(tokens: list[int], earlier: list[int]) -> int:
    """How many tokens two prompts begin with alike."""
    differing = (index for index, (one, two) in enumerate(zip(tokens, earlier, strict=False)) if one != two)
    return next(differing, min(len(tokens), len(earlier)))
