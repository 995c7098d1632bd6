/// A block device of the kernel's NBD client that is connected, as /sys/block shows it.
public struct NBDDevice: Equatable, Sendable {
  /// The N of nbdN.
  public var number: Int
  public var name: String
  /// What was given when it was connected; nil where nothing was, as by nbd-client.
  public var identifier: String?
  /// The process that connected it, which may have ended.
  public var process: Int
  public var byteCount: UInt64
  /// "43:0", as /proc/self/mountinfo has it.
  public var deviceNumber: String
  public var partitions: [Partition]

  public struct Partition: Equatable, Sendable {
    public var number: Int
    public var name: String
    public var offsetBytes: UInt64
    public var byteCount: UInt64
    public var deviceNumber: String
  }

  public var path: String { "/dev/\(name)" }

  /// It and its partitions.
  var nodes: [(path: String, deviceNumber: String)] {
    [(path, deviceNumber)] + partitions.map { ("/dev/\($0.name)", $0.deviceNumber) }
  }

  /// Whether that is the same attachment of the same thing, seen at another time.
  func isSame(_ other: NBDDevice) -> Bool {
    (name, process) == (other.name, other.process) && (identifier, byteCount) == (other.identifier, other.byteCount)
  }

  /// Those there are.
  /// - Parameter blocks: /sys/block, or what stands for it.
  public static func all(in blocks: String = "/sys/block") -> [NBDDevice] {
    SystemFiles.names(in: blocks).compactMap { device($0, in: blocks) }.sorted { $0.number < $1.number }
  }

  /// nil when there is none of that name, or it is not connected.
  static func device(_ name: String, in blocks: String = "/sys/block") -> NBDDevice? {
    let directory = "\(blocks)/\(name)"
    // The kernel shows the process while the device is connected, and only then.
    guard name.hasPrefix("nbd"), let number = Int(name.dropFirst(3)), let process = SystemFiles.number("\(directory)/pid"),
      let sectors = SystemFiles.number("\(directory)/size")
    else { return nil }
    let partitions = SystemFiles.names(in: directory).compactMap { partition($0, in: directory) }
    return NBDDevice(
      number: number, name: name, identifier: SystemFiles.line("\(directory)/backend").flatMap { $0.isEmpty ? nil : $0 },
      process: Int(clamping: process), byteCount: sectors &* sectorByteCount, deviceNumber: SystemFiles.line("\(directory)/dev") ?? "",
      partitions: partitions.sorted { $0.number < $1.number })
  }

  private static let sectorByteCount: UInt64 = 512  // the unit of all sizes in /sys, whatever the device's sectors are

  private static func partition(_ name: String, in device: String) -> Partition? {
    let directory = "\(device)/\(name)"
    guard let number = SystemFiles.number("\(directory)/partition"), let start = SystemFiles.number("\(directory)/start"),
      let sectors = SystemFiles.number("\(directory)/size")
    else { return nil }
    return Partition(
      number: Int(clamping: number), name: name, offsetBytes: start &* sectorByteCount, byteCount: sectors &* sectorByteCount,
      deviceNumber: SystemFiles.line("\(directory)/dev") ?? "")
  }
}
