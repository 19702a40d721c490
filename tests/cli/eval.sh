# What a steering does, and steerings of other weights.
need a.safetensors four.txt

json "eval --json" "$vksteer" eval -q --steer a.safetensors --source "$prompts/validation.txt" \
    --target "$prompts/style.target.txt" --json
# A steering of one map, with figures of other weights than the model's.
one_map() # SITE OUT
{
    "$vksteer" info -q --sites "$1" --json >site.json && make_file map site.json "$2"
}
check "a map of other weights" one_map unet.conv_norm_out foreign.safetensors
check "eval warns of it once" bash -c \
    "[ \$('$vksteer' eval --steer foreign.safetensors --source four.txt --target four.txt \
    2>&1 >/dev/null | grep -c 'other weights') = 1 ]"
check "apply warns of it once" bash -c "[ \$('$vksteer' apply -p x --steer foreign.safetensors -o x.png 2>&1 |
    grep -c 'other weights') = 1 ]"
refused "and refuses it if asked" 1 "other weights" "$vksteer" apply -p x --steer foreign.safetensors --strict \
    -o never.png
check "a map in the decoder" one_map vae.decoder.layers.0 decoder.safetensors
check "a map in the text encoder" one_map text_encoder.encoder.layers.1.layer_norm1 text.safetensors
train_short() { train --steps 2 --sites unet.conv_norm_out "$@"; }
check "train for comparison" train_short -o on0.safetensors
check "train on top of a map in the decoder" train_short -o on1.safetensors --steer decoder.safetensors
check "which no activation sees" cmp on0.safetensors on1.safetensors
check "train on top of a map in the text encoder" train_short -o on2.safetensors --steer text.safetensors
check "which sources see" bash -c "! cmp -s on0.safetensors on2.safetensors"
check "eval compares its pictures alone" bash -c "'$vksteer' eval --steer decoder.safetensors --source four.txt \
    --target four.txt >eval.log 2>&1 && grep -q 'all maps lie in the decoder' eval.log &&
    grep -q '4 pictures' eval.log"
