"""Choices of scrubbing: kinds, regions, languages, texts that stay, sources of names."""

from __future__ import annotations

import importlib.util
from typing import Any, get_args

import pytest

from flowai.errors import UsageError
from flowai.finetune.session import PrivacyChoices
from flowai.privacy.detector import Detector
from flowai.privacy.options import NAME_SOURCES, PrivacyOptions
from flowai.privacy.scrubber import Scrubber
from flowai.privacy.spans import EntityType
from flowai.registry.policies import NameSource, PrivacyPolicy, PrivateKind

TEXT = "Anna Lovelace, ada@doe.org, 4111 1111 1111 1111, 0171 234 5678, 12 Baker Street"
A_KEY = "sk-ant-" + "x1" * 12


def kinds(text: str, **chosen: Any) -> set[str]:
    return {str(span.kind) for span in Detector(options=PrivacyOptions(**chosen)).find(text)}


def test_only_chosen_kinds_are_found_and_every_secret() -> None:
    assert kinds(f"{TEXT} {A_KEY}", kinds=("EMAIL", "card")) == {"EMAIL", "CARD", "SECRET"}
    assert kinds(TEXT) == {"PERSON", "EMAIL", "CARD", "PHONE", "ADDRESS"}


def test_regions_choose_the_plans_of_phone_numbers() -> None:
    assert kinds("it was 0171 234 5678.", regions=("DE",)) == {"PHONE"}
    assert kinds("it was 0171 234 5678.", regions=("US",)) == set()


def test_languages_choose_the_rules_of_scripts() -> None:
    text = "我叫王小明\uff0c住在北京市朝阳区建国路88号"
    assert kinds(text, languages=("zh",)) == {"PERSON", "ADDRESS"}
    assert kinds(text, languages=("de",)) == set()


def test_allowed_texts_stay_whatever_their_case() -> None:
    text = "Ada Lovelace met Ada Byron; ADA LOVELACE wrote to ada@doe.org"
    done = Scrubber(
        b"a key of sixteen bytes and more", options=PrivacyOptions(allow=("ada  lovelace", "ada@doe.org"))
    ).text(text)
    assert "Ada Lovelace" in done.value
    assert "ADA LOVELACE wrote to ada@doe.org" in done.value
    assert "Byron" not in done.value


def test_an_allowed_text_does_not_hide_a_longer_name_or_a_secret() -> None:
    assert kinds("Ada Lovelace Smith", allow=("Ada Lovelace",)) == {"PERSON"}
    assert kinds(A_KEY, allow=(A_KEY,)) == {"SECRET"}


def test_a_minimum_score_drops_unsure_findings() -> None:
    assert kinds("Olga's account, ada@doe.org", min_score=0.9) == {"EMAIL"}


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"kinds": ("EMALL",)}, "no kind of private data `EMALL`"),
        ({"kinds": ("SECRET",)}, "no kind of private data `SECRET`"),
        ({"names": "bert"}, "no source of names `bert`"),
        ({"languages": ("german",)}, "no language `german`"),
        ({"min_score": 2}, "minimum score 2"),
    ],
)
def test_a_wrong_choice_is_an_error_with_a_hint(chosen: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as failure:
        PrivacyOptions(**chosen)
    assert failure.value.hint


@pytest.mark.skipif(importlib.util.find_spec("spacy") is not None, reason="spaCy is installed")
def test_without_spacy_the_error_names_the_package() -> None:
    with pytest.raises(UsageError, match="spaCy is not installed"):
        PrivacyOptions(names="spacy").recognizers()


def test_rules_load_no_model() -> None:
    assert PrivacyOptions(names="rules").recognizers() == ()


def test_choices_of_the_command_win_over_the_registry_and_allowed_texts_add_up() -> None:
    policy = PrivacyPolicy(kinds=("EMAIL",), regions=("DE",), allow=("Acme",), names="rules")
    options = PrivacyChoices(kinds=("PHONE",), allow=("Ada",)).options(policy)
    assert (options.kinds, options.regions, options.allow) == (("PHONE",), ("DE",), ("Acme", "Ada"))


def test_a_probability_outside_of_0_and_1_is_an_error() -> None:
    with pytest.raises(UsageError, match="--toxicity-from"):
        PrivacyChoices(toxicity=7).options(PrivacyPolicy())


def test_the_registry_knows_the_same_kinds_and_sources() -> None:
    assert set(get_args(PrivateKind)) == {str(kind) for kind in EntityType} - {"SECRET"}
    assert set(get_args(NameSource)) == set(NAME_SOURCES)
