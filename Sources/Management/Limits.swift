/// The limits of the management plane, each with its unit and its reason.
public enum Limits {
  /// How long an ordinary call may take before it is answered with an error, in seconds. A person at a terminal
  /// gives up at about this point, and nothing that only reads state comes near it.
  public static let callTimeoutSeconds: Double = 30

  /// How long creating, opening, closing or destroying may take, in seconds. Writing the metadata of many disks, or allocating
  /// the whole of a fixed virtual disk in a host file system without fallocate, takes minutes.
  public static let slowCallTimeoutSeconds: Double = 300

  /// How much longer than the server the client waits, in seconds, so that the server's own, better explained answer arrives first.
  public static let clientGraceSeconds: Double = 5

  /// How long connecting to the control socket may take, in seconds. It is local: only a server whose queue is full makes it wait.
  public static let connectTimeoutSeconds: Double = 5

  /// How long calls that are under way at a stop may go on, in seconds, before they are cut off.
  public static let stopTimeoutSeconds: Double = 5

  /// How long a connection without a call under way, or one that stalls in the middle of sending its call, is kept, in seconds.
  public static let idleConnectionSeconds: Int64 = 60

  /// The largest request body the server reads, in bytes. A pool of 1,000 disks with 1 KiB paths fits.
  public static let requestBodyByteCount = 1 << 20

  /// The largest response body the client reads, in bytes. The stack of 10,000 virtual disks fits.
  public static let responseBodyByteCount = 64 << 20

  /// The most connections the control socket serves at once; more wait in the backlog. Bounds memory.
  public static let connectionCount = 64

  /// The longest path the kernel takes for a Unix socket, in bytes without the closing zero (`sun_path` of unix(7) is 108 with it).
  public static let socketPathByteCount = 107
}
