#ifndef SPACEPORT_CTLS_INTERNAL_H
#define SPACEPORT_CTLS_INTERNAL_H

#include "ctls.h"

#include <gnutls/gnutls.h>

struct ctls_credentials {
  gnutls_certificate_credentials_t certificates;
  gnutls_psk_server_credentials_t psk;
  gnutls_priority_t priority;
  bool verifies_peer;
};

// Bytes `begin ..< end` of `memory` are unused.
typedef struct {
  uint8_t *memory;
  size_t capacity, begin, end;
} ctls_buffer;

struct ctls_session {
  gnutls_session_t tls;
  ctls_buffer input, output;
  int error;
  // GnuTLS has, or may have, taken the beginning of a record whose rest is still to come.
  bool in_record;
};

#endif
