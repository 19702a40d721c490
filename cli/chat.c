// Prompts as conversations of the model's own form.
#include <stdlib.h>

#include "cli.h"

bool make_chats(vksteer_model *model, const char *system, const char *const *prompts, size_t count, char ***chats)
{
    bool ok = true;
    *chats = calloc(count + 1, sizeof(**chats));
    if (!*chats) {
        say_error(NO_MEMORY);
        return false;
    }
    for (size_t i = 0; i < count && ok; i++) {
        const struct vksteer_message messages[] = {{"system", system}, {"user", prompts[i]}};
        ok = vksteer_chat(model, messages + !system, system ? 2 : 1, &(*chats)[i]);
    }
    if (!ok)
        free_chats(chats, count);
    return ok;
}

void free_chats(char ***chats, size_t count)
{
    for (size_t i = 0; *chats && i < count; i++)
        free((*chats)[i]);
    free(*chats);
    *chats = NULL;
}
