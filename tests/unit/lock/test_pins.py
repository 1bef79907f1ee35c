from __future__ import annotations

import pytest

from scripts.lock.pins import find_hashes, find_revisions

ONE, TWO, SHA = "1" * 40, "2" * 40, "a1" * 32
LIB = "https://example.com/Group/lib"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"FetchContent_Declare(lib\n  GIT_REPOSITORY {LIB}.git\n  GIT_TAG {ONE}\n  GIT_PROGRESS TRUE)", {ONE}),
        (f'GIT_REPOSITORY "{LIB}"\nGIT_TAG "v1.0"\n)', {"v1.0"}),
        (f"GIT_REPOSITORY https://example.com/group/LIB.git/ GIT_TAG {ONE}", {ONE}),
        # --- by variables
        (f'set(LIB_TAG "{ONE}")\nGIT_REPOSITORY {LIB} GIT_TAG ${{LIB_TAG}}', {ONE}),
        (f'  SET (_REPO "{LIB}.git")\nset(_TAG v2)\nGIT_REPOSITORY "${{_REPO}}"\nGIT_TAG "${{_TAG}}"', {"v2"}),
        ("set(V 1.2)\nset(T v${V})\nGIT_REPOSITORY https://example.com/${G}/lib GIT_TAG ${T}\nset(G Group)", {"v1.2"}),
        (f'set(X "${{X}}y")\nGIT_REPOSITORY {LIB} GIT_TAG ${{X}}', set()),
        (f"GIT_REPOSITORY {LIB} GIT_TAG ${{NOWHERE}}", set()),
        # --- several
        (f"if(A)\nset(T {ONE})\nelse()\nset(T {TWO})\nendif()\nGIT_REPOSITORY {LIB} GIT_TAG ${{T}}", {ONE, TWO}),
        (f"GIT_REPOSITORY {LIB}2 GIT_TAG {ONE}\nGIT_REPOSITORY {LIB} GIT_TAG {TWO}", {TWO}),
        # --- comments
        (f"GIT_REPOSITORY {LIB}\n# keep in step with the line above\nGIT_TAG {ONE}", {ONE}),
        (f"GIT_REPOSITORY {LIB}  # theirs\nGIT_TAG {ONE} # of May", {ONE}),
        (f"# GIT_REPOSITORY {LIB} GIT_TAG {ONE}", set()),
        (f"# set(T {ONE})\nset(T {TWO})\nGIT_REPOSITORY {LIB} GIT_TAG ${{T}}", {TWO}),
        ("", set()),
    ],
)
def test_revisions_are_found_as_cmake_would(text: str, found: set[str]) -> None:
    assert find_revisions(text, LIB) == found
    assert find_revisions(text, f"{LIB}.git") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"FetchContent_Declare(a URL {LIB}/v1.tar.gz\n  URL_HASH SHA256={SHA})", {SHA}),
        (f'set(REV v1)\nURL "{LIB}/${{REV}}.tar.gz"\nURL_HASH "SHA256={SHA.upper()}"', {SHA}),
        (f'set(H "{SHA}")\nURL {LIB}/v1.tar.gz URL_HASH SHA256=${{H}}', {SHA}),
        (f"URL {LIB}/v2.tar.gz URL_HASH SHA256={SHA}", set()),
        (f"URL {LIB}/v1.tar.gz URL_HASH MD5={SHA}", set()),
        (f"URL {LIB}/v1.tar.gz\nURL {LIB}/other URL_HASH SHA256={SHA}", set()),
    ],
)
def test_the_hash_of_an_archive_is_found_by_its_address(text: str, found: set[str]) -> None:
    assert find_hashes(text, f"{LIB}/v1.tar.gz") == found
