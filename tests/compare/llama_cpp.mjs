// Tokens a second of a prompt and of the text behind it: vksteer beside llama.cpp's Vulkan and CPU backends, on the same
// file, driver and machine, in one run.
//
//     npm install node-llama-cpp@3.22.1       (in a folder of its own; it brings llama.cpp built)
//     NODE_PATH=FOLDER/node_modules node tests/compare/llama_cpp.mjs VKSTEER MODEL.gguf [ROUNDS]
//
// Each round measures all of them one after the other, a prompt of 128 tokens and 64 more; the best of ROUNDS (3) stands.
// The first run of each, in which kernels are compiled, does not count.
import {spawnSync} from "node:child_process";
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";

const [vksteer, path, rounds = "3"] = process.argv.slice(2);
if (!path) {
    console.error("usage: node llama_cpp.mjs VKSTEER MODEL.gguf [ROUNDS]");
    process.exit(2);
}
process.env.GGML_VK_VISIBLE_DEVICES ??= "0";  // otherwise it passes CPU drivers by, and says nothing
const entry = createRequire(import.meta.url).resolve("node-llama-cpp");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(entry).href);
const story = "Once upon a time there was a small town by the sea, where people lived from fish and from stories. ".repeat(12);
const PROMPT = 128, TEXT = 64;

async function open(gpu) {
    const llama = await getLlama({gpu, build: "never", logLevel: LlamaLogLevel.error});
    const model = await llama.loadModel({modelPath: path, gpuLayers: gpu ? "max" : 0, defaultContextFlashAttention: false});
    const context = await model.createContext({contextSize: 512, batchSize: 256, threads: {ideal: 2, min: 2}});
    return {model, sequence: context.getSequence()};
}

async function time({model, sequence}) {
    const tokens = model.tokenize(story).slice(0, PROMPT);
    await sequence.clearHistory();
    const start = performance.now();
    await sequence.evaluateWithoutGeneratingNewTokens(tokens.slice(0, -1));
    const middle = performance.now();
    let count = 0;
    for await (const token of sequence.evaluate([tokens.at(-1)], {temperature: 0})) {
        void token;
        if (++count === TEXT)
            break;
    }
    const end = performance.now();
    return {prompt: (PROMPT - 1) / (middle - start) * 1e3, text: count / (end - middle) * 1e3, tokens};
}

// As it says itself, with the making of its graphs.
function ours(text) {
    const {stderr, status} = spawnSync(vksteer, ["apply", "-m", path, "-p", text, "--temp", "0", "--max-tokens", String(TEXT + 1), "-v"],
                                       {encoding: "utf8"});
    const said = /prompts: (\d+) tokens, ([\d.]+) a second; texts: ([\d.]+) a second/.exec(stderr);
    if (status !== 0 || !said)
        throw new Error(stderr);
    return {prompt: Number(said[2]), text: Number(said[3]), tokens: Number(said[1])};
}

const peers = {"llama.cpp, Vulkan": await open("vulkan"), "llama.cpp, CPU": await open(false)};
const best = {};
let prompt;
for (let round = 0; round <= Number(rounds); round++) {
    for (const [name, peer] of Object.entries(peers)) {
        const got = await time(peer);
        prompt ??= peer.model.detokenize(got.tokens);
        if (round)
            best[name] = {prompt: Math.max(got.prompt, best[name]?.prompt ?? 0), text: Math.max(got.text, best[name]?.text ?? 0)};
    }
    const got = ours(prompt);
    if (round)
        best.vksteer = {prompt: Math.max(got.prompt, best.vksteer?.prompt ?? 0), text: Math.max(got.text, best.vksteer?.text ?? 0)};
}
console.log("| | prompt, tokens/s | text, tokens/s |\n|---|---|---|");
for (const [name, {prompt, text}] of Object.entries(best))
    console.log(`| ${name} | ${prompt.toFixed(1)} | ${text.toFixed(1)} |`);
process.exit(0);
