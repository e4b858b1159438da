#!/usr/bin/env python3
"""Turns a published PyTorch checkpoint into a Hugging Face folder with safetensors.

    python3 tools/convert_checkpoint.py glm-10b-download --out weights/glm-10b-fp16

SOURCE is a folder with config.json and pytorch_model.bin, or with the shards that
pytorch_model.bin.index.json lists. The result holds config.json, byte for byte, and
model.safetensors, or model-0000k-of-0000n.safetensors with model.safetensors.index.json when the
weights are larger than --max-shard-size. Names (with or without `glm.`), dtypes and bits stay as
they are; the rotary buffers `inv_freq`, which the original never reads, are left out. Every tensor
is checked against config.json before anything is written. One source shard is open at a time,
memory-mapped where its format allows it. The result appears under its name when it is complete, or
not at all.

Exit codes: 0 done, 2 wrong usage, 3 a file is missing or damaged, 4 the tensors do not fit the
config.
"""

import argparse
import json
import os
import re
import shutil
import signal
import struct
import sys

import torch

from published import (
    Refusal,
    bare,
    expected_tensors,
    is_recomputed,
    may_be_absent,
    read_config,
    read_json,
    run,
)

STORED = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
INDEX = "pytorch_model.bin.index.json"
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="folder with config.json and pytorch_model*.bin"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="the new folder; it must not exist, or be empty"
    )
    parser.add_argument(
        "--max-shard-size", type=size, default="5GB", metavar="SIZE", help="e.g. 5GB, 500MiB (5GB)"
    )
    arguments = parser.parse_args()

    config_path = os.path.join(arguments.source, "config.json")
    config = read_config(config_path)
    shards, index = source_shards(arguments.source)
    if os.path.isdir(arguments.out) and os.listdir(arguments.out):
        raise Refusal(
            f"output: {arguments.out}: expected a new or empty folder, got one with files in it",
            code=2,
        )

    tensors = survey(shards, index)
    dropped = [name for name in tensors if is_recomputed(name)]
    for name in dropped:
        del tensors[name]
    check(tensors, expected_tensors(config), arguments.source)

    files = plan(tensors, arguments.max_shard_size)
    # Asked to end, it ends as by an error, so that no half-written folder stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out = os.path.abspath(arguments.out)
    partial = f"{out}.partial-{os.getpid()}"
    os.makedirs(partial)
    try:
        write(partial, files, tensors, shards)
        shutil.copyfile(config_path, os.path.join(partial, "config.json"))
        for name in sorted(os.listdir(partial)):
            sync(os.path.join(partial, name))
        os.rename(partial, out)
        sync(os.path.dirname(out))
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    total = sum(tensor["bytes"] for tensor in tensors.values())
    print(
        f"{arguments.out}: {len(tensors)} tensors, {total:,} bytes in {len(files)} file(s), "
        f"{len(dropped)} inv_freq dropped"
    )


def size(text):
    match = re.fullmatch(r"(\d+)\s*([KMG]i?B)?", text, re.IGNORECASE)
    if not match or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"expected a size such as 5GB or 500MiB, got {text!r}")
    return int(match[1]) * UNITS[(match[2] or "").upper()]


def source_shards(folder):
    """The .bin files in order, and the index's map of tensor to file (None for a single file)."""
    if not os.path.isdir(folder):
        raise Refusal(
            f"source: {folder}: expected a folder with pytorch_model*.bin, got none", code=3
        )
    index_path = os.path.join(folder, INDEX)
    if os.path.exists(index_path):
        index = read_json(index_path, "index").get("weight_map")
        if not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
            raise Refusal(
                f"index: {index_path}: expected a weight_map of tensor to file, got none", code=3
            )
        names = sorted(set(index.values()))
        for name in names:
            if os.path.basename(name) != name:
                raise Refusal(
                    f"index: {index_path}: expected file names, got the path {name!r}", code=3
                )
            if not os.path.exists(os.path.join(folder, name)):
                raise Refusal(
                    f"shard: {os.path.join(folder, name)}: expected a file, got none; download it "
                    "again",
                    code=3,
                )
        return [os.path.join(folder, name) for name in names], index
    found = sorted(
        name for name in os.listdir(folder) if re.fullmatch(r"pytorch_model.*\.bin", name)
    )
    if found == ["pytorch_model.bin"]:
        return [os.path.join(folder, "pytorch_model.bin")], None
    if found:
        raise Refusal(
            f"source: {folder}: expected {INDEX} beside {len(found)} shards, got none; download it "
            "too",
            code=3,
        )
    if any(name.endswith(".safetensors") for name in os.listdir(folder)):
        raise Refusal(
            f"source: {folder}: expected pytorch_model*.bin, got safetensors; it needs no "
            "conversion",
            code=3,
        )
    raise Refusal(f"source: {folder}: expected pytorch_model.bin or {INDEX}, got neither", code=3)


