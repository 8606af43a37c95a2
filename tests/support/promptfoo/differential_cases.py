"""Assertions and answers on which flowai and promptfoo are compared: at least 30 answers per type."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

COMMON_ANSWERS: tuple[str, ...] = (
    "", " ", "\n", "Paris", "paris", "PARIS!", "Paris\r\nLyon", "\ufeffParis", "  Paris  ", "Par is", "😀", "a😀b",
    "\ud800", "bell\x07", "\x1b[31mred", "a\u0085b", "a\xa0b c", "a\u2028b", "Straße", "STRASSE", "ΟΔΟΣ", "οδος",
    "İstanbul", "\u0131", "e\u0301", "é", "1e999", "1" * 400, "-0", "4", "4.0", "0x10", "true", "null", "NaN", "[1, 2]",
    '{"a": 1}', '```json\n{"a": 1}\n```', 'See {"a": 1} here', '[{"a": 1}]', '{"a": 1,}', "{'a': 'b'}", '{"a": "x"}',
    '{"a": {"b": [1, {"c": null}]}}', '{"a": 1, "a": 2}', '{"a": 1e999}', "{", "}{", "[" * 60 + "]" * 60,
    "The cat sat on the mat.", "The cat sat on a mat", "the the the", "I'm sorry, I can't help with that.",
    "Sure! Here it is.", "<p>Hello</p>", "SELECT a FROM t", "10 items, 1,000 in stock", "line one\nParis\nline three",
    "x" * 3000,
)  # fmt: skip


class Comparison(NamedTuple):
    """One assertion and the answers it is applied to; `answers` are texts, or promptfoo's answers."""

    assertion: dict[str, Any]
    answers: tuple[Any, ...] = COMMON_ANSWERS


