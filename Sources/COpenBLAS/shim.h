#include <cblas.h>

/* Which vector extensions the compiler was told it may use: Swift has no `#if` for them. */
static inline int compiled_for_avx512(void) {
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
  return 1;
#else
  return 0;
#endif
}
static inline int compiled_for_avx2_fma_f16c(void) {
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
  return 1;
#else
  return 0;
#endif
}
