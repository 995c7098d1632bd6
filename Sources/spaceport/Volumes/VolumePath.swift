import Management

/// How a volume is named on the command line: `POOL/VDISK`, or `POOL/VDISK/PARTITION`, a partition by its number or label.
struct VolumePath: Sendable, Equatable, CustomStringConvertible {
  var disk: VirtualDiskPath
  var partition: String?

  init(disk: VirtualDiskPath, partition: String?) {
    self.disk = disk
    self.partition = partition
  }

  /// - Throws: `APIError` with code `badRequest` unless the text has two or three parts, none empty.
  init(parsing text: String) throws(APIError) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard (2...3).contains(parts.count), !parts.contains(where: \.isEmpty) else {
      throw APIError(
        .badRequest, "\"\(text)\" does not name a volume", remedy: "Name it POOL/VDISK or POOL/VDISK/PARTITION, for example tank/data/1")
    }
    disk = VirtualDiskPath(pool: String(parts[0]), name: String(parts[1]))
    partition = parts.count == 3 ? String(parts[2]) : nil
  }

  var description: String { partition.map { "\(disk)/\($0)" } ?? "\(disk)" }

  /// Its volume among those of the virtual disk. As for exports, a number wins over a label, and a label that two have is none.
  func volume(among volumes: [VolumeInfo]) throws(APIError) -> VolumeInfo {
    let named = volumes.filter { volume in partition == nil ? volume.partition == nil : volume.partition.map { "\($0)" } == partition }
    let labelled = volumes.filter { partition != nil && $0.partition != nil && $0.partitionLabel == partition }
    guard let found = named.first ?? (labelled.count == 1 ? labelled.first : nil) else {
      throw APIError(.notFound, "There is no volume \(self)", remedy: "`spaceport volume list \(disk.pool)` shows those there are")
    }
    return found
  }

  /// The unit that attaches a volume at boot: systemd.unit(5), "String escaping for inclusion in unit names".
  static func unitName(of volume: String) -> String {
    var escaped = ""
    for (index, byte) in volume.utf8.enumerated() {
      let character = Character(Unicode.Scalar(byte))
      switch byte {
      case UInt8(ascii: "/"): escaped.append("-")
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
        UInt8(ascii: ":"), UInt8(ascii: "_"):
        escaped.append(character)
      case UInt8(ascii: ".") where index > 0: escaped.append(character)
      default: escaped += "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
      }
    }
    return "spaceport-attach@\(escaped).service"
  }
}
