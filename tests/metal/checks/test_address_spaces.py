"""Metal's address spaces and types, as clang knows them from OpenCL: needs pip install libclang."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.metal.dump import texts

cindex = pytest.importorskip("clang.cindex", reason="needs pip install libclang")

HEADER = (Path(__file__).parent / "opencl.h").read_text()
ARGUMENTS = ["-x", "cl", "-cl-std=clc++2021", "-target", "spir64", "-cl-no-stdinc"]
MISSING = ("generic_address_space", "pipes", "device_enqueue", "program_scope_global_variables")
ARGUMENTS += ["-Wno-unknown-pragmas", "-Xclang"]
ARGUMENTS += ["-cl-ext=" + ",".join(f"-__opencl_c_{feature}" for feature in MISSING)]


def errors(text: str) -> list[str]:
    """What clang says about a kernel's generated text."""
    source = HEADER + as_opencl(text)
    unit = cindex.Index.create().parse(
        "kernel.cl", args=ARGUMENTS, unsaved_files=[("kernel.cl", source)]
    )
    return [d.spelling for d in unit.diagnostics if d.severity >= cindex.Diagnostic.Error]


def as_opencl(text: str) -> str:
    """The kernel as a function without templates: its one instance stands at the end."""
    instance = re.search(r"\ntemplate \[\[host_name\(.*?decltype\(\w+<([^>]*)>\)", text, re.S)
    if instance:
        values = [value.strip() for value in instance[1].split(",")]
        start = re.search(r"template <([^>]*)>\n\[\[kernel\]\] void", text)
        declared = ""
        for parameter, value in zip(start[1].split(", "), values, strict=True):
            kind, name = parameter.split()
            if kind == "typename":
                declared += f"typedef {value} {name};\n"
            else:
                declared += f"__constant constexpr {kind} {name} = {value};\n"
        head, body = text[: start.start()], text[start.end() : instance.start()]
        text = f"{head}{declared}__kernel void{body}"
    text = text.replace("[[kernel]] void", "__kernel void")
    return re.sub(r" \[\[[\w()]+\]\]", "", text)


@pytest.fixture(scope="module")
def kernels():
    return texts()


def test_every_pointer_names_its_address_space(kernels):
    assert len(kernels) > 50
    assert {name: found for name, text in kernels.items() if (found := errors(text))} == {}


@pytest.mark.parametrize(
    ("kernel", "before", "after"),
    [
        (
            "sample_held",
            "threadgroup float3* slots, thread Place",
            "device float3* slots, thread Place",
        ),
        ("sample_streamed", "device uint* key = keys", "uint* key = keys"),
        ("rms_norm", "threadgroup float sums", "device float sums"),
    ],
)
def test_a_wrong_address_space_is_found(kernels, kernel, before, after):
    text = next(text for name, text in kernels.items() if kernel in name)
    assert before in text
    assert errors(text.replace(before, after))
