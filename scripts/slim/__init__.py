"""Leaving the GPU code that a target can never run out of openly licensed wheels: `wheel` around `elf`.

`elf` needs the standard library alone, so that it runs where a GPU is; `wheel` has dependencies.
"""
