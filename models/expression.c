#define PCRE2_CODE_UNIT_WIDTH 8

#include "models/expression.h"

#include "base/text.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define MAX_GROUPS 200
#define MAX_HEAP (128u << 10)  // KiB
#define MAX_STEPS ((size_t)1 << 20)

// White_Space, which is what \s means to Oniguruma (PCRE2's adds U+180E), and what it takes for \w: in a class
// Alphabetic, M, Nd and Pc, elsewhere also the other numbers of Latin-1.
#define SPACE "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}" \
              "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define CLASS_WORD "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}" \
                   "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
#define WORD CLASS_WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
#define HEX "0-9A-Fa-f"

struct rewriter {
    const char *at;
    struct vks_text out;
    size_t groups[MAX_GROUPS];  // where in `out` the open ones begin
    size_t depth;
    size_t atom;      // where in `out` what a quantifier would apply to begins
    bool opened;      // nothing has followed the start of the expression or of a group yet
    bool scripts;     // a property of a longer name is a script, not also what others use of it (PCRE2 10.40)
    bool folding;     // in a group of `folded` depth that ignores case
    size_t folded;
    char before;      // the letter in front, while folding
    const char *why;  // what cannot be rewritten
};

static bool refuse(struct rewriter *r, const char *why)
{
    r->why = why;
    return false;
}

// All bytes of the character at `at`, as it is.
static void add_character(struct rewriter *r)
{
    do
        vks_text_add(&r->out, r->at++, 1);
    while (((unsigned char)*r->at & 0xc0) == 0x80);
}

// ---- escapes

// Long names of general categories; everything else (short names, scripts) is the same in both.
static const char *category(const char *name, size_t size)
{
    static const char *const names[][2] = {
        {"letter", "L"}, {"uppercaseletter", "Lu"}, {"lowercaseletter", "Ll"}, {"titlecaseletter", "Lt"},
        {"modifierletter", "Lm"}, {"otherletter", "Lo"}, {"mark", "M"}, {"nonspacingmark", "Mn"},
        {"spacingmark", "Mc"}, {"enclosingmark", "Me"}, {"number", "N"}, {"decimalnumber", "Nd"},
        {"letternumber", "Nl"}, {"othernumber", "No"}, {"punctuation", "P"}, {"connectorpunctuation", "Pc"},
        {"dashpunctuation", "Pd"}, {"openpunctuation", "Ps"}, {"closepunctuation", "Pe"},
        {"initialpunctuation", "Pi"}, {"finalpunctuation", "Pf"}, {"otherpunctuation", "Po"}, {"symbol", "S"},
        {"mathsymbol", "Sm"}, {"currencysymbol", "Sc"}, {"modifiersymbol", "Sk"}, {"othersymbol", "So"},
        {"separator", "Z"}, {"spaceseparator", "Zs"}, {"lineseparator", "Zl"}, {"paragraphseparator", "Zp"},
        {"other", "C"}, {"control", "Cc"}, {"format", "Cf"}, {"surrogate", "Cs"}, {"privateuse", "Co"},
        {"unassigned", "Cn"}, {"digit", "Nd"},
    };
    char plain[32];
    size_t length = 0;
    for (size_t i = 0; i < size && length + 1 < sizeof(plain); i++) {
        if (name[i] != '_' && name[i] != '-' && name[i] != ' ')
            plain[length++] = (char)tolower((unsigned char)name[i]);
    }
    plain[length] = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!strcmp(plain, names[i][0]))
            return names[i][1];
    }
    static const char *const posix[] = {"alpha", "alnum", "blank", "cntrl", "graph", "lower", "print", "punct",
                                        "space", "upper", "xdigit", "word", "ascii", "any"};
    for (size_t i = 0; i < sizeof(posix) / sizeof(posix[0]); i++) {
        if (!strcmp(plain, posix[i]))
            return NULL;
    }
    return "";
}

