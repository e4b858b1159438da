#!/usr/bin/env python3
"""Whether CUDA 12's compiler accepts the kernels. PyPI has no nvcc of CUDA 12, but its run-time
compiler of the same language.

    python3 tools/check_cuda12.py

Brings NVRTC 12.9 and CUDA 12.9's headers under target/cuda12 (about 250 MB, once; needs pip, no
GPU) and compiles every kernels/*.cu for sm_80 and sm_90a to machine code. Prints a line for each;
exit code 1 where one is refused. Takes a few minutes.
"""

import argparse
import ctypes
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target" / "cuda12"
PACKAGES = ["nvidia-cuda-nvrtc-cu12", "nvidia-cuda-runtime-cu12", "nvidia-cuda-cccl-cu12"]
# The run-time compiler has no headers of the host; of those the kernels want names alone, which
# CUDA's own cover but for these.
STANDARD = [b"stdint.h", b"string.h", b"math.h"]
INTEGERS = (
    "".join(
        f"typedef signed {kind} int{bits}_t; typedef unsigned {kind} uint{bits}_t; "
        for kind, bits in [("char", 8), ("short", 16), ("int", 32), ("long long", 64)]
    )
    + "typedef uint64_t uintptr_t;"
)


def main():
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    if not (FOLDER / "nvidia").is_dir():
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        subprocess.run(
            pip + ["--target", str(FOLDER)] + [f"{name}==12.9.*" for name in PACKAGES], check=True
        )
    libraries = FOLDER / "nvidia" / "cuda_nvrtc" / "lib"
    ctypes.CDLL(str(next(libraries.glob("libnvrtc-builtins.so.12*"))), mode=ctypes.RTLD_GLOBAL)
    compiler = ctypes.CDLL(str(libraries / "libnvrtc.so.12"))
    includes = [ROOT / "kernels"] + [
        FOLDER / "nvidia" / part / "include" for part in ["cuda_runtime", "cuda_cccl"]
    ]
    refused = 0
    for source in sorted((ROOT / "kernels").glob("*.cu")):
        for target in ["sm_80", "sm_90a"]:
            words = compile_one(compiler, source, target, includes)
            refused += words is not None
            print(f"{source.name} {target}: {words or 'accepted'}", flush=True)
    sys.exit(1 if refused else 0)


def compile_one(compiler, source, target, includes):
    """What the compiler says against a source, or None."""
    program = ctypes.c_void_p()
    text = (INTEGERS + "\n#line 1\n" + source.read_text()).encode()
    names = (ctypes.c_char_p * len(STANDARD))(*STANDARD)
    empty = (ctypes.c_char_p * len(STANDARD))(*[b""] * len(STANDARD))
    code = compiler.nvrtcCreateProgram(
        ctypes.byref(program), text, source.name.encode(), len(STANDARD), empty, names
    )
    assert code == 0, f"nvrtcCreateProgram: expected 0, got {code}"
    options = [f"--gpu-architecture={target}", "--std=c++17"] + [
        f"--include-path={folder}" for folder in includes
    ]
    options = [option.encode() for option in options]
    code = compiler.nvrtcCompileProgram(
        program, len(options), (ctypes.c_char_p * len(options))(*options)
    )
    size = ctypes.c_size_t()
    compiler.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    compiler.nvrtcGetProgramLog(program, log)
    compiler.nvrtcDestroyProgram(ctypes.byref(program))
    return None if code == 0 else log.value.decode().strip() or f"nvrtcCompileProgram: {code}"


if __name__ == "__main__":
    main()
