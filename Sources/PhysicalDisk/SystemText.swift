import CLinux

/// The small text files of /proc and /sys, and directory listings. Blocking: for BlockingCalls.
enum SystemText {
  /// The whole file; nil when it cannot be read. What is not UTF-8 is repaired, never trapped on.
  static func read(_ path: String) -> String? {
    let descriptor = clinux_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var content: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 16 << 10)
    while content.count < DiskLimits.systemTextByteCount {
      let count = CLinux.read(descriptor, &piece, piece.count)
      if count < 0 { return nil }
      if count == 0 { break }
      content.append(contentsOf: piece[..<count])
    }
    return String(decoding: content, as: UTF8.self)
  }

  /// Without the line end and surrounding blanks; nil when empty.
  static func line(_ path: String) -> String? {
    guard let text = read(path) else { return nil }
    let words = text.split(whereSeparator: { $0 == "\n" || $0 == " " || $0 == "\t" })
    return words.isEmpty ? nil : words.joined(separator: " ")
  }

  static func number(_ path: String) -> Int? { line(path).flatMap { Int($0) } }

  /// Names in a directory, sorted, without "." and ".."; nil when it cannot be read.
  static func names(in directory: String) -> [String]? {
    guard let stream = opendir(directory) else { return nil }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }
}

/// What /sys says of the block device with a number; every answer is nil where /sys has none (file systems without a device).
struct SystemBlockDevice {
  let directory: String
  /// A partition's queue is its disk's.
  private let queue: String

  init(number: UInt64) {
    directory = "/sys/dev/block/\(deviceText(number))"
    queue = access(directory + "/partition", F_OK) == 0 ? directory + "/../queue" : directory + "/queue"
  }

  var physicalSector: Int? { SystemText.number(queue + "/physical_block_size") }
  var isRotational: Bool? { SystemText.number(queue + "/rotational").map { $0 == 1 } }
  var writeZeroesByteCount: Int { SystemText.number(queue + "/write_zeroes_max_bytes") ?? 0 }
  /// 0 where nothing can be discarded.
  var discardGranularity: Int {
    guard let most = SystemText.number(queue + "/discard_max_bytes"), most > 0 else { return 0 }
    return SystemText.number(queue + "/discard_granularity") ?? 0
  }
  var model: String? { SystemText.line(directory + "/device/model") }
  var serial: String? { SystemText.line(directory + "/device/serial") }
  /// "8:1" of each partition.
  var partitionNumbers: [String] {
    (SystemText.names(in: directory) ?? []).compactMap { name in
      access("\(directory)/\(name)/partition", F_OK) == 0 ? SystemText.line("\(directory)/\(name)/dev") : nil
    }
  }
}
