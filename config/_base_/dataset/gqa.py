# GQA, as tools/convert.py writes it with --out data/gqa. Versions with boxes of objects need the scene graphs, those
# with c (chain of thought) need `cot` in their rows, which the official files do not have.
GQA = '{{$MLLM_DATA:data}}/gqa'
GQA_QUESTIONS = ('Q', 'QB', 'QBP')
GQA_ANSWERS = ('A', 'C', 'BC', 'S', 'BS', 'L', 'BL')
GQA_TEMPLATES = dict(A='VQA', C='VQA_CoT', S='VQA_CoT', L='VQA_CoT', BC='VQA_BCoT', BS='VQA_BCoT', BL='VQA_BCoT')


def gqa(split, question, answer, scenes, template=None):
    cfg = dict(
        type='GQADataset',
        filename=f'{GQA}/{split}_questions.jsonl',
        image_folder=GQA + '/images',
        template_file='{{fileDirname}}/template/' + GQA_TEMPLATES[template or answer] + '.json',
        version=f'{question}-{answer}'.lower(),
    )
    if scenes and (question != 'Q' or answer in ('BS', 'BL')):
        cfg.update(
            scene_graph_file=f'{GQA}/{scenes}_sceneGraphs.jsonl', scene_graph_index=f'{GQA}/{scenes}_sceneGraphs_index.json'
        )
    return cfg


# GQA_TRAIN['Q_A'] and so on: what the question shows, and what the answer shows.
GQA_TRAIN = {f'{q}_{a}': gqa('train_balanced', q, a, 'train') for q in GQA_QUESTIONS for a in GQA_ANSWERS}
# The answer is asked for in three ways, and always compared alone.
GQA_TEST = {
    f'GQA_Q_{style}_{split.upper()}': dict(
        cfg=gqa(f'{split}_balanced', 'Q', 'A', None, style), compute_metric=dict(type='GQAComputeMetrics')
    )
    for style in ('A', 'C', 'BC')
    for split in ('val', 'testdev')
}
