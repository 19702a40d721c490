// Windows: nothing is known to wait for sleeping processors there.
#ifdef _WIN32

#include "base/os.h"

struct vks_os_awake *vks_os_awake_open(void)
{
    return NULL;
}

void vks_os_awake_hold(struct vks_os_awake *awake, bool on)
{
    (void)awake;
    (void)on;
}

void vks_os_awake_close(struct vks_os_awake **awake)
{
    (void)awake;
}

#endif
