# LoRAs and other weights over a model's own.
need a.safetensors p.png lora.safetensors

check "paint with a LoRA" "$vksteer" apply -q -p "a red apple" --lora lora.safetensors:0.8 -o lora.png
check "tensors that fit nothing are told" bash -c \
    "'$vksteer' info --lora lora.safetensors 2>&1 | grep -q '1 of .* fit nothing .*lora_te2_x'"
check "a LoRA shows" test "$(distance p.png lora.png)" -ge 4
check "the picture says it" grep -aq 'lora lora.safetensors:0.8' lora.png
check "paint with a LoRA at strength 0" "$vksteer" apply -q -p "a red apple" --lora lora.safetensors:0 -o lora0.png
check "strength 0 of a LoRA gives the same picture" test "$(distance p.png lora0.png)" = 0
check "paint with other parts" "$vksteer" apply -q -p "a red apple" --unet "$emoji"/unet/*.safetensors \
    --vae "$emoji/vae" -o parts.png
check "the same parts give the same picture" test "$(distance p.png parts.png)" = 0
check "train with a LoRA" train --lora lora.safetensors -o lora.steer.safetensors
refused "a steering trained with a LoRA, without it" 1 "trained on other weights" "$vksteer" apply -q --strict -p x \
    --steer lora.steer.safetensors -o never.png
refused "a LoRA for another model" 1 "nothing in it fits" "$vksteer" apply -q -p x --lora a.safetensors -o never.png
refused "a UNet that is none" 1 "has no conv_in.weight" "$vksteer" info --unet "$tiny/torch/module.bin"
refused "a LoRA without a file" 2 "the file is missing" "$vksteer" info --lora :2
refused "an image model's LoRA on a language model" 1 "nothing in it fits" "$vksteer" info \
    -m "$tiny/language/llama" --lora lora.safetensors

# The same weights as torch.save writes them.
need pickled
cp -r "$emoji" sharded && make_file torch sharded 3
check "paint with weights of PyTorch" "$vksteer" apply -q -m ./pickled -p "a red apple" -o pickled.png
check "they give the same picture" test "$(distance p.png pickled.png)" = 0
check "paint with weights of PyTorch in three files" "$vksteer" apply -q -m ./sharded -p "a red apple" -o sharded.png
check "they give the same picture" test "$(distance p.png sharded.png)" = 0
rm sharded/unet/*-00002-of-00003.bin
refused "a set of which one is missing" 1 "00002-of-00003.bin" "$vksteer" apply -q -m ./sharded -p x -o never.png
check "paint with a UNet of PyTorch" "$vksteer" apply -q --unet pickled/unet/diffusion_pytorch_model.bin \
    -p "a red apple" -o pickled.png
check "it gives the same picture" test "$(distance p.png pickled.png)" = 0
