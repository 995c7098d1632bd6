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
  /// How long the kernel's worker threads may take to receive on each connection, in milliseconds; and how often it is tried with new connections:
  /// the workers of the attempt before are there for the next.
  static let receiverMilliseconds = 5000
  static let connectAttempts = 4
  /// How long somebody who has an export or a device open may take to let go, in milliseconds: a connection that the kernel has just closed the
  /// server has yet to notice, and udev looks into each device that appears or is closed by a writer.
  public static let closingMilliseconds = 2000
  /// How long a virtual disk may take to be closed by all after its devices were detached, in milliseconds: requests on the way are answered first.
  public static let closedMilliseconds = 10_000
  /// How often the server is asked meanwhile, in milliseconds; and by who waits for it to start, or for a pool to be open.
  public static let askMilliseconds = 20
  public static let startAskMilliseconds = 250
  /// How long `attach --wait` may wait, in seconds: a pool whose disks come late is not waited for longer than an hour.
  public static let waitSecondsRange = 0...3600
  /// The most that is read of a file in /sys or /proc, in bytes: a machine with 10,000 mounts has 2 MB of them.
  static let systemFileByteCount = 16 << 20
}
