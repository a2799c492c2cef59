/* The payload and the epilogue that do nothing, so that the launcher is what is measured. */
#include "sys.h"

void start(char **stack)
{
    (void)stack;
    for (;;)
        S1(exit_group, 0);
}
