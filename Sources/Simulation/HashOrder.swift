import CLinux

/// Whether sets and dictionaries have the same order in every run.
enum HashOrder {
  /// Read by the standard library when the process starts; any value will do.
  private static let variable = "SWIFT_DETERMINISTIC_HASHING"

  static let isDeterministic = getenv(variable) != nil
}
