/* The least that a launcher's duties cost: what glexec does, with nothing checked twice and nothing
   explained. It is the benchmark's yardstick and no program to use: it admits one caller to one
   target and says why not by a number only.

     features replace|linger|epilogue COMMAND [ARG...] */
#include <asm/fcntl.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <asm/stat.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/signalfd.h>
#include <linux/time_types.h>
#include <linux/un.h>
#include "sys.h"

#define CONFIG "/etc/glexec.toml"
#define EPILOGUE "/usr/libexec/site/epilogue"
#define TARGET "payload1"
#define HERE (-100L)  /* AT_FDCWD */
#define AGAIN (-11L)  /* EAGAIN */
#define S_TYPE 0170000
#define S_FILE 0100000
enum { STREAM_DGRAM = 2, MOST_GROUPS = 64, CLIENT = 201, INTERNAL = 202, DENIED = 203, OWN_CODE = 204 };

struct account {
    unsigned uid, gid;
    const char *name, *home, *shell;
    long name_length, home_length, shell_length;
};

static char config[65536], database[65536], environment[1024];
static char *variables[32];
static unsigned groups[MOST_GROUPS];
static struct account caller, target;
static long group_count;

/* The compiler may call these for a structure that it clears or copies. */
void *memset(void *to, int byte, unsigned long length)
{
    for (unsigned long i = 0; i < length; i++)
        ((volatile char *)to)[i] = (char)byte;
    return to;
}

static __attribute__((noreturn)) void leave(int code)
{
    for (;;)
        S1(exit_group, code);
}

static void must(long result, int code)
{
    if (result < 0)
        leave(code);
}

static long length_of(const char *text)
{
    long n = 0;
    while (text[n])
        n++;
    return n;
}

static int same(const char *a, long a_length, const char *b, long b_length)
{
    long i = 0;
    if (a_length != b_length)
        return 0;
    while (i < a_length && a[i] == b[i])
        i++;
    return i == a_length;
}

/* A whole file of root's that nobody else can write. */
static long read_trusted(const char *path, char *into, long room)
{
    struct stat status;
    long length = 0, got;
    long fd = S4(openat, HERE, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0);
    must(fd, INTERNAL);
    must(S2(fstat, fd, &status), INTERNAL);
    if ((status.st_mode & S_TYPE) != S_FILE || status.st_uid != 0 || (status.st_mode & 022))
        leave(INTERNAL);
    while ((got = S3(read, fd, into + length, room - length)) > 0)
        length += got;
    if (got < 0 || length == room)
        leave(INTERNAL);
    S1(close, fd);
    return length;
}

static int admits(long length)
{
    for (long i = 0; i + caller.name_length + 2 <= length; i++)
        if (config[i] == '"' && config[i + caller.name_length + 1] == '"'
            && same(config + i + 1, caller.name_length, caller.name, caller.name_length))
            return 1;
    return 0;
}

/* The field up to `end`; moves on behind it. */
static const char *field(const char **at, const char *stop, char end, long *length)
{
    const char *begin = *at;
    const char *p = begin;
    while (p < stop && *p != end && *p != '\n')
        p++;
    *length = p - begin;
    *at = p < stop && *p == end ? p + 1 : p;
    return begin;
}

static unsigned number(const char *text, long length)
{
    unsigned value = 0;
    for (long i = 0; i < length; i++)
        value = value * 10 + (unsigned)(text[i] - '0');
    return value;
}

static const char *next_line(const char *at, const char *stop)
{
    while (at < stop && *at != '\n')
        at++;
    return at < stop ? at + 1 : stop;
}

/* Both accounts in one pass; their strings stay where they were read. */
static long scan_passwd(unsigned uid)
{
    long length = read_trusted("/etc/passwd", database, sizeof database);
    const char *at = database, *stop = database + length;
    while (at < stop) {
        struct account found;
        long skipped;
        found.name = field(&at, stop, ':', &found.name_length);
        field(&at, stop, ':', &skipped);
        const char *text = field(&at, stop, ':', &skipped);
        found.uid = number(text, skipped);
        text = field(&at, stop, ':', &skipped);
        found.gid = number(text, skipped);
        field(&at, stop, ':', &skipped);
        found.home = field(&at, stop, ':', &found.home_length);
        found.shell = field(&at, stop, ':', &found.shell_length);
        if (!caller.name && found.uid == uid)
            caller = found;
        if (!target.name && same(found.name, found.name_length, TARGET, sizeof TARGET - 1))
            target = found;
        at = next_line(at, stop);
    }
    if (!caller.name || !target.name || target.uid == 0 || target.gid == 0)
        leave(DENIED);
    return length;
}

