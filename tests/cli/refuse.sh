# Bad input: one clear line, and nothing half-written.
need a.safetensors

refused "unknown command" 2 "frobnicate" "$vksteer" frobnicate
refused "unknown option" 2 "\-\-stear" "$vksteer" apply -p x --stear a
refused "a number that is none" 2 "\-\-steps" "$vksteer" train --source a --target b -o never.safetensors --steps many
refused "a number beyond its bounds" 2 "between 1 and 16777216" "$vksteer" apply -p x --memory 99999999
for strength in 101 -101 1e99; do
    refused "a strength of $strength" 2 "between -100 and 100" "$vksteer" apply -q -p x \
        --steer a.safetensors:"$strength" -o never.png
done
for strength in nan inf abc; do  # no numbers, so parts of a file's name
    refused "a strength of $strength" 1 "a.safetensors:$strength: cannot open" "$vksteer" apply -q -p x \
        --steer a.safetensors:$strength -o never.png
done
refused "a sweep beyond the bounds" 2 "between -100 and 100" "$vksteer" apply -q -p x --steer a.safetensors \
    --sweep 0:1e9:3 -o never.png
refused "a sweep of no numbers" 2 "FROM:TO:COUNT" "$vksteer" apply -q -p x --steer a.safetensors --sweep 0:nan:3 \
    -o never.png
refused "seeds beyond the last" 2 "end below 2^63" "$vksteer" apply -q -p x -s 9223372036854775807 -b 2 -o never.png
refused "no device" 3 "mesa-vulkan-drivers" "${no_device[@]}" "$vksteer" apply -q -p x -o never.png
refused "no such model, no device" 1 "nowhere" "${no_device[@]}" "$vksteer" apply -q -m ./nowhere -p x -o never.png
refused "no such steering, no device" 1 "missing" "${no_device[@]}" "$vksteer" apply -q -p x --steer missing \
    -o never.png
refused "no such method, no device" 1 "method" "${no_device[@]}" "$vksteer" train -q "${sets[@]}" --method magic \
    -o never.safetensors
refused "no such model" 1 "nowhere" "$vksteer" apply -q -m ./nowhere -p x -o never.png
refused "no such steering" 1 "missing.safetensors" "$vksteer" apply -q -p x --steer missing.safetensors -o never.png
refused "no such prompts" 1 "missing.txt" "$vksteer" train -q --source missing.txt --target missing.txt \
    -o never.safetensors
: >empty.txt
refused "an empty set of prompts" 1 "empty.txt" "$vksteer" train -q --source empty.txt --target empty.txt \
    -o never.safetensors
refused "a batch below 4" 1 "at least 4" "$vksteer" train -q "${sets[@]}" --batch 3 -o never.safetensors
refused "a batch above the prompts" 1 "source prompts" "$vksteer" train -q "${sets[@]}" --batch 64 \
    -o never.safetensors
refused "sites that are not there" 1 "no site" "$vksteer" train -q "${sets[@]}" --sites 'transformer.*' \
    -o never.safetensors
head -c 2000 a.safetensors >cut.safetensors
refused "a truncated steering" 1 "cut.safetensors" "$vksteer" apply -q -p x --steer cut.safetensors -o never.png
head -c 5000 /dev/urandom >noise.safetensors
refused "a steering of random bytes" 1 "noise.safetensors" "$vksteer" apply -q -p x --steer noise.safetensors \
    -o never.png
sed 's/conv_norm_out/conv_norm_xyz/g' a.safetensors >other.safetensors
refused "a steering for another model" 1 "another model" "$vksteer" apply -q -p x --steer other.safetensors \
    -o never.png
refused "a folder that is not there" 1 "nowhere" "$vksteer" apply -q -p x -o nowhere/x.png
refused "a full disk" 1 "/dev/full" "$vksteer" apply -q -p x -o /dev/full
# 64 KiB, a little less than the steering takes, mounted for one command alone; what it leaves there is an error.
mkdir small
small=(unshare -rm bash -c 'mount -t tmpfs -o size=64k tmpfs small && cd small || exit 9
    "$@"
    code=$?
    for file in * .[!.]*; do [ ! -e "$file" ] || echo "vksteer: it left $file" >&2; done
    exit $code' small)
if "${small[@]}" true 2>/dev/null; then
    refused "a full disk, for a steering" 1 "full.safetensors: .*No space left" "${small[@]}" "$vksteer" train -q \
        "${style[@]}" --steps 1 -o full.safetensors
else
    skipped=$((skipped + 1)) && echo "skip a full disk, for a steering: no tmpfs can be mounted here"
fi
refused "too little memory" 1 "\-\-memory" "$vksteer" apply -q -p x --memory 1 -o never.png
cp -r "$emoji" broken && rm broken/unet/*.safetensors
refused "a model without its weights" 1 "unet" "$vksteer" apply -q -m ./broken -p x -o never.png
cp -r "$emoji" rotten &&
    make_file nan rotten/unet/diffusion_pytorch_model.safetensors mid_block.resnets.0.conv1.weight
refused "weights that are no numbers" 1 "holds values that are no numbers" "$vksteer" apply -q -m ./rotten -p x \
    -o never.png
refused "training on such weights" 1 "not finite" "$vksteer" train -q -m ./rotten "${style[@]}" -o never.safetensors
echo '{"_class_name": "UNet2DConditionModel", "block_out_channels": [32, "x"]}' >broken/unet/config.json
refused "a broken configuration" 1 "config.json" "$vksteer" apply -q -m ./broken -p x -o never.png
cp -r "$emoji/unet/." broken/unet/ && truncate -s 100000 broken/unet/*.safetensors
refused "truncated weights" 1 "safetensors" "$vksteer" apply -q -m ./broken -p x -o never.png
