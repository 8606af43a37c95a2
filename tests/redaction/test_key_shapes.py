"""Forms of keys: invented keys of every form are found, what only looks like them is not."""

from __future__ import annotations

import base64
import random
import uuid
import zlib

import pytest

from flowai.redaction import SECRET_PATTERNS, Redactor, SecretPattern
from flowai.redaction.key_shapes import KEY_SHAPES
from flowai.redaction.redactor import entropy, has_checksum

REDACTOR = Redactor()
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def invented_key(shape: SecretPattern, rng: random.Random) -> str:
    """Return the shape's example with other random characters."""
    key = shape.example
    while "…" in key:
        key = key.replace("…", "".join(rng.choices(ALPHABET, k=30)) + "7", 1)
    while "¤" in key:
        key = key.replace("¤", f"{rng.getrandbits(64):016x}", 1)
    return key


@pytest.mark.parametrize("shape", KEY_SHAPES, ids=lambda shape: f"{shape.name}-{shape.provider}")
def test_invented_keys_are_found(shape: SecretPattern) -> None:
    rng = random.Random(shape.provider)  # noqa: S311 - repeatable
    keys = [invented_key(shape, rng) for _ in range(20)]
    assert sum("[REDACTED:" in REDACTOR.text(f"use {key} now") for key in keys) >= 19


def test_the_table_has_many_forms_with_their_source() -> None:
    assert len({(shape.name, shape.provider) for shape in SECRET_PATTERNS}) >= 100
    assert len({shape.name for shape in SECRET_PATTERNS}) >= 90
    assert all(shape.source for shape in KEY_SHAPES)


def look_alikes() -> list[str]:
    """Return 700 texts without a secret: hashes, UUIDs, placeholders, lock files, images, words."""
    rng = random.Random(16)  # noqa: S311 - repeatable
    texts: list[str] = []
    for _ in range(70):
        hexes = f"{rng.getrandbits(512):0128x}"
        picture = base64.b64encode(bytes(rng.getrandbits(8) for _ in range(90))).decode()
        prefix = rng.choice([shape for shape in KEY_SHAPES if shape.is_key]).hints[0]
        texts += [
            f"commit {hexes[:40]}",
            f"sha256:{hexes[:64]}",
            f"id {uuid.UUID(int=rng.getrandbits(128))}",
            f'"integrity": "sha512-{base64.b64encode(bytes.fromhex(hexes)).decode()}"',
            f"https://registry.npmjs.org/a/-/a-1.2.3.tgz#{hexes[:40]}",
            f"data:image/png;base64,{picture}",
            f"{prefix}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            f"{prefix}your_key_here",
            f"etag W/{hexes[:32]} max-age=31536000",
            f"go.sum h1:{base64.b64encode(bytes.fromhex(hexes[:64])).decode()}",
        ]
    return texts


def test_look_alikes_are_left_alone() -> None:
    texts = look_alikes()
    assert len(texts) == 700
    changed = [text for text in texts if REDACTOR.text(text) != text]
    assert len(changed) <= 5, changed[:10]


def test_entropy_tells_random_text_from_placeholders() -> None:
    assert entropy("x" * 20) == 0
    assert entropy("your-key-here") > entropy("xxxx-xxxx")
    assert entropy("4fGh7Jk2Lm9Np3Qr6St8Vw5Xy1Zb0Cd") > 4.5


def test_a_checksum_is_checked() -> None:
    body = "a" * 30
    value, check = zlib.crc32(body.encode()), ""
    while value:
        value, digit = divmod(value, 62)
        check = ALPHABET[digit] + check
    key = f"npm_{body}{check.rjust(6, '0')}"
    assert has_checksum(key)
    assert not has_checksum(key[:-1] + ("0" if key[-1] != "0" else "1"))


def test_the_name_of_a_service_betrays_a_key_without_prefix() -> None:
    assert REDACTOR.text("datadog app: 0a1b2c3d4e5f60718293a4b5c6d7e8f9") == "datadog app: [REDACTED:vendor]"
    assert REDACTOR.text("twitter: see-the-documentation-page") == "twitter: see-the-documentation-page"
