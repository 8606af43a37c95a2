"""Agreement of two people, held against statsmodels."""

from __future__ import annotations

from collections import Counter

import numpy as np  # noqa: TID251 - the oracle wants a table
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.statistics import cohen_kappa

WORDS = ("accept", "edit", "reject")


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)), max_size=60))
def test_kappa_is_statsmodels_kappa(words: list[tuple[str, str]]) -> None:
    from statsmodels.stats.inter_rater import cohens_kappa

    found = cohen_kappa(words)
    counts = Counter(words)
    table = np.array([[counts[one, other] for other in WORDS] for one in WORDS])
    assert found.rated_by_both_count == table.sum()
    assert found.agreed_count == np.trace(table)
    if found.kappa is not None:
        assert found.kappa == pytest.approx(cohens_kappa(table, return_results=False), abs=1e-12)
        assert -1 <= found.kappa <= 1


def test_the_example_of_the_textbooks() -> None:
    words = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    found = cohen_kappa(words)
    assert found.agreed_count == 35
    assert found.rated_by_both_count == 50
    assert found.kappa == pytest.approx(0.4)


@pytest.mark.parametrize("words", [[], [("accept", "accept")] * 7])
def test_where_chance_explains_it_all_there_is_no_kappa(words: list[tuple[str, str]]) -> None:
    found = cohen_kappa(words)
    assert found.kappa is None
    assert found.agreed_count == found.rated_by_both_count == len(words)
