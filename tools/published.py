"""What a published GLM or ChatGLM checkpoint holds: every tensor's name and shape, from its
config.json."""

import json
import re
import sys

# The defaults of the published configuration class, for fields that a config.json leaves out.
GLM_DEFAULTS = {
    "num_layers": 24,
    "vocab_size": 30592,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "max_sequence_length": 512,
    "block_position_encoding": True,
    "relative_encoding": False,
    "attention_scale": 1.0,
}
# ChatGLM's own class defaults are those of an older revision, so its sizes must be in the file.
CHATGLM_SIZES = (
    "num_layers",
    "vocab_size",
    "hidden_size",
    "num_attention_heads",
    "inner_hidden_size",
)


class Refusal(Exception):
    """Input that a tool will not work on: one line, `what: where: expected …, got …; what to
    do`."""

    def __init__(self, message, code=4):
        super().__init__(message)
        self.code = code


def run(main):
    """Runs a tool's main; a refusal becomes one line on standard error and its exit code."""
    try:
        return main() or 0
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return refusal.code
    except BrokenPipeError:
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"file system: {where}{error.strerror or error}", file=sys.stderr)
        return 3


def read_json(path, what):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        raise Refusal(f"{what}: {path}: expected a file, got none", code=3) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Refusal(f"{what}: {path}: expected JSON, got {error}", code=3) from None


def read_config(path):
    """The config with the published defaults filled in; refuses families and variants that are not
    known."""
    config = read_json(path, "config")
    if not isinstance(config, dict):
        raise Refusal(f"config: {path}: expected an object, got a {type(config).__name__}")
    family = config.get("model_type")
    if family == "glm":
        if "num_layers" not in config and "num_hidden_layers" in config:
            config["num_layers"] = config["num_hidden_layers"]
        config = {**GLM_DEFAULTS, **config}
        if config["relative_encoding"]:
            raise Refusal(
                f"config: {path}: expected relative_encoding false, got true; no such model was "
                "published"
            )
    elif family == "chatglm":
        missing = [name for name in CHATGLM_SIZES if name not in config]
        if missing:
            raise Refusal(
                f"config: {path}: expected the sizes of the model, got none for "
                f"{', '.join(missing)}"
            )
    else:
        raise Refusal(f'config: {path}: expected model_type "glm" or "chatglm", got {family!r}')
    for name in CHATGLM_SIZES[:4]:
        if not isinstance(config[name], int) or config[name] < 1:
            raise Refusal(
                f"config: {path}: {name}: expected a positive whole number, got {config[name]!r}"
            )
    if config["hidden_size"] % config["num_attention_heads"]:
        raise Refusal(
            f"config: {path}: expected hidden_size to be a multiple of num_attention_heads, "
            f"got {config['hidden_size']} and {config['num_attention_heads']}"
        )
    return config


def expected_tensors(config):
    """Name to shape, in the order of the forward pass, without the `glm.` prefix."""
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    inner = config.get("inner_hidden_size") or 4 * hidden
    shapes = {}
    if config["model_type"] == "glm":
        shapes["word_embeddings.weight"] = (vocab, hidden)
        places = config["max_sequence_length"]
        if config["block_position_encoding"]:
            shapes["transformer.position_embeddings.weight"] = (places + 1, hidden)
            shapes["transformer.block_position_embeddings.weight"] = (places + 1, hidden)
        else:
            shapes["transformer.position_embeddings.weight"] = (places, hidden)
    else:
        shapes["transformer.word_embeddings.weight"] = (vocab, hidden)
    for layer in range(config["num_layers"]):
        at = f"transformer.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{at}{norm}.weight"] = (hidden,)
            shapes[f"{at}{norm}.bias"] = (hidden,)
        for linear, rows, columns in (
            ("attention.query_key_value", 3 * hidden, hidden),
            ("attention.dense", hidden, hidden),
            ("mlp.dense_h_to_4h", inner, hidden),
            ("mlp.dense_4h_to_h", hidden, inner),
        ):
            shapes[f"{at}{linear}.weight"] = (rows, columns)
            shapes[f"{at}{linear}.bias"] = (rows,)
    shapes["transformer.final_layernorm.weight"] = (hidden,)
    shapes["transformer.final_layernorm.bias"] = (hidden,)
    if config["model_type"] == "chatglm":
        shapes["lm_head.weight"] = (vocab, hidden)
    return shapes


def may_be_absent(name):
    """ChatGLM's output matrix is the word embedding when it has no tensor of its own."""
    return name == "lm_head.weight"


def is_recomputed(name):
    """Buffers that the published files carry and the published code does not read."""
    return (
        re.fullmatch(r"(glm\.)?transformer\.layers\.\d+\.attention\.rotary_emb\.inv_freq", name)
        is not None
    )


def bare(name):
    return name[len("glm.") :] if name.startswith("glm.") else name
