"""The project that most tests of the gateway stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.gateway_projects import Sample, sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Sample]:
    with sample(tmp_path) as made:
        yield made
