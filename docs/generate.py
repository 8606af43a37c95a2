"""Writes all that repeats the code: regions of README and docs (`<!-- generated:NAME -->`), and the schema files.

Run it as `python docs/generate.py`, or with `--check` to fail when a file would change.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from flowai.storage.json_schema import describe_fields, records_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
REGION = re.compile(r"(<!-- generated:([a-z-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def command_help() -> str:
    """Return the help of every command, as a wide terminal shows it."""
    import typer  # noqa: TID251 - help is taken from the real command line

    from flowai.cli.app import app

    os.environ.update(COLUMNS="100", NO_COLOR="1", TERM="dumb")

    def pages(name: str, command: Any, parent: Any) -> Iterator[str]:  # noqa: ANN401 - of typer's private classes
        context = command.make_context(name, [], parent=parent, resilient_parsing=True)
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        yield f"### `{context.command_path}`\n\n```text\n{text}\n```"
        for inner, one in getattr(command, "commands", {}).items():
            yield from pages(inner, one, context)

    return "\n\n".join(pages("flowai", typer.main.get_command(app), None))


def exit_codes() -> str:
    """Give the table of exit codes."""
    from flowai.errors import ExitCode

    return _table(("code", "meaning"), [(f"**{code.value}**", code.meaning) for code in ExitCode])


def python_api() -> str:
    """Return each public name by the package that defines it: signature, first paragraph, fields or methods."""
    import flowai

    package_of = {name: module.split(".")[1] for name, module in flowai._MODULE_OF.items()}  # noqa: SLF001 - shown here
    parts = []
    for title, packages in API_SECTIONS.items():
        parts.append(f"## {title}")
        values = {name: getattr(flowai, name) for name in sorted(package_of) if package_of[name] in packages}
        errors = {name: value for name, value in values.items() if _is_error(value)}
        if errors:
            rows = [(f"`{name}`", f"`{value.__base__.__name__}`", _summary(value)) for name, value in errors.items()]
            parts.append(_table(("error", "is a", "meaning"), rows))
        parts += [_api_entry(name, value) for name, value in values.items() if name not in errors]
    return "\n\n".join(parts)


API_SECTIONS = {
    "Gateway": ("gateway", "providers"),
    "Errors": ("errors",),
    "Events": ("events",),
    "Prompts": ("project", "prompts"),
    "Reports": ("evals",),
    "Private data": ("privacy",),
}
"""Sections of the page, and the packages whose names each shows."""


def _api_entry(name: str, value: Any) -> str:  # noqa: ANN401 - whatever is exported
    if not (inspect.isclass(value) or inspect.isfunction(value)):  # a union of records
        return f"### {name}\n\n" + " or ".join(f"`{kind.__name__}`" for kind in get_args(value))
    parts = [f"### {name}", _summary(value)]
    if inspect.isfunction(value):
        parts.insert(1, f"```python\n{_signature(name, value)}\n```")
    elif issubclass(value, msgspec.Struct):
        parts.append(_table(("field", "type", "default", "meaning"), list(_rows(value))))
    elif dataclasses.is_dataclass(value):
        meanings = describe_fields(value)
        rows = [(f"`{one.name}`", f"`{one.type}`", meanings.get(one.name, "")) for one in dataclasses.fields(value)]
        parts.append(_table(("field", "type", "meaning"), rows))
    else:
        parts.insert(1, f"```python\n{_signature(name, value)}\n```")
        methods = inspect.getmembers(value, lambda one: inspect.isfunction(one) or isinstance(one, property))
        shown = [(_signature(own, member), _summary(member)) for own, member in methods if not own.startswith("_")]
        parts.append(_table(("method", "meaning"), [(f"`{text}`", meaning) for text, meaning in shown]))
    return "\n\n".join(parts)


def _signature(name: str, value: Any) -> str:  # noqa: ANN401 - whatever is exported
    if isinstance(value, property):
        return name
    signature = inspect.signature(value)
    parameters = [
        one if one.annotation is one.empty else one.replace(annotation=_Annotation(one.annotation))
        for own, one in signature.parameters.items()
        if own != "self"
    ]
    result = signature.return_annotation
    returned = result if result is signature.empty else _Annotation(result)
    text = str(signature.replace(parameters=parameters, return_annotation=returned)).removesuffix(" -> None")
    return f"{'await ' if inspect.iscoroutinefunction(value) else ''}{name}{text}"


class _Annotation(str):
    """A type as its module writes it, shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _summary(value: object) -> str:
    return inspect.cleandoc(value.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _is_error(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Exception)


def package_graph() -> str:
    """Draw the packages by layer, with the imports that no others imply (Mermaid), and list all of them."""
    layers = _layers()
    imports = _package_imports([name for layer in layers for name in layer])
    lines = ["```mermaid", "flowchart TD"]
    for number, layer in zip(range(len(layers), 0, -1), layers, strict=True):
        lines += [f'  subgraph layer{number}["{number}"]', "    direction LR"]
        lines += [f"    {name}" for name in layer] + ["  end"]
    for name, imported in imports.items():
        implied = {further for one in imported for further in _reachable(one, imports)}
        lines += [f"  {name} --> {one}" for one in sorted(imported - implied)]
    rows = [
        (str(number), f"`{name}`", _module_summary(name), ", ".join(f"`{one}`" for one in sorted(imports[name])) or "-")
        for number, layer in zip(range(len(layers), 0, -1), layers, strict=True)
        for name in layer
    ]
    return "\n".join([*lines, "```"]) + "\n\n" + _table(("layer", "package", "purpose", "imports"), rows)


def _layers() -> list[list[str]]:
    """Return the packages of each layer, the highest first, as import-linter's contract has them."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    contract = next(one for one in tools["importlinter"]["contracts"] if one["type"] == "layers")
    return [sorted(layer.split(" | ")) for layer in contract["layers"]]


def _package_imports(names: Sequence[str]) -> dict[str, set[str]]:
    """Return which packages each package imports, types included."""
    import grimp

    graph = grimp.build_graph("flowai", cache_dir=None)
    for name in names:
        graph.squash_module(f"flowai.{name}")
    return {
        name: {
            one
            for one in names
            if one != name and graph.direct_import_exists(importer=f"flowai.{name}", imported=f"flowai.{one}")
        }
        for name in names
    }


def _reachable(name: str, imports: dict[str, set[str]]) -> set[str]:
    """Return what a package imports, directly or through others."""
    return imports[name].union(*(_reachable(one, imports) for one in imports[name]))


def _module_summary(name: str) -> str:
    """Return the first sentence of a package's or module's docstring, without importing it."""
    package = ROOT / "flowai" / name / "__init__.py"
    file = package if package.exists() else ROOT / "flowai" / f"{name}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n\n")[0].replace("\n", " ")


def schema_files() -> dict[Path, str]:
    """Return the text of each JSON Schema that ships with the package."""
    from flowai.audit import schema as audit
    from flowai.events import schema as events
    from flowai.registry import schema as registry

    return {
        audit.SCHEMA_FILE: audit.audit_schema(),
        events.SCHEMA_FILE: events.event_schema(),
        registry.SCHEMA_FILE: registry.registry_schema(),
    }


def fields(*outermost: type[msgspec.Struct]) -> str:
    """Return one table for each of these records and those inside them: field, type, default, meaning."""
    parts = []
    for record in records_in(*outermost):
        rows = list(_rows(record))
        if rows:
            summary = (record.__doc__ or "").strip().splitlines()[0]
            table = _table(("field", "type", "default", "meaning"), rows)
            parts.append(f"### {record.__name__}\n\n{summary}\n\n{table}")
    return "\n\n".join(parts)


def registry_fields() -> str:
    """Return the tables of registry.yaml."""
    from flowai.registry.records import RegistryFile

    return fields(RegistryFile)


def event_fields() -> str:
    """Return the tables of the event log."""
    from flowai.events import Event

    return fields(*get_args(Event))


def audit_fields() -> str:
    """Return the table of the audit log."""
    from flowai.audit import AuditRecord

    return fields(AuditRecord)


def report_fields() -> str:
    """Return the tables of report.json."""
    from flowai.evals.reports.records import Report

    return fields(Report)


def faults() -> str:
    """Give the table of faults that `tests/gateway/test_faults.py` tries, row by row."""
    sys.path[:0] = [str(ROOT / "tests" / "gateway"), str(ROOT / "tests")]
    table: str = importlib.import_module("support.fault_table").markdown()
    return table


def check_rules(table: str) -> str:
    """Give the table of the rules of `flowai finetune check`: `ERRORS` or `WARNINGS`."""
    rules: dict[str, str] = getattr(importlib.import_module("flowai.finetune.check.records"), table)
    return _table(("rule", "meaning"), [(f"`{rule}`", meaning) for rule, meaning in rules.items()])


def decision_index() -> str:
    """Return one table of decision notes per package: number, title, status."""
    packages: dict[str, list[tuple[str, str, str]]] = {}
    for note in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        text = note.read_text(encoding="utf-8")
        number, title = text.splitlines()[0].removeprefix("# ").split(": ", 1)
        status, package = (re.search(rf"^{key}: (.+)$", text, re.MULTILINE) for key in ("Status", "Package"))
        if status is None or package is None:
            raise ValueError(f"{note.name} needs a line `Status: ...` and a line `Package: ...`")
        packages.setdefault(package[1], []).append((f"[{number}]({note.name})", title, status[1]))
    sections = (f"## {name}\n\n{_table(('note', 'decision', 'status'), packages[name])}" for name in sorted(packages))
    return "\n\n".join(sections)


def _rows(record: type[msgspec.Struct]) -> Iterator[tuple[str, str, str, str]]:
    meanings = describe_fields(record)
    for field in msgspec.structs.fields(record):
        annotation = record.__annotations__.get(field.name)
        if annotation is None:  # inherited: described where it was declared
            continue
        default = "required"
        if field.default is not msgspec.NODEFAULT:
            default = f"`{field.default!r}`"
        elif field.default_factory is not msgspec.NODEFAULT:
            default = f"`{field.default_factory()!r}`"
        yield f"`{field.encode_name}`", f"`{annotation}`", default, meanings.get(field.name, "")


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def direct_providers() -> str:
    """Return the table of providers that are called without LiteLLM."""
    from flowai.providers.catalog import CUSTOM, ProviderCatalog

    data = ProviderCatalog().data
    rows = []
    for name, record in data.providers.items():
        if name.endswith(CUSTOM):
            continue
        family = data.families.get(record.family)
        through = "all chats" if family is None else _feature_names(family.litellm)
        address = f"`{record.base_url}`" if record.base_url else "`api_base`"
        keys = " ".join(f"`{variable}`" for variable in record.key_variables) or "-"
        rows.append((f"`{name}`", address, keys, through, "yes" if record.embeddings else "-"))
    return _table(("prefix", "address", "key", "through LiteLLM", "embeddings"), rows)


def _feature_names(features: frozenset[str]) -> str:
    """Return the parameters and roles of features, without their values."""
    names = {
        feature.partition(":")[2] if feature.startswith("extra:") else feature.partition(":")[0] for feature in features
    }
    return ", ".join(f"`{name}`" for name in sorted(names)) or "-"


def gate_simulation() -> str:
    """Return the table of the gate's simulated results, as the benchmark wrote it."""
    return _benchmark_table("The gate's statistics")


def verdict_simulation() -> str:
    """Return the table of simulated verdicts, as the benchmark wrote it."""
    return _benchmark_table("The verdict's statistics")


def frequent_failures() -> str:
    """Return the table of rollouts with frequent failures, as the benchmark wrote it."""
    return _benchmark_table("Evidence for rare failures where failures are frequent")


def judge_rates() -> str:
    """Return the table of corrected rates' coverage, as the benchmark wrote it."""
    return _benchmark_table("Rates that a judge measured")


def judged_rollouts() -> str:
    """Return the table of rollouts whose judge errs, as the benchmark wrote it."""
    return _benchmark_table("A rollout whose judge errs")


def _benchmark_table(title: str) -> str:
    results = (ROOT / "benchmarks" / "results.md").read_text(encoding="utf-8")
    section = results.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    return "\n".join(line for line in section.splitlines() if line.startswith("|"))


GENERATORS: dict[str, Callable[[], str]] = {
    "command-help": command_help,
    "direct-providers": direct_providers,
    "exit-codes": exit_codes,
    "registry-fields": registry_fields,
    "faults": faults,
    "check-errors": lambda: check_rules("ERRORS"),
    "check-warnings": lambda: check_rules("WARNINGS"),
    "decision-index": decision_index,
    "audit-fields": audit_fields,
    "event-fields": event_fields,
    "report-fields": report_fields,
    "python-api": python_api,
    "package-graph": package_graph,
    "gate-simulation": gate_simulation,
    "verdict-simulation": verdict_simulation,
    "frequent-failures": frequent_failures,
    "judge-rates": judge_rates,
    "judged-rollouts": judged_rollouts,
}


def generated_files() -> dict[Path, str]:
    """Return every file that holds something generated, as it should be."""
    pages = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    filled = {page: REGION.sub(_filled, page.read_text(encoding="utf-8")) for page in pages}
    return {**filled, **schema_files(), **provider_file()}


def provider_file() -> dict[Path, str]:
    """Return the text of the providers' data file, built anew if LiteLLM or its own code has changed.

    That takes minutes; a check compares only what the file was built with.
    """
    sys.path.insert(0, str(ROOT / "docs"))
    provider_data = importlib.import_module("provider_data")
    if provider_data.is_current():
        return {provider_data.DATA_FILE: provider_data.DATA_FILE.read_text(encoding="utf-8")}
    is_check = "--check" in sys.argv[1:]
    return {provider_data.DATA_FILE: "" if is_check else provider_data.written(provider_data.build())}


def _filled(region: re.Match[str]) -> str:
    return f"{region[1]}{GENERATORS[region[2]]()}\n{region[3]}"


def main() -> int:
    """Write or check every generated file; return 1 when a check found drift."""
    check = "--check" in sys.argv[1:]
    drifted = []
    for file, fresh in generated_files().items():
        if fresh != file.read_text(encoding="utf-8"):
            drifted.append(str(file.relative_to(ROOT)))
            if not check:
                file.write_text(fresh, encoding="utf-8")
    for name in drifted:
        sys.stdout.write(f"{name}: {'differs from the code; run `make docs`' if check else 'written'}\n")
    return 1 if check and drifted else 0


if __name__ == "__main__":
    sys.exit(main())