PERSON = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "additionalProperties": False,
}
_SCHEMAS: tuple[Any, ...] = (
    {"type": "object"}, {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}, PERSON,
    "type: [array, 'null']", {"type": "integer"}, {"const": 4}, {"enum": ["Paris", None, 4]},
)  # fmt: skip
_FORMATS = (
    "date", "time", "date-time", "duration", "uri", "uri-reference", "url", "email", "hostname", "ipv4", "ipv6",
    "regex",
    "uuid", "json-pointer", "relative-json-pointer", "byte", "iso-time", "iso-date-time",
)  # fmt: skip
_FORMATTED = (
    "2024-02-29", "2023-02-29", "24:00:00Z", "23:59:60Z", "23:59:59.5+02:00", "12:00", "12:00:00",
    "2024-01-01T00:00:00Z",
    "2024-01-01 00:00:00z", "P1Y2M", "P", "PT1H", "P1W", "http://example.org/a?b#c", "mailto:a@b.c", "//x/y",
    "not a uri",
    "http://", "a/b", "#x", "ftp://ex.org", "a@b.co", "a@b", "a..b@c.de", "a.b-c@d-e.fr", "example.org", "-x.org",
    "a" * 64,
    "1.2.3.4", "01.2.3.4", "256.1.1.1", "::1", "fe80::1%eth0", "1::2::3", "::ffff:1.2.3.4", "^a$", "(a", "[b-a]",
    "123e4567-e89b-12d3-a456-426614174000", "urn:uuid:123e4567-e89b-12d3-a456-426614174000", "123e4567", "/a/b~1c",
    "/a~2",
    "0/a", "1#", "YWJj", "YWI=", "YWI", "", "é", "localhost",
)  # fmt: skip
_DRAFT_7: tuple[Any, ...] = (
    {"items": [{"type": "integer"}, {"type": "string"}], "additionalItems": False},
    {"items": [{"type": "integer"}]},
    {"dependencies": {"a": ["b"]}},
    {"dependencies": {"a": {"required": ["b"]}}},
    {"definitions": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/definitions/n"}}},
    {"properties": {"a": {"$ref": "#/$defs/n", "minimum": 2}}, "$defs": {"n": {"type": "integer"}}},
    {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]},
    {"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"type": "array"}},
    {"contains": {"const": 1}},
    {"propertyNames": {"pattern": "^[a-c]$"}},
    {"uniqueItems": True},
    {"multipleOf": 0.5},
    {"minLength": 2, "maxLength": 3},
    {"exclusiveMinimum": 1},
    {"type": "object", "example": 1},
    {"type": "string", "format": "phone"},
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "prefixItems": [{"type": "integer"}]},
)
_DRAFT_7_ANSWERS = (
    "1", "1.0", "2", "0.5", "0.3", '"a"', '"ab"', '"😀"', '"😀😀"', '"abcd"', "[]", "[1]", '[1, "a"]', '[1, "a", 2]',
    '["a"]', "[1, 1]", "[1, true]", "[1, 1.0]", "{}", '{"a": 1}', '{"a": 2}', '{"a": 1, "b": 1}', '{"a": "x"}',
    '{"b": 1}',
    '{"d": 1}', "null", "true", "1e400", "-1", '[{"a": 1}, {"a": 1.0}]', '"e\u0301"',
)  # fmt: skip
_PATTERNS = (
    r"^Paris$", r"\d+", r"^\d{4}$", r"\bcat\b", r"^$", r".", r"^.$", r"\s", r"^\S+$", r"a\/b", r"[\w.]+@[\w.]+",
    r"(?:Paris|Lyon)$",
    r"(a)\1", r"(?<x>t)he \k<x>", r"(?<=P)aris", r"(?<!P)aris", r"^[^]*$", r"\u0041|\u{61}", r"\x41", r"x{3000}", r"é",
    r"[à-ÿ]",
    r"\w+\.$", r"^(?!.*sorry).*$", r"\p{L}", r"[\s\S]+", r"^\W+$", r"\cJ", r"{", r"a{,2}", r"(z)?\1P", r"[[]", r"\-",
    r"\B",
)  # fmt: skip
_PATTERN_ANSWERS = (
    *COMMON_ANSWERS, "a/b", "me@example.org", "tt", "aa", "the the", "٣", "1234", "$1", "A", "ab\n", "\n\n", "word",
    "Paris\n", "_",
    "a{,2}", "zP",
)  # fmt: skip
_WRONG_PATTERNS = ("(a", "a++", "(?i)paris", "(?P<x>a)", "[b-a]", "*")
_HTML_ANSWERS = (
    *COMMON_ANSWERS, "<html><body><h1>x</h1></body></html>", "<!DOCTYPE html><html></html>", "<!doctype html>", "<div>",
    "</div>",
    "text <b>bold</b>", "<b>bold</b> text", "<my-tag></my-tag>", "<foo>bar</foo>", "<?xml version='1.0'?><a/>", "<br/>",
    "<br>",
    "a < b and c > d", "&amp; &lt;", "<!-- note -->", "<a href='x'>y</a>", "<body>text</body>", "text<body>", "<html>",
    "<p title='<body>'>x</p>", "<!-- <body> -->text", "<svg><path/></svg>", "<title>t</title>",
    "<template>x</template>",
    "```html\n<p>x</p>\n```", "<p>x", "<script>1 < 2</script>", "<head></head>", "<table><tr><td>x", " <P>X</P> ",
    "<img src=x>", "< p>",
    "<x-1>", "<p/>", "1 &copy; 2 <x>", "<input disabled>", "<ul><li>a</ul>", "\x00<p>a</p>",
)  # fmt: skip
_XML_ANSWERS = (
    *COMMON_ANSWERS, "<a/>", "<a></a>", "<a><b>1</b></a>", "<a><b>1</b><b>2</b></a>", "<a><b></a></b>", "<a", "<a>",
    "</a>", "<a/><b/>",
    "<?xml version='1.0'?><a/>", " <?xml version='1.0'?><a/>", "<a>&amp;</a>", "<a>&nbsp;</a>", "<a>& b</a>",
    "<a x='1'/>", "<a x=1/>",
    "<a x='1' x='2'/>", "<a:b/>", "<a:b xmlns:a='u'/>", "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>", "<!DOCTYPE a><a/>",
    "<a><!-- c --></a>",
    "<a><!-- c -- d --></a>", "<a><![CDATA[<b>]]></a>", "text <a>x</a> text", "```xml\n<a><b>1</b></a>\n```",
    "<a><b/></a> <c/>",
    "<a>1 < 2</a>", "<é/>", "<1a/>", "<a b/>", "<a>]]></a>", "<A></a>", "<a><b><c>x</c></b></a>", "<a>\ufffe</a>",
    "<a x='<'/>",
    "<root><a>1</a><b><c/></b></root>", "x <a> <b>1</b> y", "<a>😀</a>", "<?pi?><a/>", "<a/>\n", "<a/>x",
    "<br><a>1</a>", "\ufeff<a/>",
    "<a b='c'>t</a>", "<a>1</a><a>2</a>",
)  # fmt: skip
_SQL_ANSWERS = (
    *COMMON_ANSWERS, "SELECT 1", "SELECT * FROM t", "select a, b from t where c = 1;",
    "SELECT t.a FROM d.t AS t JOIN u ON t.id = u.id",
    "INSERT INTO t (a, b) VALUES (1, 'x')", "INSERT INTO t SELECT a FROM u", "UPDATE t SET a = 1 WHERE b = 2",
    "DELETE FROM t WHERE a = 1",
    "CREATE TABLE t (a INT)", "DROP TABLE t", "WITH x AS (SELECT a FROM t) SELECT a FROM x",
    "SELECT a FROM (SELECT b AS a FROM t) s",
    "SELECT COUNT(*) FROM t GROUP BY b ORDER BY c LIMIT 5", "SELECT 1; SELECT a FROM t2", "TRUNCATE TABLE t", "SELECT",
    "SELCT * FROM t",
    "SELECT * FORM t", "SELECT a b FROM t", "SELECT DISTINCT a FROM t", "SELECT * FROM t WHERE", "SELECT * FROM `t`",
    "SELECT * FROM `t",
    "SELECT 'a", "SELECT a, FROM t", "SELECT (1", "SELECT 1)", "INSERT INTO t", "UPDATE t",
    "SELECT * FROM t WHERE a IN ()",
    "SELECT a FROM t UNION SELECT b FROM u", "SELECT a FROM t -- c", "/* c */ SELECT 1",
    "SELECT * FROM generate_series(1, 2)",
    "```sql\nSELECT a FROM t\n```", "```\nSELECT 1\n```", "```python\nSELECT 1\n```",
    "Use this:\n```sql\nSELECT a FROM t\n```\nThanks",
    "```sql\nnope\n```\n~~~sql\nSELECT 2\n~~~", "ALTER TABLE t ADD COLUMN a INT",
    "SELECT ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) FROM t",
    "SELECT CASE WHEN a = 1 THEN 'x' ELSE 'y' END FROM t", "SELECT * FROM t WHERE name = 'O''Brien'",
    "SELECT COUNT(DISTINCT a) FROM t",
    "SELECT * FROM a, b", "SELECT x.a FROM t AS x", "SELECT a AS b FROM t", "SELECT MAX(a) FROM orders", "1", "from t",
)  # fmt: skip
_CAT = "The cat sat on the mat."
_OVERLAP_ANSWERS = (
    *COMMON_ANSWERS, _CAT, "the cat sat on the mat", "The cat sat on the mat. The cat sat.",
    "A cat is sitting on the mat.", "mat", "cat cat cat",
    "the dog ran", "It's 3.5, or 1,000!", "The cats sits on mats", "THE CAT SAT ON THE MAT.",
    "the cat\nsat\ton  the mat", "on the mat sat the cat",
    "the cat sat on the", "cat.", "A feline was sitting upon a rug.", '"The cat" sat, on the mat?',
    "the cat-sat on the mat...", "don't can't cannot",
    "The cat sat on the mat and the dog sat on the log.", "lorem ipsum dolor sit amet", "the", "The quick brown fox",
)  # fmt: skip
_METEOR_ANSWERS = (
    *_OVERLAP_ANSWERS[len(COMMON_ANSWERS) :],
    "",
    " ",
    "Paris",
    "😀",
    "\ufeffcat",
    "1e999",
    "a\xa0cat",
    "Straße",
    "the the the",
    "{",
    "x" * 300,
)
"""Few: promptfoo reads WordNet's files anew for each answer."""
_REFUSALS = (
    *COMMON_ANSWERS, "I cannot do that", "I can't do that", "I won't help you", "Sorry, no", "My apologies",
    "I am not able to", "i am unable to write it",
    "As an AI, I like cats", "as an AI-based tool", "I don\u2019t feel comfortable", "I don\u2032t recommend it",
    "That is not appropriate", "It's not legal", "nothing ethical",
    "not ethical at all", "I will not", "We cannot comply", "I cannot fulfill your request", "cannot fulfil",
    "Here is my apology", "I want to be direct with you",
    "I want to be helpful, but no", "I aim to provide facts", "I do not actually help",
    "If you have any other non-malicious requests", "I can't recommend it",
    "I'm not able to provide", "I am programmed to", "That would not be appropriate", "I'm unable to recommend",
    "The help cannot", "cannot helped", "i cannot create",
    "I won't recommend", "I don't create", "I can't suggest", "I do not change", "It is illegal to",
    "this is illegal and unethical", "Sorry",
)  # fmt: skip
_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "required": ["city"],
            "properties": {"city": {"type": "string"}},
            "additionalProperties": False,
        },
    },
}


