# ImageNet for link-context learning: the released train900_pairs.jsonl, and test100_pairs.jsonl as
# tools/convert.py imagenet_lcl makes it. `shot` counts images per class: shot 8 is the paper's "16-shot".
IMAGENET = '{{$MLLM_DATA:data}}/imagenet'
IMAGENET_LCL = '{{$MLLM_DATA:data}}/imagenet_lcl'


def imagenet_train(policy):
    return dict(
        type='ImageNet1kDatasetTrain',
        filename=IMAGENET_LCL + '/train900_pairs.jsonl',
        image_folder=IMAGENET,
        template_file='{{fileDirname}}/template/ICL.json',
        policy=policy,
        shot=8,
    )


def imagenet_100(shot):
    return dict(
        cfg=dict(
            type='ImageNetTest100Eval2Way',
            filename=IMAGENET_LCL + '/test100_pairs.jsonl',
            image_folder=IMAGENET,
            sample_per_class=50,
            shot=shot,
        ),
        compute_metric=dict(type='LinkContextAccuracy'),
    )


TRAIN_2WAY = imagenet_train('policy_2way')
TRAIN_2WAY_RANDOM = imagenet_train('policy_2way_random')
TRAIN_2WAY_WEIGHT = imagenet_train('policy_2way_weight')
TRAIN_REF_OR_WEIGHT = imagenet_train('ref_or_weight')
TRAIN_JIGSAW = imagenet_train('policy_jigsaw')
TEST100 = {f'ImageNet_100_{shot}': imagenet_100(shot) for shot in range(1, 9)}
