"""The tokenizer that every model has: a token is a byte, under the byte's own value, after a leading `<s>`.

A model of a larger vocabulary has further tokens, which no text is made into, and each of which is a text of its own.
They also stand in the place of bytes from 0x80 on, none of which is a text by itself: random weights may say one alone.
"""

from __future__ import annotations

from typing import Any

BOS, EOS = "<s>", "</s>"
BOS_ID, EOS_ID = 256, 257
VOCABULARY = 258

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def byte_alphabet() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary: itself if printable, else one past U+00FF."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def tokenizer(vocabulary: int = VOCABULARY) -> dict[str, Any]:
    """tokenizer.json of so many tokens: byte-pair encoding without a single merge."""
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    known = 0x100 if vocabulary == VOCABULARY else 0x80
    alphabet = {character: byte for byte, character in enumerate(byte_alphabet()[:known])}
    further = {f"t{token}": token for token in (*range(known, 0x100), *range(VOCABULARY, vocabulary))}
    start = {"SpecialToken": {"id": BOS, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "version": "1.0",
        "added_tokens": [{"id": BOS_ID, "content": BOS, **special}, {"id": EOS_ID, "content": EOS, **special}],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, first],
            "pair": [start, first, second],
            "special_tokens": {BOS: {"id": BOS, "ids": [BOS_ID], "tokens": [BOS]}},
        },
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "vocab": {**alphabet, BOS: BOS_ID, EOS: EOS_ID, **further},
            "merges": [],
        },
    }


def tokenizer_config(positions: int) -> dict[str, Any]:
    """tokenizer_config.json for a model of so many positions: a chat is its messages line by line."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": positions,
        "bos_token": BOS,
        "eos_token": EOS,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