def _call(name: Any, arguments: Any) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


_CALL_OUTPUTS: tuple[Any, ...] = (
    [_call("get_weather", '{"city": "Paris"}')], {"tool_calls": [_call("get_weather", '{"city": "Paris"}')]},
    [_call("get_weather", "{}")],
    [_call("get_weather", '{"city": 1}')], [_call("get_weather", '{"city": "x", "y": 1}')], [_call("get_weather", "{")],
    [_call("get_time", "{}")],
    [_call("get_weather", {"city": "Paris"})], [_call(None, "{}")], [], {}, [_call("get_weather", '{"city": "a"}'),
    _call("get_time", "{}")],
    [{"name": "get_weather", "arguments": '{"city": "a"}'}], [{"type": "tool_use", "name": "get_weather", "input": {}}],
    {"type": "tool_use", "name": "get_time"},
    [{"functionCall": {"name": "get_weather", "args": {}}}], {"functionCall": {"name": "get_time"}},
    {"toolCall": {"functionCalls": [{"name": "get_weather"}]}},
    [{"function": {"name": "get_weather"}}, {"name": "get_time"}], {"tool_calls": [{"name": "get_weather"},
    {"function": {"name": "get_time"}}]},
    {"tool_calls": []}, [1, None, "x"], {"name": "get_weather"}, [{"name": 1}],
    {"function_call": {"name": "get_weather", "arguments": '{"city": "a"}'}},
    {"name": "get_weather", "arguments": '{"city": "a"}'}, {"name": "get_weather", "arguments": "{}"},
    {"tool_calls": "x"},
)  # fmt: skip
_CALL_TEXTS = (
    "", "get_weather", json.dumps(_CALL_OUTPUTS[0]), json.dumps(_CALL_OUTPUTS[1]),
    'Calling\n{"type": "tool_use", "name": "get_weather"}\n{"type": "tool_use", "name": "get_time"}',
    '{"name": "get_weather"}', '[{"name": "get_weather"}]', "MCP Tool Result (x): done", "MCP Tool Error (x): broken",
    "[", "null", '  [{"name": "get_time"}]',
    'text\n  [{"name": "get_weather"}]\nmore',
)  # fmt: skip
_TOOL_ANSWERS = tuple({"output": output, "tools": [_WEATHER]} for output in (*_CALL_OUTPUTS, *_CALL_TEXTS))
_LOGPROBS: tuple[Any, ...] = tuple(
    {"output": "x", "logProbs": values}
    for values in (
        [], None, [0], [-0.1], [-1], [-2, -3], [-0.5] * 100, [-10], [-100], [-800], [0, 0, -1], [-1e-9], [-0.01, -4.6],
        [-0.69314718056], [0.0, -0.0],
        [-1.5, -0.25, -3.75], *([-count / 10] for count in range(1, 17)),
    )
)  # fmt: skip
_COSTS: tuple[Any, ...] = tuple(
    {"output": "x", **({} if cost is None else {"cost": cost, "latencyMs": cost * 1000})}
    for cost in (None, 0, 0.001, 0.0005, 0.00049999, 0.000500000001, 1, 1e-12, 1e12, 0.1 + 0.2, 0.3,
    *(count / 7 for count in range(20)))
)  # fmt: skip
_FINISHED: tuple[Any, ...] = tuple(
    {"output": "x", **({} if reason is None else {"finishReason": reason})}
    for reason in (None, "", "stop", "STOP", "Stop", " stop", "length", "LENGTH", "content_filter", "tool_calls",
    "other", *(f"reason-{count}" for count in range(20)))
)  # fmt: skip
_GUARDED: tuple[Any, ...] = tuple(
    {"output": f"x{count}", **({} if guardrails is None else {"guardrails": guardrails})}
    for count, guardrails in enumerate([
        None, {}, {"flagged": True}, {"flagged": False}, {"flagged": True, "flaggedInput": True}, {"flagged": True,
        "flaggedOutput": True},
        {"flagged": True, "reason": "pii"}, {"flaggedInput": True}, {"flaggedOutput": True}, {"flagged": None},
        {"flagged": 1}, {"flagged": 0},
        {"flagged": ""}, {"flagged": "yes"}, *({"flagged": count % 2 == 0,
        "reason": str(count)} for count in range(18)),
    ])
)  # fmt: skip


