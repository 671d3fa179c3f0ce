/* Preloaded into a node, shifts its time of day by CLOCK_OFFSET_MS milliseconds: a machine whose clock is wrong. Clocks that
   only measure spans stay as they are, as on such a machine. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*original)(clockid_t, struct timespec *);
    static long long offset_ms;
    if (!original) {
        const char *offset = getenv("CLOCK_OFFSET_MS");
        offset_ms = offset ? atoll(offset) : 0;
        original = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    int result = original(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        long long ns = now->tv_nsec + offset_ms % 1000 * 1000000;
        now->tv_sec += offset_ms / 1000;
        if (ns < 0) {
            ns += 1000000000;
            now->tv_sec -= 1;
        } else if (ns >= 1000000000) {
            ns -= 1000000000;
            now->tv_sec += 1;
        }
        now->tv_nsec = ns;
    }
    return result;
}
