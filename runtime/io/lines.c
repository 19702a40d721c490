#include "io/lines.h"

#include "base/os.h"
#include "base/text.h"
#include "io/json.h"
#include "io/json_check.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SIZE ((size_t)64 << 20)

struct reader {
    const struct vks_log *log;
    const char *path, *field;
    const char *at, *end;
    size_t line;  // of `at`, from 1
    struct vks_lines *lines;
    size_t capacity;
};

// The names tried when no field is given.
static const char *const fields[] = {"prompt", "caption", "text", NULL};

static bool add(struct reader *r, const char *text, size_t size)
{
    char *copy = size < SIZE_MAX ? vks_arena_alloc(&r->lines->arena, size + 1) : NULL;
    if (!copy || !vks_grow(&r->lines->items, &r->capacity, r->lines->count, sizeof(*r->lines->items)))
        return vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->path);
    memcpy(copy, text, size);
    r->lines->items[r->lines->count++] = copy;
    return true;
}

static bool is_blank(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
            return false;
    }
    return true;
}

// The next line without its end; false at the end of the file.
static bool next_line(struct reader *r, const char **text, size_t *size)
{
    if (r->at >= r->end)
        return false;
    const char *end = memchr(r->at, '\n', (size_t)(r->end - r->at));
    *text = r->at;
    *size = (size_t)((end ? end : r->end) - r->at);
    r->at = end ? end + 1 : r->end;
    if (*size && (*text)[*size - 1] == '\r')
        --*size;
    return true;
}

static bool read_txt(struct reader *r)
{
    const char *text;
    size_t size;
    for (; next_line(r, &text, &size); r->line++) {
        if (!is_blank(text, size) && !add(r, text, size))
            return false;
    }
    return true;
}

// One JSON value: a string, or an object with the field. `kind` and `number` say where it stands.
static bool take_value(struct reader *r, const struct cJSON *value, const char *kind, size_t number)
{
    const struct cJSON *text = cJSON_IsString(value) ? value : NULL;
    if (!text && !cJSON_IsObject(value))
        return vks_fail(r->log, "%s: %s %llu: expected an object or a string; correct the file", r->path, kind,
                        (unsigned long long)number);
    if (!text && r->field)
        text = vks_json_get(value, r->field);
    for (int i = 0; !text && !r->field && fields[i]; i++)
        text = vks_json_get(value, fields[i]);
    if (!text)
        return vks_fail(r->log, "%s: %s %llu: no field \"%s\"; name the right one with --field", r->path, kind,
                        (unsigned long long)number, r->field ? r->field : fields[0]);
    if (!cJSON_IsString(text) || is_blank(text->valuestring, strlen(text->valuestring)))
        return vks_fail(r->log, "%s: %s %llu: the prompt is %s; correct the file", r->path, kind,
                        (unsigned long long)number, cJSON_IsString(text) ? "empty" : "not a string");
    return add(r, text->valuestring, strlen(text->valuestring));
}

static bool read_jsonl(struct reader *r)
{
    const char *text;
    size_t size, offset;
    for (; next_line(r, &text, &size); r->line++) {
        if (is_blank(text, size))
            continue;
        const char *wrong = vks_json_check(text, size, &offset);
        if (wrong)
            return vks_fail(r->log, "%s: line %llu: %s; each line must be one JSON value", r->path,
                            (unsigned long long)r->line, wrong);
        struct cJSON *value = cJSON_ParseWithLength(text, size);
        const bool done = value ? take_value(r, value, "line", r->line)
                                : vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->path);
        cJSON_Delete(value);
        if (!done)
            return false;
    }
    return true;
}

static bool read_json(struct reader *r)
{
    struct vks_json *json = vks_json_parse(r->log, r->path, r->at, (size_t)(r->end - r->at));
    if (!json)
        return false;
    bool done = cJSON_IsArray(json->root) ||
                vks_fail(r->log, "%s: expected an array of objects or strings; correct the file", r->path);
    size_t number = 1;
    for (const struct cJSON *item = json->root->child; done && item; item = item->next)
        done = take_value(r, item, "item", number++);
    vks_json_close(&json);
    return done;
}

// One field of a record into `out`; stands behind it, at a comma, a line's end or the end. Quoted fields may hold
// commas, line ends and doubled quotes.
static bool csv_field(struct reader *r, struct vks_text *out)
{
    out->length = 0;
    vks_text_add(out, "", 0);
    if (r->at < r->end && *r->at == '"') {
        const size_t from = r->line;
        for (r->at++; r->at < r->end; r->at++) {
            if (*r->at == '"' && (r->at + 1 == r->end || r->at[1] != '"'))
                break;
            r->at += *r->at == '"';
            r->line += *r->at == '\n';
            vks_text_add(out, r->at, 1);
        }
        if (r->at == r->end)
            return vks_fail(r->log, "%s: line %llu: a quote is never closed; correct the file", r->path,
                            (unsigned long long)from);
        r->at++;
        if (r->at < r->end && !strchr(",\r\n", *r->at))
            return vks_fail(r->log, "%s: line %llu: text follows a closing quote; double quotes that belong to the "
                            "text", r->path, (unsigned long long)r->line);
    } else {
        const char *from = r->at;
        while (r->at < r->end && *r->at != ',' && *r->at != '\n' &&
               !(*r->at == '\r' && (r->at + 1 == r->end || r->at[1] == '\n'))) {
            if (*r->at++ == '"')
                return vks_fail(r->log, "%s: line %llu: a quote stands inside of a field without quotes; quote the "
                                "field", r->path, (unsigned long long)r->line);
        }
        vks_text_add(out, from, (size_t)(r->at - from));
    }
    return !out->failed || vks_fail(r->log, "%s: " VKS_NO_MEMORY, r->path);
}

