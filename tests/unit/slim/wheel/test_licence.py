from __future__ import annotations

import email

import pytest

from scripts.slim.wheel.licence import judge_licence

MIT = "MIT License\n\nCopyright (c) NVIDIA CORPORATION\n\nPermission is hereby granted, free of charge, to any person"
APACHE = "                     Apache License\n               Version 2.0, January 2004\n"
BSD = "Copyright NVIDIA CORPORATION.\n\nRedistribution and use in source and binary forms, with or without"
EULA = "End User License Agreement\n\nThe Software License Agreement in Chapter 1 governs the use of NVIDIA software."
CUDNN = "LICENSE AGREEMENT FOR NVIDIA SOFTWARE DEVELOPMENT KITS\n\nThis license agreement is a legal agreement"


def judge(*lines: str, **files: str) -> str:
    """Why a wheel of such metadata and licence files is refused; empty where it is not."""
    metadata = email.message_from_string("\n".join(["Metadata-Version: 2.4", "Name: x", "Version: 1", *lines, "", ""]))
    problem = judge_licence(metadata, files)
    return problem.cause if problem else ""


# As the wheels of these names on PyPI say it.
OPEN = {
    "torch 2.10": (["License: BSD-3-Clause"], {"LICENSE": "From PyTorch:\n\nCopyright" + "." * 2000 + EULA}),
    "torch 2.15": (
        ["License-Expression: Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND BSD-2-Clause AND BSL-1.0 AND ISC"],
        {},
    ),
    "vllm": (["License-Expression: Apache-2.0"], {"LICENSE": APACHE}),
    "sgl-kernel": (
        [
            "License: " + APACHE.strip().replace("\n", "\n  "),
            "Classifier: License :: OSI Approved :: Apache Software License",
        ],
        {"LICENSE": APACHE},
    ),
    "triton": (["License: MIT"], {"LICENSE": MIT}),
    "torchvision": (["License: BSD"], {"LICENSE": BSD}),
    "xformers": (["Classifier: License :: OSI Approved :: BSD License"], {"LICENSE": BSD}),
    "flashinfer-cubin": (
        ["License: Apache-2.0", "Classifier: License :: OSI Approved :: Apache Software License"],
        {},
    ),
    "nvidia-cudnn-frontend": (["License: Apache-2.0 AND MIT"], {"LICENSE-MIT.txt": MIT, "LICENSE.txt": APACHE}),
    "only a text": ([], {"LICENSE": MIT}),
    "an unknown word and a text": (["License: UNKNOWN"], {"LICENSE": BSD}),
    "a whole text": (["License: " + MIT.replace("\n", "\n  ")], {}),
    "a choice": (["License-Expression: LicenseRef-Ours OR MIT"], {}),
}
CLOSED = {
    "nvidia-cublas-cu12": (
        ["License-Expression: LicenseRef-NVIDIA-Proprietary"],
        {"License.txt": EULA},
        "`License-Expression: LicenseRef-NVIDIA-Proprietary`; `License.txt` is an agreement with NVIDIA",
    ),
    "nvidia-cuda-runtime-cu12": (
        ["License: LicenseRef-NVIDIA-Proprietary", "Classifier: License :: Other/Proprietary License"],
        {"License.txt": EULA},
        "`Classifier: License :: Other/Proprietary License`",
    ),
    "nvidia-cusparselt-cu12": (["License: NVIDIA Proprietary Software"], {}, "`License: NVIDIA Proprietary Software`"),
    "nvidia-nccl-cu12": (
        ["License-Expression: LicenseRef-NVIDIA-Proprietary"],
        {"License.txt": BSD},
        "LicenseRef-NVIDIA-Proprietary` (although `License.txt` reads as BSD)",
    ),
    "an open word and a closed file": (["License: MIT"], {"EULA.txt": CUDNN}, "`EULA.txt` is an agreement with NVIDIA"),
    "nothing": ([], {}, "does not say which licence"),
    "an unknown text": ([], {"LICENSE": "All rights reserved."}, "does not say which licence"),
    "an unknown name": (["License: Ours"], {"LICENSE": MIT}, "not known to be open: `Ours`"),
    "an unknown reference": (["License-Expression: MIT AND LicenseRef-Ours"], {}, "to be open: `LicenseRef-Ours`"),
    "no expression": (["License-Expression: MIT AND"], {}, "not known to be open: `MIT AND`"),
    "an unclear choice": (["License-Expression: (LicenseRef-A OR MIT) AND ISC"], {}, "`LicenseRef-A`"),
    "not open, though known": (["License-Expression: CC-BY-NC-4.0"], {}, "`CC-BY-NC-4.0`"),
    "a classifier that is none": (["Classifier: License :: Free for non-commercial use"], {}, "does not say"),
}


@pytest.mark.parametrize("name", OPEN)
def test_open_licences_are_known(name: str) -> None:
    lines, files = OPEN[name]
    assert judge(*lines, **files) == ""


@pytest.mark.parametrize("name", CLOSED)
def test_every_other_licence_is_refused_with_its_reason(name: str) -> None:
    lines, files, cause = CLOSED[name]
    assert cause in judge(*lines, **files)


def test_a_refusal_says_what_and_what_next() -> None:
    problem = judge_licence(email.message_from_string("Name: thing\nVersion: 2\n\n"), {})
    assert problem is not None
    assert problem.place == "thing 2"
    assert problem.next_step


@pytest.mark.parametrize(
    "lines",
    [
        ["License-Expression: MIT", "License-Expression: LicenseRef-NVIDIA-Proprietary"],
        ["License-Expression: MIT", "License-Expression: LicenseRef-Ours"],
        ["License-Expression: MIT", "License-Expression:"],
        ["License: MIT", "License: NVIDIA Proprietary Software"],
        ["License: MIT", "License: ours"],
        ["License-Expression: MIT", "License: MIT", "License: Proprietary"],
    ],
)
def test_a_second_field_counts_as_much_as_the_first(lines: list[str]) -> None:
    assert judge(*lines) and judge(*reversed(lines)), "whichever comes first"
    assert not judge(lines[0], lines[0])
