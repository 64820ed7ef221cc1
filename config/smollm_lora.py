# Stage 2 of the small pretrained model: from the projector of config/smollm_projector.py, adapters on every linear layer
# of the language model, and the projector's last map learns on.
_base_ = ['smollm_projector.py']

model_args = dict(
    model_name_or_path='exp/smollm_projector',
    lora=dict(r=16, alpha=32),
    tune=['model.multi_modal_projector.linear'],
)

data_args = dict(multitest={**_base_.PAIRS_HELDOUT, **_base_.PAIRS_BLANKED, **_base_.PAIRS_PERMUTED})

training_args = dict(
    learning_rate=2e-3,
    lr_by_part={'model.multi_modal_projector': 2e-4},
    max_steps=300,
)
