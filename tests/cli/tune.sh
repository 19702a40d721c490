# Kernels of one's own: in a cache of its own, for no other part is to read them.
export XDG_CACHE_HOME=$PWD/cache
need a.safetensors a.jsonl p.png

check "bench --tune" bash -c "timeout 500 '$vksteer' bench -q --tune --json >tune.json"
check "its file is there if it says so" python3 -c '
import json, os
tune = json.load(open("tune.json"))
assert tune["results"] and os.path.exists(tune["table"]) == tune["written"]'
override() # VARIANT: writes the file that --tune would
{
    python3 - "$1" <<'END'
import json, sys
json.dump({"format": "vksteer-kernels-2", "few_rows": sys.argv[1]}, open(json.load(open("tune.json"))["table"], "w"))
END
}
check "another choice" override plain
check "the file is read" bash -c \
    "'$vksteer' apply -v -p 'a red apple' -o tuned.png 2>&1 | grep -q 'kernels as .*kernels-'"
check "the same picture from other kernels" test "$(pixels p.png)" = "$(pixels tuned.png)"
printf '%s' '{"format": "vksteer-kernels-2", "many_rows": "magic"}' >"$(ls "$XDG_CACHE_HOME"/vksteer/kernels-*.json)"
check "a damaged file is ignored, and said" bash -c "'$vksteer' apply -p 'a red apple' -o tuned.png 2>&1 |
    grep -q 'damaged and ignored'"
rm -f "$XDG_CACHE_HOME"/vksteer/kernels-*.json
"$vksteer" train -q "${style[@]}" -o u.safetensors --log u.jsonl &
stopped=$!
for _ in $(seq 400); do [ -s u.jsonl ] && break; sleep 0.05; done
kill -INT $stopped && wait $stopped
check "kernels of one's own again" override plain
refused "resume under another kernel table" 1 "kernels" "$vksteer" train -q "${style[@]}" -o u.safetensors \
    --log u.jsonl --resume
check "unless forced" train -o u.safetensors --log u.jsonl --resume --force
check "to the same steering" cmp a.safetensors u.safetensors
rm -f "$XDG_CACHE_HOME"/vksteer/kernels-*.json
