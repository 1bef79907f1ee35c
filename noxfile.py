"""What people type: `nox -s build-5090`, `nox -s plan -- --json`. A session spawns one verb of `python -m scripts`.

Sessions marked [dev] are for those who change Hallmark itself.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import nox

# Sessions run in the environment that nox is installed in (README): nothing is installed twice, and they start at once.
nox.options.default_venv_backend = "none"
nox.options.sessions = ["plan"]

ROOT = Path(__file__).parent
TARGETS = tomllib.loads((ROOT / "matrix.toml").read_text("utf-8"))["targets"]


def run(session: nox.Session, *command: str) -> None:
    """Run a command and end nox with its exit code: nox alone would turn every one (rejected, undecided …) into 1."""
    # Ctrl-C reaches the child as well, which tidies up and ends with 130; nox waits for that.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    restore = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    try:
        session.debug(" ".join(command))
        code = subprocess.Popen(command, cwd=ROOT, preexec_fn=restore).wait()
    finally:
        signal.signal(signal.SIGINT, before)
    if code:
        sys.exit(code)


def verb(session: nox.Session, *arguments: str) -> None:
    """Run one verb with what was given after `--`."""
    run(session, sys.executable, "-m", "scripts", *arguments, *session.posargs)


def tool(session: nox.Session, *arguments: str) -> None:
    """Run a Python tool of the development environment."""
    run(session, sys.executable, "-m", *arguments)


def add(name: str, summary: str, *arguments: str) -> None:
    """Add a session that is one verb."""

    def run_verb(session: nox.Session) -> None:
        verb(session, *arguments)

    run_verb.__doc__ = summary
    nox.session(name=name)(run_verb)


for _id, _target in TARGETS.items():
    add(f"build-{_id}", f"Build, test and tag the images for {_target['name']}", "publish", "--target", _id)
for _id, _target in TARGETS.items():
    if "compute" in _target:
        summary = (
            f"On a machine with {_target['name']}: test and tag a candidate built elsewhere: CELL --digest sha256:…"
        )
        add(f"verify-{_id}", summary, "publish", "--target", _id)
add("audit", "Tell whether a GPU can run what an image, wheel or file carries: audit -- IMAGE --target 5090", "audit")
add("verify", "Tell what an image in a registry was tested for: verify -- IMAGE --key FILE", "verify")
add("bundle", "Check what an owner of a GPU has seen: bundle -- check FILE", "bundle")
add("plan", "Show the cells of the matrix (--json and --bake for machines)", "plan")
add("fetch", "Bring every locked input into the cache", "fetch")
add("build", "Build candidates, without testing them: build -- CELL --output FILE.tar", "build")
add("smoke", "Build and smoke-test cells, without tagging", "smoke")
add("verdict", "Show what was decided of each candidate, and why", "verdict")
add("reproduce", "Build cells again from nothing and compare: reproduce -- vllm-cpu", "reproduce")
add("sizes", "What an image holds, by distribution: sizes -- vllm-cu128-5090-wheel --svg FILE", "sizes")
add("compare", "Compare vLLM with SGLang on a target: compare -- 5090 --only start,load", "compare")
add("serve", "Serve a model from a stamped image: serve -- CELL MODEL --port 8000 -- ENGINE ARGUMENTS", "serve")
add("history", "Show what was decided of cells, when and why, and whether their stamps stand", "history")
add("retire", "Take a cell out of service, and withdraw its tags: retire -- CELL --reason TEXT", "retire")
add("gc", "Show what the registry may lose, and remove it: gc -- --delete", "gc")
add("catalogue", "Write what is known of every cell as a static site: catalogue -- --output DIR", "catalogue")
add("slim", "Write wheels again with only a target's GPU code: slim -- WHEEL --target 5090", "slim")
add("lock", "Resolve every input anew (--check: only compare, without a network)", "lock")
add("update", "Move recipes to newer upstream versions that fit together: update -- IMAGE --dry-run", "update")
add("doctor", "Tell what this machine has of what is needed, and which images are for its GPUs", "doctor")
add("engine", "Start, stop or show the Docker Engine: engine -- up|down|status", "engine")
add("clean", "Free everything that no tag needs", "clean")
_FOR_USERS = set(nox.registry.get())


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types, Dockerfiles, workflows, and that the locks fit the matrix"""
    tool(session, "ruff", "check", ".")
    tool(session, "ruff", "format", "--check", ".")
    tool(session, "mypy")
    for script in sorted(ROOT.glob("images/*/smoke.py")):  # one by one: each is a program of the same name
        tool(session, "mypy", str(script))
    programs = Path(sys.executable).parent
    shell = [".ci/run", "tests/benchmarks/onelayer/install-wheels", "images/toolkit/compile/compile"]
    run(session, str(programs / "shellcheck"), *shell, *sorted(map(str, ROOT.glob("images/*/components/*/build"))))
    dockerfiles = [*ROOT.glob("images/*/Dockerfile"), ROOT / "images/toolkit/compile/Dockerfile"]
    run(session, str(programs / "hadolint"), *sorted(map(str, dockerfiles)))
    workflows = sorted(map(str, ROOT.glob(".github/workflows/*.yml")))
    run(session, str(programs / "check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *workflows)
    compose = sorted(map(str, ROOT.glob("images/*/compose*.yaml")))
    run(session, str(programs / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", *compose)
    run(session, str(programs / "zizmor"), "--offline", "--quiet", *workflows)
    verb(session, "lock", "--check")


@nox.session
def tests(session: nox.Session) -> None:
    """Unit tests: seconds, no network, no processes"""
    tool(session, "pytest", "--numprocesses", "auto", "tests/unit", *session.posargs)


@nox.session
def workflows(session: nox.Session) -> None:
    """Every line of the GitHub workflows, run in a made-up runner: no network, no engine (two minutes)"""
    tool(session, "pytest", "--numprocesses", "auto", "tests/workflows", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """Integration tests: a real engine, real containers and a real registry (minutes)"""
    tool(session, "pytest", "--numprocesses", "2", "--dist", "loadscope", "tests/integration", *session.posargs)


@nox.session(name="registry-faults")
def registry_faults(session: nox.Session) -> None:
    """Plant each of a registry's faults at every request of a promotion and a withdrawal, and show what came of it"""
    tool(session, "tests.registry_faults", *session.posargs)


@nox.session(name="other-registry")
def other_registry(session: nox.Session) -> None:
    """Take a stamp through Pulp, another server than Debian's docker-registry (needs Debian's postgresql; minutes)"""
    tool(session, "pytest", "tests/other_registry", *session.posargs)


@nox.session
def heavy(session: nox.Session) -> None:
    """Heavy tests: two engines as builders, and a CUDA 12 toolkit of stand-ins for NVIDIA's archives (half an hour)"""
    tool(session, "pytest", "tests/heavy", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Make each gate wrong, one way after another: a test must notice every time (minutes)"""
    tool(session, "tests.mutants", *session.posargs)


@nox.session
def benchmark(session: nox.Session) -> None:
    """Compare assembling cells with installing their wheels into one layer: time, size, disk (minutes)"""
    tool(session, "tests.benchmarks.assemble", *session.posargs)


@nox.session(name="benchmark-moves")
def benchmark_moves(session: nox.Session) -> None:
    """What each kind of update sends to a registry that has the image from before (minutes)"""
    tool(session, "tests.benchmarks.moves", *session.posargs)


@nox.session(name="benchmark-promotion")
def benchmark_promotion(session: nox.Session) -> None:
    """What a promotion moves, beside docker pull, tag and push of the same (a minute)"""
    tool(session, "tests.benchmarks.promotion", *session.posargs)


@nox.session(name="benchmark-imports")
def benchmark_imports(session: nox.Session) -> None:
    """Compare imports in a read-only image with those in one layer of the same wheels (minutes)"""
    tool(session, "tests.benchmarks.imports", *session.posargs)


@nox.session(name="benchmark-compile")
def benchmark_compile(session: nox.Session) -> None:
    """Compare a compile step with the same Ninja build run bare, and with itself once ccache is warm (minutes)"""
    tool(session, "tests.benchmarks.compile", *session.posargs)


@nox.session(name="benchmark-slim")
def benchmark_slim(session: nox.Session) -> None:
    """Compare slimming a wheel with copying it"""
    tool(session, "tests.benchmarks.slim", *session.posargs)


@nox.session(name="benchmark-audit")
def benchmark_audit(session: nox.Session) -> None:
    """Compare the audit with cuobjdump, with listing an image's files, and with a plain download and unpack"""
    tool(session, "tests.benchmarks.audit", *session.posargs)


@nox.session(name="benchmark-plan")
def benchmark_plan(session: nox.Session) -> None:
    """Plan 10,000 targets and 10,000 recipes: fails where that takes more than two seconds of an idle processor"""
    tool(session, "tests.benchmarks.plan", *session.posargs)


@nox.session(name="benchmark-hostile")
def benchmark_hostile(session: nox.Session) -> None:
    """What the audit takes for subjects that were made to cost it dear: time and memory (minutes)"""
    tool(session, "tests.benchmarks.hostile", *session.posargs)


@nox.session
def reference(session: nox.Session) -> None:
    """Compute the float64 reference of the smoke model anew (needs torch and transformers)"""
    tool(session, "scripts.smoke.models.reference", *session.posargs)


@nox.session
def oracle(session: nox.Session) -> None:
    """Compare the reader of GPU code with NVIDIA's cuobjdump on real wheels (gigabytes, minutes)"""
    tool(session, "tests.gpucode_oracle", *session.posargs)


@nox.session(name="catalogue-browser")
def catalogue_browser(session: nox.Session) -> None:
    """Look at the catalogue in Debian's Chromium: phone and desk, light and dark (needs selenium, npm; minutes)"""
    tool(session, "tests.browser.catalogue", *session.posargs)


@nox.session(name="gpu-slimming")
def gpu_slimming(session: nox.Session) -> None:
    """On a GPU: the installed PyTorch gives the same bits with slimmed libraries (needs torch and transformers)"""
    tool(session, "tests.gpu.slimming", *session.posargs)


@nox.session(name="gpu-container")
def gpu_container(session: nox.Session) -> None:
    """On a GPU: the smoke container is given the target and nothing else (IMAGE --target h200)"""
    tool(session, "tests.gpu.container", *session.posargs)


@nox.session(name="gpu-kernels")
def gpu_kernels(session: nox.Session) -> None:
    """On a GPU: what is compiled for it computes the right numbers (CELL; the first time it compiles)"""
    tool(session, "tests.gpu.compiled_kernels", *session.posargs)


@nox.session(name="gpu-upstream")
def gpu_upstream(session: nox.Session) -> None:
    """In a candidate: upstream's own tests, whole folders of them (CELL [PATH ...])"""
    tool(session, "tests.gpu.upstream", *session.posargs)


@nox.session(name="gpu-faults")
def gpu_faults(session: nox.Session) -> None:
    """On a GPU: the gate rejects what is wrong, each fault by the check that is for it (CELL, after verify-…)"""
    tool(session, "tests.gpu.faults", *session.posargs)


@nox.session(name="slim-oracle")
def slim_oracle(session: nox.Session) -> None:
    """Compare slimmed libraries of real wheels with readelf, cuobjdump and the loader (gigabytes, minutes)"""
    tool(session, "tests.slim_oracle", *session.posargs)


@nox.session(name="tar-oracle")
def tar_oracle(session: nox.Session) -> None:
    """Compare 20,000 odd images with what an engine's tar reader unpacks of them (needs Go; minutes)"""
    tool(session, "tests.tar_oracle", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Give every reader of foreign bytes a million inputs that are nearly right (half an hour, two processors)"""
    tool(session, "tests.fuzz", *session.posargs)


for _name, _session in nox.registry.get().items():
    if _name not in _FOR_USERS:
        _session.tags.append("dev")
