# Other schedulers and timesteps.

check "paint by a scheduler of choice" "$vksteer" apply -q -m "$tiny/sd1" --scheduler ddim --steps 5 --cfg-scale 3 \
    -p "an apple" -n "a cat" -W 32 -H 16 -o ddim.png
check "the picture is remade" remade ddim.png
check "paint as DMD2" "$vksteer" apply -q -m "$tiny/xl" --unet "$tiny/xl/unet/diffusion_pytorch_model.safetensors" \
    --scheduler lcm --timesteps 399 -p "an apple" -W 32 -H 16 --lora "$tiny/lora/xl-kohya.safetensors:0.7" -o dmd2.png
check "it is remade too" remade dmd2.png
# The hash in a picture's text that follows a name.
hash_of() # PICTURE NAME
{
    python3 "$here/tests/cli/png.py" text "$1" vksteer.hashes | grep -oP "(^|; )\Q$2\E \K[0-9a-f]{16}"
}
check "its model is another one" test "$(hash_of dmd2.png model)" != "$(hash_of ddim.png model)"
check "train at its timestep" "$vksteer" train -q -m "$tiny/xl" --scheduler lcm --timesteps 399 "${sets[@]}" \
    --steps 2 --batch 4 --sites unet.conv_norm_out -W 32 -H 16 -o dmd2.safetensors
check "which the steering says" noted dmd2.safetensors sampler "lcm, timestep 399"
cp -r "$tiny/sd1" pndm
sed -i 's/EulerDiscrete/PNDM/; s/trailing/leading/; s/"beta_end"/"skip_prk_steps": true, "beta_end"/' \
    pndm/scheduler/scheduler_config.json
check "a folder with PNDM, as SD 1.5" bash -c "'$vksteer' info -m ./pndm | grep -q '20 steps of pndm, guidance 7'"
cp -r "$tiny/sd1" heun && sed -i 's/EulerDiscrete/HeunDiscrete/' heun/scheduler/scheduler_config.json
refused "a scheduler that is not there" 1 "HeunDiscreteScheduler is not supported: give --scheduler euler" \
    "$vksteer" info -m ./heun
check "another in its place" bash -c \
    "'$vksteer' info -m ./heun --scheduler euler --json | grep -q '\"scheduler\": *\"euler\"'"
sed -i 's/"use_karras_sigmas": false/"use_karras_sigmas": true/' heun/scheduler/scheduler_config.json
check "sigmas of Karras" "$vksteer" info -m ./heun --scheduler euler
sed -i 's/"use_exponential_sigmas": false/"use_exponential_sigmas": true/' heun/scheduler/scheduler_config.json
refused "two kinds of sigmas" 1 "set one of them to false" "$vksteer" info -m ./heun --scheduler euler
sed -i 's/"use_beta_sigmas": false/"use_beta_sigmas": true/' heun/scheduler/scheduler_config.json
refused "sigmas of a beta distribution" 1 "give --scheduler ddim" "$vksteer" info -m ./heun --scheduler euler
check "which others do not read" "$vksteer" info -m ./heun --scheduler ddim
refused "no such scheduler" 1 "use euler, euler-a" "$vksteer" info --scheduler dpm++
refused "timesteps that rise" 1 "falling" "$vksteer" info -m "$tiny/xl" --timesteps 99,399
refused "timesteps that are none" 2 "with commas" "$vksteer" info --timesteps 399,x
refused "timesteps and steps" 1 "leave one of them out" "$vksteer" apply -q -m "$tiny/xl" --timesteps 399 --steps 3 \
    -p x -o never.png
refused "a scheduler for a language model" 1 "for image models" "$vksteer" info -m "$gguf" --scheduler euler
