#include "internal.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// The largest plaintext of a record is 2^14 bytes, its overhead at most 256 bytes and a header of 5 (RFC 8446, 5.2; RFC 5246, 6.2.3: 2048).
// An answer to a key update may go before it.
enum { RECORD_BYTES = 16384 + 2048 + 5, RECORD_ROOM = RECORD_BYTES + 256 };

// MARK: What GnuTLS sees as its network

static ssize_t pull(gnutls_transport_ptr_t pointer, void *bytes, size_t byte_count) {
  ctls_session *session = pointer;
  size_t available = session->input.end - session->input.begin;
  if (available == 0) {
    gnutls_transport_set_errno(session->tls, EAGAIN);
    return -1;
  }
  if (byte_count > available) byte_count = available;
  memcpy(bytes, session->input.memory + session->input.begin, byte_count);
  session->input.begin += byte_count;
  session->in_record = true;
  return (ssize_t)byte_count;
}

static int pull_timeout(gnutls_transport_ptr_t pointer, unsigned int milliseconds) {
  (void)milliseconds;
  ctls_session *session = pointer;
  return session->input.end > session->input.begin;
}

static ssize_t push(gnutls_transport_ptr_t pointer, const void *bytes, size_t byte_count) {
  ctls_session *session = pointer;
  size_t room = session->output.capacity - session->output.end;
  if (room == 0) {
    gnutls_transport_set_errno(session->tls, EAGAIN);
    return -1;
  }
  if (byte_count > room) byte_count = room;
  memcpy(session->output.memory + session->output.end, bytes, byte_count);
  session->output.end += byte_count;
  return (ssize_t)byte_count;
}

// MARK: Life

static int configure(ctls_session *session, const ctls_credentials *credentials) {
  int result = gnutls_init(&session->tls, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS);
  if (result < 0) return result;
  result = gnutls_priority_set(session->tls, credentials->priority);
  if (result < 0) return result;
  if (credentials->certificates) {
    result = gnutls_credentials_set(session->tls, GNUTLS_CRD_CERTIFICATE, credentials->certificates);
    if (result < 0) return result;
    if (credentials->verifies_peer) {
      gnutls_certificate_server_set_request(session->tls, GNUTLS_CERT_REQUIRE);
      // A server's certificate of the same authority is nobody's proof of being a client. GnuTLS keeps the pointer.
      static gnutls_typed_vdata_st purpose = {
          .type = GNUTLS_DT_KEY_PURPOSE_OID, .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT, .size = 0};
      gnutls_session_set_verify_cert2(session->tls, &purpose, 1, 0);
    } else {
      gnutls_certificate_server_set_request(session->tls, GNUTLS_CERT_IGNORE);
    }
  }
  if (credentials->psk) {
    result = gnutls_credentials_set(session->tls, GNUTLS_CRD_PSK, credentials->psk);
    if (result < 0) return result;
  }
  gnutls_handshake_set_timeout(session->tls, GNUTLS_INDEFINITE_TIMEOUT);  // the owner has a clock, and a limit
  gnutls_transport_set_ptr(session->tls, session);
  gnutls_transport_set_pull_function(session->tls, pull);
  gnutls_transport_set_pull_timeout_function(session->tls, pull_timeout);
  gnutls_transport_set_push_function(session->tls, push);
  return 0;
}

// Pages of their own: what malloc gives has been used by others in part, and is in memory as a whole.
static bool allocate(ctls_buffer *buffer, size_t capacity) {
  void *memory = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  buffer->memory = memory;
  buffer->capacity = capacity;
  return true;
}

static void deallocate(ctls_buffer *buffer) {
  if (buffer->memory) munmap(buffer->memory, buffer->capacity);
}

static void give_back(ctls_buffer *buffer) {
  if (buffer->begin == buffer->end) madvise(buffer->memory, buffer->capacity, MADV_DONTNEED);
}

ctls_session *ctls_session_new(const ctls_credentials *credentials, size_t input_bytes, size_t output_bytes) {
  ctls_session *session = calloc(1, sizeof *session);
  if (!session) return NULL;
  if (output_bytes < RECORD_ROOM) output_bytes = RECORD_ROOM;
  if (allocate(&session->input, input_bytes) && allocate(&session->output, output_bytes) && configure(session, credentials) >= 0) {
    return session;
  }
  ctls_session_free(session);
  return NULL;
}

void ctls_session_free(ctls_session *session) {
  if (session->tls) gnutls_deinit(session->tls);
  deallocate(&session->input);
  deallocate(&session->output);
  free(session);
}

void ctls_give_back_memory(ctls_session *session) {
  // A receive that has filled it, and that nobody was told of yet, is known by the first byte, where a record begins: no type of one is zero.
  ctls_buffer *input = &session->input;
  if (!session->in_record && (input->end == input->capacity || input->memory[input->end] == 0)) give_back(input);
  give_back(&session->output);
}

// MARK: Buffers

uint8_t *ctls_input_room(ctls_session *session, size_t *byte_count) {
  ctls_buffer *input = &session->input;
  if (input->begin > 0) {
    memmove(input->memory, input->memory + input->begin, input->end - input->begin);
    input->end -= input->begin;
    input->begin = 0;
  }
  if (input->end < input->capacity) input->memory[input->end] = 0;  // for ctls_give_back_memory
  *byte_count = input->capacity - input->end;
  return input->memory + input->end;
}

void ctls_input_add(ctls_session *session, size_t byte_count) { session->input.end += byte_count; }

static bool has_input(const ctls_session *session) { return session->input.end > session->input.begin; }

