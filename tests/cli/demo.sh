# The demo, the kernels' own test, and the form of what the benchmark says.

demo() { "$vksteer" demo -q --steps 1 -o shown; }
check "demo" demo
cp out.log demo.log
check "demo again" eval "mv shown first && demo"
for sheet in style:792x930 pizza:792x996; do  # six by six pictures, with labels of one line or two
    name=${sheet%:*}
    check "it names the steering $name" grep -qx "shown/$name.safetensors" demo.log
    check "it names the picture $name" grep -qx "shown/$name.png" demo.log
    check "the steering $name says its seed" noted "shown/$name.safetensors" seed 42
    check "the picture $name has its size" test \
        "$(python3 "$here/tests/cli/png.py" size "shown/$name.png")" = "${sheet#*:}"
    check "the same steering $name" cmp "first/$name.safetensors" "shown/$name.safetensors"
    check "the same picture $name" cmp "first/$name.png" "shown/$name.png"
done
check "and nothing else" test "$(ls -A shown | wc -l)" = 4

check "devices --selftest" "$vksteer" devices --selftest
cp out.log selftest.log
check "it counts all families as right" grep -qE '^([1-9][0-9]*) of \1 kernel families are right' selftest.log
check "as many as it lists" test "$(grep -c '^ok ' selftest.log)" = \
    "$(sed -n 's/^\([0-9]*\) of .* families are right.*/\1/p' selftest.log)"

check "bench attention --json" bash -c "'$vksteer' bench -q attention --json >bench.json"
check "its form" python3 -c '
import json
bench = json.load(open("bench.json"))
assert bench["device"] and bench["driver"] and bench["results"]
for row in bench["results"]:
    assert row["name"] == "attention" and row["ms"] > 0 and row["gflops"] > 0, row
    assert min(row[k] for k in ("m", "n", "k", "count")) > 0 and row["type"] and row["what"], row'
