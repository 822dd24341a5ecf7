#!/usr/bin/env python3
"""Writes a Llama model in GGUF as the directory of safetensors, configuration and tokenizer that vLLM loads.

    gguf-to-safetensors.py MODEL.gguf DIRECTORY

Needs gguf, numpy, safetensors and tokenizers. Quantised weights become float16; the same input gives the same bytes.
"""
import json
import os
import sys

import gguf
import numpy
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

CONTROL = 3  # `LLAMA_TOKEN_TYPE_CONTROL`
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
WHOLE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def hf_name(name):
    if name in WHOLE:
        return WHOLE[name]
    _, number, part, kind = name.split(".")
    return f"model.layers.{number}.{LAYER[part]}.{kind}"


def weights(reader, heads, kv_heads):
    for tensor in reader.tensors:
        if tensor.name == "rope_freqs.weight":
            continue
        plain = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        plain = plain.reshape([int(n) for n in reversed(tensor.shape)])
        for part, count in ((".attn_q.", heads), (".attn_k.", kv_heads)):
            if part in tensor.name:
                # GGUF keeps the two halves of each rotary pair next to each other; undo that.
                rows, columns = plain.shape
                pairs = plain.reshape(count, rows // count // 2, 2, columns)
                plain = pairs.swapaxes(1, 2).reshape(rows, columns)
        yield hf_name(tensor.name), numpy.ascontiguousarray(plain.astype(numpy.float16))


def tokenizer(field):
    tokens, kinds = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges")]
    made = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds) if kind == CONTROL]
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return made, tokens


def write(directory, name, value):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, sort_keys=True, ensure_ascii=False)
        file.write("\n")


def main(source, directory):
    reader = gguf.GGUFReader(source)

    def field(name, default=None):
        found = reader.get_field(name)
        return default if found is None else found.contents()

    if field("general.architecture") != "llama":
        sys.exit(f"error: `{source}` is {field('general.architecture')}, wanted llama")
    os.makedirs(directory, exist_ok=True)
    heads = field("llama.attention.head_count")
    kv_heads = field("llama.attention.head_count_kv", heads)
    tensors = dict(weights(reader, heads, kv_heads))
    save_file(tensors, os.path.join(directory, "model.safetensors"), metadata={"format": "pt"})
    made, tokens = tokenizer(field)
    made.save(os.path.join(directory, "tokenizer.json"))
    start, end = field("tokenizer.ggml.bos_token_id"), field("tokenizer.ggml.eos_token_id")
    write(directory, "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[start],
        "eos_token": tokens[end],
        "pad_token": tokens[end],
        "chat_template": field("tokenizer.chat_template"),
        "model_max_length": field("llama.context_length"),
    })
    write(directory, "generation_config.json", {"bos_token_id": start, "eos_token_id": end})
    write(directory, "config.json", {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "float16",
        "bos_token_id": start,
        "eos_token_id": end,
        "hidden_act": "silu",
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "max_position_embeddings": field("llama.context_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "num_hidden_layers": field("llama.block_count"),
        "rms_norm_eps": round(float(field("llama.attention.layer_norm_rms_epsilon")), 10),
        "rope_theta": float(field("llama.rope.freq_base", 10000.0)),
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "vocab_size": len(tokens),
    })


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    main(sys.argv[1], sys.argv[2])
