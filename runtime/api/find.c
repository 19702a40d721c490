// Where models and prompt sets lie: beside the program, where it was installed, in the Hugging Face cache.
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"
#include "base/os.h"
#include "base/text.h"

// Set by the build: where assets are installed, and those of the source tree.
#ifndef VKSTEER_DATA_DIR
#define VKSTEER_DATA_DIR ""
#endif
#ifndef VKSTEER_SOURCE_ASSETS
#define VKSTEER_SOURCE_ASSETS ""
#endif

static char *if_there(const char *folder, const char *name)
{
    char *path = folder && *folder ? vks_path_join(folder, name) : NULL;
    if (path && vks_os_exists(path))
        return path;
    free(path);
    return NULL;
}

// The same, with `folder` seen from the folder of the program.
static char *beside_program(const char *folder, const char *name)
{
    char *program = vks_os_program_path();
    char *where = program ? vks_path_folder(program) : NULL;
    char *place = where ? vks_path_join(where, folder) : NULL;
    char *found = if_there(place, name);
    free(place);
    free(where);
    free(program);
    return found;
}

char *vks_api_find(const vksteer_session *session, const char *name)
{
    char *found = if_there(session ? session->model_path : NULL, name);
    if (!found)
        found = if_there(vks_os_env("VKSTEER_MODELS"), name);
    if (!found)
        found = beside_program("../assets", name);
    if (!found)
        found = beside_program("../share/vksteer", name);
    if (!found)
        found = if_there(VKSTEER_DATA_DIR, name);
    if (!found)
        found = if_there(VKSTEER_SOURCE_ASSETS, name);
    return found;
}

char *vksteer_asset(const vksteer_session *session, const char *name)
{
    return vks_api_find(session, name);
}

// The folder of the Hugging Face cache, by the rules of huggingface_hub; heap.
static char *hub_folder(void)
{
    const char *hub = vks_os_env("HF_HUB_CACHE"), *home = vks_os_env("HF_HOME");
    const char *cache = vks_os_env("XDG_CACHE_HOME");
    if (hub)
        return vks_path_join(hub, "");
    if (home)
        return vks_path_join(home, "hub");
    if (cache)
        return vks_path_join(cache, "huggingface/hub");
    const char *user = vks_os_env("HOME");
    user = user ? user : vks_os_env("USERPROFILE");
    return user ? vks_path_join(user, ".cache/huggingface/hub") : NULL;
}

// The commit of a revision: what refs/REVISION holds, or the revision itself, as huggingface_hub reads it; heap.
// Names of branches may have slashes ("refs/pr/1").
static char *commit_of(const char *repository, const char *revision)
{
    struct vks_text path = {0};
    size_t size = 0;
    vks_text_printf(&path, "%s/refs/%s", repository, revision);
    char *commit = !path.failed && vks_os_is_file(path.data) ? vks_os_read_file(NULL, path.data, 256, &size) : NULL;
    vks_text_finish(&path);
    if (commit)
        commit[strcspn(commit, " \r\n")] = 0;
    else if (vks_text_add_str(&path, revision))
        commit = path.data;  // taken over
    return commit;
}

char *vks_api_find_repository(const char *id, bool *other)
{
    struct vks_text path = {0};
    char *hub = hub_folder(), *found = NULL, *commit = NULL;
    const char *slash = strchr(id, '/'), *at = slash ? strchr(slash, '@') : NULL;
    const char *end = at ? at : id + strlen(id), *revision = at ? at + 1 : "main";
    const bool name = slash && slash != id && slash + 1 < end && !memchr(slash + 1, '/', (size_t)(end - slash - 1)) &&
                      !strstr(id, "..") && id[0] != '.' && !strchr(id, '\\') && *revision;
    *other = false;
    if (!hub || !name)
        goto out;
    vks_text_printf(&path, "%s/models--%.*s--%.*s", hub, (int)(slash - id), id, (int)(end - slash - 1), slash + 1);
    if (path.failed || !vks_os_is_dir(path.data))
        goto out;
    *other = true;
    commit = commit_of(path.data, revision);
    if (commit && *commit && !strchr(commit, '/') && vks_text_printf(&path, "/snapshots/%s", commit) &&
        vks_os_is_dir(path.data)) {
        *other = false;
        found = path.data;
        path = (struct vks_text){0};
    }
out:
    free(commit);
    vks_text_finish(&path);
    free(hub);
    return found;
}
