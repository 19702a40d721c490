// vksteer info on a GGUF file: what a language model is.
#include "cli.h"

#define MIB(bytes) ((double)(bytes) / (1 << 20))

// ", context 2048" when the file says so.
static void print_size(const char *before, uint64_t size, const char *after)
{
    if (size)
        printf(", %s%llu%s", before, (unsigned long long)size, after);
}

static void print_sizes(const struct vksteer_gguf *in)
{
    printf("  %.3f M parameters, %.1f MiB", (double)in->parameters / 1e6, MIB(in->bytes));
    print_size("", in->layers, " layers");
    print_size("width ", in->width, "");
    print_size("", in->heads, " heads");
    if (in->heads && in->head_width)
        printf(" of %llu", (unsigned long long)in->head_width);
    if (in->kv_heads != in->heads)
        printf(" (%llu of keys and values)", (unsigned long long)in->kv_heads);
    print_size("feed-forward ", in->feed_forward, "");
    printf("\n");
    if (in->context)
        printf("  context of %llu tokens", (unsigned long long)in->context);
    if (in->context && in->window)
        printf(", local attention over %llu", (unsigned long long)in->window);
    if (in->rope_base > 0)
        printf("%srope base %.9g", in->context ? ", " : "  ", in->rope_base);
    if (in->context || in->rope_base > 0)
        printf("\n");
    if (in->tokenizer || in->vocabulary)
        printf("  tokenizer %s%s%s, %llu tokens\n", in->tokenizer ? in->tokenizer : "not stated",
               in->pre_tokenizer ? " " : "", in->pre_tokenizer ? in->pre_tokenizer : "",
               (unsigned long long)in->vocabulary);
}

static void print_tensor(const struct vksteer_gguf_tensor *tensor)
{
    char shape[100] = "";
    for (uint32_t i = 0, at = 0; i < tensor->rank; i++)
        at += (uint32_t)snprintf(shape + at, sizeof(shape) - at, "%s%llu", i ? " x " : "",
                                 (unsigned long long)tensor->shape[i]);
    print_line("    %-32s %-5s %-16s %10.3f MiB  %s%s%s%s", tensor->name, tensor->type, shape, MIB(tensor->bytes),
               tensor->site ? tensor->site : "", tensor->form ? " (" : "", tensor->form ? tensor->form : "",
               tensor->form ? ")" : "");
}

static void print_gguf(const struct vksteer_gguf *in, bool verbose)
{
    print_line("%s", in->path);
    print_line("  %s%s%s, GGUF version %u", in->architecture, in->name ? ", " : "", in->name ? in->name : "",
               in->version);
    print_sizes(in);
    for (size_t i = 0; i < in->type_count; i++)
        print_line("    %-5s %5llu tensors %12.3f M parameters %10.1f MiB", in->types[i].name,
                   (unsigned long long)in->types[i].tensors, (double)in->types[i].parameters / 1e6,
                   MIB(in->types[i].bytes));
    if (in->fingerprint)
        print_line("  fingerprint: %s", in->fingerprint);
    for (size_t i = 0; i < in->metadata_count && verbose; i++)
        print_line("  %s = %s", in->keys[i], in->values[i]);
    for (size_t i = 0; i < in->tensor_count && verbose; i++)
        print_tensor(&in->tensors[i]);
}

// 0 is what a file does not say.
static void json_size(const char *key, uint64_t size)
{
    if (size)
        json_integer(key, size);
    else
        json_text(key, NULL);
}

static void json_lists(const struct vksteer_gguf *in)
{
    json_open("metadata", '{');
    for (size_t i = 0; i < in->metadata_count; i++)
        json_text(in->keys[i], in->values[i]);
    json_close();
    json_open("tensors", '[');
    for (size_t i = 0; i < in->tensor_count; i++) {
        const struct vksteer_gguf_tensor *tensor = &in->tensors[i];
        json_open(NULL, '{');
        json_text("name", tensor->name);
        json_text("type", tensor->type);
        json_open("shape", '[');
        for (uint32_t k = 0; k < tensor->rank; k++)
            json_integer(NULL, tensor->shape[k]);
        json_close();
        json_integer("bytes", tensor->bytes);
        json_text("site", tensor->site);
        json_text("form", tensor->form);
        json_close();
    }
    json_close();
}

static void json_gguf(const struct vksteer_gguf *in, bool verbose)
{
    json_open(NULL, '{');
    json_text("path", in->path);
    json_integer("gguf_version", in->version);
    json_text("architecture", in->architecture);
    json_text("name", in->name);
    json_integer("parameters", in->parameters);
    json_integer("bytes", in->bytes);
    json_size("context", in->context);
    json_size("width", in->width);
    json_size("layers", in->layers);
    json_size("heads", in->heads);
    json_size("kv_heads", in->kv_heads);
    json_size("head_width", in->head_width);
    json_size("feed_forward", in->feed_forward);
    json_size("window", in->window);
    if (in->rope_base > 0)
        json_number("rope_base", in->rope_base);
    else
        json_text("rope_base", NULL);
    json_text("tokenizer", in->tokenizer);
    json_text("pre_tokenizer", in->pre_tokenizer);
    json_size("vocabulary", in->vocabulary);
    json_text("fingerprint", in->fingerprint);
    json_open("types", '[');
    for (size_t i = 0; i < in->type_count; i++) {
        json_open(NULL, '{');
        json_text("name", in->types[i].name);
        json_integer("tensors", in->types[i].tensors);
        json_integer("parameters", in->types[i].parameters);
        json_integer("bytes", in->types[i].bytes);
        json_close();
    }
    json_close();
    if (verbose)
        json_lists(in);
}

int info_gguf(const struct common *common)
{
    struct vksteer_gguf gguf;
    if (!vksteer_gguf_describe(cli_log(), common->model, &gguf))
        return EXIT_FAILED;
    if (common->json)
        json_gguf(&gguf, common->verbose);
    else
        print_gguf(&gguf, common->verbose);
    vksteer_gguf_finish(&gguf);
    return !common->json || json_finish() ? EXIT_DONE : EXIT_FAILED;
}
