#!/bin/bash
# The program from end to end, on the built-in model: same bits, resume after Ctrl-C and SIGKILL, exit codes, and one
# clear line for every kind of bad input, with nothing half-written.
#
#     tests/test_cli.sh BUILD
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
vksteer=$(cd "$1" && pwd)/cli/vksteer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export XDG_CACHE_HOME=$work/cache  # neither the user's kernel table nor traces in his cache
prompts=$here/assets/prompts
gguf=$here/tests/golden/data/gguf/weights.gguf
passed=0 failed=0 skipped=0

ok()    { passed=$((passed + 1)); echo "ok $1"; }
fail()  { failed=$((failed + 1)); echo "FAIL $1: ${2:-}"; }
check() # NAME COMMAND...
{
    local name=$1
    shift
    if "$@" >out.log 2>&1; then ok "$name"; else fail "$name" "$(tail -n 1 out.log)"; fi
}

# Ends with this exit code after exactly one line of error that holds the text.
refused() # NAME CODE TEXT COMMAND...
{
    local name=$1 code=$2 text=$3 got lines
    shift 3
    rm -f never.*
    timeout 60 "$@" >refused.out 2>refused.err </dev/null
    got=$?
    lines=$(grep -c '^vksteer: ' refused.err)
    if [ $got != "$code" ]; then
        fail "$name" "exit code $got, not $code: $(tail -n 1 refused.err)"
    elif [ "$lines" != 1 ] || ! grep -q "$text" refused.err; then
        fail "$name" "$lines lines of error, \"$text\" expected: $(tail -n 1 refused.err)"
    elif ls never.* >/dev/null 2>&1; then
        fail "$name" "it left $(ls never.*)"
    else
        ok "$name"
    fi
}

style=(--source "$prompts/style.source.txt" --target "$prompts/style.target.txt" --steps 6 --lr 0.02 --gamma 0 --batch 8 -s 5)
train() { "$vksteer" train -q "${style[@]}" "$@"; }
pixels() { python3 "$here/tests/png.py" pixels "$1"; }
# The largest difference of two pictures, in steps of 1/255.
distance() { python3 "$here/tests/png.py" distance "$1" "$2"; }

# ---- same bits -------------------------------------------------------------------------------------------------------

check "train" train -o a.safetensors --log a.jsonl
cp out.log trained.log
check "it says from what loss to what" grep -qE '^loss [0-9.]+ to [0-9.]+ \(two samples of one law would show [0-9.]+\)$' \
    trained.log
check "six lines of log" test "$(wc -l <a.jsonl)" = 6
check "train again" train -o b.safetensors --log b.jsonl
check "the same steering" cmp a.safetensors b.safetensors
check "the same log" cmp a.jsonl b.jsonl
check "train in micro-batches, recomputed" train -o c.safetensors --micro-batch 2 --recompute
check "the same steering from micro-batches" cmp a.safetensors c.safetensors
# Fast paths that move data otherwise: device addresses, descriptors, loads of 32 bits.
for path in ENABLE=address DISABLE=address DISABLE=address,int64; do
    check "train with $path" env "VKSTEER_$path" "$vksteer" train -q "${style[@]}" -o d.safetensors --force
    check "the same steering with $path" cmp a.safetensors d.safetensors