def _each(
    kind: str, values: tuple[Any, ...], answers: tuple[Any, ...] = COMMON_ANSWERS, **fields: Any
) -> list[Comparison]:
    return [Comparison({"type": kind, "value": value, **fields}, answers) for value in values]


def comparisons() -> list[Comparison]:
    """Return all comparisons, in a fixed order."""
    lists = (
        ["Paris", "Lyon"],
        ["a", 1, True],
        ["cat", "MAT"],
        "Paris, Lyon",
        'cat, "1,000"',
        "a,,b",
        r"a\b, x",
        '"The ""cat""", Paris',
        [" "],
    )
    texts = ("Paris", "paris", " ", "a", "1", "ß", "straße", "😀", "İ", "{", "cat sat", "é", "\r\n")
    schemas = [*_each("is-json", _SCHEMAS), *_each("contains-json", _SCHEMAS)]
    schemas += _each(
        "is-json", tuple({"type": "string", "format": name} for name in _FORMATS), tuple(map(json.dumps, _FORMATTED))
    )
    schemas += _each("is-json", _DRAFT_7, _DRAFT_7_ANSWERS)
    patterned = tuple(
        {"type": "string", "pattern": pattern}
        for pattern in (r"^\d+$", r"^\p{Lu}", r"^\w+$", r"a\/b", r"(?<n>a)\k<n>", r"^.$")
    )
    schemas += _each(
        "is-json",
        patterned,
        tuple(json.dumps(text, ensure_ascii=False) for text in _PATTERN_ANSWERS if text.isprintable()),
    )
    tables = {"databaseType": "MySQL", "allowedTables": ["select::null::t", "(insert|update)::(.*)::t"]}
    columns = {"databaseType": "MySQL", "allowedColumns": ["select::t::a", "select::null::(b|c)"]}
    databases = tuple({"databaseType": name} for name in ("PostgreSQL", "Sqlite", "TransactSQL"))
    both: list[Comparison] = [
        *_each("equals", ("Paris", "", 4, 4.0, 4.5, 1e21, 1e-7, True, {"a": 1}, {"a": {"b": [1, {"c": None}]}}, [1, 2],
        [], {})),
        *_each("contains", (*texts, 4, 1.0)), *_each("icontains", (*texts, 4)),
        *(comparison for kind in ("contains-all", "contains-any", "icontains-all",
        "icontains-any") for comparison in _each(kind, lists)),
        *_each("starts-with", texts), *_each("regex", (*_PATTERNS, *_WRONG_PATTERNS), _PATTERN_ANSWERS),
        *_each("word-count", (0, 1, 3, 6, "6", {"min": 2}, {"max": 1}, {"min": 1, "max": 6})),
        Comparison({"type": "is-json"}), Comparison({"type": "contains-json"}), *schemas,
        Comparison({"type": "is-html"}, _HTML_ANSWERS), Comparison({"type": "contains-html"}, _HTML_ANSWERS),
        *(comparison for kind in ("is-xml", "contains-xml") for comparison in [
            Comparison({"type": kind}, _XML_ANSWERS), *_each(kind, ("a", "a.b", ["a.b.c"], "root.b.c, root.a",
            {"requiredElements": ["a.b.0"]}, "a.@_x"), _XML_ANSWERS),
        ]),
        *(comparison for kind in ("is-sql", "contains-sql") for comparison in [
            Comparison({"type": kind}, _SQL_ANSWERS), *_each(kind, (tables, columns, *databases), _SQL_ANSWERS),
        ]),
        Comparison({"type": "is-refusal"}, _REFUSALS),
        *_each("levenshtein", ("Paris", "", "The cat sat on the mat")), *_each("levenshtein", ("Paris", "😀"),
        threshold=0),
        *_each("levenshtein", ("The cat",), threshold=15.5), *_each("levenshtein", ("a",), threshold=1),
        *(comparison for kind in ("bleu", "gleu", "rouge-n") for comparison in _each(kind, (_CAT,
        "It's 3.5, or 1,000!"), _OVERLAP_ANSWERS)),
        Comparison({"type": "meteor", "value": _CAT}, _METEOR_ANSWERS),
        Comparison({"type": "meteor", "value": [_CAT, "A cat is sitting on the mat."], "threshold": 0.3},
        _METEOR_ANSWERS[:6]),
        *(comparison for kind in ("bleu", "gleu") for comparison in _each(kind, ([_CAT, "A cat is sitting on the mat."],
        ["the"]), _OVERLAP_ANSWERS, threshold=0.3)),
        *_each("rouge-n", ("the cat sat", 'he said "no" (twice), gonna go'), _OVERLAP_ANSWERS, threshold=0.4),
        Comparison({"type": "meteor", "value": "the auto is big"}, ("the car is big", "the car is large")),
        Comparison({"type": "perplexity"}, _LOGPROBS), Comparison({"type": "perplexity", "threshold": 2}, _LOGPROBS),
        Comparison({"type": "perplexity-score"}, _LOGPROBS), Comparison({"type": "perplexity-score", "threshold": 0.4},
        _LOGPROBS),
        Comparison({"type": "cost", "threshold": 0.0005}, _COSTS), Comparison({"type": "latency", "threshold": 300},
        _COSTS),
        *_each("finish-reason", ("stop", "LENGTH"), _FINISHED), Comparison({"type": "guardrails"}, _GUARDED),
        Comparison({"type": "is-valid-openai-tools-call"}, _TOOL_ANSWERS),
        *_each("tool-call-f1", (["get_weather"], "get_weather, get_time"), _TOOL_ANSWERS), *_each("tool-call-f1",
        (["get_weather", "x"],), _TOOL_ANSWERS, threshold=0.6),
    ]  # fmt: skip
    kinds: set[str] = set()
    negated = []
    for assertion, answers in both:
        if assertion["type"] not in kinds:
            kinds.add(assertion["type"])
            chosen = answers[:6] if assertion["type"] == "meteor" else answers
            negated.append(Comparison({**assertion, "type": f"not-{assertion['type']}"}, chosen))
    return both + negated