// \p{Name}, \P{Name}, \p{^Name}; `at` is at the p.
static bool property(struct rewriter *r)
{
    bool negated = *r->at == 'P';
    const char *name = r->at + 2;
    if (r->at[1] != '{')
        return refuse(r, "a property without braces");
    if (*name == '^') {
        negated = !negated;
        name++;
    }
    const size_t size = strcspn(name, "}");
    if (name[size] != '}' || !size || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_- ") < size)
        return refuse(r, "a property whose name is none");
    const char *same = category(name, size);
    if (!same)
        return refuse(r, "a POSIX property");
    vks_text_printf(&r->out, "\\%c{", negated ? 'P' : 'p');
    if (*same)
        vks_text_add_str(&r->out, same);
    else
        vks_text_printf(&r->out, "%s%.*s", r->scripts && size > 2 ? "sc:" : "", (int)size, name);
    vks_text_add_str(&r->out, "}");
    r->at = name + size + 1;
    return true;
}

// \uHHHH, \xHH, \x{H...}; `at` is at the letter.
static bool number(struct rewriter *r)
{
    const char *digits = r->at + 1;
    const bool braces = *r->at == 'x' && *digits == '{';
    digits += braces;
    size_t size = strspn(digits, "0123456789abcdefABCDEF");
    if (!braces && size > (*r->at == 'u' ? 4u : 2u))
        size = *r->at == 'u' ? 4 : 2;
    if (!size || size > 6 || (*r->at == 'u' && size != 4) || (braces && digits[size] != '}') ||
        (*r->at == 'x' && !braces && size == 2 && digits[0] > '7'))
        return refuse(r, "a character by a number that is none");
    vks_text_printf(&r->out, "\\x{%.*s}", (int)size, digits);
    r->at = digits + size + braces;
    return true;
}

// Escapes that mean the same in and out of a class; `at` is behind the backslash. *done: it was one of them.
static bool common_escape(struct rewriter *r, bool *done)
{
    const char c = *r->at;
    *done = true;
    if (c == 'p' || c == 'P')
        return property(r);
    if (c == 'u' || c == 'x')
        return number(r);
    if (c == 'v') {
        vks_text_add_str(&r->out, "\\x{b}");
        r->at++;
        return true;
    }
    if (!c)
        return refuse(r, "a backslash at the end");
    if ((unsigned char)c >= 0x80) {
        add_character(r);
        return true;
    }
    if (strchr("dDnrtfae", c) || !isalnum((unsigned char)c)) {
        vks_text_printf(&r->out, "\\%c", c);
        r->at++;
        return true;
    }
    *done = false;
    return true;
}

// ---- classes

// What a class has beside what can stand in PCRE2's: complements, as alternatives.
struct class {
    struct vks_text others;  // "|[^...]|[^...]"
    struct vks_text negated;  // "(?![^...])(?![^...])"
};

static void add_other(struct class *class, const char *content, size_t size)
{
    vks_text_printf(&class->others, "|[^%.*s]", (int)size, content);
    vks_text_printf(&class->negated, "(?![^%.*s])", (int)size, content);
}

static bool class_escape(struct rewriter *r, struct class *class)
{
    static const struct {
        char letter;
        const char *set;
    } sets[] = {{'s', SPACE}, {'w', CLASS_WORD}, {'h', HEX}};
    bool done;
    r->at++;
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        if (*r->at == sets[i].letter)
            vks_text_add_str(&r->out, sets[i].set);
        else if (*r->at == toupper((unsigned char)sets[i].letter))
            add_other(class, sets[i].set, strlen(sets[i].set));
        else
            continue;
        r->at++;
        return true;
    }
    if (*r->at == 'b') {
        vks_text_add_str(&r->out, "\\x{8}");
        r->at++;
        return true;
    }
    return common_escape(r, &done) && (done || refuse(r, "an escape in a class that it does not know"));
}