static void scan_group(long used)
{
    char *begin = database + used;
    const char *at = begin;
    const char *stop = begin + read_trusted("/etc/group", begin, (long)sizeof database - used);
    groups[group_count++] = target.gid;
    while (at < stop) {
        long length;
        field(&at, stop, ':', &length);
        field(&at, stop, ':', &length);
        const char *text = field(&at, stop, ':', &length);
        unsigned gid = number(text, length);
        while (at < stop && *at != '\n') {
            text = field(&at, stop, ',', &length);
            if (gid != target.gid && group_count < MOST_GROUPS
                && same(text, length, target.name, target.name_length))
                groups[group_count++] = gid;
        }
        at = next_line(at, stop);
    }
}

static char *put(char *to, const char *text, long length)
{
    for (long i = 0; i < length; i++)
        to[i] = text[i];
    return to + length;
}

static char *variable(char *to, const char *name, const char *value, long length)
{
    int n = 0;
    while (variables[n])
        n++;
    variables[n] = to;
    to = put(put(to, name, length_of(name)), value, length);
    *to = 0;
    return to + 1;
}

/* The target's own variables; what else there is was the caller's. */
static char *clean_environment(void)
{
    static const char path[] = "/usr/local/bin:/usr/bin:/bin";
    char *to = environment;
    if (target.home_length + target.shell_length + 2 * target.name_length > 512)
        leave(INTERNAL);
    to = variable(to, "HOME=", target.home, target.home_length);
    to = variable(to, "USER=", target.name, target.name_length);
    to = variable(to, "LOGNAME=", target.name, target.name_length);
    to = variable(to, "SHELL=", target.shell, target.shell_length);
    return variable(to, "PATH=", path, sizeof path - 1);
}

/* Opened without running anything, looked at, and closed: nothing is executed that is no program. */
static int is_program(const char *path, int of_root)
{
    struct open_how how = { .flags = O_PATH | O_CLOEXEC };
    struct stat status;
    long fd = S4(openat2, HERE, path, &how, sizeof how);
    if (fd < 0 || S2(fstat, fd, &status) < 0)
        return 0;
    S1(close, fd);
    if (of_root && (status.st_uid != 0 || (status.st_mode & 022)))
        return 0;
    return (status.st_mode & S_TYPE) == S_FILE && (status.st_mode & 0111);
}

static void log_begin(const char *command)
{
    struct sockaddr_un address = { .sun_family = 1 /* AF_UNIX */, .sun_path = "/dev/log" };
    char line[512] = "<30>features: ";
    char *to = line + length_of(line);
    long length = length_of(command);
    to = put(to, caller.name, caller.name_length);
    to = put(to, "->", 2);
    to = put(to, target.name, target.name_length);
    to = put(to, " cmd: ", 6);
    to = put(to, command, length < 256 ? length : 256);
    long fd = S3(socket, 1, STREAM_DGRAM | O_CLOEXEC | O_NONBLOCK, 0);
    must(fd, INTERNAL);
    must(S3(connect, fd, &address, sizeof address), INTERNAL);
    /* The socket's queue is short; a reader that is slow for a moment refuses nobody. */
    while ((length = S3(write, fd, line, to - line)) == AGAIN) {
        struct __kernel_timespec second = { .tv_sec = 1 };
        struct pollfd room = { (int)fd, POLLOUT, 0 };
        if (S5(ppoll, &room, 1, &second, 0, 8) <= 0)
            break;
    }
    must(length, INTERNAL);
    S1(close, fd);
}

/* For good, and shown to be so. */
static void become(const struct account *who, const unsigned *list, long count)
{
    unsigned real, effective, saved, read_back[MOST_GROUPS];
    must(S2(setgroups, count, list), INTERNAL);
    must(S3(setresgid, who->gid, who->gid, who->gid), INTERNAL);
    must(S3(setresuid, who->uid, who->uid, who->uid), INTERNAL);
    must(S3(getresgid, &real, &effective, &saved), INTERNAL);
    if (real != who->gid || effective != who->gid || saved != who->gid)
        leave(INTERNAL);
    must(S3(getresuid, &real, &effective, &saved), INTERNAL);
    if (real != who->uid || effective != who->uid || saved != who->uid)
        leave(INTERNAL);
    if (S2(getgroups, MOST_GROUPS, read_back) != count)
        leave(INTERNAL);
    if (who->uid != 0 && S3(setresuid, -1, 0, -1) == 0)
        leave(INTERNAL);
}

/* What was changed for the launcher's own sake is as the caller had it. */
static void run_payload(char **command, const struct rlimit64 *core, unsigned long mask, int leash)
{
    S4(prlimit64, 0, RLIMIT_CORE, core, 0);
    S2(setpgid, 0, 0);
    S1(umask, 022);
    become(&target, groups, group_count);
    if (leash)
        S2(prctl, PR_SET_PDEATHSIG, SIGKILL);
    must(S1(chdir, variables[0] + 5 /* HOME= */), CLIENT);
    S4(rt_sigprocmask, SIG_SETMASK, &mask, 0, sizeof mask);
    S3(execve, command[0], command, variables);
    leave(127);
}

static int code_of(int status)
{
    int code = (status & 0x7f) ? 128 + (status & 0x7f) : (status >> 8) & 0xff;
    return code >= CLIENT && code <= OWN_CODE ? OWN_CODE : code;
}

