# What models and files are, and plans.

json "devices --json" "$vksteer" devices --json
json "info --json" "$vksteer" info --json
json "info --plan --json" "$vksteer" info --plan --json
plan()
{
    "$vksteer" info --plan --json "${@:2}" |
        python3 -c "import json, sys; print(int(json.load(sys.stdin)['plan']['$1']))"
}
check "a plan in slices takes less memory" test "$(plan train_bytes --batch 16 --micro-batch 4)" \
    -lt "$(plan train_bytes --batch 16)"
check "and more work" test "$(plan train_flop --batch 16 --micro-batch 4)" -gt "$(plan train_flop --batch 16)"
mkdir steps && cp -r "$emoji"/* steps && echo '{"apply": {"steps": 3, "cfg_scale": 2}}' >steps/vksteer.json
check "a plan counts steps and guidance" test "$(plan apply_flop -m ./steps)" -gt $((3 * $(plan apply_flop)))
check "and less still with recomputation" test "$(plan train_recompute_bytes --batch 16)" \
    -lt "$(plan train_bytes --batch 16)"
check "a plan of larger pictures takes more" test "$(plan apply_peak_bytes -W 256 -H 256)" \
    -gt "$(plan apply_peak_bytes)"
check "a plan counts PNDM's second step" test "$(plan apply_flop -m "$tiny/sd1" --scheduler pndm)" -gt \
    "$(plan apply_flop -m "$tiny/sd1" --scheduler ddim)"
refused "a plan of pictures of a language model" 1 "leave -W and -H out" "$vksteer" info --plan \
    -m "$tiny/language/llama" -W 64
refused "a size without a plan" 2 "give --plan too" "$vksteer" info -W 64
refused "a plan of slices that do not fit" 1 "does not divide" "$vksteer" info --plan --batch 16 --micro-batch 5
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
check "info of a language model" bash -c \
    "'$vksteer' info -m '$llama' | grep -q 'LlamaForCausalLM, a language model: 2 layers'"
json "info --json of a language model" "$vksteer" info -m "$llama" --json --sites '.*post.*layernorm' --plan
json "a plan for more texts than it takes for granted" "$vksteer" info -m "$llama" --json --plan --batch 64
check "a folder and its GGUF file have the same sites" bash -c \
    "cmp <('$vksteer' info -m '$llama' --sites '.*' | tail -n 31) \
    <('$vksteer' info -m '$llama/model.gguf' --sites '.*' | tail -n 31)"
check "info without a device" "${no_device[@]}" "$vksteer" info --sites 'unet.*norm.*'
snapshot some/body "$emoji" >/dev/null
check "a repository in the Hugging Face cache" env -u HF_HUB_CACHE \
    -u HF_HOME XDG_CACHE_HOME="$PWD/hugs" "$vksteer" info -m some/body
check "and in a cache of another place" "${hub[@]}" "$vksteer" info -m some/body
old=$(snapshot some/other "$tiny/sd1")
other=${old%/snapshots/*}
mkdir -p "$other/refs/refs/pr" && cp -r "$llama" "$other/snapshots/bb22"
mv "$other/refs/main" "$other/refs/old" && printf bb22 >"$other/refs/refs/pr/1"
shows() { "${hub[@]}" "$vksteer" info -m "$1" | grep -q "$2"; }
check "a branch of a repository" shows some/other@old snapshots/89ab
check "a commit of a repository" shows some/other@89ab snapshots/89ab
check "a language model's" shows some/other@refs/pr/1 LlamaForCausalLM
refused "a revision that is not there" 1 "but not at new: download" "${hub[@]}" "$vksteer" info -m some/other@new
refused "a repository without its main revision" 1 "but not at main: .*ORG/NAME@REVISION" "${hub[@]}" \
    "$vksteer" info -m some/other
refused "a revision that leads elsewhere" 1 "no model some/other@../x" "${hub[@]}" "$vksteer" info \
    -m some/other@../x
refused "an empty revision" 1 "no model some/other@" "${hub[@]}" "$vksteer" info -m some/other@
refused "a repository that is not there" 1 "no model some/one" "${hub[@]}" "$vksteer" info -m some/one
