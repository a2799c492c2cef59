/* Writes down when it ran: eight bytes, nanoseconds of the monotonic clock, into the file that is
   named, or into the epilogue's. As its last act as a payload, as its first as an epilogue. */
#include <asm/fcntl.h>
#include <linux/time_types.h>
#include "sys.h"

enum { MONOTONIC = 1 };

void start(char **stack)
{
    const char *file = (long)stack[0] > 1 ? stack[2] : "/var/lib/site/begin";
    struct __kernel_timespec now;
    unsigned long nanoseconds;
    S2(clock_gettime, MONOTONIC, &now);
    nanoseconds = (unsigned long)now.tv_sec * 1000000000 + (unsigned long)now.tv_nsec;
    long fd = S4(openat, -100 /* AT_FDCWD */, file, O_WRONLY | O_TRUNC, 0);
    long written = S3(write, fd, &nanoseconds, sizeof nanoseconds);
    for (;;)
        S1(exit_group, written == sizeof nanoseconds ? 0 : 1);
}
