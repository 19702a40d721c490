# What must not be lost: files that are read, the terminal, and the time of someone who has pressed Ctrl-C.
need a.safetensors a.jsonl

cp "$prompts/style.source.txt" source.txt
ln source.txt linked.txt
mine=(--source source.txt --target "$prompts/style.target.txt" "${style[@]:4}")
refused "a steering over its prompts" 2 "the same file" "$vksteer" train -q "${mine[@]}" -o ./source.txt
refused "the same by another name" 2 "the same file" "$vksteer" train -q "${mine[@]}" -o linked.txt
refused "a log over its prompts" 2 "the same file" "$vksteer" train -q "${mine[@]}" -o never.x \
    --log source.txt
refused "a log over its steering" 2 "the same file" "$vksteer" train -q "${mine[@]}" -o never.x --log never.x
refused "a log over the state" 2 "resumed from" "$vksteer" train -q "${mine[@]}" -o never.x --log never.x.state
check "the prompts are as they were" cmp source.txt "$prompts/style.source.txt"
cp a.safetensors b.safetensors
refused "a picture over its steering" 2 "the same file" "$vksteer" apply -q -p x --steer ./b.safetensors \
    -o b.safetensors
check "which is as it was" cmp a.safetensors b.safetensors
refused "a picture that would be no PNG" 2 "PNG" "$vksteer" apply -q -p x -o never.jpg

cp -r "$emoji" cut && sed -i '500,$d' cut/tokenizer/merges.txt
check "merges that were cut short are said" bash -c \
    "'$vksteer' info -m ./cut 2>&1 | grep -q '498 merges make too few of the 1531 tokens'"
check "and no others" bash -c "! '$vksteer' info -m emoji 2>&1 | grep -q 'too few'"

# Names from files: nothing that moves a terminal's cursor, and no line of their own.
make_file metadata a.safetensors model 'x\x1b[31mEVIL\nvksteer: done\x9b' evil.safetensors
refused "a model's name with escapes" 1 'x\\x1b\[31mEVIL\\x0avksteer: done' "$vksteer" apply -q -p x \
    --steer evil.safetensors -o never.png
check "is one line" test "$(wc -l <refused.err)" = 1
check "inspect escapes too" bash -c \
    "'$vksteer' inspect evil.safetensors >evil.txt && grep -q 'x1b.31mEVIL' evil.txt &&
    ! LC_ALL=C grep -q \$'[\e\x9b]' evil.txt"
make_file metadata a.safetensors position middle middle.safetensors
refused "a position that is none" 1 'position "middle"' "$vksteer" apply -q -p x --steer middle.safetensors \
    -o never.png
make_file metadata a.safetensors pool median median.safetensors
refused "a pool that is none" 1 'pool "median"' "$vksteer" apply -q -p x --steer median.safetensors -o never.png
mkfifo pipe
refused "a pipe for a steering" 1 "regular file" "$vksteer" apply -q -p x --steer pipe -o never.png

refused "a gamma that is to be found" 2 "leave \-\-gamma out" "$vksteer" train -q "${style[@]}" --support 0.5 \
    -o never.safetensors
refused "a closed form resumed" 2 "in one go" "$vksteer" train -q "${style[@]:0:4}" --method mean-act --resume \
    -o never.safetensors
check "a training that moves nothing says so" bash -c \
    "'$vksteer' train ${style[*]} --gamma 1000 -o zero.safetensors 2>&1 | grep -q 'changes nothing'"
refused "a demo of texts" 1 "image model" "$vksteer" demo -q -m "$llama" -o demo
check "leaves nothing" test ! -e demo

# Left between its steps: all of them would take far longer.
"$vksteer" apply -p x --steps 1000 -o long.png >long.log 2>&1 &
painting=$!
for _ in $(seq 400); do grep -q 'step' long.log && break; sleep 0.05; done
kill -INT $painting
wait $painting
check "a picture stopped by Ctrl-C" test $? = 130
check "is not written" test ! -e long.png
check "and was not finished" bash -c "! grep -q 'step 1000/1000' long.log"

# Other kernels, of which the targets' activations tell.
longer=("${style[@]}" --steps 24 -o f.safetensors --log f.jsonl)
"$vksteer" train -q "${longer[@]}" &
stopped=$!
for _ in $(seq 400); do [ -s f.jsonl ] && break; sleep 0.05; done
kill -INT $stopped
wait $stopped
check "a training stopped by Ctrl-C" test $? = 130
make_file metadata f.safetensors.state targets 0123456789abcdef other.state && mv other.state f.safetensors.state
refused "resume with other kernels" 1 "targets' activations had other bits" \
    "$vksteer" train -q "${longer[@]}" --resume
check "unless forced" "$vksteer" train "${longer[@]}" --resume --force
cp out.log forced.log
check "from where it was" grep -q 'going on from step' forced.log
check "to a steering" test -s f.safetensors
check "a switch that is none is said" bash -c \
    "VKSTEER_DISABLE=texel,winogard '$vksteer' devices --device 0 2>&1 | grep -q 'no winogard to switch: known'"
refused "no such device among them" 3 "nowhere" "$vksteer" devices --device nowhere
