"""GLM and ChatGLM-6B in plain PyTorch, over rows: the second opinion that checks and measurements
use.

A batch is a list of rows (one row = one token), sequences one after another; `starts` [S + 1] says
where each begins and `context` [S] how many of its first rows are seen by all of its rows, the rest
being causal. Module paths are those of the published code, so that PEFT finds and names the linears
as it does there.
"""

import dataclasses
import json
import math
import os

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from published import Refusal, bare, expected_tensors, is_recomputed, may_be_absent, read_config

TANH_GELUS = ("gelu_new", "gelu_fast", "gelu_pytorch_tanh")


@dataclasses.dataclass
class Rows:
    """The inputs of `engine forward`: ids [R], positions [2, R], starts [S + 1], context [S],
    labels [R] or None."""

    input_ids: torch.Tensor
    positions: torch.Tensor
    starts: torch.Tensor
    context: torch.Tensor
    labels: torch.Tensor | None = None

    def tensors(self):
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: tensor.contiguous() for name, tensor in fields.items() if tensor is not None}

    def save(self, path):
        save_file(self.tensors(), path)

    @staticmethod
    def load(path):
        held = {name: tensor.long() for name, tensor in load_file(path).items()}
        names = {field.name for field in dataclasses.fields(Rows)}
        missing = names - held.keys() - {"labels"}
        if missing:
            raise Refusal(
                f"rows: {path}: expected the tensor {sorted(missing)[0]}, got "
                f"{', '.join(sorted(held))}",
                code=3,
            )
        rows = Rows(**{name: tensor for name, tensor in held.items() if name in names})
        count = len(rows.input_ids)
        if (
            rows.positions.shape != (2, count)
            or rows.starts[-1] != count
            or len(rows.starts) != len(rows.context) + 1
        ):
            shapes = {name: list(tensor.shape) for name, tensor in rows.tensors().items()}
            raise Refusal(
                f"rows: {path}: expected positions [2, R], starts [S+1] ending in R, context [S], "
                f"got {shapes}",
                code=3,
            )
        return rows

    @staticmethod
    def pack(sequences):
        """From (ids, positions [2, n], context, labels) of each sequence."""
        ids, positions, context, labels = zip(*sequences)
        starts = torch.tensor([0] + [len(part) for part in ids]).cumsum(0)
        return Rows(
            torch.cat(ids),
            torch.cat(positions, 1),
            starts,
            torch.tensor(context),
            torch.cat(labels),
        )


def visible(length, context):
    """[length, length], true where the row may see the column: all of the context, otherwise
    nothing later."""
    places = torch.arange(length)
    return (places[None, :] <= places[:, None]) | (places[None, :] < context)


def attend_one_by_one(query, key, value, rows):
    """softmax(q kᵀ / √d) v, one sequence after another; [R, heads, d] each."""
    out = torch.empty_like(query)
    for sequence, context in enumerate(rows.context.tolist()):
        part = slice(int(rows.starts[sequence]), int(rows.starts[sequence + 1]))
        q, k, v = (tensor[part].transpose(0, 1) for tensor in (query, key, value))
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(~visible(q.shape[1], context), -math.inf)
        out[part] = (scores.softmax(-1) @ v).transpose(0, 1)
    return out


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.per_head = config["model_type"] == "chatglm"
        self.query_key_value = nn.Linear(hidden, 3 * hidden)
        self.dense = nn.Linear(hidden, hidden)

    def forward(self, x, rows, rotary, attend):
        packed = self.query_key_value(x)
        if self.per_head:
            query, key, value = packed.view(len(x), self.heads, -1).chunk(3, -1)
            query, key = rotate(query, rotary), rotate(key, rotary)
        else:
            query, key, value = (part.view(len(x), self.heads, -1) for part in packed.chunk(3, -1))
        return self.dense(attend(query, key, value, rows).reshape(len(x), -1))


