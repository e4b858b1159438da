#!/usr/bin/env python3
"""Checks adapters against the Python PEFT library, in both directions.

What the engine writes, PEFT loads. Runs the rows through a PyTorch model with the adapter loaded by
PEFT and compares with what the engine says of the same rows; without --outputs it asks the engine
itself:

    python3 tools/check_peft.py check --weights DIR --adapter RUN --inputs rows.safetensors \\
        --outputs out.safetensors
    python3 tools/check_peft.py check --weights DIR --adapter RUN --inputs rows.safetensors \\
        --engine target/release/engine

What PEFT writes, the engine loads. Makes an adapter with random A and B, saved by PEFT's
save_pretrained; then check it as above:

    python3 tools/check_peft.py write --weights DIR --adapter NEW --rank 4 --alpha 8 \\
        --target query_key_value,dense

Rows to check with, where there are none:

    python3 tools/check_peft.py rows --weights DIR --inputs rows.safetensors

Files are those of `engine forward`: inputs `input_ids` [R], `positions` [2, R], `starts` [S+1],
`context` [S], `labels` [R]; outputs `hidden.i`, `final`, `logits`, `loss`, and with gradients
`grad.NAME`. Differences are max|Δ| / max|expected|. --weights is a Hugging Face folder with
model.safetensors; computation is float32.

Exit codes: 0 they agree, 2 wrong usage, 3 a file is missing, 4 adapter and model do not fit, 6 they
differ.
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import warnings

import torch
from safetensors.torch import load_file

import reference_glm
from published import Refusal, run

LINEARS = "query_key_value,dense,dense_h_to_4h,dense_4h_to_h"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="check|write|rows")
    check = verbs.add_parser("check", help="compare the engine's outputs with PEFT's")
    write = verbs.add_parser("write", help="let PEFT write a random adapter")
    rows = verbs.add_parser("rows", help="make random rows")
    for verb in (check, write, rows):
        verb.add_argument("--weights", required=True, metavar="DIR")
        verb.add_argument("--seed", type=int, default=0)
    for verb in (check, write):
        verb.add_argument("--adapter", required=True, metavar="DIR")
    for verb in (check, rows):
        verb.add_argument("--inputs", required=True, metavar="X.safetensors")
    outputs = check.add_mutually_exclusive_group(required=True)
    outputs.add_argument("--outputs", metavar="Y.safetensors", help="what `engine forward` wrote")
    outputs.add_argument("--engine", metavar="BINARY", help="run `engine forward` for it")
    check.add_argument(
        "--gelu", choices=("tanh", "erf"), help="as for the engine (by the config, otherwise tanh)"
    )
    check.add_argument(
        "--tolerance", type=float, default=1e-4, help="for hidden states and logits (1e-4)"
    )
    check.add_argument(
        "--gradient-tolerance", type=float, default=1e-3, help="for gradients (1e-3)"
    )
    write.add_argument("--rank", type=int, default=8)
    write.add_argument("--alpha", type=int, default=16)
    write.add_argument("--target", default=LINEARS, help=f"comma-separated linears ({LINEARS})")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    return {"check": do_check, "write": do_write, "rows": do_rows}[arguments.verb](arguments)


def do_check(arguments):
    model = with_adapter(reference_glm.load(arguments.weights, arguments.gelu), arguments.adapter)
    rows = reference_glm.Rows.load(arguments.inputs)
    theirs = forward(model, rows)
    if arguments.outputs:
        ours = load_file(arguments.outputs)
    else:
        ours = ask_engine(arguments, rows.labels is not None)
    # The engine trains the adapter alone here, so its gradients bear the adapter's names.
    missing = [
        name
        for name in ("final", "logits", *(["loss"] if "loss" in theirs else []))
        if name not in ours
    ]
    if missing:
        raise Refusal(
            f"outputs: expected the tensor {missing[0]}, got {', '.join(sorted(ours)[:6])} …",
            code=6,
        )
    worst, failures = {}, []
    for name, got in sorted(ours.items()):
        if name not in theirs:
            failures.append(f"{name}: expected no such tensor")
            continue
        difference = relative(got, theirs[name])
        kind = name.split(".")[0]
        worst[kind] = max(worst.get(kind, 0.0), difference)
        bound = arguments.gradient_tolerance if kind == "grad" else arguments.tolerance
        if not difference <= bound:
            failures.append(f"{name}: expected within {bound:g}, got {difference:.2e}")
    plain = forward(reference_glm.load(arguments.weights, arguments.gelu), rows, gradients=False)
    effect = relative(theirs["logits"], plain["logits"])
    print(
        f"{len(ours)} tensors compared; worst: "
        + ", ".join(f"{kind} {value:.1e}" for kind, value in worst.items())
    )
    print(f"the adapter moves the logits by {effect:.1e}")
    if failures:
        raise Refusal(f"check: {failures[0]} ({len(failures)} of {len(ours)} tensors)", code=6)
    return 0


def do_write(arguments):
    from peft import LoraConfig, get_peft_model

    model = reference_glm.load(arguments.weights)
    config = LoraConfig(
        r=arguments.rank,
        lora_alpha=arguments.alpha,
        target_modules=arguments.target.split(","),
        lora_dropout=0.0,
    )
    try:
        wrapped = get_peft_model(model, config)
    except ValueError as error:
        raise Refusal(f"--target: {str(error).splitlines()[0]}", code=2) from None
    generator = torch.Generator().manual_seed(arguments.seed)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(0.0, 1.0 / parameter.shape[1] ** 0.5, generator=generator)
    wrapped.save_pretrained(arguments.adapter)
    print(
        f"{arguments.adapter}: rank {arguments.rank}, alpha {arguments.alpha}, on "
        f"{arguments.target}"
    )


def do_rows(arguments):
    config = reference_glm.read_config(os.path.join(arguments.weights, "config.json"))
    generator = torch.Generator().manual_seed(arguments.seed)

    def draw(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    longest = min(config["max_sequence_length"], 64)
    sequences = []
    for _ in range(5):
        context, answer = int(draw(2, longest // 2 + 1, 1)), int(draw(1, longest // 2, 1))
        mask = int(draw(0, context, 1))
        positions = torch.tensor(
            [[*range(context)] + [mask] * answer, [0] * context + [*range(1, answer + 1)]]
        )
        labels = torch.cat([torch.full((context,), -100), draw(0, config["vocab_size"], answer)])
        sequences.append(
            (draw(0, config["vocab_size"], context + answer), positions, context, labels)
        )
    reference_glm.Rows.pack(sequences).save(arguments.inputs)
    print(
        f"{arguments.inputs}: {len(sequences)} sequences, {sum(len(s[0]) for s in sequences)} rows"
    )


def with_adapter(model, folder):
    """The model with the adapter loaded by PEFT; refuses when a tensor of the file found no
    place."""
    from peft import PeftModel, get_peft_model_state_dict

    try:
        wrapped = PeftModel.from_pretrained(model, folder, is_trainable=True)
    except (ValueError, RuntimeError, KeyError) as error:
        raise Refusal(
            f"adapter: {folder}: expected one that PEFT loads, got {str(error).splitlines()[0]}"
        ) from None
    path = os.path.join(folder, "adapter_model.safetensors")
    stored, loaded = load_file(path), get_peft_model_state_dict(wrapped)
    # PEFT passes over keys it does not know, so compare what it holds with what the file holds.
    for name in sorted(stored.keys() | loaded.keys()):
        if name not in loaded or name not in stored:
            where = (
                "the file, but PEFT took none"
                if name in stored
                else "PEFT's model, but the file has none"
            )
            raise Refusal(f"adapter: {path}: {name}: expected it in both, got it in {where}")
        if not torch.equal(stored[name].float(), loaded[name].float()):
            raise Refusal(
                f"adapter: {path}: {name}: expected the stored numbers in PEFT's model, got others"
            )
    return wrapped


def forward(model, rows, gradients=True):
    """hidden.i, final, logits, loss, and the adapter's gradients under their names on disk."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    out = inner(rows)
    if gradients and "loss" in out:
        model.zero_grad()
        out["loss"].backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                out["grad." + name.replace(".default.", ".")] = parameter.grad
    return {name: tensor.detach() for name, tensor in out.items()}


def ask_engine(arguments, gradients):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "outputs.safetensors")
        command = [
            arguments.engine,
            "forward",
            "--weights",
            arguments.weights,
            "--adapter",
            arguments.adapter,
        ]
        command += [
            "--inputs",
            arguments.inputs,
            "--outputs",
            path,
            "--device",
            "cpu",
            "--dtype",
            "f32",
        ]
        command += ["--gelu", arguments.gelu] if arguments.gelu else []
        command += ["--gradients"] if gradients else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refusal(f"engine: exit {done.returncode}: {done.stderr.strip()}", code=6)
        return load_file(path)


def relative(got, expected):
    """max|Δ| / max|expected|; infinite where shapes differ."""
    if got.numel() != expected.numel():
        return float("inf")
    got, expected = got.float().flatten(), expected.float().flatten()
    return ((got - expected).abs().max() / expected.abs().max().clamp_min(1e-30)).item()


if __name__ == "__main__":
    sys.exit(run(main))
