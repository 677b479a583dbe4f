"""The model in float64 numpy, one token and one pixel at a time: the oracle of the torch modules."""

import math

import numpy as np

ERF = np.vectorize(math.erf)


def gelu(x):
    return 0.5 * x * (1 + ERF(x / math.sqrt(2)))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def layer_norm(x, state, name, eps):
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return centred / scale * state[f"{name}.weight"] + state[f"{name}.bias"]


def choose(logits, k, threshold=0.0, window=None, normalize=False):
    """[(expert, score)] of one token, best first: softmax, top-k, ties to the lowest index."""
    first, count = window or (0, len(logits))
    p = softmax(np.asarray(logits, np.float64)[first : first + count])
    best = sorted(range(count), key=lambda e: (-p[e], e))[:k]
    total = sum(p[e] for e in best) if normalize else 1.0
    return [(first + e, p[e] / total if p[e] / total >= threshold else 0.0) for e in best]


def mix(x, logits, w1, b1, w2, b2, k, threshold=0.0, window=None, normalize=False, act=gelu):
    """Mixture of experts, token by token: x [T, D], logits [T, E], w1 [E, D, H], w2 [E, H, D]."""
    out = np.zeros(x.shape)
    for t in range(len(x)):
        for e, score in choose(logits[t], k, threshold, window, normalize):
            out[t] += score * (act(x[t] @ w1[e] + b1[e]) @ w2[e] + b2[e])
    return out


def attention(x, state, name, heads):
    n, d = x.shape
    qkv = (x @ state[f"{name}.qkv.weight"].T + state[f"{name}.qkv.bias"]).reshape(n, 3, heads, d // heads)
    out = np.zeros((n, heads, d // heads))
    for h in range(heads):
        for i in range(n):
            scores = qkv[:, 1, h] @ qkv[i, 0, h] / math.sqrt(d // heads)
            out[i, h] = softmax(scores) @ qkv[:, 2, h]
    return out.reshape(n, d) @ state[f"{name}.proj.weight"].T + state[f"{name}.proj.bias"]


def gate_logits(x, state, name, config, task):
    if config.routing == "multi_gate":
        return x @ state[f"{name}.{task}.w_gate"]
    if config.task_embedding == 0:
        return x @ state[f"{name}.w_gate"]
    rep, one_hot = "backbone.gate_task_represent", np.eye(len(config.tasks))[task]
    hidden = gelu(one_hot @ state[f"{rep}.fc1.weight"].T + state[f"{rep}.fc1.bias"])
    e = layer_norm(hidden @ state[f"{rep}.fc2.weight"].T + state[f"{rep}.fc2.bias"], state, f"{rep}.norm", 1e-6)
    return np.concatenate([x, np.tile(e, (len(x), 1))], axis=1) @ state[f"{name}.w_gate"]


def feed(x, gate_input, state, name, config, task, window):
    if f"{name}.fc1.weight" in state:
        hidden = gelu(x @ state[f"{name}.fc1.weight"].T + state[f"{name}.fc1.bias"])
        return hidden @ state[f"{name}.fc2.weight"].T + state[f"{name}.fc2.bias"]
    logits, e = gate_logits(gate_input, state, f"{name}.gate", config, task), f"{name}.experts"
    w1, w2 = (state[f"{e}.{part}.weight"].transpose(0, 2, 1) for part in ("htoh4", "h4toh"))
    b1, b2 = state[f"{e}.htoh4.bias"], state[f"{e}.h4toh.bias"]
    return mix(x, logits, w1, b1, w2, b2, config.top_k, config.expert_prune, window)


def conv(x, weight, bias):
    """x [C, h, w]; same padding."""
    pad = weight.shape[2] // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    h, w = x.shape[1] - 2 * pad, x.shape[2] - 2 * pad
    out = np.zeros((weight.shape[0], h, w)) + bias[:, None, None]
    for i in range(h):
        for j in range(w):
            patch = x[:, i : i + 2 * pad + 1, j : j + 2 * pad + 1]
            out[:, i, j] += np.tensordot(weight, patch, 3)
    return out


def resize(x, height, width):
    """Bilinear, pixel centres at half, edges clamped (ONNX Resize, half_pixel)."""

    def axis(a, size):
        old = a.shape[1]
        out = np.zeros((a.shape[0], size, a.shape[2]))
        for i in range(size):
            at = min(max((i + 0.5) * old / size - 0.5, 0), old - 1)
            low = int(at)
            out[:, i] = a[:, low] * (1 - at + low) + a[:, min(low + 1, old - 1)] * (at - low)
        return out

    return axis(axis(x, height).transpose(0, 2, 1), width).transpose(0, 2, 1)


def head(x, state, name, config):
    x = layer_norm(x[1:] if config.class_token else x, state, f"{name}.norm", config.norm_eps)
    rows, columns = config.image[0] // config.patch, config.image[1] // config.patch
    x = x.reshape(rows, columns, -1).transpose(2, 0, 1)
    last = len(config.head_channels)
    for i in range(last):
        x, bn = (
            conv(x, state[f"{name}.conv_{i}.weight"], state[f"{name}.conv_{i}.bias"]),
            f"{name}.syncbn_fc_{i}",
        )
        mean, var = state[f"{bn}.running_mean"][:, None, None], state[f"{bn}.running_var"][:, None, None]
        x = (x - mean) / np.sqrt(var + 1e-5) * state[f"{bn}.weight"][:, None, None]
        x = np.maximum(x + state[f"{bn}.bias"][:, None, None], 0)
        x = resize(x, 2 * x.shape[1], 2 * x.shape[2]) if i + 1 < last else x
    x = conv(x, state[f"{name}.conv_{last}.weight"], state[f"{name}.conv_{last}.bias"])
    return resize(x, *config.image)


def embed(image, state, config):
    weight, p = state["backbone.patch_embed.proj.weight"], config.patch
    tokens = [
        np.tensordot(weight, image[:, i : i + p, j : j + p], 3) + state["backbone.patch_embed.proj.bias"]
        for i in range(0, image.shape[1], p)
        for j in range(0, image.shape[2], p)
    ]
    if config.class_token:
        tokens.insert(0, state["backbone.cls_token"][0, 0])
    return np.stack(tokens) + state["backbone.pos_embed"][0]


def run(state, config, image, task, window=None):
    """The map [C, H, W] of task number `task` for one image [3, H, W]."""
    x = embed(image, state, config)
    for i in range(config.depth):
        block, before = f"backbone.blocks.{i}", x
        x = x + attention(layer_norm(x, state, f"{block}.norm1", config.norm_eps), state, f"{block}.attn", config.heads)
        normed = layer_norm(x, state, f"{block}.norm2", config.norm_eps)
        gate_input = before if config.gate_input_ahead else normed
        x = x + feed(normed, gate_input, state, f"{block}.mlp", config, task, window)
    return head(x, state, f"decoders.{config.tasks[task].name}", config)
