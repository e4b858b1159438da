#!/usr/bin/env python3
"""SASRec as good as we can make it: the rival of a report, trained by this script and judged by
`engine eval` like any other file of predictions.

    python3 tools/peers/sasrec.py data/toys --out sasrec.jsonl
    engine eval predictions.jsonl sasrec.jsonl --data toys.bin

Leave-one-out over interactions.tsv.gz (user_id, pos, item_id): the last event is asked for, the one
before it validates, the rest is learnt. Pre-norm blocks over item vectors that are tied at the
output; at every place a softmax over what came next and uniform negatives, drawn for each sequence
(sampled softmax); with --crops a share of the sequences is a random contiguous part of two events
or more. Validation is NDCG@10 of all users over the whole catalogue, history left in; the best
epoch's weights answer. History is left in the lists too: --top is long enough to take it out later
(`eval --filter-history`). Seeded. Needs jax.

Prints each epoch on standard error and one JSON object at the end: settings, the best epoch, its
validation HR@10 and NDCG@10, seconds.
"""

import argparse
import gzip
import json
import os
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="a folder with interactions.tsv.gz")
    parser.add_argument("--out", required=True, help="predictions for `engine eval`")
    parser.add_argument("--width", type=int, default=128, help="of item vectors")
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--length", type=int, default=32, help="events of a history, the latest")
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--negatives", type=int, default=256, help="for each sequence")
    parser.add_argument("--crops", type=float, default=0.5, help="share of sequences")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--patience", type=int, default=8, help="epochs without a better one")
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    begun = time.time()
    users, names = read(args.data)
    items = max(max(events) for events in users) + 1
    rng = np.random.default_rng(args.seed)
    weights = fresh(args, items, rng)
    moments = jax.tree.map(lambda w: (jnp.zeros_like(w), jnp.zeros_like(w)), weights)
    step = stepper(args)
    asks = asker(args)
    key = jax.random.PRNGKey(args.seed)
    number, best, at = 0, (-1.0, -1.0), 0
    kept = weights
    learnt = [events[:-2] for events in users if len(events) >= 4]
    for epoch in range(1, args.epochs + 1):
        order = rng.permutation(len(learnt))
        losses = []
        for first in range(0, len(order) - args.batch + 1, args.batch):
            part = [cropped(learnt[u], args, rng) for u in order[first : first + args.batch]]
            rows = padded(part, args.length + 1)
            negatives = rng.integers(1, items, (args.batch, args.negatives))
            key, own = jax.random.split(key)
            number += 1
            loss, weights, moments = step(weights, moments, number, rows, negatives, own)
            losses.append(float(loss))
        shown = [events[:-2] for events in users]
        ranks = ranked(asks, weights, shown, [events[-2] for events in users], args)
        hit, gain = np.mean(ranks <= 10), np.mean((ranks <= 10) / np.log2(1 + ranks))
        print(
            f"epoch {epoch}  loss {np.mean(losses):.4f}  validation HR@10 {hit:.4f}  "
            f"NDCG@10 {gain:.4f}  {time.time() - begun:.0f} s",
            file=sys.stderr,
            flush=True,
        )
        if gain > best[1]:
            best, at, kept = (float(hit), float(gain)), epoch, weights
        if epoch - at >= args.patience:
            break
    write(args, asks, kept, users, names)
    said = dict(vars(args), best_epoch=at, hr10=best[0], ndcg10=best[1])
    print(json.dumps(dict(said, seconds=round(time.time() - begun, 1))))


def read(folder):
    """Events of every user, oldest first, as items from 1, and the users' ids."""
    users, names = {}, []
    with gzip.open(os.path.join(folder, "interactions.tsv.gz"), "rt") as lines:
        head = next(lines).rstrip("\n").split("\t")
        user, item = head.index("user_id"), head.index("item_id")
        for line in lines:
            cells = line.rstrip("\n").split("\t")
            if cells[user] not in users:
                users[cells[user]] = []
                names.append(cells[user])
            users[cells[user]].append(int(cells[item]))
    return [users[name] for name in names], names


def cropped(events, args, rng):
    if len(events) > 2 and rng.random() < args.crops:
        length = rng.integers(2, len(events) + 1)
        first = rng.integers(0, len(events) - length + 1)
        events = events[first : first + length]
    return events


def padded(sequences, length):
    """The latest events at the right, 0 before them."""
    rows = np.zeros((len(sequences), length), np.int32)
    for row, events in zip(rows, sequences):
        events = events[-length:]
        row[length - len(events) :] = events
    return rows


def fresh(args, items, rng):
    width = args.width

    def matrix(*shape):
        return jnp.asarray(rng.normal(0, 0.02, shape), jnp.float32)

    def block():
        return {
            "qkv": matrix(width, 3 * width),
            "out": matrix(width, width),
            "up": matrix(width, 4 * width),
            "down": matrix(4 * width, width),
            "norms": jnp.ones((2, width)),
            "shifts": jnp.zeros((2, width)),
        }

    return {
        "items": matrix(items, width),
        "places": matrix(args.length, width),
        "blocks": [block() for _ in range(args.blocks)],
        "norm": jnp.ones(width),
        "shift": jnp.zeros(width),
    }


