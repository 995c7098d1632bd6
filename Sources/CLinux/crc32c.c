#include "clinux.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
__attribute__((target("sse4.2"))) static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *p, size_t n) {
  uint64_t c = crc;
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    c = _mm_crc32_u64(c, word);
  }
  for (; n; n--, p++) c = _mm_crc32_u8((uint32_t)c, *p);
  return (uint32_t)c;
}
static int has_hardware(void) { return __builtin_cpu_supports("sse4.2"); }
#else
static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *p, size_t n) { (void)p; (void)n; return crc; }
static int has_hardware(void) { return 0; }
#endif

static uint32_t table[256];
__attribute__((constructor)) static void make_table(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int k = 0; k < 8; k++) c = c & 1 ? (c >> 1) ^ 0x82f63b78u : c >> 1;
    table[i] = c;
  }
}

uint32_t clinux_crc32c(uint32_t crc, const void *data, size_t byteCount) {
  const uint8_t *p = data;
  crc = ~crc;
  if (has_hardware()) return ~crc32c_hardware(crc, p, byteCount);
  for (; byteCount; byteCount--, p++) crc = table[(crc ^ *p) & 0xff] ^ (crc >> 8);
  return ~crc;
}