// The members of a class, `at` behind its "[" and "^", to behind its "]".
static bool members(struct rewriter *r, struct class *class, int depth)
{
    if (depth > 8)
        return refuse(r, "classes nested too deep");
    for (bool first = true; first || *r->at != ']'; first = false) {
        if (!*r->at)
            return refuse(r, "a class that has no end");
        if (r->at[0] == '&' && r->at[1] == '&')
            return refuse(r, "an intersection of classes");
        if (r->at[0] == '[' && r->at[1] == ':')
            return refuse(r, "a POSIX class");
        if (*r->at == '[') {
            const size_t start = r->out.length;
            const bool negated = r->at[1] == '^';
            struct class inner = {0};
            r->at += negated ? 2 : 1;
            const bool done = members(r, negated ? &inner : class, depth + 1);
            const bool mixed = inner.others.length > 0;
            vks_text_finish(&inner.others);
            vks_text_finish(&inner.negated);
            if (!done || r->out.failed)
                return false;
            if (mixed)
                return refuse(r, "a negated class inside of a class");
            if (negated) {
                add_other(class, r->out.data + start, r->out.length - start);
                r->out.length = start;
            }
        } else if (*r->at == '\\') {
            if (!class_escape(r, class))
                return false;
        } else {
            if (first && *r->at == ']')
                vks_text_add_str(&r->out, "\\");
            vks_text_add(&r->out, r->at++, 1);
        }
    }
    r->at++;
    return true;
}

static bool add_class(struct rewriter *r)
{
    struct class class = {0};
    struct vks_text whole = r->out;
    const bool negated = r->at[1] == '^';
    r->atom = whole.length;
    r->at += negated ? 2 : 1;
    r->out = (struct vks_text){0};
    const bool done = members(r, &class, 0);
    struct vks_text set = r->out;
    r->out = whole;
    const bool empty = !set.length;
    if (done && !class.others.length) {
        vks_text_printf(&r->out, "[%s%s]", negated ? "^" : "", empty ? "" : set.data);
    } else if (done && negated) {
        vks_text_printf(&r->out, "(?:%s", class.negated.data);
        vks_text_printf(&r->out, empty ? "(?s:.))" : "[^%s])", set.data);
    } else if (done) {
        vks_text_add_str(&r->out, "(?:");
        if (!empty)
            vks_text_printf(&r->out, "[%s]|", set.data);
        vks_text_printf(&r->out, "%s)", class.others.data + 1);
    }
    r->out.failed = r->out.failed || set.failed || class.others.failed || class.negated.failed;
    vks_text_finish(&set);
    vks_text_finish(&class.others);
    vks_text_finish(&class.negated);
    return done;
}

// ---- everything else

static bool escape(struct rewriter *r)
{
    static const struct {
        char letter;
        const char *is;
    } sets[] = {{'s', "[" SPACE "]"}, {'S', "[^" SPACE "]"}, {'w', "[" WORD "]"}, {'W', "[^" WORD "]"},
                {'h', "[" HEX "]"}, {'H', "[^" HEX "]"},
                {'b', "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))"},
                {'B', "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))"},
                {'A', "\\A"}, {'z', "\\z"}, {'Z', "\\Z"}};
    bool done;
    r->atom = r->out.length;
    r->at++;
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        if (*r->at == sets[i].letter) {
            vks_text_add_str(&r->out, sets[i].is);
            r->at++;
            return true;
        }
    }
    if (*r->at >= '1' && *r->at <= '9') {
        vks_text_printf(&r->out, "\\%c", *r->at++);
        return true;
    }
    return common_escape(r, &done) && (done || refuse(r, "an escape that it does not know"));
}

// The letters of (?imx-imx); Ruby's m is what PCRE2 calls s.
static bool options(struct rewriter *r)
{
    const size_t size = strspn(r->at, "im-");
    const char end = r->at[size];
    if (!size || (end != ':' && end != ')'))
        return refuse(r, "a group of a kind that it does not know");
    if (!r->folding && memchr(r->at, 'i', strcspn(r->at, "-:)"))) {
        r->folding = true;
        r->folded = end == ':' ? r->depth : r->depth - 1;
        r->before = 0;
    }
    for (size_t i = 0; i < size; i++)
        vks_text_add(&r->out, r->at[i] == 'm' ? "s" : r->at + i, 1);
    vks_text_add(&r->out, &end, 1);
    r->at += size + 1;
    if (end == ')' && r->depth)
        r->depth--;  // it is no group
    return true;
}

