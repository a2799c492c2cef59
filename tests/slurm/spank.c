// What a SPANK plug-in can do to a task's command: `srun --wrapped` puts a program into its first word.
// Slurm's own header is not needed for that: a symbol with a name and a release, and four calls.
#include <stdlib.h>
#include <string.h>

const char plugin_name[] = "wrapped";
const char plugin_type[] = "spank";
const unsigned int plugin_version = RELEASE;
const unsigned int spank_plugin_version = 1;

typedef struct spank *spank_t;
// enum spank_item (slurm/spank.h): uid, gid, job, step, nodes, node, local and total tasks, CPUs, argv.
enum { S_JOB_ARGV = 9 };
int spank_get_item(spank_t, int, ...);
int spank_remote(spank_t);
int spank_setenv(spank_t, const char *, const char *, int);

static int wanted;
static int want(int value, const char *argument, int remote) {
    (void)value, (void)argument, (void)remote;
    wanted = 1;
    return 0;
}
struct {
    const char *name, *arginfo, *usage;
    int has_arg, value;
    int (*callback)(int, const char *, int);
} spank_options[] = {{"wrapped", 0, "run the tasks by a wrapper", 0, 0, want}, {0, 0, 0, 0, 0, 0}};

int slurm_spank_task_init(spank_t spank, int argc, char **argv) {
    (void)argc, (void)argv;
    int count = 0;
    char **words = 0;
    if (!wanted || spank_remote(spank) != 1)
        return 0;
    if (spank_get_item(spank, S_JOB_ARGV, &count, &words) != 0 || count < 1)
        return -1;
    spank_setenv(spank, "WRAPPED", words[0], 1);
    words[0] = strdup("/usr/local/bin/front");
    return 0;
}
