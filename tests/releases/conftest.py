"""Release commands read these variables; a person who runs the tests may have set them."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLOWAI_ENV", "FLOWAI_REGISTRY", "AI_MODEL_VERSION"):
        monkeypatch.delenv(name, raising=False)
