from __future__ import annotations

from scripts.smoke.models.tokenizer import BOS_ID, EOS_ID, VOCABULARY, byte_alphabet, tokenizer, tokenizer_config


def test_byte_alphabet_is_the_one_that_byte_level_tokenizers_use() -> None:
    alphabet = byte_alphabet()
    assert len(set(alphabet)) == 256
    assert [alphabet[ord(byte)] for byte in " A\n"] == ["\u0120", "A", "\u010a"]
    assert alphabet[0] == "\u0100" and alphabet[0xAD] == "\u0143"


def test_each_byte_is_the_token_of_its_own_value() -> None:
    vocabulary = tokenizer()["model"]["vocab"]
    assert [vocabulary[character] for character in byte_alphabet()] == list(range(256))
    assert len(vocabulary) == VOCABULARY


def test_special_tokens_have_the_ids_that_the_vocabulary_gives_them() -> None:
    made = tokenizer()
    ids = {token["content"]: token["id"] for token in made["added_tokens"]}
    assert ids == {"<s>": BOS_ID, "</s>": EOS_ID}
    assert all(made["model"]["vocab"][content] == number for content, number in ids.items())


def test_a_chat_begins_with_the_beginning_of_a_text() -> None:
    settings = tokenizer_config(2048)
    assert settings["chat_template"].startswith("{{ bos_token }}")
    assert settings["model_max_length"] == 2048