/* Whoever reads the payload's output sees its end, not the launcher's. */
static void let_go(void)
{
    long null = S4(openat, HERE, "/dev/null", O_RDWR | O_CLOEXEC, 0);
    for (long fd = 0; fd < 3; fd++)
        must(S3(dup3, null, fd, 0), INTERNAL);
    S1(close, null);
    S1(chdir, "/");
}

static long fork_here(void)
{
    long child = S5(clone, SIGCHLD, 0, 0, 0, 0);
    must(child, INTERNAL);
    return child;
}

/* Waits for a child; what arrives meanwhile goes to its group. */
static int wait_for(long child, long signals, long seconds)
{
    struct __kernel_timespec limit = { .tv_sec = seconds };
    long pidfd = S2(pidfd_open, child, 0);
    struct pollfd ready[2] = { { (int)pidfd, POLLIN, 0 }, { (int)signals, POLLIN, 0 } };
    int status = 0;
    must(pidfd, INTERNAL);
    for (;;) {
        long got = S5(ppoll, ready, 2, seconds ? &limit : 0, 0, 8);
        if (got == 0)
            S2(kill, -child, SIGKILL);
        if (ready[1].revents & POLLIN) {
            struct signalfd_siginfo signal;
            if (S3(read, signals, &signal, sizeof signal) == sizeof signal)
                S2(kill, -child, signal.ssi_signo);
        }
        if (got == 0 || (ready[0].revents & POLLIN))
            break;
    }
    S4(wait4, child, &status, 0, 0);
    S1(close, pidfd);
    return code_of(status);
}

static int run_epilogue(char *room, int code, long signals)
{
    static char *argv[] = { EPILOGUE, 0 };
    char digits[] = { (char)('0' + code / 100), (char)('0' + code / 10 % 10), (char)('0' + code % 10) };
    int skip = code >= 100 ? 0 : code >= 10 ? 1 : 2;
    variable(room, "GLEXEC_EPILOG_TARGET_RC=", digits + skip, 3 - skip);
    if (!is_program(EPILOGUE, 1))
        return INTERNAL;
    long child = fork_here();
    if (child == 0) {
        unsigned long none = 0;
        S0(setsid);
        S1(umask, 022);
        S4(rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof none);
        S3(execve, EPILOGUE, argv, variables);
        leave(127);
    }
    return wait_for(child, signals, 300) == 0 ? code : INTERNAL;
}

static int linger(char **command, int epilogue, char *room, const struct rlimit64 *core)
{
    static const struct account root;
    /* HUP INT QUIT USR1 USR2 ALRM TERM: bit n-1 for signal n. */
    unsigned long forwarded = 0x6a07, before = 0;
    if (epilogue && !is_program(EPILOGUE, 1))
        leave(INTERNAL);
    S4(rt_sigprocmask, SIG_BLOCK, &forwarded, &before, sizeof before);
    long signals = S4(signalfd4, -1, &forwarded, sizeof forwarded, O_CLOEXEC);
    must(signals, INTERNAL);
    if (epilogue)
        become(&root, groups, 0);
    long child = fork_here();
    if (child == 0)
        run_payload(command, core, before, 1);
    S2(setpgid, child, child);
    let_go();
    int code = wait_for(child, signals, 0);
    return epilogue ? run_epilogue(room, code, signals) : code;
}

void start(char **stack)
{
    long argc = (long)stack[0];
    char **argv = stack + 1;
    struct rlimit64 core, no_core;
    unsigned long none = 0, mask;
    struct { void *handler; unsigned long flags, restorer, mask; } normal = { 0, 0, 0, 0 };
    if (argc < 3)
        leave(CLIENT);
    S3(close_range, 3, ~0U, 0);
    S4(prlimit64, 0, RLIMIT_CORE, 0, &core);
    no_core = (struct rlimit64){ 0, core.rlim_max };
    S4(prlimit64, 0, RLIMIT_CORE, &no_core, 0);
    S2(prctl, PR_SET_DUMPABLE, 0);
    S4(rt_sigprocmask, SIG_SETMASK, &none, &mask, sizeof mask);
    S4(rt_sigaction, SIGCHLD, &normal, 0, sizeof mask);
    S4(rt_sigaction, SIGPIPE, &normal, 0, sizeof mask);
    S1(umask, 077);
    long length = read_trusted(CONFIG, config, sizeof config);
    scan_group(scan_passwd((unsigned)S0(getuid)));
    if (!admits(length))
        leave(DENIED);
    if (!is_program(argv[2], 0))
        leave(CLIENT);
    char *room = clean_environment();
    log_begin(argv[2]);
    switch (argv[1][0]) {
    case 'r':
        run_payload(argv + 2, &core, mask, 0);
        break;
    case 'l':
    case 'e':
        leave(linger(argv + 2, argv[1][0] == 'e', room, &core));
    }
    leave(CLIENT);
}
