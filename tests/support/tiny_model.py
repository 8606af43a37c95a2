"""A Llama of a few thousand random weights and a tokenizer of bytes, made without a network: trainers are tried on it.

Its chat template knows tool calls, and looks for the key `tool_calls` as Llama 3.1's does: a loader that fills absent
keys with null breaks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

END = "<|im_end|>"

_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] + '\\n' + message['content'] }}
{%- if 'tool_calls' in message -%}
{%- for call in message['tool_calls'] -%}
<call>{{ call['function']['name'] + ' ' + call['function']['arguments'] | tojson }}</call>
{%- endfor -%}
{%- endif -%}
<|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_start|>{{ 'assistant\\n' }}{%- endif -%}
"""


def make_tokenizer() -> Any:
    """Build a tokenizer whose tokens are bytes and the template's marks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|pad|>", "<|im_start|>", END])
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token="<|pad|>")
    made.chat_template = _TEMPLATE
    return made


def save_tiny_model(directory: Path) -> None:
    """Write the model and its tokenizer into a directory, as trainers load them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
