"""What stands in for the programs that a workflow calls: `standins.py WORLD NAME ARGUMENTS…`.

Each takes the command lines that are meant and no other: exit code 90 says that one was not. `python -m scripts` is
read by the project's own parser; verbs that only read are run, and those that build, test or tag do what the world
answers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

WRONG = 90
WORLD = Path(sys.argv[1])
NAME, ARGUMENTS = sys.argv[2], sys.argv[3:]
TOLD = json.loads((WORLD / "world.json").read_text())
SEEN = ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "CELL", "DOCKER_CONFIG", "KEY", "TOKEN", "GH_TOKEN")
REGISTRY = "ghcr.io/acme/hallmark"


def wrong(why: str) -> NoReturn:
    print(f"stand-in: {NAME} {' '.join(ARGUMENTS)}: {why}", file=sys.stderr)
    sys.exit(WRONG)


def require(condition: object, why: str) -> None:
    if not condition:
        wrong(why)


def record() -> None:
    seen = {name: value for name, value in os.environ.items() if name in SEEN or name.startswith("HALLMARK_")}
    seen |= {"logged in": str(logged_in())} if logged_in() else {}
    with (WORLD / "log.jsonl").open("a") as stream:
        stream.write(json.dumps({"command": [NAME, *ARGUMENTS], "seen": seen}) + "\n")


def logged_in() -> bool:
    folder = os.environ.get("DOCKER_CONFIG")
    return bool(folder) and (Path(str(folder)) / "config.json").is_file()


def answer(question: str, otherwise: Any) -> Any:
    """What the test has told to answer; of a list, the next each time."""
    told = TOLD["answers"].get(question, otherwise)
    if not isinstance(told, list):
        return told
    counter = WORLD / f"asked {question.replace('/', '_')}"
    at = int(counter.read_text()) if counter.is_file() else 0
    counter.write_text(str(at + 1))
    return told[min(at, len(told) - 1)]


def sudo() -> None:
    """Another user's environment: nothing is kept but what is named."""
    kept: list[str] = []
    rest = list(ARGUMENTS)
    while rest and rest[0].startswith("-"):
        option, _, names = rest.pop(0).partition("=")
        require(option == "--preserve-env" and names, f"what is {option}?")
        kept += names.split(",")
    require(rest, "no command")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"PATH": os.environ["PATH"], "HOME": f"{os.environ['HOME']}/root"}
    os.execvpe(rest[0], rest, environment)


