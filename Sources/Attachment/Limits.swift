/// Limits of attaching, each with its unit and reason.
public enum AttachmentLimits {
  /// Connections of a device: as many processors can send at once without waiting for each other's socket, and one that is lost is made up for by
  /// the others.
  public static let connections = 4
  /// More than the machine has processors gain nothing; the server's limit on all of its clients is near.
  public static let connectionRange = 1...16
  /// The handshake of one connection is given up after so long, in milliseconds: a server that is well takes one.
  static let handshakeMilliseconds: Int32 = 10_000
  /// A request that is not answered for so long has lost its connection, in seconds: well above the 10 s after which the server gives a disk up.
  static let requestTimeoutSeconds: UInt64 = 30
  /// When all connections are lost requests wait so long for new ones, in seconds, before they fail: the server is restarted in less, also when it
  /// waits 30 s for a disk.
  static let deadConnectionTimeoutSeconds: UInt64 = 120
  /// How long the kernel and udev may take to show, or to let go of, a device, in milliseconds; and how often it is looked at.
  static let deviceMilliseconds = 20_000
  static let lookMilliseconds = 20
  /// The most that is read of a file in /sys or /proc, in bytes: a machine with 10,000 mounts has 2 MB of them.
  static let systemFileByteCount = 16 << 20
}
