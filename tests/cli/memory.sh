# Little device memory.
need a.safetensors

check "train" train -o roomy.safetensors --steps 3 --batch 8
check "train in 30 MiB" train -o tight.safetensors --steps 3 --batch 8 --memory 30
check "recomputation changes no bit" cmp roomy.safetensors tight.safetensors
refused "a step that does not fit" 1 "even sample by sample" \
    "$vksteer" train -q "${style[@]}" -o never.safetensors --memory 10
# What is least depends on the driver, by the kernels that are chosen there.
least=$(grep -o 'takes [0-9]* MiB' refused.err | tr -dc 0-9)
"$vksteer" train "${style[@]}" -o tighter.safetensors --steps 3 --batch 8 --memory "${least:-0}" >/dev/null 2>tighter.log
check "train in the $least MiB of that message works in slices" \
    grep -q "$least MiB that are left.*micro-batch [124] --recompute" tighter.log
check "slices change no bit" cmp roomy.safetensors tighter.safetensors
check "a picture" "$vksteer" apply -q -p "a red apple" --steer a.safetensors -o roomy.png
check "stages take turns" "$vksteer" apply -q -p "a red apple" --steer a.safetensors --memory 11 -o tight.png
check "and change no bit" test "$(pixels roomy.png)" = "$(pixels tight.png)"
check "the picture says in how much memory" grep -aq -e ' --memory 11' tight.png
check "a decoder in tiles" "$vksteer" apply -q -m "$tiny/sd1" -p "an apple" --steps 1 --cfg-scale 1 -W 512 -H 256 \
    --memory 14 -o tiles.png
check "which the picture says" grep -aq 'vksteer.tiles.256 x 256' tiles.png
check "it is remade too" remade tiles.png
check "progress of pictures that are decoded later" bash -c "'$vksteer' apply -p 'a red apple' -b 2 --memory 11 \
    -o round%d.png 2>&1 | grep -q 'denoising 2/2'"
check "which then are" ls round0.png round1.png
refused "a picture that does not fit" 1 "the UNet alone takes .* --memory" "$vksteer" apply -q -p x --memory 8 \
    -o never.png
refused "a picture whose UNet does not fit" 1 "512 x 512" "$vksteer" apply -q -p x -W 512 -H 512 --memory 20 \
    -o never.png
