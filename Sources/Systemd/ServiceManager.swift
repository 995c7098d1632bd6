import CLinux

/// Tells a service manager how the server is (sd_notify(3)): one datagram for each message. Without a manager it does nothing; a message that
/// does not arrive is nobody's loss but the manager's.
public final class ServiceManager: Sendable {
  private let address: [UInt8]
  private let descriptor: Int32
  /// How often a sign of life is due, half of what the manager waits for; nil when it wants none. Microseconds.
  public let watchdogMicroseconds: UInt64?

  static let variables = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]

  /// Takes over the variables, which are gone then. Call it once, before other threads read the environment.
  public static func take() -> ServiceManager? {
    var environment: [String: String] = [:]
    for variable in variables { environment[variable] = getenv(variable).map { String(cString: $0) } }
    for variable in variables { unsetenv(variable) }
    return ServiceManager(environment, processID: getpid())
  }

  /// nil when there is no manager to tell. A name that begins with @ is one of the abstract namespace (unix(7)).
  public init?(_ environment: [String: String], processID: Int32) {
    guard let path = environment["NOTIFY_SOCKET"], let first = path.utf8.first, first == UInt8(ascii: "/") || first == UInt8(ascii: "@"),
      path.utf8.count > 1, path.utf8.count < MemoryLayout.size(ofValue: sockaddr_un().sun_path), !path.utf8.contains(0)
    else { return nil }
    var bytes = Array(path.utf8)
    if first == UInt8(ascii: "@") { bytes[0] = 0 }
    address = bytes
    descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
    if descriptor < 0 { return nil }
    watchdogMicroseconds = ServiceManager.interval(environment, processID)
  }

  deinit { _ = close(descriptor) }

  private static func interval(_ environment: [String: String], _ processID: Int32) -> UInt64? {
    guard let text = environment["WATCHDOG_USEC"], let microseconds = UInt64(text), microseconds > 1 else { return nil }
    if let process = environment["WATCHDOG_PID"], Int32(process) != processID { return nil }
    return microseconds / 2
  }

  /// Sends assignments, one a line. It never waits: a manager that does not read is left alone.
  public func send(_ message: String) {
    var name = sockaddr_un()
    name.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: address) }
    // Of an abstract name every byte counts, so the length is exact.
    let length = socklen_t((MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2) + address.count)
    let bytes = Array(message.utf8)
    _ = withUnsafePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL), $0, length)
      }
    }
  }

  public func ready(status: String) { send("READY=1\nSTATUS=\(line(status))") }
  public func stopping() { send("STOPPING=1\nSTATUS=Stopping: answering what clients have sent, flushing the disks") }
  public func isAlive() { send("WATCHDOG=1") }

  private func line(_ text: String) -> String { text.replacing("\n", with: " ") }
}