def load(path):
    """One shard as a flat map of name to tensor; only tensors are unpickled, never code."""
    with open(path, "rb") as file:
        start = file.read(128)
    if start.startswith(b"version https://git-lfs"):
        raise Refusal(
            f"shard: {path}: expected weights, got a Git LFS pointer; download the file itself",
            code=3,
        )
    try:
        # Only the zip format, PyTorch's since 1.6, can be mapped.
        shard = torch.load(
            path, map_location="cpu", weights_only=True, mmap=start.startswith(b"PK") or None
        )
    except Exception as error:  # torch raises many kinds for damaged files
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Refusal(
            f"shard: {path}: expected a PyTorch file of plain tensors, got {reason}", code=3
        ) from None
    if not isinstance(shard, dict):
        raise Refusal(
            f"shard: {path}: expected a map of name to tensor, got a {type(shard).__name__}"
        )
    for name, tensor in shard.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            keys = ", ".join(map(str, list(shard)[:4]))
            raise Refusal(
                f"shard: {path}: expected a flat map of name to tensor, got a "
                f"{type(tensor).__name__} under {name!r} "
                f"(keys: {keys}); a training checkpoint must be exported to the published form "
                "first"
            )
    return shard


def survey(shards, index):
    """Name to dtype, shape, size and shard of every tensor, in file order."""
    tensors = {}
    for path in shards:
        file = os.path.basename(path)
        for name, tensor in load(path).items():
            if name in tensors:
                raise Refusal(
                    f"tensor {name}: {path}: expected it once, got it in {tensors[name]['shard']} "
                    "too"
                )
            if index is not None and index.get(name) != file:
                raise Refusal(
                    f"tensor {name}: {path}: expected it in {index.get(name, 'no shard')}, says "
                    "the index"
                )
            if is_recomputed(name):
                dtype = None
            elif tensor.dtype not in STORED or tensor.layout != torch.strided:
                raise Refusal(
                    f"tensor {name}: {path}: expected dense float32, float16 or bfloat16, got "
                    f"{tensor.dtype} "
                    f"({tensor.layout}); a quantised checkpoint cannot be converted, take the "
                    "unquantised one"
                )
            else:
                dtype = STORED[tensor.dtype]
            size = tensor.numel() * tensor.element_size()
            tensors[name] = {
                "dtype": dtype,
                "shape": tuple(tensor.shape),
                "bytes": size,
                "shard": path,
            }
    if index is not None:
        absent = [name for name in index if name not in tensors]
        if absent:
            raise Refusal(
                f"tensor {absent[0]}: expected it in {index[absent[0]]}, says the index, got none",
                code=3,
            )
    return tensors


def check(tensors, expected, where):
    """Refuses what is missing, of another shape, or not known."""
    prefixed = [name for name in tensors if name.startswith("glm.")]
    if prefixed and len(prefixed) != len(tensors):
        plain = next(name for name in tensors if not name.startswith("glm."))
        raise Refusal(
            f"names: {where}: expected all or none to begin with glm., got {prefixed[0]} and "
            f"{plain}"
        )
    for name, tensor in tensors.items():
        shape = expected.get(bare(name))
        if shape is None:
            hint = (
                "; P-tuning prefixes are not supported"
                if "prefix_encoder" in name
                else "; is config.json its own?"
            )
            raise Refusal(
                f"tensor {name}: {where}: expected a tensor of the model, got an unknown name{hint}"
            )
        if tensor["shape"] != shape:
            raise Refusal(
                f"tensor {name}: {where}: expected shape {list(shape)} by config.json, got "
                f"{list(tensor['shape'])}"
            )
    held = {bare(name) for name in tensors}
    missing = [name for name in expected if name not in held and not may_be_absent(name)]
    if missing:
        raise Refusal(
            f"tensor {missing[0]}: {where}: expected it by config.json, got none ({len(missing)} "
            "missing)"
        )


def plan(tensors, limit):
    """Which tensors go to which file: file order kept, a file closed before it passes the limit."""
    groups, held = [[]], 0
    for name, tensor in tensors.items():
        if groups[-1] and held + tensor["bytes"] > limit:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += tensor["bytes"]
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    return {
        f"model-{i:05}-of-{len(groups):05}.safetensors": group for i, group in enumerate(groups, 1)
    }


def write(folder, files, tensors, shards):
    """Writes all headers, then visits each source shard once and puts its tensors where they
    belong."""
    places = {}
    for file, names in files.items():
        # Wide elements first keep every tensor aligned to its own element size.
        ordered = sorted(names, key=lambda name: tensors[name]["dtype"] != "F32")
        header, at = {"__metadata__": {"format": "pt"}}, 0
        for name in ordered:
            tensor = tensors[name]
            end = at + tensor["bytes"]
            header[name] = {
                "dtype": tensor["dtype"],
                "shape": list(tensor["shape"]),
                "data_offsets": [at, end],
            }
            places[name] = (file, at)
            at = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(os.path.join(folder, file), "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            start = out.tell()
            out.truncate(start + at)
        for name in ordered:
            places[name] = (file, start + places[name][1])
    for path in shards:
        shard = load(path)
        for name in [name for name in shard if name in places]:
            file, at = places[name]
            flat = shard.pop(name).detach().contiguous().reshape(-1)
            with open(os.path.join(folder, file), "r+b") as out:
                out.seek(at)
                if flat.numel():
                    out.write(memoryview(flat.view(torch.uint8).numpy()))
    if len(files) > 1:
        total = sum(tensor["bytes"] for tensor in tensors.values())
        index = {
            "metadata": {"total_size": total},
            "weight_map": {n: file for n, (file, _) in sorted(places.items())},
        }
        with open(
            os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8"
        ) as out:
            json.dump(index, out, indent=2)
            out.write("\n")


def sync(path):
    """Makes a file or folder reach the disk before the name under which it will be found."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


if __name__ == "__main__":
    sys.exit(run(main))
