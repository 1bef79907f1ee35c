"""The faults that are planted on a GPU: each is for a check that there is, and is found by that check's words alone."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
import time
from contextlib import nullcontext
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from scripts.compare.asked import make_part
from scripts.compare.engines import ENGINES
from scripts.compare.parts import PARTS
from scripts.matrix import load_matrix
from scripts.model import Outcome, Result
from scripts.smoke.gpu import Gpu
from tests.gpu import faults, planted_server
from tests.gpu.derive import derived_image
from tests.gpu.faults import FAULTS, MODELS, Fault, Place, alter, choose_faults, judge, render, try_fault, try_on_one
from tests.gpu.planting import BINDINGS, SITE, UVICORN, age_bindings, spoil_server
from tests.unit.builders import RTX, make_cell

ROOT = Path(__file__).parents[2]
GPU = Gpu("0", "GPU-1", RTX.name, RTX.compute, "580.95.05", memory=32 << 30)
FAULT = Fault("a fault", ("vllm",), "eager", "health", "no kernel image")
SAID = "the server has ended with exit code 1; its log has: CUDA error: no kernel image is available"


def test_each_fault_is_for_a_check_of_a_scenario_that_its_images_have() -> None:
    images = load_matrix(ROOT).images
    for fault in FAULTS:
        for image in fault.images:
            if fault.scenario == MODELS:
                assert fault.check in make_part(make_cell(RTX), ENGINES[image], MODELS, 32).checks and MODELS in PARTS
                continue
            [scenario] = [each for each in images[image].scenarios if each.name == fault.scenario]
            assert fault.check in scenario.checks and set(fault.checks) <= set(scenario.checks)
            assert fault.check in (fault.checks or scenario.checks)
            assert alter(scenario, fault, 5).timeout_s == 5 and alter(scenario, fault, 10**6).timeout_s < 10**6


def test_faults_are_chosen_by_words_of_their_names() -> None:
    names = [fault.name for fault in choose_faults("sglang", "50th, cuda-python")]
    assert names == ["a server that dies at its 50th request", "cuda-python 12.6 over cuda-bindings 13"]
    assert len(choose_faults("vllm", "")) + 1 == len(FAULTS) and choose_faults("pytorch", "") == []


@pytest.mark.parametrize(
    ("check", "outcome", "said", "found"),
    [
        ("health", Outcome.FAILED, SAID, True),
        ("health", Outcome.FAILED, "not healthy within 420 s", False),
        ("health", Outcome.PASSED, SAID, False),
        ("logprobs", Outcome.FAILED, SAID, False),
    ],
    ids=["as it must", "for another reason", "not at all", "by another check"],
)
def test_a_fault_is_found_by_its_check_in_its_words(check: str, outcome: Outcome, said: str, found: bool) -> None:
    tried = judge(FAULT, [Result(check, outcome, said)])
    assert tried.found is found
    assert ("**nothing**" in render([tried])) is not found


def test_the_table_has_the_words_however_far_down_a_log_they_stand() -> None:
    tried = judge(FAULT, [Result("health", Outcome.FAILED, "line\n" * 500 + f"{SAID} | so far")])
    assert "no kernel image is available / so far" in render([tried])
    assert "it did not report" in render([judge(FAULT, [])])


def make_place(tmp_path: Path, image: str = "vllm", left_s: float = 100) -> Place:
    job: Any = SimpleNamespace(cell=make_cell(RTX, image=image), scenarios=())
    return Place(None, job, "sha256:image", tmp_path, frozenset(), time.monotonic() + left_s)  # type: ignore[arg-type]


@pytest.mark.parametrize(("left_s", "said"), [(0.5, "the time is over"), (100, "`eager` has not passed without it")])
def test_what_cannot_be_tried_is_not_found(left_s: float, said: str, tmp_path: Path) -> None:
    free: SimpleQueue[Gpu] = SimpleQueue()
    free.put(GPU)
    tried = try_on_one(make_place(tmp_path, left_s=left_s), free, FAULT)
    assert not tried.found and tried.said == f"not tried: {said}"
    assert free.get_nowait() is GPU


@pytest.mark.parametrize("image", ["vllm", "sglang"])
def test_of_models_that_do_not_fit_the_first_fits_and_not_all_do(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, str]] = []

    def watch(*arguments: Any) -> Any:
        _, _, folder, scenario, environment, _, _, script = arguments
        assert (folder / script).is_file() and scenario.timeout_s <= 100
        asked.append(environment)
        detail = "87.5 GiB are wanted, and 52.0 of 139.8 GiB are free"
        return SimpleNamespace(results=[Result("serve", Outcome.FAILED, detail)])

    monkeypatch.setattr(faults, "run_watched", watch)
    [fault] = [each for each in FAULTS if each.scenario == MODELS]
    assert try_fault(make_place(tmp_path, image), fault, GPU).found
    [environment] = asked
    assert environment["HALLMARK_CHECKS"] == "serve" and environment["HALLMARK_RUNS"] == "1"
    wanted = [each["share"]["budget_gib"] for each in json.loads(environment["HALLMARK_SPEC"])["servers"]]
    assert wanted[0] < 32 < sum(wanted), "one server begins, and there is no room for all"


# --- what is planted into an image


class Docker:
    """A client of an engine with one image, whose containers are folders of bytes by path."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.made, self.left = files, dict[str, bytes](), 0
        self.client = SimpleNamespace(containers=self, images=self)

    def explaining(self) -> Any:
        return nullcontext()

    def create(self, image: str, command: list[str]) -> Any:
        self.left += 1
        return self

    def get_archive(self, path: str) -> tuple[list[bytes], Any]:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            member = tarfile.TarInfo(Path(path).name)
            member.size = len(self.files[path])
            archive.addfile(member, io.BytesIO(self.files[path]))
        return [packed.getvalue()], {}

    def put_archive(self, path: str, data: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                extracted = archive.extractfile(member)
                assert extracted and member.mode & 0o444 == 0o444, "anybody can read it"
                self.made[path + member.name] = extracted.read()

    def commit(self) -> Any:
        return SimpleNamespace(id="sha256:derived")

    def remove(self, reference: str = "", force: bool = False) -> None:
        if reference:
            self.made.clear()
        else:
            self.left -= 1


def test_an_image_is_another_in_the_files_that_are_changed_and_is_gone_afterwards() -> None:
    docker = Docker({BINDINGS: b"first\n"})
    with derived_image(docker, "sha256:image", lambda read: age_bindings(read, "9.0")) as made:  # type: ignore[arg-type]
        assert made == "sha256:derived" and docker.left == 0
        assert docker.made[BINDINGS].startswith(b"first\n") and b"del runtime.cudaLibrary_t" in docker.made[BINDINGS]
        assert docker.made[f"{SITE}/cuda/bindings/__pycache__/__init__.cpython-311.pyc"] == b""
    assert docker.made == {}


def test_a_container_does_not_stay_where_there_is_nothing_to_change() -> None:
    docker = Docker({})
    with pytest.raises(KeyError), derived_image(docker, "", lambda read: age_bindings(read, "9.0")):  # type: ignore[arg-type]
        pass
    assert docker.left == 0


@pytest.mark.parametrize("fault", planted_server.FAULTS)
def test_uvicorn_gets_the_fault_and_the_module_that_has_it(fault: str) -> None:
    files = spoil_server(lambda path: b"class Config: ...\n", "9.0", fault)
    assert compile(files[f"{SITE}/planted_server.py"], "planted_server", "exec")
    assert files[UVICORN].decode().endswith(f"planted_server.plant(Config, {fault!r})\n")


# --- what it makes of an application


class Config:
    """In place of uvicorn's."""

    def load(self) -> None:
        self.loaded_app = answer


VLLM = {"choices": [{"token_ids": [1, 2], "prompt_token_ids": [9], "logprobs": {"token_logprobs": [-1]}}]}
SGLANG = {"text": "ab", "output_ids": [1], "meta_info": {"output_token_logprobs": [[-1, 1, None]], "prompt_tokens": 3}}


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await asyncio.sleep(0.01)
    body = json.dumps(scope["says"]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body[:5], "more_body": True})
    await send({"type": "http.response.body", "body": body[5:]})