class Mlp(nn.Module):
    def __init__(self, config, gelu):
        super().__init__()
        hidden = config["hidden_size"]
        inner = config.get("inner_hidden_size") or 4 * hidden
        self.gelu = gelu
        self.dense_h_to_4h = nn.Linear(hidden, inner)
        self.dense_4h_to_h = nn.Linear(inner, hidden)

    def forward(self, x):
        return self.dense_4h_to_h(F.gelu(self.dense_h_to_4h(x), approximate=self.gelu))


class Layer(nn.Module):
    def __init__(self, config, gelu):
        super().__init__()
        hidden, eps = config["hidden_size"], config.get("layernorm_epsilon", 1e-5)
        self.input_layernorm = nn.LayerNorm(hidden, eps)
        self.attention = Attention(config)
        self.post_attention_layernorm = nn.LayerNorm(hidden, eps)
        self.mlp = Mlp(config, gelu)
        # At rate 0 until someone trains: checks compare what is computed without it.
        self.dropout = nn.Dropout(0.0)
        # The published blocks are never told the number of layers, so the factor is that of 28
        # whatever it is.
        self.scaled = math.sqrt(2 * 28) if config["model_type"] == "chatglm" else None

    def forward(self, x, rows, rotary, attend):
        a = self.input_layernorm(x)
        attended = self.dropout(self.attention(a, rows, rotary, attend))
        x = (x if self.scaled is None else self.scaled * a) + attended
        m = self.post_attention_layernorm(x)
        return (x if self.scaled is None else self.scaled * m) + self.dropout(self.mlp(m))


class Transformer(nn.Module):
    def __init__(self, config, gelu):
        super().__init__()
        hidden = config["hidden_size"]
        if config["model_type"] == "glm":
            places = config["max_sequence_length"] + 1
            self.position_embeddings = nn.Embedding(places, hidden)
            self.block_position_embeddings = nn.Embedding(places, hidden)
        else:
            self.word_embeddings = nn.Embedding(config["vocab_size"], hidden)
        self.layers = nn.ModuleList(Layer(config, gelu) for _ in range(config["num_layers"]))
        self.final_layernorm = nn.LayerNorm(hidden, config.get("layernorm_epsilon", 1e-5))
        self.embedding_dropout = nn.Dropout(0.0)


class Model(nn.Module):
    """What both families share: rows in, hidden states, logits and loss out."""

    def __init__(self, config):
        super().__init__()
        # PEFT reads a model's settings as an attribute that acts like a mapping.
        self.config = dict(config)

    def hidden_states(self, rows, attend=attend_one_by_one):
        """The embedding and each layer's output, then the final layer norm's."""
        transformer, rotary = self.body(), self.rotary(rows)
        x = self.words()(rows.input_ids)
        if rotary is None:
            x = x + transformer.position_embeddings(rows.positions[0])
            x = x + transformer.block_position_embeddings(rows.positions[1])
        states = [transformer.embedding_dropout(x)]
        for layer in transformer.layers:
            states.append(layer(states[-1], rows, rotary, attend))
        return states, transformer.final_layernorm(states[-1])

    def forward(self, rows, attend=attend_one_by_one):
        """As `engine forward`: hidden.i, final, logits, and loss where there are labels."""
        states, final = self.hidden_states(rows, attend)
        out = {f"hidden.{i}": state for i, state in enumerate(states)}
        out["final"] = final
        out["logits"] = final @ self.head().T
        if rows.labels is not None:
            out["loss"] = F.cross_entropy(out["logits"], rows.labels, ignore_index=-100)
        return out

    def prepare_inputs_for_generation(self, *_, **__):
        raise NotImplementedError("the reference scores given rows; it does not generate")


class Glm(Model):
    def __init__(self, config, gelu):
        super().__init__(config)
        self.glm = nn.Module()
        self.glm.word_embeddings = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.glm.transformer = Transformer(config, gelu)

    def body(self):
        return self.glm.transformer

    def words(self):
        return self.glm.word_embeddings

    def head(self):
        return self.glm.word_embeddings.weight

    def rotary(self, rows):
        return None


