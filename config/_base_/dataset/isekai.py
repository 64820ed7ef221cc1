# ISEKAI-10 and ISEKAI-pair: local copies of the data sets of the same names at https://huggingface.co/ISEKAI-Portal.
# A folder with a file of rows among its images, or with a sub-folder of images per class; or name the file, and the
# folder of its images as image_folder.
ISEKAI = '{{$MLLM_DATA:data}}/ISEKAI'


def isekai(name, shot):
    return dict(
        cfg=dict(type='ISEKAIEval2Way', filename=f'{ISEKAI}-{name}', shot=shot),
        compute_metric=dict(type='LinkContextAccuracy'),
    )


ISEKAI_10 = {f'ISEKAI_10_{shot}': isekai('10', shot) for shot in range(1, 9)}
ISEKAI_PAIR = {f'ISEKAI_pair_{shot}': isekai('pair', shot) for shot in range(1, 9)}
