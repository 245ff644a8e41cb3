// What compilers must be told, in macros alone: no header here that the sources of one instruction set may
// not include (core/simd/isa_source.hpp).
#pragma once

// A loop only keeps its state in registers if all it calls is inlined, and nothing that is rare. Code full of
// a sanitizer's checks is in no hurry, and would take minutes to compile.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TERNZIP_SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TERNZIP_SANITIZED
#endif
#if defined(TERNZIP_SANITIZED)
#define TERNZIP_INLINE inline
#define TERNZIP_NOINLINE
#elif defined(_MSC_VER) && !defined(__clang__)
#define TERNZIP_INLINE __forceinline
#define TERNZIP_NOINLINE __declspec(noinline)
#else
#define TERNZIP_INLINE __attribute__((always_inline)) inline
#define TERNZIP_NOINLINE __attribute__((noinline))
#endif

// Per-element functions, for the CPU kernels and the CUDA ones alike. They are static, so that an object
// compiled for one instruction set exports none of them.
#if defined(__CUDACC__)
#define TERNZIP_ELEMENT __host__ __device__ static inline
#else
#define TERNZIP_ELEMENT static inline
#endif

// Every AArch64 processor has NEON; what is written for it reads words as little-endian.
#if (defined(__aarch64__) && !defined(__AARCH64EB__)) || defined(_M_ARM64)
#define TERNZIP_NEON
#endif

// A function compiled for AVX2 in a source that is not, together with all that is inlined into it: for code
// that is spread over headers, which a source compiled for one instruction set must not include
// (core/simd/isa_source.hpp). Only it has such instructions, and it has a name of its own. To be called where
// active_isa() is avx2 or above. TERNZIP_WITHOUT_AVX2_PASSES: for programs that have to be small.
#if defined(TERNZIP_X86) && defined(__GNUC__) && !defined(TERNZIP_WITHOUT_AVX2_PASSES)
#define TERNZIP_FOR_AVX2 __attribute__((target("avx2,bmi,bmi2")))
#endif

// No other pointer leads to the same memory.
#define TERNZIP_RESTRICT __restrict
