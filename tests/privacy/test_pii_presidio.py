"""Presidio as a further recognizer; skipped if it is not installed."""

from __future__ import annotations

import pytest

from flowai.errors import UsageError
from flowai.privacy.presidio import PresidioFinder, is_presidio_installed
from flowai.privacy.scrubber import Scrubber
from flowai.privacy.spans import EntityType

needs_presidio = pytest.mark.skipif(not is_presidio_installed(), reason="presidio-analyzer is not installed")


@needs_presidio
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_presidio_findings_join_our_own() -> None:
    finder = PresidioFinder()
    text = "the card 4111111111111111 of 192.168.1.7"
    assert {span.kind for span in finder.find(text)} == {EntityType.CARD, EntityType.IP}
    assert list(finder.find("mail ann@doe.org")) == [], "it would ask the network for a list of domains"
    done = Scrubber(b"a key of sixteen bytes and more", recognizers=[finder]).text(text)
    assert done.findings == {"CARD": 1, "IP": 1}


@pytest.mark.skipif(is_presidio_installed(), reason="presidio-analyzer is installed")
def test_without_presidio_the_error_names_the_package() -> None:
    with pytest.raises(UsageError, match="not installed"):
        PresidioFinder()
