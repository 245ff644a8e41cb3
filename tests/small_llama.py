"""A Llama of random weights, small enough for a test."""

from __future__ import annotations

from typing import Any

import torch
import transformers


def small_llama(hidden: int) -> Any:
    """One layer, `hidden` wide, 32 words; the same weights every time."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=hidden,
        intermediate_size=hidden,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=32,
        bos_token_id=1,
        eos_token_id=2,
    )
    return transformers.LlamaForCausalLM(config)