done
check "no state is left" test ! -e a.safetensors.state
targets() { ls cache/vksteer/targets | wc -l; }
check "the targets' activations are kept" test "$(targets)" -ge 1  # 512 bits count as another device
check "train without what was kept" train -o d.safetensors --no-cache
check "the same steering" cmp a.safetensors d.safetensors
check "what was kept is read" bash -c "'$vksteer' train -v ${style[*]} -o d.safetensors 2>&1 | grep -q 'activations of the targets as .*/targets/'"
truncate -s 5000 cache/vksteer/targets/*
check "train with a damaged file in the cache" train -o d.safetensors
check "the same steering" cmp a.safetensors d.safetensors
check "progress through the targets" bash -c "'$vksteer' train ${style[*]} -o d.safetensors --no-cache 2>&1 | grep -q 'targets 32/32'"
noted() # FILE KEY VALUE: what a steering file says of itself
{
    "$vksteer" inspect "$1" --json | python3 -c "import json, sys
sys.exit(json.load(sys.stdin)['metadata'].get('$2') != '$3')"
}
check "train with the model's own sparsity" "$vksteer" train -q "${style[@]:0:4}" --batch 8 -o s.safetensors --steps 8 --sites unet.conv_norm_out
check "which is refitted" noted s.safetensors refit 5
check "train with a gamma" train -o s.safetensors --gamma 0.5 --refit 3
check "with a refit" noted s.safetensors refit 3
check "and without" train -o s.safetensors --gamma 0.5 --refit 0
check "as it says" noted s.safetensors gamma 0.5
refused "a refit of nothing" 1 "give one of them" "$vksteer" train -q "${style[@]}" -o s.safetensors --refit 3

interrupted() # NAME SIGNAL SECONDS EXPECTED-CODE
{
    local code
    rm -f r.*
    "$vksteer" train -q "${style[@]}" -o r.safetensors --log r.jsonl &
    local pid=$!
    for _ in $(seq 400); do  # let it do some steps
        [ -s r.jsonl ] && [ "$(wc -l <r.jsonl)" -ge "$3" ] && break
        sleep 0.05
    done
    kill -"$2" $pid
    wait $pid 2>/dev/null
    code=$?
    if [ $code != "$4" ]; then
        fail "$1" "exit code $code, not $4"
    elif [ -e r.safetensors ]; then
        fail "$1" "it wrote a steering"
    elif train -o r.safetensors --log r.jsonl --resume >out.log 2>&1 && cmp -s a.safetensors r.safetensors &&
        cmp -s a.jsonl r.jsonl; then
        ok "$1"
    else
        fail "$1" "the resumed run made another file: $(tail -n 1 out.log)"
    fi
}
interrupted "stopped by Ctrl-C, resumed" INT 2 130
interrupted "killed after step 1, resumed" KILL 1 137
interrupted "killed after step 4, resumed" KILL 4 137

check "paint" "$vksteer" apply -q -p "a red apple" -o p.png
check "with the seconds of each stage" bash -c "'$vksteer' apply -v -p x --steps 2 -o v.png 2>&1 | grep -E -c '(text|step|decoder): [0-9.]+ s\$' | grep -qx 4"
check "paint again" "$vksteer" apply -q -p "a red apple" -o q.png
check "the same picture" cmp p.png q.png
check "paint at strength 0" "$vksteer" apply -q -p "a red apple" --steer a.safetensors:0 -o z.png
check "strength 0 gives the unsteered pixels" test "$(pixels p.png)" = "$(pixels z.png)"
check "paint steered" "$vksteer" apply -q -p "a red apple" --steer a.safetensors:3 -o s.png
check "strength 3 does not" test "$(pixels p.png)" != "$(pixels s.png)"
check "another seed, another picture" "$vksteer" apply -q -p "a red apple" -s 43 -o t.png
check "the seed shows" test "$(pixels p.png)" != "$(pixels t.png)"
check "the picture carries its prompt" grep -aq "a red apple" p.png
check "a strip of strengths" "$vksteer" apply -q -p "a red apple" --steer a.safetensors --sweep 0:1:3 -o strip.png
check "two steerings in order" "$vksteer" apply -q -p "a red apple" --steer a.safetensors:0.5 --steer c.safetensors:inv -o two.png
check "a batch of prompts" "$vksteer" apply -q --prompts "$prompts/validation.txt" -b 1 --grid 8 -o grid.png
# From its text alone, the same file again.
remade() # PICTURE
{
    python3 - "$1" >remake.txt <<'END' && eval "$(sed "s|^vksteer|'$vksteer'|" remake.txt) -q -o again.png" && cmp "$1" again.png
import struct, sys
data, at = open(sys.argv[1], "rb").read(), 8
while at < len(data):
    size, kind = struct.unpack(">I4s", data[at:at + 8])
    body = data[at + 8:at + 8 + size]
    key, _, value = body.partition(b"\0")
    if key == b"vksteer.command":
        print((value if kind == b"tEXt" else value.split(b"\0", 4)[-1]).decode())
    at += 12 + size
END
}
check "a picture is remade from its text" remade p.png
check "a steered one" remade two.png
check "a strip" remade strip.png
check "a sheet of prompts" remade grid.png
check "paint words that a shell must not read" "$vksteer" apply -q -p "it's \"a\" \$HOME \`id\` ü; *" -s 9 --steer a.safetensors:inv \
    --steer-strength 0.123456789 -b 2 -o odd.png
check "the second of two" remade odd_001.png
check "seeds in a grid" "$vksteer" apply -q -p "a red apple" -b 4 --grid 2 -o seeds.png
check "they are remade" remade seeds.png
hash_of() { python3 -c "import sys; t = open(sys.argv[1], 'rb').read(); print(t.split(sys.argv[2].encode() + b' ')[1][:16].decode())" "$@"; }
check "the picture has the hashes of its steerings" grep -aqE 'a.safetensors [0-9a-f]{16}; c.safetensors [0-9a-f]{16}' two.png
# What a terminal of each kind is sent is the picture.
shown() # NAME VARIABLE=VALUE
{
    env -u KITTY_WINDOW_ID -u TERM_PROGRAM TERM=dumb "$2" script -qec "'$vksteer' apply -q -p 'a red apple' -o shown.png --show" \
        /dev/null >shown.txt && python3 "$here/tests/png.py" shown "$1" shown.png shown.txt
}
if command -v script >/dev/null; then
    check "a picture in a Kitty terminal" shown kitty TERM=xterm-kitty
    check "and in iTerm2" shown iterm TERM_PROGRAM=iTerm.app
    check "and by sixels" shown sixel TERM=foot
else
    skipped=$((skipped + 1)) && echo "skip terminals: there is no script command"
fi
check "a prompt from standard input" bash -c "echo 'a red apple' | '$vksteer' apply -q -p - -o i.png && cmp i.png p.png"

# ---- other parts, LoRA ----------------------------------------------------------------------------------------------

python3 - "$here/assets/emoji/unet/diffusion_pytorch_model.safetensors" <<'END'
import json, random, struct, sys  # a LoRA of rank 2 on every to_q, and one tensor that fits nothing
data = open(sys.argv[1], "rb").read()
shapes = {k: v["shape"] for k, v in json.loads(data[8:8 + int.from_bytes(data[:8], "little")]).items() if k.endswith("to_q.weight")}
header, values = {}, []
def put(name, *shape):
    count = shape[0] * shape[1]
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [4 * len(values), 4 * (len(values) + count)]}
    values.extend(random.uniform(-0.5, 0.5) for _ in range(count))
random.seed(1)
for name, (rows, columns) in shapes.items():
    stem = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
    put(stem + ".lora_down.weight", 2, columns)
    put(stem + ".lora_up.weight", rows, 2)
put("lora_te2_x.lora_up.weight", 1, 1)
head = json.dumps(header).encode()
open("lora.safetensors", "wb").write(len(head).to_bytes(8, "little") + head + struct.pack(f"<{len(values)}f", *values))
END
check "paint with a LoRA" "$vksteer" apply -q -p "a red apple" --lora lora.safetensors:0.8 -o lora.png
check "tensors that fit nothing are told" bash -c "'$vksteer' info --lora lora.safetensors 2>&1 | grep -q '1 of .* fit nothing .*lora_te2_x'"
check "a LoRA shows" test "$(distance p.png lora.png)" -ge 4
check "the picture says it" grep -aq 'lora lora.safetensors:0.8' lora.png
check "paint with a LoRA at strength 0" "$vksteer" apply -q -p "a red apple" --lora lora.safetensors:0 -o lora0.png
check "strength 0 of a LoRA gives the same picture" test "$(distance p.png lora0.png)" = 0
check "paint with other parts" "$vksteer" apply -q -p "a red apple" --unet "$here"/assets/emoji/unet/*.safetensors --vae "$here/assets/emoji/vae" -o parts.png
check "the same parts give the same picture" test "$(distance p.png parts.png)" = 0
check "train with a LoRA" train --lora lora.safetensors -o lora.steer.safetensors
refused "a steering trained with a LoRA, without it" 1 "trained on other weights" "$vksteer" apply -q --strict -p x --steer lora.steer.safetensors -o never.png
refused "a LoRA for another model" 1 "nothing in it fits" "$vksteer" apply -q -p x --lora a.safetensors -o never.png
refused "a UNet that is none" 1 "has no conv_in.weight" "$vksteer" info --unet "$here/tests/golden/data/torch/module.bin"
cp -r "$here/assets/emoji" pickled
cp -r "$here/assets/emoji" sharded
for shards in 1 3; do
    python3 - "$([ $shards = 1 ] && echo pickled || echo sharded)/unet/diffusion_pytorch_model.safetensors" $shards <<'END'
import collections, json, os, pickle, sys, types, zipfile  # the same weights as torch.save writes them
class Storage:
    pass
def _rebuild_tensor_v2(*parts):
    pass
modules = {"torch": types.ModuleType("torch"), "torch._utils": types.ModuleType("torch._utils")}
sys.modules.update(modules)
modules["torch._utils"]._rebuild_tensor_v2 = _rebuild_tensor_v2
_rebuild_tensor_v2.__module__ = "torch._utils"
kinds = {}
for kind, name in (("F16", "HalfStorage"), ("F32", "FloatStorage")):
    kinds[kind] = type(name, (), {"__module__": "torch"})
    setattr(modules["torch"], name, kinds[kind])
class Tensor:
    def __init__(self, key, kind, shape):
        strides = [1]
        for extent in shape[:0:-1]:
            strides.insert(0, strides[0] * extent)
        self.storage, self.shape, self.strides = Storage(), tuple(shape), tuple(strides)
        self.storage.id = ("storage", kinds[kind], key, "cpu", strides[0] * shape[0])
    def __reduce__(self):
        return _rebuild_tensor_v2, (self.storage, 0, self.shape, self.strides, False, collections.OrderedDict())
class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.id if isinstance(value, Storage) else None
data = open(sys.argv[1], "rb").read()
start = 8 + int.from_bytes(data[:8], "little")
header = json.loads(data[8:start])
header.pop("__metadata__", None)
def write(path, header):
    with zipfile.ZipFile(path, "w") as archive:
        for i, entry in enumerate(header.values()):
            begin, end = entry["data_offsets"]
            archive.writestr(f"x/data/{i}", data[start + begin:start + end])
        with archive.open("x/data.pkl", "w") as out:
            weights = {f"module.{k}": Tensor(str(i), v["dtype"], v["shape"]) for i, (k, v) in enumerate(header.items())}
            Pickler(out, 2).dump({"state_dict": weights, "epoch": 3})
stem, count = sys.argv[1].removesuffix(".safetensors"), int(sys.argv[2])
if count == 1:
    write(stem + ".bin", header)
else:
    names, where = sorted(header), {}
    for n in range(count):
        path = f"{stem}-{n + 1:05}-of-{count:05}.bin"
        write(path, {name: header[name] for name in names[n::count]})
        where.update((name, os.path.basename(path)) for name in names[n::count])
    json.dump({"metadata": {}, "weight_map": where}, open(stem + ".bin.index.json", "w"))
os.remove(sys.argv[1])
END
done
check "paint with weights of PyTorch" "$vksteer" apply -q -m ./pickled -p "a red apple" -o pickled.png
check "they give the same picture" test "$(distance p.png pickled.png)" = 0
check "paint with weights of PyTorch in three files" "$vksteer" apply -q -m ./sharded -p "a red apple" -o sharded.png
check "they give the same picture" test "$(distance p.png sharded.png)" = 0
rm sharded/unet/*-00002-of-00003.bin
refused "a set of which one is missing" 1 "00002-of-00003.bin" "$vksteer" apply -q -m ./sharded -p x -o never.png
check "paint with a UNet of PyTorch" "$vksteer" apply -q --unet pickled/unet/diffusion_pytorch_model.bin -p "a red apple" -o pickled.png
check "it gives the same picture" test "$(distance p.png pickled.png)" = 0
tiny=$here/tests/golden/data
check "paint by a scheduler of choice" "$vksteer" apply -q -m "$tiny/sd1" --scheduler ddim --steps 5 --cfg-scale 3 -p "an apple" \
    -n "a cat" -W 32 -H 16 -o ddim.png
check "the picture is remade" remade ddim.png
check "paint as DMD2" "$vksteer" apply -q -m "$tiny/xl" --unet "$tiny/xl/unet/diffusion_pytorch_model.safetensors" --scheduler lcm \
    --timesteps 399 -p "an apple" -W 32 -H 16 --lora "$tiny/lora/xl-kohya.safetensors:0.7" -o dmd2.png
check "it is remade too" remade dmd2.png
check "its model is another one" test "$(hash_of dmd2.png model)" != "$(hash_of ddim.png model)"
check "train at its timestep" "$vksteer" train -q -m "$tiny/xl" --scheduler lcm --timesteps 399 --source "$prompts/style.source.txt" \
    --target "$prompts/style.target.txt" --steps 2 --batch 4 --sites unet.conv_norm_out -W 32 -H 16 -o dmd2.safetensors
check "which the steering says" noted dmd2.safetensors sampler "lcm, timestep 399"
cp -r "$tiny/sd1" pndm && sed -i 's/EulerDiscrete/PNDM/; s/trailing/leading/; s/"beta_end"/"skip_prk_steps": true, "beta_end"/' pndm/scheduler/scheduler_config.json
check "a folder with PNDM, as SD 1.5" bash -c "'$vksteer' info -m ./pndm | grep -q '20 steps of pndm, guidance 7'"
cp -r "$tiny/sd1" heun && sed -i 's/EulerDiscrete/HeunDiscrete/' heun/scheduler/scheduler_config.json
refused "a scheduler that is not there" 1 "HeunDiscreteScheduler is not supported: give --scheduler euler" "$vksteer" info -m ./heun
check "another in its place" bash -c "'$vksteer' info -m ./heun --scheduler euler --json | grep -q '\"scheduler\": *\"euler\"'"
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
refused "timesteps and steps" 1 "leave one of them out" "$vksteer" apply -q -m "$tiny/xl" --timesteps 399 --steps 3 -p x -o never.png
refused "a scheduler for a language model" 1 "for image models" "$vksteer" info -m "$gguf" --scheduler euler
check "a single-file checkpoint" bash -c "'$vksteer' info -m '$tiny/sd1' --checkpoint '$tiny/checkpoints/sd1.ckpt' | grep -q 'unet .*, of .*sd1.ckpt'"
refused "a checkpoint that is none" 1 "has no model.diffusion_model" "$vksteer" info -q --checkpoint "$tiny/torch/module.bin"
refused "a checkpoint for another model" 1 "different models" "$vksteer" info --sites '.*' --checkpoint "$tiny/checkpoints/sd1.ckpt"
snapshot=hugs/huggingface/hub/models--stabilityai--stable-diffusion-xl-base-1.0
mkdir -p $snapshot/refs $snapshot/snapshots && printf 89ab >$snapshot/refs/main && cp -r "$tiny/xl" $snapshot/snapshots/89ab
rm $snapshot/snapshots/89ab/*/*.safetensors
from_file() { env -u HF_HUB_CACHE HF_HOME="$PWD/hugs/huggingface" "$vksteer" apply -q -p "an apple" -W 32 -H 16 --steps 1 -o file.png "$@"; }
check "a checkpoint as the model, its base in the cache" from_file -m "$tiny/checkpoints/xl.safetensors"
mv file.png alone.png
check "the same over its base" from_file -m "$tiny/xl" --checkpoint "$tiny/checkpoints/xl.safetensors"
check "gives the same picture" test "$(distance alone.png file.png)" = 0
turbo=hugs/huggingface/hub/models--stabilityai--sdxl-turbo
mkdir -p $turbo && cp -r $snapshot/* $turbo
refused "a checkpoint of several bases" 1 "xl-base-1.0, stabilityai/sdxl-turbo): say which" env -u HF_HUB_CACHE HF_HOME="$PWD/hugs/huggingface" \
    "$vksteer" info -m "$tiny/checkpoints/xl.safetensors"
cp "$tiny/checkpoints/xl.safetensors" sd_xl_turbo_1.0.safetensors
check "one that bears its base's name" bash -c "env -u HF_HUB_CACHE HF_HOME='$PWD/hugs/huggingface' '$vksteer' info -v \
    -m sd_xl_turbo_1.0.safetensors 2>&1 | grep -q 'those of stabilityai/sdxl-turbo'"
rm -r $turbo
refused "a checkpoint without its base" 1 "Stable Diffusion 1.*give their folder" env HF_HOME="$PWD/hugs/huggingface" "$vksteer" info \
    -m "$tiny/checkpoints/sd1.ckpt"
refused "weights that are no checkpoint, as the model" 1 "neither a GGUF file nor a whole checkpoint" "$vksteer" info \
    -m "$here"/assets/emoji/unet/diffusion_pytorch_model.safetensors
refused "a LoRA without a file" 2 "the file is missing" "$vksteer" info --lora :2
refused "an image model's LoRA on a language model" 1 "nothing in it fits" "$vksteer" info -m "$here/tests/golden/data/language/llama" --lora lora.safetensors

# ---- baking ----------------------------------------------------------------------------------------------------------

check "bake two steerings" "$vksteer" bake -q --steer a.safetensors:3 --steer c.safetensors:0.5 -o baked
check "paint with both" "$vksteer" apply -q -p "a red apple" --steer a.safetensors:3 --steer c.safetensors:0.5 -o both.png
check "paint with the baked model" "$vksteer" apply -q -m ./baked -p "a red apple" -o baked.png
check "baked and steered agree" test "$(distance both.png baked.png)" -le 4
check "and differ from unsteered" test "$(distance p.png baked.png)" -ge 8
check "the file says what was baked" grep -aq '"vksteer":"a.safetensors:3, c.safetensors:0.5"' baked/unet/diffusion_pytorch_model.safetensors
check "bake at strength 0" "$vksteer" bake -q --steer a.safetensors:0 -o plain
check "strength 0 gives the same folder" diff -r "$here/assets/emoji" plain
check "bake another scheduler" "$vksteer" bake -q --scheduler pndm --steer a.safetensors:0 -o pndm.baked
check "both files name it" bash -c "grep -q PNDMScheduler pndm.baked/model_index.json &&
    grep -q PNDMScheduler pndm.baked/scheduler/scheduler_config.json"
check "paint with it" "$vksteer" apply -q -m ./pndm.baked --steps 5 -p "a red apple" -o pndm.baked.png
check "paint with it over the model" "$vksteer" apply -q --scheduler pndm --steps 5 -p "a red apple" -o pndm.png
check "the same picture" test "$(pixels pndm.baked.png)" = "$(pixels pndm.png)"
refused "bake timesteps" 1 "cannot hold timesteps" "$vksteer" bake -q --timesteps 399 --steer a.safetensors -o never.folder
mkdir x.index.y && cp -r "$here/assets/emoji" x.index.y/model && cp pickled/unet/*.bin x.index.y/model/unet &&
    rm x.index.y/model/unet/*.safetensors
check "bake in a folder that is named as an index" "$vksteer" bake -q -m ./x.index.y/model --steer a.safetensors -o named
check "and keep the configuration" cmp named/unet/config.json "$here/assets/emoji/unet/config.json"
check "bake without a device" env VK_DRIVER_FILES=/nowhere VK_ICD_FILENAMES=/nowhere "$vksteer" bake -q --steer a.safetensors:inv -o inverse
check "bake a baked model" "$vksteer" bake -q -m ./baked --steer a.safetensors:0.5 -o twice
check "the file says both" grep -aq '"vksteer":"a.safetensors:3, c.safetensors:0.5; a.safetensors:0.5"' twice/unet/diffusion_pytorch_model.safetensors
check "bake weights of PyTorch" "$vksteer" bake -q -m ./pickled --steer a.safetensors:3 --steer c.safetensors:0.5 -o baked.torch
check "into safetensors, and nothing else" bash -c "ls baked.torch/unet | grep -v config.json | cmp - <(echo diffusion_pytorch_model.safetensors)"
check "paint with them" "$vksteer" apply -q -m ./baked.torch -p "a red apple" -o baked.torch.png
check "the same picture" test "$(distance baked.torch.png baked.png)" = 0
over=(--unet pickled/unet/diffusion_pytorch_model.bin --lora lora.safetensors:0.8)
check "paint steered, with other parts" "$vksteer" apply -q "${over[@]}" --steer a.safetensors:3 -p "a red apple" -o over.png
check "bake them all" "$vksteer" bake -q "${over[@]}" --steer a.safetensors:3 -o baked.over
check "paint with what was baked" "$vksteer" apply -q -m ./baked.over -p "a red apple" -o baked.over.png
check "baked and put over agree" test "$(distance over.png baked.over.png)" -le 4
check "and the LoRA is in it" test "$(distance baked.png baked.over.png)" -ge 4
check "which the file says" grep -aq '"vksteer":"a.safetensors:3; unet diffusion_pytorch_model.bin; lora lora.safetensors:0.8"' \
    baked.over/unet/diffusion_pytorch_model.safetensors
cp -r "$tiny/turbo" turbo && rm turbo/expected.safetensors turbo/pictures.* && touch turbo/vae/other.txt
check "train on a tiny model" "$vksteer" train -q -m ./turbo --source "$prompts/style.source.txt" --target "$prompts/style.target.txt" \
    --method mean-act --batch 8 --sites unet.conv_norm_out -W 32 -H 32 -o turbo.safetensors
paint_turbo() { "$vksteer" apply -q -p "an apple" -W 32 -H 32 -m "$@"; }  # with an AutoencoderTiny, and here an AutoencoderKL
check "paint steered, with another autoencoder" paint_turbo ./turbo --vae "$tiny/kl/vae" --steer turbo.safetensors -o turbo.png
check "bake another autoencoder" "$vksteer" bake -q -m ./turbo --vae "$tiny/kl/vae" --steer turbo.safetensors -o turbo.baked
check "paint with it" paint_turbo ./turbo.baked -o turbo.baked.png
check "baked and put over agree" test "$(distance turbo.png turbo.baked.png)" -le 4
check "the index names its class, and the rest as it was" python3 -c 'import json, sys
old, new = (json.load(open(name)) for name in sys.argv[1:])
assert old != new and new == dict(old, vae=["diffusers", "AutoencoderKL"])' turbo/model_index.json turbo.baked/model_index.json
check "settings and weights are its own, and nothing of the old is left" bash -c "cmp turbo.baked/vae/config.json '$tiny/kl/vae/config.json' &&
    ls turbo.baked/vae | cmp - <(printf 'config.json\ndiffusion_pytorch_model.safetensors\n')"
check "which the file says" grep -aq '"vksteer":"turbo.safetensors:1; vae vae"' turbo.baked/vae/diffusion_pytorch_model.safetensors
cp -r "$tiny/kl/vae" odd && sed -i 's/AutoencoderKL/AsymmetricAutoencoderKL/' odd/config.json
refused "bake an autoencoder of another class" 1 "leave --vae out" "$vksteer" bake -q -m ./turbo --vae ./odd --steer turbo.safetensors \
    -o never.folder
cp -r "$here/assets/emoji" forms
touch forms/unet/diffusion_pytorch_model.bin forms/all.ckpt forms/vae/same.bin
check "bake a model in several forms" bash -c "'$vksteer' bake -m ./forms --steer a.safetensors -o form 2>form.log"
check "what would be the old model is left out, and said" bash -c "[ \$(grep -c 'is left out' form.log) = 2 ] && \
    [ ! -e form/unet/diffusion_pytorch_model.bin ] && [ ! -e form/all.ckpt ] && [ -e form/vae/same.bin ]"
cp -r "$here/assets/emoji" torn && truncate -s 2000000 torn/unet/*.safetensors
refused "bake a model whose weights are cut short" 1 "safetensors" "$vksteer" bake -q -m ./torn --steer a.safetensors -o never.baked
refused "bake over a folder" 1 "there already" "$vksteer" bake -q --steer a.safetensors -o baked
check "train at position avg" train -o avg.safetensors --steps 2 --position avg --sites unet.conv_norm_out
refused "bake a map at position avg" 1 "unet.conv_norm_out cannot be folded" "$vksteer" bake -q --steer avg.safetensors -o never.baked
check "train at attention blocks" train -o attn.safetensors --steps 2 --sites 'unet.mid_block.*attn1' --loss-sites unet.conv_norm_out
check "train heads of a UNet" train -o unet-heads.safetensors --method iti --top-heads 4
check "and bake them" "$vksteer" bake -q --steer unet-heads.safetensors:0.5 -o unet-heads
check "train a vector in a UNet" train -o unet-vector.safetensors --method repe
check "in the middle" bash -c "'$vksteer' inspect unet-vector.safetensors | grep -q 'sites .* unet.mid_block'"
check "train within a range" train -o within.safetensors --method linear-act --quantiles 0:100 --sites unet.conv_norm_out
check "paint within a range" "$vksteer" apply -q -p "a red apple" --steer within.safetensors -o within.png
refused "bake within a range" 1 "unet.conv_norm_out cannot be folded.*range" "$vksteer" bake -q --steer within.safetensors \
    -o never.baked
refused "bake maps of containers" 1 "attn1 cannot be folded" "$vksteer" bake -q --steer attn.safetensors -o never.baked
check "train at queries, which have no bias" train -o query.safetensors --steps 2 --sites 'unet.mid_block.*attn1.to_q' --loss-sites unet.conv_norm_out
refused "bake an offset without a bias" 1 "to_q cannot be folded" "$vksteer" bake -q --steer query.safetensors -o never.baked

# ---- import ----------------------------------------------------------------------------------------------------------

imported() # MODEL KIND SITE...: the maps are the expected ones
{
    python3 - imported.safetensors "$tiny/act/expected.json" "$@" <<'END'
import json, struct, sys
path, expected, model, kind, *sites = sys.argv[1:]
data, want = open(path, "rb").read(), json.load(open(expected))
start = 8 + int.from_bytes(data[:8], "little")
header = json.loads(data[8:start])
def read(name):
    begin, end = header[name]["data_offsets"]
    return struct.unpack(f"<{(end - begin) // 4}f", data[start + begin:start + end])
assert {n.rpartition(".")[0] for n in header if n != "__metadata__"} == set(sites), header.keys()
for site in sites:
    for have, ought in zip((read(site + ".weight"), read(site + ".bias")), want[f"{model}/{kind}/{site}"]):
        assert all(abs(x - y) < 1e-5 * (1 + abs(y)) for x, y in zip(have, ought, strict=True)), site
END
}
heads=(model.layers.0.self_attn.o_proj model.layers.1.self_attn.o_proj)
import() { "$vksteer" import -q "$tiny/act/$1" -m "$tiny/$2" -o imported.safetensors "${@:3}"; }
for kind in linear gaussian aura; do
    check "import $kind maps of a language model" import llama/$kind language/llama
    check "as they were saved" imported llama $kind "${heads[@]}"
done
cp -r "$tiny/act/llama/linear" numbered && mv numbered/${heads[0]}.statedict "numbered/${heads[0]}:0.statedict"
check "import maps of numbered outputs" "$vksteer" import -q numbered -m "$tiny/language/llama" -o imported.safetensors
check "which are the modules' only ones" imported llama linear "${heads[@]}"
check "import maps of means" import llama/gaussian language/llama --only-mean
check "as they were" imported llama mean "${heads[@]}"
check "import maps with their support" import llama/linear language/llama --quantiles 0:100
check "write a text with them" "$vksteer" apply -q -m "$tiny/language/llama" -p 'the cat' --max-tokens 4 --steer imported.safetensors
check "which act within ranges" bash -c "'$vksteer' inspect imported.safetensors | grep -q 'within ranges'"
check "import maps of a picture model" import sd1/linear sd1
check "as they were, too" imported sd1 linear unet.conv_norm_out
check "they act on means of pixels" noted imported.safetensors position pixels-avg
check "paint with them" "$vksteer" apply -q -m "$tiny/sd1" -p 'an apple' -W 32 -H 16 --steer imported.safetensors -o imported.png
refused "maps for another model" 1 "does not have" "$vksteer" import -q "$tiny/act/llama/linear" -m "$tiny/sd1" -o never.safetensors
refused "a support that was not saved" 1 "lacks the tensor quantiles_dict_src.q_7_93.0" "$vksteer" import -q "$tiny/act/llama/linear" \
    -m "$tiny/language/llama" --quantiles 7:93 -o never.safetensors
refused "a support of pixels" 1 "leave --quantiles out" "$vksteer" import -q "$tiny/act/sd1/gaussian" -m "$tiny/sd1" --quantiles 0:100 \
    -o never.safetensors
refused "a folder without maps" 1 "holds no .statedict" "$vksteer" import -q "$tiny/sd1" -m "$tiny/sd1" -o never.safetensors
mkdir sae && cp "$tiny/torch/module.bin" sae/unet.conv_norm_out.statedict
refused "another kind of state" 1 "none of net.w1, mu1 and auroc" "$vksteer" import -q sae -m "$tiny/sd1" -o never.safetensors
cp -r "$tiny/act/llama/linear" twofold && cp twofold/${heads[0]}.statedict "twofold/${heads[0]}:0.statedict"
refused "two maps of one site" 1 "as a file before it does" "$vksteer" import -q twofold \
    -m "$tiny/language/llama" -o never.safetensors
states() # FOLDER TYPE LOW HIGH: a linear map of unet.conv_norm_out in this type, with this support
{
    mkdir -p "$1" && python3 - "$@" <<'END' >"$1/unet.conv_norm_out.statedict"
import json, struct, sys
kind, low, high = sys.argv[2], *map(float, sys.argv[3:])
letter = {"F32": "f", "F64": "d", "I64": "q"}[kind]
channels = json.load(open("norm.json"))
header, data = {}, b""
for name, value in (("net.w1", 1), ("net.b1", 0), ("quantiles_dict_src.q_0_100.0", low), ("quantiles_dict_src.q_0_100.1", high)):
    of, code = ("F32", "f") if name.startswith("q") else (kind, letter)
    block = struct.pack(f"<{channels}{code}", *[value] * channels)
    header[name] = {"dtype": of, "shape": [channels], "data_offsets": [len(data), len(data) + len(block)]}
    data += block
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
sys.stdout.buffer.write(struct.pack("<Q", len(text)) + text + data)
END
}
"$vksteer" info -m "$tiny/sd1" --sites unet.conv_norm_out --json | python3 -c "import json, sys
print(json.load(sys.stdin)['sites'][0]['channels'])" >norm.json
for type in F64 I64; do
    states "states.$type" $type 0 1
    refused "maps in $type" 1 "statedict: net.w1 has type $type" "$vksteer" import -q "states.$type" -m "$tiny/sd1" -o never.safetensors
done
states states.good F32 -1 1
check "import a support" "$vksteer" import -q states.good -m "$tiny/sd1" --quantiles 0:100 -o imported.safetensors
states states.turned F32 1 -1
refused "a support that is reversed" 1 "support of channel 0" "$vksteer" import -q states.turned -m "$tiny/sd1" --quantiles 0:100 -o never.safetensors
states states.nan F32 nan 1
refused "a support of no numbers" 1 "support of channel 0" "$vksteer" import -q states.nan -m "$tiny/sd1" --quantiles 0:100 -o never.safetensors
refused "an import of nothing" 2 "import needs a folder" "$vksteer" import -o never.safetensors

# ---- little memory ---------------------------------------------------------------------------------------------------

check "train" train -o roomy.safetensors --steps 3 --batch 8
check "train in 30 MiB" train -o tight.safetensors --steps 3 --batch 8 --memory 30
check "recomputation changes no bit" cmp roomy.safetensors tight.safetensors
"$vksteer" train "${style[@]}" -o tighter.safetensors --steps 3 --batch 8 --memory 18 >/dev/null 2>tighter.log
check "train says what it does in 18 MiB" grep -q "micro-batch 4 --recompute" tighter.log
check "slices change no bit" cmp roomy.safetensors tighter.safetensors
refused "a step that does not fit" 1 "even sample by sample" \
    "$vksteer" train -q "${style[@]}" -o never.safetensors --memory 10
check "a picture" "$vksteer" apply -q -p "a red apple" --steer a.safetensors -o roomy.png
check "stages take turns" "$vksteer" apply -q -p "a red apple" --steer a.safetensors --memory 11 -o tight.png
check "and change no bit" test "$(pixels roomy.png)" = "$(pixels tight.png)"
check "the picture says in how much memory" grep -aq -e ' --memory 11' tight.png
check "a decoder in tiles" "$vksteer" apply -q -m "$tiny/sd1" -p "an apple" --steps 1 --cfg-scale 1 -W 512 -H 256 --memory 14 -o tiles.png
check "which the picture says" grep -aq 'vksteer.tiles.256 x 256' tiles.png
check "it is remade too" remade tiles.png
check "progress of pictures that are decoded later" bash -c "'$vksteer' apply -p 'a red apple' -b 2 --memory 11 \
    -o round%d.png 2>&1 | grep -q 'denoising 2/2'"
check "which then are" ls round0.png round1.png
refused "a picture that does not fit" 1 "the UNet alone takes .* --memory" "$vksteer" apply -q -p x --memory 8 -o never.png
refused "a picture whose UNet does not fit" 1 "512 x 512" "$vksteer" apply -q -p x -W 512 -H 512 --memory 20 -o never.png

# ---- figures ---------------------------------------------------------------------------------------------------------

json() { check "$1" bash -c "\"\$@\" | python3 -m json.tool >/dev/null" json "${@:2}"; }
json "devices --json" "$vksteer" devices --json
json "info --json" "$vksteer" info --json
json "info --plan --json" "$vksteer" info --plan --json
plan() { "$vksteer" info --plan --json "${@:2}" | python3 -c "import json, sys; print(int(json.load(sys.stdin)['plan']['$1']))"; }
check "a plan in slices takes less memory" test "$(plan train_bytes --batch 16 --micro-batch 4)" -lt "$(plan train_bytes --batch 16)"
check "and more work" test "$(plan train_flop --batch 16 --micro-batch 4)" -gt "$(plan train_flop --batch 16)"
mkdir steps && cp -r "$here"/assets/emoji/* steps && echo '{"apply": {"steps": 3, "cfg_scale": 2}}' >steps/vksteer.json
check "a plan counts steps and guidance" test "$(plan apply_flop -m ./steps)" -gt $((3 * $(plan apply_flop)))
check "and less still with recomputation" test "$(plan train_recompute_bytes --batch 16)" -lt "$(plan train_bytes --batch 16)"
check "a plan of larger pictures takes more" test "$(plan apply_peak_bytes -W 256 -H 256)" -gt "$(plan apply_peak_bytes)"
check "a plan counts PNDM's second step" test "$(plan apply_flop -m "$tiny/sd1" --scheduler pndm)" -gt \
    "$(plan apply_flop -m "$tiny/sd1" --scheduler ddim)"
refused "a plan of pictures of a language model" 1 "leave -W and -H out" "$vksteer" info --plan -m "$tiny/language/llama" -W 64
refused "a size without a plan" 2 "give --plan too" "$vksteer" info -W 64
refused "a plan of slices that do not fit" 1 "does not divide" "$vksteer" info --plan --batch 16 --micro-batch 5
json "bake --json" "$vksteer" bake -q --steer a.safetensors -o baked.json --json
json "inspect --json" "$vksteer" inspect a.safetensors --json
json "eval --json" "$vksteer" eval -q --steer a.safetensors --source "$prompts/validation.txt" --target "$prompts/style.target.txt" --json
# A steering of one map, with figures of other weights than the model's.
one_map() # SITE OUT
{
    "$vksteer" info -q --sites "$1" --json >site.json && python3 - "$2" <<'END'
import json, struct, sys
info, header, data = json.load(open("site.json")), {}, b""
site = info["sites"][0]
header["__metadata__"] = {"format": "vksteer-1", "model": info["architecture"], "position": "all",
                          "fingerprint": "norms 5 mean 1 rms 1"}
for kind, value in (("weight", 1.2), ("bias", 0.1)):
    header[site["name"] + "." + kind] = {"dtype": "F32", "shape": [site["channels"]],
                                         "data_offsets": [len(data), len(data) + 4 * site["channels"]]}
    data += struct.pack("<f", value) * site["channels"]
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + data)
END
}
check "a map of other weights" one_map unet.conv_norm_out foreign.safetensors
head -n 4 "$prompts/validation.txt" >four.txt
check "eval warns of it once" bash -c "[ \$('$vksteer' eval --steer foreign.safetensors --source four.txt --target four.txt \
    2>&1 >/dev/null | grep -c 'other weights') = 1 ]"
check "apply warns of it once" bash -c "[ \$('$vksteer' apply -p x --steer foreign.safetensors -o x.png 2>&1 |
    grep -c 'other weights') = 1 ]"
refused "and refuses it if asked" 1 "other weights" "$vksteer" apply -p x --steer foreign.safetensors --strict -o never.png
check "a map in the decoder" one_map vae.decoder.layers.0 decoder.safetensors
check "a map in the text encoder" one_map text_encoder.encoder.layers.1.layer_norm1 text.safetensors
train_short() { train --steps 2 --sites unet.conv_norm_out "$@"; }
check "train for comparison" train_short -o on0.safetensors
check "train on top of a map in the decoder" train_short -o on1.safetensors --steer decoder.safetensors
check "which no activation sees" cmp on0.safetensors on1.safetensors
check "train on top of a map in the text encoder" train_short -o on2.safetensors --steer text.safetensors
check "which sources see" bash -c "! cmp -s on0.safetensors on2.safetensors"
check "eval compares its pictures alone" bash -c "'$vksteer' eval --steer decoder.safetensors --source four.txt \
    --target four.txt >eval.log 2>&1 && grep -q 'all maps lie in the decoder' eval.log && grep -q '4 pictures' eval.log"
json "info --json of a GGUF file" "$vksteer" info -m "$gguf" --json -v
says() { check "info of a GGUF file: $1" bash -c "'$vksteer' info -m '$gguf' -v | grep -q -- '$1'"; }
says 'llama, Golden é, GGUF version 3'
says '2 layers, width 64, 4 heads of 16 (2 of keys and values), feed-forward 96'
says 'context of 2048 tokens, rope base 50000'
says 'tokenizer gpt2 smollm, 4 tokens'
says 'Q4_K      2 tensors        0.007 M parameters'
says 'test.int64 = -9223372036854775808'
says 'Q6_K.bytes  *Q6_K  2 x 1792'
gguf=${gguf%/*}/gemma.gguf
says "fingerprint: $(cat "${gguf%.gguf}.txt")"
says 'blk.0.attn_q_norm.weight .* model.layers.0.self_attn.q_norm (1 + weight)'
gguf=${gguf%/*}/weights.gguf
# A language model of random weights, as a folder and as a file.
llama=$here/tests/golden/data/language/llama
printf 'the cat and the dog\nin the sun\non and on\nthe other one\n' >plain.txt
printf 'zebra quiz jazz\nwax box\npuzzle buzz\nlynx fox\nvex\n' >rare.txt
speak() { "$vksteer" train -q -m "$llama" --source plain.txt --target rare.txt --steps 5 "$@"; }
check "info of a language model" bash -c "'$vksteer' info -m '$llama' | grep -q 'LlamaForCausalLM, a language model: 2 layers'"
json "info --json of a language model" "$vksteer" info -m "$llama" --json --sites '.*post.*layernorm' --plan
check "a folder and its GGUF file have the same sites" bash -c \
    "cmp <('$vksteer' info -m '$llama' --sites '.*' | tail -n 31) <('$vksteer' info -m '$llama/model.gguf' --sites '.*' | tail -n 31)"
check "train a language model" speak -o speak.safetensors
check "and get the same bits again" bash -c "'$vksteer' train -q -m '$llama' --source plain.txt --target rare.txt --steps 5 \
    --micro-batch 2 -o speak2.safetensors && cmp speak.safetensors speak2.safetensors"
check "and from its GGUF file" bash -c "'$vksteer' train -q -m '$llama/model.gguf' --source plain.txt --target rare.txt \
    --steps 5 -o speak3.safetensors && cmp speak.safetensors speak3.safetensors"
check "train it by a closed form" speak -o closed.safetensors --method linear-act
printf 'a dog\nthe end\n' | cat plain.txt - >plain6.txt
printf 'quartz\n' | cat rare.txt - >rare6.txt
vector=("$vksteer" train -q -m "$llama" --source plain6.txt --target rare6.txt)
for method in caa repe iti aura detzero; do
    check "train it by $method" "${vector[@]}" -o $method.safetensors --method $method
done
check "one vector in the residual stream" bash -c "'$vksteer' inspect caa.safetensors | grep -q ' 1 maps, 20 of 20 channels'"
check "three heads by name" "${vector[@]}" -o heads.safetensors --method iti --top-heads 3 --alpha 2 --position last
check "within the support" "${vector[@]}" -o support.safetensors --method linear-act --quantiles 0:100
check "a support to look at" bash -c "'$vksteer' inspect support.safetensors | grep -q 'within ranges'"
check "eval of a support" bash -c "'$vksteer' eval -m '$llama' --steer support.safetensors --source plain.txt \
    --target rare.txt | grep -q 'mean over 2 sites'"
refused "an inverse within a range" 1 "no inverse" "$vksteer" eval -q -m "$llama" --steer support.safetensors:inv \
    --source plain.txt --target rare.txt
refused "LinEAS through a range" 1 "no gradient" "${vector[@]}" --batch 4 --steer support.safetensors -o never.safetensors
refused "quantiles upside down" 2 "LOW:HIGH" "${vector[@]}" --method linear-act --quantiles 9:3 -o never.safetensors
refused "quantiles of another method" 1 "leave it out" "${vector[@]}" --quantiles 0:100 -o never.safetensors
check "eval of steered heads" bash -c "'$vksteer' eval -m '$llama' --steer iti.safetensors --source plain.txt \
    --target rare.txt | grep -q 'mean over 1 sites'"
refused "pairs without a partner" 1 "pairs" "$vksteer" train -q -m "$llama" --source plain.txt --target rare.txt --method caa \
    -o never.safetensors
refused "two pairs for actadd" 1 "one pair" "${vector[@]}" --method actadd -o never.safetensors
refused "an option of another method" 1 "leave them out" "${vector[@]}" --method caa --alpha 3 -o never.safetensors
refused "more heads than there are" 1 "8 heads" "${vector[@]}" --method iti --top-heads 9 -o never.safetensors
refused "heads where there are none" 1 "heads" "${vector[@]}" --method iti --sites '.*mlp' -o never.safetensors
check "eval of a language model" bash -c "'$vksteer' eval -m '$llama' --steer speak.safetensors --source plain.txt \
    --target rare.txt | grep -q 'mean over 2 sites'"
# With a LoRA that PEFT saved.
peft=$tiny/lora/llama-peft
check "info with PEFT's folder" bash -c "'$vksteer' info -m '$llama' --lora '$peft:0.5' | grep -q 'adapter_model.safetensors at strength 0.5, 6 layers'"
peft_text() { "$vksteer" apply -q -m "$llama" -p 'the cat' --temp 0 --max-tokens 12 "$@"; }
check "it changes texts" bash -c "$(declare -p vksteer llama peft); $(declare -f peft_text); ! cmp -s <(peft_text) <(peft_text --lora \$peft)"
check "and at strength 0 none" bash -c "$(declare -p vksteer llama peft); $(declare -f peft_text); cmp <(peft_text) <(peft_text --lora \$peft:0)"
check "train on it" speak --lora "$peft" -o peft.safetensors
refused "its steering without it" 1 "trained on other weights" "$vksteer" apply -q --strict -m "$llama" -p x --steer peft.safetensors
cp -r "$peft" dora && sed -i 's/"use_dora": false/"use_dora": true/' dora/adapter_config.json
refused "another form of adapter" 1 "plain LoRA" "$vksteer" info -m "$llama" --lora dora
mkdir bare
refused "a folder without an adapter" 1 "holds no adapter_model" "$vksteer" info -m "$llama" --lora bare
peft_file() { llama=$llama/model.gguf peft_text "$@"; }
letters() { sed 's/<unk>\|Ġ\| //g'; }  # blanks and unknown tokens are written in two ways
check "over a GGUF file it writes the same" bash -c "$(declare -p vksteer llama peft); $(declare -f peft_text peft_file letters)
    cmp <(peft_text --lora \$peft | letters) <(peft_file --lora \$peft | letters) && ! cmp -s <(peft_file) <(peft_file --lora \$peft)"
check "over a quantised one" "$vksteer" info -m "$tiny/language/gpt2/model.gguf" --lora "$tiny/lora/gpt2-peft"
check "over GPT-2, whose matrices lie the other way round" bash -c "'$vksteer' info -m '$tiny/language/gpt2' --lora '$tiny/lora/gpt2-peft' |
    grep -q '6 layers'"
refused "a LoRA of another model's sizes" 1 "for another model" "$vksteer" info -m "$tiny/language/linear/model.gguf" --lora "$peft"
# Texts by it.
write() { "$vksteer" apply -q -m "$llama" --max-tokens 12 "$@"; }
check "write a text" bash -c "'$vksteer' apply -q -m '$llama' -p 'the cat' --temp 0 --max-tokens 12 >cat.txt && [ \$(wc -c <cat.txt) -gt 1 ]"
check "the same text from standard input" bash -c "echo 'the cat' | '$vksteer' apply -q -m '$llama' -p - --temp 0 --max-tokens 12 |
    cmp - cat.txt"
check "a text from a GGUF file" bash -c "'$vksteer' apply -q -m '$llama/model.gguf' -p 'the cat' --max-tokens 12 | grep -q ."
check "texts of a file, two seeds each" bash -c "'$vksteer' apply -q -m '$llama' --prompts plain.txt -b 2 -s 7 --temp 1.2 --max-tokens 12 \
    --json >some.json && python3 -c 'import json; assert [t[\"seed\"] for t in json.load(open(\"some.json\"))] == [7, 8] * 4'"
company() # each of those texts by itself
{
    local n=0 prompt
    while read -r prompt; do
        write -p "$prompt" -b 2 -s 7 --temp 1.2 --json >one.json && python3 - $n <<'END' || return 1
import json, sys
n = int(sys.argv[1])
assert json.load(open("one.json")) == json.load(open("some.json"))[2 * n:2 * n + 2]
END
        n=$((n + 1))
    done <plain.txt
}
check "are those of each alone" company
check "and of another seed others" bash -c "'$vksteer' apply -q -m '$llama' --prompts plain.txt -b 2 -s 8 --temp 1.2 --max-tokens 12 \
    --json >other.json && ! cmp -s some.json other.json"
check "texts into a file" bash -c "'$vksteer' apply -q -m '$llama' --prompts plain.txt -b 2 -s 7 --temp 1.2 --max-tokens 12 -o some.jsonl |
    cmp - <(echo some.jsonl) && python3 -c 'import json
assert [json.loads(l) for l in open(\"some.jsonl\")] == json.load(open(\"some.json\"))' && [ ! -e some.jsonl.part ]"
check "a text at every strength" bash -c "'$vksteer' apply -q -m '$llama' -p 'the cat' --temp 0 --max-tokens 12 --steer speak.safetensors \
    --sweep 0:40:3 --json >sweep.json && python3 - <<'END'
import json
texts = json.load(open('sweep.json'))
assert [t['strength'] for t in texts] == [0, 20, 40]
assert texts[0]['text'] == open('cat.txt').read()[:-1] and texts[2]['text'] != texts[0]['text']
END"
check "several texts have heads" bash -c "'$vksteer' apply -q -m '$llama' --prompts plain.txt --temp 0 --max-tokens 5 | grep -c '^== ' | grep -qx 4"
check "the context's end" bash -c "'$vksteer' apply -q -m '$llama' -p 'the cat' --temp 0 --max-tokens 500 --json >long.json && python3 - <<'END'
import json
text = json.load(open('long.json'))[0]
assert text['ended'] or text['prompt_tokens'] + text['tokens'] == 64
END"
stop_texts() # leaves nothing
{
    "$vksteer" apply -q -m "$llama" -p "the cat" -b 1000 -o stopped.jsonl &
    local job=$!
    sleep 2
    kill -INT $job && wait $job
    [ $? = 130 ] && ! ls stopped.jsonl* >/dev/null 2>&1
}
check "stop texts by Ctrl-C" stop_texts
check "train at averages" speak -o avg.safetensors --position avg
refused "text by averages" 1 "average" "$vksteer" apply -q -m "$llama" -p x --steer avg.safetensors -o never.jsonl
refused "a picture's size for a text" 2 "is for pictures" "$vksteer" apply -q -m "$llama" -p x -W 64 -o never.jsonl
check "keys and values in fp16" bash -c "'$vksteer' apply -q -m '$llama' -p 'the cat' --temp 0 --max-tokens 12 --cache fp16 | cmp - cat.txt"
refused "another cache" 2 "give fp32 or fp16" "$vksteer" apply -q -m "$llama" -p x --cache int8 -o never.jsonl
refused "a cache for a picture" 2 "is for texts" "$vksteer" apply -q -p x --cache fp16 -o never.png
refused "a text's length for a picture" 2 "is for texts" "$vksteer" apply -q -p x --max-tokens 5 -o never.png
refused "a share that is none" 2 "top-p" "$vksteer" apply -q -m "$llama" -p x --top-p 1.5 -o never.jsonl
refused "no token at all" 2 "max-tokens" "$vksteer" apply -q -m "$llama" -p x --max-tokens 0 -o never.jsonl
refused "a prompt beyond the context" 1 "shorten" "$vksteer" apply -q -m "$llama" -p "$(printf 'the cat %.0s' {1..60})" -o never.jsonl
refused "an empty prompt" 1 "no prompt" bash -c "printf '' | '$vksteer' apply -q -m '$llama' -p - -o never.jsonl"
refused "a folder that is not there, for texts" 1 "nowhere" "$vksteer" apply -q -m "$llama" -p x -o nowhere/x.jsonl
refused "a full disk, for texts" 1 "standard output\|disk" bash -c "'$vksteer' apply -q -m '$llama' -p x --json >/dev/full"
refused "a text with a picture's steering" 1 "another model\|this model" "$vksteer" apply -q -m "$llama" -p x --steer a.safetensors -o never.jsonl
refused "a baked language model" 1 "is a language model" "$vksteer" bake -q -m "$llama" --steer speak.safetensors -o never.baked
refused "a language model's steering on pictures" 1 "another model\|this model" "$vksteer" apply -q -p x --steer speak.safetensors \
    -o never.png
refused "a picture's size for a language model" 1 "leave them out" "$vksteer" train -q -m "$llama" --source plain.txt \
    --target rare.txt -W 64 -o never.safetensors
cp -r "$llama" mute && rm mute/tokenizer.json
refused "a language model without its tokenizer" 1 "tokenizer" "$vksteer" train -q -m ./mute --source plain.txt --target rare.txt \
    -o never.safetensors
refused "a text without a tokenizer" 1 "tokenizer" "$vksteer" apply -q -m ./mute -p x -o never.jsonl
check "info without a device" env VK_DRIVER_FILES=/nowhere VK_ICD_FILENAMES=/nowhere "$vksteer" info --sites 'unet.*norm.*'
snapshot=hugs/huggingface/hub/models--some--body
mkdir -p $snapshot/refs $snapshot/snapshots && printf 0123abcd >$snapshot/refs/main && ln -s "$here/assets/emoji" $snapshot/snapshots/0123abcd
check "a repository in the Hugging Face cache" env -u HF_HUB_CACHE -u HF_HOME XDG_CACHE_HOME="$PWD/hugs" "$vksteer" info -m some/body
check "and in a cache of another place" env -u HF_HUB_CACHE HF_HOME="$PWD/hugs/huggingface" "$vksteer" info -m some/body
other=hugs/huggingface/hub/models--some--other
mkdir -p $other/refs/refs/pr $other/snapshots && cp -r "$tiny/sd1" $other/snapshots/aa11 && cp -r "$tiny/language/llama" $other/snapshots/bb22
printf aa11 >$other/refs/old && printf bb22 >$other/refs/refs/pr/1
hub=(env -u HF_HUB_CACHE HF_HOME="$PWD/hugs/huggingface" "$vksteer" info -m)
check "a branch of a repository" bash -c '"$@" | grep -q snapshots/aa11' - "${hub[@]}" some/other@old
check "a commit of a repository" bash -c '"$@" | grep -q snapshots/aa11' - "${hub[@]}" some/other@aa11
check "a language model's" bash -c '"$@" | grep -q LlamaForCausalLM' - "${hub[@]}" some/other@refs/pr/1
refused "a revision that is not there" 1 "but not at new: download" "${hub[@]}" some/other@new
refused "a repository without its main revision" 1 "but not at main: .*ORG/NAME@REVISION" "${hub[@]}" some/other
refused "a revision that leads elsewhere" 1 "no model some/other@../x" "${hub[@]}" some/other@../x
refused "an empty revision" 1 "no model some/other@" "${hub[@]}" some/other@
refused "a repository that is not there" 1 "no model some/one" env HF_HOME="$PWD/hugs/huggingface" "$vksteer" info -m some/one
check "closed form" train -o m.safetensors --method mean-act
refused "a sparse closed form" 1 "mean-act changes all" "$vksteer" train -q "${style[@]}" -o m2.safetensors --method mean-act --gamma 0.5
check "train on top of another" train -o top.safetensors --steer a.safetensors:0.5
check "a closed form has no loss" bash -c "! '$vksteer' train -q --source four.txt --target four.txt --method mean-act \
    -o m4.safetensors | grep loss"
check "that is another steering" bash -c "! cmp -s a.safetensors top.safetensors"
check "train and validate" train -o v.safetensors --log v.jsonl --validate "$prompts/validation.txt"
check "validation changes no bit" cmp a.safetensors v.safetensors
check "the log has it at the start and after each step" test "$(grep -c '"validation": [0-9]' v.jsonl)" = 7
check "a single sampling step" train -o one.safetensors --sample-steps 1 --cfg-scale 1
refused "several sampling steps" 1 "sample-steps 4" "$vksteer" train -q --source "$prompts/style.source.txt" \
    --target "$prompts/style.target.txt" --sample-steps 4 -o never.safetensors
check "inspect says so" bash -c "'$vksteer' inspect m.safetensors | grep -q mean-act"

# ---- kernels of one's own --------------------------------------------------------------------------------------------

check "bench --tune" bash -c "timeout 500 '$vksteer' bench -q --tune --json >tune.json"
check "its file is there if it says so" python3 -c '
import json, os
tune = json.load(open("tune.json"))
assert tune["results"] and os.path.exists(tune["table"]) == tune["written"]'
override() # VARIANT: writes the file that --tune would
{
    python3 - "$1" <<'END'
import json, sys
json.dump({"format": "vksteer-kernels-1", "few_rows": sys.argv[1]}, open(json.load(open("tune.json"))["table"], "w"))
END
}
check "another choice" override plain
check "the file is read" bash -c "'$vksteer' apply -v -p 'a red apple' -o tuned.png 2>&1 | grep -q 'kernels as .*kernels-'"
check "the same picture from other kernels" test "$(pixels p.png)" = "$(pixels tuned.png)"
printf '%s' '{"format": "vksteer-kernels-1", "many_rows": "magic"}' >"$(ls cache/vksteer/kernels-*.json)"
check "a damaged file is ignored, and said" bash -c "'$vksteer' apply -p 'a red apple' -o tuned.png 2>&1 |
    grep -q 'damaged and ignored'"
rm -f cache/vksteer/kernels-*.json
"$vksteer" train -q "${style[@]}" -o u.safetensors --log u.jsonl &
stopped=$!
for _ in $(seq 400); do [ -s u.jsonl ] && break; sleep 0.05; done
kill -INT $stopped && wait $stopped
check "kernels of one's own again" override plain
refused "resume under another kernel table" 1 "kernels" "$vksteer" train -q "${style[@]}" -o u.safetensors --log u.jsonl --resume
check "unless forced" train -o u.safetensors --log u.jsonl --resume --force
check "to the same steering" cmp a.safetensors u.safetensors
rm -f cache/vksteer/kernels-*.json

# ---- bad input -------------------------------------------------------------------------------------------------------

refused "unknown command" 2 "frobnicate" "$vksteer" frobnicate
refused "unknown option" 2 "\-\-stear" "$vksteer" apply -p x --stear a
refused "a number that is none" 2 "\-\-steps" "$vksteer" train --source a --target b -o never.safetensors --steps many
refused "no device" 3 "mesa-vulkan-drivers" env VK_DRIVER_FILES=/nowhere VK_ICD_FILENAMES=/nowhere "$vksteer" apply -q -p x -o never.png
refused "no such model, no device" 1 "nowhere" env VK_DRIVER_FILES=/nowhere VK_ICD_FILENAMES=/nowhere "$vksteer" apply -q -m ./nowhere -p x -o never.png
refused "no such steering, no device" 1 "missing" env VK_DRIVER_FILES=/nowhere VK_ICD_FILENAMES=/nowhere "$vksteer" apply -q -p x --steer missing -o never.png
refused "no such method, no device" 1 "method" env VK_DRIVER_FILES=/nowhere VK_ICD_FILENAMES=/nowhere "$vksteer" train -q --source "$prompts/style.source.txt" \
    --target "$prompts/style.target.txt" --method magic -o never.safetensors
refused "no such model" 1 "nowhere" "$vksteer" apply -q -m ./nowhere -p x -o never.png
refused "no such steering" 1 "missing.safetensors" "$vksteer" apply -q -p x --steer missing.safetensors -o never.png
refused "no such prompts" 1 "missing.txt" "$vksteer" train -q --source missing.txt --target missing.txt -o never.safetensors
: >empty.txt
refused "an empty set of prompts" 1 "empty.txt" "$vksteer" train -q --source empty.txt --target empty.txt -o never.safetensors
refused "a batch below 4" 1 "at least 4" "$vksteer" train -q --source "$prompts/style.source.txt" \
    --target "$prompts/style.target.txt" --batch 3 -o never.safetensors
refused "a batch above the prompts" 1 "source prompts" "$vksteer" train -q --source "$prompts/style.source.txt" \
    --target "$prompts/style.target.txt" --batch 64 -o never.safetensors
refused "sites that are not there" 1 "no site" "$vksteer" train -q --source "$prompts/style.source.txt" \
    --target "$prompts/style.target.txt" --sites 'transformer.*' -o never.safetensors
head -c 2000 a.safetensors >cut.safetensors
refused "a truncated steering" 1 "cut.safetensors" "$vksteer" apply -q -p x --steer cut.safetensors -o never.png
head -c 5000 /dev/urandom >noise.safetensors
refused "a steering of random bytes" 1 "noise.safetensors" "$vksteer" apply -q -p x --steer noise.safetensors -o never.png
sed 's/conv_norm_out/conv_norm_xyz/g' a.safetensors >other.safetensors
refused "a steering for another model" 1 "another model" "$vksteer" apply -q -p x --steer other.safetensors -o never.png
refused "a folder that is not there" 1 "nowhere" "$vksteer" apply -q -p x -o nowhere/x.png
refused "a full disk" 1 "/dev/full" "$vksteer" apply -q -p x -o /dev/full
refused "too little memory" 1 "\-\-memory" "$vksteer" apply -q -p x --memory 1 -o never.png
cp -r "$here/assets/emoji" broken && rm broken/unet/*.safetensors
refused "a model without its weights" 1 "unet" "$vksteer" apply -q -m ./broken -p x -o never.png
cp -r "$here/assets/emoji" rotten && python3 - rotten/unet/*.safetensors <<'END'
import json, struct, sys
with open(sys.argv[1], "r+b") as file:
    size = struct.unpack("<Q", file.read(8))[0]
    at = json.loads(file.read(size))["mid_block.resnets.0.conv1.weight"]["data_offsets"][0]
    file.seek(8 + size + at)
    file.write(struct.pack("<2H", 0x7e00, 0x7e00))  # not a number, twice, in fp16
END
refused "weights that are no numbers" 1 "holds values that are no numbers" "$vksteer" apply -q -m ./rotten -p x -o never.png
refused "training on such weights" 1 "not finite" "$vksteer" train -q -m ./rotten "${style[@]}" -o never.safetensors
echo '{"_class_name": "UNet2DConditionModel", "block_out_channels": [32, "x"]}' >broken/unet/config.json
refused "a broken configuration" 1 "config.json" "$vksteer" apply -q -m ./broken -p x -o never.png
cp -r "$here/assets/emoji/unet/." broken/unet/ && truncate -s 100000 broken/unet/*.safetensors
refused "truncated weights" 1 "safetensors" "$vksteer" apply -q -m ./broken -p x -o never.png

# A folder with one thing wrong.
broken() # HOW TEXT COMMAND...: what refuses it
{
    local how=$1 text=$2
    shift 2
    python3 "$here/tests/break.py" "$tiny/sd1" "$work/wrong-$how" "$how" || return
    refused "a model with $how" 1 "$text" "$@" -q -m "$work/wrong-$how" -W 32 -H 16
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
some=(--source "$prompts/style.source.txt" --target "$prompts/style.target.txt" --steps 1 --batch 4 --sites unet.conv_norm_out)
rm -r wrong-nan
broken nan "not finite for prompt 1" "$vksteer" train "${some[@]}" -o never.safetensors
whole() { "$vksteer" apply -q -m "$1" -p "an apple" -W 32 -H 16 -o "$2"; }
python3 "$here/tests/break.py" "$tiny/sd1" mixed type-mixed
check "paint with weights of several types" whole ./mixed mixed.png
check "and of one" whole "$tiny/sd1" single.png
check "the same picture, nearly" test "$(distance mixed.png single.png)" -le 16
# Variants, in a folder and in the Hugging Face cache.
snapshot=hugs/huggingface/hub/models--some--pair
mkdir -p $snapshot/refs $snapshot/snapshots && printf 4567 >$snapshot/refs/main && cp -r "$tiny/sd1" $snapshot/snapshots/4567
pair=$snapshot/snapshots/4567/unet/diffusion_pytorch_model
cp mixed/unet/diffusion_pytorch_model.safetensors $pair.fp16.safetensors
paint_pair() { env -u HF_HUB_CACHE HF_HOME="$PWD/hugs/huggingface" "$vksteer" apply -q -m some/pair -p "an apple" -W 32 -H 16 "$@"; }
check "a repository with a variant beside" paint_pair -o pair.png
check "whose plain weights are taken" test "$(pixels pair.png)" = "$(pixels single.png)"
check "unless the variant is asked for" paint_pair --variant fp16 -o pair.png
check "by its name" test "$(pixels pair.png)" = "$(pixels mixed.png)"
refused "a variant that is no name" 1 "is no name" "$vksteer" info -m "$tiny/sd1" --variant ../fp16
refused "a part of the files' names as a variant" 1 "no part has weights" "$vksteer" info -m "$tiny/sd1" --variant diffusion_pytorch_model
refused "a variant that is not there" 1 "no part has weights of the variant ema" "$vksteer" info -m "$tiny/sd1" --variant ema
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

# ---- evaluation of language models -----------------------------------------------------------------------------------

maps=$here/tests/golden/data/perplexity/steering.safetensors
printf 'the cat and the dog in the sun on and on,\nin the sun there is more of it\n' >read.txt
printf 'text\nthe cat and the dog\n"in the sun, on and on"\n' >read.csv
read_it() { "$vksteer" eval -q -m "$llama" --text read.txt "$@"; }
figures() { python3 -c "import json, sys
text = json.load(sys.stdin)['text']
points = text['points']
assert $1, text"; }
check "perplexity of a text" bash -c "$(declare -p vksteer llama); $(declare -f read_it); read_it | grep -qE '^ +0 +[0-9]+\.[0-9]{3}$'"
check "steered at 0 it is the same" bash -c "$(declare -p vksteer llama maps); $(declare -f read_it figures)
    read_it --steer '$maps:0' --json | figures 'len(points) == 2 and points[0][\"perplexity\"] == points[1][\"perplexity\"]'"
check "and steered another" bash -c "$(declare -p vksteer llama maps); $(declare -f read_it figures)
    read_it --steer '$maps' --json | figures 'abs(points[0][\"perplexity\"] - points[1][\"perplexity\"]) > .1'"
check "records are texts of their own" bash -c "$(declare -f figures)
    '$vksteer' eval -q -m '$llama' --text read.csv --context 16 --json | figures 'text[\"windows\"] == 2 and text[\"context\"] == 16'"
check "a sweep with its plot" bash -c "$(declare -p vksteer llama maps); $(declare -f read_it)
    read_it --steer '$maps' --sweep 0:1:5 --plot sweep.png | tail -n 1 | grep -qx sweep.png && file sweep.png | grep -q '960 x'"
check "distances and texts together" bash -c "$(declare -f figures); '$vksteer' eval -q -m '$llama' --steer '$maps' --source plain.txt \
    --target rare.txt --text read.txt --json | figures 'len(points) == 2'"
refused "a prompt that is no text" 1 "UTF-8" "$vksteer" apply -q -m "$llama" -p "$(printf 'a\xff\xfe')"
refused "a prompt of more than one text" 1 "zero bytes" bash -c "printf 'a\\0b' | '$vksteer' apply -q -m '$llama' -p -"
refused "a text for a model of pictures" 1 "makes pictures" "$vksteer" eval -q --text read.txt
refused "a text that is not there" 1 "nowhere.txt" "$vksteer" eval -q -m "$llama" --text nowhere.txt
: >nothing.txt
refused "an empty text" 1 "nothing.txt is empty" "$vksteer" eval -q -m "$llama" --text nothing.txt
head -c 300 /dev/urandom >bytes.txt
refused "a text read by maps at averages" 1 "average of a text" "$vksteer" eval -q -m "$llama" --text read.txt --steer avg.safetensors
refused "a text of random bytes" 1 "UTF-8" "$vksteer" eval -q -m "$llama" --text bytes.txt
refused "a plot without a sweep" 2 "\-\-sweep" "$vksteer" eval -q -m "$llama" --text read.txt --plot never.png
refused "a sweep of nothing" 2 "\-\-steer" "$vksteer" eval -q -m "$llama" --text read.txt --sweep 0:1:3
refused "a stride beyond the window" 1 "stride of 9" "$vksteer" eval -q -m "$llama" --text read.txt --context 8 --stride 9
refused "a window beyond the context" 1 "model's context" "$vksteer" eval -q -m "$llama" --text read.txt --context 100000
refused "eval of nothing" 2 "or --text" "$vksteer" eval -q -m "$llama"
printf 'the cat\nin the sun\n' >from.txt
printf 'on\nthe sun\n' >on.txt
wrote() { "$vksteer" eval -q -m "$llama" --prompts from.txt -b 2 --max-tokens 6 "$@"; }
check "texts over strengths, by a scorer and a list" bash -c "$(declare -p vksteer llama maps); $(declare -f wrote figures)
    wrote --steer '$maps' --sweep 0:1:3 --scorer 'tee made.jsonl | python3 -c \"
import json, sys
for line in sys.stdin: print(len(json.loads(line)[\\\"text\\\"]))\"' --words on.txt --plot made.png --json >made.json &&
    figures 'text[\"texts\"] == 4 and len(points) == 3 and points[0][\"score\"] > 0 and 0 <= points[1][\"listed\"] <= 1' <made.json"
check "the scorer saw them all" python3 -c "
import json
rows = [json.loads(line) for line in open('made.jsonl')]
assert len(rows) == 12 and {r['strength'] for r in rows} == {0, .5, 1} and rows[0]['prompt'] == 'the cat', rows
means = [p['score'] for p in json.load(open('made.json'))['text']['points']]
assert all(abs(m - sum(len(r['text']) for r in rows[4 * i:4 * i + 4]) / 4) < 1e-6 for i, m in enumerate(means)), means"
check "the texts are those of apply" bash -c "'$vksteer' apply -q -m '$llama' --prompts from.txt -b 2 --max-tokens 6 --json |
    python3 -c \"
import json, sys
assert [r['text'] for r in json.load(sys.stdin)] == [json.loads(x)['text'] for x in list(open('made.jsonl'))[:4]]\""
check "and over fp16 caches" bash -c "'$vksteer' eval -q -m '$llama' --prompts from.txt --max-tokens 4 --cache fp16 | grep -q distinct-2"
refused "a cache for what is read" 2 "give it --prompts" "$vksteer" eval -q -m "$llama" --text from.txt --cache fp16
refused "a scorer that fails" 1 "exit code 3" "$vksteer" eval -q -m "$llama" --prompts from.txt --max-tokens 3 --scorer 'exit 3'
refused "a scorer that hangs up" 1 "0 numbers for 2 texts" "$vksteer" eval -q -m "$llama" --prompts from.txt --max-tokens 3 --scorer true
refused "a scorer of nothing" 2 "\-\-prompts" "$vksteer" eval -q -m "$llama" --text read.txt --scorer cat
refused "drawing texts that are only read" 2 "\-\-temp is for texts" "$vksteer" eval -q -m "$llama" --text read.txt --temp 0.5
refused "a list that is not there" 1 "nowhere.txt" "$vksteer" eval -q -m "$llama" --prompts from.txt --words nowhere.txt
refused "a scorer for pictures" 1 "makes pictures" "$vksteer" eval -q --prompts from.txt --scorer cat
"$vksteer" eval -q -m "$llama" --prompts from.txt --max-tokens 3 --scorer 'cat >/dev/null; sleep 30' >slow.log 2>&1 &
slow=$!
sleep 5
kill -INT $slow
wait $slow
code=$?
check "Ctrl-C ends a slow scorer" test $code = 130

# ---- chats -----------------------------------------------------------------------------------------------------------

refused "a chat without a template" 1 "no chat template" "$vksteer" apply -q -m "$llama" -p x --chat
refused "a system message without a chat" 2 "\-\-chat" "$vksteer" apply -q -m "$llama" -p x --system y
refused "a chat with pictures" 2 "\-\-chat is for texts" "$vksteer" apply -q -p x --chat
cp -r "$llama" chatty
echo '{"bos_token": "<s>", "eos_token": "</s>"}' >chatty/tokenizer_config.json
echo '{{ messages }}' >chatty/chat_template.jinja
refused "a template of no known family" 1 "no family" "$vksteer" apply -q -m ./chatty -p x --chat
printf "{{ bos_token + '[INST] ' }} '<<SYS>>\n'" >chatty/chat_template.jinja
talk() { "$vksteer" apply -q -m ./chatty -p 'the sun' --max-tokens 8 --temp 0 --json "$@"; }
same() { python3 -c "
import json, sys
a, b = (json.load(open(f))[0] for f in sys.argv[1:])
assert (a['text'], a['prompt_tokens']) == (b['text'], b['prompt_tokens']), (a, b)" "$@"; }
talk --chat --system 'on' >chat.json
"$vksteer" apply -q -m ./chatty -p '[INST] <<SYS>>
on
<</SYS>>

the sun [/INST]' --max-tokens 8 --temp 0 --json >bare.json
check "a chat is what its template says, begun once" same chat.json bare.json
check "eval of chats" bash -c "'$vksteer' eval -q -m ./chatty --prompts from.txt --chat --max-tokens 4 | grep -q distinct-2"

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
