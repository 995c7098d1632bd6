@preconcurrency import CLinux  // for `environ`, which nothing in this process changes

/// Whether sets and dictionaries have the same order in every run.
enum HashOrder {
  /// Read by the standard library when the process starts; any value will do.
  private static let variable = "SWIFT_DETERMINISTIC_HASHING"

  static let isDeterministic: Bool = {
    guard var entry = environ else { return false }
    while let text = entry.pointee {
      if String(cString: text).hasPrefix(variable + "=") { return true }
      entry += 1
    }
    return false
  }()
}
