"""Fixtures that several rooms' tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public data beside the checkout; a test that needs it skips visibly where it is absent."""
    for parent in Path(__file__).resolve().parents:
        data = parent.parent / "shared" / "data"
        if data.is_dir():
            return data
    pytest.skip("public test data (shared/data beside the checkout) is not here")
