"""A stand-in for an engine, as a process of its own: answers over HTTP what `sizes` and `load` ask of vLLM and SGLang.

    serving_engine.py PORT REFERENCE [FAULT]

As the engines do, it has an ASGI application that a `Config` loads; FAULT is one of `planted_server`'s.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import planted_server  # type: ignore[import-not-found]  # tests/gpu is where it lies

THINKING_S = 0.01


class Config:
    """In place of uvicorn's."""

    def __init__(self, app: Any) -> None:
        self.app, self.loaded_app = app, None

    def load(self) -> None:
        self.loaded_app = self.app


class Engine:
    """The application: the tokens of a prompt are worth what the reference says, and each answer is the letter A."""

    def __init__(self, reference: dict[str, Any]) -> None:
        self.logprobs = reference["long"]["prompt_logprobs"]

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body: dict[str, Any] = {}
        if scope["method"] == "POST":
            request = json.loads((await receive())["body"])
            await asyncio.sleep(THINKING_S)
            body = self.generate(request) if scope["path"] == "/generate" else self.complete(request)
        data = json.dumps(body).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": data[:10], "more_body": True})
        await send({"type": "http.response.body", "body": data[10:]})

    def complete(self, request: dict[str, Any]) -> dict[str, Any]:
        """As vLLM."""
        tokens, count = request["prompt"], request["max_tokens"]
        pairs = zip(tokens[1:], self.logprobs, strict=False)
        prompt = [None, *({str(token): {"logprob": logprob}} for token, logprob in pairs)]
        logprobs = {"token_logprobs": [-1.0] * count}
        return {"choices": [{"token_ids": [65] * count, "logprobs": logprobs, "prompt_logprobs": prompt}]}

    def generate(self, request: dict[str, Any]) -> dict[str, Any]:
        """As SGLang."""
        tokens, count = request["input_ids"], request["sampling_params"]["max_new_tokens"]
        prompt = [[logprob, token, None] for logprob, token in zip([None, *self.logprobs], tokens, strict=False)]
        meta = {"input_token_logprobs": prompt, "output_token_logprobs": [[-1.0, 65, None]] * count}
        return {"text": "A" * count, "output_ids": [65] * count, "meta_info": meta}


async def answer(app: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request over HTTP/1.1, and the end of its connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    method, path, _ = head.split(" ", 2)
    lengths = [line.partition(":")[2] for line in head.lower().splitlines() if line.startswith("content-length:")]
    body = await reader.readexactly(int(lengths[0])) if lengths else b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            lines = [b"HTTP/1.1 %d OK" % message["status"], *(b"%s: %s" % header for header in message["headers"])]
            writer.write(b"\r\n".join([*lines, b"connection: close", b"", b""]))
        else:
            writer.write(message["body"])

    await app({"type": "http", "method": method, "path": path}, receive, send)
    await writer.drain()
    writer.close()


async def serve(port: int, app: Any) -> None:
    """Answer at 127.0.0.1 until the process is ended."""
    server = await asyncio.start_server(lambda reader, writer: answer(app, reader, writer), "127.0.0.1", port)
    await server.serve_forever()


def main(port: str, reference: str, fault: str = "") -> None:
    if fault:
        planted_server.plant(Config, fault)
    config = Config(Engine(json.loads(Path(reference).read_bytes())))
    config.load()
    asyncio.run(serve(int(port), config.loaded_app))


if __name__ == "__main__":
    main(*sys.argv[1:])
