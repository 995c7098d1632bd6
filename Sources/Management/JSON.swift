#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// How this program writes and reads JSON: keys sorted and indented, so that two outputs can be compared line by line.
public enum JSON {
  /// - Throws: `APIError` with code `internalError` when the value can't be put into JSON (a number that is not finite).
  public static func encode(_ value: some Encodable) throws(APIError) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    do {
      return try [UInt8](encoder.encode(value)) + [UInt8(ascii: "\n")]
    } catch {
      throw APIError(.internalError, "A value could not be written as JSON (\(error))", remedy: "Report this as a fault of spaceport")
    }
  }

  /// Like `encode`, as text.
  public static func text(_ value: some Encodable) throws(APIError) -> String {
    String(decoding: try encode(value), as: UTF8.self)
  }

  /// - Throws: `DecodingError`, which says where in the text the fault lies.
  public static func decode<Value: Decodable>(_ type: Value.Type, from bytes: some Sequence<UInt8>) throws -> Value {
    try JSONDecoder().decode(type, from: Data(bytes))
  }

  /// What is wrong with a JSON text, and where, in words for a person.
  public static func explain(_ error: any Error) -> String {
    func place(_ path: [any CodingKey]) -> String {
      path.isEmpty ? "the top level" : path.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }.joined(separator: ".")
    }
    guard let error = error as? DecodingError else { return "\(error)" }
    switch error {
    case .keyNotFound(let key, let context): return "\"\(key.stringValue)\" is missing at \(place(context.codingPath))"
    case .typeMismatch(let type, let context): return "\(place(context.codingPath)) is not of type \(type)"
    case .valueNotFound(let type, let context): return "\(place(context.codingPath)) is null, not a \(type)"
    case .dataCorrupted(let context):
      // The library says the same of text that is no JSON and of numbers that their type can't hold.
      return "\(place(context.codingPath)) is not valid JSON, or a number in it is negative, not whole or too large"
    @unknown default: return "\(error)"
    }
  }
}