class ChatGlm(Model):
    def __init__(self, config, gelu):
        super().__init__(config)
        self.transformer = Transformer(config, gelu)
        self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        self.lm_head.weight = self.transformer.word_embeddings.weight

    def body(self):
        return self.transformer

    def words(self):
        return self.transformer.word_embeddings

    def head(self):
        return self.lm_head.weight

    def rotary(self, rows):
        """cos and sin [R, 1, d/2] of position and block position; frequencies are rounded to
        float16, as published."""
        size = self.config["hidden_size"] // self.config["num_attention_heads"] // 2
        frequencies = 1.0 / 10000 ** (torch.arange(0, size, 2).float() / size)
        angles = [row[:, None].float() * frequencies.half().float() for row in rows.positions]
        return [
            (torch.cat([a, a], -1).cos()[:, None], torch.cat([a, a], -1).sin()[:, None])
            for a in angles
        ]


def rotate(x, rotary):
    """The first half of each head turns with the position, the second with the block position."""
    turned = []
    for half, (cos, sin) in zip(x.chunk(2, -1), rotary):
        left, right = half.chunk(2, -1)
        turned.append(half * cos + torch.cat([-right, left], -1) * sin)
    return torch.cat(turned, -1)


def gelu_of(config, wanted=None):
    """`none` (erf) or `tanh`, as torch names them: the flag, else hidden_act, else tanh."""
    if wanted is None:
        act = config.get("hidden_act")
        if act not in (None, "gelu", *TANH_GELUS):
            raise Refusal(
                f"config: hidden_act: expected gelu or one of {', '.join(TANH_GELUS)}, got {act!r}"
            )
        wanted = "erf" if act == "gelu" else "tanh"
    return "none" if wanted == "erf" else "tanh"


def build(config, gelu=None):
    family = Glm if config["model_type"] == "glm" else ChatGlm
    return family(config, gelu_of(config, gelu))


def weight_files(folder):
    index = os.path.join(folder, "model.safetensors.index.json")
    if os.path.exists(index):
        with open(index, encoding="utf-8") as file:
            return [
                os.path.join(folder, name)
                for name in sorted(set(json.load(file)["weight_map"].values()))
            ]
    return [os.path.join(folder, "model.safetensors")]


def load(folder, gelu=None):
    """The model of a weights folder in float32; every tensor must be there, and no other."""
    config = read_config(os.path.join(folder, "config.json"))
    model, expected, state = build(config, gelu), expected_tensors(config), {}
    for path in weight_files(folder):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                if is_recomputed(name):
                    continue
                tensor = file.get_tensor(name).float()
                if tuple(tensor.shape) != expected.get(bare(name)):
                    shape = expected.get(bare(name), "no such tensor")
                    raise Refusal(
                        f"tensor {name}: {path}: expected {shape}, got {tuple(tensor.shape)}"
                    )
                state[bare(name)] = tensor
    missing = [name for name in expected if name not in state and not may_be_absent(name)]
    if missing:
        raise Refusal(f"tensor {missing[0]}: {folder}: expected it by config.json, got none")
    if "lm_head.weight" in state and not torch.equal(
        state["lm_head.weight"], state["transformer.word_embeddings.weight"]
    ):
        model.lm_head.weight = nn.Parameter(state["lm_head.weight"].clone())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state[bare(name)])
    return model


def initialise(model, seed):
    """Megatron's: N(0, 0.02), the two output linears of a layer scaled by 1/√(2L), biases 0, norms
    1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.fill_(float(name.endswith("layernorm.weight")))
                continue
            scaled = name.endswith(("attention.dense.weight", "dense_4h_to_h.weight"))
            spread = 0.02 / math.sqrt(2 * model.config["num_layers"]) if scaled else 0.02
            parameter.normal_(0.0, spread, generator=generator)
    return model