def docker() -> None:
    if ARGUMENTS[:1] == ["login"]:
        require(ARGUMENTS[1:] == ["ghcr.io", "--username", "somebody", "--password-stdin"], "not this login")
        require(sys.stdin.read().strip() == "the token", "the token does not come")
        folder = Path(os.environ["DOCKER_CONFIG"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}")
        return
    start = ["buildx", "create", "--name", "remote", "--driver", "remote", "--driver-opt"]
    require(ARGUMENTS[: len(start)] == start and len(ARGUMENTS) == len(start) + 2, "what is this?")
    options, address = ARGUMENTS[len(start) :]
    files = dict(each.split("=", 1) for each in options.split(","))
    require(files.keys() == {"cacert", "cert", "key"} and address.startswith("tcp://"), "not these options")
    require(all(Path(path).read_text().strip() for path in files.values()), "an empty file")


def gh() -> None:
    require(os.environ.get("GH_TOKEN") == "the token", "no token")
    command, rest = ARGUMENTS[:2], ARGUMENTS[2:]
    if command == ["run", "list"]:
        options = {"--workflow", "--branch", "--status", "--limit", "--json", "--jq"}
        require(set(rest[::2]) == options and rest[1] == "build.yml" and rest[3] == "main", "not these runs")
        print("\n".join(answer("gh run list", [[]])))
    elif command == ["run", "download"]:
        number, *rest = rest
        require(rest[0] == "--dir" and set(rest[2::2]) == {"--pattern"}, "not these options")
        source = WORLD / "runs" / number
        found = [each for each in source.glob("*") if any(each.match(pattern) for pattern in rest[3::2])]
        if not found:
            sys.exit(1)  # as gh does
        for each in found:
            shutil.copytree(each, Path(rest[1]) / each.name)
    elif command == ["pr", "list"]:
        require("--head" in rest and rest[-2:] == ["--jq", "length"], "not this list")
        print(answer("gh pr list", 0))
    else:
        require(command == ["pr", "create"] and {"--head", "--base", "--title", "--body"} <= set(rest), "what is this?")


def git() -> None:
    if "push" in ARGUMENTS:
        at = ARGUMENTS.index("push")
        require(ARGUMENTS[at:] == ["push", "--force", "origin", "HEAD:refs/heads/update-lock"], "not this push")
        return
    os.execv("/usr/bin/git", ["git", *ARGUMENTS])


def apt_get() -> None:
    require(ARGUMENTS[0] in ("update", "install"), "what is this?")


def python3() -> None:
    """`python3 -m venv DIR`, which gives the programs of a virtual environment."""
    require(ARGUMENTS[:2] == ["-m", "venv"] and len(ARGUMENTS) == 3, "not a virtual environment")
    for name in ("nox", "pip", "python"):
        path = Path(ARGUMENTS[2]) / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(WORLD / "bin/python3", path)
        # These two need what is installed beside them.
        flags = "" if name in ("nox", "python") else "-I -S"
        path.write_text(path.read_text().replace(" python3 ", f" {name} ").replace(" -I -S ", f" {flags} "))
        path.chmod(0o755)


def pip() -> None:
    require(ARGUMENTS[:3] == ["install", "--quiet", "--editable"], "not this installation")
    known = ([installed] for installed in (".", ".[dev]", ".[keyless]"))
    require(ARGUMENTS[3:] in known and Path("pyproject.toml").is_file(), "there is no such project")
    Path(".venv/installed").write_text(ARGUMENTS[3])


def nox() -> None:
    require(ARGUMENTS[:1] == ["-s"] and ARGUMENTS[1:], "no session")
    listed = subprocess.run([sys.executable, "-m", "nox", "--list"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"^[*-] (\S+)", listed.stdout, re.M))
    require(set(ARGUMENTS[1:]) <= known, "no such session")
    if ARGUMENTS[1:] == ["lock"] and answer("nox -s lock", "changed") == "changed":
        with Path("matrix.lock").open("a") as stream:
            stream.write("# resolved anew\n")
    sys.exit(answer(f"nox {' '.join(ARGUMENTS)}", 0) if ARGUMENTS[1:] != ["lock"] else 0)


def run_really(real: dict[str, Any]) -> NoReturn:
    """Run the program on this checkout, with another registry in the place of GitHub's."""
    arguments = [each.replace(REGISTRY, real["registry"]) for each in ARGUMENTS[2:]]
    environment = {**os.environ, **real["environment"]}
    if place := os.environ.get("HALLMARK_REGISTRY"):
        environment["HALLMARK_REGISTRY"] = place.replace(REGISTRY, real["registry"])
    command = [sys.executable, "-m", "scripts", "--project", str(Path.cwd()), *arguments]
    os.execve(sys.executable, command, environment)


def python() -> None:
    require(ARGUMENTS[:2] == ["-m", "scripts"], "not the program")
    if real := TOLD["real"]:
        run_really(real)
    require(Path("scripts/__main__.py").is_file(), "not in a checkout")
    sys.path.insert(0, str(Path.cwd()))
    from scripts.__main__ import main
    from scripts.command import make_parser
    from scripts.site import Site

    options = make_parser().parse_args(ARGUMENTS[2:])
    Site.from_environment()  # a variable that nothing reads is refused
    verb = ARGUMENTS[2]
    if verb in ("bundle", "catalogue", "matrix", "plan"):
        sys.exit(main(ARGUMENTS[2:]))
    require(verb in VERBS, "nobody has told what to answer")
    require(len(options.patterns) == 1 and options.patterns[0] in TOLD["cells"], "not a cell")
    VERBS[verb](options, TOLD["cells"][options.patterns[0]])


def build(options: Any, cell: dict[str, Any]) -> None:
    """Build a candidate, or take one over; with a registry, push it."""
    store = WORLD / "registry"
    run = Path(".hallmark/runs") / cell["build"]
    if options.digest:
        name = f"{REGISTRY}/{cell['image']}@{options.digest}"
        require(options.source == name and (store / options.digest).is_file() and logged_in(), "it cannot be pulled")
        require("HALLMARK_REGISTRY" not in os.environ, "this machine must not write to a registry")
    elif not run.is_dir() and (code := answer(f"build {cell['id']}", 0)):
        run.mkdir(parents=True)
        (run / "build.log").write_text("it failed")
        sys.exit(code)
    lay_out(run, cell["built"])
    if place := os.environ.get("HALLMARK_REGISTRY"):
        require(place == REGISTRY and logged_in(), "it cannot be pushed")
        store.mkdir(exist_ok=True)
        (store / cell["digest"]).write_text(cell["id"])


def smoke(options: Any, cell: dict[str, Any]) -> None:
    """Test a candidate that is here already: with no token, no key and no registry in reach."""
    run = Path(".hallmark/runs") / cell["build"]
    require(options.digest == cell["digest"] and not options.source and run.is_dir(), "it is not here")
    within = [name for name in ("TOKEN", "KEY", "HALLMARK_REGISTRY") if os.environ.get(name)]
    left = list((Path(os.environ["HOME"]).parent.parent / "runner temp").rglob("config.json"))
    require(not within and not left, f"the candidate could reach {within or left}")
    code = answer(f"smoke {cell['id']}", 0)
    lay_out(run / cell["id"], cell["shown"].get(str(code), {}))
    sys.exit(code)


def publish(options: Any, cell: dict[str, Any]) -> None:
    """Promote by the evidence that another job made."""
    require(options.evidence and options.evidence.is_dir() and options.digest == cell["digest"], "no evidence")
    require(os.environ.get("HALLMARK_REGISTRY") == REGISTRY and logged_in(), "it cannot be promoted")
    require((WORLD / "registry" / options.digest).is_file(), "it was never pushed")
    key = os.environ.get("HALLMARK_SIGNING_KEY")
    require(key is None or Path(key).read_text() == "the key\n", "the key does not come")
    trust = os.environ.get("HALLMARK_SIGNING_TRUST")
    require(trust is None or Path(trust).read_text() == "the trust\n", "whom to ask does not come")
    keyless = "HALLMARK_SIGNING" in os.environ and os.environ["HALLMARK_SIGNING"] != ""
    require(keyless == ("ACTIONS_ID_TOKEN_REQUEST_TOKEN" in os.environ), "who signs is not who may say who it is")
    require(not keyless or Path(".venv/installed").read_text() == ".[keyless]", "what signs is not installed")
    here = options.evidence / cell["build"]
    for name, text in cell["built"].items():
        require((here / name).is_file() and (here / name).read_text() == text, f"{name} is not the builder's")
    shown = {
        name: (here / cell["id"] / name).read_text()
        for name in cell["shown"]["0"]
        if (here / cell["id"] / name).is_file()
    }
    [code] = [int(code) for code, files in cell["shown"].items() if files == shown] or [3]
    Path(".hallmark").mkdir(exist_ok=True)
    Path(".hallmark/feed.jsonl").write_text(cell["feed"][str(code)] + "\n")
    if code == 0:
        (WORLD / "tags").mkdir(exist_ok=True)
        (WORLD / "tags" / cell["id"]).write_text(options.digest)
    sys.exit(code)


def lay_out(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


VERBS = {"build": build, "smoke": smoke, "publish": publish}
PROGRAMS = {
    "apt-get": apt_get,
    "docker": docker,
    "gh": gh,
    "git": git,
    "nox": nox,
    "pip": pip,
    "python": python,
    "python3": python3,
    "sudo": sudo,
}

if __name__ == "__main__":
    record()
    PROGRAMS[NAME]()
