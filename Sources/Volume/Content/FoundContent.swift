/// What a partition, or a whole disk, holds, in libblkid's words.
public struct FoundContent: Equatable, Sendable {
  /// "ext4", "LVM2_member", "crypto_LUKS", "swap".
  public var type: String
  /// "filesystem", "raid", "crypto" or "other".
  public var usage: String
  public var label: String?
  public var uuid: String?

  /// How full it says that it is; nil where it does not.
  public func usage(in sample: ContentSample) -> FileSystemUsage? { FileSystemUsage.read(type, from: sample) }
}

/// What came of a probe.
enum ProbeOutcome: Equatable {
  case found(FoundContent)
  /// Nothing that is known.
  case nothing
  /// It could not be read, or the answer makes no sense.
  case failed
}

/// The probing process's answer: a line for each value, then a line that says it is whole.
///
///     type 65787434
///     end
///
/// Values are hexadecimal, since a label may hold anything. No content is no value.
enum ContentAnswer {
  private enum Key: String, CaseIterable {
    case type, usage, label, uuid
  }

  private static let end = "end"

  static func encode(_ content: FoundContent?) -> [UInt8] {
    var text = ""
    if let content {
      for (key, value) in [(Key.type, content.type), (.usage, content.usage), (.label, content.label ?? ""), (.uuid, content.uuid ?? "")]
      where !value.isEmpty {
        text += "\(key) \(hexadecimal(value))\n"
      }
    }
    return Array("\(text)\(end)\n".utf8)
  }

  /// It comes from a process that read hostile bytes.
  static func decode(_ bytes: [UInt8]) -> ProbeOutcome {
    var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
    guard lines.popLast() == "", lines.popLast() == end else { return .failed }
    var values: [Key: String] = [:]
    for line in lines {
      let parts = line.split(separator: " ", omittingEmptySubsequences: false)
      guard parts.count == 2, let key = Key(rawValue: String(parts[0])), values[key] == nil, let value = text(parts[1]) else {
        return .failed
      }
      values[key] = value
    }
    if values.isEmpty { return .nothing }
    guard let type = values[.type] else { return .failed }
    return .found(FoundContent(type: type, usage: values[.usage] ?? "other", label: values[.label], uuid: values[.uuid]))
  }

  private static func hexadecimal(_ text: String) -> String {
    text.utf8.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  private static func text(_ hexadecimal: Substring) -> String? {
    let digits = Array(hexadecimal.utf8)
    // The initializer below would take a sign.
    guard !digits.isEmpty, digits.count.isMultiple(of: 2), !digits.contains(UInt8(ascii: "+")) else { return nil }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: digits.count, by: 2) {
      guard let byte = UInt8(String(decoding: digits[index..<(index + 2)], as: UTF8.self), radix: 16) else { return nil }
      bytes.append(byte)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
