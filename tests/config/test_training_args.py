"""Defaults and additional fields of the training arguments."""

from mllm.config.training_args import TrainingArguments, training_hints


def test_defaults():
    args = TrainingArguments(output_dir='x', use_cpu=True)
    assert not args.remove_unused_columns
    assert args.predict_with_generate
    assert args.report_to == ['tensorboard']
    assert args.logging_steps == 10
    assert not args.do_multi_predict
    assert not args.overwrite_output_dir
    assert args.device.type == 'cpu'


def test_values_given_as_json_text():
    args = TrainingArguments(
        output_dir='x',
        use_cpu=True,
        liger_kernel_config='{"rope": true}',
        lr_scheduler_kwargs='{"min_lr_rate": 0.1}',
        parallelism_config='{"tp_size": 1}',
    )
    assert args.liger_kernel_config == {'rope': True}
    assert args.lr_scheduler_kwargs == {'min_lr_rate': 0.1}
    assert args.parallelism_config.tp_size == 1  # type: ignore[union-attr]


def test_warmup_below_one_is_a_share_of_the_steps():
    assert TrainingArguments(output_dir='x', use_cpu=True, warmup_steps=0.25).get_warmup_steps(100) == 25
    assert TrainingArguments(output_dir='x', use_cpu=True, warmup_steps=7).get_warmup_steps(100) == 7


def test_hints_cover_all_fields():
    hints = training_hints()
    assert {'output_dir', 'do_multi_predict', 'overwrite_output_dir', 'generation_num_beams'} <= set(hints)
