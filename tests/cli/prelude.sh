# What the parts of tests/test_cli.sh share. It sets `here`, the root of the source tree, and `vksteer`, the program.
work=$(mktemp -d)
made=$work/made  # what several parts need
mkdir "$made"
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME=$work/cache  # neither the user's kernel table nor traces in his cache
prompts=$here/assets/prompts
emoji=$here/assets/emoji
tiny=$here/tests/golden/data
gguf=$tiny/gguf/weights.gguf
llama=$tiny/language/llama  # a language model of random weights, as a folder and, in it, as a file
passed=0 failed=0 skipped=0

# Makes a folder for a part, and goes there.
begin_part() # NAME
{
    mkdir -p "$work/$1" && cd "$work/$1" || exit
    hub=(env -u HF_HUB_CACHE HF_HOME="$PWD/hugs/huggingface")  # where `snapshot` puts things
}

# ---- checks --------------------------------------------------------------------------------------------------------

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
json() { check "$1" bash -c "\"\$@\" | python3 -m json.tool >/dev/null" json "${@:2}"; }

# ---- the program ---------------------------------------------------------------------------------------------------

# Without a Vulkan driver.
no_device=(env VK_DRIVER_FILES=/nowhere VK_ICD_FILENAMES=/nowhere)
sets=(--source "$prompts/style.source.txt" --target "$prompts/style.target.txt")
style=("${sets[@]}" --steps 6 --lr 0.02 --gamma 0 --batch 8 -s 5)
train() { "$vksteer" train -q "${style[@]}" "$@"; }
speak() { "$vksteer" train -q -m "$llama" --source plain.txt --target rare.txt --steps 5 "$@"; }

# ---- files ---------------------------------------------------------------------------------------------------------

make_file() { python3 "$here/tests/cli/make.py" "$@"; }
pixels() { python3 "$here/tests/cli/png.py" pixels "$1"; }
# The largest difference of two pictures, in steps of 1/255.
distance() { python3 "$here/tests/cli/png.py" distance "$1" "$2"; }

noted() # FILE KEY VALUE: what a steering file says of itself
{
    "$vksteer" inspect "$1" --json | python3 -c "import json, sys
sys.exit(json.load(sys.stdin)['metadata'].get('$2') != '$3')"
}

# From its text alone, the same file again.
remade() # PICTURE
{
    python3 "$here/tests/cli/png.py" text "$1" vksteer.command >remake.txt &&
        eval "$(sed "s|^vksteer|'$vksteer'|" remake.txt) -q -o again.png" && cmp "$1" again.png
}

# A repository in the part's own Hugging Face cache; prints the folder of its files.
snapshot() # NAME FOLDER: a copy of this
{
    local at=hugs/huggingface/hub/models--${1/\//--}
    mkdir -p "$at/refs" "$at/snapshots" && printf 89ab >"$at/refs/main" && cp -r "$2" "$at/snapshots/89ab"
    echo "$at/snapshots/89ab"
}

# ---- what several parts need ---------------------------------------------------------------------------------------

# Copies files that are made once for all parts.
need() # FILE...
{
    local name
    for name in "$@"; do
        if [ ! -e "$made/$name" ] && ! (cd "$made" && make_needed "$name") >out.log 2>&1; then
            fail "making $name" "$(tail -n 1 out.log)"
        fi
        cp -r "$made/$name" .
    done
}
make_needed() # FILE
{
    case $1 in
    a.safetensors | a.jsonl) train -o a.safetensors --log a.jsonl ;;
    p.png)                   "$vksteer" apply -q -p "a red apple" -o p.png ;;
    lora.safetensors)        make_file lora "$emoji/unet/diffusion_pytorch_model.safetensors" "$1" ;;
    pickled)                 cp -r "$emoji" "$1" && make_file torch "$1" 1 ;;
    plain.txt)               printf 'the cat and the dog\nin the sun\non and on\nthe other one\n' >"$1" ;;
    rare.txt)                printf 'zebra quiz jazz\nwax box\npuzzle buzz\nlynx fox\nvex\n' >"$1" ;;
    from.txt)                printf 'the cat\nin the sun\n' >"$1" ;;
    four.txt)                head -n 4 "$prompts/validation.txt" >"$1" ;;
    speak.safetensors)       make_needed plain.txt && make_needed rare.txt && speak -o "$1" ;;
    avg.safetensors)         make_needed plain.txt && make_needed rare.txt && speak -o "$1" --position avg ;;
    *)                       return 1 ;;
    esac
}
