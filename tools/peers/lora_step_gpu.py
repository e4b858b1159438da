#!/usr/bin/env python3
"""A LoRA step of a GLM-10B-shaped model in PyTorch on a GPU: the rival of `cargo bench --bench gpu
-- train`.

    python3 tools/peers/lora_step_gpu.py [--layers 48] [--batch 8] [--length 1024] [--checkpoint]

Random weights in bfloat16 made on the device, LoRA of rank 8 on the four linears of each layer as
the PEFT library computes it (x·Wᵀ + scale·(x·Aᵀ)·Bᵀ in three kernels), PyTorch's fused attention
with a prefix mask, loss on sixteen target rows a sequence, AdamW on the adapter. Without recompute
where it fits, else (or with --checkpoint) with a checkpoint a layer. Prints one JSON object:
milliseconds a step, tokens/s, peak GiB, versions.
"""

import argparse
import json
import time

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class Linear(torch.nn.Module):
    def __init__(self, rows, cols, rank=8, alpha=16.0):
        super().__init__()
        self.weight = torch.empty(rows, cols, dtype=torch.bfloat16, device="cuda").normal_(0, 0.02)
        self.bias = torch.zeros(rows, dtype=torch.bfloat16, device="cuda")
        self.a = torch.nn.Parameter(
            torch.empty(rank, cols, device="cuda").uniform_(-(cols**-0.5), cols**-0.5)
        )
        self.b = torch.nn.Parameter(torch.zeros(rows, rank, device="cuda"))
        self.scale = alpha / rank

    def forward(self, x):
        low = F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype))
        return F.linear(x, self.weight, self.bias) + self.scale * low


class Layer(torch.nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        ones = lambda: torch.ones(hidden, dtype=torch.bfloat16, device="cuda")
        zeros = lambda: torch.zeros(hidden, dtype=torch.bfloat16, device="cuda")
        self.norms = [(ones(), zeros()), (ones(), zeros())]
        self.qkv, self.dense = Linear(3 * hidden, hidden), Linear(hidden, hidden)
        self.up, self.down = Linear(4 * hidden, hidden), Linear(hidden, 4 * hidden)

    def forward(self, x, mask):
        n, length, hidden = x.shape
        y = F.layer_norm(x, (hidden,), *self.norms[0])
        q, k, v = (
            t.view(n, length, self.heads, -1).transpose(1, 2) for t in self.qkv(y).chunk(3, dim=-1)
        )
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.dense(context.transpose(1, 2).reshape(n, length, hidden))
        y = F.layer_norm(x, (hidden,), *self.norms[1])
        return x + self.down(F.gelu(self.up(y), approximate="tanh"))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=48)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--heads", type=int, default=64)
    parser.add_argument("--vocab", type=int, default=50304)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--targets", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--checkpoint", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    layers = torch.nn.ModuleList(Layer(args.hidden, args.heads) for _ in range(args.layers))
    table = torch.empty(args.vocab, args.hidden, dtype=torch.bfloat16, device="cuda").normal_(
        0, 0.02
    )
    optimizer = torch.optim.AdamW(layers.parameters(), lr=1e-5, weight_decay=0.01, fused=True)
    ids = torch.randint(args.vocab, (args.batch, args.length), device="cuda")
    labels = torch.randint(args.vocab, (args.batch * args.targets,), device="cuda")
    context = args.length - args.targets
    place = torch.arange(args.length, device="cuda")
    # Part A is seen by all rows, the rest is causal.
    mask = (place[None, :] < context) | (place[None, :] <= place[:, None])
    mask = torch.zeros(mask.shape, dtype=torch.bfloat16, device="cuda").masked_fill(
        ~mask, float("-inf")
    )

    def step(recompute):
        x = F.embedding(ids, table)
        x.requires_grad_(recompute)
        for layer in layers:
            x = checkpoint(layer, x, mask, use_reentrant=False) if recompute else layer(x, mask)
        logits = F.linear(x[:, context:].reshape(-1, args.hidden), table).float()
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(layers.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss)

    recompute = args.checkpoint
    try:
        step(recompute)
    except torch.cuda.OutOfMemoryError:
        if recompute:
            raise
        recompute = True
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        step(recompute)
    best = float("inf")
    for _ in range(args.steps):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step(recompute)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    print(
        json.dumps(
            {
                "milliseconds": round(1e3 * best, 1),
                "tokens_per_second": round(args.batch * args.length / best),
                "recompute": recompute,
                "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
                "torch": torch.__version__,
                "cuda": torch.version.cuda,
                "device": torch.cuda.get_device_name(),
            }
        )
    )


if __name__ == "__main__":
    main()
