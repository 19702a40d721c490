# Single-file checkpoints, over their base or by themselves.

check "a single-file checkpoint" bash -c \
    "'$vksteer' info -m '$tiny/sd1' --checkpoint '$tiny/checkpoints/sd1.ckpt' | grep -q 'unet .*, of .*sd1.ckpt'"
refused "a checkpoint that is none" 1 "has no model.diffusion_model" "$vksteer" info -q \
    --checkpoint "$tiny/torch/module.bin"
refused "a checkpoint for another model" 1 "different models" "$vksteer" info --sites '.*' \
    --checkpoint "$tiny/checkpoints/sd1.ckpt"
rm "$(snapshot stabilityai/stable-diffusion-xl-base-1.0 "$tiny/xl")"/*/*.safetensors
from_file() { "${hub[@]}" "$vksteer" apply -q -p "an apple" -W 32 -H 16 --steps 1 -o file.png "$@"; }
check "a checkpoint as the model, its base in the cache" from_file -m "$tiny/checkpoints/xl.safetensors"
mv file.png alone.png
check "the same over its base" from_file -m "$tiny/xl" --checkpoint "$tiny/checkpoints/xl.safetensors"
check "gives the same picture" test "$(distance alone.png file.png)" = 0
turbo=$(snapshot stabilityai/sdxl-turbo "$tiny/xl")
refused "a checkpoint of several bases" 1 "xl-base-1.0, stabilityai/sdxl-turbo): say which" "${hub[@]}" \
    "$vksteer" info -m "$tiny/checkpoints/xl.safetensors"
cp "$tiny/checkpoints/xl.safetensors" sd_xl_turbo_1.0.safetensors
check "one that bears its base's name" bash -c "${hub[*]} '$vksteer' info -v \
    -m sd_xl_turbo_1.0.safetensors 2>&1 | grep -q 'those of stabilityai/sdxl-turbo'"
rm -r "${turbo%/snapshots/*}"
refused "a checkpoint without its base" 1 "Stable Diffusion 1.*give their folder" "${hub[@]}" "$vksteer" info \
    -m "$tiny/checkpoints/sd1.ckpt"
refused "weights that are no checkpoint, as the model" 1 "neither a GGUF file nor a whole checkpoint" "$vksteer" \
    info -m "$emoji"/unet/diffusion_pytorch_model.safetensors
