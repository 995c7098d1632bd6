#include "internal.h"

#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool fail(char message[CTLS_TEXT_BYTES], const char *path, int error) {
  snprintf(message, CTLS_TEXT_BYTES, "%s: %s", path, gnutls_strerror(error));
  return false;
}

static bool load_certificates(ctls_credentials *credentials, const ctls_files *files, char message[CTLS_TEXT_BYTES]) {
  int result = gnutls_certificate_allocate_credentials(&credentials->certificates);
  if (result < 0) return fail(message, files->certificate, result);
  gnutls_certificate_credentials_t certificates = credentials->certificates;
  result = gnutls_certificate_set_x509_trust_file(certificates, files->authorities, GNUTLS_X509_FMT_PEM);
  // A count: with no authority at all every client would be refused, which is a mistake to tell now.
  if (result <= 0) return fail(message, files->authorities, result < 0 ? result : GNUTLS_E_NO_CERTIFICATE_FOUND);
  if (files->revocations) {
    result = gnutls_certificate_set_x509_crl_file(certificates, files->revocations, GNUTLS_X509_FMT_PEM);
    if (result < 0) return fail(message, files->revocations, result);
  }
  // It refuses a key that is another certificate's.
  result = gnutls_certificate_set_x509_key_file(certificates, files->certificate, files->key, GNUTLS_X509_FMT_PEM);
  if (result < 0) {
    snprintf(message, CTLS_TEXT_BYTES, "%s with %s: %s", files->certificate, files->key, gnutls_strerror(result));
    return false;
  }
  return true;
}

static bool load(ctls_credentials *credentials, const ctls_files *files, const char *priority, char message[CTLS_TEXT_BYTES]) {
  int result = gnutls_priority_init(&credentials->priority, priority, NULL);
  if (result < 0) return fail(message, priority, result);
  if (files->certificate && !load_certificates(credentials, files, message)) return false;
  if (files->psk) {
    result = gnutls_psk_allocate_server_credentials(&credentials->psk);
    if (result < 0) return fail(message, files->psk, result);
    result = gnutls_psk_set_server_credentials_file(credentials->psk, files->psk);
    if (result < 0) return fail(message, files->psk, result);
  }
  credentials->verifies_peer = files->verify_peer;
  return true;
}

ctls_credentials *ctls_credentials_load(const ctls_files *files, const char *priority, char message[CTLS_TEXT_BYTES]) {
  ctls_credentials *credentials = calloc(1, sizeof *credentials);
  if (!credentials) {
    snprintf(message, CTLS_TEXT_BYTES, "no memory");
    return NULL;
  }
  if (load(credentials, files, priority, message)) return credentials;
  ctls_credentials_free(credentials);
  return NULL;
}

static bool is_for_servers(gnutls_x509_crt_t certificate) {
  char purpose[128];
  for (unsigned index = 0;; index++) {
    size_t byte_count = sizeof purpose;
    int result = gnutls_x509_crt_get_key_purpose_oid(certificate, index, purpose, &byte_count, NULL);
    // One without any purpose is for all.
    if (result == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) return index == 0;
    if (result == 0 && (strcmp(purpose, GNUTLS_KP_TLS_WWW_SERVER) == 0 || strcmp(purpose, GNUTLS_KP_ANY) == 0)) return true;
    if (result < 0 && result != GNUTLS_E_SHORT_MEMORY_BUFFER) return true;  // not ours to judge
  }
}

bool ctls_certificate_flaw(const ctls_credentials *credentials, int64_t now, char flaw[CTLS_TEXT_BYTES]) {
  gnutls_x509_crt_t *chain;
  unsigned count = 0;
  if (!credentials->certificates || gnutls_certificate_get_x509_crt(credentials->certificates, 0, &chain, &count) < 0) return false;
  flaw[0] = 0;
  if (count > 0) {
    if (gnutls_x509_crt_get_expiration_time(chain[0]) < now) {
      snprintf(flaw, CTLS_TEXT_BYTES, "has expired");
    } else if (gnutls_x509_crt_get_activation_time(chain[0]) > now) {
      snprintf(flaw, CTLS_TEXT_BYTES, "is not valid yet");
    } else if (!is_for_servers(chain[0])) {
      snprintf(flaw, CTLS_TEXT_BYTES, "was not made for servers (tls_www_server)");
    }
  }
  for (unsigned index = 0; index < count; index++) gnutls_x509_crt_deinit(chain[index]);
  gnutls_free(chain);
  return flaw[0] != 0;
}

void ctls_credentials_free(ctls_credentials *credentials) {
  if (credentials->certificates) gnutls_certificate_free_credentials(credentials->certificates);
  if (credentials->psk) gnutls_psk_free_server_credentials(credentials->psk);
  if (credentials->priority) gnutls_priority_deinit(credentials->priority);
  free(credentials);
}