static bool open_group(struct rewriter *r)
{
    const bool opened = r->opened;
    if (r->depth == MAX_GROUPS)
        return refuse(r, "groups nested too deep");
    r->groups[r->depth++] = r->out.length;
    r->opened = true;
    if (r->at[1] != '?') {
        r->at++;
        return vks_text_add_str(&r->out, "(");
    }
    static const char *const kinds[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!strncmp(r->at, kinds[i], strlen(kinds[i]))) {
            r->at += strlen(kinds[i]);
            return vks_text_add_str(&r->out, kinds[i]);
        }
    }
    r->at += 2;
    vks_text_add_str(&r->out, "(?");
    const size_t depth = r->depth;
    if (!options(r))
        return false;
    // In the middle Ruby takes alternatives that follow into the scope of the options, PCRE2 does not.
    return r->depth == depth || opened || refuse(r, "options in the middle of an expression");
}

// {n}, {n,}, {n,m}, {,m}, else a plain brace. To Ruby a + behind it, and a ? behind {n}, is a quantifier of its own.
static bool interval(struct rewriter *r)
{
    const char *low = r->at + 1;
    const size_t low_size = strspn(low, "0123456789");
    const char *high = low + low_size + (low[low_size] == ',');
    const bool range = high != low + low_size;
    const size_t high_size = range ? strspn(high, "0123456789") : 0;
    const char *end = high + high_size;
    if (*end != '}' || (!low_size && !high_size)) {
        r->atom = r->out.length;
        r->at++;
        return vks_text_add_str(&r->out, "\\{");
    }
    const bool wrap = end[1] == '+' || (end[1] == '?' && !range);
    struct vks_text made = {0};
    vks_text_printf(&made, "%s%.*s{%.*s%s%.*s}%s", wrap ? "(?:" : "",
                    (int)(r->out.length - r->atom), r->out.data ? r->out.data + r->atom : "",
                    low_size ? (int)low_size : 1, low_size ? low : "0", range ? "," : "", (int)high_size, high,
                    wrap ? ")" : "");
    r->out.length = r->atom;
    vks_text_add(&r->out, made.data ? made.data : "", made.length);
    r->out.failed = r->out.failed || made.failed;
    vks_text_finish(&made);
    r->at = end + 1;
    return true;
}

// Oniguruma also takes one letter for two, such as U+FB01 for "fi", where it ignores case; PCRE2 does not.
static bool folds_alike(struct rewriter *r, char c)
{
    static const char *const pairs[] = {"ss", "ff", "fi", "fl", "st"};
    const char pair[3] = {(char)tolower((unsigned char)r->before), (char)tolower((unsigned char)c), 0};
    r->before = c;
    if ((unsigned char)c >= 0x80)
        return false;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (!strcmp(pair, pairs[i]))
            return false;
    }
    return true;
}

static bool rewrite(struct rewriter *r)
{
    r->opened = true;
    while (*r->at) {
        const char c = *r->at;
        bool done = true;
        if (r->folding && !folds_alike(r, c))
            return refuse(r, "letters without regard to case that others stand for");
        if (c == '(') {
            if (!open_group(r))
                return false;
            continue;
        }
        if (c == '\\') {
            done = escape(r);
        } else if (c == '[') {
            done = add_class(r);
        } else if (c == '{') {
            done = interval(r);
        } else if (c == ')') {
            if (!r->depth)
                return refuse(r, "a parenthesis that closes nothing");
            r->atom = r->groups[--r->depth];
            r->folding = r->folding && r->depth >= r->folded;
            vks_text_add(&r->out, r->at++, 1);
        } else if (strchr("*+?|^$", c)) {
            vks_text_add(&r->out, r->at++, 1);
        } else {
            r->atom = r->out.length;
            if (c == '}' || c == ']')
                vks_text_add_str(&r->out, "\\");
            add_character(r);
        }
        r->opened = false;
        if (!done)
            return false;
    }
    return true;
}

// ---- compiling and searching

// NULL, with an error, when PCRE2 does not take it.
static pcre2_code *compile(const struct vks_text *text, int *error)
{
    PCRE2_SIZE offset;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context)
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)(text->data ? text->data : ""), text->length,
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, error,
                                     &offset, context);
    pcre2_compile_context_free(context);
    return code;
}

