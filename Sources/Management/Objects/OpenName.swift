/// A word out of a set that grows with later versions. In JSON it is a plain string. Unlike an enum it keeps words that it
/// doesn't know, so a client can show what a newer server says.
public protocol OpenName: RawRepresentable, Codable, Sendable, Hashable, CustomStringConvertible where RawValue == String {}

extension OpenName {
  public var description: String { rawValue }
}
