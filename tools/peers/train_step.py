#!/usr/bin/env python3
"""A training step of a small GLM in PyTorch on the CPU: the rival that the engine's step is
measured against.

    python3 tools/peers/train_step.py --threads 2 --save-inputs rows.safetensors
    python3 tools/peers/train_step.py --threads 2 --inputs rows.safetensors \\
        --weights DIR [--adapter DIR]

One step is forward, loss on the target rows alone, backward, clipping of the gradient norm, and
AdamW, in float32: over all weights, or with --adapter over a LoRA that the PEFT library loads. The
rows come from a file with the inputs of `engine forward` and labels; without one they are drawn
(seeded), and --save-inputs keeps them for the other side. The same step is timed with each
attention that PyTorch offers for such rows, after their losses and gradients were found equal:

    one_by_one  packed rows, fused attention on one sequence after another
    block_mask  packed rows, one fused attention over all of them with a block-diagonal mask
    regrouped   linears on packed rows, attention on a padded batch of sequences
    padded      everything on a padded batch

The best is the rival's time. Prints one JSON object: milliseconds a step (median, best, all
variants), tokens/s over real rows, sizes and versions. With --serve that object comes on one line
after a few steps of each variant that is not hopeless, and then a step of the best is taken for
every line read and its seconds printed: so another program can step in turn.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))

import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import reference_glm  # noqa: E402
from published import GLM_DEFAULTS, Refusal, run  # noqa: E402
from reference_glm import Rows, visible  # noqa: E402


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--inputs", metavar="X.safetensors", help="rows with labels; drawn where not given"
    )
    parser.add_argument("--save-inputs", metavar="X.safetensors", help="keeps the rows")
    parser.add_argument(
        "--weights", metavar="DIR", help="starts from these weights; their config decides the sizes"
    )
    parser.add_argument(
        "--adapter", metavar="DIR", help="trains this LoRA adapter alone; needs --weights and peft"
    )
    parser.add_argument(
        "--dropout", type=float, default=0.0, help="of embeddings, attention and sub-layer outputs"
    )
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--places", type=int, default=512, help="max_sequence_length")
    parser.add_argument("--rows", type=int, default=4096, help="rows to draw, about")
    parser.add_argument("--gelu", choices=("tanh", "erf"), default="tanh")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument(
        "--clip", type=float, default=1.0, help="largest gradient norm; 0 = no clipping"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each variant")
    parser.add_argument("--only", choices=list(VARIANTS), help="this variant alone")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the forward pass (needs a C++ compiler)",
    )
    parser.add_argument(
        "--serve", action="store_true", help="steps once for each line of standard input"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)

    if arguments.weights:
        model = reference_glm.load(arguments.weights, arguments.gelu)
    else:
        sizes = {
            "hidden_size": arguments.hidden,
            "num_layers": arguments.layers,
            "vocab_size": arguments.vocab,
        }
        sizes |= {"num_attention_heads": arguments.heads, "max_sequence_length": arguments.places}
        config = {**GLM_DEFAULTS, **sizes, "model_type": "glm"}
        model = reference_glm.initialise(
            reference_glm.build(config, arguments.gelu), arguments.seed
        )
    rows = Rows.load(arguments.inputs) if arguments.inputs else draw(model.config, arguments)
    if rows.labels is None or not (rows.labels >= 0).any():
        raise Refusal(f"rows: {arguments.inputs}: expected labels, got none", code=3)
    if arguments.save_inputs:
        rows.save(arguments.save_inputs)

    trained = model
    if arguments.adapter:
        from peft import PeftModel

        trained = PeftModel.from_pretrained(model, arguments.adapter, is_trainable=True)
    chosen = [arguments.only] if arguments.only else list(VARIANTS)
    # Probabilities are dropped by a module too, so that one loop sets every rate once the variants
    # were compared.
    drop = torch.nn.Dropout(0.0)
    steps = {name: Step(model, *VARIANTS[name](rows, drop), arguments) for name in chosen}
    loss, gradient, first = agree(model, steps)
    # Whoever waits for the best should not wait long for the hopeless.
    chosen = [
        name for name in chosen if not arguments.serve or first[name] <= 3 * min(first.values())
    ]
    for module in (drop, *model.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = arguments.dropout
    start = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    times = {name: [] for name in chosen}
    for name in chosen:
        step = steps[name]
        trained.load_state_dict(start)
        step.fresh_optimiser()
        for _ in range(1 if arguments.serve else 3):
            step()
        # Each variant starts anew, so that all take the same steps.
        for _ in range(2 if arguments.serve else arguments.steps):
            times[name].append(timed(step))
    medians = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    best = min(medians, key=medians.get)
    count = len(rows.input_ids)
    report = {
        "best": best,
        "milliseconds": round(medians[best], 2),
        "tokens_per_second": round(count / medians[best] * 1e3),
        "variants": {name: round(medians.get(name, 1e3 * first[name]), 2) for name in steps},
        "fastest_step": {name: round(min(values) * 1e3, 2) for name, values in times.items()},
        "loss": loss,
        "gradient": gradient,
        "rows": count,
        "padded_rows": len(rows.context) * int(rows.starts.diff().max()),
        "sequences": len(rows.context),
        "targets": int((rows.labels >= 0).sum()),
        "trained": sum(parameter.numel() for parameter in trainable(model)),
        "dropout": arguments.dropout,
        "sizes": {
            name: model.config[name]
            for name in ("hidden_size", "num_layers", "num_attention_heads", "vocab_size")
        },
        "threads": arguments.threads,
        "compiled": arguments.compile,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": processor(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
    }
    if not arguments.serve:
        print(json.dumps(report, indent=2))
        return
    print(json.dumps(report), flush=True)
    for _ in sys.stdin:
        print(timed(steps[best]), flush=True)


def timed(step):
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def trainable(model):
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


class Step:
    """Forward, backward, clip, AdamW; the rows, masks and target places are ready before the clock
    starts."""

    def __init__(self, model, rows, attend, arguments):
        self.model, self.rows, self.attend, self.arguments = model, rows, attend, arguments
        self.targets = torch.nonzero(rows.labels >= 0).flatten()
        self.labels = rows.labels[self.targets]
        self.loss = torch.compile(self.plain_loss) if arguments.compile else self.plain_loss
        self.fresh_optimiser()

    def fresh_optimiser(self):
        settings = {"lr": self.arguments.lr, "weight_decay": 0.01}
        self.optimiser = torch.optim.AdamW(trainable(self.model), fused=True, **settings)

    def plain_loss(self):
        _, final = self.model.hidden_states(self.rows, self.attend)
        return F.cross_entropy(final[self.targets] @ self.model.head().T, self.labels)

    def __call__(self):
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        if self.arguments.clip:
            torch.nn.utils.clip_grad_norm_(trainable(self.model), self.arguments.clip)
        self.optimiser.step()
        return loss


def one_by_one(rows, drop):
    bounds = rows.starts.tolist()
    masks = [visible(b - a, c) for a, b, c in zip(bounds, bounds[1:], rows.context.tolist())]

    def attend(query, key, value, _):
        parts = []
        for a, b, mask in zip(bounds, bounds[1:], masks):
            q, k, v = (tensor[a:b].transpose(0, 1)[None] for tensor in (query, key, value))
            parts.append(
                F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=drop.p)[
                    0
                ].transpose(0, 1)
            )
        return torch.cat(parts)

    return rows, attend


def block_mask(rows, drop):
    bounds = rows.starts.tolist()
    mask = torch.block_diag(
        *(visible(b - a, c) for a, b, c in zip(bounds, bounds[1:], rows.context.tolist()))
    ).bool()

    def attend(query, key, value, _):
        q, k, v = (tensor.transpose(0, 1)[None] for tensor in (query, key, value))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=drop.p)[
            0
        ].transpose(0, 1)

    return rows, attend


def batch_of(rows):
    """[S, n] places of the rows (0 where padding), which of them are real, and the mask [S, 1, n,
    n]."""
    lengths = rows.starts.diff()
    longest = int(lengths.max())
    real = torch.arange(longest)[None, :] < lengths[:, None]
    places = torch.where(real, rows.starts[:-1, None] + torch.arange(longest)[None, :], 0)
    mask = torch.stack([visible(longest, c) for c in rows.context.tolist()]) & real[:, None, :]
    # A padding row sees itself, so that no softmax is empty.
    return places, real, (mask | torch.eye(longest, dtype=torch.bool))[:, None]


def regrouped(rows, drop):
    places, real, mask = batch_of(rows)
    back = torch.nonzero(real.flatten()).flatten()

    def attend(query, key, value, _):
        q, k, v = (tensor[places].transpose(1, 2) for tensor in (query, key, value))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=drop.p)
        return out.transpose(1, 2).flatten(0, 1)[back]

    return rows, attend


def padded(rows, drop):
    places, real, mask = batch_of(rows)
    sequences, longest = places.shape
    flat, keep = places.flatten(), real.flatten()
    spread = Rows(
        torch.where(keep, rows.input_ids[flat], 0),
        torch.where(keep, rows.positions[:, flat], 0),
        torch.arange(sequences + 1) * longest,
        rows.context,
        torch.where(keep, rows.labels[flat], -100),
    )

    def attend(query, key, value, _):
        q, k, v = (
            tensor.view(sequences, longest, *tensor.shape[1:]).transpose(1, 2)
            for tensor in (query, key, value)
        )
        return (
            F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=drop.p)
            .transpose(1, 2)
            .flatten(0, 1)
        )

    return spread, attend


VARIANTS = {
    "one_by_one": one_by_one,
    "block_mask": block_mask,
    "regrouped": regrouped,
    "padded": padded,
}


def agree(model, steps):
    """Every variant must compute the same step, or its time means nothing; returns loss, gradient
    norm, seconds of each."""
    first, seconds = None, {}
    for name, step in steps.items():
        model.zero_grad()
        begun = time.perf_counter()
        loss = step.plain_loss()
        loss.backward()
        seconds[name] = time.perf_counter() - begun
        gradients = torch.cat([parameter.grad.flatten() for parameter in trainable(model)])
        if first is None:
            first = (name, loss.item(), gradients)
            continue
        apart = ((gradients - first[2]).norm() / first[2].norm()).item()
        if abs(loss.item() - first[1]) > 1e-4 * abs(first[1]) or apart > 1e-3:
            raise Refusal(
                f"{name}: expected the step of {first[0]}, got loss {loss.item()} for {first[1]}, "
                f"Δg {apart:.1e}",
                6,
            )
    return first[1], first[2].double().norm().item(), seconds


def draw(config, arguments):
    """Prompt-and-answer sequences: 30 to 150 rows, of which the last 4 to 24 are produced and carry
    the loss."""
    generator = torch.Generator().manual_seed(arguments.seed)

    def pick(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    sequences, total = [], 0
    while total < arguments.rows:
        answer = int(pick(4, 25, 1))
        context = int(pick(30, 151, 1)) - answer
        mask = int(pick(0, context, 1))
        positions = torch.tensor(
            [[*range(context)] + [mask] * answer, [0] * context + [*range(1, answer + 1)]]
        )
        labels = torch.cat([torch.full((context,), -100), pick(0, config["vocab_size"], answer)])
        sequences.append(
            (pick(0, config["vocab_size"], context + answer), positions, context, labels)
        )
        total += context + answer
    return Rows.pack(sequences)


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    sys.exit(run(main))