def hidden(args, weights, rows, key):
    """Rows `[N, L]` of items → `[N, L, width]`; key None: nothing is dropped."""

    def drop(x, number):
        if key is None or args.dropout == 0:
            return x
        keep = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - args.dropout, x.shape)
        return jnp.where(keep, x / (1 - args.dropout), 0)

    def norm(x, scale, shift):
        x = x - x.mean(-1, keepdims=True)
        return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-8) * scale + shift

    count, length = rows.shape
    width, heads = args.width, args.heads
    x = weights["items"][rows] * width**0.5 + weights["places"][-length:]
    there = rows > 0
    x = drop(x, 0) * there[..., None]
    sees = jnp.tril(jnp.ones((length, length), bool)) & there[:, None, :]
    # Padding sees itself, so that no row of the softmax is empty.
    sees = (sees | jnp.eye(length, dtype=bool))[:, None]
    for number, block in enumerate(weights["blocks"]):
        y = norm(x, block["norms"][0], block["shifts"][0]) @ block["qkv"]
        q, k, v = jnp.moveaxis(y.reshape(count, length, 3, heads, width // heads), 2, 0)
        scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / (width // heads) ** 0.5
        shares = drop(jax.nn.softmax(jnp.where(sees, scores, -1e9), -1), 3 * number + 1)
        y = jnp.einsum("nhqk,nkhd->nqhd", shares, v).reshape(count, length, width)
        x = x + drop(y @ block["out"], 3 * number + 2)
        y = norm(x, block["norms"][1], block["shifts"][1])
        x = x + drop(jax.nn.gelu(y @ block["up"]) @ block["down"], 3 * number + 3)
    return norm(x, weights["norm"], weights["shift"])


def stepper(args):
    def loss(weights, rows, negatives, key):
        shown, next_ = rows[:, :-1], rows[:, 1:]
        x = hidden(args, weights, shown, key)
        counts = (shown > 0) & (next_ > 0)
        right = jnp.einsum("nld,nld->nl", x, weights["items"][next_])
        wrong = jnp.einsum("nld,nkd->nlk", x, weights["items"][negatives])
        # A negative that is the right one is none.
        wrong = jnp.where(negatives[:, None, :] == next_[..., None], -1e9, wrong)
        all_ = jnp.concatenate([right[..., None], wrong], -1)
        each = jax.nn.logsumexp(all_, -1) - right
        return (each * counts).sum() / counts.sum()

    @jax.jit
    def step(weights, moments, number, rows, negatives, key):
        value, gradient = jax.value_and_grad(loss)(weights, rows, negatives, key)

        def adam(weight, own, slope):
            mean = 0.9 * own[0] + 0.1 * slope
            square = 0.98 * own[1] + 0.02 * slope * slope
            change = mean / (1 - 0.9**number) / (jnp.sqrt(square / (1 - 0.98**number)) + 1e-8)
            return weight - args.learning_rate * change, (mean, square)

        leaves, form = jax.tree.flatten(weights)
        slopes = jax.tree.leaves(gradient)
        pairs = form.flatten_up_to(moments)
        made = [adam(*one) for one in zip(leaves, pairs, slopes)]
        return value, form.unflatten([w for w, _ in made]), form.unflatten([m for _, m in made])

    return step


def asker(args):
    @jax.jit
    def ask(weights, rows):
        x = hidden(args, weights, rows, None)[:, -1]
        return (x @ weights["items"].T).at[:, 0].set(-jnp.inf)

    return ask


def batches(asks, weights, shown, args):
    """Scores of all items for every history, 512 users at a time."""
    for first in range(0, len(shown), 512):
        part = shown[first : first + 512]
        part = part + [[1]] * (512 - len(part))
        scores = np.asarray(asks(weights, padded(part, args.length)))
        yield first, scores[: len(shown) - first]


def ranked(asks, weights, shown, targets, args):
    """Where each target stands; it loses ties."""
    ranks = np.zeros(len(shown))
    for first, scores in batches(asks, weights, shown, args):
        own = np.asarray(targets[first : first + len(scores)])
        right = scores[np.arange(len(own)), own]
        ranks[first : first + len(own)] = (scores >= right[:, None]).sum(1)
    return ranks


def write(args, asks, weights, users, names):
    beside = args.out + ".part"
    with open(beside, "w") as out:
        for first, scores in batches(asks, weights, [events[:-1] for events in users], args):
            for place, own in enumerate(scores):
                top = np.argpartition(-own, args.top)[: args.top]
                top = top[np.lexsort((top, -own[top]))]
                listed = [{"item": int(item), "score": float(own[item])} for item in top]
                name = names[first + place]
                name = int(name) if name.isdigit() else name
                out.write(json.dumps({"id": name, "items": listed}) + "\n")
    os.replace(beside, args.out)


if __name__ == "__main__":
    main()
