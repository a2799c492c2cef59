/* System calls and the program's entry without a C library: starting one would be a third of what
   is measured, and the comparison is with the least that the duties themselves cost. */
#include <asm/unistd.h>

#if defined(__x86_64__)
static inline long sys(long n, long a, long b, long c, long d, long e)
{
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                 : "rcx", "r11", "memory");
    return result;
}
asm(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start\n");
#elif defined(__aarch64__)
static inline long sys(long n, long a, long b, long c, long d, long e)
{
    register long x8 asm("x8") = n;
    register long x0 asm("x0") = a;
    register long x1 asm("x1") = b;
    register long x2 asm("x2") = c;
    register long x3 asm("x3") = d;
    register long x4 asm("x4") = e;
    asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
}
asm(".globl _start\n_start:\n\tmov x0, sp\n\tbl start\n");
#else
#error "the benchmark's C programs know x86_64 and aarch64"
#endif

#define S5(n, a, b, c, d, e) \
    sys(__NR_##n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
#define S4(n, a, b, c, d) S5(n, a, b, c, d, 0)
#define S3(n, a, b, c) S5(n, a, b, c, 0, 0)
#define S2(n, a, b) S5(n, a, b, 0, 0, 0)
#define S1(n, a) S5(n, a, 0, 0, 0, 0)
#define S0(n) S5(n, 0, 0, 0, 0, 0)

/* `stack` is what the kernel left there: argc, argv, 0, environment, 0. */
__attribute__((noreturn, used)) void start(char **stack);
