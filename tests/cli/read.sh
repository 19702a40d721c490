# Figures of a language model by texts.
need plain.txt rare.txt from.txt avg.safetensors

maps=$here/tests/golden/data/perplexity/steering.safetensors
printf 'the cat and the dog in the sun on and on,\nin the sun there is more of it\n' >read.txt
printf 'text\nthe cat and the dog\n"in the sun, on and on"\n' >read.csv
read_it() { "$vksteer" eval -q -m "$llama" --text read.txt "$@"; }
figures() { python3 -c "import json, sys
text = json.load(sys.stdin)['text']
points = text['points']
assert $1, text"; }
check "perplexity of a text" bash -c \
    "$(declare -p vksteer llama); $(declare -f read_it); read_it | grep -qE '^ +0 +[0-9]+\.[0-9]{3}$'"
check "steered at 0 it is the same" bash -c "$(declare -p vksteer llama maps); $(declare -f read_it figures)
    read_it --steer '$maps:0' --json |
    figures 'len(points) == 2 and points[0][\"perplexity\"] == points[1][\"perplexity\"]'"
check "and steered another" bash -c "$(declare -p vksteer llama maps); $(declare -f read_it figures)
    read_it --steer '$maps' --json | figures 'abs(points[0][\"perplexity\"] - points[1][\"perplexity\"]) > .1'"
check "records are texts of their own" bash -c "$(declare -f figures)
    '$vksteer' eval -q -m '$llama' --text read.csv --context 16 --json |
    figures 'text[\"windows\"] == 2 and text[\"context\"] == 16'"
check "a sweep with its plot" bash -c "$(declare -p vksteer llama maps); $(declare -f read_it)
    read_it --steer '$maps' --sweep 0:1:5 --plot sweep.png | tail -n 1 | grep -qx sweep.png &&
    file sweep.png | grep -q '960 x'"
check "distances and texts together" bash -c \
    "$(declare -f figures); '$vksteer' eval -q -m '$llama' --steer '$maps' --source plain.txt \
    --target rare.txt --text read.txt --json | figures 'len(points) == 2'"
refused "a prompt that is no text" 1 "UTF-8" "$vksteer" apply -q -m "$llama" -p "$(printf 'a\xff\xfe')"
refused "a prompt of more than one text" 1 "zero bytes" bash \
    -c "printf 'a\\0b' | '$vksteer' apply -q -m '$llama' -p -"
refused "a text for a model of pictures" 1 "makes pictures" "$vksteer" eval -q --text read.txt
refused "a text that is not there" 1 "nowhere.txt" "$vksteer" eval -q -m "$llama" --text nowhere.txt
: >nothing.txt
refused "an empty text" 1 "nothing.txt is empty" "$vksteer" eval -q -m "$llama" --text nothing.txt
head -c 300 /dev/urandom >bytes.txt
refused "a text read by maps at averages" 1 "average of a text" "$vksteer" eval -q -m "$llama" --text read.txt \
    --steer avg.safetensors
refused "a text of random bytes" 1 "UTF-8" "$vksteer" eval -q -m "$llama" --text bytes.txt
refused "a plot without a sweep" 2 "\-\-sweep" "$vksteer" eval -q -m "$llama" --text read.txt --plot never.png
refused "a sweep of nothing" 2 "\-\-steer" "$vksteer" eval -q -m "$llama" --text read.txt --sweep 0:1:3
refused "a stride beyond the window" 1 "stride of 9" "$vksteer" eval -q -m "$llama" --text read.txt --context 8 \
    --stride 9
refused "a window beyond the context" 1 "model's context" "$vksteer" eval -q -m "$llama" --text read.txt \
    --context 100000
refused "eval of nothing" 2 "or --text" "$vksteer" eval -q -m "$llama"
printf 'on\nthe sun\n' >on.txt
wrote() { "$vksteer" eval -q -m "$llama" --prompts from.txt -b 2 --max-tokens 6 "$@"; }
check "texts over strengths, by a scorer and a list" bash -c \
    "$(declare -p vksteer llama maps); $(declare -f wrote figures)
    wrote --steer '$maps' --sweep 0:1:3 --scorer 'tee made.jsonl | python3 -c \"
import json, sys
for line in sys.stdin: print(len(json.loads(line)[\\\"text\\\"]))\"' --words on.txt --plot made.png \
    --json >made.json &&
    figures 'text[\"texts\"] == 4 and len(points) == 3 and \
        points[0][\"score\"] > 0 and 0 <= points[1][\"listed\"] <= 1' <made.json"
check "the scorer saw them all" python3 -c "
import json
rows = [json.loads(line) for line in open('made.jsonl')]
assert len(rows) == 12 and {r['strength'] for r in rows} == {0, .5, 1} and rows[0]['prompt'] == 'the cat', rows
means = [p['score'] for p in json.load(open('made.json'))['text']['points']]
lengths = [len(r['text']) for r in rows]
assert all(abs(m - sum(lengths[4 * i:4 * i + 4]) / 4) < 1e-6 for i, m in enumerate(means)), means"
check "the texts are those of apply" bash -c \
    "'$vksteer' apply -q -m '$llama' --prompts from.txt -b 2 --max-tokens 6 --json |
    python3 -c \"
import json, sys
assert [r['text'] for r in json.load(sys.stdin)] == [json.loads(x)['text'] for x in list(open('made.jsonl'))[:4]]\""
check "and over fp16 caches" bash -c \
    "'$vksteer' eval -q -m '$llama' --prompts from.txt --max-tokens 4 --cache fp16 | grep -q distinct-2"
refused "a cache for what is read" 2 "give it --prompts" "$vksteer" eval -q -m "$llama" --text from.txt --cache fp16
refused "a scorer that fails" 1 "exit code 3" "$vksteer" eval -q -m "$llama" --prompts from.txt --max-tokens 3 \
    --scorer 'exit 3'
refused "a scorer that hangs up" 1 "0 numbers for 2 texts" "$vksteer" eval -q -m "$llama" --prompts from.txt \
    --max-tokens 3 --scorer true
refused "a scorer of nothing" 2 "\-\-prompts" "$vksteer" eval -q -m "$llama" --text read.txt --scorer cat
refused "drawing texts that are only read" 2 "\-\-temp is for texts" "$vksteer" eval -q -m "$llama" --text read.txt \
    --temp 0.5
refused "a list that is not there" 1 "nowhere.txt" "$vksteer" eval -q -m "$llama" --prompts from.txt \
    --words nowhere.txt
refused "a scorer for pictures" 1 "makes pictures" "$vksteer" eval -q --prompts from.txt --scorer cat
"$vksteer" eval -q -m "$llama" --prompts from.txt --max-tokens 3 --scorer 'cat >/dev/null; sleep 30' >slow.log 2>&1 &
slow=$!
sleep 5
kill -INT $slow
wait $slow
code=$?
check "Ctrl-C ends a slow scorer" test $code = 130
