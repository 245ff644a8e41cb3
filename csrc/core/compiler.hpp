// What compilers must be told about hot loops.
#pragma once

// A loop only keeps its state in registers if all it calls is inlined, and nothing that is rare.
#if defined(_MSC_VER) && !defined(__clang__)
#define TERNZIP_INLINE __forceinline
#define TERNZIP_NOINLINE __declspec(noinline)
#else
#define TERNZIP_INLINE __attribute__((always_inline)) inline
#define TERNZIP_NOINLINE __attribute__((noinline))
#endif

// No other pointer leads to the same memory.
#define TERNZIP_RESTRICT __restrict