const uint8_t *ctls_output(const ctls_session *session, size_t *byte_count) {
  *byte_count = session->output.end - session->output.begin;
  return session->output.memory + session->output.begin;
}

void ctls_output_remove(ctls_session *session, size_t byte_count) {
  session->output.begin += byte_count;
  if (session->output.begin == session->output.end) session->output.begin = session->output.end = 0;
}

static size_t output_room(const ctls_session *session) { return session->output.capacity - session->output.end; }

// MARK: TLS

static bool is_passing(int result) { return result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED; }

int ctls_handshake(ctls_session *session) {
  // A warning that is no end has been taken note of by GnuTLS: it goes on, for as long as there is input.
  for (;;) {
    int result = gnutls_handshake(session->tls);
    if (result == GNUTLS_E_SUCCESS) {
      session->in_record = false;
      return 0;
    }
    if (is_passing(result)) return CTLS_AGAIN;
    if (result == GNUTLS_E_WARNING_ALERT_RECEIVED && has_input(session)) continue;
    if (!gnutls_error_is_fatal(result) && !has_input(session)) return CTLS_AGAIN;
    session->error = result;
    gnutls_alert_send_appropriate(session->tls, result);
    return CTLS_FAILED;
  }
}

ssize_t ctls_open(ctls_session *session, void *bytes, size_t byte_count) {
  for (;;) {
    ssize_t result = gnutls_record_recv(session->tls, bytes, byte_count);
    if (result >= 0) {
      session->in_record = false;
      return result;
    }
    // A key update is no data: there may be some behind it.
    if (is_passing((int)result)) {
      if (has_input(session)) continue;
      return CTLS_AGAIN;
    }
    // A warning that is no end, as in the handshake.
    if (result == GNUTLS_E_WARNING_ALERT_RECEIVED) {
      if (has_input(session)) continue;
      return CTLS_AGAIN;
    }
    if (result == GNUTLS_E_PREMATURE_TERMINATION) return 0;
    session->error = (int)result;
    return CTLS_FAILED;
  }
}

ssize_t ctls_seal(ctls_session *session, const void *bytes, size_t byte_count) {
  if (output_room(session) < RECORD_ROOM) return CTLS_AGAIN;
  ssize_t result = gnutls_record_send(session->tls, bytes, byte_count);
  if (result >= 0) return result;
  if (is_passing((int)result)) return CTLS_AGAIN;
  session->error = (int)result;
  return CTLS_FAILED;
}

void ctls_bye(ctls_session *session) { gnutls_bye(session->tls, GNUTLS_SHUT_WR); }

// MARK: Facts

const char *ctls_error_text(const ctls_session *session) { return gnutls_strerror(session->error); }

void ctls_describe(const ctls_session *session, char text[CTLS_TEXT_BYTES]) {
  char *description = gnutls_session_get_desc(session->tls);
  snprintf(text, CTLS_TEXT_BYTES, "%s", description ? description : "TLS");
  gnutls_free(description);
}

const char *ctls_psk_user(const ctls_session *session) {
  if (gnutls_auth_client_get_type(session->tls) != GNUTLS_CRD_PSK) return NULL;
  return gnutls_psk_server_get_username(session->tls);
}

// Exactly one, and no zero byte inside, which would end it early for whoever compares it.
static bool common_name_of(gnutls_x509_crt_t certificate, char name[CTLS_TEXT_BYTES]) {
  size_t byte_count = CTLS_TEXT_BYTES, other_count = 0;
  if (gnutls_x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &byte_count) < 0) return false;
  if (memchr(name, 0, byte_count)) return false;
  return gnutls_x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 1, 0, NULL, &other_count) ==
         GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE;
}

static bool distinguished_name_of(gnutls_x509_crt_t certificate, char name[CTLS_TEXT_BYTES]) {
  gnutls_datum_t text = {NULL, 0};
  if (gnutls_x509_crt_get_dn3(certificate, &text, 0) < 0) return false;
  bool fits = text.size < CTLS_TEXT_BYTES && !memchr(text.data, 0, text.size);
  if (fits) {
    memcpy(name, text.data, text.size);
    name[text.size] = 0;
  }
  gnutls_free(text.data);
  return fits;
}

bool ctls_peer_certificate(const ctls_session *session, char common_name[CTLS_TEXT_BYTES], char distinguished_name[CTLS_TEXT_BYTES],
                           uint8_t fingerprint[CTLS_FINGERPRINT_BYTES]) {
  common_name[0] = distinguished_name[0] = 0;
  if (gnutls_auth_client_get_type(session->tls) != GNUTLS_CRD_CERTIFICATE) return false;
  unsigned count = 0;
  const gnutls_datum_t *chain = gnutls_certificate_get_peers(session->tls, &count);
  if (!chain || count == 0) return false;
  gnutls_x509_crt_t certificate;
  if (gnutls_x509_crt_init(&certificate) < 0) return false;
  size_t fingerprint_bytes = CTLS_FINGERPRINT_BYTES;
  bool is_read = gnutls_x509_crt_import(certificate, &chain[0], GNUTLS_X509_FMT_DER) >= 0 &&
                 gnutls_x509_crt_get_fingerprint(certificate, GNUTLS_DIG_SHA256, fingerprint, &fingerprint_bytes) >= 0;
  if (is_read) {
    if (!common_name_of(certificate, common_name)) common_name[0] = 0;
    if (!distinguished_name_of(certificate, distinguished_name)) distinguished_name[0] = 0;
  }
  gnutls_x509_crt_deinit(certificate);
  return is_read;
}
