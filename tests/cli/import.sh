# Steerings of AcT's reference implementation.

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
check "import maps of numbered outputs" "$vksteer" import -q numbered -m "$tiny/language/llama" \
    -o imported.safetensors
check "which are the modules' only ones" imported llama linear "${heads[@]}"
check "import maps of means" import llama/gaussian language/llama --only-mean
check "as they were" imported llama mean "${heads[@]}"
check "import maps with their support" import llama/linear language/llama --quantiles 0:100
check "write a text with them" "$vksteer" apply -q -m "$tiny/language/llama" -p 'the cat' --max-tokens 4 \
    --steer imported.safetensors
check "which act within ranges" bash -c "'$vksteer' inspect imported.safetensors | grep -q 'within ranges'"
check "import maps of a picture model" import sd1/linear sd1
check "as they were, too" imported sd1 linear unet.conv_norm_out
check "they act on means of pixels" noted imported.safetensors position pixels-avg
check "paint with them" "$vksteer" apply -q -m "$tiny/sd1" -p 'an apple' -W 32 -H 16 --steer imported.safetensors \
    -o imported.png
refused "maps for another model" 1 "does not have" "$vksteer" import -q "$tiny/act/llama/linear" -m "$tiny/sd1" \
    -o never.safetensors
refused "a support that was not saved" 1 "lacks the tensor quantiles_dict_src.q_7_93.0" "$vksteer" import \
    -q "$tiny/act/llama/linear" -m "$tiny/language/llama" --quantiles 7:93 -o never.safetensors
refused "a support of pixels" 1 "leave --quantiles out" "$vksteer" import -q "$tiny/act/sd1/gaussian" \
    -m "$tiny/sd1" --quantiles 0:100 -o never.safetensors
refused "a folder without maps" 1 "holds no .statedict" "$vksteer" import -q "$tiny/sd1" -m "$tiny/sd1" \
    -o never.safetensors
mkdir sae && cp "$tiny/torch/module.bin" sae/unet.conv_norm_out.statedict
refused "another kind of state" 1 "none of net.w1, mu1 and auroc" "$vksteer" import -q sae -m "$tiny/sd1" \
    -o never.safetensors
cp -r "$tiny/act/llama/linear" twofold && cp twofold/${heads[0]}.statedict "twofold/${heads[0]}:0.statedict"
refused "two maps of one site" 1 "as a file before it does" "$vksteer" import -q twofold \
    -m "$tiny/language/llama" -o never.safetensors
# A linear map of unet.conv_norm_out in this type, with this support.
states() # FOLDER TYPE LOW HIGH
{
    mkdir -p "$1" && make_file state norm.json "$2" "$3" "$4" "$1/unet.conv_norm_out.statedict"
}
"$vksteer" info -m "$tiny/sd1" --sites unet.conv_norm_out --json >norm.json
for type in F64 I64; do
    states "states.$type" $type 0 1
    refused "maps in $type" 1 "statedict: net.w1 has type $type" "$vksteer" import -q "states.$type" -m "$tiny/sd1" \
    -o never.safetensors
done
states states.good F32 -1 1
check "import a support" "$vksteer" import -q states.good -m "$tiny/sd1" --quantiles 0:100 -o imported.safetensors
states states.turned F32 1 -1
refused "a support that is reversed" 1 "support of channel 0" "$vksteer" import -q states.turned -m "$tiny/sd1" \
    --quantiles 0:100 -o never.safetensors
states states.nan F32 nan 1
refused "a support of no numbers" 1 "support of channel 0" "$vksteer" import -q states.nan -m "$tiny/sd1" \
    --quantiles 0:100 -o never.safetensors
refused "an import of nothing" 2 "import needs a folder" "$vksteer" import -o never.safetensors
