# Pictures: the same bits, and the same file from a picture's own text.
need a.safetensors
cp a.safetensors c.safetensors

check "paint" "$vksteer" apply -q -p "a red apple" -o p.png
check "with the seconds of each stage" bash -c \
    "'$vksteer' apply -v -p x --steps 2 -o v.png 2>&1 | grep -E -c '(text|step|decoder): [0-9.]+ s\$' | grep -qx 4"
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
check "two steerings in order" "$vksteer" apply -q -p "a red apple" --steer a.safetensors:0.5 \
    --steer c.safetensors:inv -o two.png
check "a batch of prompts" "$vksteer" apply -q --prompts "$prompts/validation.txt" -b 1 --grid 8 -o grid.png
check "a picture is remade from its text" remade p.png
check "a steered one" remade two.png
check "a strip" remade strip.png
check "a sheet of prompts" remade grid.png
check "paint words that a shell must not read" "$vksteer" apply -q -p "it's \"a\" \$HOME \`id\` ü; *" -s 9 \
    --steer a.safetensors:inv --steer-strength 0.123456789 -b 2 -o odd.png
check "the second of two" remade odd_001.png
check "seeds in a grid" "$vksteer" apply -q -p "a red apple" -b 4 --grid 2 -o seeds.png
check "they are remade" remade seeds.png
check "the picture has the hashes of its steerings" grep \
    -aqE 'a.safetensors [0-9a-f]{16}; c.safetensors [0-9a-f]{16}' two.png
# What a terminal of each kind is sent is the picture.
shown() # NAME VARIABLE=VALUE
{
    env -u KITTY_WINDOW_ID -u TERM_PROGRAM TERM=dumb "$2" script \
    -qec "'$vksteer' apply -q -p 'a red apple' -o shown.png --show" \
        /dev/null >shown.txt && python3 "$here/tests/cli/png.py" shown "$1" shown.png shown.txt
}
if command -v script >/dev/null; then
    check "a picture in a Kitty terminal" shown kitty TERM=xterm-kitty
    check "and in iTerm2" shown iterm TERM_PROGRAM=iTerm.app
    check "and by sixels" shown sixel TERM=foot
else
    skipped=$((skipped + 1)) && echo "skip terminals: there is no script command"
fi
check "a prompt from standard input" bash -c \
    "echo 'a red apple' | '$vksteer' apply -q -p - -o i.png && cmp i.png p.png"
