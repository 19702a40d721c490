// Processors that stay awake, on Linux. Elsewhere no priority below all others is known, and nothing is done.
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE  // SCHED_IDLE, affinity
#endif

#include "base/os.h"

#ifdef __linux__

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>

#define MOST_THREADS 16  // of a driver, about
#define LOW_PRIORITY 10  // nice: the driver's threads weigh 110 there, 15 at 19, where ours with their 3 cost a sixth

struct vks_os_awake {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    atomic_bool on;
    bool closing;  // under the mutex
    int count;
    pthread_t threads[MOST_THREADS];
};

static void spin(const struct vks_os_awake *awake)
{
    while (atomic_load_explicit(&awake->on, memory_order_relaxed))
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#else
        sched_yield();
#endif
}

static void *run(void *priv)
{
    struct vks_os_awake *awake = priv;
    const struct sched_param lowest = {0};
    if (sched_setscheduler(0, SCHED_IDLE, &lowest))  // this thread
        return NULL;
    pthread_mutex_lock(&awake->mutex);
    while (!awake->closing) {
        if (!atomic_load(&awake->on)) {
            pthread_cond_wait(&awake->changed, &awake->mutex);
            continue;
        }
        pthread_mutex_unlock(&awake->mutex);
        spin(awake);
        pthread_mutex_lock(&awake->mutex);
    }
    pthread_mutex_unlock(&awake->mutex);
    return NULL;
}

struct vks_os_awake *vks_os_awake_open(void)
{
    const bool low = sched_getscheduler(0) == SCHED_IDLE || getpriority(PRIO_PROCESS, 0) >= LOW_PRIORITY;
    const bool wanted = !vks_os_is_rationed() && !low;
    struct vks_os_awake *awake = wanted ? calloc(1, sizeof(*awake)) : NULL;
    cpu_set_t allowed, one;
    sigset_t all, before;
    if (!awake || sched_getaffinity(0, sizeof(allowed), &allowed)) {
        free(awake);
        return NULL;
    }
    pthread_mutex_init(&awake->mutex, NULL);
    pthread_cond_init(&awake->changed, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // which threads inherit: signals are for the others
    for (int cpu = 0; cpu < CPU_SETSIZE && awake->count < MOST_THREADS; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || pthread_create(&awake->threads[awake->count], NULL, run, awake))
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        pthread_setaffinity_np(awake->threads[awake->count++], sizeof(one), &one);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return awake;
}

void vks_os_awake_hold(struct vks_os_awake *awake, bool on)
{
    if (!awake)
        return;
    pthread_mutex_lock(&awake->mutex);
    atomic_store(&awake->on, on);
    if (on)
        pthread_cond_broadcast(&awake->changed);
    pthread_mutex_unlock(&awake->mutex);
}

void vks_os_awake_close(struct vks_os_awake **awake_address)
{
    struct vks_os_awake *awake = *awake_address;
    if (!awake)
        return;
    *awake_address = NULL;
    pthread_mutex_lock(&awake->mutex);
    awake->closing = true;
    atomic_store(&awake->on, false);
    pthread_cond_broadcast(&awake->changed);
    pthread_mutex_unlock(&awake->mutex);
    for (int i = 0; i < awake->count; i++)
        pthread_join(awake->threads[i], NULL);
    pthread_cond_destroy(&awake->changed);
    pthread_mutex_destroy(&awake->mutex);
    free(awake);
}

#else

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
