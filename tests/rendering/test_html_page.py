"""Elements of HTML pages: hostile text stays text, the policy allows only our styles."""

from __future__ import annotations

from flowai.rendering.html_page import joined, listing, page, section, table, tag, trusted

HOSTILE = "</td></style><script>alert(1)</script>\x1b[2J\x00\ud800\u202e\"'&"
SAFE = "&lt;/td&gt;&lt;/style&gt;&lt;script&gt;alert(1)&lt;/script&gt;\ufffd[2J\ufffd\ufffd\ufffd&#34;&#39;&amp;"


def test_texts_and_attributes_are_escaped() -> None:
    assert tag("p", HOSTILE) == f"<p>{SAFE}</p>\n"
    assert tag("a", HOSTILE, kind=HOSTILE, href=HOSTILE) == f'<a class="{SAFE}" href="{SAFE}">{SAFE}</a>'
    assert joined((HOSTILE, trusted("<br>"))) == f"{SAFE}<br>"
    assert listing([HOSTILE]) == f"<ul><li>{SAFE}</li>\n</ul>\n"


def test_a_table_escapes_cells_and_aligns_numbers() -> None:
    shown = table(("name", HOSTILE), [(HOSTILE, "1")], numeric=(HOSTILE,))
    assert f'<th>name</th>\n<th class="number">{SAFE}</th>' in shown
    assert f'<td>{SAFE}</td>\n<td class="number">1</td>' in shown
    assert table(("name",), []) == section(HOSTILE, table(("name",), [])) == ""


def test_a_page_loads_and_runs_nothing() -> None:
    shown = page(HOSTILE, [tag("p", HOSTILE)])
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    assert policy in shown
    assert f"<title>{SAFE}</title>" in shown
    assert shown.count("</style>") == 1
    assert "<script" not in shown
    shown.encode()
