#define PCRE2_CODE_UNIT_WIDTH 8
#include "steer/sites.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CHANNELS (1u << 29)

struct vks_site_pattern {
    pcre2_code *code;
    pcre2_match_data *match;
    bool tuple;            // the expression names a tuple output
};

// Whether there is a colon of a name: those of (?: and (?i: and [:alpha:] are syntax.
static bool names_tuple(const char *expression)
{
    for (const char *p = expression; *p; p++) {
        if (*p == ':' && p[1] != ']' && (p == expression || p[-1] != '['))
            return true;
        if (p[0] == '(' && p[1] == '?') {
            p += 2 + strspn(p + 2, "imnsxJU^-");
            p -= *p != ':';
        }
    }
    return false;
}

struct vks_site_pattern *vks_site_pattern_create(const struct vks_log *log, const char *expression)
{
    struct vks_site_pattern *pattern = calloc(1, sizeof(*pattern));
    if (!pattern)
        return vks_fail_null(log, VKS_NO_MEMORY);
    int code = 0;
    PCRE2_SIZE at = 0;
    pattern->code = pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | PCRE2_ENDANCHORED,
                                  &code, &at, NULL);
    if (!pattern->code) {
        PCRE2_UCHAR why[128];
        pcre2_get_error_message(code, why, sizeof(why));
        vks_fail(log, "the site expression \"%s\" is not valid at character %zu: %s", expression, (size_t)at + 1,
                 (const char *)why);
        vks_site_pattern_destroy(&pattern);
        return NULL;
    }
    pattern->match = pcre2_match_data_create_from_pattern(pattern->code, NULL);
    pattern->tuple = names_tuple(expression);
    return pattern;
}

void vks_site_pattern_destroy(struct vks_site_pattern **address)
{
    struct vks_site_pattern *pattern = *address;
    if (!pattern)
        return;
    *address = NULL;
    pcre2_match_data_free(pattern->match);
    pcre2_code_free(pattern->code);
    free(pattern);
}

bool vks_site_pattern_matches(const struct vks_site_pattern *pattern, const char *name)
{
    if ((strchr(name, ':') != NULL) != pattern->tuple || !pattern->match)
        return false;
    return pcre2_match(pattern->code, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, pattern->match, NULL) >= 0;
}

bool vks_site_list_add(struct vks_site_list *list, const struct vks_log *log, const char *name,
                       enum vks_site_kind kind, uint32_t channels)
{
    // w and b of all sites lie in one array of 32-bit positions; a file may claim anything.
    if (channels == 0 || channels > MAX_CHANNELS - list->channels)
        return vks_fail(log, "%s brings %u channels to the %u before it: 1 to %u in all are supported", name,
                        channels, list->channels, MAX_CHANNELS);
    char *copy = vks_arena_strdup(&list->arena, name);
    if (!copy || !vks_grow(&list->slots, &list->capacity, list->count, sizeof(*list->slots)))
        return vks_fail(log, VKS_NO_MEMORY);
    list->slots[list->count++] = (struct vks_site_slot){copy, kind, channels, list->channels};
    list->channels += channels;
    return true;
}

bool vks_site_list_select(struct vks_site_list *list, const struct vks_graph *graph, const char *expression)
{
    struct vks_site_pattern *pattern = vks_site_pattern_create(graph->log, expression);
    if (!pattern)
        return false;
    bool ok = true;
    for (size_t i = 0; i < graph->site_count && ok; i++) {
        const struct vks_site *site = &graph->sites[i];
        if (vks_site_pattern_matches(pattern, site->name))
            ok = vks_site_list_add(list, graph->log, site->name, site->kind, site->channels);
    }
    vks_site_pattern_destroy(&pattern);
    if (ok && list->count == 0)
        ok = vks_fail(graph->log, "no site is called \"%s\" (the model's sites are %s ... %s): `vksteer info "
                      "--sites` lists them", expression, graph->site_count ? graph->sites[0].name : "none",
                      graph->site_count ? graph->sites[graph->site_count - 1].name : "none");
    return ok;
}

void vks_site_list_finish(struct vks_site_list *list)
{
    free(list->slots);
    vks_arena_finish(&list->arena);
    *list = (struct vks_site_list){0};
}

const struct vks_site_slot *vks_site_list_find(const struct vks_site_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->slots[i].name, name) == 0)
            return &list->slots[i];
    return NULL;
}
