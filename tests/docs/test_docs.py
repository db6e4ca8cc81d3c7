"""The pages against the code: links, commands, options, names, exit codes, targets."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from docs_reading import PAGES, ROOT, anchors, command_lines, fenced, links

from ensembles import report
from kaggle_digits.ground import names
from kaggle_digits.ground.config import PRECISION_VARIABLE, TrainingConfig
from kaggle_digits.shell.cli import COMMANDS, load_command
from kaggle_digits.shell.grouping import GROUPS

DOCS = ROOT / "docs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def visible() -> list[tuple[str, click.Command]]:
    """The commands by the words they are called by; of a group its visible commands as well."""
    found: list[tuple[str, click.Command]] = []
    for name in COMMANDS:
        command = load_command(name)
        found.append((name, command))
        if isinstance(command, click.Group):
            inner = command.commands.items()
            found += [(f"{name} {word}", one) for word, one in inner if not one.hidden]
    return found


def parse(words: list[str]) -> None:
    """Parse a command line as the tool does, without running it."""
    first, rest = words[0], words[1:]
    if first in ("--help", "-h", "--version"):
        return
    assert first in COMMANDS, f"no command {first!r}"
    command = load_command(first)
    if isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no command {first} {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    try:
        command.make_context(command.name, rest)
    except click.exceptions.Exit:
        assert {"--help", "-h"} & set(rest)


def test_the_readme_is_a_front_door() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 120
    first = next(line for line in text.splitlines()[1:] if line)
    assert "out-of-fold-honest ensembles of CNNs, from zip to leaderboard" in first
    linked = {Path(link).name for link in links(ROOT / "README.md")}
    pages = {path.name for path in DOCS.glob("*.md")} - {"index.md"}
    assert pages <= linked, "every page can be found from the README"


def test_every_figure_of_the_readmes_table_is_measured() -> None:
    rows = re.findall(r"^\| `(.*min.*) \|$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    measured = (DOCS / "measured.md").read_text("utf-8")
    found = [[*re.findall(r"0\.\d{5} ± 0\.\d{5}", row), row.rpartition("| ")[2]] for row in rows]
    assert len(found) == 5 and sum(map(len, found)) == 9
    assert [one for row in found for one in row if one not in measured] == []


def test_all_python_in_the_pages_is_run_by_a_test() -> None:
    """By tests/front/test_public_names.py, test_tracking.py, ensembles/test_predict_by_file.py."""
    found = {page.name for page in PAGES if fenced(page, "python")}
    assert found == {"README.md", "tracking.md", "distil.md", "python-api.md"}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


@each_page
def test_commands_in_pages_parse(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PRECISION_VARIABLE, raising=False)
    if page.name == "commands.md":
        return  # usage lines with brackets; another test holds the page against the code
    for words in command_lines(page, "kaggle-digits"):
        if not words or words[0] == "COMMAND":
            continue
        try:
            parse(words)
        except click.UsageError as error:
            pytest.fail(f"{page.name}: kaggle-digits {' '.join(words)}: {error.format_message()}")


def test_the_parser_of_these_tests_refuses_what_the_tool_refuses() -> None:
    parse(["run", "--preset", "quick", "--folds", "3"])
    for words in (
        ["run", "--prest", "quick"],
        ["run", "--preset", "huge"],
        ["predict", "--invert", "maybe"],
    ):
        with pytest.raises(click.UsageError):
            parse(words)
    for words in (["trian"], ["kernel", "bild"]):
        with pytest.raises(AssertionError):
            parse(words)
    found = {tuple(words) for words in command_lines(DOCS / "clusters.md", "kaggle-digits")}
    assert ("cv-train", "--threads", "1", "--cluster", "auto") in found


@each_page
def test_targets_and_scripts_in_pages_are_there(page: Path) -> None:
    for words in command_lines(page, "make"):
        assert set(words) <= set(TARGETS), f"{page.name}: make {' '.join(words)}"
    for program in ("python", "pytest"):
        for words in command_lines(page, program):
            for word in words:
                if word.endswith(".py"):
                    assert (ROOT / word).exists(), f"{page.name}: {program} {' '.join(words)}"


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    """The pages that are made of the code, as they would be made now."""
    pages: dict[str, str] = runpy.run_path(str(DOCS / "generate.py"))["pages"]()
    return pages


@pytest.mark.parametrize("name", ["commands.md", "python-api.md"])
def test_a_page_that_is_made_of_the_code_is_up_to_date(
    generated: dict[str, str], name: str
) -> None:
    assert (DOCS / name).read_text("utf-8") == generated[name], "call `make docs`"


def test_the_page_of_commands_has_every_option(generated: dict[str, str]) -> None:
    made = generated["commands.md"]
    for words, command in visible():
        (part,) = re.findall(rf"^## {words}\n(.*?)(?=^## |\Z)", made, re.MULTILINE | re.DOTALL)
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert option in part, (words, option)


@pytest.mark.parametrize(("words", "command"), visible(), ids=[words for words, _ in visible()])
def test_help_fits_80_columns_in_groups(
    words: str, command: click.Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    context = click.Context(command, info_name=f"kaggle-digits {words}")
    lines = command.get_help(context).splitlines()
    assert max(map(len, lines)) <= 80
    if isinstance(command, click.Group):
        return
    titles = [line[:-1] for line in lines if re.fullmatch(r"[A-Z][a-z ]+:", line)]
    assert titles == [title for title in GROUPS if title in titles]
    assert {"How much", "Where", "Output"} <= set(titles)
    below = lines[lines.index(f"{titles[0]}:") :]
    shown = [name for line in below for name in re.findall(r"^  (?:-\w, )?(--[\w-]+)", line)]
    own = [option for option in command.params if isinstance(option, click.Option)]
    assert sorted(shown) == sorted(
        [*(max(option.opts, key=len) for option in own if not option.hidden), "--help"]
    )


def test_every_grouped_option_is_an_option_of_some_command() -> None:
    there = {name for _, command in visible() for one in command.params for name in one.opts}
    for options in GROUPS.values():
        assert set(options) <= there | {"--help"}


def test_names_stand_in_their_pages() -> None:
    for page, known in (
        ("networks.md", (*names.FAMILIES, *names.PRESETS)),
        ("networks.md", names.POLICIES),
        ("search.md", names.STRATEGIES),
        ("blending.md", (*names.METHODS, names.AUTO)),
        ("pseudo-labels.md", names.PSEUDO_TARGETS),
    ):
        text = (DOCS / page).read_text("utf-8")
        assert [name for name in known if f"`{name}`" not in text] == [], page


def test_the_report_compares_as_many_probabilities_as_its_page_says() -> None:
    text = " ".join((DOCS / "report.md").read_text("utf-8").split())
    (said,) = re.findall(r"With more than ([\d.]+) million probabilities of members", text)
    assert float(said) * 1e6 == report._QUICK


def test_every_field_of_a_configuration_stands_in_its_page() -> None:
    text = (DOCS / "networks.md").read_text("utf-8")
    fields = [field.name for field in dataclasses.fields(TrainingConfig)]
    assert [name for name in fields if f"`{name}`" not in text] == []


def errors() -> dict[str, tuple[int, list[str]]]:
    """Our errors by name, each with its exit code and what it derives from, from the sources."""
    found: dict[str, tuple[int, list[str]]] = {"KaggleDigitsError": (1, [])}
    classes = [
        node
        for package in ("kaggle_digits", "tuning", "ensembles", "submissions", "kernel")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef) and node.bases
    ]
    while new := {
        node.name: (
            next(
                (
                    ast.literal_eval(line.value)
                    for line in node.body
                    if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "exit_code"
                ),
                found[ast.unparse(node.bases[0])][0],
            ),
            [ast.unparse(base) for base in node.bases],
        )
        for node in classes
        if ast.unparse(node.bases[0]) in found and node.name not in found
    }:
        found |= new
    return found


def test_every_error_stands_in_its_page_with_its_exit_code_and_its_class() -> None:
    text = (DOCS / "errors.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+Error)` \| (\d+) \|( [^|]+)? \|", text, re.MULTILINE)
    root = ["KaggleDigitsError"]
    found = {name: (int(code), re.findall(r"`(\w+)`", cell) or root) for name, code, cell in rows}
    ours = errors()
    # The root, and what says no more to a user than the class above it.
    for name in ("KaggleDigitsError", "CallError", "CredentialsError", "Stop"):
        del ours[name]
    assert found == ours


def test_every_message_of_the_page_is_one_that_the_code_has() -> None:
    text = (DOCS / "errors.md").read_text("utf-8").partition("## Messages you may meet")[2]
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    packages = ("kaggle_digits", "tuning", "ensembles", "submissions", "kernel")
    sources = [path.read_text("utf-8") for one in packages for path in (ROOT / one).rglob("*.py")]
    # Long messages are written in several parts.
    code = re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources))
    code = code.replace("{USUAL[role]}", "train.csv")
    quoted = [words for cell in cells for words in re.findall(r"`([^`]+)`", cell)]
    assert len(quoted) > 20 and [words for words in quoted if words not in code] == []


def test_every_dependency_stands_in_its_page_and_the_constraints() -> None:
    page = (DOCS / "dependencies.md").read_text("utf-8")
    constraints = (ROOT / "constraints.txt").read_text("utf-8")
    for requirement in PROJECT["project"]["dependencies"]:
        name = re.split(r"[<>=\[ ]", requirement)[0]
        assert re.search(rf"^\|.*\b{name}\b.*\|", page, re.MULTILINE), name
        assert re.search(rf"^{name}==", constraints, re.MULTILINE), name
    extras = PROJECT["project"]["optional-dependencies"]
    for extra in extras.keys() - {"dev"}:
        for requirement in extras[extra]:
            name = re.split(r"[<>=\[ ]", requirement)[0]
            assert re.search(rf"^\|.*\b{name}\b.*\|.*`{extra}`.*\|", page, re.MULTILINE), name
    for requirement in extras["dev"]:
        name = re.split(r"[<>=\[ ]", requirement)[0]
        assert re.search(rf"\b{name}\b", page) or name == "setuptools", name
        assert re.search(rf"^{name}==", constraints, re.MULTILINE), name


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = {path.stem for path in tmp_path.glob("*.html")}
    assert {path.stem for path in DOCS.glob("*.md")} <= made


def test_make_alone_lists_the_targets() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = re.findall(r"^make ([a-z-]+) +\S", done.stdout, re.MULTILINE)
    assert listed == TARGETS


def test_versions_are_one() -> None:
    from kaggle_digits import __version__

    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {__version__}\n" in citation
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "\n## Unreleased\n" in changes and f"\n## {__version__}" in changes


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered_for_each_shell_of_the_page(shell: str) -> None:
    page = "".join(fenced(DOCS / "getting-started.md"))
    assert f"_KAGGLE_DIGITS_COMPLETE={shell}_source kaggle-digits" in page
    code = "from kaggle_digits.shell.cli import cli; cli(prog_name='kaggle-digits')"
    asked = {
        "_KAGGLE_DIGITS_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "kaggle-digits tune --sp",
    }
    asked |= {"COMP_CWORD": "2" if shell != "fish" else "--sp"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | asked,
    )
    assert done.returncode == 0, done.stderr
    assert "--space" in done.stdout and "--seed" not in done.stdout


@pytest.mark.parametrize(
    ("shell", "asks"),
    [
        ("bash", "COMP_WORDS=(kaggle-digits tune --sp); COMP_CWORD=2;"
                 ' _kaggle_digits_completion kaggle-digits; echo "${COMPREPLY[@]}"'),
        ("fish", 'complete -C "kaggle-digits tune --sp"'),
    ],
)  # fmt: skip
def test_completion_works_in_the_shell_itself(shell: str, asks: str) -> None:
    program = Path(sys.executable).with_name("kaggle-digits")
    if shutil.which(shell) is None or not program.exists():
        pytest.skip(f"needs {shell}, and the package installed")
    page = "".join(fenced(DOCS / "getting-started.md"))
    (line,) = re.findall(rf"^(.*={shell}_source kaggle-digits.*?) +#", page, re.MULTILINE)
    done = subprocess.run(
        [shell, "-c", f"{line}\n{asks}"],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.stdout.split()[0] == "--space", done.stderr
