# VL-ICL Bench as it is distributed: folders of tasks below data/vl_icl.
VL_ICL_TASKS = ('open_mi', 'operator_induction', 'clevr', 'textocr', 'matching_mi')


def vl_icl(task, shots):
    return dict(
        cfg=dict(type='VLICLDataset', root='{{$MLLM_DATA:data}}/vl_icl', task=task, shots=shots),
        compute_metric=dict(type='VLICLComputeMetrics'),
    )


VL_ICL = {f'VL_ICL_{task}_{shots}': vl_icl(task, shots) for task in VL_ICL_TASKS for shots in (1, 2, 4)}
