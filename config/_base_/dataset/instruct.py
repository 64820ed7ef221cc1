# LLaVA's instruction data and image-caption pretraining, as tools/convert.py writes them with --out data/llava.
LLAVA = '{{$MLLM_DATA:data}}/llava'


def instruct(name, images):
    return dict(type='InstructDataset', filename=f'{LLAVA}/{name}.jsonl', image_folder='{{$MLLM_DATA:data}}/' + images)


INSTRUCT_TRAIN = instruct('llava_instruct_150k', 'coco/train2017')
INSTRUCT_MIX665K_TRAIN = instruct('llava_v1_5_mix665k', 'llava/images')
LLAVA_CC3M_TRAIN = instruct('chat', 'llava/cc3m')
LLAVA_LCS_TRAIN = instruct('blip_laion_cc_sbu_558k', 'llava/lcs558k')
