// TLS sessions of a server over memory buffers: GnuTLS does all of TLS, and whoever uses this moves the bytes to and from the network.
#ifndef SPACEPORT_CTLS_H
#define SPACEPORT_CTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Room for a message or a name, in bytes with the closing zero.
enum { CTLS_TEXT_BYTES = 512 };
// Of a certificate's SHA-256.
enum { CTLS_FINGERPRINT_BYTES = 32 };

// Results below 0 of what is asked of a session.
enum {
  // Bytes have to be sent or received first.
  CTLS_AGAIN = -1,
  // The session is over; ctls_error_text says why.
  CTLS_FAILED = -2,
};

// What clients are shown and judged by. Used by any number of sessions, which must end first.
typedef struct ctls_credentials ctls_credentials;

// Paths; NULL where there is no such file. Certificates need the first three.
typedef struct {
  const char *authorities;
  const char *certificate;
  const char *key;
  const char *revocations;
  // Lines of user:hexkey, read again at each handshake.
  const char *psk;
  // Clients must show a certificate of the authorities, unless they have a pre-shared key.
  bool verify_peer;
} ctls_files;

// Reads the files; NULL, and why in `message`, when one cannot be used or they do not fit together.
ctls_credentials *ctls_credentials_load(const ctls_files *files, const char *priority, char message[CTLS_TEXT_BYTES]);
// What clients that verify would refuse the server's own certificate for, at `now` (seconds since 1970); false where there is nothing.
bool ctls_certificate_flaw(const ctls_credentials *credentials, int64_t now, char flaw[CTLS_TEXT_BYTES]);
void ctls_credentials_free(ctls_credentials *credentials);

// One client's session. One caller at a time.
typedef struct ctls_session ctls_session;

// NULL when there is no memory. The buffers hold bytes as the network has them.
ctls_session *ctls_session_new(const ctls_credentials *credentials, size_t input_bytes, size_t output_bytes);
void ctls_session_free(ctls_session *session);

// Lets the system have the buffers' pages back, where nothing is in them and no record is on its way. A receive may be waiting to fill the input: pages come back as it does.
void ctls_give_back_memory(ctls_session *session);

// The room that received bytes go to, after what is unused was moved to its front; then how many they were.
uint8_t *ctls_input_room(ctls_session *session, size_t *byte_count);
void ctls_input_add(ctls_session *session, size_t byte_count);

// The bytes to send next; then how many of them were sent. What is there stays where it is until then.
const uint8_t *ctls_output(const ctls_session *session, size_t *byte_count);
void ctls_output_remove(ctls_session *session, size_t byte_count);

// 0 when it is done; CTLS_AGAIN when output is to be sent and, after that, input to be received; CTLS_FAILED, with an alert in the output.
int ctls_handshake(ctls_session *session);

// Opens what was received: a count, 0 at the end, CTLS_AGAIN or CTLS_FAILED. A client that wants to negotiate anew is refused: it fails.
ssize_t ctls_open(ctls_session *session, void *bytes, size_t byte_count);

// Seals bytes into the output, at most one record of them: a count, CTLS_AGAIN when there is no room for a whole record, or CTLS_FAILED.
ssize_t ctls_seal(ctls_session *session, const void *bytes, size_t byte_count);

// Puts the goodbye into the output.
void ctls_bye(ctls_session *session);

// Why it failed.
const char *ctls_error_text(const ctls_session *session);

// Protocol and cipher suite, for people.
void ctls_describe(const ctls_session *session, char text[CTLS_TEXT_BYTES]);

// The user whose pre-shared key the client has, or NULL. It lives as long as the session.
const char *ctls_psk_user(const ctls_session *session);

// Of a certificate that was verified; false when there is none. A common name is empty when there is not exactly one, or one that is no plain
// text; so is the distinguished name (RFC 4514) when it does not fit.
bool ctls_peer_certificate(const ctls_session *session, char common_name[CTLS_TEXT_BYTES], char distinguished_name[CTLS_TEXT_BYTES],
                           uint8_t fingerprint[CTLS_FINGERPRINT_BYTES]);

#endif
