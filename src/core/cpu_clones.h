// T2V_CLONES before a function: it is compiled for three instruction sets of x86-64, and the loader
// picks one when the library is opened. T2V_INLINE: what such a function calls becomes part of
// each.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define T2V_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define T2V_INLINE inline __attribute__((always_inline))
#else
#define T2V_CLONES
#define T2V_INLINE inline
#endif