def ask(fault: str, count: int, says: Any, method: str = "POST") -> list[Any]:
    """What so many that ask at once are answered by an application with a fault."""
    config: Any = type("Config", (Config,), {})
    planted_server.plant(config, fault)
    loaded = config()
    loaded.load()

    async def once() -> Any:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await loaded.loaded_app({"type": "http", "method": method, "says": says}, None, send)
        body = b"".join(message.get("body", b"") for message in sent)
        lengths = [int(value) for name, value in sent[0]["headers"] if name.lower() == b"content-length"]
        assert lengths == [len(body)] and sent[0]["status"] == 200
        return json.loads(body)

    async def everybody() -> list[Any]:
        return await asyncio.gather(*(once() for _ in range(count)))

    return asyncio.run(everybody())


@pytest.mark.parametrize(
    ("says", "left"),
    [
        (
            VLLM,
            {"choices": [{"token_ids": [], "prompt_token_ids": [9], "logprobs": {"token_logprobs": []}}]},
        ),
        (SGLANG, {"text": "", "output_ids": [], "meta_info": {"output_token_logprobs": [], "prompt_tokens": 3}}),
    ],
    ids=["vLLM", "SGLang"],
)
def test_nothing_is_generated_where_many_ask_and_all_where_few_do(says: Any, left: Any) -> None:
    few = planted_server.COMPANY - 1
    assert ask("empty", few, says) == [says] * few
    assert ask("empty", 32, says) == [says] * few + [left] * (32 - few)
    assert ask("empty", 32, says, "GET") == [says] * 32


def test_a_server_is_killed_by_its_50th_request_and_by_no_look_at_its_health(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[Any] = []
    monkeypatch.setattr(os, "kill", lambda *what: killed.append(what))
    ask("dying", 60, {}, "GET")
    ask("dying", 49, {})
    assert killed == []
    ask("dying", 50, {})
    assert killed == [(os.getpid(), 9)]
