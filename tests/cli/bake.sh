# Models with steerings folded in.
need a.safetensors p.png lora.safetensors pickled
cp a.safetensors c.safetensors

check "bake two steerings" "$vksteer" bake -q --steer a.safetensors:3 --steer c.safetensors:0.5 -o baked
check "paint with both" "$vksteer" apply -q -p "a red apple" --steer a.safetensors:3 --steer c.safetensors:0.5 \
    -o both.png
check "paint with the baked model" "$vksteer" apply -q -m ./baked -p "a red apple" -o baked.png
check "baked and steered agree" test "$(distance both.png baked.png)" -le 4
check "and differ from unsteered" test "$(distance p.png baked.png)" -ge 8
check "the file says what was baked" grep -aq '"vksteer":"a.safetensors:3, c.safetensors:0.5"' \
    baked/unet/diffusion_pytorch_model.safetensors
check "bake at strength 0" "$vksteer" bake -q --steer a.safetensors:0 -o plain
check "strength 0 gives the same folder" diff -r "$emoji" plain
check "bake another scheduler" "$vksteer" bake -q --scheduler pndm --steer a.safetensors:0 -o pndm.baked
check "both files name it" bash -c "grep -q PNDMScheduler pndm.baked/model_index.json &&
    grep -q PNDMScheduler pndm.baked/scheduler/scheduler_config.json"
check "paint with it" "$vksteer" apply -q -m ./pndm.baked --steps 5 -p "a red apple" -o pndm.baked.png
check "paint with it over the model" "$vksteer" apply -q --scheduler pndm --steps 5 -p "a red apple" -o pndm.png
check "the same picture" test "$(pixels pndm.baked.png)" = "$(pixels pndm.png)"
refused "bake timesteps" 1 "cannot hold timesteps" "$vksteer" bake -q --timesteps 399 --steer a.safetensors \
    -o never.folder
