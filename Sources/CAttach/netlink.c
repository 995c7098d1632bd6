#include "cattach.h"

#include <errno.h>
#include <linux/nbd-netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <stdio.h>
#include <string.h>

// A socket to the kernel's nbd, and the message under way.
typedef struct {
  struct nl_sock *socket;
  struct nl_msg *message;
  // The device that the answer speaks of; -1 while there is none.
  int64_t index;
} call;

static int explain_netlink(int error, char *message) {
  snprintf(message, CATTACH_MESSAGE_BYTES, "%s", nl_geterror(error));
  return error == -NLE_PERM ? CATTACH_NOT_PERMITTED : CATTACH_FAILED;
}

static int read_answer(struct nl_msg *message, void *argument) {
  struct nlattr *attributes[NBD_ATTR_MAX + 1] = {NULL};
  struct genlmsghdr *header = nlmsg_data(nlmsg_hdr(message));
  if (nla_parse(attributes, NBD_ATTR_MAX, genlmsg_attrdata(header, 0), genlmsg_attrlen(header, 0), NULL) == 0 &&
      attributes[NBD_ATTR_INDEX])
    ((call *)argument)->index = nla_get_u32(attributes[NBD_ATTR_INDEX]);
  return NL_OK;
}

static int begin(call *call, uint8_t command, char *message) {
  call->message = NULL;
  call->index = -1;
  message[0] = 0;
  call->socket = nl_socket_alloc();
  if (!call->socket) return explain_netlink(-NLE_NOMEM, message);
  int error = genl_connect(call->socket);
  if (error < 0) return explain_netlink(error, message);
  int family = genl_ctrl_resolve(call->socket, NBD_GENL_FAMILY_NAME);
  if (family < 0) return explain_netlink(family, message), CATTACH_NO_MODULE;
  call->message = nlmsg_alloc();
  if (!call->message || !genlmsg_put(call->message, NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, 0, command, 0))
    return explain_netlink(-NLE_NOMEM, message);
  nl_socket_modify_cb(call->socket, NL_CB_VALID, NL_CB_CUSTOM, read_answer, call);
  return CATTACH_OK;
}

// Sends it and waits for the kernel's acknowledgement; frees everything, as it does when `result` says that something went wrong before.
static int finish(call *call, int result, char *message) {
  if (result == CATTACH_OK) {
    int error = nl_send_sync(call->socket, call->message);  // frees the message
    call->message = NULL;
    if (error < 0) result = explain_netlink(error, message);
  }
  if (call->message) nlmsg_free(call->message);
  if (call->socket) nl_socket_free(call->socket);
  return result;
}

static int put_sockets(struct nl_msg *message, const cattach_device *device) {
  if (device->descriptor_count == 0) return 0;
  struct nlattr *list = nla_nest_start(message, NBD_ATTR_SOCKETS);
  if (!list) return -NLE_NOMEM;
  for (int number = 0; number < device->descriptor_count; number++) {
    struct nlattr *item = nla_nest_start(message, NBD_SOCK_ITEM);
    if (!item || nla_put_u32(message, NBD_SOCK_FD, (uint32_t)device->descriptors[number]) < 0) return -NLE_NOMEM;
    nla_nest_end(message, item);
  }
  nla_nest_end(message, list);
  return 0;
}

int cattach_device_connect(const cattach_device *device, uint32_t *index, char message[CATTACH_MESSAGE_BYTES]) {
  call call = {NULL, NULL, -1};
  int result = begin(&call, NBD_CMD_CONNECT, message);
  if (result == CATTACH_OK) {
    struct nl_msg *m = call.message;
    // Without an index the kernel takes the first device that is free, or makes one.
    if (nla_put_u64(m, NBD_ATTR_SIZE_BYTES, device->byte_count) < 0 ||
        nla_put_u64(m, NBD_ATTR_BLOCK_SIZE_BYTES, device->block_byte_count) < 0 ||
        nla_put_u64(m, NBD_ATTR_SERVER_FLAGS, device->flags) < 0 || nla_put_u64(m, NBD_ATTR_TIMEOUT, device->timeout_seconds) < 0 ||
        nla_put_u64(m, NBD_ATTR_DEAD_CONN_TIMEOUT, device->dead_connection_timeout_seconds) < 0 ||
        nla_put_string(m, NBD_ATTR_BACKEND_IDENTIFIER, device->identifier) < 0 || put_sockets(m, device) < 0)
      result = explain_netlink(-NLE_NOMEM, message);
  }
  result = finish(&call, result, message);
  if (result != CATTACH_OK) return result;
  if (call.index < 0) {
    snprintf(message, CATTACH_MESSAGE_BYTES, "the kernel does not say which device it took");
    return CATTACH_FAILED;
  }
  *index = (uint32_t)call.index;
  return CATTACH_OK;
}

int cattach_device_reconfigure(const cattach_device *device, uint32_t index, char message[CATTACH_MESSAGE_BYTES]) {
  call call = {NULL, NULL, -1};
  int result = begin(&call, NBD_CMD_RECONFIGURE, message);
  if (result == CATTACH_OK) {
    struct nl_msg *m = call.message;
    if (nla_put_u32(m, NBD_ATTR_INDEX, index) < 0 ||
        (device->identifier && nla_put_string(m, NBD_ATTR_BACKEND_IDENTIFIER, device->identifier) < 0) ||
        (device->byte_count && nla_put_u64(m, NBD_ATTR_SIZE_BYTES, device->byte_count) < 0) || put_sockets(m, device) < 0)
      result = explain_netlink(-NLE_NOMEM, message);
  }
  return finish(&call, result, message);
}

int cattach_device_disconnect(uint32_t index, char message[CATTACH_MESSAGE_BYTES]) {
  call call = {NULL, NULL, -1};
  int result = begin(&call, NBD_CMD_DISCONNECT, message);
  if (result == CATTACH_OK && nla_put_u32(call.message, NBD_ATTR_INDEX, index) < 0) result = explain_netlink(-NLE_NOMEM, message);
  return finish(&call, result, message);
}
