"""Errors: the exit codes pipelines branch on, and the suggestions people read."""

from __future__ import annotations

from flowai import errors
from flowai.errors import ExitCode, FlowaiError, Place, RegistryError, expected_one_of


def test_exit_codes_are_the_documented_ones() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0,
        "GATE_NOT_MET": 1,
        "USAGE": 2,
        "PROJECT": 3,
        "INFRASTRUCTURE": 4,
        "INCONCLUSIVE": 5,
        "BUG": 70,
        "INTERRUPTED": 130,
    }


def test_every_error_but_the_root_has_an_exit_code_of_its_kind() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FlowaiError)]
    assert all(kind.exit_code is not ExitCode.BUG for kind in kinds if kind is not FlowaiError)


def test_the_tree_in_the_docstring_names_every_class_and_its_code() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, FlowaiError):
            line = next(line for line in (errors.__doc__ or "").splitlines() if f"{kind.__name__} " in line)
            assert f" {int(kind.exit_code)} " in line


def test_an_error_reads_as_place_then_fact() -> None:
    error = RegistryError("found `x`", place=Place(file="registry.yaml", line=3, key="models.a"))
    assert str(error) == "registry.yaml:3: models.a: found `x`"


def test_suggestions_name_the_nearest_first() -> None:
    assert expected_one_of(["gpt-4o", "haiku"], found="gpt4o") == "did you mean `gpt-4o`? there are: `gpt-4o`, `haiku`"
    assert expected_one_of([]) == "there are none"
    assert expected_one_of(map(str, range(20))).endswith("and 8 more")
