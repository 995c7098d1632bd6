/// What is mounted, as this process sees it.
public struct MountTable: Sendable {
  public struct Mount: Equatable, Sendable {
    /// "43:0"; of a btrfs a number that no device has.
    public var deviceNumber: String
    public var mountPoint: String
    public var type: String
    /// The device that was given.
    public var source: String
  }

  public var mounts: [Mount]

  /// That of this machine.
  public static func current() -> MountTable { MountTable(parsing: SystemFiles.text("/proc/self/mountinfo") ?? "") }

  /// proc(5), /proc/pid/mountinfo. Lines that cannot be read are left out.
  public init(parsing text: String) {
    mounts = text.split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ", omittingEmptySubsequences: false)
      // Optional fields stand between the sixth and a hyphen.
      guard fields.count >= 10, let hyphen = fields[6...].firstIndex(of: "-"), hyphen + 2 < fields.count else { return nil }
      return Mount(
        deviceNumber: String(fields[2]), mountPoint: Self.unescaped(fields[4]), type: String(fields[hyphen + 1]),
        source: Self.unescaped(fields[hyphen + 2]))
    }
  }

  /// Those of a device.
  public func mounts(of path: String, deviceNumber: String) -> [Mount] {
    mounts.filter { $0.source == path || (!deviceNumber.isEmpty && $0.deviceNumber == deviceNumber) }
  }

  /// Blanks and the like are written as a backslash and three octal digits.
  private static func unescaped(_ text: Substring) -> String {
    guard text.contains("\\") else { return String(text) }
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3)
      if byte == UInt8(ascii: "\\"), digits.count == 3, let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8) {
        bytes.append(value)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
