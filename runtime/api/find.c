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
    const char *hub = vks_os_env("HF_HUB_CACHE"), *home = vks_os_env("HF_HOME"), *cache = vks_os_env("XDG_CACHE_HOME");
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

char *vks_api_find_repository(const char *id)
{
    struct vks_text path = {0};
    char *hub = hub_folder(), *found = NULL;
    const char *slash = strchr(id, '/');
    if (!hub || !slash || strchr(slash + 1, '/') || strstr(id, "..") || id[0] == '/' || id[0] == '.')
        goto out;
    vks_text_printf(&path, "%s/models--%.*s--%s", hub, (int)(slash - id), id, slash + 1);
    char *refs = path.data ? vks_path_join(path.data, "refs/main") : NULL;
    size_t size = 0;
    char *revision = refs && vks_os_is_file(refs) ? vks_os_read_file(NULL, refs, 256, &size) : NULL;
    free(refs);
    if (revision) {
        revision[strcspn(revision, " \r\n")] = 0;
        vks_text_printf(&path, "/snapshots/%s", revision);
        if (*revision && !strchr(revision, '/') && !path.failed && vks_os_is_dir(path.data)) {
            found = path.data;
            path = (struct vks_text){0};
        }
    }
    free(revision);
out:
    vks_text_finish(&path);
    free(hub);
    return found;
}
