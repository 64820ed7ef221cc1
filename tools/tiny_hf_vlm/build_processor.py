"""Makes data/tiny_hf_vlm: a processor with the tokens and files of a SmolVLM's, for images of 32 pixels.

python tools/tiny_hf_vlm/build_processor.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, SmolVLMImageProcessorPil

MARKS = [
    '<|im_start|>',
    '<end_of_utterance>',
    '<|endoftext|>',
    '<fake_token_around_image>',
    '<image>',
    '<global-img>',
    *(f'<row_{row}_col_{column}>' for row in range(1, 5) for column in range(1, 5)),
]
SENTENCES = [
    'User: Assistant: system: yes no',
    'What is in the image? there is "a" in the image. What is the object in this picture called?',
    'Answer with one word. Please give the box of it: [0.123,0.456,0.789,0.500]',
]
TEMPLATE = """\
<|im_start|>{% for message in messages -%}
{{ message.role | capitalize }}{{ ':' if message.content[0].type == 'image' else ': ' }}
{%- for part in message.content %}{{ '<image>' if part.type == 'image' else part.text }}{% endfor -%}
<end_of_utterance>
{% endfor %}
{%- if add_generation_prompt %}Assistant:{% endif %}
"""
SIDE = 32
"""Of a tile, in pixels."""
TOKENS = 4
"""Of a tile: patches of 8 pixels, four of them to a token."""


def main(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=384, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in MARKS])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=MARKS[0],
        eos_token=MARKS[1],
        pad_token=MARKS[2],
        model_input_names=['input_ids', 'attention_mask'],
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)
    edges = {'longest_edge': 2 * SIDE}, {'longest_edge': SIDE}
    SmolVLMImageProcessorPil(size=edges[0], max_image_size=edges[1]).save_pretrained(folder)
    settings = {'processor_class': 'SmolVLMProcessor', 'image_seq_len': TOKENS}
    (folder / 'processor_config.json').write_text(json.dumps(settings, indent=2) + '\n')
    (folder / 'chat_template.jinja').write_text(TEMPLATE)


if __name__ == '__main__':
    here = Path(__file__).parents[2] / 'data/tiny_hf_vlm'
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else here)
