// GnuTLS: what libnbd, nbdkit and qemu encrypt NBD with.
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
