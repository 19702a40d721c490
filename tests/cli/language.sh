# Training of language models.
need plain.txt rare.txt

check "train a language model" speak -o speak.safetensors
check "and get the same bits again" bash -c \
    "'$vksteer' train -q -m '$llama' --source plain.txt --target rare.txt --steps 5 \
    --micro-batch 2 -o speak2.safetensors && cmp speak.safetensors speak2.safetensors"
check "and from its GGUF file" bash -c \
    "'$vksteer' train -q -m '$llama/model.gguf' --source plain.txt --target rare.txt \
    --steps 5 -o speak3.safetensors && cmp speak.safetensors speak3.safetensors"
check "train it by a closed form" speak -o closed.safetensors --method linear-act
printf 'a dog\nthe end\n' | cat plain.txt - >plain6.txt
printf 'quartz\n' | cat rare.txt - >rare6.txt
vector=("$vksteer" train -q -m "$llama" --source plain6.txt --target rare6.txt)
for method in caa repe iti aura detzero; do
    check "train it by $method" "${vector[@]}" -o $method.safetensors --method $method
done
check "one vector in the residual stream" bash -c \
    "'$vksteer' inspect caa.safetensors | grep -q ' 1 maps, 20 of 20 channels'"
check "three heads by name" "${vector[@]}" -o heads.safetensors --method iti --top-heads 3 --alpha 2 --position last
check "within the support" "${vector[@]}" -o support.safetensors --method linear-act --quantiles 0:100
check "a support to look at" bash -c "'$vksteer' inspect support.safetensors | grep -q 'within ranges'"
check "eval of a support" bash -c "'$vksteer' eval -m '$llama' --steer support.safetensors --source plain.txt \
    --target rare.txt | grep -q 'mean over 2 sites'"
refused "an inverse within a range" 1 "no inverse" "$vksteer" eval -q -m "$llama" --steer support.safetensors:inv \
    --source plain.txt --target rare.txt
refused "LinEAS through a range" 1 "no gradient" "${vector[@]}" --batch 4 --steer support.safetensors \
    -o never.safetensors
refused "quantiles upside down" 2 "LOW:HIGH" "${vector[@]}" --method linear-act --quantiles 9:3 -o never.safetensors
refused "quantiles of another method" 1 "leave it out" "${vector[@]}" --quantiles 0:100 -o never.safetensors
check "eval of steered heads" bash -c "'$vksteer' eval -m '$llama' --steer iti.safetensors --source plain.txt \
    --target rare.txt | grep -q 'mean over 1 sites'"
refused "pairs without a partner" 1 "pairs" "$vksteer" train -q -m "$llama" --source plain.txt --target rare.txt \
    --method caa -o never.safetensors
refused "two pairs for actadd" 1 "one pair" "${vector[@]}" --method actadd -o never.safetensors
refused "an option of another method" 1 "leave them out" "${vector[@]}" --method caa --alpha 3 -o never.safetensors
refused "more heads than there are" 1 "8 heads" "${vector[@]}" --method iti --top-heads 9 -o never.safetensors
refused "heads where there are none" 1 "heads" "${vector[@]}" --method iti --sites '.*mlp' -o never.safetensors
check "eval of a language model" bash -c "'$vksteer' eval -m '$llama' --steer speak.safetensors --source plain.txt \
    --target rare.txt | grep -q 'mean over 2 sites'"
# With a LoRA that PEFT saved.
peft=$tiny/lora/llama-peft
check "info with PEFT's folder" bash -c \
    "'$vksteer' info -m '$llama' --lora '$peft:0.5' | grep -q 'adapter_model.safetensors at strength 0.5, 6 layers'"
peft_text() { "$vksteer" apply -q -m "$llama" -p 'the cat' --temp 0 --max-tokens 12 "$@"; }
check "it changes texts" bash -c \
    "$(declare -p vksteer llama peft); $(declare -f peft_text); ! cmp -s <(peft_text) <(peft_text --lora \$peft)"
check "and at strength 0 none" bash -c \
    "$(declare -p vksteer llama peft); $(declare -f peft_text); cmp <(peft_text) <(peft_text --lora \$peft:0)"
check "train on it" speak --lora "$peft" -o peft.safetensors
refused "its steering without it" 1 "trained on other weights" "$vksteer" apply -q --strict -m "$llama" -p x \
    --steer peft.safetensors
cp -r "$peft" dora && sed -i 's/"use_dora": false/"use_dora": true/' dora/adapter_config.json
refused "another form of adapter" 1 "plain LoRA" "$vksteer" info -m "$llama" --lora dora
mkdir bare
refused "a folder without an adapter" 1 "holds no adapter_model" "$vksteer" info -m "$llama" --lora bare
peft_file() { llama=$llama/model.gguf peft_text "$@"; }
letters() { sed 's/<unk>\|Ġ\| //g'; }  # blanks and unknown tokens are written in two ways
check "over a GGUF file it writes the same" bash -c \
    "$(declare -p vksteer llama peft); $(declare -f peft_text peft_file letters)
    cmp <(peft_text --lora \$peft | letters) <(peft_file --lora \$peft | letters) &&
    ! cmp -s <(peft_file) <(peft_file --lora \$peft)"
check "over a quantised one" "$vksteer" info -m "$tiny/language/gpt2/model.gguf" --lora "$tiny/lora/gpt2-peft"
check "over GPT-2, whose matrices lie the other way round" bash -c \
    "'$vksteer' info -m '$tiny/language/gpt2' --lora '$tiny/lora/gpt2-peft' | grep -q '6 layers'"
refused "a LoRA of another model's sizes" 1 "for another model" "$vksteer" info \
    -m "$tiny/language/linear/model.gguf" --lora "$peft"
refused "a baked language model" 1 "is a language model" "$vksteer" bake -q -m "$llama" --steer speak.safetensors \
    -o never.baked
refused "a picture's size for a language model" 1 "leave them out" "$vksteer" train -q -m "$llama" \
    --source plain.txt --target rare.txt -W 64 -o never.safetensors
cp -r "$llama" mute && rm mute/tokenizer.json
refused "a language model without its tokenizer" 1 "tokenizer" "$vksteer" train -q -m ./mute --source plain.txt \
    --target rare.txt -o never.safetensors