bool vks_expression_compile(const struct vks_log *log, const char *path, const char *source,
                            struct vks_expression *expression)
{
    *expression = (struct vks_expression){0};
    char quoted[160];
    vks_text_quote(source, strlen(source), quoted, sizeof(quoted));
    struct rewriter *r = malloc(sizeof(*r));
    if (!r)
        return vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    bool done = true;
    int error = 0;
    for (int scripts = 1; scripts >= 0 && done && !expression->code; scripts--) {
        *r = (struct rewriter){.at = source, .scripts = scripts};
        done = rewrite(r) && !r->out.failed;
        if (done)
            expression->code = compile(&r->out, &error);
        vks_text_finish(&r->out);
    }
    if (!done && r->why) {
        vks_fail(log, "%s: the expression \"%s\" is not supported: it has %s; use another tokenizer", path, quoted,
                 r->why);
    } else if (!done) {
        vks_fail(log, "%s: " VKS_NO_MEMORY, path);
    } else if (!expression->code) {
        PCRE2_UCHAR why[120] = "";
        pcre2_get_error_message(error, why, sizeof(why));
        done = vks_fail(log, "%s: the expression \"%s\" is not supported: PCRE2 says %s; use another tokenizer", path,
                        quoted, (const char *)why);
    }
    free(r);
    return done;
}

void vks_expression_finish(struct vks_expression *expression)
{
    pcre2_code_free(expression->code);
    *expression = (struct vks_expression){0};
}

struct vks_finder_data {
    pcre2_match_data *match;
    pcre2_match_context *context;
};

struct vks_finder_data *vks_finder_data_create(void)
{
    struct vks_finder_data *data = calloc(1, sizeof(*data));
    if (!data)
        return NULL;
    data->match = pcre2_match_data_create(1, NULL);
    data->context = pcre2_match_context_create(NULL);
    if (!data->match || !data->context)
        vks_finder_data_destroy(&data);
    else
        pcre2_set_heap_limit(data->context, MAX_HEAP);
    return data;
}

void vks_finder_data_destroy(struct vks_finder_data **data)
{
    if (*data) {
        pcre2_match_data_free((*data)->match);
        pcre2_match_context_free((*data)->context);
        free(*data);
    }
    *data = NULL;
}

static bool find_literal(const struct vks_finder *finder, size_t *begin, size_t *end)
{
    const char *wanted = finder->expression->literal;
    const size_t size = finder->expression->literal_size;
    for (size_t at = finder->from; at + size <= finder->size; at++) {
        if (size) {
            const char *next = memchr(finder->text + at, *wanted, finder->size - at);
            if (!next)
                return false;
            at = (size_t)(next - finder->text);
        }
        if (at + size <= finder->size && (!size || !memcmp(finder->text + at, wanted, size))) {
            *begin = at;
            *end = at + size;
            return true;
        }
    }
    return false;
}

static enum vks_found find(struct vks_finder *finder, size_t *begin, size_t *end)
{
    if (!finder->expression->code)
        return find_literal(finder, begin, end) ? VKS_FOUND : VKS_FOUND_NONE;
    // A run of spaces may be gone through backwards some times; what takes much longer is an expression gone wild.
    const size_t limit = MAX_STEPS + 16 * finder->size;
    pcre2_set_match_limit(finder->data->context, limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX);
    const int found = pcre2_match(finder->expression->code, (PCRE2_SPTR)finder->text, finder->size, finder->from,
                                  PCRE2_NO_UTF_CHECK, finder->data->match, finder->data->context);
    if (found < 0)
        return found == PCRE2_ERROR_NOMATCH ? VKS_FOUND_NONE : VKS_FOUND_FAILED;
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(finder->data->match);
    *begin = range[0];
    *end = range[1];
    return range[0] <= range[1] && range[0] >= finder->from ? VKS_FOUND : VKS_FOUND_FAILED;
}

enum vks_found vks_finder_next(struct vks_finder *finder, size_t *begin, size_t *end)
{
    while (finder->from <= finder->size) {
        const enum vks_found found = find(finder, begin, end);
        if (found != VKS_FOUND)
            return found;
        if (*begin != *end || !finder->any || *end != finder->last) {
            finder->from = finder->last = *end;
            finder->any = true;
            return VKS_FOUND;
        }
        do
            finder->from++;
        while (finder->from < finder->size && ((unsigned char)finder->text[finder->from] & 0xc0) == 0x80);
    }
    return VKS_FOUND_NONE;
}
