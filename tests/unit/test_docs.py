"""What the documents say exists, and what exists is in the documents."""

import ast
import re
from importlib import import_module
from pathlib import Path

import click
import pytest

from pipeline.settings import Settings
from serve_app.cli import COMMANDS, main
from tests.unit.api_reference import reference
from tests.unit.api_server import Product

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
# Served by FastAPI itself, so not in the document that they show.
PAGES_OF_FASTAPI = {"/openapi.json", "/docs"}

_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FOLDER = re.compile(r"^### `([\w/]+/)`\n(.*?)(?=^#)", re.MULTILINE | re.DOTALL)
_ROUTE = re.compile(r"`(GET|HEAD|POST|PATCH|PUT|DELETE) (/[^` ]*)`")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> list[tuple[str, str]]:
    return [
        (relative(page), target)
        for page in PAGES
        for target in dict.fromkeys(_LINK.findall(_FENCED.sub("", page.read_text("utf-8"))))
        if "://" not in target
    ]


@pytest.mark.parametrize(("page", "target"), links())
def test_links_lead_somewhere(page: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    assert file.exists(), f"{page} links to {target}"
    if anchor:
        assert anchor in anchors(file), f"{page} links to {target}"


# --- settings ---------------------------------------------------------------------------------


def example() -> dict[str, str]:
    lines = re.findall(
        r"^#([A-Z][A-Z0-9_]*)=(.*)$", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE
    )
    assert len(dict(lines)) == len(lines), "a variable is there twice"
    return dict(lines)


def fields() -> set[str]:
    return {name.upper() for name in Settings.model_fields}


def test_the_example_names_exactly_the_variables_that_are_read() -> None:
    assert set(example()) == fields()


@pytest.mark.parametrize("name", sorted(set(example()) - {"DATABASE_URL"}))
def test_the_example_shows_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for field in fields():
        monkeypatch.delenv(field, raising=False)
    default = Settings(_env_file=None)
    monkeypatch.setenv(name, example()[name])
    assert Settings(_env_file=None) == default


def test_the_readme_explains_every_variable() -> None:
    section = README.partition("\n## Configuration\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", section))
    assert named == fields()


def test_variables_are_said_to_have_no_effect_exactly_if_nothing_uses_them() -> None:
    idle = (ROOT / ".env.example").read_text("utf-8").partition("without effect yet")[2]
    said = set(re.findall(r"^#([A-Z][A-Z0-9_]*)=", idle, re.MULTILINE))
    used = {
        node.attr.upper()
        for package in ("pipeline", "actors", "serve_app")
        for file in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert fields() - used == said


# --- commands and routes ----------------------------------------------------------------------


def test_the_readme_names_exactly_the_commands_that_exist() -> None:
    context = click.Context(main)
    named = set(re.findall(r"(?:`|^\$ )vodray ([a-z]+)\b", README, re.MULTILINE))
    assert named == set(main.list_commands(context))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    command = import_module(f"serve_app.commands.{name}").command
    assert isinstance(command, click.Command)
    assert command.help


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_make_targets_exist(page: Path) -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", text, re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)\b", page.read_text("utf-8"), re.MULTILINE))
    assert named <= targets


def test_the_readme_lists_exactly_the_routes_that_are_served() -> None:
    document = Product().app().openapi()
    served = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    listed = {pair for pair in _ROUTE.findall(README) if pair[1] not in PAGES_OF_FASTAPI}
    assert listed == served


def test_the_reference_is_what_the_openapi_document_says() -> None:
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    told = text.partition("\n<!-- reference -->\n")[2].partition("\n<!-- /reference -->\n")[0]
    true = reference(Product().app().openapi())
    assert told == true, f"docs/api.md has to say, between its comments:\n\n{true}\n"


# --- the map of the tree ----------------------------------------------------------------------


def mapped() -> set[str]:
    """Modules that the map in docs/architecture.md names, one table per folder."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    found = set()
    for folder, table in re.findall(
        r"^### `([\w/]+/)`\n(.*?)(?=^#)", text, re.MULTILINE | re.DOTALL
    ):
        for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE):
            found |= {folder + name for name in re.findall(r"`(\w+\.py)`", row)}
    return found


def test_the_map_names_every_module() -> None:
    modules = {
        relative(file)
        for package in ("pipeline", "actors", "serve_app")
        for file in (ROOT / package).rglob("*.py")
        if file.name != "__init__.py"
    }
    missing, gone = sorted(modules - mapped()), sorted(mapped() - modules)
    assert not missing, f"docs/architecture.md lacks {', '.join(missing)}"
    assert not gone, f"docs/architecture.md names {', '.join(gone)}, which do not exist"


def test_the_version_of_kafka_that_is_tested_is_the_one_that_is_told() -> None:
    lock = (ROOT / "tests/apache_kafka/jars.lock").read_text("utf-8")
    (version,) = set(re.findall(r"org\.apache\.kafka:[^:]+:(\S+)", lock))
    manual = (ROOT / "docs/operations.md").read_text("utf-8")
    assert f"Tested with Apache Kafka {version} " in manual