// Behind a field: true at a comma (and steps over it), else steps over the line's end.
static bool csv_more(struct reader *r)
{
    if (r->at < r->end && *r->at == ',') {
        r->at++;
        return true;
    }
    if (r->at < r->end && *r->at == '\r')
        r->at++;
    if (r->at < r->end && *r->at == '\n') {
        r->at++;
        r->line++;
    }
    return false;
}

// Steps over empty lines; false at the end.
static bool csv_record(struct reader *r)
{
    while (r->at < r->end && (*r->at == '\n' || *r->at == '\r'))
        r->line += *r->at++ == '\n';
    return r->at < r->end;
}

// Reads the names of the columns: how many there are, and which one is wanted.
static bool csv_columns(struct reader *r, struct vks_text *text, size_t *columns, size_t *wanted)
{
    size_t best = sizeof(fields) / sizeof(fields[0]);  // the smaller, the better the name
    bool found = false;
    *columns = 0;
    if (!csv_record(r))
        return true;
    do {
        if (!csv_field(r, text))
            return false;
        for (size_t i = 0; i < best; i++) {
            const char *name = r->field ? r->field : fields[i];
            if (name && !strcmp(text->data, name)) {
                best = i;
                *wanted = *columns;
                found = true;
            }
        }
        ++*columns;
    } while (csv_more(r));
    if (!found && !r->field && *columns == 1) {
        *wanted = 0;
        found = true;
    }
    return found || vks_fail(r->log, "%s: line 1: no column \"%s\"; name the right one with --field", r->path,
                             r->field ? r->field : fields[0]);
}

static bool csv_records(struct reader *r, struct vks_text *text)
{
    size_t columns, wanted = 0;
    if (!csv_columns(r, text, &columns, &wanted))
        return false;
    while (csv_record(r)) {
        const size_t line = r->line;
        size_t column = 0;
        do {
            if (!csv_field(r, text))
                return false;
            if (column == wanted && is_blank(text->data, text->length))
                return vks_fail(r->log, "%s: line %llu: the prompt is empty; correct the file", r->path,
                                (unsigned long long)line);
            if (column++ == wanted && !add(r, text->data, text->length))
                return false;
        } while (csv_more(r));
        if (column != columns)
            return vks_fail(r->log, "%s: line %llu: %llu fields where the first line has %llu; correct the file",
                            r->path, (unsigned long long)line, (unsigned long long)column,
                            (unsigned long long)columns);
    }
    return true;
}

static bool read_csv(struct reader *r)
{
    struct vks_text text = {0};
    const bool done = csv_records(r, &text);
    vks_text_finish(&text);
    return done;
}

// Text must be UTF-8 without NUL.
static bool check_bytes(struct reader *r)
{
    const size_t size = (size_t)(r->end - r->at), valid = vks_utf8_check(r->at, size);
    const char *nul = size ? memchr(r->at, 0, size) : NULL;
    const size_t bad = nul && (size_t)(nul - r->at) < valid ? (size_t)(nul - r->at) : valid;
    size_t line = 1;
    for (size_t i = 0; i < bad; i++)
        line += r->at[i] == '\n';
    return bad == size || vks_fail(r->log, "%s: line %llu: %s; save the file as UTF-8 text", r->path,
                                   (unsigned long long)line, bad < valid ? "holds a NUL byte" : "is not UTF-8");
}

bool vks_lines_parse(const struct vks_log *log, const char *path, const char *field, const char *text, size_t size,
                     struct vks_lines *lines)
{
    *lines = (struct vks_lines){0};
    if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
        text += 3;
        size -= 3;
    }
    struct reader r = {.log = log, .path = path, .field = field, .at = text, .end = text + size, .line = 1,
                       .lines = lines};
    bool done = check_bytes(&r) && (vks_ends_with(path, ".jsonl")  ? read_jsonl(&r)
                                    : vks_ends_with(path, ".json") ? read_json(&r)
                                    : vks_ends_with(path, ".csv")  ? read_csv(&r)
                                                                   : read_txt(&r));
    if (done && !lines->count)
        done = vks_fail(log, "%s: holds no prompt; give at least one", path);
    if (!done)
        vks_lines_finish(lines);
    return done;
}

bool vks_lines_read(const struct vks_log *log, const char *path, const char *field, struct vks_lines *lines)
{
    *lines = (struct vks_lines){0};
    size_t size;
    char *text = vks_os_read_file(log, path, MAX_SIZE, &size);
    const bool done = text && vks_lines_parse(log, path, field, text, size, lines);
    free(text);
    return done;
}

void vks_lines_finish(struct vks_lines *lines)
{
    free(lines->items);
    vks_arena_finish(&lines->arena);
    *lines = (struct vks_lines){0};
}
