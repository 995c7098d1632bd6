// libnl, which speaks to the kernel over netlink sockets.
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
