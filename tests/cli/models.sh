# Folders and files of models with something wrong, and their variants.

# A folder with one thing wrong.
broken() # HOW TEXT COMMAND...: what refuses it
{
    local how=$1 text=$2
    shift 2
    python3 "$here/tests/cli/break.py" "$tiny/sd1" "$PWD/wrong-$how" "$how" || return
    refused "a model with $how" 1 "$text" "$@" -q -m "$PWD/wrong-$how" -W 32 -H 16
}
wrong() { broken "$@" "$vksteer" apply -p "an apple" -o never.png; }
wrong no-unet-entry "the part unet is missing"
wrong no-text-encoder "text_encoder/config.json"
wrong no-tokenizer "has neither vocab.json"
wrong no-scheduler "scheduler_config.json"
wrong no-vae "vae/config.json"
wrong no-config "unet/config.json"
wrong no-tensor "the tensor conv_out.bias is missing"
wrong class-pipeline "FluxPipeline"
wrong class-unet "the class UNet3DConditionModel of unet is not supported"
wrong class-text "the class T5EncoderModel of text_encoder is not supported"
wrong class-vae "put an AutoencoderKL"
wrong class-block "MagicDownBlock2D"
wrong shape-config "config.json asks for (64, 16)"
wrong shape-tensor "conv_in.weight has the shape (8, 12, 3)"
wrong shape-text "cross_attention_dim 28"
wrong type-double "conv_norm_out.weight is of type F64: convert"
wrong nan "the tensor conv_norm_out.bias holds values that are no numbers"
wrong infinite "the tensor conv_in.weight holds values that are no numbers"
some=("${sets[@]}" --steps 1 --batch 4 --sites unet.conv_norm_out)
rm -r wrong-nan
broken nan "not finite for prompt 1" "$vksteer" train "${some[@]}" -o never.safetensors
whole() { "$vksteer" apply -q -m "$1" -p "an apple" -W 32 -H 16 -o "$2"; }
python3 "$here/tests/cli/break.py" "$tiny/sd1" mixed type-mixed
check "paint with weights of several types" whole ./mixed mixed.png
check "and of one" whole "$tiny/sd1" single.png
check "the same picture, nearly" test "$(distance mixed.png single.png)" -le 16
# Variants, in a folder and in the Hugging Face cache.
pair=$(snapshot some/pair "$tiny/sd1")/unet/diffusion_pytorch_model
cp mixed/unet/diffusion_pytorch_model.safetensors $pair.fp16.safetensors
paint_pair() { "${hub[@]}" "$vksteer" apply -q -m some/pair -p "an apple" -W 32 -H 16 "$@"; }
check "a repository with a variant beside" paint_pair -o pair.png
check "whose plain weights are taken" test "$(pixels pair.png)" = "$(pixels single.png)"
check "unless the variant is asked for" paint_pair --variant fp16 -o pair.png
check "by its name" test "$(pixels pair.png)" = "$(pixels mixed.png)"
refused "a variant that is no name" 1 "is no name" "$vksteer" info -m "$tiny/sd1" --variant ../fp16
refused "a part of the files' names as a variant" 1 "no part has weights" "$vksteer" info -m "$tiny/sd1" \
    --variant diffusion_pytorch_model
refused "a variant that is not there" 1 "no part has weights of the variant ema" "$vksteer" info -m "$tiny/sd1" \
    --variant ema
ln -sf ../../../blobs/gone $pair.safetensors
check "a variant that alone is there" paint_pair -o pair.png
check "is taken without a word" test "$(pixels pair.png)" = "$(pixels mixed.png)"
refused "the sites of a GGUF file without them" 1 "no whole model" "$vksteer" info -m "$gguf" --sites '.*'
sed 's/general.architecture\(.\{12\}\)llama/general.architecture\1mamba/' "$llama/model.gguf" >mamba.gguf
refused "an architecture that is not known" 1 "mamba is not supported" "$vksteer" info -m mamba.gguf --sites '.*'
head -c 700 "$gguf" >cut.gguf
refused "a truncated GGUF file" 1 "cut short" "$vksteer" info -m cut.gguf
echo '<!doctype html>' >page.gguf
refused "a page in place of a GGUF file" 1 "no GGUF file" "$vksteer" info -m page.gguf
sed 's/general.architecture/general.architectury/' "$gguf" >nameless.gguf
refused "a GGUF file of no model" 1 "general.architecture" "$vksteer" info -m nameless.gguf