mkdir x.index.y && cp -r "$emoji" x.index.y/model && cp pickled/unet/*.bin x.index.y/model/unet &&
    rm x.index.y/model/unet/*.safetensors
check "bake in a folder that is named as an index" "$vksteer" bake -q -m ./x.index.y/model --steer a.safetensors \
    -o named
check "and keep the configuration" cmp named/unet/config.json "$emoji/unet/config.json"
check "bake without a device" "${no_device[@]}" "$vksteer" bake -q --steer a.safetensors:inv -o inverse
check "bake a baked model" "$vksteer" bake -q -m ./baked --steer a.safetensors:0.5 -o twice
check "the file says both" grep -aq '"vksteer":"a.safetensors:3, c.safetensors:0.5; a.safetensors:0.5"' \
    twice/unet/diffusion_pytorch_model.safetensors
check "bake weights of PyTorch" "$vksteer" bake -q -m ./pickled --steer a.safetensors:3 --steer c.safetensors:0.5 \
    -o baked.torch
check "into safetensors, and nothing else" bash -c \
    "ls baked.torch/unet | grep -v config.json | cmp - <(echo diffusion_pytorch_model.safetensors)"
check "paint with them" "$vksteer" apply -q -m ./baked.torch -p "a red apple" -o baked.torch.png
check "the same picture" test "$(distance baked.torch.png baked.png)" = 0
over=(--unet pickled/unet/diffusion_pytorch_model.bin --lora lora.safetensors:0.8)
check "paint steered, with other parts" "$vksteer" apply -q "${over[@]}" --steer a.safetensors:3 -p "a red apple" \
    -o over.png
check "bake them all" "$vksteer" bake -q "${over[@]}" --steer a.safetensors:3 -o baked.over
check "paint with what was baked" "$vksteer" apply -q -m ./baked.over -p "a red apple" -o baked.over.png
check "baked and put over agree" test "$(distance over.png baked.over.png)" -le 4
check "and the LoRA is in it" test "$(distance baked.png baked.over.png)" -ge 4
check "which the file says" \
    grep -aq '"vksteer":"a.safetensors:3; unet diffusion_pytorch_model.bin; lora lora.safetensors:0.8"' \
    baked.over/unet/diffusion_pytorch_model.safetensors
cp -r "$tiny/turbo" turbo && rm turbo/expected.safetensors turbo/pictures.* && touch turbo/vae/other.txt
check "train on a tiny model" "$vksteer" train -q -m ./turbo "${sets[@]}" --method mean-act --batch 8 \
    --sites unet.conv_norm_out -W 32 -H 32 -o turbo.safetensors
# With an AutoencoderTiny, and here an AutoencoderKL.
paint_turbo() { "$vksteer" apply -q -p "an apple" -W 32 -H 32 -m "$@"; }
check "paint steered, with another autoencoder" paint_turbo ./turbo --vae "$tiny/kl/vae" --steer turbo.safetensors \
    -o turbo.png
check "bake another autoencoder" "$vksteer" bake -q -m ./turbo --vae "$tiny/kl/vae" --steer turbo.safetensors \
    -o turbo.baked
check "paint with it" paint_turbo ./turbo.baked -o turbo.baked.png
check "baked and put over agree" test "$(distance turbo.png turbo.baked.png)" -le 4
check "the index names its class, and the rest as it was" python3 -c 'import json, sys
old, new = (json.load(open(name)) for name in sys.argv[1:])
assert old != new and new == dict(old, vae=["diffusers", "AutoencoderKL"])' \
    turbo/model_index.json turbo.baked/model_index.json
check "settings and weights are its own, and nothing of the old is left" bash -c \
    "cmp turbo.baked/vae/config.json '$tiny/kl/vae/config.json' &&
    ls turbo.baked/vae | cmp - <(printf 'config.json\ndiffusion_pytorch_model.safetensors\n')"
check "which the file says" grep -aq '"vksteer":"turbo.safetensors:1; vae vae"' \
    turbo.baked/vae/diffusion_pytorch_model.safetensors
cp -r "$tiny/kl/vae" odd && sed -i 's/AutoencoderKL/AsymmetricAutoencoderKL/' odd/config.json
refused "bake an autoencoder of another class" 1 "leave --vae out" "$vksteer" bake -q -m ./turbo --vae ./odd \
    --steer turbo.safetensors -o never.folder
cp -r "$emoji" forms
touch forms/unet/diffusion_pytorch_model.bin forms/all.ckpt forms/vae/same.bin
check "bake a model in several forms" bash -c "'$vksteer' bake -m ./forms --steer a.safetensors -o form 2>form.log"
check "what would be the old model is left out, and said" bash -c "[ \$(grep -c 'is left out' form.log) = 2 ] && \
    [ ! -e form/unet/diffusion_pytorch_model.bin ] && [ ! -e form/all.ckpt ] && [ -e form/vae/same.bin ]"
cp -r "$emoji" torn && truncate -s 2000000 torn/unet/*.safetensors
refused "bake a model whose weights are cut short" 1 "safetensors" "$vksteer" bake -q -m ./torn \
    --steer a.safetensors -o never.baked
refused "bake over a folder" 1 "there already" "$vksteer" bake -q --steer a.safetensors -o baked
check "train at position avg" train -o avg.safetensors --steps 2 --position avg --sites unet.conv_norm_out
refused "bake a map at position avg" 1 "unet.conv_norm_out cannot be folded" "$vksteer" bake -q \
    --steer avg.safetensors -o never.baked
check "train at attention blocks" train -o attn.safetensors --steps 2 --sites 'unet.mid_block.*attn1' \
    --loss-sites unet.conv_norm_out
check "train heads of a UNet" train -o unet-heads.safetensors --method iti --top-heads 4
check "and bake them" "$vksteer" bake -q --steer unet-heads.safetensors:0.5 -o unet-heads
check "train a vector in a UNet" train -o unet-vector.safetensors --method repe
check "in the middle" bash -c "'$vksteer' inspect unet-vector.safetensors | grep -q 'sites .* unet.mid_block'"
check "train within a range" train -o within.safetensors --method linear-act --quantiles 0:100 \
    --sites unet.conv_norm_out
check "paint within a range" "$vksteer" apply -q -p "a red apple" --steer within.safetensors -o within.png
refused "bake within a range" 1 "unet.conv_norm_out cannot be folded.*range" "$vksteer" bake -q \
    --steer within.safetensors -o never.baked
refused "bake maps of containers" 1 "attn1 cannot be folded" "$vksteer" bake -q --steer attn.safetensors \
    -o never.baked
check "train at queries, which have no bias" train -o query.safetensors --steps 2 \
    --sites 'unet.mid_block.*attn1.to_q' --loss-sites unet.conv_norm_out
refused "bake an offset without a bias" 1 "to_q cannot be folded" "$vksteer" bake -q --steer query.safetensors \
    -o never.baked
json "bake --json" "$vksteer" bake -q --steer a.safetensors -o baked.json --json
