/// A word out of a set that grows with later versions. In JSON it is a plain string. Unlike an enum it keeps words that it
/// doesn't know, so a client can show what a newer server says.
public protocol OpenName: RawRepresentable, Codable, Sendable, Hashable, CustomStringConvertible where RawValue == String {}

extension OpenName {
  public var description: String { rawValue }

  /// As it is shown to a person: `lostCommunication` is "lost communication".
  public var words: String {
    var words = ""
    for scalar in rawValue.unicodeScalars {
      if scalar.properties.isUppercase { words += " \(String(scalar).lowercased())" } else { words.unicodeScalars.append(scalar) }
    }
    return words
  }
}

/// How an object is doing, in one word. The words are those of Windows Storage Spaces.
public struct Health: OpenName {
  public let rawValue: String
  public init(rawValue: String) { self.rawValue = rawValue }
  public static let healthy = Health(rawValue: "healthy")
  public static let warning = Health(rawValue: "warning")
  public static let unhealthy = Health(rawValue: "unhealthy")
  public static let unknown = Health(rawValue: "unknown")
}
