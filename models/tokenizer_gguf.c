#include "models/tokenizer_parts.h"
struct vks_tokenizer *vks_tokenizer_from_gguf(const struct vks_log *log, const struct vks_gguf *file)
{
    return vks_fail_null(log, "%s: not yet", file->path);
}
