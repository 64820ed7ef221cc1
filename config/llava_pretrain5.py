# Pretraining on five kinds of tasks in equal parts: captions, regions named, regions found, grounded captions, dialogue.
_base_ = ['_base_/dataset/shikra_tasks.py', '_base_/model/llava_v1_7b.py', '_base_/train/llava_fsdp.py']

data_args = dict(
    train=dict(
        type='InterleaveDataset',
        cfgs=[
            _base_.CAPTION_TRAIN,
            _base_.REG_TRAIN,
            _base_.REC_TRAIN,
            _base_.FLICKR_TRAIN,
            _base_.INSTRUCT_TRAIN,
        ],
        probabilities=[0.2, 0.2, 0.2, 0.2, 0.2],
        seed=42,
        stopping_strategy='first_exhausted',
    )
)
training_args = dict(num_train_epochs=1)
