"""The command line: its options, and how a run ends. Verbs are the pipeline's stages; nox's sessions call these."""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, TextIO

from scripts import verbs
from scripts.compare.parts import PARTS, RUNS
from scripts.console import naming_lost_output, note, tell
from scripts.errors import ConfigError, ExitCode, HallmarkError, Problem, Undecided
from scripts.text import lines_of

# A build of wheels keeps about four cores busy: unpacking, hashing and compressing.
DEFAULT_JOBS = max(1, (os.cpu_count() or 1) // 4)
ROOT = Path(__file__).resolve().parent.parent
_EMPTY = re.compile(r"--[a-z-]+=")
_MAY_BE_EMPTY = ("--gpus", "--compile-on")  # a forge's variable that nobody has set says that there is no such runner


class Parser(argparse.ArgumentParser):
    """A parser that can leave what stands after `--` to somebody else: with `rest` set, it comes as `arguments`.

    By itself argparse takes no positional arguments that stand behind an option. An argument that is empty is refused:
    it is a variable that nobody has set, and would be read as another folder, policy or image than was meant.
    """

    rest = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, up to `--`."""
        args = sys.argv[1:] if args is None else list(args)
        cut = args.index("--") if "--" in args else len(args)
        for option, given in pairwise(["", *args[:cut]]):
            if (not given and option not in _MAY_BE_EMPTY) or _EMPTY.fullmatch(given):
                self.error(f"`{given}` is empty: is a variable not set?")
        if not self.rest:
            return super().parse_known_args(args, namespace)
        found, unknown = super().parse_known_args(args[:cut], namespace)
        found.arguments = args[cut + 1 :]
        return found, unknown

    def _print_message(self, message: str, file: Any = None) -> None:
        """As argparse does, which takes no notice of what cannot be written."""
        with naming_lost_output():
            (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, which is quoted, and end with 2."""
        problem = Problem(message, self.prog, f"{self.prog} --help")
        tell([*lines_of(self.format_usage()), *problem.lines("error: ")])
        sys.exit(ExitCode.USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the process's exit code (see `ExitCode`)."""
    return run_telling(partial(_run, arguments))


def run_telling(work: Callable[[], int]) -> int:
    """What `work` returns, or the exit code of what it ends with, which is told. Only a bug shows a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a mark that the terminal's letters lack is no reason to end
            stream.reconfigure(errors="backslashreplace")
    try:
        return _flushing(work)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
        with suppress(OSError):
            note("interrupted: what was finished is kept; the same command goes on from there")
    except BrokenPipeError:  # whoever read our output has gone, and needs no message about it
        code = ExitCode.INTERRUPTED
        _forget(sys.stderr)
    except HallmarkError as error:
        code = error.exit_code
        with suppress(OSError):
            for problem in error.problems:
                tell(problem.lines("error: "), "red")
    _forget(sys.stdout)  # what could not be written before would be tried again at the end, and end it with 120
    return code


def _run(arguments: Sequence[str] | None) -> int:
    options = make_parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    if builder := getattr(options, "builder", ""):
        os.environ["HALLMARK_BUILDER"] = builder  # where `Site` reads it, and checks it
    return int(options.run(_find_project(options.project), options))


def _flushing(work: Callable[[], int]) -> int:
    try:
        with naming_surroundings():
            return work()
    finally:
        with naming_lost_output():
            sys.stdout.flush()


@contextmanager
def naming_surroundings() -> Iterator[None]:
    """Turn what only the machine or a file can be blamed for into an Undecided, wherever it was met."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        place = " and ".join(str(name) for name in (error.filename, error.filename2) if name)
        raise Undecided(
            f"cannot be read or written: {error.strerror or error}",
            place or "this machine",
            "mend that, then run the same command again",
        ) from error
    except UnicodeEncodeError as error:
        cause = "a name that is not UTF-8 cannot be written down"
        raise Undecided(cause, error.object, "give it another name") from error
    except RecursionError as error:
        cause = "folders or tables lie deeper in one another than can be followed"
        raise Undecided(cause, "what was asked for", "lay them out flatter") from error
    except MemoryError as error:
        cause = "there is not enough memory"
        raise Undecided(cause, "this machine", "free some memory, then run the same command again") from error


def _find_project(folder: Path) -> Path:
    try:
        return folder.resolve()
    except (OSError, RuntimeError) as error:  # links that lead to one another
        raise ConfigError(f"is no folder: {error}", str(folder), "give the folder of a checkout") from error


def _forget(stream: TextIO) -> None:
    """Let what a stream still holds, and all that follows, go nowhere."""
    with suppress(OSError, ValueError):
        stream.flush()
        return
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _add_feeds(parser: argparse.ArgumentParser) -> None:
    said = "another checkout's feed, beside this one's"
    parser.add_argument("--feed", type=Path, action="append", default=[], metavar="FILE", help=said)


def make_parser() -> argparse.ArgumentParser:
    """The verbs and their options. A usage mistake ends with exit code 2, as argparse does by itself."""
    # As it was called: an installed package has a command of this name.
    name = "hallmark" if Path(sys.argv[0]).name == "hallmark" else "python -m scripts"
    parser = Parser(prog=name, description=sys.modules["scripts"].__doc__)
    parser.add_argument("--project", type=Path, default=ROOT, metavar="DIR", help="the checkout (default: this one)")
    parsers = parser.add_subparsers(required=True, metavar="VERB")

    def add(name: str, run: verbs.Verb, summary: str) -> Parser:
        verb = parsers.add_parser(name, help=summary, description=summary)
        verb.set_defaults(run=run)
        return verb

    plan = add("plan", verbs.plan, "show the cells of the matrix")
    form = plan.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for CI: an object whose `include` is a job matrix")
    said = "a docker-bake file (JSON) of the cells that are ready"
    form.add_argument("--bake", dest="run", action="store_const", const=verbs.bake, help=said)
    matrix = add("matrix", verbs.matrix, "the jobs of build.yml: a line for $GITHUB_OUTPUT, and why others are not run")
    matrix.add_argument("what", choices=["build", "test"], help="candidates to build, or those that await their test")
    matrix.add_argument("--gpus", default="", metavar="JSON", help="the targets that have a runner: a list, of ids")
    matrix.add_argument("--compile-on", default="", metavar="LABEL", help="the runner for what is compiled, if any")
    lock = add("lock", verbs.lock, "resolve every input anew and write the lock files")
    lock.add_argument("images", nargs="*", metavar="IMAGE", help="only this image's inputs (default: all)")
    which = lock.add_mutually_exclusive_group()
    which.add_argument(
        "--check", action="store_true", help="only tell whether the locks fit the matrix; needs no network"
    )
    which.add_argument("--stale", action="store_true", help="only those that do not fit the matrix, or are missing")
    update = add("update", verbs.update, "move recipes of upstream's wheels to newer versions that fit together")
    update.add_argument("images", nargs="*", metavar="IMAGE", help="only this image's recipes (default: all)")
    update.add_argument("--dry-run", action="store_true", help="only show them; nothing is written")
    fetch = add("fetch", verbs.fetch, "bring every locked input into the cache")
    fetch.add_argument("--contexts", action="store_true", help="lay them out for the file that `plan --bake` prints")
    build = add("build", verbs.build, "build the candidates")
    smoke = add("smoke", verbs.smoke, "build, then test each candidate in a locked-down container on its target")
    publish = add("publish", verbs.publish, "build, smoke-test, and tag what was accepted: the whole pipeline")
    publish.add_argument(
        "--evidence",
        type=Path,
        metavar="DIR",
        help="nothing is run: tag --digest in the registry if this copy of another machine's .hallmark/runs shows why",
    )
    build.add_argument(
        "--output", type=Path, metavar="DIR|FILE.tar", help="also write the candidate there, to be carried elsewhere"
    )
    for verb in (smoke, publish):
        verb.add_argument(
            "--bundle", type=Path, metavar="FILE", help="also write all that was seen there, to be sent: docs/owners.md"
        )
        verb.add_argument("--by", default="", metavar="NAME", help="who has seen it, as others may read it")
    audit = add("audit", verbs.audit, "tell whether a GPU can run the GPU code of files, wheels or images")
    audit.add_argument(
        "subjects",
        nargs="+",
        metavar="SUBJECT",
        help="a file, wheel, folder, OCI layout or archive, or else an image: of the local engine, or in a registry",
    )
    audit.add_argument("--target", required=True, help="the GPU, as in matrix.toml")
    audit.add_argument("--policy", default="", metavar="IMAGE", help="judge by images/IMAGE/image.toml")
    audit.add_argument("--remote", action="store_true", help="ask the registry, whatever the local engine has")
    audit.add_argument("--json", action="store_true", help="for machines: an object a subject, one a line")
    slim = add("slim", verbs.slim, "write wheels again with only the GPU code that a target can run")
    slim.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL")
    slim.add_argument("--target", required=True, help="the GPU, as in matrix.toml")
    slim.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where to (default: here)")
    sizes = add("sizes", verbs.sizes, "what a cell's image holds, by distribution: upstream's bytes and ours")
    sizes.add_argument("--svg", type=Path, metavar="FILE", help="also draw it")
    verdict = add("verdict", verbs.verdict, "show what was decided of each candidate, and why")
    reproduce = add(
        "reproduce", verbs.reproduce, "build cells again from nothing and compare them with their first build"
    )
    for verb in (plan, matrix, fetch, build, smoke, publish, sizes, verdict, reproduce):
        _add_selection(verb)
    for verb in (fetch, build, smoke, publish, sizes, verdict, reproduce):
        verb.add_argument("--no-slim", action="store_true", help="leave the GPU code of other targets in the wheels")
    for verb in (build, smoke, publish):
        verb.add_argument(
            "--digest", default="", help="take this candidate, which was built elsewhere; nothing is built"
        )
        verb.add_argument(
            "--from",
            dest="source",
            default="",
            metavar="WHERE",
            help="where it lies: a layout's folder, an archive, `engine`, or an image's name in a registry",
        )
        verb.add_argument("--keep-going", action="store_true", help="begin further cells after one has failed")
        verb.add_argument(
            "--builder", default="", metavar="NAME,…", help="buildx builders: as HALLMARK_BUILDER, which see"
        )
        verb.add_argument("--jobs", type=int, default=DEFAULT_JOBS, help="cells at a time (default: %(default)s)")
    compare = add("compare", verbs.compare, "compare vLLM with SGLang on a target, by one client, and write a report")
    compare.add_argument("target", metavar="TARGET", help="as in matrix.toml, such as 5090")
    compare.add_argument(
        "--only", action="append", default=[], metavar="PART,…", help=f"of the parts {', '.join(PARTS)} (default: all)"
    )
    compare.add_argument(
        "--engine", action="append", default=[], metavar="NAME,…", help="vllm or sglang (default: both)"
    )
    compare.add_argument("--runs", type=int, default=RUNS, help="of each measurement (default: %(default)s)")
    compare.add_argument(
        "--memory", type=int, metavar="GIB", help="what engines may hold (default: the target's memory)"
    )
    compare.add_argument(
        "--candidate",
        nargs=3,
        action="append",
        default=[],
        metavar=("CELL", "DIGEST", "WHERE"),
        help="a candidate that was built elsewhere, and where it lies: as `publish --digest --from`",
    )
    compare.add_argument("--again", action="store_true", help="measure what has been measured, too")
    compare.add_argument(
        "--report-only", action="store_true", help="measure nothing: write the report of what is known"
    )
    compare.add_argument(
        "--output", type=Path, metavar="DIR", help="where the report goes (default: .hallmark/compare)"
    )
    compare.add_argument("--cuda", action="append", default=[], help="only this CUDA line, or `cpu`")
    compare.add_argument("--recipe", action="append", default=[], help="only this recipe")
    compare.add_argument("--no-slim", action="store_true", help="candidates with the GPU code of other targets")
    doctor = add("doctor", verbs.doctor, "what this machine has of what is needed, and which images are for its GPUs")
    doctor.add_argument("--report", action="store_true", help="a text for an issue, which names nobody and no place")
    serve = add("serve", verbs.serve, "serve a model from a cell's stamped image, on 127.0.0.1, until Ctrl-C")
    serve.rest = True
    serve.usage = "%(prog)s [OPTION …] CELL MODEL [-- ENGINE ARGUMENTS]"
    serve.add_argument("cell", metavar="CELL", help="such as vllm-cu130-5090-wheel; one that was accepted")
    serve.add_argument("model", metavar="MODEL", help="a folder of this machine, or a name on a model hub")
    serve.add_argument("--port", type=int, default=8000, help="of 127.0.0.1 (default: %(default)s)")
    serve.add_argument(
        "--env", action="append", default=[], metavar="NAME[=VALUE]", help="a variable for the engine (may be repeated)"
    )
    serve.add_argument("--candidate", action="store_true", help="serve the cell's candidate, though it has no stamp")
    verify = add("verify", verbs.verify, "tell of an image in a registry what it was tested for, and who says so")
    verify.add_argument("reference", metavar="IMAGE", help="by tag or digest, as for `docker pull`")
    trust = verify.add_mutually_exclusive_group(required=True)
    trust.add_argument("--key", type=Path, metavar="FILE", help="the public key (PEM) that must have signed it")
    trust.add_argument("--identity", default="", metavar="NAME", help="who must have signed it, without a key")
    trust.add_argument("--no-signature", action="store_true", help="believe whoever may write to the registry")
    verify.add_argument("--issuer", default="", metavar="URL", help="by whose word it is that --identity")
    verify.add_argument(
        "--trusted-root", type=Path, metavar="FILE", help="of the Sigstore that was asked (default: the public one's)"
    )
    verify.add_argument("--cell", default="", help="the cell that it must have been tested as")
    verify.add_argument("--json", action="store_true", help="for machines: one object")
    bundle = add("bundle", verbs.bundle, "check what an owner of a GPU has seen, as `--bundle` wrote it")
    bundle.add_argument("action", choices=["check"])
    bundle.add_argument("files", nargs="+", type=Path, metavar="FILE", help="the worst of several decides")
    bundle.add_argument("--key", type=Path, metavar="FILE", help="the public key (PEM) that must have signed them")
    history = add("history", verbs.history, "show what was decided of cells, and whether their stamps stand")
    history.add_argument("patterns", nargs="*", metavar="CELL", help="shell patterns over cell ids (default: all)")
    history.add_argument("--feed", type=Path, metavar="FILE", help="another checkout's (default: this one's)")
    history.add_argument("--json", action="store_true", help="for machines: a list of objects")
    catalogue = add("catalogue", verbs.catalogue, "write what is known of every cell as a static site")
    catalogue.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="an empty folder, or an earlier site"
    )
    catalogue.add_argument(
        "--evidence", type=Path, action="append", default=[], metavar="DIR", help="(default: docs/evidence)"
    )
    _add_feeds(catalogue)
    catalogue.add_argument("--registry", default="", metavar="NAME", help="where the tags are, for `docker pull`")
    retire = add("retire", verbs.retire, "take a cell out of service: its moving tags are withdrawn, with the reason")
    retire.add_argument("cell", metavar="CELL", help="of the matrix")
    retire.add_argument("--reason", required=True, metavar="TEXT", help="what whoever pulls the tag is to know")
    retire.add_argument("--undo", action="store_true", help="put it back: what is accepted is tagged again")
    gc = add("gc", verbs.gc, "show what the registry may lose: candidates of a year ago that were never accepted")
    gc.add_argument("--delete", action="store_true", help="remove it; without this nothing is changed")
    _add_feeds(gc)
    engine = add("engine", verbs.engine, "start, stop or show the Docker Engine that is used")
    engine.add_argument("action", choices=["up", "down", "status"])
    clean = add("clean", verbs.clean, "free everything that no tag needs")
    clean.add_argument("--cache", action="store_true", help="also empty the cache of inputs, which all checkouts share")
    return parser


def _add_selection(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("patterns", nargs="*", metavar="CELL", help="shell patterns over cell ids, such as 'vllm-*'")
    verb.add_argument("--only", action="append", default=[], metavar="CELL", help="the same as an option")
    verb.add_argument("--image", action="append", default=[], help="only this image (may be repeated)")
    verb.add_argument("--cuda", action="append", default=[], help="only this CUDA line, or `cpu`")
    verb.add_argument("--target", action="append", default=[], help="only this target")
    verb.add_argument("--recipe", action="append", default=[], help="only this recipe")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
