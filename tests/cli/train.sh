# Training: the same bits, what it says, going on after a stop.

check "train" train -o a.safetensors --log a.jsonl
cp out.log trained.log
check "it says from what loss to what" grep -qE \
    '^loss [0-9.]+ to [0-9.]+ \(two samples of one law would show [0-9.]+\)$' trained.log
cp a.safetensors a.jsonl "$made"  # what other parts need
check "six lines of log" test "$(wc -l <a.jsonl)" = 6
check "train again" train -o b.safetensors --log b.jsonl
check "the same steering" cmp a.safetensors b.safetensors
check "the same log" cmp a.jsonl b.jsonl
check "train in micro-batches, recomputed" train -o c.safetensors --micro-batch 2 --recompute
check "the same steering from micro-batches" cmp a.safetensors c.safetensors
# Fast paths that move data otherwise: descriptors; in the full run, for the driver compiles all kernels anew, device
# addresses and loads of 32 bits too.
paths=(DISABLE=address)
[ "${full:-no}" = no ] || paths+=(ENABLE=address DISABLE=address,int64)
for path in "${paths[@]}"; do
    check "train with $path" env "VKSTEER_$path" "$vksteer" train -q "${style[@]}" -o d.safetensors --force
    check "the same steering with $path" cmp a.safetensors d.safetensors
done
check "no state is left" test ! -e a.safetensors.state
targets() { ls "$XDG_CACHE_HOME/vksteer/targets" | wc -l; }
check "the targets' activations are kept" test "$(targets)" -ge 1  # 512 bits count as another device
check "train without what was kept" train -o d.safetensors --no-cache
check "the same steering" cmp a.safetensors d.safetensors
"$vksteer" train -v "${style[@]}" -o d.safetensors >kept.log 2>&1
check "what was kept is read" grep -q 'activations of the targets as .*/targets/' kept.log
check "and is what the model gives" bash -c "! grep -q 'collected again' kept.log"
truncate -s 5000 "$XDG_CACHE_HOME"/vksteer/targets/*
check "train with a damaged file in the cache" train -o d.safetensors
check "the same steering" cmp a.safetensors d.safetensors
check "progress through the targets" bash -c \
    "'$vksteer' train ${style[*]} -o d.safetensors --no-cache 2>&1 | grep -q 'targets 32/32'"
check "train with the model's own sparsity" "$vksteer" train -q "${style[@]:0:4}" --batch 8 -o s.safetensors \
    --steps 8 --sites unet.conv_norm_out
check "which is refitted" noted s.safetensors refit 5
check "train with a gamma" train -o s.safetensors --gamma 0.5 --refit 3
check "with a refit" noted s.safetensors refit 3
check "and without" train -o s.safetensors --gamma 0.5 --refit 0
check "as it says" noted s.safetensors gamma 0.5
refused "a refit of nothing" 1 "give one of them" "$vksteer" train -q "${style[@]}" -o s.safetensors --refit 3

interrupted() # NAME SIGNAL STEPS EXPECTED-CODE
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
interrupted "killed with no state saved yet, trained anew" KILL 1 137

# What a training's state says of itself: step or log_size.
state_says() # FILE KEY
{
    python3 -c 'import json, struct, sys
file = open(sys.argv[1], "rb")
print(json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))["__metadata__"][sys.argv[2]])' "$@"
}
# A state is saved every five seconds, which few steps do not take: so the training is held at its start for longer,
# and saves its state after the step that it then makes. Leaves the number of steps in `steps`.
behind() # whether the state is behind the log
{
    local size
    size=$(state_says r.safetensors.state log_size 2>/dev/null) && [ "$(wc -c <r.jsonl)" -gt "$size" ]
}
kill_later() # LINES: of log, when it is killed; with more than 1, behind the state
{
    local code=0 pid
    for steps in 6 24 96 384; do  # a fast device may be done before it is killed
        rm -f r.*
        "$vksteer" train -q "${style[@]}" --steps $steps -o r.safetensors --log r.jsonl &
        pid=$!
        while kill -0 $pid 2>/dev/null && [ ! -e r.jsonl ]; do sleep 0.02; done
        kill -STOP $pid 2>/dev/null
        sleep 5.5
        kill -CONT $pid 2>/dev/null
        while kill -0 $pid 2>/dev/null && ! { [ -e r.safetensors.state ] && [ "$(wc -l <r.jsonl)" -ge "$1" ] &&
                                              { [ "$1" = 1 ] || behind; }; }; do
            sleep 0.02
        done
        kill -KILL $pid 2>/dev/null
        wait $pid 2>/dev/null
        code=$?
        [ $code = 0 ] || break
    done
    [ $code = 137 ]
}
resumed() # NAME LINES
{
    local at want=a
    if ! kill_later "$2"; then
        fail "$1" "no training of $steps steps was killed"
        return
    fi
    check "$1: its state is there" test -e r.safetensors.state
    check "$1: and no steering" test ! -e r.safetensors
    at=$(state_says r.safetensors.state step)
    [ "$2" = 1 ] || check "$1: the log is ahead of the state" \
        test "$(wc -c <r.jsonl)" -gt "$(state_says r.safetensors.state log_size)"
    printf '{"step": 5, "lr": 0.0' >>r.jsonl  # as a kill amid a write leaves it
    if [ $steps != 6 ]; then
        want=long
        check "$1: uninterrupted" train --steps $steps -o long.safetensors --log long.jsonl --force
    fi
    # Not `train`, which is quiet: that it goes on, rather than begins anew, is to be seen.
    check "$1: resumed" "$vksteer" train "${style[@]}" --steps $steps -o r.safetensors --log r.jsonl --resume
    cp out.log resumed.log
    check "$1: from its state" grep -q "going on from step $at of r.safetensors.state" resumed.log
    check "$1: the same steering" cmp $want.safetensors r.safetensors
    check "$1: the same log" cmp $want.jsonl r.jsonl
    check "$1: no state is left" test ! -e r.safetensors.state
}
resumed "killed once its state is there" 1
resumed "killed steps after its state" 3

check "closed form" train -o m.safetensors --method mean-act
check "inspect says so" bash -c "'$vksteer' inspect m.safetensors | grep -q mean-act"
refused "a sparse closed form" 1 "mean-act changes all" "$vksteer" train -q "${style[@]}" -o m2.safetensors \
    --method mean-act --gamma 0.5
check "train on top of another" train -o top.safetensors --steer a.safetensors:0.5
check "that is another steering" bash -c "! cmp -s a.safetensors top.safetensors"
need four.txt
check "a closed form has no loss" bash -c \
    "! '$vksteer' train -q --source four.txt --target four.txt --method mean-act \
    -o m4.safetensors | grep loss"
check "train and validate" train -o v.safetensors --log v.jsonl --validate "$prompts/validation.txt"
check "validation changes no bit" cmp a.safetensors v.safetensors
check "the log has it at the start and after each step" test "$(grep -c '"validation": [0-9]' v.jsonl)" = 7
check "a single sampling step" train -o one.safetensors --sample-steps 1 --cfg-scale 1
refused "several sampling steps" 1 "sample-steps 4" "$vksteer" train -q "${sets[@]}" --sample-steps 4 \
    -o never.safetensors
json "inspect --json" "$vksteer" inspect a.safetensors --json
